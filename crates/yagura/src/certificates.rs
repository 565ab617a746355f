//! When the certificates that the configuration names expire.

use std::path::{Path, PathBuf};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Opts};
use serde_json::Value;
use x509_parser::prelude::{FromDer, Pem, X509Certificate};

/// What settings with a certificate's file are called, of the log, of collectors and of sinks.
const SETTINGS: &[&str] = &["ca", "cert", "certificate", "client_ca", "user_certificate", "trusted"];

/// A file of certificates is not larger.
const BYTES_MAX: u64 = 4 << 20;

const NAME: &str = "yagura_certificate_expires_timestamp_seconds";
const HELP: &str =
    "When the first certificate in a file that the configuration names expires; 0 where none can be read.";

/// The files of certificates in a configuration, as it names them, each once.
pub fn named(configuration: &Value) -> Vec<PathBuf> {
    let mut out = Vec::new();
    gather(configuration, &mut out);
    out.sort();
    out.dedup();
    out
}

fn gather(value: &Value, out: &mut Vec<PathBuf>) {
    match value {
        Value::Object(settings) => {
            for (name, value) in settings {
                match value {
                    Value::String(file) if SETTINGS.contains(&name.as_str()) => out.push(file.into()),
                    Value::Array(files) if SETTINGS.contains(&name.as_str()) => {
                        out.extend(files.iter().filter_map(Value::as_str).map(PathBuf::from));
                        gather(value, out);
                    }
                    _ => gather(value, out),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| gather(value, out)),
        _ => {}
    }
}

/// The metric; files are read at each scrape, so that a renewed certificate is seen.
pub struct Expiries {
    folder: PathBuf,
    files: Vec<PathBuf>,
    described: Desc,
}

impl Expiries {
    /// Of these files, whose relative paths begin in `folder`.
    pub fn of(files: &[PathBuf], folder: &Path) -> Result<Self, prometheus::Error> {
        let described = Desc::new(NAME.into(), HELP.into(), vec!["file".into()], Default::default())?;
        Ok(Expiries { folder: folder.into(), files: files.to_vec(), described })
    }
}

impl Collector for Expiries {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.described]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Ok(gauge) = GaugeVec::new(Opts::new(NAME, HELP), &["file"]) else { return Vec::new() };
        for file in &self.files {
            let expires = expires(&self.folder.join(file)).unwrap_or(0);
            gauge.with_label_values(&[&file.display().to_string()]).set(expires as f64);
        }
        gauge.collect()
    }
}

/// The end of the first certificate in a file that ends, PEM or DER, in seconds since 1970.
fn expires(file: &Path) -> Option<i64> {
    if std::fs::metadata(file).ok()?.len() > BYTES_MAX {
        return None;
    }
    let bytes = std::fs::read(file).ok()?;
    let pems = Pem::iter_from_buffer(&bytes).flatten().filter(|pem| pem.label == "CERTIFICATE");
    let first = pems.filter_map(|pem| end(&pem.contents)).min();
    first.or_else(|| end(&bytes))
}

fn end(der: &[u8]) -> Option<i64> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests {
    use yagura_testkit::certificates::Certificates;

    use super::*;

    #[test]
    fn the_files_are_found_wherever_a_configuration_names_them() {
        let configuration = serde_json::json!({
            "log": { "kafka": { "brokers": "k:9093", "security": { "tls": { "ca": "kafka-ca.pem", "key": "a.key" } } } },
            "sinks": [{ "name": "siem", "tls": { "ca": "siem-ca.pem", "certificate": "yagura.pem" } },
                      { "name": "second", "tls": { "ca": "siem-ca.pem" } }],
            "collectors": [{ "name": "bay", "kind": "opcua", "trusted": ["etch-01.der"] }],
            "baselines": { "trusted": [{ "name": "ann", "key": "ed25519:x" }] },
        });
        let files = ["etch-01.der", "kafka-ca.pem", "siem-ca.pem", "yagura.pem"].map(PathBuf::from);
        assert_eq!(named(&configuration), files);
    }

    #[test]
    fn a_renewed_certificate_is_seen_and_one_that_cannot_be_read_has_expired() {
        let folder = tempfile::tempdir().expect("a folder");
        let files: Vec<PathBuf> = vec!["yagura.pem".into()];
        let expiries = Expiries::of(&files, folder.path()).expect("a metric");
        let told = || expiries.collect()[0].get_metric()[0].get_gauge().get_value();
        assert_eq!(told(), 0.0);
        Certificates::make(folder.path()).expect("certificates");
        // rcgen's certificates end with the year 4095: 4096-01-01T00:00:00Z.
        assert_eq!(told(), 67_090_118_400.0);
        std::fs::write(folder.path().join("yagura.pem"), "nonsense").expect("a file");
        assert_eq!(told(), 0.0);
    }
}
