//! From a server's settings to a session, and what may be wrong on the way.

use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use opcua_client::{
    ClientBuilder, ClientConfig, IdentityToken, Password, Session, SessionBuilder, SessionPollResult,
};
use opcua_core::ResponseMessage;
use opcua_core::sync::RwLock;
use opcua_crypto::{CertificateStore, SecurityPolicy, X509Data};
use opcua_types::{EndpointDescription, GetEndpointsRequest, RequestHeader, StatusCode, UserTokenType};
use yagura_door::Fresh;
use yagura_event::clock;

use super::trust::{self, Believed, Trouble, Trust};
use super::{PATIENCE, Policy, Server};

/// Bytes of a message that are taken, in chunks of at most 64 KiB.
const CHUNKS_MAX: usize = 256;
/// Elements of an array; a notification of values is one.
const ARRAY_MAX: usize = 100_000;
/// Bytes of a text or of bytes within a value.
const TEXT_MAX: usize = 1 << 20;

/// How a server keeps a session and its subscription while nothing comes from here.
pub(super) const SESSION_KEPT: Duration = Duration::from_secs(120);

/// What the event stream of a session gives.
pub(super) type Events = BoxStream<'static, Result<SessionPollResult, StatusCode>>;

/// One server's settings, and what connecting needs of them.
pub(crate) struct Profile {
    pub server: Server,
    /// What names of its signals begin with.
    pub prefix: String,
    config: ClientConfig,
    store: Arc<RwLock<CertificateStore>>,
    identity: Identity,
    _scratch: Option<Arc<Scratch>>,
}

/// Who the collector is to a server.
enum Identity {
    /// A user, whose password may change.
    User(String, Fresh<String>),
    /// A user's certificate, or nobody.
    Fixed(IdentityToken),
}

impl Identity {
    fn token(&self) -> IdentityToken {
        match self {
            Identity::User(user, password) => {
                IdentityToken::UserName(user.clone(), Password::new(password.get().as_str()))
            }
            Identity::Fixed(token) => token.clone(),
        }
    }
}

/// A session, with what is to be said about how it came about.
pub(crate) struct Link {
    pub session: Arc<Session>,
    pub events: Events,
    /// What protects it, and what does not.
    pub detail: String,
}

impl Profile {
    pub fn new(
        server: Server,
        password: Option<Fresh<String>>,
        several: bool,
        scratch: &Scratches,
    ) -> Result<Self, String> {
        let wrong = |problem: String| format!("{}: {problem}", server.endpoint);
        let troubled = |trouble: Trouble| wrong(format!("{}; {}", trouble.cause, trouble.remedy));
        let mut uri = "urn:yagura:collector".to_string();
        let mut folder = None;
        let store = match (&server.certificate, &server.key, server.security) {
            (Some(certificate), Some(key), policy) if policy != Policy::None => {
                uri = trust::own(&super::certificate(certificate).map_err(wrong)?, clock::now())
                    .map_err(troubled)?;
                CertificateStore::read_pkey(key)
                    .map_err(|_| wrong(format!("{}: no RSA key as PEM", key.display())))?;
                Trust::load(&server.trusted, server.trust_unknown).map_err(wrong)?;
                let at = scratch.get().map_err(wrong)?;
                let (mut store, ..) = CertificateStore::new_with_x509_data::<X509Data>(
                    &at.0,
                    false,
                    Some(certificate),
                    Some(key),
                    None,
                );
                folder = Some(at);
                // The library knows only a folder of equal certificates; `trust` has judged before it sees one, and
                // it takes no other than the one that was judged.
                store.set_trust_unknown_certs(true);
                store.set_skip_verify_certs(true);
                store
            }
            _ => CertificateStore::new(&PathBuf::new()),
        };
        let identity = match (&server.user, password, &server.user_certificate, &server.user_key) {
            (Some(user), Some(password), ..) => Identity::User(user.clone(), password),
            (_, _, Some(certificate), Some(key)) => Identity::Fixed(
                IdentityToken::new_x509_path(certificate, key)
                    .map_err(|e| wrong(format!("`user_certificate` or `user_key` cannot be used: {e}")))?,
            ),
            _ => Identity::Fixed(IdentityToken::Anonymous),
        };
        let config = ClientBuilder::new()
            .application_name("Yagura")
            .application_uri(uri)
            .product_uri("urn:yagura")
            .session_name("Yagura")
            .session_timeout(SESSION_KEPT.as_millis() as u32)
            .request_timeout(PATIENCE)
            .keep_alive_interval(Duration::from_secs(10))
            .max_failed_keep_alive_count(3)
            .recreate_subscriptions(false)
            .channel_lifetime(3_600_000)
            .session_retry_limit(4)
            .session_retry_initial(Duration::from_millis(200 + fastrand::u64(..200)))
            .session_retry_max(Duration::from_secs(4))
            .max_array_length(ARRAY_MAX)
            .max_string_length(TEXT_MAX)
            .max_byte_string_length(TEXT_MAX)
            .max_chunk_count(CHUNKS_MAX)
            .max_message_size(CHUNKS_MAX << 16)
            .into_config();
        let prefix = if several { format!("{}/", server.name) } else { String::new() };
        Ok(Profile {
            prefix,
            config,
            store: Arc::new(RwLock::new(store)),
            identity,
            _scratch: folder,
            server,
        })
    }

    /// Asks which endpoints the server has, chooses the one of the settings, looks at its certificate, and opens a
    /// session.
    pub async fn connect(&self) -> Result<Link, Trouble> {
        let endpoints = self.endpoints().await?;
        let (endpoint, detail) = self.choose(endpoints)?;
        let (session, events) = SessionBuilder::new(&self.config)
            .connect_to_endpoint_directly(endpoint)
            .map_err(|error| self.refused(error.status(), &error.to_string()))?
            .user_identity_token(self.identity.token())
            .build(Arc::clone(&self.store))
            .map_err(|error| self.refused(error.status(), &error.to_string()))?;
        let mut events: Events = events.enter().boxed();
        let opened = async {
            loop {
                match events.next().await {
                    Some(Ok(SessionPollResult::Reconnected(_))) => return Ok(()),
                    Some(Ok(SessionPollResult::ReconnectFailed(status)) | Err(status)) => return Err(status),
                    Some(Ok(_)) => {}
                    None => return Err(StatusCode::BadConnectionClosed),
                }
            }
        };
        match tokio::time::timeout(PATIENCE, opened).await {
            Ok(Ok(())) => Ok(Link { session, events, detail }),
            Ok(Err(status)) => Err(self.refused(status, "")),
            Err(_) => Err(self.refused(StatusCode::BadTimeout, "")),
        }
    }

    async fn endpoints(&self) -> Result<Vec<EndpointDescription>, Trouble> {
        let url = self.server.endpoint.as_str();
        let unreachable = |error: opcua_types::Error| self.refused(error.status(), &error.to_string());
        let builder =
            SessionBuilder::new(&self.config).connect_to_endpoint_directly(url).map_err(unreachable)?;
        let channel = builder.build_channel(Arc::clone(&self.store)).map_err(unreachable)?;
        let connector = opcua_client::transport::ConnectorBuilder::build(url).map_err(unreachable)?;
        let asked = async {
            let mut transport = channel.connect_no_retry(&connector).await?;
            let request = GetEndpointsRequest {
                request_header: RequestHeader {
                    request_handle: channel.request_handle(),
                    ..RequestHeader::dummy()
                },
                endpoint_url: url.into(),
                locale_ids: None,
                profile_uris: None,
            };
            let answer = async {
                let answer = channel.send(request, PATIENCE).await;
                channel.close_channel().await;
                answer
            };
            tokio::pin!(answer);
            loop {
                tokio::select! {
                    answer = &mut answer => break answer,
                    _ = transport.poll() => {}
                }
            }
        };
        let answer = tokio::time::timeout(PATIENCE, asked).await;
        let answer = answer.map_err(|_| self.refused(StatusCode::BadTimeout, ""))?.map_err(unreachable)?;
        match answer {
            ResponseMessage::GetEndpoints(answer) => Ok(answer.endpoints.unwrap_or_default()),
            _ => Err(self.refused(StatusCode::BadUnknownResponse, "")),
        }
    }

    fn choose(&self, endpoints: Vec<EndpointDescription>) -> Result<(EndpointDescription, String), Trouble> {
        let server = &self.server;
        let policy = server.security.of_library();
        let fits = |endpoint: &EndpointDescription| {
            endpoint.security_policy_uri.as_ref() == policy.to_uri()
                && endpoint.security_mode == server.mode()
        };
        let offered = offered(&endpoints);
        let Some(mut endpoint) = endpoints.into_iter().find(fits) else {
            return Err(Trouble::new(
                format!("the server does not offer {} with mode {}", policy, server.mode()),
                format!("it offers: {offered}; write one of them as `security` and `mode`"),
            ));
        };
        self.permits_user(&endpoint)?;
        // Servers name themselves as their own network does; the way there is the one that was configured.
        endpoint.endpoint_url = server.endpoint.as_str().into();
        let mut detail = format!("{policy}, {}", server.mode());
        if server.security == Policy::None {
            detail.push_str("; nothing protects what is read");
            if server.user.is_some() {
                detail.push_str(", and the password may be sent in the clear");
            }
            return Ok((endpoint, detail));
        }
        let trust = Trust::load(&server.trusted, server.trust_unknown)
            .map_err(|problem| Trouble::new(problem, "put certificates there that can be read"))?;
        let host = server.server_name.as_deref().unwrap_or(server.host());
        let certificate = endpoint.server_certificate.value.as_deref().unwrap_or_default();
        let application = endpoint.server.application_uri.as_ref();
        if let Believed::Unknown(fingerprint) = trust.check(certificate, host, application, clock::now())? {
            detail.push_str("; nobody vouches for the server's certificate, SHA-256 ");
            detail.push_str(&fingerprint);
            detail.push_str(", which `trust_unknown` lets pass");
        }
        Ok((endpoint, detail))
    }

    fn permits_user(&self, endpoint: &EndpointDescription) -> Result<(), Trouble> {
        let (wanted, what) = match &self.identity {
            Identity::User(..) => (UserTokenType::UserName, "a user's name and password"),
            Identity::Fixed(IdentityToken::X509(..)) => (UserTokenType::Certificate, "a user's certificate"),
            Identity::Fixed(_) => (UserTokenType::Anonymous, "anonymous users"),
        };
        let tokens = endpoint.user_identity_tokens.as_deref().unwrap_or_default();
        if tokens.is_empty() || tokens.iter().any(|token| token.token_type == wanted) {
            return Ok(());
        }
        let mut takes: Vec<String> = tokens.iter().map(|token| format!("{:?}", token.token_type)).collect();
        takes.dedup();
        Err(Trouble::new(
            format!("the server does not take {what} there; it takes: {}", takes.join(", ")),
            "give it `user` and `password_file`, or `user_certificate` and `user_key`, as it wants",
        ))
    }

    /// What a status means for whoever has to mend it.
    pub fn refused(&self, status: StatusCode, detail: &str) -> Trouble {
        let detail = if detail.is_empty() { status.to_string() } else { detail.to_string() };
        let server = &self.server;
        if status == StatusCode::BadUserAccessDenied
            || status == StatusCode::BadIdentityTokenRejected
            || status == StatusCode::BadIdentityTokenInvalid
        {
            let remedy = match (&server.user, &server.user_certificate) {
                (Some(user), _) => format!("look at user {user} in the server and at `password_file`"),
                (None, Some(_)) => "have the server trust the user's certificate".into(),
                (None, None) => "the server wants a user: give `user` and `password_file`".into(),
            };
            return Trouble::new(format!("the server refuses the user ({detail})"), remedy);
        }
        let refuses_us = [
            StatusCode::BadSecurityChecksFailed,
            StatusCode::BadCertificateUntrusted,
            StatusCode::BadCertificateInvalid,
            StatusCode::BadCertificateTimeInvalid,
            StatusCode::BadCertificateUriInvalid,
            StatusCode::BadCertificateUseNotAllowed,
            StatusCode::BadCertificateChainIncomplete,
            StatusCode::BadCertificateRevoked,
        ];
        if refuses_us.contains(&status) {
            return Trouble::new(
                format!("the server refuses the collector's certificate ({detail})"),
                "move the collector's certificate from the server's rejected to its trusted certificates, and look \
                 whether it is still valid",
            );
        }
        if status == StatusCode::BadSecurityPolicyRejected || status == StatusCode::BadSecurityModeRejected {
            return Trouble::new(
                format!("the server refuses the security policy ({detail})"),
                "choose another `security` or `mode` that it offers",
            );
        }
        if status == StatusCode::BadTooManySessions || status == StatusCode::BadMaxConnectionsReached {
            return Trouble::new(
                format!("the server has no session left ({detail})"),
                "end another client's, or permit more sessions in the server",
            );
        }
        if status == StatusCode::BadConnectionClosed && server.security != Policy::None {
            return Trouble::new(
                format!("the server closed the connection while it was made ({detail})"),
                "some servers do so when they do not trust the collector's certificate: look at their list of \
                 rejected certificates",
            );
        }
        Trouble::new(
            format!("cannot be connected to ({detail})"),
            "look whether the server runs and whether a firewall lets the port through",
        )
    }
}

/// Which policies and modes a server has.
fn offered(endpoints: &[EndpointDescription]) -> String {
    let mut all: Vec<String> = endpoints
        .iter()
        .map(|endpoint| {
            let uri = endpoint.security_policy_uri.as_ref();
            let policy = SecurityPolicy::from_str(uri).unwrap_or(SecurityPolicy::Unknown);
            let name = match policy {
                SecurityPolicy::Unknown => uri.rsplit('#').next().unwrap_or(uri),
                known => known.to_str(),
            };
            format!("{name} ({})", endpoint.security_mode)
        })
        .collect();
    all.sort();
    all.dedup();
    match all.is_empty() {
        true => "nothing".into(),
        false => all.join(", "),
    }
}

/// A folder that the library wants for certificates that were judged already; gone with the collector.
pub(crate) struct Scratch(PathBuf);

/// One [`Scratch`] for all servers of a collector, if any needs it.
pub(crate) struct Scratches(OnceLock<Arc<Scratch>>);

impl Scratch {
    #[expect(clippy::new_ret_no_self, reason = "made when it is needed first")]
    pub fn new() -> Scratches {
        Scratches(OnceLock::new())
    }
}

impl Scratches {
    fn get(&self) -> Result<Arc<Scratch>, String> {
        if let Some(made) = self.0.get() {
            return Ok(Arc::clone(made));
        }
        let name = format!("yagura-opcua-{}-{:016x}", std::process::id(), fastrand::u64(..));
        let folder = std::env::temp_dir().join(name);
        let made = std::fs::DirBuilder::new().mode(0o700).create(&folder);
        made.map_err(|e| {
            format!("{}: cannot be made: {e}; set TMPDIR to a folder that can be written", folder.display())
        })?;
        Ok(Arc::clone(self.0.get_or_init(|| Arc::new(Scratch(folder)))))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
