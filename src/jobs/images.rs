//! `images`: what would be mirrored, and why each image is there.

use super::{Session, enumerate};
use crate::{
    cli::Images,
    error::Failure,
    report::{ImagesDocument, present_images},
};

pub(super) async fn run(args: Images, session: &Session) -> Result<u8, Failure> {
    let found = enumerate(&args.selection, session).await?;
    session.reporter.finish();
    let document = ImagesDocument::new(found);
    present_images(&document, args.output, args.why)?;
    Ok(0)
}
