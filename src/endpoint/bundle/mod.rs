//! Bundles: OCI image layouts as one tar, as volumes of one, or as a folder (OCI image specification, "Image Layout").
//!
//! ```
//! use thoras_mirror::endpoint::bundle::Bundle;
//!
//! let bundle = Bundle::open("testdata/lock-v1/bundle.tar")?;
//! for image in &bundle.head().index.images {
//!     println!("{} {}", image.handle, image.root.digest);
//! }
//! # assert_eq!(bundle.head().index.images.len(), 3);
//! # Ok::<(), thoras_mirror::endpoint::bundle::BundleError>(())
//! ```
//!
//! An opened bundle is a [`Source`](super::Source), so [`mirror`](crate::pipeline::mirror()) pushes its images as it
//! would those of a registry.
//!
//! # The format
//!
//! A bundle that this program writes is a plain tar whose bytes depend only on the images: `oci-layout`, a flat
//! `index.json` that names every image in full and lists their attachments (untagged, as oras does; under its full
//! name if a tag attaches it), `thoras-mirror.lock`, then manifests, the files of `--trust`, configs and layers, each by
//! digest. The head (all but configs and layers) determines the offset of every blob, so blobs are written and read in
//! any order, in parallel, without a second copy. The bundle's id is the digest of `index.json`, which contains the
//! lock's digest, so it covers both.
//!
//! # The map
//!
//! | what | where |
//! |---|---|
//! | the files of a layout, by name | `names` |
//! | the header of a tar entry | `header` |
//! | which images there are | [`index`] |
//! | signatures, SBOMs and other attachments | `attachments` |
//! | what is reachable from them | `closure` |
//! | index, lock and manifests together | `head` |
//! | where everything is in a bundle of this program | `layout` |
//! | a large file before the blobs, which is not kept in memory | `content` |
//! | where everything is in any tar | `scan` |
//! | several files as a single range of bytes | `slices` |
//! | files that are volumes of a tar | [`volumes`] |
//! | blobs in a tar or a folder | `storage` |
//! | what is missing or damaged, without reading blobs | `completeness` |
//! | a large folder, of which only the index is read | `unread` |
//! | opening a bundle: which program wrote it | `open` |
//! | what a file or folder is if it is not a bundle | `other_kinds` |
//! | an open bundle, as a [`Source`](super::Source) | `reader` |
//! | a bundle before it is written | `draft` |
//! | the files it is written to | `output` |
//! | resuming an unfinished bundle | `partial`, with `relocation` and `hashing` |
//! | writing it in order | [`stream`] |
//! | reading it from a pipe | `incoming` |
//! | who wrote it | `signature` |
//! | trust files: public keys, trusted roots, policies | `trust` |
//! | writing it as a [`Destination`](super::Destination) | `writer`, each blob through a `sink` |
//!
//! Nothing is unpacked, so no name in an archive ever becomes a path on this machine.

pub(crate) mod attachments;
pub(crate) mod closure;
pub(crate) mod completeness;
pub(crate) mod content;
pub(crate) mod draft;
mod error;
pub(crate) mod hashing;
pub(crate) mod head;
pub(crate) mod header;
pub(crate) mod incoming;
pub(crate) mod index;
pub(crate) mod layout;
mod names;
mod open;
mod other_kinds;
mod output;
mod partial;
mod reader;
mod relocation;
mod scan;
mod signature;
mod sink;
pub(crate) mod slices;
pub(crate) mod storage;
pub(crate) mod stream;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod trust;
mod unread;
pub(crate) mod volumes;
mod writer;

pub(crate) use self::{
    draft::{Draft, tag_of},
    hashing::Meter,
    incoming::Incoming,
    index::IndexDocument,
    layout::Layout,
    other_kinds::of_folder as why_not_a_layout,
    output::{Output, with_suffix},
    signature::{SUFFIX as SIGNATURE_SUFFIX, signature_files},
    slices::Slices,
    storage::Storage,
    unread::UnreadLayout,
    writer::Writer,
};
pub use self::{
    error::BundleError,
    head::Head,
    header::{HeaderError, OtherFormat},
    index::{Index, IndexEntry},
    names::NameError,
    reader::Bundle,
    signature::IndexSignature,
    storage::BlobReader,
    volumes::VolumeError,
};
pub use crate::signing::KeyError;
