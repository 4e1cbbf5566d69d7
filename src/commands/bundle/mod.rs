//! `bundle`: images in one file, across an air gap.

mod inspect;
mod verify;

use super::Session;
use crate::{
    cli::Bundle,
    error::Failure,
    report::{Command, Format},
};

pub(super) async fn run(command: Bundle, session: &Session) -> Result<u8, Failure> {
    match command {
        Bundle::Verify(args) => verify::run(*args, session).await,
        Bundle::Inspect(args) => inspect::run(*args, session).await,
    }
}

pub(super) fn describe(command: &Bundle) -> (Command, Format) {
    match command {
        Bundle::Verify(args) => (Command::BundleVerify, args.output),
        Bundle::Inspect(args) => (Command::BundleInspect, args.output),
    }
}

/// Opens what was named. Blocks.
fn open(paths: &[std::path::PathBuf]) -> Result<crate::endpoint::bundle::Bundle, Failure> {
    let [path] = paths else {
        return Err(Failure::new(crate::error::Kind::Usage, "one bundle at a time"));
    };
    crate::endpoint::bundle::Bundle::open(path).map_err(|error| error.failure())
}
