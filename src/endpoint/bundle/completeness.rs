//! Checks whether a bundle is complete without reading its blobs, before anything is copied.

use std::{collections::HashSet, convert::Infallible, io};

use super::{
    Bundle, BundleError, Head,
    header::{self, END},
    layout::BlobEntry,
};
use crate::{
    graph::{self, Reachable},
    oci::{Descriptor, Digest, manifest::ManifestError},
    problem::{ArchivePart, Problem},
};

/// The content of an image, and the problems of its manifests.
struct ImageContents {
    manifests: Vec<Descriptor>,
    blobs: Vec<Descriptor>,
    problems: Vec<Problem>,
}

impl Head {
    /// Every blob that an image needs, once, as far as its manifests are present. Foreign layers count only if the
    /// bundle includes them.
    pub(crate) fn blobs_below(&self, root: &Descriptor) -> Vec<Descriptor> {
        self.contents(root).blobs
    }

    /// The problems of an image's manifests.
    pub(crate) fn manifest_problems(&self, root: &Descriptor) -> Vec<Problem> {
        self.contents(root).problems
    }

    /// The problems of the attachments of an image.
    pub(crate) fn attached_problems(&self, root: &Descriptor) -> Vec<Problem> {
        let own = self.contents_below(root).problems.len();
        self.contents(root).problems.split_off(own)
    }

    /// The manifests below an image's root, without the root.
    pub(crate) fn manifests_below(&self, root: &Descriptor) -> Vec<Digest> {
        let manifests = self.contents_below(root).manifests.into_iter().map(|manifest| manifest.digest);
        manifests.filter(|digest| *digest != root.digest).collect()
    }

    /// Whether a manifest refers to another manifest, as signatures do.
    pub(crate) fn has_subject(&self, digest: &Digest) -> bool {
        let contents = self.closure.manifests.get(digest).and_then(|manifest| manifest.contents().ok());
        contents.is_some_and(|contents| graph::subject(&contents).is_some())
    }

    /// The content of an image with its attachments, and those of the attachments in turn.
    fn contents(&self, root: &Descriptor) -> ImageContents {
        let mut all = self.contents_below(root);
        let (mut manifests, mut blobs): (HashSet<Digest>, HashSet<Digest>) = (
            all.manifests.iter().map(|manifest| manifest.digest.clone()).collect(),
            all.blobs.iter().map(|blob| blob.digest.clone()).collect(),
        );
        let mut subjects: Vec<Digest> = manifests.iter().cloned().collect();
        subjects.sort();
        while let Some(subject) = subjects.pop() {
            for attachment in self.attachments.anywhere(&subject) {
                if manifests.contains(&attachment.descriptor.digest) {
                    continue;
                }
                let more = self.contents_below(&attachment.descriptor);
                for manifest in more.manifests {
                    if manifests.insert(manifest.digest.clone()) {
                        subjects.push(manifest.digest.clone());
                        all.manifests.push(manifest);
                    }
                }
                all.blobs.extend(more.blobs.into_iter().filter(|blob| blobs.insert(blob.digest.clone())));
                all.problems.extend(more.problems);
            }
        }
        all
    }

    fn contents_below(&self, root: &Descriptor) -> ImageContents {
        let mut problems = Vec::new();
        let bad = |manifest: &Descriptor, error: ManifestError| Problem::BadManifest {
            digest: manifest.digest.clone(),
            reason: error.to_string(),
        };
        let reached = graph::reachable(root, |manifest| {
            let missing = || Problem::MissingManifest {
                digest: manifest.digest.clone(),
                platform: manifest.platform.clone(),
            };
            let found = match self.manifest(&manifest.digest) {
                Ok(Some(found)) => found,
                Ok(None) => {
                    problems.push(missing());
                    return Ok::<_, Infallible>(None);
                }
                Err(error) => {
                    problems.push(bad(manifest, error));
                    return Ok(None);
                }
            };
            if manifest == root {
                problems.extend(found.check_size(root).err().map(|error| bad(root, error)));
            }
            let contents = found.contents().map_err(|error| problems.push(bad(manifest, error)));
            Ok(contents.ok())
        });
        let Ok(Reachable { manifests, mut blobs }) = reached;
        blobs.retain(|blob| self.closure.foreign_layers.admit(blob));
        ImageContents { manifests, blobs, problems }
    }
}

impl Bundle {
    /// Every problem of an image. Blobs that a delta leaves out do not count as missing.
    pub(crate) fn problems(&self, root: &Descriptor) -> Result<Vec<Problem>, BundleError> {
        let ImageContents { blobs, mut problems, .. } = self.head().contents(root);
        let left_out = self.head().absent();
        for blob in blobs.into_iter().filter(|blob| !left_out.contains(&blob.digest)) {
            problems.extend(self.blob_problem(blob)?);
        }
        Ok(problems)
    }

    fn blob_problem(&self, blob: Descriptor) -> Result<Option<Problem>, BundleError> {
        let Descriptor { digest, size: expected, .. } = blob;
        let Some(reader) = self.blob(&digest)? else {
            return Ok(Some(Problem::MissingBlob { digest, size: expected }));
        };
        let size = reader.size();
        let found = if size == expected { reader.before_the_end() } else { size };
        if found != expected {
            return Ok(Some(Problem::WrongSize { digest, expected, found }));
        }
        let volumes = reader.absent();
        if !volumes.is_empty() {
            return Ok(Some(unreadable_without(digest, volumes)));
        }
        // A read error will occur again when the blob itself is read.
        Ok(self.entry_problems(&digest).find_map(Result::ok))
    }

    /// Where the header and the padding of a blob differ from what was written, as far as they are present. Only for
    /// bundles of this program: what other programs wrote is unknown.
    pub(crate) fn entry_problems(&self, digest: &Digest) -> impl Iterator<Item = io::Result<Problem>> {
        let entry = self.layout().and_then(|layout| layout.blob(digest));
        let parts = self.slices().zip(entry).map(|(slices, entry)| {
            framing(entry).map(move |(part, offset, written)| slices.first_alteration(part, &written, offset))
        });
        parts.into_iter().flatten().filter_map(io::Result::transpose)
    }

    /// The error of an archive that ends before or within a blob. Only for bundles of this program: the length of other
    /// archives is unknown.
    pub(crate) fn truncation(&self) -> Option<BundleError> {
        let (layout, slices) = self.layout().zip(self.slices())?;
        let found = slices.length();
        let blob = layout.blobs().iter().find(|entry| entry.extent.end() > found)?;
        Some(BundleError::EndsEarly {
            path: self.path().to_owned(),
            found,
            expected: layout.length(),
            blob: blob.blob.digest.clone(),
        })
    }

    /// The problem at the end of the archive. Only for bundles of this program: the end of other archives is unknown.
    pub(crate) fn end_problems(&self) -> Result<Vec<Problem>, BundleError> {
        let Some((layout, slices)) = self.layout().zip(self.slices()) else { return Ok(Vec::new()) };
        let (found, expected) = (slices.length(), layout.length());
        if found < expected {
            return Ok(vec![Problem::TruncatedArchive { missing: expected - found }]);
        }
        let trailing =
            (found > expected).then(|| Problem::TrailingBytes { offset: expected, count: found - expected });
        let altered =
            slices.first_alteration(ArchivePart::EndMark, &header::END_MARK, expected.saturating_sub(END));
        let altered = altered.map_err(|error| BundleError::unreadable(self.path(), error))?;
        Ok(trailing.into_iter().chain(altered).collect())
    }

    /// The damage at the end of the archive, if any. Extra bytes after its end do no harm.
    pub(crate) fn end_damage(&self) -> Result<Option<Problem>, BundleError> {
        let problems = self.end_problems()?;
        Ok(problems.into_iter().find(|problem| !matches!(problem, Problem::TrailingBytes { .. })))
    }
}

/// A blob of which these volumes are missing.
pub(crate) fn unreadable_without(digest: Digest, volumes: Vec<String>) -> Problem {
    let reason = BundleError::Absent { names: volumes.clone() }.to_string();
    Problem::UnreadableBlob { digest, reason, volumes }
}

/// The header and the padding of a blob's entry: what they are, where they belong, and their bytes.
fn framing(entry: &BlobEntry) -> impl Iterator<Item = (ArchivePart, u64, Vec<u8>)> + use<> {
    let blob = entry.blob.digest.clone();
    let header = entry.header();
    let before = entry.extent.offset.saturating_sub(header.len() as u64);
    let padding = vec![0; usize::try_from(header::padding(entry.extent.size)).unwrap_or_default()];
    [
        (ArchivePart::Header { blob: blob.clone() }, before, header),
        (ArchivePart::Padding { blob }, entry.extent.end(), padding),
    ]
    .into_iter()
}
