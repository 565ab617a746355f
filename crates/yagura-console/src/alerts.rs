//! Alerts for other programs over HTTP: see them, follow them, decide about them.
//!
//! Everything but the description needs a token of a person, whose name stands in the decisions. What is answered is
//! what `yagura alerts` shows, out of the same topics of the log; decisions are durable when they are answered.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Json, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::stream::{Stream, unfold};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus::IntCounter;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};
use yagura_door::{Door, Fresh, TlsAcceptor, stopped};
use yagura_event::alert::{Queue, Severity};
use yagura_event::amounts::Period;
use yagura_event::clock;
use yagura_log::{Log, LogError, Record};
use yagura_respond::Redaction;
use yagura_respond::cases::{
    self, Case, CaseKey, Cases, Decision, Mute, Selection, Verdict, Watched, What, document,
};
use yagura_respond::picture::Drawn;

use self::people::{Analyst, Reader};

mod openapi;
mod people;

pub use people::People;

/// How often the log is looked at while somebody follows.
const REST: Duration = Duration::from_millis(500);

/// Changes that one who follows may be behind; then some are left out, and that is said.
const CHANGES: usize = 1024;

/// The largest body.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Cases in an answer without a `limit`.
const LIMIT: usize = 1000;

/// How long a TLS handshake, or the head of a request, may take.
const GREETING: Duration = Duration::from_secs(10);

/// The interface, before it answers.
pub struct Alerts {
    /// Where it listens.
    pub listener: std::net::TcpListener,
    /// TLS; without it connections are not encrypted.
    pub tls: Option<Fresh<TlsAcceptor>>,
    /// Who may use it.
    pub people: Fresh<People>,
    /// How many connections at a time; further ones wait to be taken.
    pub connections: usize,
    /// What a decision writes, by topic.
    pub records: Records,
    /// Counts requests without a valid token.
    pub denied: IntCounter,
}

/// The records of a decision, by topic.
pub type Records = fn(&Decision, &Cases) -> Vec<(&'static str, Vec<Record>)>;

type Shared = Arc<Inner>;

struct Inner {
    log: Arc<dyn Log>,
    people: Fresh<People>,
    records: Records,
    watched: Mutex<Watched>,
    denied: IntCounter,
    changes: broadcast::Sender<Change>,
}

/// A case that changed, as a reader and as an analyst may see it.
#[derive(Clone)]
struct Change {
    redacted: Arc<str>,
    whole: Arc<str>,
}

impl Alerts {
    /// Answers until `stop` is set, out of the topics of a log of which `alerts` holds the alerts.
    pub async fn serve(
        self,
        log: Arc<dyn Log>,
        alerts: &str,
        stop: watch::Receiver<bool>,
    ) -> std::io::Result<()> {
        self.listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(self.listener)?;
        let (changes, _) = broadcast::channel(CHANGES);
        let watched = Mutex::new(Watched::new(Arc::clone(&log), alerts));
        let inner = Arc::new(Inner {
            log,
            people: self.people,
            records: self.records,
            denied: self.denied,
            watched,
            changes,
        });
        let router = Router::new()
            .route("/v1/openapi.json", get(async || Json(openapi::description())))
            .route("/v1/alerts", get(list))
            .route("/v1/alerts/{id}", get(one))
            .route("/v1/alerts/{id}/picture.svg", get(picture))
            .route("/v1/alerts/{id}/decisions", post(decide))
            .route("/v1/changes", get(follow))
            .route("/v1/mutes", get(mutes).post(mute))
            .route("/v1/mutes/{id}/end", post(unmute))
            .fallback(async || {
                let all: Vec<String> = openapi::paths();
                Problem(StatusCode::NOT_FOUND, format!("there are: {}", all.join(", ")))
            })
            .method_not_allowed_fallback(async || {
                Problem(StatusCode::METHOD_NOT_ALLOWED, "see /v1/openapi.json".into())
            })
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(Arc::clone(&inner));
        let door = Door { listener, tls: self.tls, connections: self.connections, handshake: GREETING };
        let complain = |peer: SocketAddr, what: String| tracing::debug!(%peer, what, "no connection");
        let stopping = stop.clone();
        let serve = move |stream, peer| connection(router.clone(), stream, peer, stopping.clone());
        tokio::select! {
            () = door.open(stop, complain, serve) => {}
            () = look(inner) => {}
        }
        Ok(())
    }
}

async fn connection(
    router: Router,
    stream: Box<dyn yagura_door::Stream>,
    peer: SocketAddr,
    mut stop: watch::Receiver<bool>,
) {
    let mut served = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(GREETING)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
    );
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        // Who follows would hold a stop up for ever: streams are cut.
        () = stopped(&mut stop) => Ok(()),
    };
    if let Err(cause) = ended {
        tracing::debug!(%peer, %cause, "a connection to the alerts broke");
    }
}

/// Reads on while somebody follows.
async fn look(shared: Shared) {
    loop {
        tokio::time::sleep(REST).await;
        if shared.changes.receiver_count() > 0
            && let Err(Problem(_, cause)) = with(&shared, |_| Ok(())).await
        {
            tracing::warn!(cause, "the log does not answer; those who follow alerts wait");
        }
    }
}

/// Why there is no answer.
pub struct Problem(StatusCode, String);

impl Problem {
    fn request(what: impl std::fmt::Display) -> Self {
        Problem(StatusCode::BAD_REQUEST, what.to_string())
    }
}

impl From<LogError> for Problem {
    fn from(cause: LogError) -> Self {
        Problem(StatusCode::SERVICE_UNAVAILABLE, format!("the log does not answer: {cause}"))
    }
}

impl From<JsonRejection> for Problem {
    fn from(cause: JsonRejection) -> Self {
        Problem(cause.status(), cause.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(cause: QueryRejection) -> Self {
        Problem(cause.status(), cause.body_text())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.0, Json(json!({ "error": self.1 }))).into_response();
        if self.0 == StatusCode::UNAUTHORIZED {
            let bearer = header::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
        }
        response
    }
}

/// Does something with the cases as the log has them now, where it may wait for the log.
async fn with<T: Send + 'static>(
    shared: &Shared,
    work: impl FnOnce(&Watched) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let shared = Arc::clone(shared);
    let done = tokio::task::spawn_blocking(move || {
        let watched = shared.now()?;
        work(&watched)
    });
    let done = done.await;
    done.unwrap_or_else(|panic| Err(Problem(StatusCode::INTERNAL_SERVER_ERROR, panic.to_string())))
}

impl Inner {
    /// The cases as the log has them now; who follows hears of what is new.
    fn now(&self) -> Result<MutexGuard<'_, Watched>, Problem> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let touched = watched.read()?;
        if self.changes.receiver_count() > 0 {
            for key in touched {
                let Some((case, state)) = watched.cases().get(&key) else { continue };
                let told =
                    |redact: &Redaction| document(watched.cases(), case, state, redact).to_string().into();
                let change = Change { redacted: told(&Redaction::default()), whole: told(&Redaction::off()) };
                // Nobody follows any more when it fails.
                let _ = self.changes.send(change);
            }
        }
        Ok(watched)
    }

    fn write(
        &self,
        cases: &Cases,
        person: &people::Person,
        why: String,
        what: What,
    ) -> Result<Decision, Problem> {
        if why.trim().is_empty() {
            return Err(Problem::request("`why` is empty; whoever reads it next will want to know"));
        }
        let decision = Decision { time: clock::now(), by: person.name.clone(), why, what };
        for (topic, records) in (self.records)(&decision, cases) {
            let mut appender = self.log.appender(topic)?;
            records.into_iter().try_for_each(|record| appender.append(record))?;
            appender.flush()?;
        }
        Ok(decision)
    }
}

/// Which cases: `?state=new,reopened&severity=high`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    state: Option<String>,
    queue: Option<Queue>,
    severity: Option<Severity>,
    tool: Option<String>,
    cell: Option<String>,
    #[serde(default)]
    muted: bool,
    limit: Option<usize>,
}

async fn list(
    Reader(person): Reader,
    State(shared): State<Shared>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(wanted) = wanted?;
    let states = wanted.state.iter().flat_map(|all| all.split(',')).map(|name| {
        let known = cases::State::ALL.into_iter().find(|state| state.name() == name);
        known.ok_or_else(|| {
            let all = cases::State::ALL.map(cases::State::name).join(", ");
            Problem::request(format!("there is no state `{name}`; there are: {all}"))
        })
    });
    let selection = Selection {
        states: states.collect::<Result<_, _>>()?,
        queue: wanted.queue,
        severity: wanted.severity,
        tool: wanted.tool,
        cell: wanted.cell,
        muted: wanted.muted,
    };
    let (limit, redact) = (wanted.limit.unwrap_or(LIMIT), person.redaction());
    with(&shared, move |watched| {
        let cases = watched.cases();
        let (chosen, muted) = selection.of(cases);
        let all = chosen.len();
        let shown: Vec<Value> = chosen
            .into_iter()
            .take(limit)
            .map(|(case, state)| document(cases, case, state, &redact))
            .collect();
        Ok(Json(json!({ "cases": shown, "all": all, "muted": muted })))
    })
    .await
}

/// The only case that has an alert whose id begins so.
fn named<'a>(watched: &'a Watched, id: &'a str) -> Result<(&'a Case, cases::State), Problem> {
    let mut named = watched.cases().named(id);
    match (named.next(), named.next()) {
        (Some(case), None) => Ok(case),
        (Some(_), Some(_)) => {
            Err(Problem(StatusCode::CONFLICT, format!("`{id}` begins the ids of several cases")))
        }
        (None, _) => {
            Err(Problem(StatusCode::NOT_FOUND, format!("no case has an alert whose id begins with `{id}`")))
        }
    }
}

async fn one(
    Reader(person): Reader,
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    with(&shared, move |watched| {
        let (case, state) = named(watched, &id)?;
        Ok(Json(document(watched.cases(), case, state, &person.redaction())))
    })
    .await
}

async fn picture(
    _: Analyst,
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    with(&shared, move |watched| {
        let (case, _) = named(watched, &id)?;
        let drawn = Drawn::of(&case.alert).ok_or_else(|| {
            Problem(StatusCode::NOT_FOUND, "this alert has no values that could be drawn".into())
        })?;
        Ok(([(header::CONTENT_TYPE, "image/svg+xml")], drawn.picture().svg()).into_response())
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Judged {
    to: Verdict,
    why: String,
}

async fn decide(
    Analyst(person): Analyst,
    State(shared): State<Shared>,
    Path(id): Path<String>,
    judged: Result<Json<Judged>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(judged) = judged?;
    let writing = Arc::clone(&shared);
    with(&shared, move |watched| {
        let (case, _) = named(watched, &id)?;
        let what = What::Case { case: CaseKey::of(&case.alert), to: judged.to, seen: case.seen() };
        let decision = writing.write(watched.cases(), &person, judged.why, what)?;
        Ok((StatusCode::CREATED, Json(json!({ "case": case.id, "decision": decision }))).into_response())
    })
    .await
}

async fn follow(
    Reader(person): Reader,
    State(shared): State<Shared>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let sees_all = person.redaction() == Redaction::off();
    let changes =
        unfold(shared.changes.subscribe(), move |mut changes: broadcast::Receiver<Change>| async move {
            let event = match changes.recv().await {
                Ok(Change { redacted, whole }) => {
                    Event::default().event("case").data(if sees_all { &*whole } else { &*redacted })
                }
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    Event::default().event("missed").data(missed.to_string())
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            };
            Some((Ok(event), changes))
        });
    Sse::new(changes).keep_alive(KeepAlive::default())
}

async fn mutes(_: Reader, State(shared): State<Shared>) -> Result<Json<Value>, Problem> {
    with(&shared, |watched| {
        let now = clock::now();
        let all = watched.cases().mutes().map(|(mute, decision)| {
            let holds = (mute.from..mute.until).contains(&now);
            json!({"mute": mute, "holds": holds, "by": decision.by, "why": decision.why})
        });
        Ok(Json(json!({ "mutes": all.collect::<Vec<_>>() })))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Muting {
    id: String,
    #[serde(rename = "for")]
    time: Period,
    why: String,
    detection: Option<String>,
    cell: Option<String>,
    queue: Option<Queue>,
    tool: Option<String>,
    #[serde(default)]
    key: std::collections::BTreeMap<String, String>,
}

async fn mute(
    Analyst(person): Analyst,
    State(shared): State<Shared>,
    muting: Result<Json<Muting>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(Muting { id, time, why, detection, cell, queue, tool, key }) = muting?;
    let from = clock::now();
    let until = from.saturating_add(time.micros());
    let mute = Mute { id, from, until, detection, cell, queue, tool, key, declared: false };
    if mute.is_of_everything() {
        return Err(Problem::request(
            "this would mute every alert of the plant: say of which detection, queue, tool, cell or key",
        ));
    }
    let writing = Arc::clone(&shared);
    with(&shared, move |watched| {
        let decision = writing.write(watched.cases(), &person, why, What::Mute(mute))?;
        Ok((StatusCode::CREATED, Json(json!({ "decision": decision }))).into_response())
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ending {
    why: String,
}

async fn unmute(
    Analyst(person): Analyst,
    State(shared): State<Shared>,
    Path(id): Path<String>,
    ending: Result<Json<Ending>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(Ending { why }) = ending?;
    let writing = Arc::clone(&shared);
    with(&shared, move |watched| {
        if !watched.cases().mutes().any(|(mute, _)| mute.id == id) {
            return Err(Problem(StatusCode::NOT_FOUND, format!("there is no mute `{id}`")));
        }
        let decision = writing.write(watched.cases(), &person, why, What::Unmute { id })?;
        Ok((StatusCode::CREATED, Json(json!({ "decision": decision }))).into_response())
    })
    .await
}
