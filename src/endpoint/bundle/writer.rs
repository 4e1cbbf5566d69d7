//! Writes a bundle: blobs go directly into place, in any order, in parallel, each once.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, stream};

use super::{
    draft::Draft,
    error::BundleError,
    hashing::{self, Meter},
    output::{self, Output},
    partial::Partial,
    sink::{Sink, WrittenBlobs},
    slices::Extent,
    storage::BlobReader,
    volumes::{self, Volume, VolumeSet},
};
use crate::{
    atomic_file::sync_folder,
    endpoint::{Begun, BlobStream, Cause, Destination, Error, Location, Operation, Source},
    oci::{Attachment, Descriptor, Digest, RawManifest, Reference, Repository, Target},
    problem::Side,
};

/// A bundle that is being written, as a [`Destination`]. Its head already contains manifests and tags; only blobs are
/// written. A tag becomes visible once everything below it is in place.
#[derive(Debug)]
pub(crate) struct Writer {
    output: Output,
    draft: Draft,
    partial: Partial,
    written_blobs: WrittenBlobs,
    /// Visible tags: everything below them is in place.
    tags: Mutex<HashSet<(Repository, Target)>>,
    changed: Vec<(Reference, Digest, Digest)>,
    kept: u64,
}

impl Writer {
    /// Opens the output and keeps intact content of an earlier run. Blocks.
    pub(crate) fn open(output: Output, draft: Draft, meter: &Meter) -> Result<Self, BundleError> {
        let mut partial = Partial::open(&output, &draft, meter)?;
        let mut complete = std::mem::take(&mut partial.complete);
        let mut started = std::mem::take(&mut partial.started);
        let sizes =
            complete.iter().filter_map(|digest| draft.layout.blob(digest)).map(|entry| entry.extent.size);
        let kept = sizes.chain(started.values().map(|(there, _)| *there)).sum();
        let changed = changed(&partial, &draft);
        for (digest, bytes) in &draft.trust_blobs {
            let Some(entry) = draft.layout.blob(digest) else { continue };
            let written = partial.slices.write_all_at(bytes, entry.extent.offset);
            written.map_err(|error| BundleError::unwritable(&output.path, error))?;
            started.remove(digest);
            complete.insert(digest.clone());
        }
        Ok(Self {
            output,
            draft,
            partial,
            written_blobs: WrittenBlobs::new(complete, started),
            tags: Mutex::default(),
            changed,
            kept,
        })
    }

    /// References that pointed to another image when the earlier run began: reference, old digest, new digest.
    #[must_use]
    pub(crate) fn changed(&self) -> &[(Reference, Digest, Digest)] {
        &self.changed
    }

    /// The number of bytes of blobs kept from an earlier run.
    #[must_use]
    pub(crate) fn kept(&self) -> u64 {
        self.kept
    }

    /// Waits until no transfer uses the files. One that was stopped may do so for a moment, and the files stay locked.
    pub(crate) async fn transfers_ended(&self) {
        while self.partial.slices.users() > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The draft that is being written.
    #[must_use]
    pub(crate) fn draft(&self) -> &Draft {
        &self.draft
    }

    /// Reads everything back and returns the blobs that are damaged. Blocks.
    ///
    /// A blob that this run wrote had the right digest at that time, so its checksum is enough.
    ///
    /// # Errors
    /// When the bytes around the blobs are damaged, which affects every image.
    pub(crate) fn read_back(&self, meter: &Meter) -> Result<Vec<Digest>, BundleError> {
        let unreadable = |error| BundleError::unreadable(&self.output.path, error);
        if !self.draft.layout.frame_is_at(&self.partial.slices).map_err(unreadable)? {
            return Err(BundleError::Damaged { path: self.output.path.clone() });
        }
        let checked = hashing::on_every_core(self.draft.layout.blobs().iter().collect(), |entry| {
            let reader = BlobReader::new(self.partial.slices.clone(), entry.extent);
            let is_intact = match self.written_blobs.checksum(&entry.blob.digest) {
                Some(written) => hashing::checksum(&reader, meter).is_ok_and(|found| found == written),
                None => hashing::is_intact(&reader, &entry.blob.digest, meter),
            };
            (!is_intact).then(|| entry.blob.digest.clone())
        });
        Ok(checked.into_iter().flatten().collect())
    }

    /// Syncs everything and gives the files their names; volumes are read back and described by an index. Blocks.
    pub(crate) fn finish(self, meter: &Meter) -> Result<Vec<PathBuf>, BundleError> {
        let unwritable = |path: &Path, error| BundleError::unwritable(path, error);
        let slices = &self.partial.slices;
        slices.files().try_for_each(File::sync_all).map_err(|error| unwritable(&self.output.path, error))?;
        let index = self.output.volume.map(|_| self.volumes(meter)).transpose();
        let index = index.map_err(|error| unwritable(&self.output.path, error))?;
        let older = match &index {
            Some(_) => output::forget_index(&self.output.index())?,
            None => Vec::new(),
        };
        for file in &self.partial.files {
            fs::rename(&file.partial, &file.whole).map_err(|error| unwritable(&file.whole, error))?;
        }
        let folder = self.output.folder();
        sync_folder(folder).map_err(|error| unwritable(folder, error))?;
        let mut files: Vec<PathBuf> = self.partial.files.into_iter().map(|file| file.whole).collect();
        if let Some(index) = index {
            for volume in older.iter().filter(|volume| !files.contains(volume)) {
                output::remove(volume)?;
            }
            let path = self.output.index();
            output::write_whole(&path, &index.to_bytes()).map_err(|error| unwritable(&path, error))?;
            files.push(path);
        }
        Ok(files)
    }

    /// Describes the volumes as they are on the disk now.
    fn volumes(&self, meter: &Meter) -> io::Result<VolumeSet> {
        let mut end = 0;
        let ranges = self.partial.files.iter().map(|file| {
            let offset = end;
            end += file.size;
            (file, Extent { offset, size: file.size })
        });
        let described = hashing::on_every_core(ranges.collect(), |(file, extent)| {
            let reader = BlobReader::new(self.partial.slices.clone(), extent);
            let hash = |length| {
                hashing::hash(&reader, self.draft.id(), length, meter).map(crate::oci::Hasher::finish)
            };
            let name = file.whole.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let (sha256, beginning) = (hash(extent.size)?, hash(extent.size.min(volumes::BEGINNING))?);
            Ok(Volume { name, offset: extent.offset, size: extent.size, sha256, beginning })
        });
        let described = described.into_iter().collect::<io::Result<_>>()?;
        let (layout, id) = (self.draft.layout(), self.draft.id().clone());
        let is_small = layout.head_length() <= volumes::MAX_HEAD_SIZE as u64;
        let head = if is_small { layout.head()? } else { Bytes::new() };
        Ok(VolumeSet::new(id, layout.length(), head, described))
    }

    fn tags(&self) -> MutexGuard<'_, HashSet<(Repository, Target)>> {
        self.tags.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(operation: Operation, location: String, cause: impl Into<Cause>) -> Error {
        Error::new(operation, Side::Destination, location, cause)
    }
}

/// The references whose digests differ from those in the earlier run's head.
fn changed(partial: &Partial, draft: &Draft) -> Vec<(Reference, Digest, Digest)> {
    let Some(earlier) = &partial.earlier else { return Vec::new() };
    let then: HashMap<&Reference, &Digest> = earlier
        .index
        .images
        .iter()
        .filter_map(|image| Some((image.reference.as_ref()?, &image.root.digest)))
        .collect();
    let moved = |(reference, now): &(Reference, Digest)| {
        let then = then.get(reference).filter(|then| **then != now)?;
        Some((reference.clone(), (*then).clone(), now.clone()))
    };
    draft.images().iter().filter_map(moved).collect()
}

impl Source for Writer {
    fn side(&self) -> Side {
        Side::Destination
    }

    async fn digest(&self, repository: &Repository, tag: &str) -> Result<Option<Digest>, Error> {
        let tag = (repository.clone(), Target::Tag(tag.to_owned()));
        let is_visible = self.tags().contains(&tag);
        Ok(self.draft.roots.get(&tag).filter(|_| is_visible).cloned())
    }

    async fn manifest(&self, repository: &Repository, target: &Target) -> Result<Option<RawManifest>, Error> {
        let tag = (repository.clone(), target.clone());
        let is_visible = self.tags().contains(&tag);
        let named = self.draft.roots.get(&tag).filter(|_| is_visible);
        let digest = match (target, named) {
            (Target::Digest(digest), _) | (_, Some(digest)) => digest,
            (Target::Tag(_), None) => return Ok(None),
        };
        Ok(self.draft.manifests.get(digest).cloned())
    }

    async fn blob_size(&self, _: &Repository, digest: &Digest) -> Result<Option<u64>, Error> {
        let is_there = self.written_blobs.has(digest);
        let entry = self.draft.layout.blob(digest);
        Ok(match entry {
            Some(entry) => is_there.then_some(entry.extent.size),
            // A delta leaves it out, because its destination has it.
            None => self.draft.absent.get(digest).copied(),
        })
    }

    async fn open_blob(&self, _: &Repository, blob: &Descriptor, offset: u64) -> Result<BlobStream, Error> {
        let name = format!("{}@{}", self.output.path.display(), blob.digest);
        let location = Location::new(Operation::ReadBlob, Side::Destination, name);
        match self.draft.layout.blob(&blob.digest) {
            Some(entry) => {
                Ok(BlobReader::new(self.partial.slices.clone(), entry.extent).stream(offset, location))
            }
            // A delta leaves it out. The config of an image without an index names its platform.
            None => match self.draft.absent_configs.get(&blob.digest) {
                Some(config) => {
                    let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(config.len());
                    Ok(stream::iter([Ok(config.slice(offset..))]).boxed())
                }
                None => Err(location.error(Cause::NoSuchBlob)),
            },
        }
    }

    async fn attachments(&self, repository: &Repository, subject: &Digest) -> Result<Vec<Attachment>, Error> {
        let attached = self.draft.attached.get(&(repository.clone(), subject.clone()));
        Ok(attached.cloned().unwrap_or_default())
    }
}

impl Destination for Writer {
    type Sink = Sink;

    async fn begin_blob(
        &self,
        _: &Repository,
        blob: &Descriptor,
        _: Option<&Repository>,
    ) -> Result<Begun<Sink>, Error> {
        if self.draft.absent.contains_key(&blob.digest) {
            return Ok(Begun::Present);
        }
        let location = format!("{}@{}", self.output.path.display(), blob.digest);
        let Some(entry) = self.draft.layout.blob(&blob.digest) else {
            let error = BundleError::Changed { reference: location.clone(), found: blob.digest.clone() };
            return Err(Self::error(Operation::BeginUpload, location, error));
        };
        let sink = Sink::open(&self.written_blobs, entry, self.partial.slices.clone(), location);
        Ok(sink.map_or(Begun::Present, Begun::Wanted))
    }

    async fn put_manifest(
        &self,
        repository: &Repository,
        target: &Target,
        manifest: &RawManifest,
    ) -> Result<(), Error> {
        // Either the head contains it, or the image changed after the bundle was laid out.
        let tag = (repository.clone(), target.clone());
        let named = self.draft.roots.get(&tag);
        let fits = self.draft.manifests.contains_key(manifest.digest())
            && (matches!(target, Target::Digest(_)) || named == Some(manifest.digest()));
        if fits {
            self.tags().insert(tag);
            return Ok(());
        }
        let location = format!("{repository}:{target}");
        let error = BundleError::Changed { reference: location.clone(), found: manifest.digest().clone() };
        Err(Self::error(Operation::PushManifest, location, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        graph::ForeignLayers,
        lock::{Lock, Placement},
    };

    /// As when one blob of an image fails while another is being written.
    #[tokio::test]
    async fn the_files_can_be_opened_again_once_stopped_transfers_have_ended() {
        let lock = Lock::new(None, Placement::default(), &[], ForeignLayers::Optional, &[]);
        let folder = tempfile::tempdir().unwrap();
        let open = || {
            let output = Output { path: folder.path().join("b.tar"), volume: None };
            Writer::open(output, Draft::new(&[], &lock, &HashSet::new()), &Meter::default())
        };
        for waits in [false, true] {
            let writer = open().unwrap();
            let slices = writer.partial.slices.clone();
            let transfer = tokio::spawn(async move {
                let _slices = slices;
                std::future::pending::<()>().await;
            });
            tokio::task::yield_now().await;
            transfer.abort();
            if waits {
                writer.transfers_ended().await;
            }
            drop(writer);
            assert_eq!(open().is_ok(), waits);
            tokio::task::yield_now().await;
        }
    }
}
