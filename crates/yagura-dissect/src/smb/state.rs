//! The names behind a connection's numbers: sessions' users, trees' shares, open files.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::exchange::Draft;
use crate::{Cx, json};

/// Most sessions, trees and files of one connection whose names are kept; the oldest go first.
const SESSIONS_MAX: usize = 32;
const TREES_MAX: usize = 64;
const FILES_MAX: usize = 256;
/// Most requests to set a session up whose user is not yet accepted.
const PRESENTED_MAX: usize = 8;
/// Longest target, in bytes.
const TARGET_MAX: usize = 1024;

/// A file's number: SMB 2 has 16 octets, of SMB 1 the first two are used.
pub(super) type FileId = [u8; 16];
/// Stands for the file of the message before in a chain.
pub(super) const SAME_FILE: FileId = [0xff; 16];

struct Tree {
    session: u64,
    id: u32,
    path: String,
    pipe: bool,
}

/// A file or pipe that is open.
struct File {
    id: FileId,
    name: String,
    pipe: bool,
    read: Body,
    written: Body,
}

/// What went over the wire of a file, as long as it went in order from the beginning.
#[derive(Default)]
enum Body {
    #[default]
    Nothing,
    InOrder(Box<Hmac<Sha256>>, u64),
    Broken,
}

impl Body {
    fn add(&mut self, cx: &Cx<'_>, offset: u64, data: Option<&[u8]>, again: bool) {
        let Some(data) = data.filter(|_| !cx.settings.plant_key.is_empty()) else {
            *self = Body::Broken;
            return;
        };
        if matches!(self, Body::Nothing)
            && offset == 0
            && let Ok(mac) = Hmac::<Sha256>::new_from_slice(&cx.settings.plant_key)
        {
            *self = Body::InOrder(Box::new(mac), 0);
        }
        match self {
            Body::InOrder(mac, next) if *next == offset => {
                mac.update(data);
                *next += data.len() as u64;
            }
            Body::InOrder(_, next) if again && offset.saturating_add(data.len() as u64) <= *next => {}
            _ => *self = Body::Broken,
        }
    }

    fn finish(self, draft: &mut Draft) -> bool {
        let Body::InOrder(mac, bytes) = self else { return false };
        if bytes > 0 {
            draft.body_bytes = Some(bytes);
            json::push_hex_digits(&mut draft.body_hmac, &mac.finalize().into_bytes());
        }
        bytes > 0
    }
}

/// The names of one connection.
#[derive(Default)]
pub(super) struct State {
    sessions: Vec<(u64, String)>,
    presented: Vec<(u64, String)>,
    trees: Vec<Tree>,
    files: Vec<File>,
}

/// Makes room for one more.
fn bound<T>(list: &mut Vec<T>, max: usize) {
    if list.len() >= max {
        list.remove(0);
    }
}

impl State {
    /// A user is presented in the request with that id.
    pub fn present(&mut self, id: u64, user: String) {
        if !user.is_empty() {
            bound(&mut self.presented, PRESENTED_MAX);
            self.presented.push((id, user));
        }
    }

    /// The request with that id was answered: its user has the session if accepted.
    pub fn set_up(&mut self, id: u64, session: u64, accepted: bool) {
        let Some(at) = self.presented.iter().position(|(presented, _)| *presented == id) else { return };
        let (_, user) = self.presented.remove(at);
        if accepted {
            self.log_off(session);
            bound(&mut self.sessions, SESSIONS_MAX);
            self.sessions.push((session, user));
        }
    }

    pub fn log_off(&mut self, session: u64) {
        self.sessions.retain(|(id, _)| *id != session);
    }

    pub fn user(&self, session: u64) -> Option<&str> {
        self.sessions.iter().find(|(id, _)| *id == session).map(|(_, user)| &**user)
    }

    pub fn connect(&mut self, session: u64, id: u32, path: &str, pipe: bool) {
        self.disconnect(session, id);
        bound(&mut self.trees, TREES_MAX);
        self.trees.push(Tree { session, id, path: path.to_string(), pipe });
    }

    pub fn disconnect(&mut self, session: u64, id: u32) {
        self.trees.retain(|tree| (tree.session, tree.id) != (session, id));
    }

    fn tree(&self, session: u64, id: u32) -> Option<&Tree> {
        self.trees.iter().find(|tree| (tree.session, tree.id) == (session, id))
    }

    /// Whether the share behind a tree is known.
    pub fn knows(&self, session: u64, id: u32) -> bool {
        self.tree(session, id).is_some()
    }

    /// Whether a tree holds pipes.
    pub fn of_pipes(&self, session: u64, id: u32) -> bool {
        self.tree(session, id).is_some_and(|tree| tree.pipe)
    }

    /// Names a tree, or something within it.
    pub fn name(&self, target: &mut String, session: u64, id: u32, within: &str) {
        if let Some(tree) = self.tree(session, id) {
            target.push_str(&tree.path);
            if !within.is_empty() && !within.starts_with('\\') {
                target.push('\\');
            }
        }
        target.push_str(within);
        if target.len() > TARGET_MAX {
            let end = (0..=TARGET_MAX).rev().find(|end| target.is_char_boundary(*end)).unwrap_or(0);
            target.truncate(end);
        }
    }

    pub fn open(&mut self, id: FileId, name: &str, pipe: bool) {
        self.files.retain(|file| file.id != id);
        bound(&mut self.files, FILES_MAX);
        let (read, written) = (Body::Nothing, Body::Nothing);
        self.files.push(File { id, name: name.to_string(), pipe, read, written });
    }

    /// Name of an open file, and whether it is a pipe.
    pub fn file(&self, id: &FileId) -> Option<(&str, bool)> {
        self.files.iter().find(|file| file.id == *id).map(|file| (&*file.name, file.pipe))
    }

    /// Contents were read (`written` false) or written; `None` where they were not seen whole.
    pub fn content(&mut self, cx: &Cx<'_>, id: &FileId, written: bool, offset: u64, data: Option<&[u8]>) {
        if let Some(file) = self.files.iter_mut().find(|file| file.id == *id && !file.pipe) {
            let body = if written { &mut file.written } else { &mut file.read };
            body.add(cx, offset, data, !written);
        }
    }

    /// A file is closed: the row says what went over the wire of it.
    pub fn shut(&mut self, draft: &mut Draft, id: &FileId) {
        let Some(at) = self.files.iter().position(|file| file.id == *id) else { return };
        let file = self.files.remove(at);
        let direction = if file.written.finish(draft) {
            "written"
        } else if file.read.finish(draft) {
            "read"
        } else {
            return;
        };
        json::member_text(&mut draft.detail, "body", direction);
    }

    /// Messages are missing: no file's content is known whole.
    pub fn lost(&mut self) {
        for file in &mut self.files {
            (file.read, file.written) = (Body::Broken, Body::Broken);
        }
        self.presented.clear();
    }
}

/// A NetBIOS name in its first-level encoding (RFC 1001, 14.1), without its padding: `TOOL7<20>`.
pub(super) fn netbios_name(bytes: &[u8]) -> Option<String> {
    let encoded = bytes.get(1..33).filter(|_| bytes[0] == 32)?;
    let mut name = [0; 16];
    for (octet, pair) in name.iter_mut().zip(encoded.chunks_exact(2)) {
        let [high, low] = [pair[0].wrapping_sub(b'A'), pair[1].wrapping_sub(b'A')];
        if high > 15 || low > 15 {
            return None;
        }
        *octet = high << 4 | low;
    }
    let (text, suffix) = (String::from_utf8_lossy(&name[..15]), name[15]);
    Some(format!("{}<{suffix:02x}>", text.trim_end_matches([' ', '\0'])))
}
