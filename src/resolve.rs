//! From a reference to everything that the image is made of: manifests with their bytes, and blobs.

mod platforms;

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use crate::{
    endpoint::{Cause, Error, Operation, Source},
    oci::{
        ArtifactKind, Contents, Descriptor, Digest, Platform, RawManifest, Repository, Target,
        manifest::ManifestError,
    },
    outcome::PlatformOutcome,
};

/// How deep indexes may be nested.
const DEEPEST: usize = 8;
/// How many manifests one image may have.
const MOST_MANIFESTS: usize = 2000;
/// How many manifests of one image are read at once.
const AT_ONCE: usize = 8;

/// Whether foreign layers belong to an image. Their license forbids to pass them on, registries accept manifests
/// without them, and nodes fetch them from elsewhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ForeignLayers {
    /// They may be missing, and are not copied.
    #[default]
    Optional,
    /// They are blobs like any other: the nodes cannot fetch them, and whoever runs this may pass them on.
    Required,
}

/// What a flag says.
impl From<bool> for ForeignLayers {
    fn from(required: bool) -> Self {
        if required { Self::Required } else { Self::Optional }
    }
}

impl ForeignLayers {
    /// Whether a blob belongs to an image.
    #[must_use]
    pub fn admit(self, blob: &Descriptor) -> bool {
        self == Self::Required || !blob.media_type.is_foreign_layer()
    }
}

/// Manifests that have been read already, by digest. They need not be read again from anywhere.
pub type Known = HashMap<Digest, RawManifest>;

/// One manifest of an image.
#[derive(Debug, Clone)]
pub struct Node {
    /// What its parent says about it.
    pub descriptor: Descriptor,
    /// Its bytes.
    pub manifest: RawManifest,
    /// What it refers to.
    pub contents: Contents,
    /// 0 for a manifest without child manifests, else one more than its highest child.
    pub height: usize,
}

/// Everything that an image is made of, as far as it could be read.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    /// Children before parents; the root is the last.
    pub nodes: Vec<Node>,
    /// The platforms that a node can run, in the order of the index.
    pub platforms: Vec<PlatformOutcome>,
    /// Manifests that a parent names and that are not there.
    pub missing: Vec<Descriptor>,
    /// Manifests that are there and cannot be used; every cause is a [`Cause::Manifest`].
    pub unusable: Vec<(Descriptor, Error)>,
    /// Whether its foreign layers are among its blobs.
    pub foreign_layers: ForeignLayers,
    /// Small configs that were read to learn a platform. They need not be read again.
    pub configs: HashMap<Digest, Bytes>,
}

impl Graph {
    /// The same image, with its foreign layers or without them.
    #[must_use]
    pub fn with_foreign_layers(self, foreign_layers: ForeignLayers) -> Self {
        Self { foreign_layers, ..self }
    }

    /// The manifest that the tag names.
    #[must_use]
    pub fn root(&self) -> Option<&Node> {
        self.nodes.last()
    }

    /// Every blob once, in the order of the manifests.
    #[must_use]
    pub fn blobs(&self) -> Vec<&Descriptor> {
        let mut seen = HashSet::new();
        let blobs = self.nodes.iter().flat_map(|node| self.blobs_of(node));
        blobs.filter(|blob| seen.insert(&blob.digest)).collect()
    }

    /// How many bytes all of them have by their descriptors, which may claim anything.
    #[must_use]
    pub fn blob_bytes(&self) -> u64 {
        self.blobs().iter().fold(0, |sum, blob| sum.saturating_add(blob.size))
    }

    /// The blobs of this image that one of its manifests names: config first.
    pub fn blobs_of<'a>(&self, node: &'a Node) -> impl Iterator<Item = &'a Descriptor> + use<'a> {
        let foreign_layers = self.foreign_layers;
        node.named_blobs().filter(move |blob| foreign_layers.admit(blob))
    }

    /// How many foreign layers [`Graph::blobs`] leaves out.
    #[must_use]
    pub fn left_out(&self) -> usize {
        let named: HashSet<&Digest> =
            self.nodes.iter().flat_map(Node::named_blobs).map(|blob| &blob.digest).collect();
        named.len() - self.blobs().len()
    }

    /// Attestation manifests: they travel with the index and are no platform.
    #[must_use]
    pub fn attestations(&self) -> usize {
        self.nodes.iter().filter(|node| node.descriptor.is_attestation()).count()
    }

    /// The names of the platforms.
    #[must_use]
    pub fn platform_names(&self) -> Vec<Platform> {
        self.platforms.iter().map(|outcome| outcome.platform.clone()).collect()
    }

    /// What it is, as its config says.
    #[must_use]
    pub fn kind(&self) -> ArtifactKind {
        match self.root().map(|root| &root.contents) {
            Some(Contents::Image { config, .. }) => ArtifactKind::of_config(&config.media_type),
            _ => ArtifactKind::Image,
        }
    }

    /// The required platforms that are not there. A chart runs nowhere, so it lacks none.
    #[must_use]
    pub fn lacks(&self, required: &[Platform]) -> Vec<Platform> {
        let served = |platform: &Platform| {
            self.platforms.iter().any(|available| platform.is_served_by(&available.platform))
        };
        if !self.kind().is_image() {
            return Vec::new();
        }
        required.iter().filter(|platform| !served(platform)).cloned().collect()
    }
}

impl Node {
    /// The blobs that this manifest names, foreign layers included: config first.
    fn named_blobs(&self) -> impl Iterator<Item = &Descriptor> {
        let (config, layers) = match &self.contents {
            Contents::Image { config, layers, .. } => (Some(config), layers.as_slice()),
            Contents::Index { .. } => (None, [].as_slice()),
        };
        config.into_iter().chain(layers)
    }

    fn children(&self) -> &[Descriptor] {
        match &self.contents {
            Contents::Index { manifests, .. } => manifests,
            Contents::Image { .. } => &[],
        }
    }
}

/// Reads an image's whole graph. A child that is missing or unusable is an error.
pub async fn resolve<S: Source>(
    source: &S,
    repository: &Repository,
    root: RawManifest,
    known: &Known,
) -> Result<Graph, Error> {
    let graph = survey(source, repository, root, known).await?;
    if let Some((_, error)) = graph.unusable.first() {
        return Err(error.clone());
    }
    if let Some(missing) = graph.missing.first() {
        let place = format!("{repository}@{}", missing.digest);
        let cause = Cause::NoSuchChild(missing.platform.clone().map(Box::new));
        return Err(Error::new(Operation::ReadManifest, source.side(), place, cause));
    }
    Ok(graph)
}

/// Reads as much of an image's graph as is there. Only what prevents reading at all is an error.
pub async fn survey<S: Source>(
    place: &S,
    repository: &Repository,
    root: RawManifest,
    known: &Known,
) -> Result<Graph, Error> {
    let mut walk = Walk::default();
    let root_digest = root.digest().clone();
    let descriptor = root.descriptor();
    let read = opened(place, repository, &descriptor, root);
    let mut level = vec![(descriptor, Some(read))];
    for _ in 0..=DEEPEST {
        let wanted = walk.take(std::mem::take(&mut level));
        if wanted.is_empty() {
            break;
        }
        walk.check_bounds(place, repository)?;
        level = stream::iter(wanted)
            .map(|child| read_child(place, repository, child, known))
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
    }
    if !level.is_empty() {
        let error = ManifestError::Unreadable(format!("indexes are nested more than {DEEPEST} deep"));
        let at = format!("{repository}@{root_digest}");
        return Err(Error::new(Operation::ReadManifest, place.side(), at, error));
    }
    let mut graph = walk.into_graph(&root_digest);
    platforms::learn(place, repository, &mut graph).await?;
    Ok(graph)
}

/// A child that was asked for: absent, unusable, or read.
type Found = (Descriptor, Option<Result<(Contents, RawManifest), Error>>);

async fn read_child<S: Source>(
    place: &S,
    repository: &Repository,
    child: Descriptor,
    known: &Known,
) -> Result<Found, Error> {
    let read = match known.get(&child.digest) {
        Some(manifest) => Some(manifest.clone()),
        None => match place.manifest(repository, &Target::Digest(child.digest.clone())).await {
            Ok(manifest) => manifest,
            Err(error @ Error { cause: Cause::Manifest(_), .. }) => return Ok((child, Some(Err(error)))),
            Err(error) => return Err(error),
        },
    };
    let opened = read.map(|manifest| opened(place, repository, &child, manifest));
    Ok((child, opened))
}

/// A manifest with what it refers to, if it is what its parent says and can be understood.
fn opened<S: Source>(
    place: &S,
    repository: &Repository,
    descriptor: &Descriptor,
    manifest: RawManifest,
) -> Result<(Contents, RawManifest), Error> {
    let contents = manifest.check_size(descriptor).and_then(|()| manifest.contents());
    let at = || format!("{repository}@{}", descriptor.digest);
    match contents {
        Ok(contents) => Ok((contents, manifest)),
        Err(error) => Err(Error::new(Operation::ReadManifest, place.side(), at(), error)),
    }
}

/// What has been read so far.
#[derive(Default)]
struct Walk {
    nodes: HashMap<Digest, Node>,
    asked: HashSet<Digest>,
    missing: Vec<Descriptor>,
    unusable: Vec<(Descriptor, Error)>,
}

impl Walk {
    /// Sorts what came into nodes, missing and unusable; returns the children to ask for next.
    fn take(&mut self, found: Vec<Found>) -> Vec<Descriptor> {
        let mut wanted = Vec::new();
        for (descriptor, read) in found {
            match read {
                None => self.missing.push(descriptor),
                Some(Err(error)) => self.unusable.push((descriptor, error)),
                Some(Ok((contents, manifest))) => {
                    self.asked.insert(descriptor.digest.clone());
                    let node = Node { descriptor, manifest, contents, height: 0 };
                    let new = |child: &&Descriptor| self.asked.insert(child.digest.clone());
                    wanted.extend(node.children().iter().filter(new).cloned());
                    self.nodes.insert(node.descriptor.digest.clone(), node);
                }
            }
        }
        wanted
    }

    fn check_bounds<S: Source>(&self, place: &S, repository: &Repository) -> Result<(), Error> {
        if self.asked.len() <= MOST_MANIFESTS {
            return Ok(());
        }
        let error = ManifestError::Unreadable(format!("the image has more than {MOST_MANIFESTS} manifests"));
        Err(Error::new(Operation::ReadManifest, place.side(), repository.to_string(), error))
    }

    /// Orders the nodes: children before parents, the root last.
    fn into_graph(mut self, root: &Digest) -> Graph {
        let mut nodes = Vec::with_capacity(self.nodes.len());
        self.settle(root, &mut nodes);
        let Self { missing, unusable, .. } = self;
        Graph { nodes, missing, unusable, ..Graph::default() }
    }

    /// Moves a node behind its children and returns its height. The depth was bounded while reading.
    fn settle(&mut self, digest: &Digest, settled: &mut Vec<Node>) -> usize {
        let Some(mut node) = self.nodes.remove(digest) else {
            return settled
                .iter()
                .find(|node| node.descriptor.digest == *digest)
                .map_or(0, |node| node.height);
        };
        let heights =
            node.children().to_vec().into_iter().map(|child| self.settle(&child.digest, settled) + 1);
        node.height = heights.max().unwrap_or(0);
        let height = node.height;
        settled.push(node);
        height
    }
}
