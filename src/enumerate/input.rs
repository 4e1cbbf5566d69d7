//! A file or standard input, read whole and within bounds.

use std::{fmt, io, path::PathBuf};

use super::{EnumerateError, ReadAs};
use crate::bounded_read;

/// More than any rendering: the largest public chart renders to a few megabytes.
const MAX_INPUT_SIZE: u64 = 256 * 1024 * 1024;

/// A file, or standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// This file.
    File(PathBuf),
    /// Standard input, written `-`.
    Stdin,
}

impl From<&str> for Input {
    /// `-` is standard input, as everywhere.
    fn from(text: &str) -> Self {
        if text == "-" { Self::Stdin } else { Self::File(PathBuf::from(text)) }
    }
}

impl fmt::Display for Input {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(formatter, "{}", path.display().to_string().escape_debug()),
            Self::Stdin => formatter.write_str("standard input"),
        }
    }
}

impl Input {
    pub(super) async fn read(&self, read_as: ReadAs) -> Result<String, EnumerateError> {
        let failed = |source| EnumerateError::Read { input: self.to_string(), read_as, source };
        let bytes = match self {
            Self::File(path) => read_file(path.clone()).await,
            Self::Stdin => read_stdin().await,
        }
        .map_err(failed)?;
        String::from_utf8(bytes)
            .map_err(|_| failed(io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text")))
    }
}

/// Reads a file on a separate thread.
async fn read_file(path: PathBuf) -> io::Result<Vec<u8>> {
    let read = tokio::task::spawn_blocking(move || bounded_read::read(&path, MAX_INPUT_SIZE));
    read.await.map_err(io::Error::other)?
}

/// Reads standard input on a separate thread, because it cannot be polled.
pub(super) async fn read_stdin() -> io::Result<Vec<u8>> {
    let read = tokio::task::spawn_blocking(|| bounded_read::read_from(io::stdin().lock(), MAX_INPUT_SIZE));
    read.await.map_err(io::Error::other)?
}
