//! `images`: what would be mirrored, and why each image is there.

use super::{Session, enumerate};
use crate::{
    cli::Images,
    error::Failure,
    report::{Presentation, present},
};

pub(super) async fn run(args: Images, session: &Session) -> Result<u8, Failure> {
    let found = enumerate(&args.selection, session).await?;
    session.reporter.finish();
    let document = found.into();
    let presentation = Presentation::new(args.output.into(), session.verbosity);
    present(&document, Presentation { why: args.why, ..presentation })?;
    Ok(document.exit_code())
}
