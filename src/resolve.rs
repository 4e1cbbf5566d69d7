//! Resolves a root manifest to the image's graph: all manifests, and the blobs they reference.
//!
//! The bytes of large manifests are dropped as soon as they have been parsed: see [`ManifestBytes`].
//!
//! The attachments of the manifests are read at the same time: see [`attached`].

mod attached;

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use futures::{
    StreamExt, TryStreamExt,
    channel::mpsc::{self, UnboundedSender},
    stream,
};
use serde::Deserialize;

use self::attached::Crawl;
pub(crate) use self::attached::{AttachedToRead, add_everything_attached, attached_to};
use crate::{
    endpoint::{Cause, Error, Operation, Source, body::read_whole},
    error::hide_repeated,
    graph::{self, Graph, KnownManifests, ManifestBytes, Node, PlatformManifest, ReferrerSelection},
    oci::{
        Contents, Descriptor, Digest, Platform, RawManifest, Repository, Sizes, Target,
        manifest::ManifestError,
    },
};

/// The maximum nesting depth of indexes.
const MAX_DEPTH: usize = 8;
/// The maximum number of manifests of one image.
const MAX_MANIFESTS: usize = 2000;
/// How many manifests of one image are read concurrently.
const CONCURRENCY: usize = 8;
/// The largest config that is read to learn a platform, in bytes.
const MAX_CONFIG_SIZE: u64 = 8 * 1024 * 1024;
/// The largest config that is kept in memory, in bytes. Real configs have a few thousand bytes.
const MAX_KEPT_SIZE: u64 = 64 * 1024;

/// How a graph is read.
struct Reader<'a, S> {
    endpoint: &'a S,
    repository: &'a Repository,
    /// Manifests that need not be read.
    known: &'a KnownManifests,
    keep: ManifestBytes,
    /// Whether data inside descriptors replaces requests. It says nothing about what the endpoint has.
    uses_inline_data: bool,
}

/// Reads an image's whole graph without its attachments. A missing or invalid child is an error, and so is a
/// damaged config.
pub async fn resolve<S: Source>(
    source: &S,
    repository: &Repository,
    root: RawManifest,
    known: &KnownManifests,
    keep: ManifestBytes,
) -> Result<Graph, Error> {
    let nothing = ReferrerSelection::none();
    resolve_with_attached(source, repository, root, known, keep, AttachedToRead::<S>::selected(&nothing))
        .await
}

/// Reads an image's whole graph, and at the same time the attachments of its manifests.
pub(crate) async fn resolve_with_attached<S: Source, M: Source>(
    source: &S,
    repository: &Repository,
    root: RawManifest,
    known: &KnownManifests,
    keep: ManifestBytes,
    wanted: AttachedToRead<'_, M>,
) -> Result<Graph, Error> {
    let reader = Reader { endpoint: source, repository, known, keep, uses_inline_data: true };
    let (announced, subjects) = mpsc::unbounded();
    let crawl = Crawl::new(&reader, wanted);
    let ((mut graph, unusable), found) =
        tokio::try_join!(reader.read(root, Some(announced)), crawl.run(subjects))?;
    found.add_to(&mut graph);
    if let Some(error) = unusable {
        return Err(error);
    }
    if let Some(missing) = graph.missing.first() {
        let name = format!("{repository}@{}", missing.digest);
        let cause = Cause::NoSuchChild(missing.platform.clone().map(Box::new));
        return Err(Error::new(Operation::ReadManifest, source.side(), name, cause));
    }
    Ok(graph)
}

/// Reads as much of an image's graph as exists. Fails only when the endpoint cannot be read. A damaged or missing
/// config yields no platform; a check of the blobs reports why.
pub async fn survey<S: Source>(
    endpoint: &S,
    repository: &Repository,
    root: RawManifest,
) -> Result<Graph, Error> {
    survey_rest(endpoint, repository, root, &KnownManifests::new()).await
}

/// Like [`survey`], but does not read the manifests that are known.
pub(crate) async fn survey_rest<S: Source>(
    endpoint: &S,
    repository: &Repository,
    root: RawManifest,
    known: &KnownManifests,
) -> Result<Graph, Error> {
    Ok(Reader::of_survey(endpoint, repository, known).read(root, None).await?.0)
}

/// Reads the manifests below the root of a graph from an endpoint that should have them, before its root is known there.
/// Leaves out those that cannot be read: a survey asks again and tells why.
pub(crate) async fn read_ahead<S: Source>(
    endpoint: &S,
    repository: &Repository,
    expected: &Graph,
) -> KnownManifests {
    let known = KnownManifests::new();
    let reader = Reader::of_survey(endpoint, repository, &known);
    // The root is the last.
    let below = expected.nodes.iter().rev().skip(1).map(|node| node.descriptor.clone());
    let below: Vec<Descriptor> = below.collect();
    let reads = stream::iter(below).map(|child| reader.read_child(child)).buffer_unordered(CONCURRENCY);
    let read: Vec<Result<ChildResult, Error>> = reads.collect().await;
    let found = read.into_iter().filter_map(|read| match read {
        Ok((child, Some(Ok(node)))) => Some((child.digest, node)),
        _ => None,
    });
    found.collect()
}

/// Like [`survey`], but determines no platforms and therefore reads no config.
pub(crate) async fn survey_manifests<S: Source>(
    endpoint: &S,
    repository: &Repository,
    root: RawManifest,
) -> Result<Graph, Error> {
    let known = KnownManifests::new();
    let reader = Reader::of_survey(endpoint, repository, &known);
    Ok(reader.walk(root, None).await?.0)
}

/// A requested child: missing, invalid or read.
type ChildResult = (Descriptor, Option<Result<Node, Error>>);

impl<'a, S: Source> Reader<'a, S> {
    /// Reads what an endpoint really has.
    fn of_survey(endpoint: &'a S, repository: &'a Repository, known: &'a KnownManifests) -> Self {
        Self { endpoint, repository, known, keep: ManifestBytes::Small, uses_inline_data: false }
    }

    /// The graph, and the error of the first invalid manifest or config. `announced` receives the digest of every
    /// manifest as soon as it is known.
    async fn read(
        &self,
        root: RawManifest,
        announced: Option<UnboundedSender<Digest>>,
    ) -> Result<(Graph, Option<Error>), Error> {
        let (mut graph, unusable) = self.walk(root, announced).await?;
        let damaged = self.add_platforms(&mut graph).await?;
        Ok((graph, unusable.or(damaged)))
    }

    /// The manifests without their platforms, and the error of the first invalid one.
    async fn walk(
        &self,
        root: RawManifest,
        announced: Option<UnboundedSender<Digest>>,
    ) -> Result<(Graph, Option<Error>), Error> {
        let Self { endpoint, repository, .. } = self;
        // The receiver is gone only if the other half of the work has failed.
        let announce = |digest: &Digest| {
            if let Some(announced) = &announced {
                drop(announced.unbounded_send(digest.clone()));
            }
        };
        let mut walk = Walk::default();
        let descriptor = root.descriptor();
        let root_digest = descriptor.digest.clone();
        announce(&root_digest);
        let node = self.opened(&descriptor, root);
        let mut level = vec![(descriptor, Some(node))];
        for _ in 0..=MAX_DEPTH {
            let wanted =
                walk.take(std::mem::take(&mut level), |descriptor, error| self.invalid(descriptor, error))?;
            if wanted.is_empty() {
                break;
            }
            walk.check_bounds(*endpoint, repository)?;
            for child in &wanted {
                announce(&child.digest);
            }
            level = stream::iter(wanted)
                .map(|child| self.read_child(child))
                .buffered(CONCURRENCY)
                .try_collect()
                .await?;
        }
        if !level.is_empty() {
            let error =
                ManifestError::Unreadable(format!("indexes are nested more than {MAX_DEPTH} levels deep"));
            let at = format!("{repository}@{root_digest}");
            return Err(Error::new(Operation::ReadManifest, endpoint.side(), at, error));
        }
        let unusable = walk.first_error.take();
        Ok((walk.into_graph(&root_digest), unusable))
    }

    async fn read_child(&self, child: Descriptor) -> Result<ChildResult, Error> {
        if let Some(known) = self.known.get(&child.digest) {
            let node = Node { descriptor: child.clone(), ..known.clone() };
            let found = if known.descriptor.size == child.size {
                Ok(node)
            } else {
                let (digest, found) = (child.digest.clone(), known.descriptor.size);
                Err(self.invalid(&child, ManifestError::Size { digest, expected: child.size, found }))
            };
            return Ok((child, Some(found)));
        }
        let read = match self.inline_manifest(&child) {
            Some(manifest) => Some(manifest),
            None => {
                match self.endpoint.manifest(self.repository, &Target::Digest(child.digest.clone())).await {
                    Ok(manifest) => manifest,
                    Err(error @ Error { cause: Cause::Manifest(_), .. }) => {
                        return Ok((child, Some(Err(error))));
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        let opened = read.map(|manifest| self.opened(&child, manifest));
        Ok((child, opened))
    }

    /// The manifest inside its own descriptor.
    fn inline_manifest(&self, child: &Descriptor) -> Option<RawManifest> {
        let bytes = child.inline.bytes().filter(|_| self.uses_inline_data)?;
        RawManifest::read(Some(child.media_type.as_str()), bytes.clone(), Some(&child.digest)).ok()
    }

    /// Parses a manifest and checks it against its parent's descriptor.
    fn opened(&self, descriptor: &Descriptor, manifest: RawManifest) -> Result<Node, Error> {
        let contents = manifest.check_size(descriptor).and_then(|()| manifest.contents());
        let contents = contents.map_err(|error| self.invalid(descriptor, error.with_text(hide_repeated)))?;
        let (descriptor, media_type) = (descriptor.clone(), manifest.media_type().clone());
        let manifest = self.keep.hold(manifest.size()).then(|| manifest.into_kept());
        Ok(Node { descriptor, media_type, manifest, contents, height: 0 })
    }

    fn invalid(&self, descriptor: &Descriptor, error: ManifestError) -> Error {
        let at = format!("{}@{}", self.repository, descriptor.digest);
        Error::new(Operation::ReadManifest, self.endpoint.side(), at, error)
    }
}

/// The state of the walk.
#[derive(Default)]
struct Walk {
    nodes: HashMap<Digest, Node>,
    asked: HashSet<Digest>,
    sizes: Sizes,
    missing: Vec<Descriptor>,
    unusable: Vec<(Descriptor, ManifestError)>,
    first_error: Option<Error>,
}

impl Walk {
    /// Sorts the results into nodes, missing and invalid children. Returns the children to request next.
    fn take(
        &mut self,
        found: Vec<ChildResult>,
        error_about: impl Fn(&Descriptor, ManifestError) -> Error,
    ) -> Result<Vec<Descriptor>, Error> {
        let mut wanted = Vec::new();
        for (descriptor, read) in found {
            let read: Option<Result<Node, Error>> = read.map(|read| {
                let node = read?;
                let referenced = node.successors().map(|successor| successor.descriptor);
                let added = self.sizes.add(referenced.chain([&descriptor]));
                added.map_err(|error| error_about(&descriptor, error))?;
                Ok(node)
            });
            match read {
                None => self.missing.push(descriptor),
                Some(Err(error)) => {
                    let Cause::Manifest(reason) = &error.cause else { return Err(error) };
                    self.unusable.push((descriptor, reason.clone()));
                    self.first_error.get_or_insert(error);
                }
                Some(Ok(node)) => {
                    self.asked.insert(descriptor.digest.clone());
                    let new = |child: &&Descriptor| self.asked.insert(child.digest.clone());
                    wanted.extend(graph::children(&node.contents).filter(new).cloned());
                    self.nodes.insert(node.descriptor.digest.clone(), node);
                }
            }
        }
        Ok(wanted)
    }

    fn check_bounds<S: Source>(&self, endpoint: &S, repository: &Repository) -> Result<(), Error> {
        if self.asked.len() <= MAX_MANIFESTS {
            return Ok(());
        }
        let error = ManifestError::Unreadable(format!("the image has more than {MAX_MANIFESTS} manifests"));
        Err(Error::new(Operation::ReadManifest, endpoint.side(), repository.to_string(), error))
    }

    /// Orders the nodes: children before parents, the root last.
    fn into_graph(mut self, root: &Digest) -> Graph {
        let mut nodes = Vec::with_capacity(self.nodes.len());
        self.settle(root, &mut nodes);
        let Self { missing, unusable, .. } = self;
        Graph { nodes, missing, unusable, ..Graph::default() }
    }

    /// Moves a node after its children and returns its height. The depth is limited during the walk.
    fn settle(&mut self, digest: &Digest, settled: &mut Vec<Node>) -> usize {
        let Some(mut node) = self.nodes.remove(digest) else {
            return settled
                .iter()
                .find(|node| node.descriptor.digest == *digest)
                .map_or(0, |node| node.height);
        };
        let heights = graph::children(&node.contents).map(|child| self.settle(&child.digest, settled) + 1);
        node.height = heights.max().unwrap_or(0);
        let height = node.height;
        settled.push(node);
        height
    }
}

impl<S: Source> Reader<'_, S> {
    /// Determines the platforms of all image manifests, from the index or else from the config. Returns the error of the
    /// first damaged config.
    async fn add_platforms(&self, graph: &mut Graph) -> Result<Option<Error>, Error> {
        let mut damaged = None;
        for node in &graph.nodes {
            let Contents::Image { config, .. } = &node.contents else { continue };
            let platform = match &node.descriptor.platform {
                Some(_) => node.descriptor.runnable_platform().cloned(),
                None if node.descriptor.attestation => None,
                None => {
                    let bytes = match self.read_config(config).await {
                        Ok(Some(bytes)) => bytes,
                        Ok(None) => continue,
                        Err(error @ Error { cause: Cause::Mismatch(_), .. }) => {
                            damaged.get_or_insert(error);
                            continue;
                        }
                        Err(error) => return Err(error),
                    };
                    let platform = platform_of(&bytes);
                    if config.size <= MAX_KEPT_SIZE || self.keep == ManifestBytes::All {
                        graph.configs.insert(config.digest.clone(), bytes);
                    }
                    platform
                }
            };
            if let Some(platform) = platform {
                graph.platforms.push(PlatformManifest { platform, digest: node.descriptor.digest.clone() });
            }
        }
        Ok(damaged)
    }

    /// A config's bytes; `None` when it is missing or not an image's config.
    async fn read_config(&self, config: &Descriptor) -> Result<Option<Bytes>, Error> {
        let Self { endpoint, repository, .. } = self;
        if config.size > MAX_CONFIG_SIZE || !config.media_type.is_image_config() {
            return Ok(None);
        }
        if let Some(bytes) = config.inline.bytes().filter(|_| self.uses_inline_data) {
            return Ok(Some(bytes.clone()));
        }
        match read_whole(*endpoint, repository, config).await {
            // The check of the blobs reports a missing config.
            Err(Error { cause: Cause::NoSuchBlob, .. }) => Ok(None),
            read => read.map(Some),
        }
    }
}

/// The fields of an image config that name its platform (OCI image specification, "Image Configuration").
#[derive(Deserialize)]
struct Config {
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
}

/// The platform that a config names.
fn platform_of(config: &[u8]) -> Option<Platform> {
    let Config { os, architecture, variant } = serde_json::from_slice(config).ok()?;
    let platform = Platform::new(&os?, &architecture?, variant.as_deref());
    (!platform.is_unknown()).then_some(platform)
}
