//! `bundle`: images in a file, across an air gap.

mod base;
mod export;
mod import;
mod inspect;
pub(super) mod opening;
mod verify;

use super::Session;
use crate::{cli::Bundle, error::Failure, outcome::Command, report::Format};

pub(super) async fn run(command: Bundle, session: &Session) -> Result<u8, Failure> {
    match command {
        Bundle::Export(args) => export::run(*args, session).await,
        Bundle::Import(args) => import::run(*args, session).await,
        Bundle::Verify(args) => verify::run(*args, session).await,
        Bundle::Inspect(args) => inspect::run(*args, session).await,
    }
}

/// What a document calls the command, and the form of its answer.
pub(super) fn describe(command: &Bundle) -> (Command, Format) {
    match command {
        Bundle::Export(args) => (Command::BundleExport, args.format),
        Bundle::Import(args) => (Command::BundleImport, args.output),
        Bundle::Verify(args) => (Command::BundleVerify, args.output),
        Bundle::Inspect(args) => (Command::BundleInspect, args.output),
    }
}
