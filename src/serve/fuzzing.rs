//! Access to private parsers for the targets in `fuzz/`. Not part of the public API.

use super::{
    range::{self, Selection},
    routes::Route,
};

/// The repository in the path of a request, if any.
#[must_use]
pub fn repository(path: &str) -> Option<String> {
    let route = Route::parse(path).ok()?;
    route.repository().map(|name| name.as_str().to_owned())
}

/// The first and the last byte that a `Range` selects from content of this size, if it selects a part.
#[must_use]
pub fn range(header: &str, size: u64) -> Option<(u64, u64)> {
    match range::select(Some(header), size) {
        Selection::Part(span) => Some((span.start, span.end)),
        Selection::Whole | Selection::Unsatisfiable => None,
    }
}

/// The first and the last byte of a chunk's `Content-Range`.
#[must_use]
pub fn chunk(header: &str) -> Option<(u64, u64)> {
    range::chunk(header).map(|span| (span.start, span.end))
}
