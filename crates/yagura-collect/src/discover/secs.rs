//! Asks an equipment for the names of its variables and events: S1F13, S1F1, S1F11, and S1F21 and S1F23 where it
//! answers them. Nothing is changed in it; questions come one after another, with pauses.

use std::time::Duration;

use yagura_dissect::secs2::Item;
use yagura_event::clock;

use super::Found;
use crate::source::SourceError;
use crate::sources::hsms::NOT_EXCLUSIVE;
use crate::sources::hsms::client::{Answer, Client, Target};
use crate::sources::hsms::replies::Question;

/// The pause between two questions.
const PAUSE: Duration = Duration::from_millis(200);

/// Most names that are taken over, and the longest.
const NAMES_MAX: usize = 1 << 16;
const NAME_BYTES_MAX: usize = 128;

/// What an equipment says about itself.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// MDLN.
    pub model: String,
    /// SOFTREV.
    pub software: String,
    /// Its variables as a table of names.
    pub found: Vec<Found>,
    /// Its variables and events as a dictionary.
    pub dictionary: Vec<Entry>,
    /// Questions that it does not answer.
    pub unanswered: Vec<String>,
}

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

/// Asks the equipment `tool` for its names. `exclusive` says that the port is a spare one.
pub fn discover(source: &str, tool: &str, target: &Target, exclusive: bool) -> Result<Told, SourceError> {
    if !exclusive {
        return Err(SourceError::Setting { collector: source.into(), problem: NOT_EXCLUSIVE.into() });
    }
    let mut client = Client::open(target)?;
    let (model, software) = client.identity()?;
    let mut told = Told { model, software, ..Told::default() };
    for (question, kind, unit) in [
        (Question::StatusNames, "svid", Some(2)),
        (Question::DataNames, "svid", Some(2)),
        (Question::EventNames, "ceid", None),
    ] {
        pause();
        match client.ask(question, &[])? {
            Answer::Text(text) => told.learn(&text, kind, unit),
            Answer::None(why) => told.unanswered.push(why),
        }
    }
    told.found = told
        .dictionary
        .iter()
        .filter(|entry| entry.kind == "svid")
        .map(|entry| Found {
            source: source.into(),
            name: entry.name.clone(),
            tool: tool.into(),
            signal: entry.name.clone(),
            unit: entry.unit.clone(),
            context: entry.context.clone(),
            ..Found::default()
        })
        .collect();
    Ok(told)
}

impl Told {
    fn learn(&mut self, text: &[u8], kind: &str, unit: Option<usize>) {
        let Ok(Some(list)) = Item::message(text) else {
            self.unanswered.push(format!("the names of {kind} could not be read"));
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
