//! OPC UA servers: values of subscriptions, as they change.
//!
//! ```yaml
//! - name: etch-bay
//!   kind: opcua
//!   security: Basic256Sha256
//!   certificate: pki/yagura.pem
//!   key: pki/yagura.key
//!   trusted: [pki/trusted]
//!   user: reader
//!   password_file: secrets/opcua
//!   browse: {include: ["Objects/Chamber*/**"], max_nodes: 2000}
//!   servers:
//!     - {name: ETCH-01, endpoint: "opc.tcp://etch-01:4840"}
//!     - {name: ETCH-02, endpoint: "opc.tcp://etch-02:4840"}
//! ```
//!
//! It reads only: it browses, reads attributes, and subscribes. Messages are acknowledged to the server when their rows are
//! durable. A connection that comes back goes on with the subscription and asks for every message that was missed; some
//! servers then say the last values again. What a server cannot keep for so long, because its queues overflowed or it
//! ended the subscription, is said as a gap.
//!
//! A collector that starts anew makes a new subscription, which begins with the values that hold then: changes between
//! its last durable row and its start are not asked for. While the log takes nothing, no messages are asked for; after two
//! minutes of that a server may end the subscription.

use std::path::{Path, PathBuf};
use std::time::Duration;

use opcua_crypto::SecurityPolicy;
use opcua_types::{MessageSecurityMode, NodeId};
use serde::Deserialize;
use serde_json::{Map, Value};
use yagura_event::amounts::{Bytes, Time};
use yagura_event::clock::SECOND;

use crate::source::{Opened, Opening, Settings, SourceError};

mod link;
mod live;
mod nodes;
mod subscription;
mod trust;
mod values;

use link::Profile;
pub(crate) use live::{Offered, offered};
pub(crate) use values::names as type_names;

/// Settings of `kind: opcua`. What stands beside `servers` holds for each of them that does not say otherwise; with
/// one server, all of it may stand without the list.
#[derive(Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct OpcUa {
    /// Rows are handed to the log after this much time.
    batch: Time,
    /// Bytes of notifications that wait for the log; no more are asked for while they fill it.
    queue: Bytes,
    /// The servers.
    servers: Vec<Server>,
}

/// The most servers of one collector.
const SERVERS_MAX: usize = 10_000;

/// One server, and how to talk to it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Server {
    /// Where it listens: `opc.tcp://host:port/path`.
    pub endpoint: String,
    /// The tool behind it. With several servers, names of signals begin with it.
    #[serde(default)]
    pub name: String,
    /// How messages are protected.
    #[serde(default)]
    pub security: Policy,
    /// Whether they are encrypted, too; with a policy other than `None`.
    #[serde(default)]
    pub mode: Mode,
    /// The collector's own certificate, DER or PEM.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// Certificates that are trusted: of servers, or of authorities; files, or folders of them.
    #[serde(default)]
    pub trusted: Vec<PathBuf>,
    /// Whether a server is believed whose certificate nobody vouches for; said in `coverage` each time.
    #[serde(default)]
    pub trust_unknown: bool,
    /// The name that its certificate must bear, where that is not the endpoint's host.
    #[serde(default)]
    pub server_name: Option<String>,
    /// A user's name; anonymous without one.
    #[serde(default)]
    pub user: Option<String>,
    /// The file of the user's password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// A user's certificate, DER or PEM, instead of a name.
    #[serde(default)]
    pub user_certificate: Option<PathBuf>,
    /// Its private key, PEM.
    #[serde(default)]
    pub user_key: Option<PathBuf>,
    /// Variables by their ids: `ns=2;s=Pressure`, or `nsu=http://maker/tool;s=Pressure`.
    #[serde(default)]
    pub nodes: Vec<String>,
    /// Variables by where they stand.
    #[serde(default)]
    pub browse: Option<Browse>,
    /// How often the server looks at a value.
    #[serde(default = "one_second")]
    pub sampling: Time,
    /// How often it sends what changed.
    #[serde(default = "one_second")]
    pub publishing: Time,
    /// How many values of a variable it keeps until it sends them.
    #[serde(default = "hundred")]
    pub queue_size: u32,
    /// Changes of numbers that are not reported.
    #[serde(default)]
    pub deadband: Option<Deadband>,
}

/// Variables under a node.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Browse {
    /// The node that browsing begins at; `Objects` without one.
    #[serde(default = "objects")]
    pub start: String,
    /// Patterns of paths: `*` within a name, `**` over several. Everything without one.
    #[serde(default)]
    pub include: Vec<String>,
    /// The most variables that are subscribed to; more are said in `coverage`.
    #[serde(default = "ten_thousand")]
    pub max_nodes: usize,
    /// References and attributes that are read a second at most.
    #[serde(default = "two_thousand")]
    pub rate: u32,
}

impl Default for Browse {
    fn default() -> Self {
        Browse { start: objects(), include: Vec::new(), max_nodes: ten_thousand(), rate: two_thousand() }
    }
}

/// Changes of numbers that are not reported.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Deadband {
    /// Smaller ones than this.
    Absolute(f64),
    /// Smaller ones than these hundredths of the variable's range.
    Percent(f64),
}

/// A security policy, by its name in the standard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[allow(non_camel_case_types, reason = "the names of the standard")]
pub(crate) enum Policy {
    None,
    #[default]
    Basic256Sha256,
    Aes128_Sha256_RsaOaep,
    Aes256_Sha256_RsaPss,
}

impl Policy {
    pub fn of_library(self) -> SecurityPolicy {
        match self {
            Policy::None => SecurityPolicy::None,
            Policy::Basic256Sha256 => SecurityPolicy::Basic256Sha256,
            Policy::Aes128_Sha256_RsaOaep => SecurityPolicy::Aes128Sha256RsaOaep,
            Policy::Aes256_Sha256_RsaPss => SecurityPolicy::Aes256Sha256RsaPss,
        }
    }
}

/// How messages are protected under a policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    Sign,
    #[default]
    SignAndEncrypt,
}

impl Server {
    pub fn mode(&self) -> MessageSecurityMode {
        match (self.security, self.mode) {
            (Policy::None, _) => MessageSecurityMode::None,
            (_, Mode::Sign) => MessageSecurityMode::Sign,
            (_, Mode::SignAndEncrypt) => MessageSecurityMode::SignAndEncrypt,
        }
    }

    /// Its host, and the port after it.
    pub fn address(&self) -> &str {
        let rest = self.endpoint.strip_prefix("opc.tcp://").unwrap_or(&self.endpoint);
        rest.split('/').next().unwrap_or(rest)
    }

    /// The host alone.
    pub fn host(&self) -> &str {
        let address = self.address();
        match address.rsplit_once(':') {
            Some((host, _)) => host.trim_start_matches('[').trim_end_matches(']'),
            None => address,
        }
    }

    /// What the types cannot say, and paths made complete.
    fn check(&mut self, at: &Opening<'_>) -> Result<(), SourceError> {
        let wrong = |problem: String| Err(at.wrong(format!("{}: {problem}", self.endpoint)));
        if !self.endpoint.starts_with("opc.tcp://") || self.host().is_empty() {
            return wrong("an endpoint is written `opc.tcp://host:port`".into());
        }
        if self.security != Policy::None {
            if self.certificate.is_none() || self.key.is_none() {
                return wrong(format!(
                    "`security: {:?}` needs the collector's own `certificate` and `key`; without any protection \
                     write `security: None`",
                    self.security
                ));
            }
            if self.trusted.is_empty() && !self.trust_unknown {
                return wrong(
                    "`trusted` names no certificate of the server nor of an authority; write `trust_unknown: true` \
                     to believe any server"
                        .into(),
                );
            }
        }
        if self.user.is_some() != self.password_file.is_some() {
            return wrong("`user` and `password_file` belong together".into());
        }
        if self.user_certificate.is_some() != self.user_key.is_some() {
            return wrong("`user_certificate` and `user_key` belong together".into());
        }
        if self.user.is_some() && self.user_certificate.is_some() {
            return wrong("a user has a `user` name or a `user_certificate`, not both".into());
        }
        if self.nodes.is_empty() && self.browse.is_none() {
            return wrong("say which variables: `nodes: [...]`, or `browse: {include: [...]}`".into());
        }
        let start = self.browse.iter().map(|browse| &browse.start);
        if let Some(bad) = self.nodes.iter().chain(start).find(|id| nodes::split(id).is_none()) {
            return wrong(format!("`{bad}` is no node id; they are written `ns=2;s=Pressure` or `i=85`"));
        }
        if self.publishing.0 <= 0 || self.sampling.0 < 0 || self.queue_size == 0 {
            return wrong("`publishing` and `queue_size` must be more than nothing".into());
        }
        let files = [&mut self.certificate, &mut self.key, &mut self.user_certificate, &mut self.user_key];
        for file in files.into_iter().flatten().chain(&mut self.trusted) {
            // The library takes relative paths for its own folder's.
            let whole = at.path(file);
            *file = std::path::absolute(&whole).unwrap_or(whole);
        }
        Ok(())
    }
}

impl OpcUa {
    /// Variables everywhere, where the settings name none.
    pub(crate) fn everything(mut self) -> Self {
        for server in self.servers.iter_mut().filter(|server| server.nodes.is_empty()) {
            server.browse.get_or_insert_default();
        }
        self
    }

    /// Checks the settings, reads the files they name, and makes what connecting needs.
    pub(crate) fn prepare(self, at: &Opening<'_>) -> Result<Vec<Profile>, SourceError> {
        if self.servers.is_empty() || self.servers.len() > SERVERS_MAX {
            return Err(at.wrong(format!("`servers` must name at least one and at most {SERVERS_MAX}")));
        }
        let several = self.servers.len() > 1;
        let mut profiles = Vec::with_capacity(self.servers.len());
        let mut names = std::collections::BTreeSet::new();
        let scratch = link::Scratch::new();
        for mut server in self.servers {
            server.check(at)?;
            if several && server.name.is_empty() {
                server.name = server.address().to_string();
            }
            if several && !names.insert(server.name.clone()) {
                return Err(at.wrong(format!("two servers are called `{}`; give each a `name`", server.name)));
            }
            let password = server.password_file.as_deref().map(|file| {
                let own = file.to_owned();
                at.fresh(&[file], move |at| at.secret(&own))
            });
            let password = password.transpose()?;
            profiles.push(
                Profile::new(server, password, several, &scratch).map_err(|problem| at.wrong(problem))?,
            );
        }
        Ok(profiles)
    }
}

impl Settings for OpcUa {
    const KIND: &'static str = "opcua";
    const READS: &'static str = "values of OPC UA servers, by subscription";

    fn open(self, at: &Opening<'_>) -> Result<Opened, SourceError> {
        let (batch, queue) = (self.batch, self.queue);
        let profiles = self.prepare(at)?;
        Ok(Opened::Live(Box::new(live::Servers::new(at, profiles, batch.0, queue.len()))))
    }

    fn probe(self, at: &Opening<'_>) -> Result<String, SourceError> {
        live::probe(self.prepare(at)?, &at.plant.runtime)
    }
}

impl TryFrom<Map<String, Value>> for OpcUa {
    type Error = String;

    fn try_from(mut common: Map<String, Value>) -> Result<Self, String> {
        fn take<T: serde::de::DeserializeOwned>(
            from: &mut Map<String, Value>,
            field: &str,
        ) -> Result<Option<T>, String> {
            let Some(value) = from.remove(field) else { return Ok(None) };
            serde_json::from_value(value).map(Some).map_err(|e| format!("`{field}`: {e}"))
        }
        let batch = take(&mut common, "batch")?.unwrap_or_else(one_second);
        let queue = take(&mut common, "queue")?.unwrap_or(Bytes(64 << 20));
        let servers = match take::<Vec<Map<String, Value>>>(&mut common, "servers")? {
            None => vec![common],
            Some(servers) => servers
                .into_iter()
                .map(|own| {
                    let mut whole = common.clone();
                    whole.extend(own);
                    whole
                })
                .collect(),
        };
        let servers = servers.into_iter().map(|server| {
            let endpoint = server.get("endpoint").and_then(Value::as_str).unwrap_or("a server").to_string();
            Server::deserialize(Value::Object(server)).map_err(|e| format!("{endpoint}: {e}"))
        });
        Ok(OpcUa { batch, queue, servers: servers.collect::<Result<_, _>>()? })
    }
}

fn one_second() -> Time {
    Time(SECOND)
}

fn hundred() -> u32 {
    100
}

fn two_thousand() -> u32 {
    2000
}

fn ten_thousand() -> usize {
    10_000
}

fn objects() -> String {
    NodeId::objects_folder_id().to_string()
}

/// How long a connection and what is asked on it at first may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A file that both DER and PEM may be in, as DER.
fn certificate(file: &Path) -> Result<Vec<Vec<u8>>, String> {
    let bytes = std::fs::read(file).map_err(|e| format!("{}: cannot be read: {e}", file.display()))?;
    trust::ders(&bytes).map_err(|problem| format!("{}: {problem}", file.display()))
}

#[cfg(test)]
mod tests;
