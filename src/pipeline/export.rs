//! Writes a bundle. Every image is resolved first, because the offset of every blob must be known before the first byte. Then
//! the blobs are transferred as to any other destination, the file is read back, and renamed into place.

use std::{collections::HashSet, path::PathBuf, sync::Arc};

use tokio::io::AsyncWrite;

use super::{
    Options,
    blocking::blocking,
    export_events::{ResolveEvents, StreamProgress},
    mirror,
};
use crate::{
    confirm::Level,
    endpoint::{
        Error, Source,
        bundle::{self, Draft, Meter, Output, Writer},
        empty::EmptyDestination,
        pinned::PinnedSource,
    },
    error::{Failure, Kind},
    event::{Event, EventSink},
    graph::Graph,
    lock::{Base, Lock, Placement},
    oci::{ChartIdentity, Descriptor, Digest, Mapping, Reference},
    outcome::{Bytes, Mirrored, Status},
    problem::Problem,
};

/// What a bundle's lock records beside the images.
#[derive(Debug, Clone)]
pub struct Record {
    /// The chart that the images come from.
    pub chart: Option<ChartIdentity>,
    /// How images are to be named where the bundle is imported.
    pub placement: Placement,
    /// What the other side has already.
    pub base: Option<Base>,
}

/// A bundle that was written, or was not.
#[derive(Debug)]
pub struct Exported {
    /// How each image ended, in the order in which they were asked for.
    pub mirrored: Vec<Mirrored>,
    /// The bundle; `None` when an image failed and no bundle was asked for without it.
    pub written: Option<Written>,
}

/// A whole bundle.
#[derive(Debug, Clone)]
pub struct Written {
    /// Its id.
    pub id: Digest,
    /// Its length in bytes.
    pub length: u64,
    /// Its files; none for a stream.
    pub files: Vec<PathBuf>,
    /// Bytes of blobs that an earlier run had transferred.
    pub kept: u64,
    /// Bytes of blobs that the other side has already.
    pub left_out: u64,
    /// The lock that is in it.
    pub lock: Lock,
}

/// Writes bundles of images.
pub struct Exporter<S> {
    /// Where images come from.
    pub source: Arc<S>,
    /// Platforms, waivers, and how many blobs move at once.
    pub options: Options,
    /// What the lock records.
    pub record: Record,
    /// Whether a bundle is written without the images that failed.
    pub keep_going: bool,
    /// Hears of everything.
    pub events: Arc<dyn EventSink>,
}

impl<S> std::fmt::Debug for Exporter<S> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Exporter").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<S: Source> Exporter<S> {
    /// Writes to files. What an earlier run left is used; what this run cannot finish is left for the next.
    pub async fn to_files(&self, references: Vec<Reference>, output: Output) -> Result<Exported, Failure> {
        let mut mirrored = self.gather(references).await;
        let mut events = Arc::clone(&self.events);
        let mut kept = None;
        while not_failed(&mut mirrored).next().is_some() {
            let draft = self.draft(&mut mirrored);
            let lock = self.lock(&mirrored);
            if let Some(written) = self.is_there(&output, &draft, &lock).await? {
                for image in not_failed(&mut mirrored) {
                    image.outcome.status = Status::UpToDate;
                    image.outcome.bytes = Bytes { present: size(image), ..Bytes::default() };
                }
                if kept.is_some() {
                    // It was started with an image that then failed.
                    let work = move |_: &Meter| output.discard_unfinished();
                    blocking("removing what is not needed", &*self.events, work).await?;
                }
                return Ok(Exported { mirrored, written: Some(written) });
            }
            let before = failed(&mirrored);
            let writer = self.open(&output, draft, kept.is_none()).await?;
            self.transfer(&mut mirrored, &writer, &events, kept.is_some()).await;
            kept.get_or_insert(writer.kept());
            if failed(&mirrored) > before && self.keep_going {
                // The bundle is laid out again without what failed; everything else is there already.
                events = Arc::new(crate::event::Silent);
                continue;
            }
            let writer = self.read_back(&mut mirrored, writer).await?;
            if failed(&mirrored) > 0 && (!self.keep_going || failed(&mirrored) > before) {
                break;
            }
            let mut written = written(writer.draft(), lock);
            written.kept = kept.unwrap_or_default();
            let finishing = "writing everything to the disk";
            written.files = blocking(finishing, &*self.events, move |meter| writer.finish(meter)).await?;
            return Ok(Exported { mirrored, written: Some(written) });
        }
        Ok(Exported { mirrored, written: None })
    }

    /// Writes to `out`, in order. Nothing is written when an image cannot be resolved.
    pub async fn to_stream(
        &self,
        references: Vec<Reference>,
        out: impl AsyncWrite + Unpin,
    ) -> Result<Exported, Failure> {
        let mut mirrored = self.gather(references).await;
        if (failed(&mirrored) > 0 && !self.keep_going) || not_failed(&mut mirrored).next().is_none() {
            return Ok(Exported { mirrored, written: None });
        }
        let (draft, source) = (self.draft(&mut mirrored), self.pinned(&mirrored));
        let images = not_failed(&mut mirrored)
            .filter_map(|image| Some((under_its_own_name(&image.outcome.source), image.graph.as_ref()?)));
        let progress = StreamProgress::announce(images, draft.layout(), &self.events);
        let of_blob = |blob: &Descriptor| progress.of_blob(blob);
        if let Err(error) = bundle::stream::write(&draft, &source, &progress.holders(), out, of_blob).await {
            return Err(cut_off(&error));
        }
        let lock = self.lock(&mirrored);
        for image in not_failed(&mut mirrored) {
            image.outcome.status = Status::Copied;
            image.outcome.bytes = Bytes { copied: size(image), ..Bytes::default() };
            self.events.emit(Event::Finished { outcome: Arc::new(image.outcome.clone()) });
        }
        Ok(Exported { mirrored, written: Some(written(&draft, lock)) })
    }

    /// Resolves every image: what it is made of, and whether it has the platforms it must have.
    async fn gather(&self, references: Vec<Reference>) -> Vec<Mirrored> {
        let mappings = references.iter().map(under_its_own_name).collect();
        let options = Options { dry_run: true, check: Level::Platforms, ..self.options.clone() };
        let events = Arc::new(ResolveEvents(Arc::clone(&self.events)));
        let mut mirrored =
            mirror(Arc::clone(&self.source), Arc::new(EmptyDestination), mappings, options, events).await;
        for image in &mut mirrored {
            image.outcome.destination = image.outcome.source.to_string();
        }
        mirrored
    }

    /// A bundle of the images that have not failed.
    fn draft(&self, mirrored: &mut [Mirrored]) -> Draft {
        let lock = self.lock(mirrored);
        let images: Vec<_> = not_failed(mirrored)
            .filter_map(|image| Some((&image.outcome.source, image.graph.as_ref()?)))
            .collect();
        let absent = self.record.base.iter().flat_map(|base| base.blobs.keys().cloned()).collect();
        Draft::new(&images, &lock, &absent)
    }

    /// The lock inside the bundle: written before the blobs, it holds for the whole bundle only.
    fn lock(&self, mirrored: &[Mirrored]) -> Lock {
        let Record { chart, placement, base } = self.record.clone();
        let Options { platforms, foreign_layers, .. } = &self.options;
        let mut lock = Lock::new(chart, placement, platforms, *foreign_layers, mirrored);
        // What only a failed image needs is not left out: it is not in the bundle anyway.
        let good = mirrored.iter().filter(|image| image.outcome.failure_kind().is_none());
        let blobs = good.flat_map(|image| image.graph.iter()).flat_map(|graph| graph.blobs());
        let needed: HashSet<&Digest> = blobs.map(|blob| &blob.digest).collect();
        let base = base.map(|mut base| {
            base.blobs.retain(|digest, _| needed.contains(digest));
            base
        });
        lock.base = base;
        let failed: HashSet<&Reference> = mirrored
            .iter()
            .filter(|image| image.outcome.failure_kind().is_some())
            .map(|image| &image.outcome.source)
            .collect();
        for image in &mut lock.images {
            image.destinations.clear();
            image.confirmed = !failed.contains(&image.source);
        }
        lock
    }

    /// The source, of which nothing is read again that is known.
    fn pinned(&self, mirrored: &[Mirrored]) -> PinnedSource<S> {
        let images = mirrored.iter().filter_map(|image| Some((&image.outcome.source, image.graph.as_ref()?)));
        PinnedSource::new(Arc::clone(&self.source), images)
    }

    async fn is_there(
        &self,
        output: &Output,
        draft: &Draft,
        lock: &Lock,
    ) -> Result<Option<Written>, Failure> {
        let (output, wanted) = (output.clone(), draft.expectation());
        let checking = "reading the bundle that is there already";
        let work = move |meter: &Meter| Ok(wanted.is_met_by(&output, meter));
        let there = blocking(checking, &*self.events, work).await?;
        Ok(there.map(|files| Written { files, ..written(draft, lock.clone()) }))
    }

    async fn open(&self, output: &Output, draft: Draft, is_first: bool) -> Result<Arc<Writer>, Failure> {
        let output = output.clone();
        let reading = "reading what an earlier export left";
        let work = move |meter: &Meter| Writer::open(output, draft, meter);
        let writer = blocking(reading, &*self.events, work).await?;
        if !is_first {
            return Ok(Arc::new(writer));
        }
        for (reference, then, now) in writer.changed() {
            let message = format!("{reference} changed since the export that broke off: {then} -> {now}");
            self.events.emit(Event::Warning { image: Some(reference.clone()), message });
        }
        if writer.kept() > 0 {
            let message = format!("{} bytes of an earlier export are kept", writer.kept());
            self.events.emit(Event::Detail { message });
        }
        Ok(Arc::new(writer))
    }

    /// Transfers what is missing. The outcomes of the images that had not failed so far are replaced.
    ///
    /// When the bundle is laid out again, everything is there already: the counts of the first time stay.
    async fn transfer(
        &self,
        mirrored: &mut [Mirrored],
        writer: &Arc<Writer>,
        events: &Arc<dyn EventSink>,
        again: bool,
    ) {
        let mappings = not_failed(mirrored).map(|image| under_its_own_name(&image.outcome.source)).collect();
        let source = Arc::new(self.pinned(mirrored));
        let options =
            Options { check: Level::Blobs, overwrite: true, dry_run: false, ..self.options.clone() };
        let transferred = mirror(source, Arc::clone(writer), mappings, options, Arc::clone(events)).await;
        for (image, transferred) in not_failed(mirrored).zip(transferred) {
            let before = image.outcome.bytes;
            image.outcome = transferred.outcome;
            if again {
                image.outcome.bytes = before;
            }
            image.outcome.destination = image.outcome.source.to_string();
        }
    }

    /// Reads every blob of the file again, and fails the images whose blobs are not what was written.
    async fn read_back(&self, mirrored: &mut [Mirrored], writer: Arc<Writer>) -> Result<Writer, Failure> {
        if failed(mirrored) > 0 && !self.keep_going {
            return sole_owner(writer);
        }
        let reading = Arc::clone(&writer);
        let work = move |meter: &Meter| reading.read_back(meter);
        let damaged = blocking("reading the bundle back", &*self.events, work).await?;
        let damaged: HashSet<Digest> = damaged.into_iter().collect();
        for image in mirrored.iter_mut().filter(|image| image.outcome.failure_kind().is_none()) {
            let blobs = image.graph.iter().flat_map(|graph| graph.blobs());
            let reason = "the file, read again, has other bytes";
            let problems: Vec<Problem> = blobs
                .filter(|blob| damaged.contains(&blob.digest))
                .map(|blob| Problem::CorruptBlob { digest: blob.digest.clone(), reason: reason.to_owned() })
                .collect();
            if !problems.is_empty() {
                let failure =
                    Failure::new(Kind::Integrity, "the bundle, read again, does not hold what was written")
                        .with_hint(
                            "the disk may be failing: run the same command again, or write to another disk",
                        );
                image.outcome.status = Status::Failed;
                image.outcome.problems = problems;
                image.outcome.failure = Some(failure);
            }
        }
        sole_owner(writer)
    }
}

fn written(draft: &Draft, lock: Lock) -> Written {
    let (id, length, left_out) = (draft.id().clone(), draft.layout().length(), draft.left_out());
    Written { id, length, files: Vec::new(), kept: 0, left_out, lock }
}

/// The writer is not shared any more once the transfers are over.
fn sole_owner(writer: Arc<Writer>) -> Result<Writer, Failure> {
    Arc::try_unwrap(writer)
        .map_err(|_| Failure::new(Kind::Image, "a transfer is still under way; please report this"))
}

/// In a bundle an image keeps the name of its source.
fn under_its_own_name(reference: &Reference) -> Mapping {
    let (source, repository) = (reference.clone(), reference.repository().clone());
    Mapping { source, repository, tag: bundle::tag_of(reference) }
}

/// The images that have not failed.
fn not_failed(mirrored: &mut [Mirrored]) -> impl Iterator<Item = &mut Mirrored> {
    mirrored.iter_mut().filter(|image| image.outcome.failure_kind().is_none())
}

fn failed(mirrored: &[Mirrored]) -> usize {
    mirrored.iter().filter(|image| image.outcome.failure_kind().is_some()).count()
}

/// The bytes of an image's blobs.
fn size(image: &Mirrored) -> u64 {
    image.graph.as_ref().map_or(0, Graph::blob_bytes)
}

fn cut_off(error: &Error) -> Failure {
    let failure = error.failure();
    let hint = "what was written is incomplete, and a stream cannot be resumed: delete it and run the same command again";
    failure.with_hint(hint)
}
