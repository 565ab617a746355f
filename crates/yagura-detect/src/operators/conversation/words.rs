//! A conversation's findings in words: what was seen, and beside it what is known of those two.

use std::borrow::Cow;

use arrow::array::RecordBatch;
use yagura_event::alert::reading;
use yagura_models::conversation::{self, Finding, Usual, UsualValues};

use super::text_of;

/// Characters of a command's name that are kept.
const NAME_MAX: usize = 48;
const HOURS: u32 = 24;

/// A command as people call it: its function, or else its operation, and its target; of a connection the transport and
/// what is customary on its port.
pub(super) fn command_name<'a>(text: impl Fn(&str) -> Cow<'a, str>) -> String {
    let function = Some(text("function")).filter(|text| !text.is_empty());
    let function = function.unwrap_or_else(|| text("operation"));
    let words = [function, text("transport"), text("customary"), text("target")];
    let words: Vec<&str> = words.iter().map(|word| &**word).filter(|word| !word.is_empty()).collect();
    words.join(" ").chars().take(NAME_MAX).collect()
}

/// What is usual between those two, and of what was written to that place.
pub(super) fn known(usual: Option<Usual>, values: Option<UsualValues>, names: &[String]) -> String {
    let Some(Usual { messages, commands, hours }) = usual else { return "nothing of these two".into() };
    let mut parts = Vec::new();
    let named = commands.iter().filter_map(|(command, count)| {
        let name = names.get(*command as usize).filter(|name| !name.is_empty())?;
        Some(format!("{name} ({count} times)"))
    });
    let named: Vec<String> = named.collect();
    parts.push(match named.is_empty() {
        true => format!("{messages} messages"),
        false => format!("{messages} messages, most often {}", named.join(", ")),
    });
    parts.extend(hours_of_day(hours));
    parts.extend(values.map(|values| match values {
        UsualValues::Numbers(numbers) => {
            let numbers: Vec<String> = numbers.into_iter().map(reading).collect();
            format!("written there: {}", numbers.join(", "))
        }
        UsualValues::Range(low, high) => format!("written there: {} to {}", reading(low), reading(high)),
        UsualValues::Words(1) => "written there: always the same".into(),
        UsualValues::Words(count) => format!("written there: {count} different values"),
    }));
    parts.join("; ")
}

/// `at 08:00 to 17:59 and 22:00 to 22:59 UTC`; nothing of none.
fn hours_of_day(hours: u32) -> Option<String> {
    let is_on = |hour: u32| hours >> (hour % HOURS) & 1 == 1;
    if (0..HOURS).all(is_on) {
        return Some("at all hours".into());
    }
    // Each run of hours, one that goes on at midnight included.
    let begins = (0..HOURS).filter(|&hour| is_on(hour) && !is_on(hour + HOURS - 1));
    let runs: Vec<String> = begins
        .map(|first| {
            let length = (first..).take_while(|&hour| is_on(hour)).count() as u32;
            format!("{first:02}:00 to {:02}:59", (first + length - 1) % HOURS)
        })
        .collect();
    (!runs.is_empty()).then(|| format!("at {} UTC", runs.join(" and ")))
}

/// A finding as people say it.
pub(super) fn why(found: &conversation::Hit, rows: &RecordBatch, row: usize) -> String {
    let text = |name: &str| text_of(rows.column_by_name(name), row);
    let number = |number: Option<f64>| number.map_or_else(|| "–".into(), reading);
    let (expected, seen, learned) = (number(found.expected), number(found.seen), found.learned);
    match found.finding {
        Finding::Peer => {
            let protocol = match text("protocol") {
                protocol if protocol.is_empty() => "with one another".into(),
                protocol => format!("{protocol} with one another"),
            };
            format!("these two were not heard to speak {protocol} in {learned} messages that were learned")
        }
        Finding::Command => {
            let command = [text("function"), text("transport"), text("target")];
            let command: Vec<&str> = command.iter().map(|word| &**word).filter(|w| !w.is_empty()).collect();
            format!("{} is new between them, after {learned} messages that were learned", command.join(" "))
        }
        Finding::Value => match found.seen {
            None => {
                format!("what is written there is none of what was in {learned} writes that were learned")
            }
            Some(_) => format!(
                "{seen} is none of what was written there in {learned} writes that were learned; the nearest was {expected}"
            ),
        },
        Finding::Sequence => format!(
            "known commands in an unusual order: a surprise of {seen} bits, where {expected} are usual"
        ),
        Finding::Rhythm => {
            format!("it came {seen} s after the last of its kind, where {expected} s are usual")
        }
        Finding::Rate => format!("{seen} messages a second, where {expected} was the most"),
        Finding::Mix => format!(
            "known commands in unusual proportions: {seen} bits from what is usual, where {expected} was the most"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_runs_that_may_go_over_midnight() {
        assert_eq!(hours_of_day(0), None);
        assert_eq!(hours_of_day((1 << 24) - 1).as_deref(), Some("at all hours"));
        assert_eq!(hours_of_day(1 << 5).as_deref(), Some("at 05:00 to 05:59 UTC"));
        let shift = 1 << 22 | 1 << 23 | 1 << 0 | 1 << 8;
        assert_eq!(hours_of_day(shift).as_deref(), Some("at 08:00 to 08:59 and 22:00 to 00:59 UTC"));
    }

    #[test]
    fn what_is_known_is_told_in_few_words() {
        let names = ["read_coils coil0".to_string(), String::new()];
        let usual = Usual { messages: 467, commands: vec![(0, 200), (1, 9), (7, 1)], hours: 1 };
        let told = known(Some(usual.clone()), Some(UsualValues::Numbers(vec![0.0, 1.5])), &names);
        let often = "467 messages, most often read_coils coil0 (200 times); at 00:00 to 00:59 UTC";
        assert_eq!(told, format!("{often}; written there: 0, 1.5"));
        let range = known(Some(usual), Some(UsualValues::Range(-1.0, 9.0)), &names);
        assert_eq!(range, format!("{often}; written there: -1 to 9"));
        assert_eq!(known(None, None, &names), "nothing of these two");
    }

    #[test]
    fn names_are_short_in_any_script() {
        let named = |target: &'static str| {
            let text = |column: &str| {
                Cow::Borrowed(match column {
                    "operation" => "write",
                    "target" => target,
                    _ => "",
                })
            };
            command_name(text)
        };
        assert_eq!(named("coil7"), "write coil7");
        let long = "圧力圧力圧力圧力圧力圧力圧力圧力圧力圧力圧力圧力圧力圧力圧力圧力圧力圧力圧力圧力圧力圧力圧力圧力圧力圧力";
        assert_eq!(named(long).chars().count(), NAME_MAX);
    }
}
