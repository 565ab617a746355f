//! Who may use the interface, and for what.

use std::path::Path;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, HeaderValue};
use axum::http::request::Parts;
use serde::Serialize;
use yagura_door::{Unusable, bearer, lines, same};
use yagura_respond::Redaction;

use super::{Problem, Shared};

/// The shortest token: a hundred bits, written in base64 or hexadecimal digits.
const TOKEN_CHARS_MIN: usize = 20;

/// How long one without a valid token waits for that answer.
const DENIED_WAIT: Duration = Duration::from_millis(500);

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// See alerts and mutes, without process values, names of people and texts that may hold anything.
    Reader,
    /// See all of them, and decide.
    Analyst,
}

/// One who has a token.
#[derive(Clone, Debug)]
pub struct Person {
    /// The name, under which decisions are kept.
    pub name: String,
    role: Role,
    token: String,
}

/// All who have one.
pub struct People(Vec<Person>);

impl Person {
    /// What is left out for this one: what is left out for sinks, too.
    pub fn redaction(&self) -> Redaction {
        match self.role {
            Role::Reader => Redaction::default(),
            Role::Analyst => Redaction::off(),
        }
    }
}

impl People {
    /// Reads a file of lines `NAME ROLE TOKEN`; `#` begins a comment.
    pub fn read(file: &Path) -> Result<Self, Unusable> {
        let mut people: Vec<Person> = Vec::new();
        for line in lines(file, "token (`NAME ROLE TOKEN`)")? {
            let wrong = |what: &str| {
                let name = line.split_whitespace().next().unwrap_or_default().to_string();
                Unusable::file(file, format!("the line of `{name}`: {what}"))
            };
            let words: Vec<&str> = line.split_whitespace().collect();
            let [name, role, token] = words[..] else {
                return Err(wrong("it is to be NAME ROLE TOKEN"));
            };
            let role = match role {
                "reader" => Role::Reader,
                "analyst" => Role::Analyst,
                _ => return Err(wrong("there are the roles reader and analyst")),
            };
            if token.len() < TOKEN_CHARS_MIN {
                return Err(wrong(
                    "a token has at least 20 characters; make one with `openssl rand -hex 32`",
                ));
            }
            if people.iter().any(|other| other.token == token) {
                return Err(wrong("its token is also somebody else's"));
            }
            people.push(Person { name: name.into(), role, token: token.into() });
        }
        Ok(People(people))
    }

    fn who(&self, header: Option<&HeaderValue>) -> Option<Person> {
        let given = bearer(header.map_or(b"", HeaderValue::as_bytes));
        let place = same(self.0.iter().map(|person| person.token.as_str()), given)?;
        self.0.get(place).cloned()
    }
}

/// Somebody who may see.
pub struct Reader(pub Person);

/// Somebody who may decide.
pub struct Analyst(pub Person);

async fn allowed(parts: &Parts, shared: &Shared, least: Role) -> Result<Person, Problem> {
    let Some(person) = shared.people.get().who(parts.headers.get(AUTHORIZATION)) else {
        shared.denied.inc();
        // Who guesses waits.
        tokio::time::sleep(DENIED_WAIT).await;
        return Err(Problem(
            StatusCode::UNAUTHORIZED,
            "no valid token: send `Authorization: Bearer TOKEN` with one out of the `token_file` of `api`"
                .into(),
        ));
    };
    match person.role >= least {
        true => Ok(person),
        false => {
            let name = &person.name;
            Err(Problem(StatusCode::FORBIDDEN, format!("`{name}` may see and not decide; an analyst may")))
        }
    }
}

impl FromRequestParts<Shared> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Problem> {
        allowed(parts, shared, Role::Reader).await.map(Reader)
    }
}

impl FromRequestParts<Shared> for Analyst {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Problem> {
        allowed(parts, shared, Role::Analyst).await.map(Analyst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_name_a_person_a_role_and_a_token() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("tokens");
        let read = |text: &str| {
            std::fs::write(&file, text).expect("a file");
            People::read(&file)
        };
        let people = read("# SOC\nmori analyst 0123456789abcdef0123\nwall reader 0123456789abcdef4567\n");
        let people = people.expect("people");
        let who = |header: &str| {
            let header = HeaderValue::from_str(header).expect("a header");
            people.who(Some(&header)).map(|person| (person.name, person.role))
        };
        assert_eq!(who("Bearer 0123456789abcdef0123"), Some(("mori".into(), Role::Analyst)));
        assert_eq!(who("bearer 0123456789abcdef4567"), Some(("wall".into(), Role::Reader)));
        assert_eq!(who("Bearer 0123456789abcdef"), None);
        assert_eq!(who("Bearer "), None);
        for (wrong, said) in [
            ("mori analyst", "NAME ROLE TOKEN"),
            ("mori admin 0123456789abcdef0123", "roles reader and analyst"),
            ("mori analyst short", "at least 20 characters"),
            ("a reader 0123456789abcdef0123\nb reader 0123456789abcdef0123", "somebody else's"),
            ("# nobody", "it holds no token"),
        ] {
            let error = read(wrong).err().expect("an error").to_string();
            assert!(error.contains(said), "{error}");
            assert!(!error.contains("0123456789"), "a token is in the message: {error}");
        }
    }
}
