//! A small picture of a signal: what was seen, what was expected, and where it deviated. As SVG for pages and mails,
//! as a line of blocks for terminals.
//!
//! An SVG stands by itself: no scripts, no styles, nothing from elsewhere, all text escaped, its own light background so that
//! it can be read on any other, and its numbers in words for those who hear it. Lines differ in more than their colours.

use std::fmt::Write as _;
use std::ops::Range;

use unicode_width::UnicodeWidthChar;
use yagura_event::alert::{Alert, reading};

use crate::text::{date_and_time, deceives};

/// What a model's alert carries to be drawn: the signal's course until then, or just its last value.
pub struct Drawn {
    /// Of which signal, and where.
    pub title: String,
    ends: [String; 2],
    /// What was seen and what was expected of it.
    pub seen: Vec<f64>,
    /// See [`Self::seen`].
    pub expected: Vec<f64>,
    /// Whether these are the values of a time, not a single one.
    pub is_course: bool,
    deviation: f64,
    marked: Range<usize>,
}

impl Drawn {
    /// What an alert carries; none where it says nothing of what was expected.
    pub fn of(alert: &Alert) -> Option<Drawn> {
        let (evidence, around) = (&alert.evidence, &alert.evidence["around"]);
        let numbers = |name: &str| -> Vec<f64> {
            let values = around[name].as_array().into_iter().flatten().take(VALUES_MAX);
            values.map(|value| value.as_f64().unwrap_or(f64::NAN)).collect()
        };
        let (mut seen, mut expected) = (numbers("seen"), numbers("expected"));
        let is_course = !seen.is_empty();
        if !is_course {
            seen = vec![evidence["seen"].as_f64()?; 2];
            expected = vec![evidence["expected"].as_f64()?; 2];
        }
        let of = |name: &str| evidence[name].as_str().filter(|text| !text.is_empty());
        let place = [Some(alert.tool.as_str()).filter(|tool| !tool.is_empty()), of("chamber"), of("signal")];
        let place: Vec<&str> = place.into_iter().flatten().collect();
        let unit = of("unit").map(|unit| format!(" ({unit})")).unwrap_or_default();
        let last = seen.len().saturating_sub(1);
        let length = around["period_s"].as_f64().unwrap_or(0.0) * last as f64 * 1e6;
        let marked = around["marked"].as_u64().map_or(0, |rows| rows.min(seen.len() as u64) as usize);
        Some(Drawn {
            title: format!("{}{unit}: {}", place.join(" "), alert.title),
            ends: [date_and_time(alert.time.saturating_sub(length as i64)), date_and_time(alert.time)],
            deviation: around["deviation"].as_f64().or(evidence["deviation"].as_f64()).unwrap_or(0.0),
            marked: seen.len() - marked..seen.len(),
            seen,
            expected,
            is_course,
        })
    }

    /// The picture of it.
    pub fn picture(&self) -> Picture<'_> {
        Picture {
            title: &self.title,
            ends: [&self.ends[0], &self.ends[1]],
            seen: &self.seen,
            expected: &self.expected,
            deviation: self.deviation,
            marked: self.marked.clone(),
        }
    }
}

/// What is drawn.
pub struct Picture<'a> {
    /// Above it.
    pub title: &'a str,
    /// Under its left and its right end.
    pub ends: [&'a str; 2],
    /// What was seen; what is not finite is a hole.
    pub seen: &'a [f64],
    /// What was expected, beside each; empty when nothing was.
    pub expected: &'a [f64],
    /// The usual distance from what was expected.
    pub deviation: f64,
    /// Where it deviated.
    pub marked: Range<usize>,
}

/// Dark enough for text on white (WCAG AA), and told apart by those who do not see red or green.
const SEEN: &str = "#24507a";
const EXPECTED: &str = "#9a5b00";
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 150.0;
/// Room for the title above, and for the ends below.
const ABOVE: f64 = 20.0;
const BELOW: f64 = 16.0;
/// Room for the scale at the left.
const LEFT: f64 = 64.0;
/// Values that are read of an alert at most: its models show some hundred.
const VALUES_MAX: usize = 10_000;
/// Columns of a title that there is room for, beside the legend.
const TITLE_MAX: usize = 66;
/// Points of a line at most: more than one in a pixel shows nothing.
const POINTS_MAX: usize = 1200;

impl Picture<'_> {
    /// A self-contained SVG element.
    pub fn svg(&self) -> String {
        let (low, high) = self.range();
        // Halves, as the whole range of numbers has no length that is one.
        let span = if high > low { high / 2.0 - low / 2.0 } else { 0.5 };
        let last = self.seen.len().saturating_sub(1).max(1) as f64;
        let x = |i: usize| LEFT + (WIDTH - LEFT - 4.0) * i as f64 / last;
        let y = |value: f64| ABOVE + (HEIGHT - ABOVE - BELOW) * (1.0 - (value / 2.0 - low / 2.0) / span);
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
             height=\"{HEIGHT}\" role=\"img\" font-family=\"sans-serif\" font-size=\"11\" fill=\"#222\">\
             <title>{}</title><desc>{}</desc><rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\
             <text x=\"{LEFT}\" y=\"13\" font-weight=\"bold\">{}</text>",
            escaped(self.title),
            escaped(&self.in_words()),
            escaped(&shortened(self.title))
        );
        let legend = |out: &mut String, x: f64, colour: &str, name: &str| {
            let _ =
                write!(out, "<text x=\"{x}\" y=\"13\" text-anchor=\"end\" fill=\"{colour}\">{name}</text>");
        };
        if !self.expected.is_empty() {
            legend(&mut out, WIDTH - 60.0, EXPECTED, "expected");
            legend(&mut out, WIDTH - 4.0, SEEN, "━ seen");
        }
        if !self.marked.is_empty() {
            // From between the values before and the first to between the last and the one behind.
            let half = (WIDTH - LEFT - 4.0) / last / 2.0;
            let end = self.marked.end.min(self.seen.len()).saturating_sub(1);
            let (from, to) = ((x(self.marked.start) - half).max(LEFT), (x(end) + half).min(WIDTH - 4.0));
            let _ = write!(
                out,
                "<rect x=\"{from:.1}\" y=\"{ABOVE}\" width=\"{:.1}\" height=\"{}\" fill=\"#f9d7d0\"/>",
                (to - from).max(2.0),
                HEIGHT - ABOVE - BELOW
            );
        }
        let step = self.seen.len().div_ceil(POINTS_MAX).max(1);
        let line = |values: &[f64], off: f64| -> Vec<String> {
            let mut parts: Vec<String> = vec![String::new()];
            for (i, value) in values.iter().enumerate().step_by(step) {
                match ((value + off).is_finite(), parts.last_mut()) {
                    (true, Some(part)) => {
                        let _ = write!(part, "{:.1},{:.1} ", x(i), y(value + off));
                    }
                    _ => parts.push(String::new()),
                }
            }
            parts.retain(|part| !part.is_empty());
            parts
        };
        for (off, dash) in [
            (self.deviation, " stroke-dasharray=\"2 3\""),
            (-self.deviation, " stroke-dasharray=\"2 3\""),
            (0.0, ""),
        ] {
            for points in line(self.expected, off) {
                let _ =
                    write!(out, "<polyline points=\"{points}\" fill=\"none\" stroke=\"{EXPECTED}\"{dash}/>");
            }
        }
        for points in line(self.seen, 0.0) {
            let _ = write!(
                out,
                "<polyline points=\"{points}\" fill=\"none\" stroke=\"{SEEN}\" stroke-width=\"1.6\"/>"
            );
        }
        let mut scale = |value: f64, at: f64| {
            let text = reading(value);
            let _ = write!(
                out,
                "<text x=\"{}\" y=\"{at:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 4.0,
                escaped(&text)
            );
        };
        scale(high, ABOVE + 9.0);
        scale(low, HEIGHT - BELOW);
        let _ = write!(
            out,
            "<text x=\"{LEFT}\" y=\"{}\">{}</text><text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text></svg>",
            HEIGHT - 3.0,
            escaped(self.ends[0]),
            WIDTH - 4.0,
            HEIGHT - 3.0,
            escaped(self.ends[1])
        );
        out
    }

    /// What was seen as one line of at most `width` blocks, on the scale of all that is drawn, and one below that marks
    /// where it deviated.
    pub fn blocks(&self, width: usize) -> [String; 2] {
        const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let width = width.clamp(1, self.seen.len().max(1));
        let (low, high) = self.range();
        let mut sorted: Vec<f64> = self.seen.iter().copied().filter(|value| value.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
        let (mut line, mut marks) = (String::new(), String::new());
        for column in 0..width {
            let part = column * self.seen.len() / width..((column + 1) * self.seen.len() / width).max(1);
            // The value that is farthest from the middle: a spike must not vanish in a mean.
            let values =
                self.seen.get(part.clone()).unwrap_or_default().iter().copied().filter(|v| v.is_finite());
            line.push(match values.max_by(|a, b| (a - middle).abs().total_cmp(&(b - middle).abs())) {
                Some(value) if high > low => {
                    BLOCKS[(((value - low) / (high - low)) * 7.0).round() as usize % 8]
                }
                Some(_) => BLOCKS[3],
                None => ' ',
            });
            let is_marked = part.start < self.marked.end && self.marked.start < part.end;
            marks.push(if is_marked { '^' } else { ' ' });
        }
        [line, marks.trim_end().to_string()]
    }

    /// The last value (`●`) and what was expected of it (`┼`, within the usual distance `─`) on one line of at most `width`
    /// columns, between the numbers at its ends; none where they are nowhere apart.
    pub fn number_line(&self, width: usize) -> Option<String> {
        let (low, high) = self.range();
        let (seen, expected) = (*self.seen.last()?, *self.expected.last()?);
        // Halves, as the whole range of numbers has no length that is one.
        let span = high / 2.0 - low / 2.0;
        if !(seen.is_finite() && expected.is_finite() && span > 0.0) {
            return None;
        }
        let (from, to) = (reading(low), reading(high));
        let columns = width.saturating_sub(from.len() + to.len() + 2).max(10);
        let last = columns - 1;
        let at = |value: f64| {
            ((((value / 2.0 - low / 2.0) / span).clamp(0.0, 1.0) * last as f64).round() as usize).min(last)
        };
        let usual = at(expected - self.deviation)..=at(expected + self.deviation);
        let place = |column: usize| match column {
            _ if column == at(seen) => '●',
            _ if column == at(expected) => '┼',
            _ if usual.contains(&column) => '─',
            _ => '·',
        };
        Some(format!("{from} {} {to}", (0..columns).map(place).collect::<String>()))
    }

    /// The picture in words.
    fn in_words(&self) -> String {
        let extent = |values: &[f64]| {
            let finite = values.iter().copied().filter(|value| value.is_finite());
            let (low, high) =
                finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
            match (low, high) {
                (low, high) if low < high => format!("{} to {}", reading(low), reading(high)),
                (low, high) if low == high => reading(low),
                _ => "nothing".to_string(),
            }
        };
        let mut words = format!("{} values seen: {}", self.seen.len(), extent(self.seen));
        if !self.expected.is_empty() {
            let _ = write!(words, "; expected: {} ± {}", extent(self.expected), reading(self.deviation));
        }
        let marked = self.marked.start..self.marked.end.min(self.seen.len());
        if let Some(seen) = self.seen.get(marked.clone()).filter(|seen| !seen.is_empty()) {
            let (first, last) = (marked.start + 1, marked.end);
            let _ = write!(words, "; marked: values {first} to {last}, seen {}", extent(seen));
            if let Some(expected) = self.expected.get(marked) {
                let _ = write!(words, " where {} was expected", extent(expected));
            }
        }
        words + "."
    }

    fn range(&self) -> (f64, f64) {
        let expected = self.expected.iter().flat_map(|e| [e - self.deviation, e + self.deviation]);
        let values = self.seen.iter().copied().chain(expected).filter(|value| value.is_finite());
        let (low, high) =
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        if low <= high { (low, high) } else { (0.0, 1.0) }
    }
}

fn shortened(title: &str) -> String {
    let ends = title.char_indices().scan(0, |columns, (at, c)| {
        *columns += c.width().unwrap_or(1);
        Some((at, *columns))
    });
    match ends.into_iter().find(|(_, columns)| *columns > TITLE_MAX) {
        Some((at, _)) => format!("{}…", &title[..at]),
        None => title.to_string(),
    }
}

/// Text for an element's content or an attribute. What turns the direction of writing is shown as a replacement.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if deceives(c) || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            // What XML 1.0 knows no form for.
            c if c.is_control() && !matches!(c, '\t' | '\n' | '\r') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture<'a>(seen: &'a [f64], expected: &'a [f64]) -> Picture<'a> {
        Picture {
            title: "flow <A&B>",
            ends: ["00:00", "00:09"],
            seen,
            expected,
            deviation: 0.5,
            marked: 6..8,
        }
    }

    fn alert(evidence: serde_json::Value) -> Alert {
        Alert { evidence, ..crate::fixtures::alert(3) }
    }

    #[test]
    fn an_alert_is_drawn_with_its_course_in_pictures_and_words() {
        let drawn = Drawn::of(&alert(serde_json::json!({
            "signal": "flow", "chamber": "A", "unit": "sccm", "deviation": 0.5,
            "around": { "period_s": 1.0, "seen": [1.0, null, 9.0], "expected": [1.0, 1.5, 1.0], "marked": 1 },
        })));
        let svg = drawn.unwrap().picture().svg();
        let document = roxmltree::Document::parse(&svg).unwrap();
        let text = |name: &str| {
            document.descendants().find(|node| node.has_tag_name(("http://www.w3.org/2000/svg", name)))
        };
        assert_eq!(
            text("title").unwrap().text(),
            Some("ETCH-07 A flow (sccm): A recipe body that was never released went to a tool")
        );
        assert_eq!(
            text("desc").unwrap().text(),
            Some(
                "3 values seen: 1 to 9; expected: 1 to 1.5 ± 0.5; marked: values 3 to 3, seen 9 where 1 was expected."
            )
        );
        for end in ["2026-11-23 03:04:08 UTC", "2026-11-23 03:04:10 UTC"] {
            assert!(svg.contains(end), "{end}: {svg}");
        }
    }

    #[test]
    fn a_single_value_is_drawn_and_what_says_nothing_of_expectations_is_not() {
        let drawn =
            Drawn::of(&alert(serde_json::json!({ "seen": 9.0, "expected": 5.0, "deviation": 1.0 }))).unwrap();
        assert!(!drawn.is_course && drawn.picture().svg().matches("<polyline").count() == 4);
        let of = |evidence| Drawn::of(&alert(evidence)).is_none();
        assert!(
            of(serde_json::json!({ "seen": 9.0 }))
                && of(serde_json::json!(null))
                && of(serde_json::json!([1]))
        );
        assert!(of(serde_json::json!({ "around": { "seen": [] }, "seen": "x", "expected": {} })));
    }

    #[test]
    fn names_from_the_wire_stay_text() {
        let evil = "<script>alert(1)</script>\" onload='x' & ]]> <!-- \u{202e}gnp\u{0}\u{1b}\u{ffff}";
        let drawn = Drawn::of(&Alert {
            tool: evil.into(),
            title: evil.into(),
            ..alert(serde_json::json!({
                "signal": evil, "chamber": evil, "unit": evil, "deviation": "<b>",
                "around": { "period_s": evil, "seen": [1.0, evil], "expected": [1e308, -1e308], "marked": 99 },
            }))
        });
        let svg = drawn.unwrap().picture().svg();
        let document = roxmltree::Document::parse(&svg).unwrap();
        let known = ["svg", "title", "desc", "rect", "text", "polyline"];
        for node in document.descendants().filter(|node| node.is_element()) {
            assert!(known.contains(&node.tag_name().name()), "{svg}");
            assert!(node.attributes().all(|a| !a.name().starts_with("on") && !a.name().contains("href")));
        }
        assert!(!svg.contains("<script") && !svg.contains('\u{202e}'), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(svg.replace("http://www.w3.org/2000/svg", "").find("://").is_none());
    }

    #[test]
    fn an_svg_is_well_formed_and_shows_both_lines_and_the_mark() {
        let seen = [1.0, 2.0, f64::NAN, 2.0, 1.0, 1.0, 9.0, 9.0, 1.0];
        let svg = picture(&seen, &[1.5; 9]).svg();
        let document = roxmltree::Document::parse(&svg).unwrap();
        let count = |name: &str| {
            document
                .descendants()
                .filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", name)))
                .count()
        };
        // The hole parts the line in two; what was expected has a line and two about it. A background and the mark.
        assert_eq!((count("polyline"), count("rect")), (5, 2));
        assert!(document.descendants().any(|node| node.text() == Some("flow <A&B>")));
    }

    #[test]
    fn long_titles_leave_room_for_the_legend() {
        assert_eq!(shortened(&"x".repeat(200)), format!("{}…", "x".repeat(66)));
        assert_eq!(shortened(&"圧".repeat(200)), format!("{}…", "圧".repeat(33)));
        assert_eq!(shortened("flow"), "flow");
    }

    #[test]
    fn blocks_show_a_spike_however_narrow_they_are() {
        let mut seen = vec![1.0; 1000];
        seen[700] = 9.0;
        let [line, marks] = Picture { marked: 700..701, ..picture(&seen, &[]) }.blocks(10);
        assert_eq!((line.as_str(), marks.as_str()), ("▁▁▁▁▁▁▁█▁▁", "       ^"));
    }

    #[test]
    fn a_single_value_stands_on_a_line_beside_what_was_expected() {
        let of = |seen: f64, expected: f64, deviation: f64| {
            Picture { deviation, ..picture(&[seen], &[expected]) }.number_line(15)
        };
        assert_eq!(of(9.0, 1.0, 1.0).as_deref(), Some("0 ─┼─·······● 9"));
        assert_eq!(of(0.0, 8.0, 1.0).as_deref(), Some("0 ●·······─┼─ 9"));
        assert_eq!(of(1.0, 1.0, 1.0).as_deref(), Some("0 ─────●───── 2"));
        assert_eq!(
            (of(1.0, 1.0, 0.0), of(f64::NAN, 1.0, 1.0), of(1.0, f64::INFINITY, 1.0)),
            (None, None, None)
        );
        assert!(of(-1e308, 1e308, 0.0).is_some_and(|line| line.contains('●') && line.contains('┼')));
        assert!(of(1.0, 2.0, 1e308).is_some() && of(1.0, 2.0, f64::INFINITY).is_none());
        assert_eq!(picture(&[1.0], &[]).number_line(15), None);
    }

    #[test]
    fn the_course_may_have_a_usual_distance_of_its_own() {
        let drawn = Drawn::of(&alert(serde_json::json!({
            "deviation": 40.0, "around": { "seen": [1.0, 9.0], "expected": [2.0, 2.0], "deviation": 1.0 },
        })));
        assert!(drawn.unwrap().picture().svg().contains("expected: 2 ± 1."));
    }

    #[test]
    fn nothing_and_constants_and_holes_can_be_drawn() {
        for seen in [&[][..], &[5.0], &[5.0, 5.0], &[f64::NAN, f64::INFINITY]] {
            assert!(roxmltree::Document::parse(&picture(seen, &[]).svg()).is_ok());
            picture(seen, &[]).blocks(5);
        }
    }
}
