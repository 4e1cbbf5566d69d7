//! What an image of a bundle lacks, as far as it can be told without reading blobs: asked before anything is copied.

use std::{convert::Infallible, fmt, io};

use super::{
    Bundle, BundleError, Head, Layout, Slices,
    header::{self, END},
    layout::BlobEntry,
};
use crate::{
    graph::{self, Reachable},
    oci::{Descriptor, Digest, manifest::ManifestError},
};

/// Something that an image needs and that the bundle does not have, or not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// A manifest that is named is not there.
    Manifest(Digest),
    /// A manifest is there and cannot be used.
    Damaged(Digest, ManifestError),
    /// A blob that a manifest names is not there.
    Blob(Digest),
    /// A blob has another size in bytes than its manifest says.
    Size {
        /// The blob.
        digest: Digest,
        /// What the manifest says.
        expected: u64,
        /// What the bundle has.
        found: u64,
    },
    /// The bundle ends before the blob does.
    CutOff(Digest),
    /// The archive differs from what was written in front of a blob or behind it.
    Altered {
        /// The blob.
        digest: Digest,
        /// The place in the archive.
        offset: u64,
    },
    /// A blob lies in volumes that are not there.
    Volumes {
        /// The blob.
        digest: Digest,
        /// The volumes.
        names: Vec<String>,
    },
}

impl fmt::Display for Lack {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest(digest) => write!(formatter, "manifest {digest} is not in it"),
            Self::Damaged(_, error) => write!(formatter, "{error}"),
            Self::Blob(digest) => write!(formatter, "blob {digest} is not in it"),
            Self::Size { digest, expected, found } => {
                write!(formatter, "blob {digest} has {found} bytes instead of {expected}")
            }
            Self::CutOff(digest) => write!(formatter, "blob {digest} is cut off"),
            Self::Altered { digest, offset } => {
                write!(formatter, "byte {offset} beside blob {digest} is not as it was written")
            }
            Self::Volumes { digest, names } => {
                write!(formatter, "blob {digest} lies in {}, which is not there", names.join(" and "))
            }
        }
    }
}

/// What can be reached from an image's root.
struct Contents {
    manifests: Vec<Descriptor>,
    blobs: Vec<Descriptor>,
    lacks: Vec<Lack>,
}

impl Head {
    /// Every blob that an image needs, once, as far as its manifests are there. Foreign layers are left out.
    #[must_use]
    pub fn blobs_below(&self, root: &Descriptor) -> Vec<Descriptor> {
        self.contents(root).blobs
    }

    /// What an image lacks of its manifests.
    #[must_use]
    pub fn manifest_lacks(&self, root: &Descriptor) -> Vec<Lack> {
        self.contents(root).lacks
    }

    /// The manifests below an image's root, itself left out.
    #[must_use]
    pub fn manifests_below(&self, root: &Descriptor) -> Vec<Digest> {
        let manifests = self.contents(root).manifests.into_iter().map(|manifest| manifest.digest);
        manifests.filter(|digest| *digest != root.digest).collect()
    }

    /// Whether a manifest is about another one: a signature, for example.
    #[must_use]
    pub fn has_subject(&self, digest: &Digest) -> bool {
        let contents = self.closure.manifests.get(digest).and_then(|manifest| manifest.contents().ok());
        contents.is_some_and(|contents| graph::subject(&contents).is_some())
    }

    fn contents(&self, root: &Descriptor) -> Contents {
        let mut lacks = Vec::new();
        let read = |manifest: &Descriptor| {
            let read = self.manifest(&manifest.digest).and_then(|found| {
                found.map(|found| Ok((found.check_size(root), found.contents()?))).transpose()
            });
            match read {
                Ok(Some((size, contents))) => {
                    if manifest == root {
                        lacks.extend(size.err().map(|error| Lack::Damaged(root.digest.clone(), error)));
                    }
                    return Ok::<_, Infallible>(Some(contents));
                }
                Ok(None) => lacks.push(Lack::Manifest(manifest.digest.clone())),
                Err(error) => lacks.push(Lack::Damaged(manifest.digest.clone(), error)),
            }
            Ok(None)
        };
        let Ok(Reachable { manifests, mut blobs }) = graph::reachable(root, read);
        blobs.retain(|blob| self.closure.foreign_layers.admit(blob));
        Contents { manifests, blobs, lacks }
    }
}

impl Bundle {
    /// Everything that an image lacks. What a delta leaves out is no lack.
    pub fn lacks(&self, root: &Descriptor) -> Result<Vec<Lack>, BundleError> {
        let Contents { blobs, mut lacks, .. } = self.head().contents(root);
        let left_out = self.head().absent();
        for blob in blobs.into_iter().filter(|blob| !left_out.contains(&blob.digest)) {
            lacks.extend(self.lack(blob)?);
        }
        Ok(lacks)
    }

    fn lack(&self, blob: Descriptor) -> Result<Option<Lack>, BundleError> {
        let Descriptor { digest, size: expected, .. } = blob;
        let Some(reader) = self.blob(&digest)? else { return Ok(Some(Lack::Blob(digest))) };
        let found = reader.size();
        if found != expected {
            return Ok(Some(Lack::Size { digest, expected, found }));
        }
        if reader.is_cut_off() {
            return Ok(Some(Lack::CutOff(digest)));
        }
        let names = reader.absent();
        if !names.is_empty() {
            return Ok(Some(Lack::Volumes { digest, names }));
        }
        let entry = self.layout().and_then(|layout| layout.blob(&digest));
        // What cannot be read is found when the blob is.
        let altered = entry.and_then(|entry| altered_around(reader.slices(), entry).next()?.ok());
        Ok(altered.map(|(_, offset)| Lack::Altered { digest, offset }))
    }

    /// Whether the archive ends as it was written to end. Only of bundles of ours it is known how they should.
    pub fn has_end(&self) -> Result<bool, BundleError> {
        let (Some(length), Some(slices)) = (self.layout().map(Layout::length), self.slices()) else {
            return Ok(true);
        };
        if slices.length() < length {
            return Ok(false);
        }
        let altered = slices.first_difference(&header::END_MARK, length.saturating_sub(END));
        altered.map(|place| place.is_none()).map_err(|error| BundleError::unreadable(self.path(), error))
    }
}

/// What stands around a blob in an archive of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Around {
    Header,
    Padding,
}

/// Where the header and the padding of a blob begin to differ from what was written, as far as they are there.
pub(crate) fn altered_around(
    slices: &Slices,
    entry: &BlobEntry,
) -> impl Iterator<Item = io::Result<(Around, u64)>> {
    let before = entry.extent.offset.saturating_sub(entry.header.len() as u64);
    let padding = vec![0; usize::try_from(header::padding(entry.extent.size)).unwrap_or_default()];
    let parts =
        [(Around::Header, before, entry.header.clone()), (Around::Padding, entry.extent.end(), padding)];
    parts.into_iter().filter_map(|(part, offset, written)| {
        slices.first_difference(&written, offset).map(|place| Some((part, place?))).transpose()
    })
}
