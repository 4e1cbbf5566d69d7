//! Bundles: OCI image layouts as one tar, as volumes of one, or as a folder (OCI image specification, "Image Layout").
//!
//! # The format
//!
//! A bundle of ours is a plain tar whose bytes depend on the images alone: `oci-layout`, a flat `index.json` that names
//! every image in full, `thoras-mirror.lock`, then manifests, configs and layers, each by digest. What the head says
//! fixes the place of every blob, so blobs can be written and read in any order, in parallel, without a second copy.
//! The bundle's id is the digest of `index.json`, which names the lock's digest too: it vouches for both.
//!
//! # The map
//!
//! | what | where |
//! |---|---|
//! | the files of a layout, by name | `names` |
//! | one entry's head in a tar | `header` |
//! | which images there are | [`index`] |
//! | what can be reached from them | `closure` |
//! | index, lock and manifests together | `head` |
//! | the place of everything in a bundle of ours | `layout` |
//! | the place of everything in anybody's tar | `scan` |
//! | one file or many as one range of bytes | `slices` |
//! | files that are volumes of a tar | [`volumes`] |
//! | blobs in a tar or a folder | `storage` |
//! | what is missing or damaged, without reading blobs | `completeness` |
//! | an opened bundle, which is a [`Source`](super::Source) | `reader` |
//! | a bundle as it is going to be | `draft` |
//! | the files it is written to | `output` |
//! | what an earlier run left of it | `partial`, with `moves` and `hashing` |
//! | writing it in order | [`stream`] |
//! | writing it, as a [`Destination`](super::Destination) | `writer`, each blob through a `sink` |
//!
//! Nothing is ever unpacked, so no name in an archive ever becomes a path on this machine.

pub(crate) mod closure;
pub(crate) mod completeness;
mod draft;
mod error;
pub(crate) mod hashing;
pub(crate) mod head;
pub(crate) mod header;
mod incoming;
pub mod index;
pub(crate) mod layout;
mod moves;
mod names;
mod output;
mod partial;
mod reader;
mod scan;
mod sink;
pub(crate) mod slices;
pub(crate) mod storage;
pub mod stream;
#[cfg(test)]
pub(crate) mod tests;
pub mod volumes;
mod writer;

pub use self::{
    draft::{Draft, Expectation, tag_of},
    error::BundleError,
    hashing::Meter,
    head::Head,
    header::{HeaderError, OtherFormat},
    incoming::{Incoming, Kept, Next},
    layout::{BlobEntry, Layout},
    names::NameError,
    output::Output,
    reader::Bundle,
    slices::{Extent, Part, Slices},
    storage::BlobReader,
    writer::Writer,
};
