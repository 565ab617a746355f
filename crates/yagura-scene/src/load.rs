//! Samples in bulk, for benchmarks: any number of series, in an order that no cache likes.

use yagura_event::clock::Micros;

use crate::random::Random;

/// The names behind one series number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesName {
    /// Equipment.
    pub tool: String,
    /// Chamber.
    pub chamber: String,
    /// Signal.
    pub signal: String,
    /// Unit.
    pub unit: &'static str,
    /// Class of the signal.
    pub class: &'static str,
}

/// Columns of samples, all of one length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadBatch {
    /// Dense series number.
    pub series: Vec<u32>,
    /// The device's time.
    pub time: Vec<Micros>,
    /// The value.
    pub value: Vec<f64>,
}

/// What is wanted of [`load`].
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// How many samples in all.
    pub samples: u64,
    /// Over how many series.
    pub series: u32,
    /// Rows of a batch; the last one may be shorter.
    pub batch_rows: usize,
    /// Samples of one series in a second, which sets the times.
    pub hertz: f64,
    /// Time of the first sample.
    pub start: Micros,
    /// The seed: the same gives the same samples.
    pub seed: u64,
}

/// Batches of samples: every sample's series is drawn at random, times never run backwards, and
/// the values of series `s` scatter around `100 + s mod 50` with a standard deviation of 1.
pub fn load(options: LoadOptions) -> impl Iterator<Item = LoadBatch> {
    let LoadOptions { samples, series, batch_rows, hertz, start, seed } = options;
    let step = 1_000_000.0 / (hertz * f64::from(series.max(1)));
    let rows = batch_rows.max(1) as u64;
    let mut random = Random::named(seed, "load");
    (0..samples.div_ceil(rows)).map(move |batch| {
        let numbers = batch * rows..samples.min((batch + 1) * rows);
        let mut out = LoadBatch::default();
        for number in numbers {
            let drawn = random.below(u64::from(series)) as u32;
            out.series.push(drawn);
            out.time.push(start + (number as f64 * step) as Micros);
            out.value.push(100.0 + f64::from(drawn % 50) + random.normal());
        }
        out
    })
}

/// Names for `n` series: tools of four chambers of fifty signals, as in a fab.
pub fn series_names(n: u32) -> Vec<SeriesName> {
    const KINDS: [(&str, &str, &str); 5] = [
        ("Flow", "sccm", "flow"),
        ("Pressure", "mTorr", "pressure"),
        ("Power", "W", "power"),
        ("Temperature", "degC", "temperature"),
        ("Position", "%", "position"),
    ];
    (0..n)
        .map(|number| {
            let (name, unit, class) = KINDS[number as usize % KINDS.len()];
            SeriesName {
                tool: format!("TOOL-{:04}", number / 200),
                chamber: char::from(b'A' + (number / 50 % 4) as u8).to_string(),
                signal: format!("{name}{:02}", number % 50 / 5),
                unit,
                class,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const OPTIONS: LoadOptions =
        LoadOptions { samples: 10_050, series: 500, batch_rows: 1_000, hertz: 10.0, start: 5, seed: 1 };

    #[test]
    fn batches_hold_every_sample_once_and_in_time() {
        let batches: Vec<LoadBatch> = load(OPTIONS).collect();
        assert_eq!(batches.len(), 11);
        assert_eq!(batches[10].series.len(), 50);
        let times: Vec<Micros> = batches.iter().flat_map(|b| b.time.clone()).collect();
        assert_eq!(times.len(), 10_050);
        assert_eq!(times[0], 5);
        // 5,000 samples a second.
        assert_eq!(times[5_000], 1_000_005);
        assert!(times.is_sorted());
        let series: BTreeSet<u32> = batches.iter().flat_map(|b| b.series.clone()).collect();
        assert_eq!((series.first(), series.last(), series.len()), (Some(&0), Some(&499), 500));
    }

    #[test]
    fn a_seed_gives_its_own_samples_again() {
        assert!(load(OPTIONS).eq(load(OPTIONS)));
        assert!(!load(OPTIONS).eq(load(LoadOptions { seed: 2, ..OPTIONS })));
    }

    #[test]
    fn names_are_distinct() {
        let names = series_names(1_000);
        let distinct: BTreeSet<String> =
            names.iter().map(|n| format!("{}/{}/{}", n.tool, n.chamber, n.signal)).collect();
        assert_eq!(distinct.len(), 1_000);
    }
}
