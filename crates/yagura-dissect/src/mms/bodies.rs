//! Files and domains on their way: only their lengths and their HMACs are kept.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::exchange::Draft;
use crate::{Cx, json};

/// Most transfers of an association at a time.
const TRANSFERS_MAX: usize = 16;

struct Body {
    id: String,
    name: String,
    mac: Option<Hmac<Sha256>>,
    bytes: u64,
}

/// The transfers of an association.
#[derive(Default)]
pub(super) struct Bodies(Vec<Body>);

impl Bodies {
    /// A transfer begins, known by `id` from now on.
    pub fn open(&mut self, cx: &Cx<'_>, id: String, name: String) {
        self.0.retain(|body| body.id != id);
        if self.0.len() == TRANSFERS_MAX {
            self.0.remove(0);
        }
        let key = &cx.settings.plant_key;
        let mac = if key.is_empty() { None } else { Hmac::new_from_slice(key).ok() };
        self.0.push(Body { id, name, mac, bytes: 0 });
    }

    /// The name of what is transferred.
    pub fn name(&self, id: &str) -> &str {
        self.0.iter().find(|body| body.id == id).map_or("", |body| &body.name)
    }

    /// A part arrived.
    pub fn add(&mut self, id: &str, part: &[u8]) {
        if let Some(body) = self.0.iter_mut().find(|body| body.id == id) {
            body.bytes += part.len() as u64;
            if let Some(mac) = &mut body.mac {
                mac.update(part);
            }
        }
    }

    /// A transfer ended: tells how much it was.
    pub fn finish(&mut self, id: &str, draft: &mut Draft) {
        let Some(at) = self.0.iter().position(|body| body.id == id) else { return };
        let body = self.0.remove(at);
        if body.bytes == 0 {
            return;
        }
        draft.body_bytes = Some(body.bytes);
        draft.body_hmac.clear();
        if let Some(mac) = body.mac {
            json::push_hex_digits(&mut draft.body_hmac, &mac.finalize().into_bytes());
        }
    }

    /// Parts are missing: what was added is no whole.
    pub fn forget(&mut self) {
        for body in &mut self.0 {
            body.mac = None;
        }
    }
}
