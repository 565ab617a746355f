//! Patterns of names, and texts that use what they capture.
//!
//! `*` stands for any text within a segment (between two `/`), also for none; `**` for any text; `{word}` for at
//! least one character of a segment, which the word names from then on. Each takes as little as it can, from the
//! left. A backslash before one of `*{}\` takes its meaning away.

/// The most of `*`, `**` and `{word}` in a pattern: a name is compared in a time of at most so many times its
/// length squared.
const WILD_MAX: usize = 16;

/// What a pattern, or a name, is made of: bytes and these.
type Symbol = u16;
const STAR: Symbol = 256;
const DEEP: Symbol = 257;
const CAPTURE: Symbol = 258;
const SLASH: Symbol = b'/' as Symbol;

/// A pattern of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    symbols: Box<[Symbol]>,
    words: Box<[Box<str>]>,
}

/// What a name has to have at a fixed place for a pattern to match, so that patterns are found by it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Anchor {
    /// The name itself.
    Whole(Box<str>),
    /// What it begins with.
    Prefix(Box<str>),
    /// What it ends with.
    Suffix(Box<str>),
    /// Its segment of that number.
    Segment(u16, Box<str>),
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Pattern, String> {
        let mut symbols = Vec::with_capacity(text.len());
        let mut words: Vec<Box<str>> = Vec::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let after = &rest[c.len_utf8()..];
            rest = match c {
                '\\' if after.starts_with(['*', '{', '}', '\\']) => {
                    symbols.push(Symbol::from(after.as_bytes()[0]));
                    &after[1..]
                }
                '*' if after.starts_with('*') => {
                    symbols.push(DEEP);
                    &after[1..]
                }
                '*' => {
                    symbols.push(STAR);
                    after
                }
                '{' => {
                    let (word, after) = word(after, text)?;
                    if words.iter().any(|known| **known == *word) {
                        return Err(format!(
                            "`{{{word}}}` stands twice in `{text}`; give the second another word"
                        ));
                    }
                    if symbols.last().is_some_and(|symbol| *symbol >= STAR) {
                        return Err(format!(
                            "nothing stands before `{{{word}}}` in `{text}` that says where it begins; write what separates it"
                        ));
                    }
                    symbols.push(CAPTURE);
                    words.push(word.into());
                    after
                }
                '}' => {
                    return Err(format!(
                        "`}}` without `{{` in `{text}`; write `\\}}` where it is part of the name"
                    ));
                }
                c => {
                    let mut bytes = [0; 4];
                    symbols.extend(c.encode_utf8(&mut bytes).bytes().map(Symbol::from));
                    after
                }
            };
        }
        if symbols.iter().filter(|symbol| **symbol >= STAR).count() > WILD_MAX {
            return Err(format!("`{text}` has more than {WILD_MAX} of `*`, `**` and `{{word}}`; use `**`"));
        }
        Ok(Pattern { symbols: symbols.into(), words: words.into() })
    }

    /// The words that it captures.
    pub(super) fn words(&self) -> &[Box<str>] {
        &self.words
    }

    /// Where the name must be looked for.
    pub(super) fn anchor(&self) -> Anchor {
        let (prefix, suffix) = self.ends();
        if prefix.len() == self.symbols.len() {
            return Anchor::Whole(prefix);
        }
        let segment = self.segments().max_by_key(|(_, text)| text.len());
        match segment {
            Some((at, text)) if text.len() > prefix.len().max(suffix.len()) => Anchor::Segment(at, text),
            _ if suffix.len() > prefix.len() => Anchor::Suffix(suffix),
            _ => Anchor::Prefix(prefix),
        }
    }

    /// What it begins and ends with before anything is left open.
    pub(super) fn ends(&self) -> (Box<str>, Box<str>) {
        let is_open = |symbol: &Symbol| *symbol >= STAR;
        let begin = self.symbols.iter().position(is_open).unwrap_or(self.symbols.len());
        let end = self.symbols.iter().rposition(is_open).map_or(0, |at| at + 1);
        (text(&self.symbols[..begin]), text(&self.symbols[end..]))
    }

    /// Segments whose text and number are fixed.
    pub(super) fn segments(&self) -> impl Iterator<Item = (u16, Box<str>)> {
        let until = self.symbols.iter().position(|symbol| *symbol == DEEP).unwrap_or(usize::MAX);
        let numbered = self.symbols.split(|symbol| *symbol == SLASH).zip(0..u16::MAX);
        numbered
            .scan(0, |begin, (segment, at)| {
                let from = *begin;
                *begin += segment.len() + 1;
                Some((from, segment, at))
            })
            .take_while(move |(from, segment, _)| until == usize::MAX || from + segment.len() <= until)
            .filter(|(_, segment, _)| segment.iter().all(|symbol| *symbol < STAR))
            .map(|(_, segment, at)| (at, text(segment)))
    }

    /// Whether a name matches, and where what it captures stands in it.
    pub(super) fn captures(&self, name: &str) -> Option<Vec<(u32, u32)>> {
        let name = name.as_bytes();
        let mut matching = Matching::new(&self.symbols, name.len());
        let matches = matching.run(0, 0, 0, 0, &|at| Symbol::from(name[at]));
        matches.then(|| matching.captured[..self.words.len()].to_vec())
    }

    /// Whether a name matches.
    pub(super) fn matches(&self, name: &str) -> bool {
        self.captures(name).is_some()
    }

    /// Whether every name that matches `other` certainly matches this one, too.
    pub(super) fn covers(&self, other: &Pattern) -> bool {
        let other = &other.symbols;
        Matching::new(&self.symbols, other.len()).run(0, 0, 0, 0, &|at| other[at])
    }
}

fn word<'a>(after: &'a str, whole: &str) -> Result<(&'a str, &'a str), String> {
    let (word, after) = after.split_once('}').ok_or_else(|| {
        format!("`{{` without `}}` in `{whole}`; write `\\{{` where it is part of the name")
    })?;
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match !word.is_empty() && word.chars().all(fits) {
        true => Ok((word, after)),
        false => Err(format!("`{{{word}}}` in `{whole}` is no word; use letters, digits and `_`")),
    }
}

fn text(symbols: &[Symbol]) -> Box<str> {
    let bytes: Vec<u8> = symbols.iter().map(|symbol| *symbol as u8).collect();
    // Cut at what is ASCII, so it is whole; if it were not, nothing would be found by it.
    String::from_utf8(bytes).unwrap_or_default().into()
}

/// Bits for most names and patterns without asking for memory.
const FEW: usize = 8;

struct Matching<'a> {
    pattern: &'a [Symbol],
    captured: [(u32, u32); WILD_MAX],
    length: usize,
    /// By the number of what is open and the place in the name: where it did not go on. Bits of the first if
    /// they are enough.
    few: [u64; FEW],
    many: Vec<u64>,
}

impl<'a> Matching<'a> {
    fn new(pattern: &'a [Symbol], length: usize) -> Self {
        let open = pattern.iter().filter(|symbol| **symbol >= STAR).count();
        let words = (open * (length + 1)).div_ceil(64);
        let many = if words > FEW { vec![0; words] } else { Vec::new() };
        Matching { pattern, captured: [(0, 0); WILD_MAX], length, few: [0; FEW], many }
    }

    fn failed(&mut self) -> &mut [u64] {
        if self.many.is_empty() { &mut self.few } else { &mut self.many }
    }

    /// From places in the pattern and the name on; `open` and `capture` count what was open before.
    fn run(
        &mut self,
        mut at: usize,
        mut place: usize,
        open: usize,
        capture: usize,
        name: &impl Fn(usize) -> Symbol,
    ) -> bool {
        let symbol = loop {
            match self.pattern.get(at) {
                None => return place == self.length,
                Some(symbol) if *symbol >= STAR => break *symbol,
                Some(symbol) if place < self.length && name(place) == *symbol => {
                    (at, place) = (at + 1, place + 1)
                }
                Some(_) => return false,
            }
        };
        let bit = open * (self.length + 1) + place;
        if self.failed().get(bit / 64).is_some_and(|bits| bits >> (bit % 64) & 1 == 1) {
            return false;
        }
        let begin = place;
        let mut taken = symbol != CAPTURE;
        loop {
            // Never within a character.
            let begins = place == self.length || !(0x80..0xc0).contains(&name(place));
            if taken && begins {
                if symbol == CAPTURE {
                    self.captured[capture] = (begin as u32, place as u32);
                }
                let captures = capture + usize::from(symbol == CAPTURE);
                if self.run(at + 1, place, open + 1, captures, name) {
                    return true;
                }
            }
            if place == self.length {
                break;
            }
            let next = name(place);
            if symbol != DEEP && (next == SLASH || next == DEEP) {
                break;
            }
            // A `*` of another pattern may stand for nothing.
            taken |= next < STAR || next == CAPTURE;
            place += 1;
        }
        if let Some(bits) = self.failed().get_mut(bit / 64) {
            *bits |= 1 << (bit % 64);
        }
        false
    }
}

/// A text that may use captured words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Template {
    /// Nothing is said.
    #[default]
    Empty,
    /// The text itself.
    Text(Box<str>),
    /// Texts and numbers of words.
    Pieces(Box<[Piece]>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(Box<str>),
    Word(usize),
}

impl Template {
    pub(super) fn parse(whole: &str, words: &[Box<str>]) -> Result<Template, String> {
        let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), whole);
        while let Some(c) = rest.chars().next() {
            let after = &rest[c.len_utf8()..];
            rest = match c {
                '\\' if after.starts_with(['*', '{', '}', '\\']) => {
                    plain.push_str(&after[..1]);
                    &after[1..]
                }
                '{' => {
                    let (word, after) = word(after, whole)?;
                    let Some(at) = words.iter().position(|known| **known == *word) else {
                        let known = match words.join("`, `") {
                            none if none.is_empty() => "captures nothing".to_string(),
                            words => format!("captures `{words}`"),
                        };
                        return Err(format!("`{{{word}}}` in `{whole}` is not captured: the name {known}"));
                    };
                    if !plain.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut plain).into()));
                    }
                    pieces.push(Piece::Word(at));
                    after
                }
                c => {
                    plain.push(c);
                    after
                }
            };
        }
        Ok(match (pieces.is_empty(), plain.is_empty()) {
            (true, true) => Template::Empty,
            (true, false) => Template::Text(plain.into()),
            (false, last) => {
                if !last {
                    pieces.push(Piece::Text(plain.into()));
                }
                Template::Pieces(pieces.into())
            }
        })
    }

    /// The text, where it uses no words.
    pub(super) fn literal(&self) -> Option<&str> {
        match self {
            Template::Empty => Some(""),
            Template::Text(text) => Some(text),
            Template::Pieces(_) => None,
        }
    }

    /// The text with its words.
    pub(super) fn fill<'w>(&self, word: impl Fn(usize) -> &'w str) -> String {
        match self {
            Template::Empty => String::new(),
            Template::Text(text) => text.to_string(),
            Template::Pieces(pieces) => pieces
                .iter()
                .map(|piece| match piece {
                    Piece::Text(text) => text,
                    Piece::Word(at) => word(*at),
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn taken<'a>(pattern: &str, name: &'a str) -> Option<Vec<&'a str>> {
        let captured = Pattern::parse(pattern).unwrap().captures(name)?;
        Some(captured.into_iter().map(|(from, to)| &name[from as usize..to as usize]).collect())
    }

    #[test]
    fn patterns_match_within_segments_and_over_them() {
        assert_eq!(taken("a/*/c", "a/b/c"), Some(vec![]));
        assert_eq!(taken("a/*/c", "a//c"), Some(vec![]));
        assert_eq!(taken("a/*/c", "a/b/b/c"), None);
        assert_eq!(taken("a/**/c", "a/b/b/c"), Some(vec![]));
        assert_eq!(taken("{tool}/PM{chamber}/*", "ETCH-07/PM2/Flow"), Some(vec!["ETCH-07", "2"]));
        assert_eq!(taken("{tool}/PM{chamber}/*", "ETCH-07/PM/Flow"), None);
        assert_eq!(taken("{a}.{b}", "x.y.z"), Some(vec!["x", "y.z"]));
        assert_eq!(taken("**/{last}", "櫓/日/本"), Some(vec!["本"]));
        assert_eq!(taken(r"a\*\{b\}\\", r"a*{b}\"), Some(vec![]));
        assert_eq!(taken(r"c:\x", r"c:\x"), Some(vec![]));
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        for (pattern, why) in [
            ("{a", "without `}`"),
            ("a}", "without `{`"),
            ("{}", "is no word"),
            ("{a}{b}", "nothing stands before"),
            ("*{b}", "nothing stands before"),
            ("{a}/{a}", "stands twice"),
            ("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a", "more than 16"),
        ] {
            let said = Pattern::parse(pattern).unwrap_err();
            assert!(said.contains(why), "{pattern}: {said}");
        }
        let said = Template::parse("T-{nn}", &["tool".into()]).unwrap_err();
        assert!(said.contains("`{nn}`") && said.contains("captures `tool`"), "{said}");
    }

    #[test]
    fn patterns_are_found_by_what_is_fixed() {
        let anchor = |pattern: &str| Pattern::parse(pattern).unwrap().anchor();
        assert_eq!(anchor("a/b"), Anchor::Whole("a/b".into()));
        assert_eq!(anchor("abc/*/d"), Anchor::Prefix("abc/".into()));
        assert_eq!(anchor("{t}/pressure"), Anchor::Suffix("/pressure".into()));
        assert_eq!(anchor("{t}/pressure/{s}"), Anchor::Segment(1, "pressure".into()));
        assert_eq!(anchor("**/pressure/{s}"), Anchor::Prefix("".into()));
        assert_eq!(anchor("本/*"), Anchor::Prefix("本/".into()));
    }

    #[test]
    fn patterns_that_match_less_are_covered() {
        let covers = |a: &str, b: &str| Pattern::parse(a).unwrap().covers(&Pattern::parse(b).unwrap());
        for (a, b) in [
            ("**", "a/{b}/*"),
            ("a/*", "a/b"),
            ("a/*", "a/{x}"),
            ("{x}", "{y}"),
            ("{x}", "a*"),
            ("**/c", "a/*/c"),
            ("*", "*"),
        ] {
            assert!(covers(a, b), "{a} {b}");
        }
        for (a, b) in [("a/*", "a/**"), ("{x}", "*"), ("a", "*"), ("*/b", "a/**/b"), ("a/b", "a/c")] {
            assert!(!covers(a, b), "{a} {b}");
        }
    }

    #[test]
    fn many_open_places_end_soon() {
        let pattern = Pattern::parse(&"*a".repeat(WILD_MAX)).unwrap();
        assert!(!pattern.matches(&format!("{}b", "a".repeat(1024))));
    }

    proptest! {
        /// Against the plainest way to compare.
        #[test]
        fn matching_is_what_it_says(pattern in "[ab/*]{0,8}", name in "[ab/]{0,10}") {
            fn plain(p: &[u8], n: &[u8]) -> bool {
                match p {
                    [] => n.is_empty(),
                    [b'*', b'*', rest @ ..] => (0..=n.len()).any(|at| plain(rest, &n[at..])),
                    [b'*', rest @ ..] => (0..=n.len())
                        .take_while(|at| !n[..*at].contains(&b'/'))
                        .any(|at| plain(rest, &n[at..])),
                    [c, rest @ ..] => n.first() == Some(c) && plain(rest, &n[1..]),
                }
            }
            let read = Pattern::parse(&pattern).unwrap();
            prop_assert_eq!(read.matches(&name), plain(pattern.as_bytes(), name.as_bytes()));
        }

        #[test]
        fn what_covers_matches_what_is_covered(
            a in "[ab/*]{0,6}", b in "[ab/*]{0,6}", name in "[ab/]{0,8}",
        ) {
            let [a, b] = [a, b].map(|text| Pattern::parse(&text).unwrap());
            if a.covers(&b) && b.matches(&name) {
                prop_assert!(a.matches(&name));
            }
        }

        #[test]
        fn nothing_panics(pattern in "\\PC{0,12}", name in "\\PC{0,12}", words in "[a-c{}*/\\\\]{0,12}") {
            for text in [&pattern, &words] {
                let _ = Template::parse(text, &["a".into()]);
                if let Ok(read) = Pattern::parse(text) {
                    let (_, _) = (read.anchor(), read.covers(&read));
                    if let Some(captured) = read.captures(&name) {
                        for (from, to) in captured {
                            prop_assert!(name.get(from as usize..to as usize).is_some_and(|t| !t.is_empty()));
                        }
                    }
                }
            }
        }
    }
}
