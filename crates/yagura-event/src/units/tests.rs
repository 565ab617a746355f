use proptest::prelude::*;

use super::table::{ATOMS, PREFIXES, UNECE};
use super::*;

fn converted(value: f64, from: &str, to: &str) -> f64 {
    conversion(from, to).unwrap_or_else(|| panic!("{from} to {to}")).of(value)
}

fn near(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= 1e-12 * expected.abs().max(1.0)
}

#[test]
fn spellings_become_one() {
    let table: &[(&str, &[&str])] = &[
        (
            "degC",
            &["degC", "°C", "C", "Celsius", "deg C", "DEGC", " ºC ", "℃", "Cel", "deg_C", "degrees Celsius"],
        ),
        ("K", &["K", "kelvin", "Kelvin"]),
        ("mTorr", &["mTorr", "mtorr", "MTORR", "millitorr", "milliTorr"]),
        ("sccm", &["sccm", "SCCM", "Sccm"]),
        ("slm", &["slm", "SLM", "slpm", "SLPM"]),
        ("L/min", &["L/min", "l/min", "LPM", "L / min", "l·min⁻¹", "liter per minute"]),
        ("kPa", &["kPa", "KPA", "kpa", "kilopascal"]),
        ("kW", &["kW", "KW", "kw", "kilowatts"]),
        ("um", &["um", "µm", "μm", "micron", "micrometer"]),
        ("rpm", &["rpm", "RPM", "r/min", "rev/min", "{rpm}"]),
        ("%", &["%", "percent", "PCT"]),
        ("psi", &["psi", "PSI", "[psi]", "psia"]),
        ("in", &["in", "inch", "\"", "[in_i]"]),
        ("Angstrom", &["Å", "Angstrom", "angstroms", "\u{212b}"]),
        ("W/cm2", &["W/cm2", "W/cm²", "W/cm^2", "W.cm-2", "W cm-2", "W·cm⁻²"]),
        ("nm/min", &["nm/min", "nm per min", "nm.min-1"]),
        ("W/(m.K)", &["W/(m.K)", "W/m/K", "W/(m·K)"]),
        ("1/min", &["1/min", "min-1", "min^-1"]),
        ("MHz", &["MHz", "megahertz"]),
        ("mHz", &["mHz"]),
        ("MV", &["MV", "megavolt"]),
        ("kg", &["kg", "KG"]),
        ("mbar", &["mbar", "mbar(a)", "millibar"]),
        ("psig", &["psig", "PSI(g)"]),
        ("degF", &["F", "°F", "deg F", "[degF]"]),
    ];
    for (symbol, texts) in table {
        for text in *texts {
            assert_eq!(normal(text), *symbol, "{text}");
        }
    }
}

#[test]
fn what_is_not_known_or_may_be_two_things_stays() {
    for text in
        ["wafers", "mw", "MHZz", "kVA", "scfm", "a.u.", "m^99", "W/m.K", "/", "((", "°X", "counts/s", "m0"]
    {
        assert!(Unit::parse(text).is_none(), "{text} {:?}", Unit::parse(text));
    }
    assert_eq!(normal("  wafers "), "wafers");
    assert_eq!(conversion("wafers", "wafers"), Some(Conversion::SAME));
    assert_eq!(conversion("wafers", "lots"), None);
    assert_eq!(conversion("", "Pa"), Some(Conversion::SAME));
}

#[test]
fn values_are_those_of_the_definitions() {
    for (value, from, to, expected) in [
        (1.0, "mTorr", "Pa", 0.133_322_368_421_052_63),
        (760.0, "Torr", "atm", 1.0),
        (1.0, "mTorr", "Torr", 0.001),
        (1.0, "psi", "Pa", 6_894.757_293_168_361),
        (1.0, "bar", "hPa", 1000.0),
        (1013.25, "mbar", "atm", 1.0),
        (0.0, "degC", "K", 273.15),
        (100.0, "°C", "°F", 212.0),
        (-40.0, "degF", "degC", -40.0),
        (98.6, "degF", "degC", 37.0),
        (10.0, "delta_degC", "delta_degF", 18.0),
        (10.0, "K/min", "degC/min", 10.0),
        (1.0, "inch", "mm", 25.4),
        (5000.0, "Å", "nm", 500.0),
        (2.0, "slm", "sccm", 2000.0),
        (60.0, "L/min", "m3/h", 3.6),
        (3000.0, "rpm", "rev/s", 50.0),
        (180.0, "deg", "rad", std::f64::consts::PI),
        (13.56, "MHz", "kHz", 13_560.0),
        (1.0, "kWh", "MJ", 3.6),
        (250.0, "ms", "s", 0.25),
        (50.0, "%", "ppm", 500_000.0),
        (1.0, "barg", "psig", 14.503_773_773_020_923),
        (1.0, "W/cm2", "kW/m2", 10.0),
        (5.0, "Pa.m3/s", "W", 5.0),
    ] {
        let found = converted(value, from, to);
        assert!(near(found, expected), "{value} {from} is {found} {to}, not {expected}");
    }
}

#[test]
fn what_measures_something_else_is_not_converted() {
    for (from, to) in [
        ("Pa", "sccm"),
        ("degC", "delta_degC"),
        ("K", "delta_K"),
        ("psi", "psig"),
        ("slm", "L/min"),
        ("rpm", "Hz"),
        ("dBm", "dB"),
        ("dBm", "W"),
        ("%RH", "%"),
        ("mm", "s"),
    ] {
        assert_eq!(conversion(from, to), None, "{from} to {to}");
    }
}

#[test]
fn the_same_unit_leaves_every_bit() {
    for (from, to) in [("°C", "Celsius"), ("mtorr", "mTorr"), ("x", "x")] {
        let same = conversion(from, to).unwrap();
        assert_eq!((same.factor, same.offset), (1.0, 0.0));
    }
}

#[test]
fn codes_of_unece_are_units() {
    assert_eq!(Unit::of_opcua(4_408_652).unwrap().symbol(), "degC");
    assert_eq!(Unit::of_opcua(20_529).unwrap().symbol(), "%");
    assert_eq!(Unit::of_opcua(-1), None);
    for (code, symbol) in UNECE {
        assert_eq!(Unit::of_unece(code).map(|unit| unit.symbol).as_deref(), Some(*symbol), "{code}");
    }
}

#[test]
fn the_table_says_nothing_twice() {
    for atom in ATOMS {
        let read = Unit::parse(atom.symbol).map(|unit| (unit.symbol, unit.dimension, unit.scale));
        assert_eq!(read, Some((atom.symbol.to_string(), atom.dimension, atom.scale)));
        for prefix in atom.prefixes {
            assert!(PREFIXES.iter().any(|known| known.symbol == *prefix), "{prefix}{}", atom.symbol);
        }
    }
}

proptest! {
    #[test]
    fn nothing_panics_and_normal_spellings_stay(text in "\\PC{0,24}", unitish in "[a-zA-Z0-9°µ/.^·() -]{0,16}") {
        for text in [&text, &unitish] {
            let once = normal(text).into_owned();
            prop_assert_eq!(normal(&once), once.as_str());
        }
    }

    #[test]
    fn there_and_back_again(from in 0..ATOMS.len(), to in 0..ATOMS.len(), value in -1e6..1e6f64) {
        let [from, to] = [from, to].map(|at| Unit::of_atom(&ATOMS[at], None));
        if let Some(there) = from.to(&to) {
            let back = to.to(&from).unwrap().of(there.of(value));
            let zero = from.offset.abs() + 1.0;
            prop_assert!((back - value).abs() <= 1e-9 * (value.abs() + zero), "{value} {back}");
        } else {
            prop_assert!(to.to(&from).is_none());
        }
    }
}
