//! A JSON object, written field by field straight into its text: a tree of values beside it would cost several times
//! as much.

use serde::Serialize;

/// Bytes of a usual message.
const USUAL_BYTES: usize = 4096;

/// An object that is being written.
pub(super) struct Object<'a> {
    text: &'a mut Vec<u8>,
    empty: bool,
}

/// The text of an object with the fields that `fill` puts.
pub(super) fn object(fill: impl FnOnce(&mut Object<'_>)) -> String {
    let mut text = Vec::with_capacity(USUAL_BYTES);
    write(&mut text, fill);
    String::from_utf8(text).unwrap_or_default()
}

fn write(text: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
    text.push(b'{');
    fill(&mut Object { text, empty: true });
    text.push(b'}');
}

impl Object<'_> {
    /// A field; its name has nothing to escape.
    pub fn put(&mut self, name: &str, value: impl Serialize) {
        self.name(name);
        // Texts, numbers, lists and maps of texts always serialise, and a vector takes all bytes.
        let _ = serde_json::to_writer(&mut *self.text, &value);
    }

    /// A field that is an object.
    pub fn object(&mut self, name: &str, fill: impl FnOnce(&mut Object<'_>)) {
        self.name(name);
        write(self.text, fill);
    }

    /// A field that is a list of objects; none where there is none.
    pub fn objects<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut fill: impl FnMut(&mut Object<'_>, T),
    ) {
        let mut begun = false;
        for item in items {
            if std::mem::replace(&mut begun, true) {
                self.text.push(b',');
            } else {
                self.name(name);
                self.text.push(b'[');
            }
            write(self.text, |object| fill(object, item));
        }
        if begun {
            self.text.push(b']');
        }
    }

    fn name(&mut self, name: &str) {
        if !std::mem::replace(&mut self.empty, false) {
            self.text.push(b',');
        }
        self.text.push(b'"');
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend_from_slice(b"\":");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let text = object(|o| {
            o.put("a", "x\"\n\u{0}");
            o.object("none", |_| {});
            o.objects("no", [0_u8; 0], |o, n| o.put("n", n));
            o.objects("list", [1, 2], |o, n| {
                o.put("n", n);
                o.object("in", |o| o.put("deep", [n, n]));
            });
        });
        let read: Value = serde_json::from_str(&text).expect("JSON");
        let list = json!([{ "n": 1, "in": { "deep": [1, 1] } }, { "n": 2, "in": { "deep": [2, 2] } }]);
        assert_eq!(read, json!({ "a": "x\"\n\u{0}", "none": {}, "list": list }));
        assert_eq!(object(|_| {}), "{}");
    }
}
