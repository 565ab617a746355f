//! The server.

use std::future::{Future, IntoFuture};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use prometheus::{Gauge, IntGaugeVec, Opts, Registry, TEXT_FORMAT, TextEncoder};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use yagura_event::clock;

use crate::health::Health;
use crate::standing::Standing;

/// Where it listens unless the configuration says otherwise.
pub const ADDRESS: &str = "127.0.0.1:9600";

/// How long a stop waits for answers under way.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why the console cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// Somebody else listens there.
    #[error(
        "the console cannot listen on {address}: the address is in use; stop what listens there, or give the console another address (port 0 takes any free one)"
    )]
    InUse {
        /// The configured address.
        address: String,
    },
    /// It cannot be listened on.
    #[error(
        "the console cannot listen on {address}: {cause}; give an address of this machine, such as {ADDRESS}"
    )]
    Address {
        /// The configured address.
        address: String,
        /// Why not.
        cause: std::io::Error,
    },
    /// The registry has metrics of these names already: two consoles share one.
    #[error("the console's own metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The server failed while it ran.
    #[error("the console stopped: {0}")]
    Serve(std::io::Error),
}

/// A console that listens and does not answer yet.
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
}

/// Listens on `address` (`host:port`) and registers the process's own metrics.
pub async fn bind(address: &str, registry: Registry, health: Health) -> Result<Bound, ConsoleError> {
    let failed = |cause: std::io::Error| match cause.kind() {
        ErrorKind::AddrInUse => ConsoleError::InUse { address: address.into() },
        _ => ConsoleError::Address { address: address.into(), cause },
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    register_process(&registry)?;
    registry.register(Box::new(Standing::of(health.clone())?))?;
    let router = Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics).with_state(registry))
        .route("/live", get(live).with_state(health.clone()))
        .route("/ready", get(ready).with_state(health));
    Ok(Bound { listener, address, router })
}

impl Bound {
    /// Where it listens: with port 0, the port that it got.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` is ready, and then ends within some seconds whatever clients do.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), ConsoleError> {
        let (stopping, stopped) = oneshot::channel::<()>();
        let serve = axum::serve(self.listener, self.router).with_graceful_shutdown(async move {
            stop.await;
            drop(stopping);
        });
        tracing::info!(address = %self.address, "the console answers");
        tokio::select! {
            served = serve.into_future() => served.map_err(ConsoleError::Serve),
            () = farewell(stopped) => Ok(()),
        }
    }
}

/// Ends some time after the stop: a client that keeps its request to itself holds nobody up.
async fn farewell(stopped: oneshot::Receiver<()>) {
    // The sender is never used, only dropped.
    let _ = stopped.await;
    tokio::time::sleep(FAREWELL).await;
}

fn register_process(registry: &Registry) -> Result<(), prometheus::Error> {
    let build =
        IntGaugeVec::new(Opts::new("yagura_build_info", "1; the version is its label."), &["version"])?;
    build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    registry.register(Box::new(build))?;
    let start = Gauge::new(
        "process_start_time_seconds",
        "When the process started to listen, in seconds since 1970.",
    )?;
    start.set(clock::now() as f64 / clock::SECOND as f64);
    registry.register(Box::new(start))
}

async fn index() -> Html<&'static str> {
    Html(concat!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Yagura</title>",
        "<h1>Yagura ",
        env!("CARGO_PKG_VERSION"),
        "</h1><ul>",
        "<li><a href=\"metrics\">metrics</a>, for Prometheus",
        "<li><a href=\"live\">live</a>: does all that has work get on with it?",
        "<li><a href=\"ready\">ready</a>: is everything there that it needs?",
        "</ul></html>\n"
    ))
}

async fn metrics(State(registry): State<Registry>) -> Response {
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response()
        }
    }
}

async fn live(State(health): State<Health>) -> Response {
    verdict("live", &health.stalled())
}

async fn ready(State(health): State<Health>) -> Response {
    verdict("ready", &health.shut())
}

/// 200 and a word, or 503 and a line for each problem.
fn verdict(word: &str, problems: &[String]) -> Response {
    match problems {
        [] => format!("{word}\n").into_response(),
        some => (StatusCode::SERVICE_UNAVAILABLE, some.join("\n") + "\n").into_response(),
    }
}
