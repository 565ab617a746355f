//! A study as one page of HTML without scripts, pictures inside.

use std::fmt::Write as _;

use yagura_event::alert::reading;
use yagura_respond::picture::{Picture, escaped};

use super::Study;

const STYLE: &str = "body{font:14px/1.5 sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222}\
    table{border-collapse:collapse}td,th{padding:.2em .8em;border-bottom:1px solid #ddd;text-align:left}\
    h2{margin:2em 0 .3em;font-size:1.1em}.num{text-align:right}";
/// Points of the picture of all scores.
const POINTS: usize = 1000;

/// The page.
pub fn page(title: &str, study: &Study) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{0}</title><style>{STYLE}</style>\
         <h1>{0}</h1><p>{1} rows judged, {2} deviate, {3} incidents. A score of 1 is the limit; dashed lines stand one \
         usual deviation from what was expected.</p>",
        escaped(title),
        study.judged(),
        study.deviating(),
        study.incidents.len() + study.more
    );
    if let Some([found, wrong, f1]) = study.measures() {
        let _ = write!(
            out,
            "<p>Of labelled rows {:.1} % deviate, of others {:.2} %; F1 {f1:.3}.</p>",
            100.0 * found,
            100.0 * wrong
        );
    }
    out.push_str(&scores(study));
    for incident in &study.incidents {
        let _ = write!(
            out,
            "<h2>{} to {}: score {:.1}</h2><p>{}.</p><table><tr><th>signal<th>seen<th>expected<th>usual deviation\
             <th>share</tr>",
            escaped(study.time(incident.rows.start)),
            escaped(study.time(incident.rows.end - 1)),
            incident.score,
            escaped(&study.what(incident))
        );
        for share in &incident.shares {
            let _ = write!(
                out,
                "<tr><td>{}<td class=num>{}<td class=num>{}<td class=num>{}<td class=num>{:.0} %</tr>",
                escaped(&study.readings.signals[share.signal]),
                reading(share.seen),
                reading(share.expected),
                reading(share.deviation),
                100.0 * share.share
            );
        }
        out.push_str("</table>");
        for (which, share) in incident.shares.iter().enumerate() {
            let (name, seen) = (&study.readings.signals[share.signal], study.seen(incident, share.signal));
            let _ = write!(out, "<div>{}</div>", study.picture(incident, which, &seen, name).svg());
        }
    }
    if study.more > 0 {
        let _ = write!(out, "<p>{} more with lower scores are not shown.</p>", study.more);
    }
    out.push_str("</html>\n");
    out
}

/// All scores in one picture: the highest of each stretch.
fn scores(study: &Study) -> String {
    let first = study.scores.iter().position(|score| score.is_finite()).unwrap_or(0);
    let judged = &study.scores[first..];
    let stretch = judged.len().div_ceil(POINTS).max(1);
    let highest = |scores: &[f64]| scores.iter().copied().filter(|s| s.is_finite()).fold(f64::NAN, f64::max);
    let seen: Vec<f64> = judged.chunks(stretch).map(highest).collect();
    let limit = vec![1.0; seen.len()];
    Picture {
        title: "score",
        ends: [study.time(first), study.time(study.scores.len().saturating_sub(1))],
        seen: &seen,
        expected: &limit,
        deviation: 0.0,
        marked: 0..0,
    }
    .svg()
}
