//! Prometheus Alertmanager, API v2: who is called, who is silent, who is told by mail is then decided in
//! one place with the plant's other alarms. <https://prometheus.io/docs/alerting/latest/alerts_api/>
//!
//! Alertmanager tells alerts apart by their labels, which are few and short here: `alertname` (the
//! detection), `severity`, `queue`, `cell`, `tool`. Two alerts of a detection on one tool are therefore one
//! there, with the newer one's annotations: it is for calling people, and no store of alerts.
//!
//! An alert is firing there for `hold` after its last revision, or until its case is resolved or called false; then
//! the next one that has its labels is told instead, where there is one. That somebody looks after it is not told:
//! Alertmanager has silences for that, and an old alert would fire again. Alertmanager keeps alerts in memory, so what is
//! firing is sent again each minute while this program runs, and comes back after a restart of Alertmanager.
//! Its 200 means that this one instance has it in memory; name each instance of a cluster as a sink of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use yagura_event::amounts::Time;
use yagura_event::clock::{self, Micros, rfc3339};

use crate::batch::{Deliver, Delivered, Item, Most, batched};
use crate::cases::Verdict;
use crate::http::{Client, Credential, Place, SINK_PATIENCE};
use crate::message::{Activity, Kind, Message};
use crate::sink::{Boxed, ConfigError, Connection, Meaning, Sink, SinkError, window_of};
use crate::tls::Tls;

/// What users write for an Alertmanager sink.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `https://host:9093`.
    url: String,
    /// `{ ca, certificate, key, server_name }`, or `false` for a network that nobody else is on.
    tls: Tls,
    /// A file with a token for `Authorization: Bearer`.
    token_file: Option<PathBuf>,
    /// A user, with `password_file`.
    user: Option<String>,
    /// A file with the user's password.
    password_file: Option<PathBuf>,
    /// How long an alert is firing after its last revision; `4h` without an entry.
    hold: Option<Time>,
    /// How many alerts may await their acknowledgement; 128 without an entry.
    window: Option<usize>,
}

/// See [`Settings::hold`].
const HOLD: Duration = Duration::from_secs(4 * 3600);

/// How long a heartbeat is firing: five of them may be lost before its absence is told.
const HEARTBEAT_HOLD: Duration = Duration::from_secs(300);

/// How often what is firing is sent again.
const AGAIN: Duration = Duration::from_secs(60);

/// The most that is kept to be sent again; over it, what would end first is no longer.
const FIRING_MAX: usize = 10_000;

/// Characters of a label's value.
const LABEL_CHARS_MAX: usize = 128;

/// Characters of an annotation's value.
const ANNOTATION_CHARS_MAX: usize = 1024;

impl super::Settings for Settings {
    const KIND: &'static str = "alertmanager";

    fn build(self, name: &str, folder: &Path) -> Result<Box<dyn Sink>, ConfigError> {
        let bad = |problem: String| ConfigError::Setting { sink: name.into(), problem };
        let window = window_of(name, self.window)?;
        let hold = self.hold.map_or(HOLD, Time::duration);
        if hold < 2 * AGAIN || hold > Duration::from_secs(30 * 86_400) {
            return Err(bad("`hold` is 2m to 720h".into()));
        }
        let token = ("Bearer", "token_file", self.token_file);
        let credential = Credential::either(token, self.user, self.password_file).map_err(bad)?;
        let place = Place::new(name, &self.url, self.tls, credential, folder)?.without_query(name)?;
        Ok(Box::new(Alertmanager { place, hold, window, firing: Arc::default() }))
    }
}

struct Alertmanager {
    place: Place,
    hold: Duration,
    window: usize,
    firing: Arc<Mutex<Firing>>,
}

impl Sink for Alertmanager {
    fn describe(&self) -> String {
        format!("{} (Alertmanager)", self.place.describe())
    }

    fn meaning(&self) -> Meaning {
        Meaning::guaranteed(
            "this instance has it in memory; it is sent again each minute while it is firing and this program runs",
        )
    }

    fn window(&self) -> usize {
        self.window
    }

    fn patience(&self) -> Duration {
        SINK_PATIENCE
    }

    fn connect(&self) -> Boxed<'_, Result<Box<dyn Connection>, SinkError>> {
        Box::pin(async move {
            let client = self.place.client().await?;
            let poster = Poster { client, firing: Arc::clone(&self.firing), again: Instant::now() };
            let hold = self.hold;
            let encode = Box::new(move |message: &Message<'_>| match is_told(message) {
                true => alert(message, hold, clock::now()).to_string(),
                false => String::new(),
            });
            let most = Most { items: self.window, bytes: 1 << 20 };
            Ok(batched(poster, most, encode))
        })
    }
}

/// Whether a message changes what fires: that somebody looks after it does not, nor does more of what people closed.
fn is_told(message: &Message<'_>) -> bool {
    match (message.decided, message.stands) {
        (Some(decided), _) => decided.to != Verdict::Acknowledged,
        (None, stands) => !stands.is_some_and(Verdict::closes),
    }
}

/// The message as API v2's `postableAlert`.
fn alert(message: &Message<'_>, hold: Duration, now: Micros) -> Value {
    let alert = message.alert;
    let hold = match message.kind {
        Kind::Alert => hold,
        Kind::Heartbeat => HEARTBEAT_HOLD,
    };
    let ends = match message.activity() {
        Activity::Close => now,
        Activity::Create | Activity::Update => {
            now.saturating_add(i64::try_from(hold.as_micros()).unwrap_or(i64::MAX))
        }
    };
    let labels = [
        ("alertname", alert.detection.as_str()),
        ("severity", alert.severity.name()),
        ("queue", alert.queue.name()),
        ("cell", &alert.cell),
        ("tool", &alert.tool),
    ];
    let (uid, revision, count) = (alert.uid.to_string(), message.revision_uid(), alert.count.to_string());
    let (techniques, sequence) = (alert.techniques.join(" "), alert.sequence.to_string());
    let mut annotations = vec![
        ("title", alert.title.as_str()),
        ("summary", &alert.summary),
        ("do_first", &alert.then),
        ("count", &count),
        ("techniques", &techniques),
        ("uid", &uid),
        ("revision_uid", &revision),
        ("activity", message.activity().name()),
    ];
    match message.decided {
        Some(decided) => annotations.extend([
            ("decision", decided.to.name()),
            ("decided_by", &decided.by),
            ("comment", &decided.why),
        ]),
        None => annotations.push(("sequence", &sequence)),
    }
    // A start after the end, or before all years, is refused, whatever a clock said.
    let starts = alert.observed.clamp(0, ends.max(0));
    json!({
        "labels": texts(&labels, LABEL_CHARS_MAX),
        "annotations": texts(&annotations, ANNOTATION_CHARS_MAX),
        "startsAt": rfc3339(starts),
        "endsAt": rfc3339(ends),
    })
}

/// Those that are not empty, cut.
fn texts(pairs: &[(&str, &str)], chars_max: usize) -> Map<String, Value> {
    let given = pairs.iter().filter(|(_, text)| !text.is_empty());
    given
        .map(|(name, text)| (name.to_string(), text.chars().take(chars_max).collect::<String>().into()))
        .collect()
}

/// What is firing.
#[derive(Clone, Default)]
struct Firing {
    /// By labels and the alert's id, when it ends and what was posted.
    alerts: BTreeMap<(String, String), (Micros, Value)>,
    /// When they end, and which.
    ends: BTreeSet<(Micros, (String, String))>,
}

/// Labels and id of what is posted.
fn key_of(alert: &Value) -> (String, String) {
    (alert["labels"].to_string(), alert["annotations"]["uid"].as_str().unwrap_or_default().to_string())
}

impl Firing {
    /// Notes what Alertmanager has taken.
    fn note(&mut self, alert: Value, now: Micros) {
        let (key, ends) = (key_of(&alert), ends_of(&alert));
        if let Some((before, _)) = self.alerts.remove(&key) {
            self.ends.remove(&(before, key.clone()));
        }
        if ends > now {
            self.ends.insert((ends, key.clone()));
            self.alerts.insert(key, (ends, alert));
        }
        if self.alerts.len() > FIRING_MAX
            && let Some((_, key)) = self.ends.pop_first()
        {
            self.alerts.remove(&key);
        }
    }

    /// Those that have these labels.
    fn labelled<'a>(&'a self, labels: &'a str) -> impl Iterator<Item = &'a (Micros, Value)> {
        let all = self.alerts.range((labels.to_string(), String::new())..);
        all.take_while(move |((of, _), _)| of == labels).map(|(_, ending)| ending)
    }

    /// Alerts as they are to be posted: where one ends and another has its labels, that one.
    fn to_post(&self, alerts: &[Value], now: Micros) -> Vec<Value> {
        let mut after = Firing::default();
        let labels: BTreeSet<String> = alerts.iter().map(|alert| alert["labels"].to_string()).collect();
        let held = labels.iter().flat_map(|labels| self.labelled(labels));
        held.for_each(|(_, alert)| after.note(alert.clone(), now));
        let post = |alert: &Value| {
            after.note(alert.clone(), now);
            let labels = alert["labels"].to_string();
            let other =
                || after.labelled(&labels).max_by_key(|(ends, _)| *ends).map(|(_, other)| other.clone());
            let over = ends_of(alert) <= now;
            over.then(other).flatten().unwrap_or_else(|| alert.clone())
        };
        alerts.iter().map(post).collect()
    }

    /// What is firing at `now`, of those with the same labels the one that ends last; what is not is forgotten.
    fn at(&mut self, now: Micros) -> Vec<Value> {
        while self.ends.first().is_some_and(|(ends, _)| *ends <= now) {
            if let Some((_, key)) = self.ends.pop_first() {
                self.alerts.remove(&key);
            }
        }
        let mut last: BTreeMap<&str, &(Micros, Value)> = BTreeMap::new();
        for ((labels, _), ending) in &self.alerts {
            let shown = last.entry(labels).or_insert(ending);
            if ending.0 >= shown.0 {
                *shown = ending;
            }
        }
        last.into_values().map(|(_, alert)| alert.clone()).collect()
    }
}

fn ends_of(alert: &Value) -> Micros {
    alert["endsAt"].as_str().and_then(clock::parse_rfc3339).unwrap_or(0)
}

struct Poster {
    client: Client,
    firing: Arc<Mutex<Firing>>,
    /// When to send what is firing again.
    again: Instant,
}

impl Poster {
    async fn post(&mut self, alerts: &[Value]) -> Result<Option<Delivered>, SinkError> {
        let body = Value::from(alerts.to_vec()).to_string();
        let reply = self.client.post("/api/v2/alerts", "application/json", &[], body.into()).await?;
        if reply.blames_content() {
            return Ok(Some(Delivered::Refused(reply.words())));
        }
        if !reply.is_good() {
            return Err(self.client.trouble(&reply));
        }
        Ok(None)
    }
}

impl Deliver for Poster {
    fn deliver<'a>(&'a mut self, batch: &'a [Item]) -> Boxed<'a, Result<Delivered, SinkError>> {
        Box::pin(async move {
            let firing = Arc::clone(&self.firing);
            let now = clock::now();
            // What connects anew may be speaking to an instance that started anew and knows nothing.
            if Instant::now() >= self.again || !self.client.is_connected() {
                self.again = Instant::now() + AGAIN;
                let again = firing.lock().unwrap_or_else(PoisonError::into_inner).at(now);
                for some in again.chunks(500) {
                    // Each of them was taken before, so that a refusal has nobody to tell.
                    self.post(some).await?;
                }
            }
            // What is not for Alertmanager has no body.
            let alerts: Vec<Value> =
                batch.iter().filter_map(|item| serde_json::from_str(&item.body).ok()).collect();
            if alerts.is_empty() {
                return Ok(Delivered::all(batch));
            }
            let now = clock::now();
            let to_post = firing.lock().unwrap_or_else(PoisonError::into_inner).to_post(&alerts, now);
            if let Some(refused) = self.post(&to_post).await? {
                return Ok(refused);
            }
            let mut firing = firing.lock().unwrap_or_else(PoisonError::into_inner);
            alerts.into_iter().for_each(|alert| firing.note(alert, now));
            Ok(Delivered::all(batch))
        })
    }

    fn due(&self) -> Option<Instant> {
        Some(self.again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use crate::told::tests::decided;

    const NOW: Micros = 1_795_403_100_000_000;

    #[test]
    fn labels_are_few_short_and_without_ids() {
        let mut source = fixtures::alert(1);
        source.tool = "x".repeat(1000);
        source.cell.clear();
        let alert = alert(&Message::of(&source), HOLD, NOW);
        let labels: Vec<&String> = alert["labels"].as_object().expect("labels").keys().collect();
        assert_eq!(labels, ["alertname", "queue", "severity", "tool"]);
        assert_eq!(alert["labels"]["tool"].as_str().map(str::len), Some(LABEL_CHARS_MAX));
        assert_eq!(alert["annotations"]["uid"], source.uid.to_string());
        assert_eq!(alert["endsAt"], rfc3339(NOW + 4 * 3600 * clock::SECOND));
        source.observed = i64::MAX;
        let late = super::alert(&Message::of(&source), HOLD, NOW);
        assert_eq!(late["startsAt"], late["endsAt"], "a clock that is ahead");
    }

    #[test]
    fn what_people_closed_or_look_after_is_not_told_again() {
        let source = fixtures::alert(1);
        let stands = |stands| is_told(&Message { stands, ..Message::of(&source) });
        assert!(stands(None) && stands(Some(Verdict::Acknowledged)));
        assert!(!stands(Some(Verdict::FalsePositive)) && !stands(Some(Verdict::Resolved)));
        let told = |to| is_told(&Message { decided: Some(&decided(to)), ..Message::of(&source) });
        assert!(told(Verdict::Resolved) && told(Verdict::Reopened) && !told(Verdict::Acknowledged));
    }

    #[test]
    fn what_is_firing_ends_by_time_or_when_it_is_closed_and_is_bounded() {
        let mut firing = Firing::default();
        let (one, mut other) = (fixtures::alert(1), fixtures::alert(2));
        other.tool = "ETCH-08".into();
        for source in [&one, &other] {
            firing.note(alert(&Message::of(source), HOLD, NOW), NOW);
        }
        assert_eq!(firing.at(NOW).len(), 2);
        let resolved = decided(Verdict::Resolved);
        let closed = alert(&Message { decided: Some(&resolved), ..Message::of(&one) }, HOLD, NOW);
        assert_eq!(
            (&closed["endsAt"], &closed["annotations"]["comment"]),
            (&json!(rfc3339(NOW)), &json!(resolved.why))
        );
        let to_post = |firing: &Firing| firing.to_post(std::slice::from_ref(&closed), NOW);
        assert_eq!(to_post(&firing).first(), Some(&closed));
        firing.note(closed.clone(), NOW);
        assert_eq!(firing.at(NOW).len(), 1);
        assert_eq!(firing.at(NOW + 5 * 3600 * clock::SECOND).len(), 0);
        // Another that has the labels of what is closed goes on firing, whichever of them came first.
        let [first, second] =
            [3, 4].map(|number| alert(&Message::of(&fixtures::alert(number)), HOLD, NOW + number as i64));
        firing.note(alert(&Message::of(&one), HOLD, NOW), NOW);
        assert_eq!(
            firing.to_post(&[first.clone(), second.clone(), closed.clone()], NOW),
            [first.clone(), second.clone(), second.clone()]
        );
        for open in [&first, &second] {
            firing.note(open.clone(), NOW);
        }
        assert_eq!(to_post(&firing).first(), Some(&second));
        firing.note(closed, NOW);
        assert_eq!(firing.at(NOW), [second]);
        let mut firing = Firing::default();
        for number in 0..FIRING_MAX as i64 + 5 {
            other.tool = number.to_string();
            firing.note(alert(&Message::of(&other), HOLD, NOW + number), NOW);
        }
        assert_eq!(firing.at(NOW).len(), FIRING_MAX);
        let first = firing.at(NOW).iter().map(|alert| ends_of(alert) - NOW).min().expect("some");
        assert_eq!(first, 4 * 3600 * clock::SECOND + 5, "those that end first went");
    }
}
