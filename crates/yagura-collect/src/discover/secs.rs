//! Asks an equipment for the names of its variables and events: S1F13, S1F1, S1F11, and S1F21 and S1F23 where it
//! answers them. Nothing is changed in it; questions come one after another, with pauses.

use std::time::Duration;

use yagura_dissect::secs2::Item;
use yagura_event::clock;

use super::{Discovery, Found, Line};
use crate::source::{Opening, SourceError};
use crate::sources::hsms::HsmsHost;
use crate::sources::hsms::client::{Answer, Client, Target};
use crate::sources::hsms::replies::Question;

/// The pause between two questions.
const PAUSE: Duration = Duration::from_millis(200);

/// Most names that are taken over, and the longest.
const NAMES_MAX: usize = 1 << 16;
const NAME_BYTES_MAX: usize = 128;

/// A line of a dictionary, see [`crate::dictionary`].
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Entry {
    /// MDLN.
    pub model: String,
    /// `svid` or `ceid`.
    pub kind: String,
    /// The number or text by which messages name it.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// The unit.
    pub unit: String,
    /// `lot`, `recipe`, `step` or `chamber`, where the name tells.
    pub context: String,
    /// Left to people.
    pub class: String,
    /// Left to people.
    pub chamber: String,
}

impl Discovery for HsmsHost {
    fn discover(self, _wait: Duration, at: &Opening<'_>) -> Result<Found, SourceError> {
        let mut all = Found::default();
        for (tool, target) in self.targets(at)? {
            let told = ask(&tool, &target)?;
            all.lines.extend(told.lines);
            all.notes.extend(told.notes);
            // Tools of one model have one dictionary.
            let new = told.dictionary.into_iter().filter(|entry| !all.dictionary.contains(entry));
            let new: Vec<Entry> = new.collect();
            all.dictionary.extend(new);
        }
        Ok(all)
    }
}

/// Asks one equipment for its names.
fn ask(tool: &str, target: &Target) -> Result<Found, SourceError> {
    let mut client = Client::open(target)?;
    let (model, software) = client.identity()?;
    let mut told = Told { model, ..Told::default() };
    told.notes.push(format!("{tool}: model {}, software {software}", told.model));
    for (question, kind, unit) in [
        (Question::StatusNames, "svid", Some(2)),
        (Question::DataNames, "svid", Some(2)),
        (Question::EventNames, "ceid", None),
    ] {
        pause();
        match client.ask(question, &[])? {
            Answer::Text(text) => told.learn(&text, kind, unit),
            Answer::None(why) => told.notes.push(format!("{tool}: {why}")),
        }
    }
    let line = |entry: &Entry| Line {
        name: entry.name.clone(),
        tool: tool.into(),
        signal: entry.name.clone(),
        unit: entry.unit.clone(),
        context: entry.context.clone(),
        datatype: "status variable".into(),
        ..Line::default()
    };
    let lines = told.dictionary.iter().filter(|entry| entry.kind == "svid").map(line).collect();
    Ok(Found { lines, notes: told.notes, dictionary: told.dictionary })
}

/// What one equipment has told.
#[derive(Default)]
struct Told {
    model: String,
    dictionary: Vec<Entry>,
    notes: Vec<String>,
}

impl Told {
    fn learn(&mut self, text: &[u8], kind: &str, unit: Option<usize>) {
        let Ok(Some(list)) = Item::message(text) else {
            self.notes.push(format!("the names of {kind} could not be read"));
            return;
        };
        for one in list.children() {
            let (Some(id), Some(name)) = (one.child(0), one.child(1)) else { continue };
            let (id, name) = (short(id), short(name));
            let known = self.dictionary.iter().any(|entry| entry.kind == kind && entry.id == id);
            if id.is_empty() || name.is_empty() || known || self.dictionary.len() >= NAMES_MAX {
                continue;
            }
            self.dictionary.push(Entry {
                model: self.model.clone(),
                kind: kind.into(),
                id,
                context: context(&name).into(),
                name,
                unit: unit.and_then(|place| one.child(place)).map(short).unwrap_or_default(),
                ..Entry::default()
            });
        }
    }
}

fn short(item: Item<'_>) -> String {
    let mut text = item.id();
    text.truncate(text.floor_char_boundary(NAME_BYTES_MAX));
    text
}

/// What a variable of that name says about the tool, as GEM calls them.
fn context(name: &str) -> &'static str {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    match plain.to_ascii_lowercase().as_str() {
        "lotid" | "lot" => "lot",
        "ppid" | "ppexecname" | "recipe" | "recipeid" => "recipe",
        "step" | "stepid" | "stepno" | "recipestep" => "step",
        "chamber" | "chamberid" => "chamber",
        _ => "",
    }
}

fn pause() {
    let until = clock::steady() + PAUSE.as_micros() as i64;
    while clock::steady() < until {
        std::thread::park_timeout(PAUSE);
    }
}
