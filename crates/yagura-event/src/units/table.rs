//! The units that are known. Factors are exact by definition unless a line says otherwise: SI brochure (9th
//! edition, 2019) with its tables 4 and 8, NIST SP 811 (2008) appendix B for what is not of the SI. Standard
//! conditions of gas flows are 0 °C and 101,325 Pa (SEMI E12, DIN 1343); `scfm` has others, which differ from
//! maker to maker, and is not known. Codes are those of UN/CEFACT Recommendation 20.

use std::f64::consts::PI;

use super::{Dimension, Scale};

/// A multiple, as symbol and as word.
pub(super) struct Prefix {
    pub(super) symbol: &'static str,
    pub(super) word: &'static str,
    pub(super) factor: (f64, f64),
}

/// A unit that is not composed.
pub(super) struct Atom {
    /// Its normal spelling.
    pub(super) symbol: &'static str,
    pub(super) dimension: Dimension,
    pub(super) factor: (f64, f64),
    pub(super) offset: f64,
    pub(super) scale: Scale,
    /// The multiples that are in use.
    pub(super) prefixes: &'static [&'static str],
    /// How it is written besides.
    pub(super) names: &'static [&'static str],
}

const fn prefix(symbol: &'static str, word: &'static str, num: f64, den: f64) -> Prefix {
    Prefix { symbol, word, factor: (num, den) }
}

pub(super) const PREFIXES: &[Prefix] = &[
    prefix("p", "pico", 1.0, 1e12),
    prefix("n", "nano", 1.0, 1e9),
    prefix("u", "micro", 1.0, 1e6),
    prefix("m", "milli", 1.0, 1e3),
    prefix("c", "centi", 1.0, 1e2),
    prefix("d", "deci", 1.0, 10.0),
    prefix("h", "hecto", 1e2, 1.0),
    prefix("k", "kilo", 1e3, 1.0),
    prefix("M", "mega", 1e6, 1.0),
    prefix("G", "giga", 1e9, 1.0),
];

const NONE: Dimension = [0; 9];
const LENGTH: Dimension = [1, 0, 0, 0, 0, 0, 0, 0, 0];
const VOLUME: Dimension = [3, 0, 0, 0, 0, 0, 0, 0, 0];
const MASS: Dimension = [0, 1, 0, 0, 0, 0, 0, 0, 0];
const TIME: Dimension = [0, 0, 1, 0, 0, 0, 0, 0, 0];
const CURRENT: Dimension = [0, 0, 0, 1, 0, 0, 0, 0, 0];
const TEMPERATURE: Dimension = [0, 0, 0, 0, 1, 0, 0, 0, 0];
const AMOUNT: Dimension = [0, 0, 0, 0, 0, 1, 0, 0, 0];
const LIGHT: Dimension = [0, 0, 0, 0, 0, 0, 1, 0, 0];
const ILLUMINANCE: Dimension = [-2, 0, 0, 0, 0, 0, 1, 0, 0];
const ANGLE: Dimension = [0, 0, 0, 0, 0, 0, 0, 1, 0];
const TURNING: Dimension = [0, 0, -1, 0, 0, 0, 0, 1, 0];
const FREQUENCY: Dimension = [0, 0, -1, 0, 0, 0, 0, 0, 0];
const PRESSURE: Dimension = [-1, 1, -2, 0, 0, 0, 0, 0, 0];
const FORCE: Dimension = [1, 1, -2, 0, 0, 0, 0, 0, 0];
const ENERGY: Dimension = [2, 1, -2, 0, 0, 0, 0, 0, 0];
const POWER: Dimension = [2, 1, -3, 0, 0, 0, 0, 0, 0];
const VOLTAGE: Dimension = [2, 1, -3, -1, 0, 0, 0, 0, 0];
const RESISTANCE: Dimension = [2, 1, -3, -2, 0, 0, 0, 0, 0];
const CONDUCTANCE: Dimension = [-2, -1, 3, 2, 0, 0, 0, 0, 0];
const CHARGE: Dimension = [0, 0, 1, 1, 0, 0, 0, 0, 0];
const CAPACITANCE: Dimension = [-2, -1, 4, 2, 0, 0, 0, 0, 0];
const INDUCTANCE: Dimension = [2, 1, -2, -2, 0, 0, 0, 0, 0];
const INDUCTION: Dimension = [0, 1, -2, -1, 0, 0, 0, 0, 0];
const VISCOSITY: Dimension = [-1, 1, -1, 0, 0, 0, 0, 0, 0];
const FLOW: Dimension = [3, 0, -1, 0, 0, 0, 0, 0, 0];
const STANDARD_FLOW: Dimension = [3, 0, -1, 0, 0, 0, 0, 0, 1];

const fn atom(
    symbol: &'static str,
    dimension: Dimension,
    factor: (f64, f64),
    prefixes: &'static [&'static str],
    names: &'static [&'static str],
) -> Atom {
    Atom { symbol, dimension, factor, offset: 0.0, scale: Scale::Ratio, prefixes, names }
}

const fn scaled(of: Atom, scale: Scale, offset: f64) -> Atom {
    Atom { scale, offset, ..of }
}

/// One of the SI.
const ONE: (f64, f64) = (1.0, 1.0);
/// A pound-force (0.45359237 kg times 9.80665 m/s²) on a square inch.
const PSI: (f64, f64) = (4.4482216152605, 0.00064516);

pub(super) const ATOMS: &[Atom] = &[
    atom("%", NONE, (1.0, 100.0), &[], &["percent", "pct", "prozent"]),
    atom("ppm", NONE, (1.0, 1e6), &[], &["[ppm]"]),
    atom("ppb", NONE, (1.0, 1e9), &[], &["[ppb]"]),
    scaled(atom("%RH", NONE, ONE, &[], &["rh%", "% r.h.", "% rel"]), Scale::Own, 0.0),
    scaled(atom("dB", NONE, ONE, &[], &["decibel"]), Scale::Own, 0.0),
    scaled(atom("dBm", NONE, ONE, &[], &["dB[mW]"]), Scale::Own, 0.0),
    scaled(atom("pH", NONE, ONE, &[], &["[pH]"]), Scale::Own, 0.0),
    // Before what ends in `m`, `h` and `s`, because the first of two exact spellings counts.
    atom("min", TIME, (60.0, 1.0), &[], &["minute", "minutes", "mins"]),
    atom("h", TIME, (3600.0, 1.0), &[], &["hr", "hrs", "hour", "hours"]),
    atom("d", TIME, (86400.0, 1.0), &[], &["day", "days"]),
    atom("s", TIME, ONE, &["n", "u", "m"], &["sec", "secs", "second", "seconds"]),
    atom("m", LENGTH, ONE, &["p", "n", "u", "m", "c", "d", "k"], &["meter", "metre", "meters", "metres"]),
    atom("um", LENGTH, (1.0, 1e6), &[], &["micron", "microns"]),
    atom("Angstrom", LENGTH, (1.0, 1e10), &["k"], &["Å", "\u{212b}", "ang", "Ao", "angstroms", "Ang", "AA"]),
    atom("in", LENGTH, (0.0254, 1.0), &[], &["inch", "inches", "[in_i]", "\""]),
    atom("mil", LENGTH, (0.0254, 1e3), &[], &["mils", "thou", "[mil_i]"]),
    atom("ft", LENGTH, (0.3048, 1.0), &[], &["foot", "feet", "[ft_i]"]),
    atom("L", VOLUME, (1.0, 1e3), &["u", "m", "c", "d"], &["l", "liter", "litre", "liters", "litres", "ltr"]),
    atom("cm3", VOLUME, (1.0, 1e6), &[], &["cc", "ccm"]),
    atom("gal", VOLUME, (3.785411784, 1e3), &[], &["gallon", "gallons", "[gal_us]"]),
    atom("g", MASS, (1.0, 1e3), &["u", "m", "k"], &["gram", "grams"]),
    atom("t", MASS, (1e3, 1.0), &[], &["tonne", "tonnes"]),
    atom("lb", MASS, (0.45359237, 1.0), &[], &["lbs", "lbm", "pound", "pounds", "[lb_av]"]),
    atom(
        "A",
        CURRENT,
        ONE,
        &["p", "n", "u", "m", "k"],
        &["amp", "amps", "ampere", "amperes", "Adc", "Aac", "Arms"],
    ),
    scaled(atom("K", TEMPERATURE, ONE, &["m"], &["kelvin", "degK"]), Scale::Temperature, 0.0),
    scaled(
        atom(
            "degC",
            TEMPERATURE,
            ONE,
            &[],
            &[
                "°C",
                "C",
                "Cel",
                "celsius",
                "centigrade",
                "degreeC",
                "degreesC",
                "degree celsius",
                "degrees celsius",
                "deg celsius",
            ],
        ),
        Scale::Temperature,
        273.15,
    ),
    scaled(
        atom(
            "degF",
            TEMPERATURE,
            (5.0, 9.0),
            &[],
            &[
                "°F",
                "F",
                "[degF]",
                "fahrenheit",
                "degreeF",
                "degreesF",
                "degree fahrenheit",
                "degrees fahrenheit",
                "deg fahrenheit",
            ],
        ),
        Scale::Temperature,
        459.67,
    ),
    atom("delta_K", TEMPERATURE, ONE, &[], &["ΔK", "K (difference)"]),
    atom("delta_degC", TEMPERATURE, ONE, &[], &["Δ°C", "deltaC", "degC (difference)", "celsius difference"]),
    atom("delta_degF", TEMPERATURE, (5.0, 9.0), &[], &["Δ°F", "deltaF", "degF (difference)"]),
    atom("mol", AMOUNT, ONE, &["n", "u", "m", "k"], &["mole", "moles"]),
    atom("cd", LIGHT, ONE, &["m"], &["candela"]),
    atom("lx", ILLUMINANCE, ONE, &["k"], &["lux"]),
    atom("rad", ANGLE, ONE, &["u", "m"], &["radian", "radians"]),
    atom("deg", ANGLE, (PI, 180.0), &[], &["°", "degree", "degrees", "angular degree"]),
    atom("rev", ANGLE, (2.0 * PI, 1.0), &[], &["revolution", "revolutions", "turn", "turns", "{rev}"]),
    atom(
        "rpm",
        TURNING,
        (2.0 * PI, 60.0),
        &["k"],
        &["RPM", "{rpm}", "rev/min", "r/min", "U/min", "1/min (rpm)"],
    ),
    atom("Hz", FREQUENCY, ONE, &["m", "k", "M", "G"], &["hertz", "cps"]),
    atom("Pa", PRESSURE, ONE, &["u", "m", "h", "k", "M", "G"], &["pascal", "pascals", "Paa"]),
    atom("bar", PRESSURE, (1e5, 1.0), &["u", "m"], &["bars", "bara"]),
    atom("Torr", PRESSURE, (101_325.0, 760.0), &["u", "m"], &["torr", "torrs"]),
    atom("atm", PRESSURE, (101_325.0, 1.0), &[], &["atmosphere", "atmospheres"]),
    atom("at", PRESSURE, (98_066.5, 1.0), &[], &["kgf/cm2", "kg/cm2", "kgf/cm²"]),
    atom("psi", PRESSURE, PSI, &["k"], &["PSI", "psia", "[psi]", "lbf/in2", "lb/in2", "lb/in²"]),
    // By convention 13,595.1 kg/m³ and 9.80665 m/s².
    atom("mmHg", PRESSURE, (133.322387415, 1.0), &[], &["mm[Hg]", "mm Hg"]),
    atom("inHg", PRESSURE, (133.322387415 * 25.4, 1.0), &[], &["[in_i'Hg]", "in Hg"]),
    // By convention 1,000 kg/m³.
    atom("mmH2O", PRESSURE, (9.80665, 1.0), &[], &["mm[H2O]", "mmWC", "mmAq"]),
    atom("inH2O", PRESSURE, (9.80665 * 25.4, 1.0), &[], &["[in_i'H2O]", "inWC", "inAq", "inWG", "in w.c."]),
    scaled(atom("psig", PRESSURE, PSI, &[], &["PSIG"]), Scale::Gauge, 0.0),
    scaled(atom("barg", PRESSURE, (1e5, 1.0), &["m"], &["bar gauge"]), Scale::Gauge, 0.0),
    scaled(atom("Pag", PRESSURE, ONE, &["k", "M"], &["Pa gauge", "PaG"]), Scale::Gauge, 0.0),
    atom("N", FORCE, ONE, &["u", "m", "k"], &["newton", "newtons"]),
    atom("lbf", FORCE, (4.4482216152605, 1.0), &[], &[]),
    atom("kgf", FORCE, (9.80665, 1.0), &[], &[]),
    atom("J", ENERGY, ONE, &["u", "m", "k", "M", "G"], &["joule", "joules"]),
    atom("Wh", ENERGY, (3600.0, 1.0), &["k", "M", "G"], &["watthour", "watthours", "W.h"]),
    atom("eV", ENERGY, (1.602176634e-19, 1.0), &["m", "k", "M"], &["electronvolt"]),
    atom("W", POWER, ONE, &["n", "u", "m", "k", "M", "G"], &["watt", "watts"]),
    atom("V", VOLTAGE, ONE, &["n", "u", "m", "k", "M"], &["volt", "volts", "Vdc", "Vac", "Vrms"]),
    atom("Ohm", RESISTANCE, ONE, &["u", "m", "k", "M", "G"], &["Ω", "\u{2126}", "ohms"]),
    atom("S", CONDUCTANCE, ONE, &["u", "m"], &["siemens", "mho"]),
    atom("Ah", CHARGE, (3600.0, 1.0), &["m"], &["A.h"]),
    // Not by themselves: in a plant `C` and `F` are temperatures.
    atom("uF", CAPACITANCE, (1.0, 1e6), &[], &["microfarad"]),
    atom("nF", CAPACITANCE, (1.0, 1e9), &[], &["nanofarad"]),
    atom("pF", CAPACITANCE, (1.0, 1e12), &[], &["picofarad"]),
    atom("H", INDUCTANCE, ONE, &["n", "u", "m"], &["henry"]),
    atom("T", INDUCTION, ONE, &["u", "m"], &["tesla"]),
    atom("G", INDUCTION, (1.0, 1e4), &["m"], &["gauss", "Gs"]),
    atom("P", VISCOSITY, (1.0, 10.0), &["c"], &["poise"]),
    atom("gal/min", FLOW, (3.785411784, 60_000.0), &[], &["gpm", "usgpm"]),
    atom("ft3/min", FLOW, (0.028316846592, 60.0), &[], &["cfm", "acfm"]),
    atom("L/min", FLOW, (1.0, 60_000.0), &[], &["lpm", "l/min", "ltr/min"]),
    atom("mL/min", FLOW, (1.0, 60e6), &[], &["ml/min", "cc/min", "cm3/min", "cm³/min"]),
    atom("sccm", STANDARD_FLOW, (1.0, 60e6), &["k"], &["scc/min", "std cm3/min", "mL/min (std)", "nccm"]),
    atom(
        "slm",
        STANDARD_FLOW,
        (1.0, 60_000.0),
        &[],
        &["slpm", "sL/min", "std L/min", "L/min (std)", "L/min(ntp)", "nlm", "nlpm", "Nl/min"],
    ),
    atom("Nm3/h", STANDARD_FLOW, (1.0, 3600.0), &[], &["Nm³/h", "Nm3/hr", "Sm3/h (0 degC)"]),
];

/// Codes and what they are.
pub(super) const UNECE: &[(&str, &str)] = &[
    ("CEL", "degC"),
    ("FAH", "degF"),
    ("KEL", "K"),
    ("PAL", "Pa"),
    ("A97", "hPa"),
    ("KPA", "kPa"),
    ("MPA", "MPa"),
    ("BAR", "bar"),
    ("MBR", "mbar"),
    ("PS", "psi"),
    ("ATM", "atm"),
    ("UA", "Torr"),
    ("MTR", "m"),
    ("CMT", "cm"),
    ("MMT", "mm"),
    ("4H", "um"),
    ("C45", "nm"),
    ("A11", "Angstrom"),
    ("INH", "in"),
    ("FOT", "ft"),
    ("MTK", "m2"),
    ("CMK", "cm2"),
    ("MTQ", "m3"),
    ("CMQ", "cm3"),
    ("LTR", "L"),
    ("MLT", "mL"),
    ("SEC", "s"),
    ("C26", "ms"),
    ("B98", "us"),
    ("MIN", "min"),
    ("HUR", "h"),
    ("DAY", "d"),
    ("KGM", "kg"),
    ("GRM", "g"),
    ("MGM", "mg"),
    ("LBR", "lb"),
    ("WTT", "W"),
    ("C31", "mW"),
    ("KWT", "kW"),
    ("MAW", "MW"),
    ("WHR", "Wh"),
    ("KWH", "kWh"),
    ("JOU", "J"),
    ("KJO", "kJ"),
    ("VLT", "V"),
    ("2Z", "mV"),
    ("KVT", "kV"),
    ("AMP", "A"),
    ("4K", "mA"),
    ("B84", "uA"),
    ("OHM", "Ohm"),
    ("B49", "kOhm"),
    ("SIE", "S"),
    ("HTZ", "Hz"),
    ("KHZ", "kHz"),
    ("MHZ", "MHz"),
    ("RPM", "rpm"),
    ("DD", "deg"),
    ("C81", "rad"),
    ("2A", "rad/s"),
    ("P1", "%"),
    ("59", "ppm"),
    ("NEW", "N"),
    ("NU", "N.m"),
    ("MTS", "m/s"),
    ("2X", "m/min"),
    ("L2", "L/min"),
    ("MQH", "m3/h"),
    ("MQS", "m3/s"),
    ("LUX", "lx"),
    ("CDL", "cd"),
    ("C34", "mol"),
    ("D33", "T"),
];
