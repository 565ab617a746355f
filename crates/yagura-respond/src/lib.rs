//! Alerts to the SIEM.
