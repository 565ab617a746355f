//! Records the demonstration's fab cell as packets and records.
