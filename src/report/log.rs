//! Lines of a log: their level, their time, and how they are written as text or JSON.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::SystemTime,
};

use serde_json::json;

use crate::{error::escape_json, units::timestamp};

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

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

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
