//! `window`: rows counted and measured over a time.
//!
//! - `within: 1m` slides: with each row, the minute that ends with it ([`sliding`]).
//! - `every: 5m` tumbles: one after the other, judged when they are over ([`closing`]).
//! - `within: 1h` and `every: 5m`: each five minutes, the hour before.
//! - `gap: 30s` is a session: it lasts until nothing came for so long.
//!
//! Times are the collector's, so that a device with a wrong clock hides nothing.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use serde_saphyr::Spanned;
use yagura_event::Kind;
use yagura_event::clock::{Micros, SECOND};

use self::aggregate::{Measure, Wanted};
use self::closing::{ClosingPlan, Having, Limits};
use self::key::Shape;
use self::sliding::SlidingPlan;
use super::{Plan, at};
use crate::pipeline::{PipelineError, Place, WindowSpec, Written, check_column, duration};

mod aggregate;
mod closing;
mod due;
mod key;
mod sketch;
mod sliding;

/// The highest count that a sliding window can be asked for: it remembers as many rows.
const AT_LEAST_MAX: u32 = 10_000;
/// The longest window.
const LENGTH_MAX: Micros = 366 * 86_400 * SECOND;
/// The most `every` that a `within` may hold.
const STEPS_MAX: Micros = 120;
/// The longest session unless `longest` says another: it is judged and begins anew.
const LONGEST: Micros = 86_400 * SECOND;

pub(crate) fn read(
    place: &Place<'_>,
    on: Kind,
    written: &Written<'_>,
) -> Option<Result<Box<dyn Plan>, Vec<PipelineError>>> {
    let spec = written.window?;
    let mut errors = Vec::new();
    if on == Kind::Sample {
        let window = &spec.value;
        let named = window.distinct.first().or(window.top.as_ref());
        let other = window.of.as_ref().filter(|of| of.value != "value");
        if let Some(column) = named.or(other) {
            let message = "samples are numbers without names; a window measures them `of: value`";
            return Some(Err(at(place, column, message.into())));
        }
        if window.every.is_none() && window.gap.is_none() {
            let message = "windows of samples close; write `every: 5m`";
            return Some(Err(at(place, spec, message.into())));
        }
    }
    for column in &spec.value.distinct {
        check_column(place, on, column, written.more, &mut errors);
    }
    let plan = match shape_of(place, spec, &mut errors) {
        None => None,
        Some(Asked::Slides(within)) => sliding_plan(place, spec, within, &mut errors),
        Some(Asked::Closes(shape)) => closing_plan(place, on, written, spec, shape, &mut errors),
    };
    Some(match plan {
        Some(plan) if errors.is_empty() => Ok(plan),
        _ => Err(errors),
    })
}

/// The places that the summary of windows that close may have; `None` for those that slide.
pub(crate) fn places(spec: &WindowSpec, by: &[Spanned<String>]) -> Option<Vec<String>> {
    if spec.every.is_none() && spec.gap.is_none() {
        return None;
    }
    let own = ["seen", "from", "to"].into_iter().chain(wanted_of(spec, "").names());
    Some(by.iter().map(|c| c.value.clone()).chain(own.map(String::from)).collect())
}

enum Asked {
    Slides(Micros),
    Closes(Shape),
}

fn shape_of(place: &Place<'_>, spec: &Spanned<WindowSpec>, errors: &mut Vec<PipelineError>) -> Option<Asked> {
    let window = &spec.value;
    let mut length = |text: &Option<Spanned<String>>| {
        let text = text.as_ref()?;
        let length = duration(&text.value).filter(|&w| w > 0 && w <= LENGTH_MAX);
        if length.is_none() {
            let message =
                format!("`{}` is no duration of up to 366 days; write 90s, 10m, 2h or 1d", text.value);
            errors.extend(at(place, text, message));
        }
        // Whatever comes of it, the error stands.
        Some(length.unwrap_or(SECOND))
    };
    let (within, every, gap) = (length(&window.within), length(&window.every), length(&window.gap));
    let longest = length(&window.longest);
    if let (Some(longest), None) = (&window.longest, gap) {
        errors.extend(at(place, longest, "`longest` bounds a session; it goes with `gap`".into()));
    }
    match (within, every, gap) {
        (Some(within), None, None) => Some(Asked::Slides(within)),
        (None, Some(every), None) => Some(Asked::Closes(Shape::Steps { every, within: every })),
        (Some(within), Some(every), None) => {
            if within % every != 0 || within / every > STEPS_MAX {
                let message = format!("`within` is `every` or a multiple of it, up to {STEPS_MAX} times");
                errors.extend(at(place, spec, message));
            }
            Some(Asked::Closes(Shape::Steps { every, within }))
        }
        (None, None, Some(gap)) => {
            Some(Asked::Closes(Shape::Session { gap, longest: longest.unwrap_or(LONGEST).max(gap) }))
        }
        (None, None, None) => {
            let message = "a window says how long it is: `within: 1m` (with each row, the minute before it), \
                `every: 5m` (one after the other), both (each `every`, the `within` before), or `gap: 30s` \
                (until nothing came for so long)";
            errors.extend(at(place, spec, message.into()));
            None
        }
        (_, _, Some(_)) => {
            let message = "`gap` ends a window where rows pause; it stands without `within` and `every`";
            errors.extend(at(place, spec, message.into()));
            None
        }
    }
}

fn sliding_plan(
    place: &Place<'_>,
    spec: &Spanned<WindowSpec>,
    within: Micros,
    errors: &mut Vec<PipelineError>,
) -> Option<Box<dyn Plan>> {
    let window = &spec.value;
    let mut closes = |key: &str, line: (u64, u64)| {
        let message = format!(
            "`{key}` is for windows that close; add `every:`, or count rows or `distinct` values with `at_least`"
        );
        errors.push(place.error_at(line, message));
    };
    for (key, text) in [
        ("of", &window.of),
        ("top", &window.top),
        ("measure", &window.measure),
        ("having", &window.having),
        ("lateness", &window.lateness),
    ] {
        if let Some(text) = text {
            closes(key, (text.referenced.line(), text.referenced.column()));
        }
    }
    for (key, number) in [("at_most", &window.at_most), ("above", &window.above), ("below", &window.below)] {
        if let Some(number) = number {
            closes(key, (number.referenced.line(), number.referenced.column()));
        }
    }
    let Some(at_least) = &window.at_least else {
        errors.extend(at(place, spec, "`at_least` is missing: the count at which it is a hit".into()));
        return None;
    };
    let count = at_least.value;
    if count.fract() != 0.0 || !(2.0..=f64::from(AT_LEAST_MAX)).contains(&count) {
        let message = format!("`at_least` is between 2 and {AT_LEAST_MAX}, not {count}");
        errors.extend(at(place, at_least, message));
        return None;
    }
    let distinct = window.distinct.iter().map(|c| c.value.clone()).collect();
    Some(Box::new(SlidingPlan { within, at_least: count as usize, distinct }))
}

fn closing_plan(
    place: &Place<'_>,
    on: Kind,
    written: &Written<'_>,
    spec: &Spanned<WindowSpec>,
    shape: Shape,
    errors: &mut Vec<PipelineError>,
) -> Option<Box<dyn Plan>> {
    let window = &spec.value;
    if let Some(of) = &window.of {
        // What samples are selected by is their series; what is measured is their own.
        let own = on.schema();
        check_number(place, on, if on == Kind::Sample { &own } else { written.schema }, of, errors);
    }
    if let Some(top) = &window.top {
        check_column(place, on, top, written.more, errors);
    }
    let lateness = match &window.lateness {
        None => 0,
        Some(text) => duration(&text.value).unwrap_or_else(|| {
            let message = format!("`{}` is no duration; write 90s, 10m, 2h or 1d", text.value);
            errors.extend(at(place, text, message));
            0
        }),
    };
    let wanted = wanted_of(window, &written.summary.value);
    let measure = match &window.measure {
        None if wanted.distinct.is_empty() => Measure::Count,
        None => Measure::Distinct,
        Some(name) => wanted.measure(&name.value).unwrap_or_else(|| {
            let names: Vec<&str> = wanted.measures().map(|m| m.0).collect();
            let message = format!(
                "`{}` is no measure of this window; there are: {}; more come with `distinct`, `of` and `top`",
                name.value,
                names.join(", ")
            );
            errors.extend(at(place, name, message));
            Measure::Count
        }),
    };
    let limit = |number: &Option<Spanned<f64>>| number.as_ref().map(|n| n.value);
    let limits = Limits {
        at_least: limit(&window.at_least),
        at_most: limit(&window.at_most),
        above: limit(&window.above),
        below: limit(&window.below),
    };
    if limits == Limits::default() && window.having.is_none() {
        let message = "what makes it a hit is missing: `at_least`, `at_most`, `above`, `below` or `having`";
        errors.extend(at(place, spec, message.into()));
    }
    let schema = wanted.schema();
    let having = window.having.as_ref().and_then(|sql| {
        let condition = place.condition("the window", &schema, "having", sql);
        let condition = condition.map_err(|error| errors.push(error)).ok()?;
        Some(Having { sql: sql.value.clone(), condition, schema: Arc::clone(&schema) })
    });
    Some(Box::new(ClosingPlan::new(shape, lateness, wanted, measure, limits, having)))
}

/// What the spec asks to be aggregated; percentiles where any of its texts names one.
fn wanted_of(spec: &WindowSpec, summary: &str) -> Wanted {
    let text = |text: &Option<Spanned<String>>| text.as_ref().map(|t| t.value.clone());
    let texts = [text(&spec.measure), text(&spec.having), Some(summary.to_string())];
    let percentiles = texts.iter().flatten().any(|text| {
        let mut words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.any(|w| w.strip_prefix(['p', 'P']).is_some_and(|n| n.parse::<u8>().is_ok()))
    });
    let of = text(&spec.of);
    Wanted {
        distinct: spec.distinct.iter().map(|c| c.value.clone()).collect(),
        percentiles: percentiles && of.is_some(),
        of,
        top: text(&spec.top),
    }
}

fn check_number(
    place: &Place<'_>,
    kind: Kind,
    schema: &SchemaRef,
    column: &Spanned<String>,
    errors: &mut Vec<PipelineError>,
) {
    let numbers: Vec<&str> = schema
        .fields()
        .iter()
        .filter(|f| f.data_type().is_numeric() && *f.data_type() != DataType::Null)
        .map(|f| f.name().as_str())
        .collect();
    if !numbers.contains(&column.value.as_str()) {
        let message = format!(
            "`{}` is no column of numbers of {}; there are: {}",
            column.value,
            kind.name(),
            numbers.join(", ")
        );
        errors.extend(at(place, column, message));
    }
}
