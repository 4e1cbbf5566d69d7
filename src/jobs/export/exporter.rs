//! Writes a bundle. Every image is resolved first, because the offset of every blob must be known before the first
//! byte is written. Then the blobs are copied as to any other destination, and the file is read back and renamed.

use std::{collections::HashSet, path::PathBuf, sync::Arc};

use tokio::io::AsyncWrite;

use super::{
    announce::{OwnerOfBlobs, ResolvingEvents},
    blocking::blocking,
    import_names::ImportNames,
    manifest_budget::{ManifestBudget, refuse_unreadable},
};
use crate::{
    confirm::Level,
    endpoint::{
        Error, Source,
        bundle::{
            self, Draft, Meter, Output, Writer, closure::most_manifest_bytes, content::Content,
            draft::Gathered, trust::TrustArtifact,
        },
        empty::EmptyDestination,
        pinned::PinnedSource,
    },
    error::{Failure, Kind},
    event::{Event, EventSink},
    graph::ManifestBytes,
    lock::{Base, Lock, Placement},
    oci::{ChartIdentity, Descriptor, Digest, Mapping, Reference},
    outcome::{Bytes, ImageOutcome, Mirrored, Status},
    pipeline::{Options, mirror},
    problem::Problem,
    units,
};

/// What a bundle's lock records in addition to the images.
#[derive(Debug, Clone)]
pub(super) struct BundleExtras {
    /// The chart that the images come from.
    pub(super) chart: Option<ChartIdentity>,
    /// How to name images where the bundle is imported.
    pub(super) placement: Placement,
    /// The blobs that the far side already has.
    pub(super) base: Option<Base>,
    /// Trust files: public keys, trusted roots and policies.
    pub(super) trust: Option<TrustArtifact>,
}

/// The result of an export.
#[derive(Debug)]
pub(super) struct Exported {
    /// The result of each image, in the order of the request.
    pub(super) mirrored: Vec<Mirrored>,
    /// The bundle; `None` if an image failed without `--keep-going`.
    pub(super) written: Option<Written>,
}

/// A complete bundle.
#[derive(Debug, Clone)]
pub(super) struct Written {
    /// Its id.
    pub(super) id: Digest,
    /// Its length in bytes.
    pub(super) length: u64,
    /// Its files; empty for a stream.
    pub(super) files: Vec<PathBuf>,
    /// Bytes of blobs kept from an interrupted export.
    pub(super) kept: u64,
    /// Bytes of blobs left out because the far side has them.
    pub(super) left_out: u64,
    /// The bytes of the lock that is in it.
    pub(super) lock: Content,
    /// Its `index.json`, which a signature signs.
    pub(super) index: bytes::Bytes,
}

/// Writes bundles of images.
pub(super) struct Exporter<S> {
    /// Where images come from.
    pub(super) source: Arc<S>,
    /// Platforms, waivers, and how many blobs are copied at once.
    pub(super) options: Options,
    /// What the lock records.
    pub(super) contents: BundleExtras,
    /// Whether to write a bundle without the images that failed.
    pub(super) keep_going: bool,
    /// Whether to replace files that are something else.
    pub(super) overwrite: bool,
    /// Receives the events.
    pub(super) events: Arc<dyn EventSink>,
}

impl<S: Source> Exporter<S> {
    /// Writes to files. Resumes an interrupted export, and keeps unfinished files for the next run.
    pub(super) async fn to_files(
        &self,
        references: Vec<Reference>,
        names: ImportNames,
        output: Output,
    ) -> Result<Exported, Failure> {
        let mut mirrored = self.resolve(references, names).await?;
        refuse_unreadable(&mirrored)?;
        let mut events = Arc::clone(&self.events);
        let mut kept = None;
        while ready(&mut mirrored).next().is_some() {
            // With --keep-going, the bundle may be laid out again without some images.
            let gathered = self.gather(&mut mirrored, self.keep_going);
            let lock = self.lock(&mirrored);
            let sources: Option<Vec<Reference>> =
                self.keep_going.then(|| lock.images.iter().map(|image| image.source.clone()).collect());
            let draft = self.draft(gathered, lock);
            let source = PinnedSource::new(Arc::clone(&self.source), &draft);
            if let Some(written) = self.is_there(&output, &draft).await? {
                for image in ready(&mut mirrored) {
                    image.outcome.status = Status::UpToDate;
                    image.outcome.bytes = Bytes { present: blob_bytes(image), ..Bytes::default() };
                }
                if kept.is_some() {
                    // The file was started with an image that failed later.
                    let work = move |_: &Meter| output.discard_unfinished();
                    blocking("removing unneeded files", &*self.events, work).await?;
                }
                return Ok(Exported { mirrored, written: Some(written) });
            }
            if kept.is_none() && !self.overwrite {
                draft
                    .check_overwrites_nothing(&output, sources.as_deref())
                    .map_err(|error| error.failure())?;
            }
            let before = failed(&mirrored);
            let writer = self.open(&output, draft, kept.is_none()).await?;
            self.copy(&mut mirrored, (source, &writer), &events, kept.is_some()).await;
            kept.get_or_insert(writer.kept());
            if failed(&mirrored) > before && self.keep_going {
                // The bundle is laid out again without the failed images; everything else is already in place.
                events = Arc::new(crate::event::Silent);
                writer.transfers_ended().await;
                continue;
            }
            let writer = self.read_back(&mut mirrored, writer).await?;
            if failed(&mirrored) > 0 && (!self.keep_going || failed(&mirrored) > before) {
                break;
            }
            if !self.overwrite {
                writer.draft().check_overwrites_nothing(&output, None).map_err(|error| error.failure())?;
            }
            let mut written = written(writer.draft());
            written.kept = kept.unwrap_or_default();
            let finishing = "writing everything to disk";
            written.files = blocking(finishing, &*self.events, move |meter| writer.finish(meter)).await?;
            return Ok(Exported { mirrored, written: Some(written) });
        }
        Ok(Exported { mirrored, written: None })
    }

    /// Writes to `out`, in order. Writes nothing if an image cannot be resolved.
    pub(super) async fn to_stream(
        &self,
        references: Vec<Reference>,
        names: ImportNames,
        out: impl AsyncWrite + Unpin,
    ) -> Result<Exported, Failure> {
        let mut mirrored = self.resolve(references, names).await?;
        refuse_unreadable(&mirrored)?;
        if (failed(&mirrored) > 0 && !self.keep_going) || ready(&mut mirrored).next().is_none() {
            return Ok(Exported { mirrored, written: None });
        }
        let gathered = self.gather(&mut mirrored, true);
        let lock = self.lock(&mirrored);
        let draft = self.draft(gathered, lock);
        let source = PinnedSource::new(Arc::clone(&self.source), &draft);
        let images = ready(&mut mirrored).filter_map(|image| {
            Some((under_its_own_name(&image.outcome.source), image.manifests.as_deref()?))
        });
        let owners =
            OwnerOfBlobs::announce(images, (draft.layout(), self.options.foreign_layers), &self.events);
        for image in &mut mirrored {
            image.manifests = None;
        }
        let progress = |blob: &Descriptor| owners.progress(blob);
        if let Err(error) =
            bundle::stream::write(&draft, &source, &owners.repositories(), out, progress).await
        {
            return Err(cut_off(&error));
        }
        for image in ready(&mut mirrored) {
            image.outcome.status = Status::Copied;
            image.outcome.bytes = Bytes { copied: blob_bytes(image), ..Bytes::default() };
            self.events.emit(Event::Finished { outcome: Arc::new(image.outcome.clone()) });
        }
        Ok(Exported { mirrored, written: Some(written(&draft)) })
    }

    /// Resolves every image: reads its manifests, and checks its platforms. Checks the names that they get where the
    /// bundle is imported, which nothing else needs.
    async fn resolve(
        &self,
        references: Vec<Reference>,
        names: ImportNames,
    ) -> Result<Vec<Mirrored>, Failure> {
        let limit = most_manifest_bytes(references.len());
        let mappings = references.iter().map(under_its_own_name).collect();
        drop(references);
        let options = Options {
            dry_run: true,
            check: Level::Platforms,
            manifest_bytes: ManifestBytes::All,
            keep_manifests: true,
            ..self.options.clone()
        };
        let events = Arc::new(ResolvingEvents(Arc::clone(&self.events)));
        let source = Arc::new(ManifestBudget::new(Arc::clone(&self.source), limit));
        let mut mirrored =
            mirror(Arc::clone(&source), Arc::new(EmptyDestination), mappings, options, events).await;
        source.check_total()?;
        for image in &mut mirrored {
            image.outcome.destination = image.outcome.source.to_string();
            if let Some(message) = image.outcome.skip_message() {
                let image = Some(image.outcome.source.clone());
                self.events.emit(Event::Warning { image, message });
            }
        }
        names.check(&mut mirrored, &*self.events);
        Ok(mirrored)
    }

    /// What the bundle needs of the images that have not failed. Unless the manifests are needed again, they are
    /// dropped one by one.
    fn gather(&self, mirrored: &mut [Mirrored], keeps_manifests: bool) -> Gathered {
        let mut gathered = Gathered::new(self.options.foreign_layers);
        for image in mirrored {
            if let Some(manifests) = image.manifests.as_ref().filter(|_| is_ready(image)) {
                gathered.add(&image.outcome.source, manifests, &image.content.blobs);
            }
            if !keeps_manifests {
                image.manifests = None;
            }
        }
        gathered
    }

    /// A bundle of these images.
    fn draft(&self, gathered: Gathered, lock: Lock) -> Draft {
        let stored = Content::of_lock(&lock);
        drop(lock);
        let absent = self.contents.base.iter().flat_map(|base| base.blobs.keys().cloned()).collect();
        Draft::with_trust(gathered, stored, &absent, self.contents.trust.as_ref())
    }

    /// The lock inside the bundle. It is written before the blobs, so it is correct only for a complete bundle.
    fn lock(&self, mirrored: &[Mirrored]) -> Lock {
        let BundleExtras { chart, placement, base, trust } = self.contents.clone();
        let Options { platforms, foreign_layers, .. } = &self.options;
        let mut lock = Lock::new(chart, placement, platforms, *foreign_layers, mirrored);
        // Blobs that only a failed image needs are neither in the bundle nor left out of it.
        let good = mirrored.iter().filter(|image| image.outcome.failure_kind().is_none());
        let blobs = good.flat_map(|image| &image.content.blobs);
        let needed: HashSet<&Digest> = blobs.map(|(digest, _)| digest).collect();
        let base = base.map(|mut base| {
            let is_trust = |digest: &Digest| trust.as_ref().is_some_and(|trust| trust.has(digest));
            base.blobs.retain(|digest, _| needed.contains(digest) && !is_trust(digest));
            base
        });
        lock.base = base;
        let failed: HashSet<&Reference> =
            mirrored.iter().filter(|image| !is_ready(image)).map(|image| &image.outcome.source).collect();
        for image in &mut lock.images {
            let is_whole = !failed.contains(&image.source);
            image.destinations.iter_mut().for_each(|copy| copy.confirmed = is_whole);
        }
        lock
    }

    async fn is_there(&self, output: &Output, draft: &Draft) -> Result<Option<Written>, Failure> {
        let (output, wanted) = (output.clone(), draft.expectation());
        let checking = "reading the existing bundle";
        let work = move |meter: &Meter| Ok(wanted.is_met_by(&output, meter));
        let there = blocking(checking, &*self.events, work).await?;
        Ok(there.map(|files| Written { files, ..written(draft) }))
    }

    async fn open(&self, output: &Output, draft: Draft, is_first: bool) -> Result<Arc<Writer>, Failure> {
        let output = output.clone();
        let reading = "reading the unfinished bundle";
        let work = move |meter: &Meter| Writer::open(output, draft, meter);
        let writer = blocking(reading, &*self.events, work).await?;
        if !is_first {
            return Ok(Arc::new(writer));
        }
        for (reference, then, now) in writer.changed() {
            let message = format!("{reference} changed since the interrupted export: {then} -> {now}");
            self.events.emit(Event::Warning { image: Some(reference.clone()), message });
        }
        if writer.kept() > 0 {
            let message = format!("resuming an interrupted export with {}", units::bytes(writer.kept()));
            self.events.emit(Event::Detail { message });
        }
        Ok(Arc::new(writer))
    }

    /// Copies what is missing, and replaces the results of the images that had not failed.
    ///
    /// Byte counts are those of the first attempt: when the bundle is laid out again, the blobs are already in place.
    async fn copy(
        &self,
        mirrored: &mut [Mirrored],
        (source, writer): (PinnedSource<S>, &Arc<Writer>),
        events: &Arc<dyn EventSink>,
        again: bool,
    ) {
        let mappings = ready(mirrored).map(|image| under_its_own_name(&image.outcome.source)).collect();
        let options =
            // The first pass has verified the signatures.
            Options { check: Level::Blobs, overwrite: true, dry_run: false, signatures: None, ..self.options.clone() };
        let copied =
            mirror(Arc::new(source), Arc::clone(writer), mappings, options, Arc::clone(events)).await;
        for (image, copied) in ready(mirrored).zip(copied) {
            let (before, signature) = (image.outcome.bytes, image.outcome.signature.take());
            image.outcome = ImageOutcome { signature, ..copied.outcome };
            if again {
                image.outcome.bytes = before;
            }
            image.outcome.destination = image.outcome.source.to_string();
        }
    }

    /// Reads every blob of the file back, and fails the images whose blobs differ from what was written.
    async fn read_back(&self, mirrored: &mut [Mirrored], writer: Arc<Writer>) -> Result<Writer, Failure> {
        if failed(mirrored) > 0 && !self.keep_going {
            return sole_owner(writer);
        }
        let reading = Arc::clone(&writer);
        let work = move |meter: &Meter| reading.read_back(meter);
        let damaged = blocking("reading the bundle back", &*self.events, work).await?;
        let damaged: HashSet<Digest> = damaged.into_iter().collect();
        for image in mirrored.iter_mut().filter(|image| image.outcome.failure_kind().is_none()) {
            let blobs = image.content.blobs.iter().map(|(digest, _)| digest);
            let reason = "the file was read back and has different bytes";
            let problems: Vec<Problem> = blobs
                .filter(|digest| damaged.contains(*digest))
                .map(|digest| Problem::CorruptBlob { digest: digest.clone(), reason: reason.to_owned() })
                .collect();
            if !problems.is_empty() {
                let failure = Failure::new(
                    Kind::Integrity,
                    "the bundle was read back and differs from what was written",
                )
                .with_hint("the disk may be failing: run the same command again, or write to another disk");
                image.outcome.status = Status::Failed;
                image.outcome.problems = problems;
                image.outcome.failure = Some(failure);
            }
        }
        sole_owner(writer)
    }
}

fn written(draft: &Draft) -> Written {
    let (id, length, left_out) = (draft.id().clone(), draft.layout().length(), draft.left_out());
    let (lock, index) = (draft.lock().clone(), draft.index().clone());
    Written { id, length, files: Vec::new(), kept: 0, left_out, lock, index }
}

/// Takes the writer back once no transfer uses it.
fn sole_owner(writer: Arc<Writer>) -> Result<Writer, Failure> {
    Arc::try_unwrap(writer).map_err(|_| {
        Failure::new(Kind::Image, "internal error: a transfer is still running; please report this")
    })
}

/// In a bundle, an image keeps the name of its source.
fn under_its_own_name(reference: &Reference) -> Mapping {
    let (source, repository) = (reference.clone(), reference.repository().clone());
    Mapping { source, pinned: None, repository, tag: bundle::tag_of(reference) }
}

/// The images for the bundle: those that have neither failed nor been skipped.
pub(super) fn ready(mirrored: &mut [Mirrored]) -> impl Iterator<Item = &mut Mirrored> {
    mirrored.iter_mut().filter(|image| is_ready(image))
}

fn is_ready(image: &Mirrored) -> bool {
    image.outcome.failure_kind().is_none() && !image.outcome.is_skipped_optional()
}

fn failed(mirrored: &[Mirrored]) -> usize {
    mirrored.iter().filter(|image| image.outcome.failure_kind().is_some()).count()
}

/// The bytes of an image's blobs.
fn blob_bytes(image: &Mirrored) -> u64 {
    image.content.blobs.iter().fold(0, |sum, (_, size)| sum.saturating_add(*size))
}

fn cut_off(error: &Error) -> Failure {
    let failure = error.failure();
    let hint = "discard the incomplete output: a stream cannot be resumed";
    failure.with_hint(hint)
}
