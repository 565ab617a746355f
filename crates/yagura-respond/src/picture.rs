//! A small picture of a signal: what was seen, what was expected, and where it deviated. As SVG for pages and mails,
//! as a line of blocks for terminals.

use std::fmt::Write as _;
use std::ops::Range;

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

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 150.0;
/// Room for the title above, and for the ends below.
const ABOVE: f64 = 20.0;
const BELOW: f64 = 16.0;
/// Room for the scale at the left.
const LEFT: f64 = 64.0;
/// Points of a line at most: more than one in a pixel shows nothing.
const POINTS_MAX: usize = 1200;

impl Picture<'_> {
    /// A self-contained SVG element.
    pub fn svg(&self) -> String {
        let (low, high) = self.range();
        let span = if high > low { high - low } else { 1.0 };
        let last = self.seen.len().saturating_sub(1).max(1) as f64;
        let x = |i: usize| LEFT + (WIDTH - LEFT - 4.0) * i as f64 / last;
        let y = |value: f64| ABOVE + (HEIGHT - ABOVE - BELOW) * (1.0 - (value - low) / span);
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
             height=\"{HEIGHT}\" role=\"img\" font-family=\"sans-serif\" font-size=\"11\">\
             <text x=\"{LEFT}\" y=\"13\" font-weight=\"bold\">{}</text>",
            escaped(self.title)
        );
        if !self.marked.is_empty() {
            let (from, to) = (x(self.marked.start), x(self.marked.end.min(self.seen.len())));
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
                match (value.is_finite(), parts.last_mut()) {
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
                let _ = write!(out, "<polyline points=\"{points}\" fill=\"none\" stroke=\"#5b8a5b\"{dash}/>");
            }
        }
        for points in line(self.seen, 0.0) {
            let _ = write!(
                out,
                "<polyline points=\"{points}\" fill=\"none\" stroke=\"#24507a\" stroke-width=\"1.3\"/>"
            );
        }
        let mut scale = |value: f64, at: f64| {
            let text = yagura_event::alert::reading(value);
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

    fn range(&self) -> (f64, f64) {
        let expected = self.expected.iter().flat_map(|e| [e - self.deviation, e + self.deviation]);
        let values = self.seen.iter().copied().chain(expected).filter(|value| value.is_finite());
        let (low, high) =
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        if low <= high { (low, high) } else { (0.0, 1.0) }
    }
}

/// Text for an element's content or an attribute.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
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
        // The hole parts the line in two; what was expected has a line and two about it.
        assert_eq!((count("polyline"), count("rect")), (5, 1));
        assert!(document.descendants().any(|node| node.text() == Some("flow <A&B>")));
    }

    #[test]
    fn blocks_show_a_spike_however_narrow_they_are() {
        let mut seen = vec![1.0; 1000];
        seen[700] = 9.0;
        let [line, marks] = Picture { marked: 700..701, ..picture(&seen, &[]) }.blocks(10);
        assert_eq!((line.as_str(), marks.as_str()), ("▁▁▁▁▁▁▁█▁▁", "       ^"));
    }

    #[test]
    fn nothing_and_constants_and_holes_can_be_drawn() {
        for seen in [&[][..], &[5.0], &[5.0, 5.0], &[f64::NAN, f64::INFINITY]] {
            assert!(roxmltree::Document::parse(&picture(seen, &[]).svg()).is_ok());
            picture(seen, &[]).blocks(5);
        }
    }
}
