//! Configuration frames 1, 2 and 3 (IEEE C37.118.2 clauses 6.4 and 6.5), and the data frames
//! that they explain (clause 6.3).

use yagura_event::rows::{MeasuredRow, Row};

use crate::cursor::{Cursor, Cut};
use crate::{Cx, Side};

/// Scale of a phasor in integers, below 24 bits of the unit word.
const PHASOR_SCALE: f64 = 1e-5;
/// Angle of a polar phasor in integers.
const ANGLE_SCALE: f64 = 1e-4;

/// What a stream's data frames hold.
#[derive(Clone)]
pub(super) struct Configuration {
    pub time_base: u32,
    /// Frames a second; below zero, seconds a frame.
    pub rate: i16,
    pub stations: Vec<Station>,
    /// Where the samples come from.
    source: String,
}

/// One measuring unit.
#[derive(Clone)]
pub(super) struct Station {
    pub name: String,
    pub id: u16,
    pub changes: u16,
    polar: bool,
    float_phasors: bool,
    float_analogs: bool,
    float_frequency: bool,
    nominal: f64,
    phasors: Vec<Phasor>,
    /// Name of the signal and scale.
    analogs: Vec<(String, f64)>,
    digitals: Vec<String>,
    frequency: String,
    frequency_change: String,
}

#[derive(Clone)]
struct Phasor {
    magnitude: String,
    angle: String,
    unit: &'static str,
    scale: f64,
}

impl Configuration {
    /// Reads a frame's body. None for a part of a configuration 3 that comes in several.
    pub fn read(third: bool, source: &str, cursor: &mut Cursor<'_>) -> Result<Option<Self>, Cut> {
        if third && cursor.u16_be("continuation_index")? != 0 {
            return Ok(None);
        }
        let time_base = cursor.u32_be("time_base")? & 0x00ff_ffff;
        let count = cursor.u16_be("station_count")?;
        let mut stations = Vec::new();
        for _ in 0..count {
            stations.push(if third { Station::third(cursor)? } else { Station::second(cursor)? });
        }
        let rate = cursor.i16_be("data_rate")?;
        cursor.check(cursor.is_empty(), "configuration_length")?;
        Ok(Some(Configuration { time_base, rate, stations, source: source.to_string() }))
    }

    /// Phasors, analogs and digital words of all stations.
    pub fn channels(&self) -> usize {
        self.stations.iter().map(|s| s.phasors.len() + s.analogs.len() + s.digitals.len()).sum()
    }

    /// Writes the values of a data frame; true when a station calls its own doubtful.
    pub fn data(&self, cx: &mut Cx<'_>, side: Side, cursor: &mut Cursor<'_>) -> Result<bool, Cut> {
        let mut doubtful = false;
        for station in &self.stations {
            let state = cursor.u16_be("data_length")?;
            // Data errors are bad; a lost time, sorting by arrival or a changed configuration soon doubtful.
            let quality = if state & 0xc000 != 0 { 2 } else { u8::from(state & 0x3000 != 0) };
            doubtful |= quality > 0;
            let mut out = Out { cx: &mut *cx, side, source: &self.source, quality };
            station.data(&mut out, cursor)?;
        }
        Ok(doubtful)
    }
}

/// Where the values of one station go.
struct Out<'a, 'b> {
    cx: &'a mut Cx<'b>,
    side: Side,
    source: &'a str,
    quality: u8,
}

impl Out<'_, '_> {
    fn push(&mut self, signal: &str, unit: &str, value: f64) {
        let flow = self.cx.flow;
        let row = MeasuredRow {
            tool: flow.end(self.side).name(),
            signal,
            unit,
            source: self.source,
            time: self.cx.time,
            observed: self.cx.observed,
            value,
            quality: self.quality,
            ..MeasuredRow::default()
        };
        self.cx.out.push(Row::Measured(&row));
    }
}

impl Station {
    /// As configurations 1 and 2 have it: names of 16 bytes.
    fn second(cursor: &mut Cursor<'_>) -> Result<Self, Cut> {
        let name = text(cursor.take(16, "station_name")?);
        let id = cursor.u16_be("station_id")?;
        let format = cursor.u16_be("station_format")?;
        let mut station = Station::new(name, id, format);
        let [phasors, analogs, digitals] = counts(cursor)?;
        let fixed = |cursor: &mut Cursor<'_>| cursor.take(16, "channel_name").map(text);
        station.names(cursor, [phasors, analogs, digitals], fixed)?;
        for phasor in &mut station.phasors {
            let word = cursor.u32_be("phasor_unit")?;
            phasor.unit = if word >> 24 == 0 { "V" } else { "A" };
            phasor.scale = f64::from(word & 0x00ff_ffff) * PHASOR_SCALE;
        }
        for _ in 0..analogs {
            // The scale of an analog is the user's own: integers are left as they are.
            cursor.skip(4, "analog_unit")?;
        }
        cursor.skip(4 * digitals, "digital_unit")?;
        station.ending(cursor)?;
        Ok(station)
    }

    /// As configuration 3 has it: names with their lengths, scales as numbers.
    fn third(cursor: &mut Cursor<'_>) -> Result<Self, Cut> {
        let name = counted(cursor)?;
        let id = cursor.u16_be("station_id")?;
        cursor.skip(16, "station_global_id")?;
        let format = cursor.u16_be("station_format")?;
        let mut station = Station::new(name, id, format);
        let [phasors, analogs, digitals] = counts(cursor)?;
        station.names(cursor, [phasors, analogs, digitals], counted)?;
        for phasor in &mut station.phasors {
            cursor.skip(2, "phasor_scale")?;
            let kind = cursor.u8("phasor_scale")?;
            cursor.skip(1, "phasor_scale")?;
            phasor.unit = if kind & 8 == 0 { "V" } else { "A" };
            phasor.scale = f64::from(cursor.f32_be("phasor_scale")?);
            cursor.skip(4, "phasor_scale")?;
        }
        for (_, scale) in &mut station.analogs {
            *scale = f64::from(cursor.f32_be("analog_scale")?);
            cursor.skip(4, "analog_scale")?;
        }
        cursor.skip(4 * digitals, "digital_unit")?;
        // Latitude, longitude, elevation, service class, window, group delay.
        cursor.skip(21, "station_place")?;
        station.ending(cursor)?;
        Ok(station)
    }

    fn new(name: String, id: u16, format: u16) -> Self {
        Station {
            frequency: format!("{name} frequency"),
            frequency_change: format!("{name} rocof"),
            name,
            id,
            changes: 0,
            polar: format & 1 != 0,
            float_phasors: format & 2 != 0,
            float_analogs: format & 4 != 0,
            float_frequency: format & 8 != 0,
            nominal: 60.0,
            phasors: Vec::new(),
            analogs: Vec::new(),
            digitals: Vec::new(),
        }
    }

    fn names(
        &mut self,
        cursor: &mut Cursor<'_>,
        [phasors, analogs, digitals]: [usize; 3],
        name: impl Fn(&mut Cursor<'_>) -> Result<String, Cut>,
    ) -> Result<(), Cut> {
        for _ in 0..phasors {
            let magnitude = format!("{} {}", self.name, name(cursor)?);
            let angle = format!("{magnitude} angle");
            self.phasors.push(Phasor { magnitude, angle, unit: "V", scale: 1.0 });
        }
        for _ in 0..analogs {
            let signal = format!("{} {}", self.name, name(cursor)?);
            self.analogs.push((signal, 1.0));
        }
        for word in 0..digitals {
            for _ in 0..16 {
                name(cursor)?;
            }
            self.digitals.push(format!("{} digital {word}", self.name));
        }
        Ok(())
    }

    fn ending(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Cut> {
        self.nominal = if cursor.u16_be("nominal_frequency")? & 1 == 0 { 60.0 } else { 50.0 };
        self.changes = cursor.u16_be("configuration_count")?;
        Ok(())
    }

    fn data(&self, out: &mut Out<'_, '_>, cursor: &mut Cursor<'_>) -> Result<(), Cut> {
        const WHAT: &str = "data_length";
        for phasor in &self.phasors {
            let (first, second) = if self.float_phasors {
                (f64::from(cursor.f32_be(WHAT)?), f64::from(cursor.f32_be(WHAT)?))
            } else if self.polar {
                let magnitude = f64::from(cursor.u16_be(WHAT)?) * phasor.scale;
                (magnitude, f64::from(cursor.i16_be(WHAT)?) * ANGLE_SCALE)
            } else {
                (
                    f64::from(cursor.i16_be(WHAT)?) * phasor.scale,
                    f64::from(cursor.i16_be(WHAT)?) * phasor.scale,
                )
            };
            let (magnitude, angle) =
                if self.polar { (first, second) } else { (first.hypot(second), second.atan2(first)) };
            out.push(&phasor.magnitude, phasor.unit, magnitude);
            out.push(&phasor.angle, "rad", angle);
        }
        let (frequency, change) = if self.float_frequency {
            (f64::from(cursor.f32_be(WHAT)?), f64::from(cursor.f32_be(WHAT)?))
        } else {
            let deviation = f64::from(cursor.i16_be(WHAT)?) / 1000.0;
            (self.nominal + deviation, f64::from(cursor.i16_be(WHAT)?) / 100.0)
        };
        out.push(&self.frequency, "Hz", frequency);
        out.push(&self.frequency_change, "Hz/s", change);
        for (signal, scale) in &self.analogs {
            let value = if self.float_analogs {
                f64::from(cursor.f32_be(WHAT)?)
            } else {
                f64::from(cursor.i16_be(WHAT)?) * scale
            };
            out.push(signal, "", value);
        }
        for signal in &self.digitals {
            out.push(signal, "", f64::from(cursor.u16_be(WHAT)?));
        }
        Ok(())
    }
}

/// Phasors, analogs, digital words.
fn counts(cursor: &mut Cursor<'_>) -> Result<[usize; 3], Cut> {
    let mut counts = [0; 3];
    for count in &mut counts {
        *count = usize::from(cursor.u16_be("channel_count")?);
    }
    Ok(counts)
}

/// A name with its length before it.
fn counted(cursor: &mut Cursor<'_>) -> Result<String, Cut> {
    let length = cursor.u8("name_length")?;
    cursor.take(usize::from(length), "name_length").map(text)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_matches(['\0', ' ']).to_string()
}
