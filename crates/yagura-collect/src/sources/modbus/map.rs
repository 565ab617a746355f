//! Register maps: which signal stands in which registers of a device, and how.

use std::path::Path;

use serde::Deserialize;

use super::client::Table;

/// Entries of one map.
const ENTRIES_MAX: usize = 1 << 16;

/// What the numbers in the column `register` are. Mixing them up reads the neighbour of every register, so it
/// is always declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Base {
    /// What goes over the wire: the first register is 0.
    #[serde(rename = "zero")]
    Zero,
    /// The first register of each kind is 1.
    #[serde(rename = "one")]
    One,
    /// 1-based with the kind before it: 40001 or 400001 is the first holding register, 30001 the first input
    /// register, 10001 the first discrete input, 1 the first coil.
    #[serde(rename = "4xxxx")]
    Classic,
}

/// A signal as people write it in a map.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The signal's name, once in a map.
    name: String,
    /// The first register, in the map's `base`.
    register: u32,
    /// `coil`, `discrete`, `holding` or `input`.
    kind: Table,
    /// `u16`, `i16`, `u32`, `i32`, `u64`, `i64`, `f32`, `f64`, `bit:N` (0 is the lowest), `bool`, `string:N` (N
    /// characters, two a register); `bool` for bits and `u16` for registers when empty. Numbers of 64 bits lose
    /// what a double does not hold.
    #[serde(default, rename = "type")]
    form: Option<Form>,
    /// How bytes A (the highest), B, C, D of a number come: `abcd` (as the specification has it), `cdab`, `badc`,
    /// `dcba`.
    #[serde(default)]
    order: Option<Order>,
    /// The value is the number times this,
    #[serde(default)]
    scale: Option<f64>,
    /// plus this.
    #[serde(default)]
    offset: Option<f64>,
    /// The unit of the value so reckoned.
    #[serde(default)]
    unit: String,
    /// What kind of value it is.
    #[serde(default)]
    class: String,
    /// The tool; the device's name when empty.
    #[serde(default)]
    tool: String,
    /// The chamber.
    #[serde(default)]
    chamber: String,
}

/// How a number or a text stands in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Form {
    /// Zero or not.
    Bool,
    /// One bit of a register.
    Bit(u8),
    /// Without a sign, in so many registers.
    Unsigned(u16),
    /// Two's complement, in so many registers.
    Signed(u16),
    /// IEEE 754, 32 bits.
    Single,
    /// IEEE 754, 64 bits.
    Double,
    /// So many characters, two a register.
    Text(u16),
}

impl TryFrom<String> for Form {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parameter = |text: &str| text.parse::<u16>().ok();
        let form = match text.split_once(':') {
            Some(("bit", n)) => parameter(n).filter(|n| *n < 16).map(|n| Form::Bit(n as u8)),
            Some(("string", n)) => parameter(n).filter(|n| (1..=250).contains(n)).map(Form::Text),
            Some(_) => None,
            None => match text.as_str() {
                "bool" => Some(Form::Bool),
                "u16" => Some(Form::Unsigned(1)),
                "u32" => Some(Form::Unsigned(2)),
                "u64" => Some(Form::Unsigned(4)),
                "i16" => Some(Form::Signed(1)),
                "i32" => Some(Form::Signed(2)),
                "i64" => Some(Form::Signed(4)),
                "f32" => Some(Form::Single),
                "f64" => Some(Form::Double),
                _ => None,
            },
        };
        form.ok_or_else(|| {
            format!(
                "`{text}` is no type; there are: u16, i16, u32, i32, u64, i64, f32, f64, bool, bit:0 to bit:15, string:1 to string:250"
            )
        })
    }
}

/// The order in which the bytes of a number come, from A, the highest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// As the specification has it.
    Abcd,
    /// The lowest register first.
    Cdab,
    /// The lower byte of each register first.
    Badc,
    /// Both.
    Dcba,
}

/// A signal and where it stands.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name in the map.
    pub name: String,
    /// In which table.
    pub table: Table,
    /// The first register or bit, as it goes over the wire.
    pub start: u16,
    /// How many.
    pub count: u16,
    form: Form,
    order: Order,
    scale: f64,
    offset: f64,
    /// The unit of its values.
    pub unit: String,
    /// What kind of value it is.
    pub class: String,
    /// The tool, where the map says one.
    pub tool: String,
    /// The chamber.
    pub chamber: String,
}

/// What an entry's registers hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number, in the map's unit.
    Number(f64),
    /// A text, without what fills it up.
    Text(String),
}

/// Reads a map from a file with a line of headings.
pub fn read(file: &Path, base: Base) -> Result<Vec<Entry>, String> {
    let place = |line: u64| format!("{}:{line}", file.display());
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .comment(Some(b'#'))
        .from_path(file)
        .map_err(|e| format!("{}: cannot be read: {e}", file.display()))?;
    let mut out = Vec::new();
    for line in reader.deserialize::<Line>() {
        let (line, at) = match line {
            Ok(line) => (line, out.len()),
            Err(e) => {
                let at = e.position().map_or(1, csv::Position::line);
                let cause = match e.kind() {
                    csv::ErrorKind::Deserialize { err, .. } => err.to_string(),
                    _ => e.to_string(),
                };
                return Err(format!("{}: {cause}", place(at)));
            }
        };
        let entry = line.entry(base).map_err(|e| format!("{}: entry {}: {e}", file.display(), at + 1))?;
        out.push(entry);
    }
    checked(out).map_err(|e| format!("{}: {e}", file.display()))
}

/// Makes a map of lines that stand in the settings.
pub fn inline(lines: Vec<Line>, base: Base) -> Result<Vec<Entry>, String> {
    checked(lines.into_iter().map(|line| line.entry(base)).collect::<Result<_, _>>()?)
}

fn checked(entries: Vec<Entry>) -> Result<Vec<Entry>, String> {
    if entries.is_empty() {
        return Err("the map has no entry".into());
    }
    if entries.len() > ENTRIES_MAX {
        return Err(format!("the map has {} entries; at most {ENTRIES_MAX} are read", entries.len()));
    }
    let mut names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => {
            Err(format!("`{}` stands twice in the map; give each signal a name of its own", pair[0]))
        }
        None => Ok(entries),
    }
}

impl Line {
    fn entry(self, base: Base) -> Result<Entry, String> {
        let name = self.name;
        let wrong = |problem: String| format!("`{name}`: {problem}");
        if name.is_empty() {
            return Err("an entry has no name".into());
        }
        let table = self.kind;
        let form = self.form.unwrap_or(if table.is_bits() { Form::Bool } else { Form::Unsigned(1) });
        if table.is_bits() && form != Form::Bool {
            return Err(wrong(format!("a {} is one bit: its type is bool", table.name())));
        }
        let order = self.order.unwrap_or(Order::Abcd);
        if matches!(form, Form::Text(_)) && matches!(order, Order::Cdab | Order::Dcba) {
            return Err(wrong(
                "the order of a text is abcd, or badc where each register is turned round".into(),
            ));
        }
        let start = start(table, self.register, base).map_err(wrong)?;
        let count = form.registers();
        if usize::from(start) + usize::from(count) > 1 << 16 {
            return Err(wrong(format!("register {start} and {count} from there go beyond 65535")));
        }
        let (scale, offset) = (self.scale.unwrap_or(1.0), self.offset.unwrap_or(0.0));
        if !scale.is_finite() || !offset.is_finite() || scale == 0.0 {
            return Err(wrong("`scale` is a number other than 0, and `offset` a number".into()));
        }
        let Line { unit, class, tool, chamber, .. } = self;
        Ok(Entry { name, table, start, count, form, order, scale, offset, unit, class, tool, chamber })
    }
}

/// The register as it goes over the wire.
fn start(table: Table, register: u32, base: Base) -> Result<u16, String> {
    let first = match base {
        Base::Zero => 0,
        Base::One => 1,
        Base::Classic => {
            let digit = table.digit();
            match table {
                Table::Coil => 1,
                _ if register >= 100_000 => digit * 100_000 + 1,
                _ => digit * 10_000 + 1,
            }
        }
    };
    let last = match base {
        Base::Classic if register < 100_000 && table != Table::Coil => first + 9998,
        _ => first + 65_535,
    };
    match (first..=last).contains(&register) {
        true => Ok((register - first) as u16),
        false => Err(format!(
            "{register} is no {} register: with this `base` they go from {first} to {last}",
            table.name()
        )),
    }
}

impl Form {
    fn registers(self) -> u16 {
        match self {
            Form::Bool | Form::Bit(_) => 1,
            Form::Unsigned(registers) | Form::Signed(registers) => registers,
            Form::Single => 2,
            Form::Double => 4,
            Form::Text(characters) => characters.div_ceil(2),
        }
    }
}

impl Entry {
    /// The value in its registers.
    pub fn of_words(&self, words: &[u16]) -> Value {
        let number = match self.form {
            Form::Text(characters) => return Value::Text(self.text(words, characters)),
            Form::Bool => f64::from(u8::from(words.iter().any(|word| *word != 0))),
            Form::Bit(bit) => f64::from(self.raw(words) as u16 >> bit & 1),
            Form::Unsigned(_) => self.raw(words) as f64,
            Form::Signed(1) => f64::from(self.raw(words) as u16 as i16),
            Form::Signed(2) => f64::from(self.raw(words) as u32 as i32),
            Form::Signed(_) => self.raw(words) as i64 as f64,
            Form::Single => f64::from(f32::from_bits(self.raw(words) as u32)),
            Form::Double => f64::from_bits(self.raw(words)),
        };
        Value::Number(number * self.scale + self.offset)
    }

    /// The value of a coil or a discrete input.
    pub fn of_bit(&self, bit: bool) -> Value {
        Value::Number(f64::from(u8::from(bit)) * self.scale + self.offset)
    }

    /// All bits of a number, the highest first.
    fn raw(&self, words: &[u16]) -> u64 {
        let join = |value: u64, word: &u16| value << 16 | u64::from(self.turned(*word));
        match self.order {
            Order::Abcd | Order::Badc => words.iter().fold(0, join),
            Order::Cdab | Order::Dcba => words.iter().rev().fold(0, join),
        }
    }

    fn turned(&self, word: u16) -> u16 {
        match self.order {
            Order::Abcd | Order::Cdab => word,
            Order::Badc | Order::Dcba => word.swap_bytes(),
        }
    }

    fn text(&self, words: &[u16], characters: u16) -> String {
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| self.turned(*word).to_be_bytes()).collect();
        bytes.truncate(characters.into());
        if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
            bytes.truncate(end);
        }
        String::from_utf8_lossy(&bytes).trim_end().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(settings: serde_json::Value, base: Base) -> Result<Entry, String> {
        serde_json::from_value::<Line>(settings).map_err(|e| e.to_string())?.entry(base)
    }

    fn form(form: &str, order: &str) -> Entry {
        let line =
            serde_json::json!({"name": "x", "register": 0, "kind": "holding", "type": form, "order": order});
        entry(line, Base::Zero).expect("an entry")
    }

    #[test]
    fn a_register_means_what_its_base_says() {
        let start = |register: u32, kind: &str, base: Base| {
            entry(serde_json::json!({"name": "x", "register": register, "kind": kind}), base).map(|e| e.start)
        };
        for (register, kind, base, expected) in [
            (0, "holding", Base::Zero, 0),
            (40001, "holding", Base::Zero, 40001),
            (1, "holding", Base::One, 0),
            (40001, "holding", Base::One, 40000),
            (40001, "holding", Base::Classic, 0),
            (49999, "holding", Base::Classic, 9998),
            (465_536, "holding", Base::Classic, 65535),
            (30108, "input", Base::Classic, 107),
            (100_001, "discrete", Base::Classic, 0),
            (1, "coil", Base::Classic, 0),
        ] {
            assert_eq!(start(register, kind, base), Ok(expected), "{register} {kind} {base:?}");
        }
        for (register, kind, base) in [
            (0, "holding", Base::One),
            (65536, "input", Base::Zero),
            (30001, "holding", Base::Classic),
            (107, "holding", Base::Classic),
            (40000, "holding", Base::Classic),
            (0, "coil", Base::Classic),
        ] {
            let error = start(register, kind, base).expect_err("no such register");
            assert!(error.contains("they go from"), "{error}");
        }
    }

    #[test]
    fn numbers_are_read_in_every_order() {
        // 123456.75 is 0x47F1_2060 as a single.
        for (order, words) in [
            ("abcd", [0x47F1, 0x2060]),
            ("cdab", [0x2060, 0x47F1]),
            ("badc", [0xF147, 0x6020]),
            ("dcba", [0x6020, 0xF147]),
        ] {
            assert_eq!(form("f32", order).of_words(&words), Value::Number(123_456.75), "{order}");
            assert_eq!(form("u32", order).of_words(&words), Value::Number(0x47F1_2060_u32.into()), "{order}");
        }
        let number = -1_234_567_890_123_i64;
        let words: Vec<u16> =
            number.to_be_bytes().chunks(2).map(|b| u16::from_be_bytes([b[0], b[1]])).collect();
        let turned: Vec<u16> = words.iter().rev().map(|word| word.swap_bytes()).collect();
        assert_eq!(form("i64", "abcd").of_words(&words), Value::Number(number as f64));
        assert_eq!(form("i64", "dcba").of_words(&turned), Value::Number(number as f64));
        assert_eq!(form("i16", "abcd").of_words(&[0xFFFE]), Value::Number(-2.0));
        assert_eq!(form("i32", "abcd").of_words(&[0xFFFF, 0xFFFE]), Value::Number(-2.0));
        assert_eq!(form("u16", "dcba").of_words(&[0x0100]), Value::Number(1.0));
        assert_eq!(form("bit:15", "abcd").of_words(&[0x8000]), Value::Number(1.0));
        assert_eq!(form("bit:7", "badc").of_words(&[0x8000]), Value::Number(1.0));
        assert_eq!(form("bool", "abcd").of_words(&[4]), Value::Number(1.0));
        let double: Vec<u16> =
            0.1_f64.to_be_bytes().chunks(2).map(|b| u16::from_be_bytes([b[0], b[1]])).collect();
        assert_eq!(form("f64", "abcd").of_words(&double), Value::Number(0.1));
        assert_eq!(form("string:5", "abcd").of_words(&[0x4162, 0x6364, 0x6566]), Value::Text("Abcde".into()));
        assert_eq!(form("string:6", "badc").of_words(&[0x6241, 0x0063, 0x4141]), Value::Text("Abc".into()));
    }

    #[test]
    fn a_map_says_where_it_is_wrong() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("pump.csv");
        let read = |text: &str| {
            std::fs::write(&file, text).expect("a file");
            super::read(&file, Base::Classic)
        };
        let entries = read(
            "name,register,kind,type,order,scale,offset,unit,class,tool,chamber\n# a comment\n\
             pressure,40001,holding,f32,cdab,0.1,,mbar,pressure,PUMP-3,\n running, 17, coil,,,,,,,,\n",
        )
        .expect("a map");
        let pressure = &entries[0];
        assert_eq!((pressure.start, pressure.count, pressure.unit.as_str()), (0, 2, "mbar"));
        assert_eq!((entries[1].table, entries[1].start), (Table::Coil, 16));
        for (text, cause) in [
            ("name,register,kind\na,1,coil\nb,x,coil\n", "pump.csv:3: field 1: invalid digit"),
            ("name,register,kind,type\na,40001,holding,u8\n", "pump.csv:2: "),
            ("name,register,kind,tpye\na,40001,holding,u16\n", "unknown field `tpye`"),
            ("name,register,kind\na,1,coil\na,2,coil\n", "`a` stands twice"),
            ("name,register,kind\na,40001,coil\nb,1,holding\n", "`b`: 1 is no holding register"),
            ("name,register,kind,type\na,1,coil,f32\n", "its type is bool"),
            ("name,register,kind\n", "no entry"),
        ] {
            let error = read(text).expect_err("a wrong map");
            assert!(error.contains(cause), "{error}");
        }
    }
}
