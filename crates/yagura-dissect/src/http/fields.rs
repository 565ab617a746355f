//! The fields of a message's head, taken as they come.

use yagura_event::rows::IdentityRow;

use super::Body;
use super::head;
use crate::exchange::{Draft, Exchanges};
use crate::lines::{self, TEXT_MAX};
use crate::{Cx, Side, json, ntlm};

/// Most fields of a head that are looked at.
const FIELDS_MAX: u16 = 256;

/// Fields of a request that are taken over as they are, and their names in `detail`.
const OF_REQUESTS: &[(&str, &str)] = &[
    ("host", "host"),
    ("user-agent", "user_agent"),
    ("referer", "referer"),
    ("origin", "origin"),
    ("via", "via"),
    ("x-forwarded-for", "forwarded_for"),
    ("forwarded", "forwarded"),
    ("range", "range"),
    ("destination", "destination"),
];

/// The same of a response.
const OF_RESPONSES: &[(&str, &str)] = &[
    ("server", "server"),
    ("location", "location"),
    ("content-encoding", "content_encoding"),
    ("x-powered-by", "powered_by"),
    ("via", "response_via"),
];

/// What a head says.
#[derive(Default)]
pub(super) struct Head {
    /// Whether it is a request's.
    pub request: bool,
    /// Whether the request is one of HTTP/0.9, which has neither fields nor a status line.
    pub version_is_oldest: bool,
    /// The response's code.
    pub code: u16,
    /// The request's row in the making.
    pub draft: Option<Draft>,
    /// The response's members of `detail`.
    pub detail: String,
    /// What the body is to be looked into for.
    pub peek: Option<Peek>,
    /// The protocol that is gone over to.
    pub upgrade: String,
    /// Whether somebody presents credentials.
    pub credentials: bool,
    /// The name of the file in the body.
    pub file: bool,
    /// Whether there is no body whatever the fields say: HEAD.
    pub head_only: bool,
    /// Whether a tunnel is asked for.
    pub connects: bool,
    number: u16,
    taken: u32,
    length: Option<u64>,
    chunked: bool,
    coded: bool,
    ambiguous: bool,
    software: String,
    /// The server's own name and version, from a challenge.
    computer: (String, String),
    media: String,
    soap: bool,
}

/// What the beginning of a request's body tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peek {
    /// The name of the first part's file (RFC 7578).
    Upload,
    /// The SOAP request's first element.
    Envelope,
}

impl Head {
    pub fn begin_request(
        &mut self,
        cx: &Cx<'_>,
        exchanges: &mut Exchanges<()>,
        side: Side,
        method: &str,
        target: &str,
        version: &str,
    ) {
        let function = method.to_ascii_lowercase().replace('-', "_");
        let upper = method.to_ascii_uppercase();
        let mut draft = exchanges.draft(cx, side, head::operation_of(&upper), function);
        draft.target.push_str(lines::clip(&lines::without_secrets(target), TEXT_MAX * 2));
        json::member_text(&mut draft.detail, "method", method);
        json::member_text(&mut draft.detail, "version", if version.is_empty() { "0.9" } else { version });
        self.request = true;
        self.version_is_oldest = version.is_empty();
        self.head_only = upper == "HEAD";
        self.connects = upper == "CONNECT";
        self.file = upper == "PUT";
        self.draft = Some(draft);
    }

    pub fn begin_response(&mut self, version: &str, code: u16, reason: &str) {
        self.code = code;
        if code != 0 {
            json::member_text(&mut self.detail, "response_version", version);
            json::member_text(&mut self.detail, "reason", lines::clip(reason, 128));
        }
    }

    /// Takes one line. What continues the line before it is left out (RFC 9112, 5.2).
    pub fn field(&mut self, line: &str) {
        self.number += 1;
        if self.number > FIELDS_MAX || line.starts_with([' ', '\t']) {
            return;
        }
        let (name, value) = lines::field(line);
        let name = name.to_ascii_lowercase();
        match &*name {
            "content-length" => self.content_length(value),
            "transfer-encoding" => {
                let last = value.rsplit(',').next().unwrap_or_default().trim();
                self.chunked = last.eq_ignore_ascii_case("chunked");
                self.coded = true;
            }
            "content-type" => self.content_type(value),
            "content-disposition" => {
                let file =
                    lines::parameter(value, "filename").or_else(|| lines::parameter(value, "filename*"));
                if let Some(file) = file {
                    self.member("file", 31, file);
                }
            }
            "upgrade" => self.upgrade = lines::clip(value, 64).to_string(),
            "authorization" | "proxy-authorization" if self.request => self.authorization(value),
            "www-authenticate" | "proxy-authenticate" if !self.request => self.challenge(value),
            "soapaction" if self.request => self.soap_action(value),
            _ => {
                let list = if self.request { OF_REQUESTS } else { OF_RESPONSES };
                if let Some(at) = list.iter().position(|(field, _)| *field == name) {
                    let value = lines::without_secrets(value);
                    if matches!(&*name, "user-agent" | "server") {
                        self.software = lines::clip(&value, TEXT_MAX).to_string();
                    }
                    self.member(list[at].1, at as u32, &value);
                }
            }
        }
    }

    /// What the request's body is; `None` for none (RFC 9112, 6.3).
    pub fn request_body(&mut self) -> Option<Body> {
        self.say_ambiguous();
        match self.length {
            _ if self.connects => None,
            _ if self.chunked => Some(Body::ChunkSize),
            Some(length) if length > 0 => Some(Body::Length(length)),
            _ => None,
        }
    }

    /// What the response's body is; `None` for none.
    pub fn response_body(&mut self, head_only: bool) -> Option<Body> {
        match self.length {
            _ if head_only || matches!(self.code, 100..=199 | 204 | 304) => None,
            _ if self.chunked => Some(Body::ChunkSize),
            _ if self.coded || self.ambiguous => Some(Body::UntilClose),
            Some(0) => None,
            Some(length) => Some(Body::Length(length)),
            None => Some(Body::UntilClose),
        }
    }

    /// Whether software that was not named before is named; it is remembered.
    pub fn is_news(&mut self, known: &mut String) -> bool {
        let news = (!self.software.is_empty() && self.software != *known) || !self.computer.0.is_empty();
        if !self.software.is_empty() {
            known.clone_from(&self.software);
        }
        news
    }

    /// Who the sender says it is.
    pub fn identity<'a>(&'a self, software: &'a str) -> IdentityRow<'a> {
        let (name, version) = &self.computer;
        IdentityRow {
            firmware: if software.is_empty() { version } else { software },
            name,
            ..IdentityRow::default()
        }
    }

    fn out(&mut self) -> &mut String {
        match &mut self.draft {
            Some(draft) => &mut draft.detail,
            None => &mut self.detail,
        }
    }

    /// Writes a member once.
    fn member(&mut self, name: &str, bit: u32, value: &str) {
        if self.taken & 1 << bit == 0 {
            self.taken |= 1 << bit;
            json::member_text(self.out(), name, lines::clip(value, TEXT_MAX));
        }
    }

    fn content_length(&mut self, value: &str) {
        match value.parse() {
            Ok(length) => {
                self.ambiguous |= self.length.is_some_and(|before| before != length);
                self.length = Some(length);
            }
            Err(_) => self.ambiguous = true,
        }
    }

    /// A length that two readers may read differently is how requests are smuggled (RFC 9112, 11.2).
    fn say_ambiguous(&mut self) {
        if self.ambiguous || (self.coded && self.length.is_some()) {
            json::member_bool(self.out(), "ambiguous_length", true);
        }
    }

    fn content_type(&mut self, value: &str) {
        let media = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        self.member(if self.request { "content_type" } else { "response_content_type" }, 30, &media);
        if self.request {
            if media.starts_with("multipart/form-data") || media == "multipart/mixed" {
                self.peek = Some(Peek::Upload);
            } else if media == "application/soap+xml" {
                match lines::parameter(value, "action") {
                    Some(action) => self.soap_action(action),
                    None if !self.soap => self.peek = Some(Peek::Envelope),
                    None => {}
                }
            }
        }
        self.media = media;
    }

    fn soap_action(&mut self, value: &str) {
        self.soap = true;
        let Some(draft) = &mut self.draft else { return };
        match head::action(value) {
            Some(name) => {
                draft.operation = head::operation_of_action(name, value.contains("semi"));
                draft.function = name.to_string().into();
                self.peek = None;
                self.member("soap_action", 29, value.trim_matches('"'));
            }
            None => self.peek = Some(Peek::Envelope),
        }
    }

    fn authorization(&mut self, value: &str) {
        let (scheme, rest) = lines::word(value);
        self.credentials = true;
        self.member("auth", 28, &scheme.to_ascii_lowercase());
        let user = match &*scheme.to_ascii_lowercase() {
            "basic" => lines::basic_user(rest),
            "digest" => {
                lines::parameter(&format!(";{}", rest.replace(',', ";")), "username").map(str::to_string)
            }
            "ntlm" | "negotiate" => lines::base64(rest).and_then(|token| {
                // Its members may be named like those of the request.
                let mut inside = String::new();
                let presented = ntlm::describe(&mut inside, &token);
                lines::member_object(self.out(), "token", inside);
                Some(presented.account).filter(|account| !account.is_empty())
            }),
            _ => None,
        };
        if let Some(user) = user {
            self.member("user", 27, &user);
        }
    }

    fn challenge(&mut self, value: &str) {
        let (scheme, rest) = lines::word(value);
        let scheme = scheme.to_ascii_lowercase();
        if matches!(&*scheme, "ntlm" | "negotiate")
            && self.taken & 1 << 26 == 0
            && let Some(token) = lines::base64(rest).filter(|token| !token.is_empty())
        {
            self.taken |= 1 << 26;
            let presented = ntlm::describe_answer(self.out(), &token);
            self.computer = (presented.computer, presented.version);
        }
        if let Some(realm) = lines::parameter(&format!(";{}", rest.replace(',', ";")), "realm") {
            self.member("realm", 25, realm);
        }
        self.member("asked_auth", 24, &scheme);
    }
}
