//! The only place that writes to standard output and standard error.
//!
//! Results go to standard output, everything else to standard error. A closed pipe (`thoras-mirror images | head`) is
//! not an error: the rest of the output is dropped, and the exit code does not change. Any other failure to write a
//! result (such as a full disk) fails the run.

use std::{
    io::{self, ErrorKind, Write},
    time::SystemTime,
};

use super::{
    log::{self, Level},
    style::Palette,
    terminal,
};
use crate::{
    error::{Failure, Kind, escape, hide_logins, hide_secrets},
    oci::reference::hide_login,
};

/// Writes a result to standard output, with a line break at its end.
pub(crate) fn result(text: &str) -> Result<(), Failure> {
    write_whole(&mut io::stdout().lock(), text).map_err(|error| {
        Failure::from_error(Kind::Image, &error)
            .with_hint("the command itself finished; check the disk or pipe behind standard output")
    })
}

/// Writes a line to standard output, escaped.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    result(&escape(text).replace('\n', " "))
}

/// Writes bytes to standard output unchanged: a manifest, whose digest covers every byte.
pub(crate) fn raw(bytes: &[u8]) -> Result<(), Failure> {
    let mut stream = io::stdout().lock();
    let written = stream.write_all(bytes).and_then(|()| stream.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::from_error(Kind::Image, &OutputError(error)))
        }
        _ => Ok(()),
    }
}

/// Writes a line of a log to standard error.
pub(crate) fn log(line: &str) {
    diagnostic(Level::Info, &escape(line));
}

/// Writes a failure to standard error: what failed, why, and what to do.
pub(crate) fn print_failure(failure: &Failure) {
    diagnostic(Level::Error, &terminal::failure_text(failure));
}

/// Writes an error in the command line to standard error. The message repeats words of the command line (`typed`): a
/// word that contains a login is hidden completely.
pub(crate) fn usage_error(plain: String, colored: String, typed: impl Iterator<Item = String>) {
    let mut text = if log::is_json() || Palette::of_stderr() == Palette::plain() { plain } else { colored };
    for word in typed {
        let value =
            word.split_once('=').filter(|_| word.starts_with('-')).map_or(word.as_str(), |(_, value)| value);
        let shown = hide_login(value);
        if shown != value {
            text = text.replace(value, &shown);
        }
    }
    diagnostic(Level::Error, hide_logins(&text).trim_end());
}

/// Writes escaped lines to standard error. In a JSON log they are one object, and its level replaces the head `error:`.
pub(super) fn diagnostic(level: Level, text: &str) {
    if log::is_json() {
        let text = text.trim_start_matches('\n');
        let message = text.strip_prefix("error: ").unwrap_or(text);
        let _ = write_whole(&mut io::stderr().lock(), &log::json_line(SystemTime::now(), level, message));
        return;
    }
    // If standard error is closed, there is no way to report it.
    let _ = write_whole(&mut io::stderr().lock(), text);
}

/// Why a result could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the result to standard output")]
struct OutputError(#[source] io::Error);

/// Writes a text and a line break. A closed pipe is not an error.
fn write_whole(stream: &mut impl Write, text: &str) -> Result<(), OutputError> {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    // The last step for all text: what was not escaped on its way contains no secret either.
    let written = stream
        .write_all(hide_secrets(text).as_bytes())
        .and_then(|()| stream.write_all(end.as_bytes()))
        .and_then(|()| stream.flush());
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(OutputError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Refusing(ErrorKind);

    impl Write for Refusing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_not_an_error() {
        assert!(write_whole(&mut Refusing(ErrorKind::BrokenPipe), "text").is_ok());
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let error = write_whole(&mut Refusing(ErrorKind::StorageFull), "text").unwrap_err();
        assert_eq!(error.to_string(), "cannot write the result to standard output");
    }

    #[test]
    fn a_text_ends_with_one_line_break() {
        for text in ["two\nlines", "two\nlines\n"] {
            let mut written = Vec::new();
            write_whole(&mut written, text).unwrap();
            assert_eq!(written, b"two\nlines\n");
        }
    }
}
