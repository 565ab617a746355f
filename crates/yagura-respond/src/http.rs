//! The HTTP client of all sinks that are spoken to over it: HTTP/1.1, one connection that is kept,
//! certificates and tokens from files, every wait and every answer bounded. Redirections are not
//! followed: alerts go where the configuration says and nowhere else.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::sink::{ConfigError, SinkError};
use crate::tls::{Peer, Tls};

/// How long a receiver may take to answer a request.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

/// How long a sink over HTTP may leave alerts without an answer: a request and a new connection.
pub(crate) const SINK_PATIENCE: Duration = Duration::from_secs(60);

/// The longest answer that is read: a line for each of the largest window's alerts.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The longest token, key or password.
const SECRET_BYTES_MAX: u64 = 16 * 1024;

/// Where requests go.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    peer: Peer,
    /// What the header `Host` says.
    host: String,
    /// What every path begins with, without a slash at its end.
    path: String,
    credential: Option<Credential>,
}

/// What shows who sends.
#[derive(Clone, Debug)]
pub(crate) enum Credential {
    /// `Authorization: SCHEME SECRET`, with the secret of a file.
    Token { scheme: &'static str, file: PathBuf },
    /// `Authorization: Basic …`, with the password of a file.
    Password { user: String, file: PathBuf },
}

impl Credential {
    /// Of settings that may name either a token's file, under that name, or a user with a password's file.
    pub fn either(
        (scheme, setting, token): (&'static str, &'static str, Option<PathBuf>),
        user: Option<String>,
        password: Option<PathBuf>,
    ) -> Result<Option<Self>, String> {
        match (token, user, password) {
            (None, None, None) => Ok(None),
            (Some(file), None, None) => Ok(Some(Credential::Token { scheme, file })),
            (None, Some(user), Some(file)) => Ok(Some(Credential::Password { user, file })),
            _ => Err(format!("`{setting}`, or both `user` and `password_file`")),
        }
    }

    /// Reads the file: at start, to find what is missing, and at each connection, so that a
    /// renewed secret needs no restart.
    fn header(&self) -> Result<HeaderValue, ConfigError> {
        let (file, text) = match self {
            Credential::Token { scheme, file } => (file, format!("{scheme} {}", secret(file)?)),
            Credential::Password { user, file } => {
                let pair = format!("{user}:{}", secret(file)?);
                (file, format!("Basic {}", STANDARD.encode(pair)))
            }
        };
        let mut header = HeaderValue::from_str(&text).map_err(|_| ConfigError::File {
            file: file.display().to_string(),
            problem: "holds a character that no HTTP header takes; one line of printable ASCII is expected"
                .into(),
        })?;
        header.set_sensitive(true);
        Ok(header)
    }
}

/// The secret that a file holds, without the white space around it.
pub(crate) fn secret(file: &Path) -> Result<String, ConfigError> {
    let bad = |problem: String| ConfigError::File { file: file.display().to_string(), problem };
    let length = std::fs::metadata(file).map_err(|e| bad(format!("cannot be read: {e}")))?.len();
    if length > SECRET_BYTES_MAX {
        return Err(bad(format!("has {length} bytes; a secret is a line")));
    }
    let text = std::fs::read_to_string(file).map_err(|e| bad(format!("cannot be read: {e}")))?;
    let text = text.trim();
    if text.is_empty() {
        return Err(bad("is empty; it is to hold the secret".into()));
    }
    Ok(text.to_string())
}

impl Place {
    /// Checks `url` and `tls` of the sink `name`, and reads the files that they and `credential` name.
    pub fn new(
        name: &str,
        url: &str,
        tls: Tls,
        credential: Option<Credential>,
        folder: &Path,
    ) -> Result<Self, ConfigError> {
        let bad = |problem: String| ConfigError::Setting { sink: name.into(), problem };
        let not = |why: &str| bad(format!("`url: {url}` {why}, such as https://siem.fab.example:8088"));
        let uri: Uri = url.parse().map_err(|_| not("is not an address"))?;
        let authority = uri.authority().ok_or_else(|| not("has no host"))?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(not("does not begin with https:// or http://")),
        };
        if authority.as_str().contains('@') {
            return Err(bad("a user or password in `url` would be seen in logs; name a file for it".into()));
        }
        match (&tls, secure) {
            (Tls::On(_), false) => {
                return Err(bad(format!("`url: {url}` is in clear and `tls` is set; write https://")));
            }
            (Tls::Off, true) => {
                return Err(bad(format!("`url: {url}` needs to know whom to trust: `tls: {{ ca: FILE }}`")));
            }
            _ => {}
        }
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let peer = Peer::new(name, format!("{}:{port}", authority.host()), tls, folder)?;
        let credential = credential.map(|credential| match credential {
            Credential::Token { scheme, file } => Credential::Token { scheme, file: folder.join(file) },
            Credential::Password { user, file } => Credential::Password { user, file: folder.join(file) },
        });
        credential.as_ref().map(Credential::header).transpose()?;
        let path = uri.path_and_query().map_or("", |path| path.as_str()).trim_end_matches('/').to_string();
        Ok(Self { peer, host: authority.as_str().to_string(), path, credential })
    }

    /// The same, for a receiver whose paths are its own: a query would end up in the middle of them.
    pub fn without_query(self, name: &str) -> Result<Self, ConfigError> {
        match self.path.contains('?') {
            false => Ok(self),
            true => Err(ConfigError::Setting {
                sink: name.into(),
                problem: format!("`url` has a query behind {}; leave it out", self.describe()),
            }),
        }
    }

    /// For people: without the query, in which some receivers want a secret.
    pub fn describe(&self) -> String {
        let path = self.path.split('?').next().unwrap_or_default();
        format!("{}://{}{path}", if self.peer.is_tls() { "https" } else { "http" }, self.host)
    }

    /// Connects.
    pub async fn client(&self) -> Result<Client, SinkError> {
        let authorization = self.credential.as_ref().map(Credential::header).transpose()?;
        let mut client = Client { place: self.clone(), authorization, link: None };
        client.link = Some(client.dial().await?);
        Ok(client)
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub status: u16,
    pub body: Bytes,
}

impl Reply {
    /// Whether it is 2xx.
    pub fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Its status and the beginning of its words.
    pub fn words(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
        format!("{} {}", self.status, text.trim()).trim_end().to_string()
    }

    /// Whether what was sent is at fault, and not the receiver or the way to it: it would be refused again.
    ///
    /// 400 malformed, 413 too large, 422 not understood (RFC 9110, section 15.5). A wrong path (404) or method
    /// (405) is the configuration's fault, and no alert is given up for it.
    pub fn blames_content(&self) -> bool {
        matches!(self.status, 400 | 413 | 422)
    }
}

/// Speaks to one place.
pub(crate) struct Client {
    place: Place,
    authorization: Option<HeaderValue>,
    link: Option<Link>,
}

struct Link {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Client {
    async fn dial(&self) -> Result<Link, SinkError> {
        let stream = self.place.peer.connect().await?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|cause| self.broken(&cause))?;
        let driver = tokio::spawn(async move {
            // Its end is seen by whoever sends.
            let _ = connection.await;
        });
        Ok(Link { sender, driver })
    }

    /// Whether the connection of the last request is still there.
    pub fn is_connected(&self) -> bool {
        self.link.as_ref().is_some_and(|link| !link.sender.is_closed())
    }

    /// Sends `body` to `path` behind the place's own, and reads the answer. A receiver that closed a connection
    /// that nobody used is connected to anew.
    pub async fn post(
        &mut self,
        path: &str,
        content_type: &'static str,
        headers: &[(HeaderName, String)],
        body: Bytes,
    ) -> Result<Reply, SinkError> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(match format!("{}{path}", self.place.path) {
                path if path.starts_with('/') => path,
                path => format!("/{path}"),
            })
            .header(HOST, &self.place.host)
            .header(USER_AGENT, concat!("yagura/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, content_type);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body)).map_err(|cause| self.protocol(cause.to_string()))?;
        let mut link = match self.link.take() {
            Some(link) if !link.sender.is_closed() => link,
            _ => self.dial().await?,
        };
        let answered = timeout(ANSWER_PATIENCE, async {
            link.sender.ready().await.map_err(|cause| self.broken(&cause))?;
            let answer = link.sender.send_request(request).await.map_err(|cause| self.broken(&cause))?;
            let (status, body) = (answer.status().as_u16(), answer.into_body());
            match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
                Ok(body) => Ok(Reply { status, body: body.to_bytes() }),
                Err(cause) if cause.is::<LengthLimitError>() => {
                    Err(self.protocol(format!("its answer is larger than {ANSWER_BYTES_MAX} bytes")))
                }
                Err(cause) => {
                    Err(SinkError::Closed { address: self.place.describe(), cause: cause.to_string() })
                }
            }
        });
        let Ok(answered) = answered.await else {
            return Err(SinkError::Timeout {
                address: self.place.describe(),
                seconds: ANSWER_PATIENCE.as_secs(),
                what: "answering a request",
            });
        };
        let reply = answered?;
        self.link = Some(link);
        Ok(reply)
    }

    /// What an answer that is no success and does not blame what was sent means.
    pub fn trouble(&self, reply: &Reply) -> SinkError {
        let (address, answer) = (self.place.describe(), reply.words());
        match reply.status {
            401 | 403 | 407 => SinkError::Denied { address, answer },
            408 | 425 | 429 | 500..=599 => SinkError::Busy { address, answer },
            _ => SinkError::Refused { address, answer },
        }
    }

    /// The receiver answers, and not as its protocol says.
    pub fn protocol(&self, what: String) -> SinkError {
        SinkError::Protocol { address: self.place.describe(), protocol: "HTTP as expected", what }
    }

    fn broken(&self, cause: &hyper::Error) -> SinkError {
        let mut source = std::error::Error::source(cause);
        while let Some(inner) = source {
            if let Some(io) = inner.downcast_ref::<std::io::Error>() {
                return self.place.peer.broken(io);
            }
            source = inner.source();
        }
        if cause.is_parse() {
            return self.protocol(cause.to_string());
        }
        SinkError::Closed { address: self.place.describe(), cause: cause.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_and_told_without_their_query() {
        let place = |url: &str| Place::new("siem", url, Tls::Off, None, Path::new(""));
        let good = place("http://siem:9200/a/b/?token=x").expect("an address");
        assert_eq!(good.describe(), "http://siem:9200/a/b/");
        let said = good.without_query("siem").expect_err("a query").to_string();
        assert!(said.contains("has a query") && !said.contains("token"), "{said}");
        assert_eq!(place("http://[::1]/").expect("an address").peer.address, "[::1]:80");
        for (url, expected) in [
            ("siem:9200", "https://"),
            ("ftp://siem", "does not begin with"),
            ("http://user:secret@siem", "name a file"),
            ("https://siem", "whom to trust"),
            ("http://", "is not an address"),
        ] {
            let said = place(url).expect_err(url).to_string();
            assert!(said.contains(expected), "{url}: {said}");
        }
    }

    #[test]
    fn secrets_are_a_line_of_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        for (text, good) in [("abc\n", true), (" \n", false), ("a\nb", false), (&"x".repeat(20_000), false)] {
            std::fs::write(&file, text).expect("written");
            let header = Credential::Token { scheme: "Bearer", file: file.clone() }.header();
            assert_eq!(header.is_ok(), good, "{text:?}");
        }
        std::fs::write(&file, "open sesame").expect("written");
        let header = Credential::Password { user: "Aladdin".into(), file }.header().expect("a header");
        assert_eq!(header.to_str().expect("text"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(header.is_sensitive());
        assert!(secret(Path::new("/nowhere/token")).is_err());
    }
}
