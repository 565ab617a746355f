//! Measures of alarms against labels, row by row.

/// Counts of rows: labelled and alarmed or not.
#[derive(Clone, Copy, Default)]
pub struct Counts {
    true_alarms: f64,
    false_alarms: f64,
    missed: f64,
    quiet: f64,
}

impl Counts {
    pub fn add(&mut self, labels: &[bool], alarms: &[bool]) {
        for (label, alarm) in labels.iter().zip(alarms) {
            match (label, alarm) {
                (true, true) => self.true_alarms += 1.0,
                (false, true) => self.false_alarms += 1.0,
                (true, false) => self.missed += 1.0,
                (false, false) => self.quiet += 1.0,
            }
        }
    }

    pub fn f1(&self) -> f64 {
        share(2.0 * self.true_alarms, 2.0 * self.true_alarms + self.false_alarms + self.missed)
    }

    /// Of rows without a label, those with an alarm.
    pub fn false_alarm_rate(&self) -> f64 {
        share(self.false_alarms, self.false_alarms + self.quiet)
    }

    /// Of labelled rows, those with an alarm.
    pub fn detection_rate(&self) -> f64 {
        share(self.true_alarms, self.true_alarms + self.missed)
    }
}

pub fn share(part: f64, of: f64) -> f64 {
    if of > 0.0 { part / of } else { 0.0 }
}

/// The stretches of labelled rows.
pub fn segments(labels: &[bool]) -> Vec<std::ops::Range<usize>> {
    let mut out: Vec<std::ops::Range<usize>> = Vec::new();
    for (row, _) in labels.iter().enumerate().filter(|(_, label)| **label) {
        match out.last_mut() {
            Some(last) if last.end == row => last.end = row + 1,
            _ => out.push(row..row + 1),
        }
    }
    out
}

/// The BATADAL competition's score: half of it how early attacks are found, half the mean of both rates
/// (Taormina et al. 2018).
pub fn batadal(labels: &[bool], alarms: &[bool]) -> f64 {
    let mut counts = Counts::default();
    counts.add(labels, alarms);
    let attacks = segments(labels);
    let late: f64 = attacks
        .iter()
        .map(|attack| {
            let first = alarms[attack.clone()].iter().position(|alarm| *alarm).unwrap_or(attack.len());
            share(first as f64, attack.len() as f64)
        })
        .sum();
    let early = 1.0 - share(late, attacks.len() as f64);
    0.5 * early + 0.25 * (counts.detection_rate() + 1.0 - counts.false_alarm_rate())
}

/// The area under the receiver's curve: how often a labelled one scores above an ordinary one, ties half.
pub fn auroc(labelled: &[f64], ordinary: &[f64]) -> f64 {
    let wins = labelled.iter().flat_map(|a| {
        ordinary.iter().map(move |b| match a.total_cmp(b) {
            std::cmp::Ordering::Greater => 1.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Less => 0.0,
        })
    });
    share(wins.sum(), (labelled.len() * ordinary.len()) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_are_as_defined() {
        let labels = [false, true, true, false, true];
        let alarms = [true, false, true, false, true];
        let mut counts = Counts::default();
        counts.add(&labels, &alarms);
        assert_eq!((counts.f1(), counts.false_alarm_rate()), (4.0 / 6.0, 0.5));
        assert_eq!(segments(&labels), [1..3, 4..5]);
        assert_eq!(auroc(&[2.0, 1.0], &[1.0, 0.0]), 0.875);
        assert_eq!(batadal(&[true, false], &[true, true]), 0.75);
    }
}
