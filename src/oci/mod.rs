//! The vocabulary of the OCI specifications: names, digests, platforms, descriptors and manifests.
//!
//! No I/O. Input from outside (a reference on the command line, a digest in a manifest) is parsed into one of these
//! types before it becomes part of a URL or a path.

pub mod chart;
pub mod descriptor;
pub mod digest;
pub mod manifest;
pub mod mapping;
pub mod media_type;
pub mod platform;
pub mod reference;
pub mod verified;

pub use chart::{ArtifactKind, ChartArtifact, ChartIdentity};
pub use descriptor::Descriptor;
pub use digest::{Algorithm, Digest, Hasher};
pub use manifest::{Contents, RawManifest};
pub use mapping::{Mapping, Naming};
pub use media_type::MediaType;
pub use platform::Platform;
pub use reference::{Reference, Repository, Target};
