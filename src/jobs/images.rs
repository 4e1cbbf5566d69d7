//! `images`: which images would be mirrored, and why.

use super::enumerate;
use crate::{enumerate::Enumeration, error::Failure, event::EventSink, request::Images};

pub(crate) async fn run(request: &Images, events: &dyn EventSink) -> Result<Enumeration, Failure> {
    enumerate(&request.selection, events).await
}
