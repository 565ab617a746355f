//! Shards, operators, watermarks and snapshots.
