//! Settings as they stand in the configuration file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rdkafka::config::ClientConfig;
use serde::Deserialize;
use yagura_log::LogError;

/// Room for what Kafka adds to a record.
pub(crate) const FRAMING: usize = 64 << 10;

/// How to reach and use a Kafka cluster.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaOptions {
    /// The bootstrap list: `host:port`, separated by commas.
    pub brokers: String,
    /// The name under which the brokers log this client.
    #[serde(default = "client_id")]
    pub client_id: String,
    /// Encryption and log-in; without it neither.
    #[serde(default)]
    pub security: Security,
    /// Makes consumers static members, so that a restart within the session's time-out moves no
    /// partition. Unique for each process; keep it over restarts.
    #[serde(default)]
    pub instance_id: Option<String>,
    /// `none`, `lz4`, `zstd`, `snappy` or `gzip`. Values are compressed already.
    #[serde(default = "compression")]
    pub compression: String,
    /// The largest record in bytes: key, header and value.
    #[serde(default = "record_bytes_max")]
    pub record_bytes_max: usize,
    /// Bytes that wait to be sent before `append` blocks.
    #[serde(default = "buffer_bytes")]
    pub buffer_bytes: usize,
    /// Bytes fetched of a partition at once; a consumer holds about four times as many.
    #[serde(default = "fetch_bytes")]
    pub fetch_bytes: usize,
    /// How many seconds `flush` waits for brokers that are away.
    #[serde(default = "flush_seconds")]
    pub flush_seconds: u64,
    /// Copies of each partition of a topic that is created; -1 is the brokers' default.
    #[serde(default = "replication")]
    pub replication: i32,
    /// Settings of topics that are created, such as `retention.ms`.
    #[serde(default)]
    pub topic_settings: BTreeMap<String, String>,
    /// Settings of librdkafka that go before all others.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
}

/// Encryption and log-in.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Security {
    /// Encrypts the connection.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// Logs in with a password.
    #[serde(default)]
    pub sasl: Option<Sasl>,
}

/// Encryption.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM file of the authorities that may vouch for a broker; the system's without it.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// PEM file of this client's certificate.
    #[serde(default)]
    pub cert: Option<PathBuf>,
    /// PEM file of its key.
    #[serde(default)]
    pub key: Option<PathBuf>,
}

/// Log-in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sasl {
    /// How.
    pub mechanism: Mechanism,
    /// As whom.
    pub user: String,
    /// A file that holds nothing but the password; a line end is cut off.
    pub password_file: PathBuf,
}

/// How a client proves who it is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616: the password itself, so only over TLS.
    #[serde(rename = "PLAIN")]
    Plain,
    /// RFC 5802 with SHA-256 (RFC 7677).
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// RFC 5802 with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl KafkaOptions {
    /// The defaults with a bootstrap list.
    pub fn new(brokers: impl Into<String>) -> Self {
        KafkaOptions {
            brokers: brokers.into(),
            client_id: client_id(),
            security: Security::default(),
            instance_id: None,
            compression: compression(),
            record_bytes_max: record_bytes_max(),
            buffer_bytes: buffer_bytes(),
            fetch_bytes: fetch_bytes(),
            flush_seconds: flush_seconds(),
            replication: replication(),
            topic_settings: BTreeMap::new(),
            settings: BTreeMap::new(),
        }
    }

    /// The files that the options name.
    pub fn files(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let tls =
            self.security.tls.iter_mut().flat_map(|tls| [&mut tls.ca, &mut tls.cert, &mut tls.key]).flatten();
        tls.chain(self.security.sasl.iter_mut().map(|sasl| &mut sasl.password_file))
    }

    /// What all clients have in common.
    pub(crate) fn client_config(&self) -> Result<ClientConfig, LogError> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", &self.client_id)
            .set("message.max.bytes", (self.record_bytes_max + FRAMING).to_string())
            .set("reconnect.backoff.max.ms", "5000")
            .set("socket.keepalive.enable", "true");
        let protocol = match (&self.security.tls, &self.security.sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        if let Some(tls) = &self.security.tls {
            let files = [
                ("ssl.ca.location", &tls.ca),
                ("ssl.certificate.location", &tls.cert),
                ("ssl.key.location", &tls.key),
            ];
            for (name, file) in files {
                if let Some(file) = file {
                    config.set(name, file.display().to_string());
                }
            }
        }
        if let Some(sasl) = &self.security.sasl {
            let what = || format!("reading the Kafka password from {}", sasl.password_file.display());
            let password = std::fs::read_to_string(&sasl.password_file)
                .map_err(|cause| LogError::Io { what: what(), cause })?;
            let mechanism = match sasl.mechanism {
                Mechanism::Plain => "PLAIN",
                Mechanism::ScramSha256 => "SCRAM-SHA-256",
                Mechanism::ScramSha512 => "SCRAM-SHA-512",
            };
            config
                .set("sasl.mechanism", mechanism)
                .set("sasl.username", &sasl.user)
                .set("sasl.password", password.trim_end_matches(['\r', '\n']));
        }
        self.apply_settings(&mut config);
        Ok(config)
    }

    /// What the user set goes before what was chosen here.
    pub(crate) fn apply_settings(&self, config: &mut ClientConfig) {
        for (name, value) in &self.settings {
            config.set(name, value);
        }
    }
}

fn client_id() -> String {
    "yagura".to_owned()
}

fn compression() -> String {
    "none".to_owned()
}

fn record_bytes_max() -> usize {
    16 << 20
}

fn buffer_bytes() -> usize {
    32 << 20
}

fn fetch_bytes() -> usize {
    1 << 20
}

fn flush_seconds() -> u64 {
    60
}

fn replication() -> i32 {
    -1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_misspelt_ones_refused() {
        let text = r#"{"brokers": "k:9093", "security": {"tls": {"ca": "/ca.pem"},
            "sasl": {"mechanism": "SCRAM-SHA-512", "user": "u", "password_file": "/secret"}}}"#;
        let options: KafkaOptions = serde_json::from_str(text).expect("options");
        assert_eq!(options.security.sasl.expect("sasl").mechanism, Mechanism::ScramSha512);
        assert_eq!(options.compression, "none");
        assert!(serde_json::from_str::<KafkaOptions>(r#"{"brokers": "k", "broker": "x"}"#).is_err());
    }

    #[test]
    fn the_client_has_what_plants_need() {
        use rdkafka::producer::BaseProducer;
        let password = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(password.path(), "secret\n").expect("write");
        let mut options = KafkaOptions::new("127.0.0.1:1");
        for mechanism in [Mechanism::Plain, Mechanism::ScramSha256, Mechanism::ScramSha512] {
            let password_file = password.path().to_owned();
            options.security = Security {
                tls: Some(Tls::default()),
                sasl: Some(Sasl { mechanism, user: "u".into(), password_file }),
            };
            for codec in ["none", "lz4", "zstd", "gzip", "snappy"] {
                let mut config = options.client_config().expect("configuration");
                assert_eq!(config.get("sasl.password"), Some("secret"));
                // Refused by librdkafka if it was built without one of them.
                let made: Result<BaseProducer, _> = config.set("compression.type", codec).create();
                assert!(made.is_ok(), "{mechanism:?} {codec}: {:?}", made.err());
            }
        }
        let (_, version) = rdkafka::util::get_rdkafka_version();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", "127.0.0.1:1");
        let features = config
            .create_native_config()
            .and_then(|native| native.get("builtin.features"))
            .expect("features");
        for feature in ["sasl_scram", "sasl_plain", "ssl", "zstd", "lz4"] {
            assert!(
                features.split(',').any(|have| have.trim() == feature),
                "librdkafka {version} has only {features}"
            );
        }
    }
}
