//! Lines of a log: their level, their time, and how they are written as text or JSON.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::json;

use crate::error::escape_json;

/// How serious a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// Only `-v` shows it.
    Debug,
    /// Progress and results.
    Info,
    /// Something that the user should know, although the run continues.
    Warning,
    /// A failure.
    Error,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// `--log-format json`. A process has one standard error, so this is a setting of the process.
static JSON: AtomicBool = AtomicBool::new(false);

/// From now on, every line on standard error is a JSON object.
pub(crate) fn use_json() {
    JSON.store(true, Ordering::Relaxed);
}

/// Whether every line on standard error is a JSON object.
pub(super) fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// `{"time":"2026-11-26T22:05:03.120Z","level":"info","message":"…"}`
pub(super) fn json_line(time: SystemTime, level: Level, message: &str) -> String {
    let line = json!({ "time": timestamp(time, true), "level": level.name(), "message": message });
    escape_json(line.to_string())
}

/// The time in UTC as RFC 3339 writes it, in seconds or milliseconds.
pub(super) fn timestamp(time: SystemTime, milliseconds: bool) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let fraction = if milliseconds { format!(".{:03}", since.subsec_millis()) } else { String::new() };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// Year, month and day of a day since 1970, in the Gregorian calendar. Counts from March, so that a leap day is the last
/// day of its year.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_PER_ERA: u64 = 146_097;
    const DAYS_BEFORE_1970: u64 = 719_468;
    let days = days + DAYS_BEFORE_1970;
    let (era, day_of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next_year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_764_194_703, "2025-11-26T22:05:03Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(seconds), false), expected);
        }
    }

    #[test]
    fn a_line_of_json_is_one_line_without_control_characters() {
        let time = UNIX_EPOCH + Duration::from_millis(1_764_194_703_120);
        let line = json_line(time, Level::Warning, "two\nlines \u{9b}2J \"quoted\"");
        assert_eq!(
            line,
            r#"{"time":"2025-11-26T22:05:03.120Z","level":"warning","message":"two\nlines \u009b2J \"quoted\""}"#
        );
        assert_eq!(crate::error::escape(&line), line);
    }
}
