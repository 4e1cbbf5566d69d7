//! Writing a bundle: every image is resolved first, because the place of every blob must be known before the first byte;
//! then the blobs are brought as to any other destination, the file is read back, and gets its name.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
};

use tokio::io::AsyncWrite;

use super::{Mirrored, Options, mirror};
use crate::{
    confirm::Level,
    endpoint::{
        Error, Source,
        bundle::{self, BundleError, Draft, Output, Writer},
        nowhere::Nowhere,
        resolved::Resolved,
    },
    enumerate::ChartIdentity,
    error::{Failure, Kind},
    event::{Event, EventSink},
    lock::{Base, Lock, Placement},
    oci::{Digest, Mapping, Reference, Repository},
    outcome::{Bytes, Status},
    problem::Problem,
};

/// What a bundle's lock records beside the images.
#[derive(Debug, Clone)]
pub struct Record {
    /// The chart that the images come from.
    pub chart: Option<ChartIdentity>,
    /// How images are to be named where the bundle is imported.
    pub placement: Placement,
    /// What the far side has already.
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
    /// Bytes of blobs that an earlier run had brought.
    pub kept: u64,
    /// Bytes of blobs that the far side has already.
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
    /// Told about everything.
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
        loop {
            let draft = self.draft(&mirrored)?;
            let lock = self.lock(&mirrored);
            if let Some(written) = self.is_there(&output, &draft, &lock).await? {
                for one in ready(&mut mirrored) {
                    one.outcome.status = Status::UpToDate;
                    one.outcome.bytes = Bytes { present: size(one), ..Bytes::default() };
                }
                return Ok(Exported { mirrored, written: Some(written) });
            }
            let before = failed(&mirrored);
            let writer = self.open(&output, draft).await?;
            self.bring(&mut mirrored, &writer, &events).await;
            if failed(&mirrored) > before && self.keep_going && ready(&mut mirrored).next().is_some() {
                // The bundle is laid out anew without what failed; everything else is there already.
                events = Arc::new(crate::event::Silent);
                continue;
            }
            let writer = self.read_back(&mut mirrored, writer).await?;
            if failed(&mirrored) > 0 && (!self.keep_going || failed(&mirrored) > before) {
                return Ok(Exported { mirrored, written: None });
            }
            let mut written = self.written(writer.draft(), lock);
            written.kept = writer.kept();
            written.files = blocking(move || writer.finish()).await?;
            return Ok(Exported { mirrored, written: Some(written) });
        }
    }

    /// Writes to `out`, in order. Nothing is written when an image cannot be resolved.
    pub async fn to_stream(
        &self,
        references: Vec<Reference>,
        out: impl AsyncWrite + Unpin,
    ) -> Result<Exported, Failure> {
        let mut mirrored = self.gather(references).await;
        if failed(&mirrored) > 0 && !self.keep_going {
            return Ok(Exported { mirrored, written: None });
        }
        let draft = self.draft(&mirrored)?;
        let images: Vec<Arc<Mapping>> =
            ready(&mut mirrored).map(|one| Arc::new(as_it_is(&one.outcome.source))).collect();
        self.events.emit(Event::Started { images: images.clone() });
        let holders = holders(&mirrored);
        let progress = |_: &crate::oci::Descriptor| -> crate::endpoint::body::OnProgress {
            let (events, images) = (Arc::clone(&self.events), images.clone());
            Box::new(move |bytes| {
                if let Some(image) = images.first() {
                    events.emit(Event::BlobProgress { image: Arc::clone(image), bytes });
                }
            })
        };
        if let Err(error) = bundle::stream::write(&draft, &*self.source, &holders, out, progress).await {
            return Err(cut_off(&error));
        }
        let lock = self.lock(&mirrored);
        for one in ready(&mut mirrored) {
            one.outcome.status = Status::Copied;
            one.outcome.bytes = Bytes { copied: size(one), ..Bytes::default() };
        }
        let written = self.written(&draft, lock);
        Ok(Exported { mirrored, written: Some(written) })
    }

    /// Resolves every image: what it is made of, and whether it has the platforms it must have.
    async fn gather(&self, references: Vec<Reference>) -> Vec<Mirrored> {
        let mappings = references.iter().map(as_it_is).collect();
        let options = Options { dry_run: true, check: Level::Platforms, ..self.options.clone() };
        let events = Arc::new(Beforehand(Arc::clone(&self.events)));
        let mut mirrored =
            mirror(Arc::clone(&self.source), Arc::new(Nowhere), mappings, options, events).await;
        for one in &mut mirrored {
            one.outcome.destination = one.outcome.source.to_string();
        }
        mirrored
    }

    fn draft(&self, mirrored: &[Mirrored]) -> Result<Draft, Failure> {
        let good = mirrored.iter().filter(|one| one.outcome.failure_kind().is_none());
        let images: Vec<_> =
            good.filter_map(|one| Some((&one.outcome.source, one.graph.as_ref()?))).collect();
        if images.is_empty() {
            let failures = mirrored.iter().find_map(|one| one.outcome.failure.clone());
            return Err(failures.unwrap_or_else(|| Failure::new(Kind::Image, "there is no image to write")));
        }
        let absent = self.record.base.iter().flat_map(|base| base.blobs.keys().cloned()).collect();
        Ok(Draft::new(&images, &self.lock(mirrored), &absent))
    }

    /// The lock inside the bundle: written before the blobs, it holds for the whole bundle only.
    fn lock(&self, mirrored: &[Mirrored]) -> Lock {
        let Record { chart, placement, base } = self.record.clone();
        let Options { platforms, foreign_layers, .. } = &self.options;
        let mut lock = Lock::new(chart, placement, platforms, *foreign_layers, mirrored);
        let needed: HashSet<&Digest> = lock.blobs.keys().collect();
        let base = base.map(|mut base| {
            base.blobs.retain(|digest, _| needed.contains(digest));
            base
        });
        lock.base = base;
        let failed: HashSet<&Reference> = mirrored
            .iter()
            .filter(|one| one.outcome.failure_kind().is_some())
            .map(|one| &one.outcome.source)
            .collect();
        for image in &mut lock.images {
            image.destinations.clear();
            image.confirmed = !failed.contains(&image.source);
        }
        lock
    }

    async fn is_there(
        &self,
        output: &Output,
        draft: &Draft,
        lock: &Lock,
    ) -> Result<Option<Written>, Failure> {
        let (output, wanted) = (output.clone(), draft.expectation());
        let there = blocking(move || Ok(wanted.is_met_by(&output))).await?;
        Ok(there.map(|files| Written { files, ..self.written(draft, lock.clone()) }))
    }

    async fn open(&self, output: &Output, draft: Draft) -> Result<Arc<Writer>, Failure> {
        let output = output.clone();
        let writer = blocking(move || Writer::open(output, draft)).await?;
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

    /// Brings what is missing. The outcomes of the images that were good so far are replaced.
    async fn bring(&self, mirrored: &mut [Mirrored], writer: &Arc<Writer>, events: &Arc<dyn EventSink>) {
        let mappings = ready(mirrored).map(|one| as_it_is(&one.outcome.source)).collect();
        let images = mirrored.iter().filter_map(|one| Some((&one.outcome.source, one.graph.as_ref()?)));
        let source = Arc::new(Resolved::new(Arc::clone(&self.source), images));
        let options =
            Options { check: Level::Blobs, overwrite: true, dry_run: false, ..self.options.clone() };
        let brought = mirror(source, Arc::clone(writer), mappings, options, Arc::clone(events)).await;
        for (one, brought) in ready(mirrored).zip(brought) {
            one.outcome = brought.outcome;
            one.outcome.destination = one.outcome.source.to_string();
        }
    }

    /// Reads every blob of the file again, and fails the images whose blobs are not what was written.
    async fn read_back(&self, mirrored: &mut [Mirrored], writer: Arc<Writer>) -> Result<Writer, Failure> {
        if failed(mirrored) > 0 && !self.keep_going {
            return alone(writer);
        }
        let reading = Arc::clone(&writer);
        let damaged: HashSet<Digest> = blocking(move || Ok(reading.read_back())).await?.into_iter().collect();
        for one in mirrored.iter_mut().filter(|one| one.outcome.failure_kind().is_none()) {
            let blobs = one.graph.iter().flat_map(|graph| graph.blobs());
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
                one.outcome.status = Status::Failed;
                one.outcome.problems = problems;
                one.outcome.failure = Some(failure);
            }
        }
        alone(writer)
    }

    fn written(&self, draft: &Draft, lock: Lock) -> Written {
        let base = self.record.base.iter().flat_map(|base| base.blobs.keys());
        let left_out = base.filter_map(|digest| lock.blobs.get(digest)).sum();
        let (id, length) = (draft.id().clone(), draft.layout().length());
        Written { id, length, files: Vec::new(), kept: 0, left_out, lock }
    }
}

/// Nobody else holds the writer once the transfers are over.
fn alone(writer: Arc<Writer>) -> Result<Writer, Failure> {
    Arc::try_unwrap(writer)
        .map_err(|_| Failure::new(Kind::Image, "a transfer is still under way; please report this"))
}

/// In a bundle an image keeps the name of its source.
fn as_it_is(reference: &Reference) -> Mapping {
    let (source, repository) = (reference.clone(), reference.repository().clone());
    Mapping { source, repository, tag: bundle::tag_of(reference) }
}

/// The images that have not failed.
fn ready(mirrored: &mut [Mirrored]) -> impl Iterator<Item = &mut Mirrored> {
    mirrored.iter_mut().filter(|one| one.outcome.failure_kind().is_none())
}

fn failed(mirrored: &[Mirrored]) -> usize {
    mirrored.iter().filter(|one| one.outcome.failure_kind().is_some()).count()
}

/// The bytes of an image's blobs.
fn size(one: &Mirrored) -> u64 {
    one.graph.iter().flat_map(|graph| graph.blobs()).map(|blob| blob.size).sum()
}

/// For every blob a repository that has it.
fn holders(mirrored: &[Mirrored]) -> HashMap<Digest, Repository> {
    let mut holders = HashMap::new();
    for one in mirrored {
        for blob in one.graph.iter().flat_map(|graph| graph.blobs()) {
            holders.entry(blob.digest.clone()).or_insert_with(|| one.outcome.source.repository().clone());
        }
    }
    holders
}

fn cut_off(error: &Error) -> Failure {
    let failure = error.failure();
    let hint = "what was written is cut off and must be thrown away: a stream cannot be taken up again";
    failure.with_hint(hint)
}

/// Runs what blocks beside the transfers.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BundleError> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(BundleError::Internal(error.to_string())))
        .map_err(|error| error.failure())
}

/// What a person hears while images are resolved: the rest is said when they are brought.
struct Beforehand(Arc<dyn EventSink>);

impl EventSink for Beforehand {
    fn emit(&self, event: Event) {
        if matches!(event, Event::Retrying { .. } | Event::Warning { image: None, .. } | Event::Detail { .. })
        {
            self.0.emit(event);
        }
    }
}
