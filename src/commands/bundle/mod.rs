//! `bundle`: images in a file.

mod export;
mod inspect;
mod verify;

use std::path::PathBuf;

use super::Session;
use crate::{
    cli::Bundle,
    endpoint::bundle,
    error::{Failure, Kind},
    report::{Command, Format},
};

pub(super) async fn run(command: Bundle, session: &Session) -> Result<u8, Failure> {
    match command {
        Bundle::Export(args) => export::run(*args, session).await,
        Bundle::Verify(args) => verify::run(*args, session).await,
        Bundle::Inspect(args) => inspect::run(*args, session).await,
    }
}

/// What a document calls the command, and the form of its answer.
pub(super) fn describe(command: &Bundle) -> (Command, Format) {
    match command {
        Bundle::Export(args) => (Command::BundleExport, args.format),
        Bundle::Verify(args) => (Command::BundleVerify, args.output),
        Bundle::Inspect(args) => (Command::BundleInspect, args.output),
    }
}

/// Opens what was named. Blocks.
fn open(paths: &[PathBuf]) -> Result<bundle::Bundle, Failure> {
    let [path] = paths else { return Err(Failure::new(Kind::Usage, "one bundle at a time")) };
    bundle::Bundle::open(path).map_err(|error| error.failure())
}
