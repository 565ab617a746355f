//! What OPC UA servers offer: their variables, found by browsing.

use std::time::Duration;

use super::{Discovery, Found, Line};
use crate::source::{Opening, SourceError};
use crate::sources::opcua::{Offered, OpcUa, offered, type_names};

impl Discovery for OpcUa {
    fn discover(self, _wait: Duration, at: &Opening<'_>) -> Result<Found, SourceError> {
        let profiles = self.everything().prepare(at)?;
        let mut out = Found::default();
        let mut failed = None;
        for Offered { profile, found } in offered(profiles, &at.plant.runtime)? {
            let server = &profile.server;
            let (found, detail) = match found {
                Ok(found) => found,
                Err(error) => {
                    out.notes.push(error.to_string());
                    failed.get_or_insert(error);
                    continue;
                }
            };
            let mut note = |text: String| out.notes.push(format!("{}: {text}", server.endpoint));
            note(format!("{} variables; {detail}", found.nodes.len()));
            if found.passed_over.count > 0 {
                note(format!("arrays and structures are not read: {}", found.passed_over.list()));
            }
            if found.missing.count > 0 {
                note(format!("it has no {}", found.missing.list()));
            }
            if found.more {
                note("there are more variables than `max_nodes`".into());
            }
            out.lines.extend(found.nodes.into_iter().map(|node| {
                let path = node.name.strip_prefix(&profile.prefix).unwrap_or(&node.name);
                let Guess { tool, chamber, signal } = guess(path);
                Line {
                    tool: if server.name.is_empty() { tool.into() } else { server.name.clone() },
                    chamber: chamber.into(),
                    signal: signal.into(),
                    unit: node.unit,
                    datatype: type_names(node.types),
                    name: node.name,
                    ..Line::default()
                }
            }));
        }
        match failed {
            Some(error) if out.lines.is_empty() => Err(error),
            _ => Ok(out),
        }
    }
}

/// What a path may mean.
#[derive(Debug, PartialEq)]
struct Guess<'a> {
    tool: &'a str,
    chamber: &'a str,
    signal: &'a str,
}

/// Words that a chamber's name begins with, in lower case.
const CHAMBERS: [&str; 8] =
    ["chamber", "chm", "pm", "process module", "processmodule", "module", "ll", "loadlock"];

/// Takes the name below the start of browsing for the tool, the one that sounds like a chamber for the chamber, and
/// the last ones for the signal.
fn guess(path: &str) -> Guess<'_> {
    let names: Vec<&str> = path.split('/').collect();
    // What was given by its id is no path.
    let [_, tool, rest @ ..] = names.as_slice() else { return Guess { tool: "", chamber: "", signal: path } };
    let Some((last, between)) = rest.split_last() else {
        return Guess { tool: "", chamber: "", signal: tool };
    };
    let sounds = |name: &&str| {
        let lower = name.to_lowercase();
        CHAMBERS
            .iter()
            .any(|word| lower.strip_prefix(word).is_some_and(|rest| !rest.starts_with(char::is_alphabetic)))
    };
    match between.iter().position(sounds) {
        Some(at) => {
            let before: usize = names[..at + 3].iter().map(|name| name.len() + 1).sum();
            Guess { tool, chamber: between[at], signal: &path[before..] }
        }
        None => Guess {
            tool,
            chamber: "",
            signal: if between.is_empty() { last } else { &path[names[0].len() + tool.len() + 2..] },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_and_chambers_are_guessed_from_paths() {
        for (path, tool, chamber, signal) in [
            ("Objects/Etcher/Chamber2/Pressure", "Etcher", "Chamber2", "Pressure"),
            ("Objects/Etcher/Modules/PM-1/Gas/Flow", "Etcher", "PM-1", "Gas/Flow"),
            ("Objects/Etcher/Pump/Speed", "Etcher", "", "Pump/Speed"),
            ("Objects/Etcher/Count", "Etcher", "", "Count"),
            ("Objects/Count", "", "", "Count"),
            ("ns=2;s=Count", "", "", "ns=2;s=Count"),
        ] {
            assert_eq!(guess(path), Guess { tool, chamber, signal }, "{path}");
        }
    }
}
