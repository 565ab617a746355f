//! The one place where a wall clock is read. Only collectors and the log's edge may call it:
//! what a detection computes comes from the log's content alone.

/// Microseconds since 1970-01-01T00:00:00Z, the unit of every time in Yagura.
pub type Micros = i64;

/// One second in [`Micros`].
pub const SECOND: Micros = 1_000_000;

/// The wall clock's time.
pub fn now() -> Micros {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    let now = std::time::SystemTime::now();
    match now.duration_since(std::time::UNIX_EPOCH) {
        Ok(since) => since.as_micros() as Micros,
        Err(before) => -(before.duration().as_micros() as Micros),
    }
}

/// How long this process has run, from its first call on: it neither jumps nor goes back when the
/// wall clock is set. For how long something waits, never for what a record says.
pub fn steady() -> Micros {
    static ORIGIN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "how long to wait, not what to answer")]
    let origin = ORIGIN.get_or_init(std::time::Instant::now);
    origin.elapsed().as_micros() as Micros
}

/// `2026-11-23T04:05:06.789012Z`: RFC 3339 in UTC with microseconds.
pub fn rfc3339(time: Micros) -> String {
    match chrono::DateTime::from_timestamp_micros(time) {
        Some(at) => at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
        None => format!("{time}us"),
    }
}

/// `04:05:06`, the time of day in UTC, for people who know the day.
pub fn time_of_day(time: Micros) -> String {
    match chrono::DateTime::from_timestamp_micros(time) {
        Some(at) => at.format("%H:%M:%S").to_string(),
        None => format!("{time}us"),
    }
}

/// Reads an RFC 3339 time into [`Micros`]; `None` when it is not one.
pub fn parse_rfc3339(text: &str) -> Option<Micros> {
    chrono::DateTime::parse_from_rfc3339(text).ok().map(|t| t.timestamp_micros())
}
