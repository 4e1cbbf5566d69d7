//! One small file for each bundle command.

mod import;

use super::Session;
use crate::{
    cli::Bundle,
    error::Failure,
    report::{self, Format},
};

pub(super) async fn run(command: Bundle, session: &Session) -> Result<u8, Failure> {
    match command {
        Bundle::Import(args) => import::run(*args, session).await,
    }
}

pub(super) fn describe(command: &Bundle) -> (report::Command, Format) {
    match command {
        Bundle::Import(args) => (report::Command::BundleImport, args.output),
    }
}
