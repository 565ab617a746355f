//! Connections and requests.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use yagura_door::{Door, Fresh, Stream, bearer, same, stopped};
use yagura_event::clock::{self, Micros};

use super::body::{self, BadRow, Budget, Charge, Form, Samples, start_of};
use crate::complaints::Complaints;
use crate::feed::Feed;
use crate::mapping::Mapper;

/// The most bytes of a request's head.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// The longest name of a stream of positions, in bytes.
const STREAM_BYTES_MAX: usize = 256;

/// The numbered stream that a body belongs to.
pub(super) const STREAM: &str = "yagura-stream";
/// Its number there.
pub(super) const POSITION: &str = "yagura-position";

/// What all connections share.
pub(super) struct Server {
    /// The most bytes of a body, unpacked.
    pub(super) body_max: usize,
    pub(super) row_max: usize,
    pub(super) connections: usize,
    pub(super) header_timeout: Duration,
    pub(super) body_timeout: Duration,
    /// How long an answer waits for rows to be durable.
    pub(super) answer_timeout: Duration,
    /// Who may send; everybody without any.
    pub(super) tokens: Option<Fresh<Vec<String>>>,
    /// What is declared of streams, by name.
    pub(super) streams: BTreeMap<String, Arc<Mapper>>,
    pub(super) budget: Budget,
    pub(super) complaints: Arc<Complaints>,
    pub(super) description: Bytes,
}

/// A body on its way to the collector's thread.
pub(super) struct Arrived {
    pub(super) content: Content,
    pub(super) received: Micros,
    /// Stream and position, where the sender gives them.
    pub(super) place: Option<(String, u64)>,
    pub(super) reply: oneshot::Sender<Outcome>,
    pub(super) charge: Charge,
}

/// Checked rows.
pub(super) enum Content {
    Samples(Samples),
    Mapped { mapper: Arc<Mapper>, text: String, form: Form, rows: u64 },
}

impl Content {
    pub(super) fn rows(&self) -> u64 {
        match self {
            Content::Samples(samples) => samples.len(),
            Content::Mapped { rows, .. } => *rows,
        }
    }
}

/// What became of a body.
pub(super) enum Outcome {
    /// Its rows are durable.
    Durable { rows: u64, repeated: bool },
    /// Nothing of it was taken.
    Refused(Refusal),
}

/// Why a request is not done.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) error: String,
    pub(super) row: Option<u64>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Refusal { status, error: error.into(), row: None }
    }

    pub(super) fn row(bad: BadRow) -> Self {
        let error = match bad.row {
            0 => format!("{}; nothing of the body was taken", bad.why),
            row => format!("row {row}: {}; nothing of the body was taken", bad.why),
        };
        Refusal { row: Some(bad.row).filter(|row| *row > 0), ..Self::new(StatusCode::BAD_REQUEST, error) }
    }

    pub(super) fn full() -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "the collector is full: the log does not take rows as fast as they come; send again later",
        )
    }

    pub(super) fn too_large(most: usize) -> Self {
        let error = format!("a body may have {most} bytes, unpacked; send fewer rows at a time");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, error)
    }

    fn answer(&self) -> Response<Full<Bytes>> {
        let mut answer = json!({ "error": self.error });
        if let Some(row) = self.row {
            answer["row"] = row.into();
        }
        let mut response = json_response(self.status, &answer);
        let headers = response.headers_mut();
        match self.status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}

/// Takes connections until it is told to stop; those that are open finish what they do.
pub(super) async fn listen(
    server: Arc<Server>,
    feed: Feed<Arrived>,
    listener: TcpListener,
    tls: Option<Fresh<TlsAcceptor>>,
    stop: watch::Receiver<bool>,
) {
    let door = Door { listener, tls, connections: server.connections, handshake: server.header_timeout };
    let complaining = Arc::clone(&server);
    let complain = move |peer, what| complaining.complain(peer, || what);
    let stopping = stop.clone();
    let serve =
        move |stream, peer| connection(Arc::clone(&server), feed.clone(), stream, peer, stopping.clone());
    door.open(stop, complain, serve).await;
}

async fn connection(
    server: Arc<Server>,
    feed: Feed<Arrived>,
    stream: Box<dyn Stream>,
    address: SocketAddr,
    mut stop: watch::Receiver<bool>,
) {
    let of_requests = Arc::clone(&server);
    let service = service_fn(move |request| {
        let (server, feed) = (Arc::clone(&of_requests), feed.clone());
        async move { Ok::<_, Infallible>(server.answer(request, &feed, address).await) }
    });
    let mut served = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(server.header_timeout)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service)
    );
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stopped(&mut stop) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(e) = ended
        && (e.is_parse() || e.is_parse_too_large())
    {
        server.complain(address, || format!("no HTTP request: {e}"));
    }
}

impl Server {
    fn complain(&self, peer: SocketAddr, what: impl FnOnce() -> String) {
        self.complaints.add(&peer.ip().to_canonical().to_string(), what);
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        feed: &Feed<Arrived>,
        peer: SocketAddr,
    ) -> Response<Full<Bytes>> {
        let path = request.uri().path().trim_end_matches('/').to_string();
        let is = |method: Method| request.method() == method;
        let reads = is(Method::GET) || is(Method::HEAD);
        match path.as_str() {
            "/health" if reads => {
                let status = if self.budget.is_spent() { "full" } else { "ok" };
                json_response(StatusCode::OK, &json!({ "status": status }))
            }
            "/v1/openapi.json" if reads => json_bytes(StatusCode::OK, self.description.clone()),
            "/health" | "/v1/openapi.json" => not_allowed("GET, HEAD"),
            _ if path == "/v1/rows" || path.starts_with("/v1/rows/") => match is(Method::POST) {
                false => not_allowed("POST"),
                true => match self.rows(request, feed).await {
                    Ok(answer) => json_response(StatusCode::OK, &answer),
                    Err(refusal) => {
                        if refusal.status.is_client_error() && refusal.status != StatusCode::TOO_MANY_REQUESTS
                        {
                            self.complain(peer, || format!("POST {path}: {}", refusal.error));
                        }
                        refusal.answer()
                    }
                },
            },
            _ => Refusal::new(StatusCode::NOT_FOUND, "there are /v1/rows, /v1/openapi.json and /health")
                .answer(),
        }
    }

    async fn rows(&self, request: Request<Incoming>, feed: &Feed<Arrived>) -> Result<Value, Refusal> {
        let headers = request.headers();
        self.authorise(headers)?;
        let mapper = self.mapper(request.uri())?;
        let form = form(headers)?;
        let packed = packed(headers)?;
        let place = place(headers)?;
        let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        if declared.and_then(|length| length.parse::<u64>().ok()).is_some_and(|n| n > self.body_max as u64) {
            return Err(Refusal::too_large(self.body_max));
        }
        let mut charge = self.budget.charge();
        let received = body::receive(request.into_body(), self.body_max, &mut charge);
        let mut bytes = timeout(self.body_timeout, received).await.map_err(|_| {
            Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body took too long; send fewer rows at a time")
        })??;
        if packed {
            bytes = body::gunzip(&bytes, self.body_max, &mut charge)?;
        }
        let text = body::text(bytes, form).map_err(Refusal::row)?;
        let content = match mapper {
            None => Content::Samples(Samples::read(text, form, self.row_max, &mut charge)?),
            Some(mapper) => {
                let rows = body::each_row(&text, form, self.row_max, |row| {
                    let object: Map<String, Value> =
                        serde_json::from_str(row).map_err(|e| format!("is no JSON object: {e}"))?;
                    mapper.time(&object).map(drop)
                });
                let rows = rows.map_err(Refusal::row)?;
                Content::Mapped { mapper, text, form, rows }
            }
        };
        let (reply, outcome) = oneshot::channel();
        let bytes = charge.bytes;
        let arrived = Arrived { content, received: clock::now(), place, reply, charge };
        feed.try_send(arrived, bytes).map_err(|_| match feed.is_closed() {
            true => stopping(),
            false => Refusal::full(),
        })?;
        match timeout(self.answer_timeout, outcome).await {
            Ok(Ok(Outcome::Durable { rows, repeated })) => Ok(json!({ "rows": rows, "repeated": repeated })),
            Ok(Ok(Outcome::Refused(refusal))) => Err(refusal),
            Ok(Err(_)) => Err(stopping()),
            Err(_) => Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the rows are not known to be durable yet; send the body again, with the same position",
            )),
        }
    }

    fn authorise(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(tokens) = &self.tokens else { return Ok(()) };
        let given = headers.get(header::AUTHORIZATION).map_or(&b""[..], HeaderValue::as_bytes);
        let known = same(tokens.get().iter().map(String::as_str), bearer(given)).is_some();
        match known {
            true => Ok(()),
            false => Err(Refusal::new(
                StatusCode::UNAUTHORIZED,
                "no valid token: send `Authorization: Bearer TOKEN` with one out of the collector's `token_file`",
            )),
        }
    }

    /// What is declared of the stream that the path or the query names.
    fn mapper(&self, uri: &hyper::Uri) -> Result<Option<Arc<Mapper>>, Refusal> {
        let of_path = uri.path().trim_end_matches('/').strip_prefix("/v1/rows/");
        let of_query =
            || uri.query().unwrap_or("").split('&').find_map(|field| field.strip_prefix("stream="));
        let Some(name) = of_path.or_else(of_query) else { return Ok(None) };
        match self.streams.get(name) {
            Some(mapper) => Ok(Some(Arc::clone(mapper))),
            None => {
                let all: Vec<&str> = self.streams.keys().map(String::as_str).collect();
                let error = format!(
                    "there is no stream `{}`; the collector's `streams` has: {}",
                    start_of(name),
                    all.join(", ")
                );
                Err(Refusal::new(StatusCode::NOT_FOUND, error))
            }
        }
    }
}

fn stopping() -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the collector stops; send again, with the same position")
}

fn form(headers: &HeaderMap) -> Result<Form, Refusal> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    match kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase().as_str() {
        "application/x-ndjson" | "application/jsonl" => Ok(Form::Lines),
        "application/json" => Ok(Form::Array),
        _ => Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send `Content-Type: application/x-ndjson` (a JSON object a line) or `application/json` (an array of objects)",
        )),
    }
}

fn packed(headers: &HeaderMap) -> Result<bool, Refusal> {
    match headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Ok(false),
        Some(b"gzip") => Ok(true),
        Some(_) => {
            Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "of content encodings only `gzip` is taken"))
        }
    }
}

fn place(headers: &HeaderMap) -> Result<Option<(String, u64)>, Refusal> {
    let wrong = |why: &str| Err(Refusal::new(StatusCode::BAD_REQUEST, why));
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    match (text(STREAM), text(POSITION)) {
        (None, None) => Ok(None),
        (Some(stream), Some(position)) => match position.parse() {
            _ if stream.is_empty() || stream.len() > STREAM_BYTES_MAX => {
                wrong("`Yagura-Stream` is a name of 1 to 256 visible ASCII characters")
            }
            Ok(position) => Ok(Some((stream.to_string(), position))),
            Err(_) => wrong("`Yagura-Position` is a whole number that grows from body to body"),
        },
        _ => wrong("`Yagura-Stream` and `Yagura-Position` belong together"),
    }
}

fn not_allowed(methods: &'static str) -> Response<Full<Bytes>> {
    let error = format!("use {methods}");
    let mut response = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, error).answer();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
    response
}

fn json_response(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    json_bytes(status, format!("{value}\n").into())
}

fn json_bytes(status: StatusCode, value: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(value));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
