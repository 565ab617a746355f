//! Units as devices write them: one spelling for each, and values from one into another.
//!
//! A text is read as the symbols and words that tools (SEMI E5), OPC UA servers (UNECE codes, UCUM texts),
//! Sparkplug births and register maps use: `°C`, `deg C` and `Celsius` are `degC`. What is composed (`W/cm2`,
//! `kg·m/s²`, `nm per min`) is read by its parts. Normal spellings are ASCII, as in SECS-II. What nobody knows
//! keeps its own spelling and is converted into nothing else.
//!
//! Values are converted between units of one dimension only. Kept apart although their dimensions are alike:
//! temperatures and differences of them, gauge and absolute pressure, flow of a gas under standard conditions
//! and as it flows, turns and cycles a second, and what has a scale of its own (`dBm`, `pH`, `%RH`). `K`, `degC`
//! and `degF` alone are temperatures; `delta_K`, `delta_degC` and `delta_degF` are differences, and so is a
//! temperature within something composed (`K/min`).

use std::borrow::Cow;
use std::sync::LazyLock;

use rustc_hash::FxHashMap;

mod table;

use table::{ATOMS, Atom, PREFIXES, Prefix};

/// The longest text that is read as a unit, in bytes.
const BYTES_MAX: usize = 64;
/// The most parts of a composed unit.
const PARTS_MAX: usize = 6;
/// The highest power of a part.
const POWER_MAX: i8 = 6;

/// Exponents of metre, kilogram, second, ampere, kelvin, mole, candela, radian, and of "under standard conditions".
type Dimension = [i8; 9];

/// What its numbers count from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    /// From nothing: numbers are ratios of the unit.
    Ratio,
    /// A point of the thermodynamic temperature.
    Temperature,
    /// Above the pressure of the surroundings.
    Gauge,
    /// One of its own, which no other unit has.
    Own,
}

/// A unit that is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    symbol: String,
    dimension: Dimension,
    /// How many units of the SI it is: a fraction, so that most conversions are rounded once.
    factor: (f64, f64),
    /// Where its zero stands, in units of its own.
    offset: f64,
    scale: Scale,
}

/// How a value becomes one in another unit: multiplied, then added to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conversion {
    /// What it is multiplied by.
    pub factor: f64,
    /// What is added afterwards.
    pub offset: f64,
}

impl Conversion {
    /// The value stays.
    pub const SAME: Conversion = Conversion { factor: 1.0, offset: 0.0 };

    /// A value in the other unit.
    #[inline]
    pub fn of(&self, value: f64) -> f64 {
        value * self.factor + self.offset
    }
}

impl Unit {
    /// The unit that a text names.
    pub fn parse(text: &str) -> Option<Unit> {
        let text = text.trim();
        if text.is_empty() || text.len() > BYTES_MAX {
            return None;
        }
        part(text).or_else(|| composed(text))
    }

    /// The unit of a UNECE common code (`CEL`, `PAL`), for those that are known by it.
    pub fn of_unece(code: &str) -> Option<Unit> {
        let (_, symbol) = table::UNECE.iter().find(|(known, _)| *known == code)?;
        Unit::parse(symbol)
    }

    /// The unit of an OPC UA EUInformation whose `namespaceUri` is that of UN/CEFACT: its `unitId` is the
    /// common code as a number (OPC 10000-8, 5.6.4.3).
    pub fn of_opcua(unit_id: i32) -> Option<Unit> {
        let code: Vec<u8> = unit_id.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
        Unit::of_unece(std::str::from_utf8(&code).ok()?)
    }

    /// Its normal spelling.
    pub fn symbol(&self) -> &str {
        &self.symbol
    }

    /// How values in it become values in another one; `None` where they measure something else.
    pub fn to(&self, other: &Unit) -> Option<Conversion> {
        if self.symbol == other.symbol {
            return Some(Conversion::SAME);
        }
        if self.dimension != other.dimension || self.scale != other.scale || self.scale == Scale::Own {
            return None;
        }
        let factor = self.factor.0 * other.factor.1 / (self.factor.1 * other.factor.0);
        // Zero is added to ratios, not the difference of two products that ought to be zero.
        let offset = match self.offset == other.offset && factor == 1.0 || self.scale == Scale::Ratio {
            true => 0.0,
            false => self.offset * factor - other.offset,
        };
        Some(Conversion { factor, offset })
    }

    fn of_atom(atom: &Atom, prefix: Option<&Prefix>) -> Unit {
        let (num, den) = prefix.map_or((1.0, 1.0), |prefix| prefix.factor);
        Unit {
            symbol: format!("{}{}", prefix.map_or("", |prefix| prefix.symbol), atom.symbol),
            dimension: atom.dimension,
            factor: (atom.factor.0 * num, atom.factor.1 * den),
            offset: atom.offset,
            scale: atom.scale,
        }
    }
}

/// The normal spelling of a unit; its own, trimmed, where it is not known.
pub fn normal(text: &str) -> Cow<'_, str> {
    let text = text.trim();
    match Unit::parse(text) {
        Some(unit) if unit.symbol != text => Cow::Owned(unit.symbol),
        _ => Cow::Borrowed(text),
    }
}

/// How values in the unit that `from` names become values in the one that `to` names. Texts that nobody
/// knows are the same unit where they are the same text; without a unit on either side values stay.
pub fn conversion(from: &str, to: &str) -> Option<Conversion> {
    let (from, to) = (from.trim(), to.trim());
    if from == to || from.is_empty() || to.is_empty() {
        return Some(Conversion::SAME);
    }
    Unit::parse(from)?.to(&Unit::parse(to)?)
}

/// What texts mean: as they are written, and folded where nothing is written just so. A folded text that
/// may mean two things (`mw`) means nothing.
struct Spellings {
    exact: FxHashMap<String, Meaning>,
    folded: FxHashMap<String, Option<Meaning>>,
}

/// Places of an atom and of its prefix.
type Meaning = (usize, Option<usize>);

static SPELLINGS: LazyLock<Spellings> = LazyLock::new(|| {
    let mut spellings = Spellings { exact: FxHashMap::default(), folded: FxHashMap::default() };
    for (at, atom) in ATOMS.iter().enumerate() {
        spellings.add(atom.symbol, atom.symbol, (at, None));
        for name in atom.names {
            spellings.add(name, name, (at, None));
        }
        for (nth, prefix) in PREFIXES.iter().enumerate() {
            if !atom.prefixes.contains(&prefix.symbol) {
                continue;
            }
            for name in std::iter::once(&atom.symbol).chain(atom.names) {
                let short = format!("{}{name}", prefix.symbol);
                // A prefix goes before symbols as before words; a word has it as a word as well.
                spellings.add(&short, &short, (at, Some(nth)));
                let long = format!("{}{name}", prefix.word);
                spellings.add(&long, &long, (at, Some(nth)));
            }
        }
    }
    spellings
});

impl Spellings {
    fn add(&mut self, exact: &str, folded: &str, meaning: Meaning) {
        self.exact.entry(exact.to_string()).or_insert(meaning);
        let known = self.folded.entry(fold(folded)).or_insert(Some(meaning));
        if *known != Some(meaning) {
            *known = None;
        }
    }

    fn find(&self, text: &str) -> Option<Meaning> {
        self.exact.get(text).copied().or_else(|| self.folded.get(&fold(text)).copied().flatten())
    }
}

/// Without what is written in one way or another.
fn fold(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ' ' | '_' | '\u{a0}' | '-' | '(' | ')' | '[' | ']' => {}
            '°' | 'º' => out.push_str("deg"),
            '℃' => out.push_str("degc"),
            '℉' => out.push_str("degf"),
            'µ' | 'μ' => out.push('u'),
            'Δ' | '∆' => out.push_str("delta"),
            'Ω' | '\u{2126}' => out.push_str("ohm"),
            'Å' | '\u{212b}' => out.push_str("angstrom"),
            c => out.extend(c.to_lowercase()),
        }
    }
    out
}

/// One symbol or word. An `µ` is a `u`, also where case counts.
fn part(text: &str) -> Option<Unit> {
    let text = text.replace(['µ', 'μ'], "u");
    let (atom, prefix) = SPELLINGS.find(&text)?;
    Some(Unit::of_atom(&ATOMS[atom], prefix.map(|prefix| &PREFIXES[prefix])))
}

/// Several parts: `kg·m/s²`, `W/(m.K)`, `nm per min`, `1/min`, `mm s^-1`.
fn composed(text: &str) -> Option<Unit> {
    let text = text.replace(" per ", "/");
    let mut parts = Vec::<(Unit, i8)>::new();
    let (mut divided, mut in_group, mut begin) = (false, false, 0);
    // What was taken since the stroke, and whether a product without brackets goes on after it: `W/m.K` may
    // mean two things.
    let (mut below, mut loose) = (0, false);
    let ends = text.char_indices().chain([(text.len(), ' ')]);
    for (at, c) in ends.filter(|(_, c)| matches!(c, '/' | '·' | '⋅' | '*' | '.' | ' ' | '(' | ')')) {
        let word = &text[begin..at];
        begin = at + c.len_utf8();
        if !word.is_empty() && word != "1" {
            let (unit, power) = powered(word)?;
            let whole_only = matches!(unit.scale, Scale::Gauge | Scale::Own);
            if loose || whole_only || parts.len() >= PARTS_MAX {
                return None;
            }
            parts.push((unit, if divided { -power } else { power }));
            below += usize::from(divided);
        }
        match c {
            '/' if in_group => return None,
            '/' => (divided, below, loose) = (true, 0, false),
            '(' if in_group => return None,
            '(' => in_group = true,
            ')' => (in_group, divided) = (false, false),
            _ => loose = divided && !in_group && below > 0,
        }
    }
    whole(parts)
}

/// A part and its power: `m2`, `m²`, `s-1`, `s^-1`.
fn powered(word: &str) -> Option<(Unit, i8)> {
    let plain: String = word
        .chars()
        .map(|c| match c {
            '²' => '2',
            '³' => '3',
            '¹' => '1',
            '⁻' => '-',
            c => c,
        })
        .collect();
    let name = plain.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches(['-', '^']);
    let power = plain[name.len()..].trim_start_matches('^');
    let power: i8 = if power.is_empty() { 1 } else { power.parse().ok()? };
    (power != 0 && power.abs() <= POWER_MAX).then_some(())?;
    Some((part(name)?, power))
}

fn whole(parts: Vec<(Unit, i8)>) -> Option<Unit> {
    if parts.is_empty() || (parts.len() == 1 && parts[0].1 == 1) {
        return parts.into_iter().next().map(|(unit, _)| unit);
    }
    let mut dimension = [0; 9];
    let mut factor = (1.0, 1.0);
    for (unit, power) in &parts {
        for (sum, own) in dimension.iter_mut().zip(unit.dimension) {
            *sum += own * power;
        }
        let (num, den) = if *power > 0 { unit.factor } else { (unit.factor.1, unit.factor.0) };
        for _ in 0..power.abs() {
            factor = (factor.0 * num, factor.1 * den);
        }
    }
    Some(Unit { symbol: spelled(&parts), dimension, factor, offset: 0.0, scale: Scale::Ratio })
}

fn spelled(parts: &[(Unit, i8)]) -> String {
    let side = |above: bool| -> Vec<String> {
        let of = parts.iter().filter(|(_, power)| (*power > 0) == above);
        of.map(|(unit, power)| match power.abs() {
            1 => unit.symbol.clone(),
            power => format!("{}{power}", unit.symbol),
        })
        .collect()
    };
    let (above, below) = (side(true).join("."), side(false));
    let above = if above.is_empty() { "1".to_string() } else { above };
    match below.len() {
        0 => above,
        1 => format!("{above}/{}", below[0]),
        _ => format!("{above}/({})", below.join(".")),
    }
}

#[cfg(test)]
mod tests;
