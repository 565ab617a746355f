//! What other tools wrote: Zeek and ICSNPP logs, Suricata's EVE, tshark's `-T ek`.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What another tool wrote about a capture.
pub struct Reference {
    /// The file, or the capture where the tool was run here.
    pub path: PathBuf,
    /// What the tool wrote when it was run here.
    written: Option<Vec<u8>>,
}

/// Whether tshark is installed; said on the screen, once, where it is not.
pub fn tshark_is_here() -> bool {
    static HERE: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| {
        let here = Command::new("tshark").arg("--version").output().is_ok();
        #[expect(clippy::print_stderr, reason = "a comparison that is left out says so")]
        if !here {
            eprintln!("SKIPPED: comparisons with tshark; it is not installed");
        }
        here
    });
    *HERE
}

impl Reference {
    /// A file of the tool's.
    pub fn file(path: PathBuf) -> Reference {
        Reference { path, written: None }
    }

    /// What tshark writes about a capture, run with these arguments.
    pub fn tshark(capture: &Path, arguments: &[&str]) -> Option<Reference> {
        if !tshark_is_here() {
            return None;
        }
        let output = Command::new("tshark").arg("-n").arg("-r").arg(capture).args(arguments).output();
        let output = output.unwrap_or_else(|e| panic!("tshark {arguments:?}: {e}"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("aren't valid"), "tshark {arguments:?}: {said}");
        // A capture whose last packet is cut ends with an error after all that can be read.
        Some(Reference { path: capture.to_path_buf(), written: Some(output.stdout) })
    }

    /// The whole file as text; what ends in `.gz` is unpacked. Bytes that are no UTF-8 are replaced.
    pub fn text(&self) -> String {
        if let Some(written) = &self.written {
            return String::from_utf8_lossy(written).into_owned();
        }
        let fail = |error: std::io::Error| -> Vec<u8> { panic!("{}: {error}", self.path.display()) };
        let raw = std::fs::read(&self.path).unwrap_or_else(fail);
        let bytes = if self.path.extension().is_some_and(|e| e == "gz") {
            let mut out = Vec::new();
            match flate2::read::MultiGzDecoder::new(&raw[..]).read_to_end(&mut out) {
                Ok(_) => out,
                Err(error) => fail(error),
            }
        } else {
            raw
        };
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The records of a Zeek or ICSNPP log, in the log's order.
    pub fn zeek(&self) -> Vec<Record> {
        zeek(&self.text())
    }

    /// Suricata's events that carry an object of that name (`modbus`, `dnp3`, `tls`).
    pub fn eve(&self, event: &str) -> Vec<Value> {
        let needle = format!("\"{event}\":{{");
        let lines = self.text();
        let events = lines.lines().filter(|l| l.contains(&needle));
        events.map(json).filter(|e| e[event].is_object()).collect()
    }

    /// The layers of that name in tshark's `-T ek` lines, one entry a layer: a frame may have
    /// several of them. Each comes with all the frame's layers.
    pub fn ek(&self, layer: &str) -> Vec<Layer> {
        let text = self.text();
        text.lines().filter(|l| l.contains("\"layers\"")).flat_map(|l| layers(l, layer)).collect()
    }
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in the line {line}"))
}

/// One line of a Zeek log, by the names of its columns.
#[derive(Clone, Debug, Default)]
pub struct Record(HashMap<String, String>);

impl Record {
    /// A column as text; empty when it is unset, empty, or not there at all.
    pub fn get(&self, column: &str) -> &str {
        self.0.get(column).map_or("", String::as_str)
    }

    /// `address:port` of the end that opened the connection.
    pub fn client(&self) -> String {
        format!("{}:{}", self.get("id.orig_h"), self.get("id.orig_p"))
    }

    /// `address:port` of the other end.
    pub fn server(&self) -> String {
        format!("{}:{}", self.get("id.resp_h"), self.get("id.resp_p"))
    }
}

fn zeek(text: &str) -> Vec<Record> {
    let header = |name: &str| {
        text.lines().find_map(|l| l.strip_prefix(name)).map(|l| l.trim_start_matches(['\t', ' ']))
    };
    let unset = header("#unset_field").unwrap_or("-");
    let empty = header("#empty_field").unwrap_or("(empty)");
    // Some logs were cut down to a few columns, whose names are then the first line.
    let plain = || text.lines().find(|l| !l.starts_with('#') && l.split('\t').any(|f| f == "id.orig_h"));
    let fields: Vec<&str> =
        header("#fields").or_else(plain).map(|l| l.split('\t').collect()).unwrap_or_default();
    let record = |line: &str| -> Option<Record> {
        if line.starts_with('{') {
            let Value::Object(members) = json(line) else {
                return None;
            };
            let plain = |value: Value| match value {
                Value::String(text) => text,
                other => other.to_string(),
            };
            return Some(Record(members.into_iter().map(|(k, v)| (k, plain(v))).collect()));
        }
        let columns = fields.iter().zip(line.split('\t'));
        let set = columns.filter(|(_, value)| *value != unset && *value != empty);
        Some(Record(set.map(|(name, value)| (name.to_string(), unescaped(value))).collect()))
    };
    let is_record =
        |l: &&str| !l.starts_with('#') && !l.is_empty() && l.split('\t').next() != fields.first().copied();
    text.lines().filter(is_record).filter_map(record).collect()
}

/// Zeek writes control characters and its separators as `\x09`.
fn unescaped(value: &str) -> String {
    let mut out = String::new();
    let mut rest = value;
    while let Some(at) = rest.find("\\x") {
        let code = rest.get(at + 2..at + 4).and_then(|d| u8::from_str_radix(d, 16).ok());
        match code.filter(|c| c.is_ascii()) {
            Some(code) => {
                out.push_str(&rest[..at]);
                out.push(char::from(code));
                rest = &rest[at + 4..];
            }
            None => {
                out.push_str(&rest[..at + 2]);
                rest = &rest[at + 2..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// The bytes of a text of Suricata's: what is no UTF-8 it writes as `\xd2`, byte by byte.
pub fn eve_bytes(text: &str) -> Vec<u8> {
    if !text.is_ascii() {
        return text.as_bytes().to_vec();
    }
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let code = match rest {
            [b'\\', b'x', high @ (b'8'..=b'9' | b'a'..=b'f'), low, ..] => {
                std::str::from_utf8(&[*high, *low]).ok().and_then(|d| u8::from_str_radix(d, 16).ok())
            }
            _ => None,
        };
        out.push(code.unwrap_or(*first));
        rest = if code.is_some() { &rest[4..] } else { after };
    }
    out
}

/// A protocol's layer of one frame.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The layer's fields.
    pub fields: Value,
    /// The frame's other layers (addresses, ports, frame number), where the file has them.
    pub frame: std::sync::Arc<Value>,
    /// Which of the frame's layers of that name it is.
    pub index: usize,
}

impl Layer {
    /// A field's values as texts: none, one or several. A flag is `true` or `false`.
    pub fn all(&self, field: &str) -> Vec<String> {
        texts(&self.fields[field])
    }

    /// The frame's layer of another name that stands at the same place: the header below.
    pub fn beside(&self, name: &str) -> Layer {
        let fields = match &self.frame[name] {
            Value::Array(several) => several.get(self.index).cloned().unwrap_or_default(),
            one => one.clone(),
        };
        Layer { fields, frame: self.frame.clone(), index: self.index }
    }

    /// A field's first value; empty when it has none.
    pub fn first(&self, field: &str) -> String {
        self.all(field).into_iter().next().unwrap_or_default()
    }
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(values) => values.iter().flat_map(texts).collect(),
        Value::String(text) => vec![text.clone()],
        other => vec![other.to_string()],
    }
}

fn layers(line: &str, name: &str) -> Vec<Layer> {
    let mut line = json(line);
    let mut all = line["layers"].take();
    let found = all[name].take();
    let frame = std::sync::Arc::new(all);
    let several = match found {
        Value::Null => Vec::new(),
        Value::Array(several) => several,
        one => vec![one],
    };
    let layer = |(index, fields)| Layer { fields, frame: frame.clone(), index };
    several.into_iter().enumerate().map(layer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeek_logs_are_read_as_tsv_and_as_json() {
        let tsv = "#separator \\x09\n#unset_field\t-\n#fields\tts\tid.orig_h\tid.orig_p\tfunc\n\
                   #types\ttime\taddr\tport\tstring\n1.0\t10.0.0.1\t7\tREAD\\x09IT\n2.0\t-\t-\t(empty)\n#close\tx\n";
        let records = zeek(tsv);
        assert_eq!(records.len(), 2);
        assert_eq!((records[0].client().as_str(), records[0].get("func")), ("10.0.0.1:7", "READ\tIT"));
        assert_eq!((records[1].get("id.orig_h"), records[1].get("func")), ("", ""));
        let records = zeek("{\"ts\":1.5,\"id.orig_h\":\"10.0.0.1\",\"id.orig_p\":7}\n");
        assert_eq!((records[0].client().as_str(), records[0].get("ts")), ("10.0.0.1:7", "1.5"));
    }

    #[test]
    fn a_log_that_was_sorted_keeps_its_names() {
        let records = zeek("### NOTE: sorted\n#close\tx\n#fields\ta\tb\n1\t2\n");
        assert_eq!(records[0].get("b"), "2");
    }

    #[test]
    fn suricatas_bytes_are_found_again() {
        assert_eq!(eve_bytes("\\xd2\u{0}\u{2}"), [0xd2, 0, 2]);
        assert_eq!(eve_bytes("\\x41 \\xzz"), b"\\x41 \\xzz");
        assert_eq!(eve_bytes("\u{e9}"), [0xc3, 0xa9]);
    }

    #[test]
    fn several_layers_of_one_frame_are_several() {
        let line = r#"{"layers":{"tcp":{"p":"1"},"hsms":[{"a":["1","2"],"w":true},{"a":"3"}]}}"#;
        let layers = layers(line, "hsms");
        assert_eq!(layers.len(), 2);
        assert_eq!(layers[0].all("a"), ["1", "2"]);
        assert_eq!((layers[0].first("w"), layers[1].first("a")), ("true".into(), "3".into()));
        assert_eq!(layers[1].frame["tcp"]["p"], "1");
        assert_eq!(layers[0].beside("tcp").first("p"), "1");
    }
}
