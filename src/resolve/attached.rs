//! Reads the attachments of an image's manifests, and theirs in turn: signatures, attestations, SBOMs.
//!
//! A [`Crawl`] receives the digests of the image's manifests while they are still being read, so both together take
//! little more time than one of them. Manifests are read by digest; one whose `subject` is another manifest is ignored,
//! because a registry may list anything. The registry is asked about each manifest once, so loops end.

use std::{
    collections::{HashSet, VecDeque},
    sync::atomic::{AtomicU64, Ordering},
};

use futures::{
    FutureExt, StreamExt,
    channel::mpsc::{self, UnboundedReceiver},
    future::BoxFuture,
    stream::FuturesUnordered,
};

use super::Reader;
use crate::{
    endpoint::{Cause, EndpointError, Error, Location, Operation, Source},
    error::{escape, hide_repeated},
    graph::{
        self, Attached, AttachedManifest, Graph, KnownManifests, ManifestBytes, ReferrerSelection, in_order,
    },
    oci::{
        Attachment, Descriptor, Digest, Link, RawManifest, Repository, Target, attachment_kind::describe,
        manifest::MAX_MANIFEST_SIZE,
    },
    units,
};

/// How many requests about attached manifests of one image run concurrently.
const CONCURRENCY: usize = 16;
/// The maximum number of steps from the image: its SBOM is one, the SBOM's signature another.
const MAX_DEPTH: usize = 8;
/// The maximum number of attachments of one image.
const MAX_ATTACHED: usize = 20_000;
/// The most bytes of attached manifests that are kept for one image. The rest is read again when it is pushed.
const MAX_KEPT_BYTES: u64 = 4 * 1024 * 1024;

/// Which attached manifests to read.
#[derive(Debug)]
pub(crate) struct AttachedToRead<'a, M> {
    which: AttachedChoice<'a>,
    /// Another endpoint that may have them already, and the repository there.
    mirror: Option<(&'a M, &'a Repository)>,
    /// What the endpoint has already listed for this manifest.
    listed: Option<(&'a Digest, Vec<Attachment>)>,
}

#[derive(Debug, Clone, Copy)]
enum AttachedChoice<'a> {
    /// All that the endpoint lists and the selection admits.
    Selected(&'a ReferrerSelection),
    /// Exactly these.
    Recorded(&'a [AttachedManifest]),
}

impl<'a, M> AttachedToRead<'a, M> {
    /// Everything that the endpoint lists and this selection admits.
    #[must_use]
    pub(crate) fn selected(selection: &'a ReferrerSelection) -> Self {
        Self { which: AttachedChoice::Selected(selection), mirror: None, listed: None }
    }

    /// Exactly these. It is an error if one is missing.
    #[must_use]
    pub(crate) fn recorded(recorded: &'a [AttachedManifest]) -> Self {
        Self { which: AttachedChoice::Recorded(recorded), mirror: None, listed: None }
    }

    /// Reads manifests from this repository of another endpoint if it has them, because the source may count reads.
    #[must_use]
    pub(crate) fn mirrored_in(self, mirror: Option<(&'a M, &'a Repository)>) -> Self {
        Self { mirror, ..self }
    }

    /// Uses this list for a manifest, which the endpoint has already returned, instead of asking again.
    #[must_use]
    pub(crate) fn listed(self, subject: &'a Digest, attachments: Option<Vec<Attachment>>) -> Self {
        Self { listed: attachments.map(|attachments| (subject, attachments)), ..self }
    }
}

/// Why attached manifests cannot be copied.
#[derive(Debug, thiserror::Error)]
enum AttachmentError {
    #[error("it is attached to {subject} and has {}, more than the {} that registries accept", units::bytes(*.size), units::bytes(MAX_MANIFEST_SIZE as u64))]
    TooLarge { subject: Digest, size: u64 },
    #[error("more than {MAX_ATTACHED} manifests are attached to it")]
    TooMany,
    #[error("its attachments are nested more than {MAX_DEPTH} levels deep")]
    TooDeep,
    #[error("the lock records that it is attached to {subject}, but {}", .reason)]
    NotAsRecorded { subject: Digest, reason: String },
}

impl EndpointError for AttachmentError {
    fn remedy(&self, _: &Location) -> Option<String> {
        Some(match self {
            Self::NotAsRecorded { .. } => "run sync without --locked".to_owned(),
            _ => "copy fewer attachments with --referrers signatures or --referrer-type GLOB, or none with --referrers none"
                .to_owned(),
        })
    }
}

/// What a crawl found.
#[derive(Debug, Default)]
pub(super) struct CrawlResult {
    attached: Vec<Attached>,
    ignored: Vec<String>,
}

impl CrawlResult {
    /// Adds everything to the graph of the image, in a fixed order.
    pub(super) fn add_to(mut self, graph: &mut Graph) {
        let image: HashSet<Digest> = graph.nodes.iter().map(|node| node.descriptor.digest.clone()).collect();
        self.ignored.sort();
        graph.attached = in_order(&image, self.attached);
        graph.ignored = self.ignored;
    }
}

/// Reads the attachments of the manifests of a known graph.
pub(crate) async fn attached_to<S: Source, M: Source>(
    source: &S,
    repository: &Repository,
    graph: &mut Graph,
    keep: ManifestBytes,
    wanted: AttachedToRead<'_, M>,
) -> Result<(), Error> {
    let known = KnownManifests::new();
    let reader = Reader { endpoint: source, repository, known: &known, keep, uses_inline_data: true };
    let (announced, subjects) = mpsc::unbounded();
    for node in &graph.nodes {
        drop(announced.unbounded_send(node.descriptor.digest.clone()));
    }
    drop(announced);
    Crawl::new(&reader, wanted).run(subjects).await?.add_to(graph);
    Ok(())
}

/// Adds everything that the endpoint lists as attached to the manifests of a graph.
pub(crate) async fn add_everything_attached<S: Source>(
    source: &S,
    repository: &Repository,
    graph: &mut Graph,
) -> Result<(), Error> {
    let all = ReferrerSelection::default();
    attached_to(source, repository, graph, ManifestBytes::Small, AttachedToRead::<S>::selected(&all)).await
}

/// The state of reading the attachments of one image.
pub(super) struct Crawl<'a, S, M> {
    reader: &'a Reader<'a, S>,
    wanted: AttachedToRead<'a, M>,
    kept: AtomicU64,
}

/// A request to make.
enum CrawlRequest {
    /// List the attachments of this manifest, which is this many steps from the image.
    List(Digest, usize),
    /// Read this attachment of this manifest.
    Read(Digest, Box<Attachment>, usize),
}

/// The result of a job.
enum CrawlAnswer {
    Listed(Digest, usize, Vec<Attachment>),
    Read(Box<Attached>, usize),
    /// It is not copied, for this reason; no reason if it is not wanted.
    Ignored(Option<String>),
}

impl<'a, S: Source, M: Source> Crawl<'a, S, M> {
    pub(super) fn new(reader: &'a Reader<'a, S>, wanted: AttachedToRead<'a, M>) -> Self {
        Self { reader, wanted, kept: AtomicU64::new(0) }
    }

    /// Reads the attachments of these manifests. They arrive while the image is read.
    pub(super) async fn run(&self, mut subjects: UnboundedReceiver<Digest>) -> Result<CrawlResult, Error> {
        let mut jobs: VecDeque<CrawlRequest> = match self.wanted.which {
            AttachedChoice::Recorded(recorded) => recorded.iter().map(Self::read_recorded).collect(),
            AttachedChoice::Selected(_) => VecDeque::new(),
        };
        let lists = matches!(self.wanted.which, AttachedChoice::Selected(selection) if !selection.is_none());
        let (mut asked, mut count) = (HashSet::new(), 0);
        let mut found = CrawlResult::default();
        let mut running: FuturesUnordered<BoxFuture<'_, Result<CrawlAnswer, Error>>> =
            FuturesUnordered::new();
        let mut all_known = false;
        loop {
            while running.len() < CONCURRENCY
                && let Some(job) = jobs.pop_front()
            {
                running.push(self.perform(job).boxed());
            }
            if all_known && running.is_empty() {
                return Ok(found);
            }
            let answer = tokio::select! {
                subject = subjects.next(), if !all_known => {
                    match subject {
                        Some(subject) if lists && asked.insert(subject.clone()) => {
                            jobs.push_back(CrawlRequest::List(subject, 0));
                        }
                        Some(_) => {}
                        None => all_known = true,
                    }
                    continue;
                }
                Some(answer) = running.next(), if !running.is_empty() => answer?,
            };
            match answer {
                CrawlAnswer::Listed(subject, depth, attachments) => {
                    count += attachments.len();
                    self.check_bounds(&subject, depth, count, attachments.is_empty())?;
                    let read =
                        |attachment| CrawlRequest::Read(subject.clone(), Box::new(attachment), depth + 1);
                    jobs.extend(attachments.into_iter().map(read));
                }
                CrawlAnswer::Read(attached, depth) => {
                    let manifests = attached.manifests().map(|node| node.descriptor.digest.clone());
                    let new = manifests.filter(|digest| lists && asked.insert(digest.clone()));
                    jobs.extend(new.map(|digest| CrawlRequest::List(digest, depth)));
                    found.attached.push(*attached);
                }
                CrawlAnswer::Ignored(reason) => found.ignored.extend(reason),
            }
        }
    }

    fn read_recorded(recorded: &AttachedManifest) -> CrawlRequest {
        let AttachedManifest { digest, artifact_type, subject, size, .. } = recorded;
        let attachment = Attachment {
            descriptor: Descriptor::new(artifact_type.as_str().into(), digest.clone(), *size),
            artifact_type: Some(artifact_type.clone()),
            link: recorded.link(),
        };
        CrawlRequest::Read(subject.clone(), Box::new(attachment), 1)
    }

    fn check_bounds(&self, subject: &Digest, depth: usize, count: usize, is_leaf: bool) -> Result<(), Error> {
        let too_deep = depth >= MAX_DEPTH && !is_leaf;
        match (count > MAX_ATTACHED, too_deep) {
            (true, _) => Err(self.error(subject, AttachmentError::TooMany)),
            (false, true) => Err(self.error(subject, AttachmentError::TooDeep)),
            (false, false) => Ok(()),
        }
    }

    fn error(&self, digest: &Digest, cause: impl Into<Cause>) -> Error {
        let Reader { endpoint, repository, .. } = self.reader;
        Error::new(Operation::ReadManifest, endpoint.side(), format!("{repository}@{digest}"), cause)
    }

    async fn perform(&self, job: CrawlRequest) -> Result<CrawlAnswer, Error> {
        match job {
            CrawlRequest::List(subject, depth) => {
                let listed = match &self.wanted.listed {
                    Some((known, attachments)) if **known == subject => attachments.clone(),
                    _ => self.reader.endpoint.attachments(self.reader.repository, &subject).await?,
                };
                let attachments = listed.into_iter().filter(|attachment| {
                    let is_itself = attachment.descriptor.digest == subject;
                    !is_itself && self.may_want(attachment)
                });
                let attachments = attachments.collect();
                Ok(CrawlAnswer::Listed(subject, depth, attachments))
            }
            CrawlRequest::Read(subject, attachment, depth) => match self.read(&subject, &attachment).await? {
                Ok(Some(attached)) => Ok(CrawlAnswer::Read(Box::new(attached), depth)),
                Ok(None) => Ok(CrawlAnswer::Ignored(None)),
                Err(reason) => self.ignored(subject, &attachment.descriptor.digest, reason),
            },
        }
    }

    fn may_want(&self, attachment: &Attachment) -> bool {
        match self.wanted.which {
            AttachedChoice::Selected(selection) => selection.may_want(attachment),
            AttachedChoice::Recorded(_) => true,
        }
    }

    /// A listed manifest that cannot be copied. It is an error if a lock records it.
    fn ignored(&self, subject: Digest, digest: &Digest, reason: String) -> Result<CrawlAnswer, Error> {
        if let AttachedChoice::Recorded(_) = self.wanted.which {
            return Err(self.error(digest, AttachmentError::NotAsRecorded { subject, reason }));
        }
        let repository = self.reader.repository;
        Ok(CrawlAnswer::Ignored(Some(format!(
            "{repository} lists {digest} as attached to {subject}, but {reason}: skipped"
        ))))
    }

    /// An attached manifest with everything below it; `None` if it is not wanted. The inner error is the reason to
    /// ignore it.
    async fn read(
        &self,
        subject: &Digest,
        attachment: &Attachment,
    ) -> Result<Result<Option<Attached>, String>, Error> {
        let Descriptor { digest, size, .. } = &attachment.descriptor;
        if *size > MAX_MANIFEST_SIZE as u64 {
            let too_large = AttachmentError::TooLarge { subject: subject.clone(), size: *size };
            return Err(self.error(digest, too_large));
        }
        let Some(manifest) = self.manifest(digest).await? else {
            return Ok(Err("it does not exist".to_owned()));
        };
        let contents = match manifest.contents() {
            Ok(contents) => contents,
            Err(error) => return Ok(Err(error.with_text(hide_repeated).to_string())),
        };
        if attachment.link == Link::Subject {
            match graph::subject(&contents) {
                Some(named) if named.digest == *subject => {}
                Some(named) => return Ok(Err(format!("its subject is {}", named.digest))),
                None => return Ok(Err("it has no subject".to_owned())),
            }
        }
        let (artifact_type, kind) = describe(&manifest, &attachment.link);
        if let AttachedChoice::Selected(selection) = self.wanted.which
            && !selection.wants(&artifact_type, kind)
        {
            return Ok(Ok(None));
        }
        // A tag is compared entry by entry with that at the destination.
        let whole = matches!(attachment.link, Link::Tag(_)).then(|| manifest.clone());
        let (below, unusable) = self.reader.walk(manifest, None).await?;
        if let Some(error) = unusable {
            return Ok(Err(escape(&error.to_string())));
        }
        if let Some(missing) = below.missing.first() {
            return Ok(Err(format!("{} below it does not exist", missing.digest)));
        }
        let mut nodes = below.nodes;
        let Some(mut node) = nodes.pop() else { return Ok(Err("it cannot be read".to_owned())) };
        // Without the capacity for the node that was taken.
        nodes.shrink_to_fit();
        node.manifest = node.manifest.or(whole.map(RawManifest::into_kept));
        node.contents.share_subject(subject);
        for node in nodes.iter_mut().chain([&mut node]) {
            if self.reader.keep == ManifestBytes::Small && !self.may_keep(node.descriptor.size) {
                node.manifest = None;
            }
        }
        let (subject, link) = (subject.clone(), attachment.link.clone());
        Ok(Ok(Some(Attached { node, below: nodes, subject, link, artifact_type, kind })))
    }

    fn may_keep(&self, size: u64) -> bool {
        self.kept.fetch_add(size, Ordering::Relaxed).saturating_add(size) <= MAX_KEPT_BYTES
    }

    /// From the mirror if it has the manifest intact, otherwise from the source.
    async fn manifest(&self, digest: &Digest) -> Result<Option<RawManifest>, Error> {
        let target = Target::Digest(digest.clone());
        if let Some((mirror, repository)) = self.wanted.mirror {
            match mirror.manifest(repository, &target).await {
                Ok(Some(manifest)) => return Ok(Some(manifest)),
                Ok(None) | Err(Error { cause: Cause::Manifest(_), .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.reader.endpoint.manifest(self.reader.repository, &target).await
    }
}
