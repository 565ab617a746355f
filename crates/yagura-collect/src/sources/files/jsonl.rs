//! JSON objects, one a line.

use serde_json::{Map, Value};
use yagura_event::clock::Micros;

use super::Long;
use crate::places::PlacedSink;
use crate::tail::Lines;

/// Understands objects by a mapping.
pub(super) struct Objects(pub Box<Long>);

impl Lines for Objects {
    type Head = ();

    fn line(&mut self, _: &mut (), line: &[u8], now: Micros, out: &mut dyn PlacedSink) -> Result<(), String> {
        let object: Map<String, Value> =
            serde_json::from_slice(line).map_err(|e| format!("is no JSON object: {e}"))?;
        let time = self.0.mapper.time(&object)?.ok_or("has no time")?;
        self.0.mapper.emit(&object, time, Some(now), &mut self.0.signals.naming(out));
        Ok(())
    }

    fn report(&mut self, now: Micros, out: &mut dyn PlacedSink) {
        self.0.signals.report(now, out);
    }
}
