//! The one place that writes to standard output and standard error.
//!
//! Results go to standard output, everything else to standard error. A reader that went away
//! (`thoras-mirror images | head`) is not an error: what it did not want is dropped in silence, and the
//! run's own exit code stands, because its work was done whether or not anyone read on. Any other failure
//! to write a result (a full disk behind `> FILE`) is a failure of the run.

use std::io::{self, ErrorKind, Write};

use serde::Serialize;

use super::{document, failure, style::Palette};
use crate::{
    error::{Failure, Kind, escape, hide_logins},
    oci::reference::hide_login,
};

/// Writes a result to standard output, with a line break at its end.
pub fn result(text: &str) -> Result<(), Failure> {
    write_whole(&mut io::stdout().lock(), text).map_err(|error| {
        Failure::from_error(Kind::Image, &error)
            .with_hint("standard output could not be written, everything else is done: check the disk or pipe that it goes to")
    })
}

/// Writes a JSON document to standard output.
pub fn document(document: &impl Serialize) -> Result<(), Failure> {
    let text = document::to_json(document).map_err(|error| Failure::from_error(Kind::Image, &error))?;
    result(&text)
}

/// Writes bytes to standard output as they are: a manifest, whose digest is over every one of them.
pub fn raw(bytes: &[u8]) -> Result<(), Failure> {
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
pub fn log(line: &str) {
    diagnostic(&escape(line));
}

/// Writes a failure to standard error: what failed, why, and what to do.
pub fn print_failure(failure: &Failure) {
    diagnostic(&failure::text(failure, None, Palette::of_stderr()));
}

/// Writes a warning to standard error.
pub fn warning(message: &str) {
    diagnostic(&format!("{} {}", Palette::of_stderr().warning("warning:"), escape(message)));
}

/// Writes to standard error what is wrong with a command line, which it repeats in part. `typed` are its words: where
/// one holds a login, it is hidden whole, whatever characters the password is made of.
pub fn usage_error(plain: String, colored: String, typed: impl Iterator<Item = String>) {
    let mut text = if Palette::of_stderr() == Palette::plain() { plain } else { colored };
    for word in typed {
        let value =
            word.split_once('=').filter(|_| word.starts_with('-')).map_or(word.as_str(), |(_, value)| value);
        let shown = hide_login(value);
        if shown != value {
            text = text.replace(value, &shown);
        }
    }
    diagnostic(hide_logins(&text).trim_end());
}

/// Writes lines that are already escaped to standard error.
pub(super) fn diagnostic(text: &str) {
    // Nobody is left to hear that standard error is gone.
    let _ = write_whole(&mut io::stderr().lock(), text);
}

/// Why a result could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the result to standard output")]
struct OutputError(#[source] io::Error);

/// Writes a text and a line break, and treats a reader that went away as content.
fn write_whole(stream: &mut impl Write, text: &str) -> Result<(), OutputError> {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let written = stream
        .write_all(text.as_bytes())
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
    fn a_reader_that_went_away_is_no_error() {
        assert!(write_whole(&mut Refusing(ErrorKind::BrokenPipe), "text").is_ok());
    }

    #[test]
    fn a_full_disk_is_one() {
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
