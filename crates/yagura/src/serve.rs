//! The role `serve`: alerts over HTTP for other programs, and the history for PostgreSQL's clients.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use serde::Deserialize;
use tokio::sync::watch;
use yagura_console::alerts::{Alerts, People};
use yagura_detect::worker::ALERTS;
use yagura_door::{Fresh, ServerTls, TlsAcceptor, Unusable, lines};
use yagura_event::amounts::Bytes;
use yagura_log::Log;
use yagura_sql::postgres::{Postgres, Serving as Answering, Users};

use crate::config::{Config, Role};
use crate::{Failure, decided};

const DENIED: &str = "yagura_serve_denied_total";
const DENIED_HELP: &str =
    "Requests and connections that were refused for want of a token or password, by door.";

/// Alerts for other programs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiConfig {
    /// Where it listens: `127.0.0.1:9601`.
    listen: SocketAddr,
    /// Certificates; beyond this machine they are a must.
    tls: Option<ServerTls>,
    /// A file of `NAME ROLE TOKEN`, a line each.
    token_file: PathBuf,
    /// How many connections at a time.
    #[serde(default = "connections_default")]
    connections: usize,
}

/// The history for PostgreSQL's clients.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// Where it listens: `127.0.0.1:5432`.
    listen: SocketAddr,
    /// Certificates; beyond this machine they are a must.
    tls: Option<ServerTls>,
    /// A file of `NAME:PASSWORD`, a line each.
    users_file: PathBuf,
    /// How many connections at a time.
    #[serde(default = "connections_default")]
    connections: usize,
    /// What all queries may take together.
    #[serde(default = "memory_default")]
    memory: Bytes,
}

fn connections_default() -> usize {
    64
}

fn memory_default() -> Bytes {
    Bytes(1 << 30)
}

/// Both ports under way.
pub struct Serving {
    /// Where alerts are served.
    pub api: Option<SocketAddr>,
    /// Where the history is.
    pub postgres: Option<SocketAddr>,
    /// Ends when it is dropped.
    _answering: Option<Answering>,
}

impl Serving {
    /// Opens what the configuration says; alerts are served by `runtime` until `stopped` is set.
    pub fn start(
        config: &Config,
        log: &Arc<dyn Log>,
        runtime: &tokio::runtime::Handle,
        stopped: &watch::Receiver<bool>,
        registry: &Registry,
    ) -> Result<Self, Failure> {
        let denied = IntCounterVec::new(Opts::new(DENIED, DENIED_HELP), &["door"])?;
        registry.register(Box::new(denied.clone()))?;
        let denied = |door: &str| denied.with_label_values(&[door]);
        let wanted = config.has(Role::Serve);
        let api = config.api.as_ref().filter(|_| wanted);
        let api = api.map(|api| api.open(&config.folder, denied("api"))).transpose()?;
        let postgres = config.postgres.as_ref().filter(|_| wanted);
        let postgres =
            postgres.map(|postgres| postgres.open(&config.folder, denied("postgres"))).transpose()?;
        let answering = match postgres {
            None => None,
            Some(postgres) => {
                // The configuration has one where it has `postgres`.
                let archive = config.archive.as_ref();
                let store = archive.map(|archive| archive.open()).transpose()?;
                let answering = store.map(|store| postgres.start(&store)).transpose();
                answering.map_err(|cause| Failure::Input(format!("postgres: {cause}")))?
            }
        };
        let mut place = None;
        if let Some(alerts) = api {
            place = alerts.listener.local_addr().ok();
            let (log, stopped) = (Arc::clone(log), stopped.clone());
            runtime.spawn(async move {
                if let Err(cause) = alerts.serve(log, ALERTS, stopped).await {
                    tracing::error!(%cause, "alerts are not served");
                }
            });
        }
        let postgres = answering.as_ref().map(|answering| answering.address);
        Ok(Serving { api: place, postgres, _answering: answering })
    }
}

/// Whether both ports could be opened; none is.
pub fn check(config: &Config) -> Result<(), Failure> {
    if let Some(api) = &config.api {
        api.port(&config.folder).check(&api.token_file, People::read)?;
    }
    if let Some(postgres) = &config.postgres {
        postgres.port(&config.folder).check(&postgres.users_file, users)?;
    }
    Ok(())
}

impl ApiConfig {
    fn port<'a>(&'a self, folder: &'a Path) -> Port<'a> {
        Port { name: "api", listen: self.listen, tls: self.tls.as_ref(), folder }
    }

    fn open(&self, folder: &Path, denied: IntCounter) -> Result<Alerts, Failure> {
        let Open { listener, tls, secrets: people } =
            self.port(folder).open(&self.token_file, People::read)?;
        let connections = self.connections.max(1);
        Ok(Alerts { listener, tls, people, connections, records: decided::records, denied })
    }
}

impl PostgresConfig {
    fn port<'a>(&'a self, folder: &'a Path) -> Port<'a> {
        Port { name: "postgres", listen: self.listen, tls: self.tls.as_ref(), folder }
    }

    fn open(&self, folder: &Path, denied: IntCounter) -> Result<Postgres, Failure> {
        let Open { listener, tls, secrets: users } = self.port(folder).open(&self.users_file, users)?;
        let (connections, memory) = (self.connections.max(1), self.memory.len());
        Ok(Postgres { listener, tls, users, connections, memory, denied })
    }
}

/// The shortest password.
const PASSWORD_CHARS_MIN: usize = 12;

fn users(file: &Path) -> Result<Users, Unusable> {
    let mut users = Users::new();
    for line in lines(file, "user (`NAME:PASSWORD`)")? {
        let wrong = |what: &str| Unusable::file(file, what);
        let (name, password) = line.split_once(':').ok_or_else(|| wrong("a line is not NAME:PASSWORD"))?;
        if password.len() < PASSWORD_CHARS_MIN {
            return Err(wrong(&format!(
                "the password of `{name}` has less than {PASSWORD_CHARS_MIN} characters"
            )));
        }
        users.insert(name.trim().into(), password.into());
    }
    Ok(users)
}

/// A port of the settings `name`.
struct Port<'a> {
    name: &'static str,
    listen: SocketAddr,
    tls: Option<&'a ServerTls>,
    folder: &'a Path,
}

/// A port that listens, with what is read again when it changes.
struct Open<T> {
    listener: TcpListener,
    tls: Option<Fresh<TlsAcceptor>>,
    secrets: Fresh<T>,
}

impl Port<'_> {
    fn wrong(&self, problem: &dyn std::fmt::Display) -> Failure {
        Failure::Input(format!("{}: {problem}", self.name))
    }

    fn tls(&self) -> Result<Option<Fresh<TlsAcceptor>>, Failure> {
        if self.tls.is_none() && !self.listen.ip().is_loopback() {
            return Err(self.wrong(&format!(
                "{} is beyond this machine: give `tls: {{ certificate: …, key: … }}`, or listen on 127.0.0.1",
                self.listen
            )));
        }
        self.tls.map(|tls| tls.acceptor(self.folder)).transpose().map_err(|e| self.wrong(&e))
    }

    /// Whether it could be opened, with the secrets of a file.
    fn check<T>(&self, file: &Path, read: fn(&Path) -> Result<T, Unusable>) -> Result<(), Failure> {
        self.tls()?;
        read(&self.folder.join(file)).map(drop).map_err(|e| self.wrong(&e))
    }

    fn open<T: 'static>(
        &self,
        file: &Path,
        read: fn(&Path) -> Result<T, Unusable>,
    ) -> Result<Open<T>, Failure> {
        let (tls, file) = (self.tls()?, self.folder.join(file));
        let own = file.clone();
        let secrets = Fresh::new(vec![file], move || read(&own)).map_err(|e| self.wrong(&e))?;
        let listener = TcpListener::bind(self.listen).map_err(|cause| {
            let remedy = "stop what listens there, or give another address of this machine";
            self.wrong(&format!("cannot listen on {}: {cause}; {remedy}", self.listen))
        })?;
        Ok(Open { listener, tls, secrets })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_long_passwords_and_the_network_has_tls() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("users");
        let read = |text: &str| {
            std::fs::write(&file, text).expect("a file");
            users(&file).map_err(|e| e.to_string())
        };
        let read_one = read("# Grafana\ngrafana:correct:horse-battery\n").expect("users");
        assert_eq!(read_one["grafana"], "correct:horse-battery");
        assert!(read("grafana:short").expect_err("short").contains("less than 12 characters"));
        assert!(read("grafana").expect_err("no password").contains("NAME:PASSWORD"));
        let listen = "192.0.2.1:5432".parse().expect("an address");
        let port = Port { name: "postgres", listen, tls: None, folder: folder.path() };
        let Err(Failure::Input(error)) = port.tls() else { panic!("it opened") };
        assert!(error.starts_with("postgres: 192.0.2.1:5432 is beyond this machine: give `tls:"), "{error}");
    }
}
