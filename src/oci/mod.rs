//! The vocabulary of the OCI specifications: names, digests, platforms, descriptors and manifests.
//!
//! No I/O. Input from outside (a reference on the command line, a digest in a manifest) is parsed into one of these
//! types before it becomes part of a URL or a path.

mod artifact_kind;
pub mod attachment;
pub(crate) mod attachment_kind;
pub(crate) mod chart;
pub(crate) mod descriptor;
pub(crate) mod digest;
pub(crate) mod json_problem;
pub(crate) mod manifest;
pub(crate) mod mapping;
pub mod media_type;
pub(crate) mod platform;
pub(crate) mod reference;
pub(crate) mod referrer;
mod sizes;
pub(crate) mod verified;

pub(crate) use self::chart::ChartArtifact;
pub use self::{
    artifact_kind::ArtifactKind,
    attachment::{Attachment, Link},
    attachment_kind::AttachmentKind,
    chart::ChartIdentity,
    descriptor::{Descriptor, InlineData, Urls},
    digest::{Algorithm, Digest, DigestError, Hasher},
    manifest::{Contents, ManifestError, RawManifest},
    mapping::{Mapping, MappingError, Namer, Naming, Root},
    media_type::MediaType,
    platform::{Platform, PlatformError},
    reference::{Reference, ReferenceError, Repository, Target},
    sizes::Sizes,
    verified::{DigestVerifier, Mismatch},
};

/// The longest part of a text that an error quotes, in characters: a file that is not a list may be one long line.
const MAX_QUOTED: usize = 300;

/// A text as errors quote it: escaped and, if it is long, cut off.
fn quoted(text: &str) -> String {
    truncated(text, MAX_QUOTED, |text| text.escape_debug().to_string())
}

/// At most `most` characters of a text, as `show` shows them, with an ellipsis if more follow.
pub(crate) fn truncated(text: &str, most: usize, show: impl Fn(&str) -> String) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => show(text.get(..end).unwrap_or_default()) + "…",
        None => show(text),
    }
}
