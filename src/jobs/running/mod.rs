//! `running`: what a cluster runs, compared with the lock.
//!
//! [`index`] finds the locked image that a name means, under its name in the mirror or at its source.
//!
//! A node reports the digest of the index, of the platform's manifest, or of the config, depending on its runtime. The
//! lock records all three. Only if it lacks the platforms of an image, the mirror is read.

mod index;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use schemars::JsonSchema;
use serde::Serialize;

use self::index::{Index, Meaning};
use super::locked_names::{locked_names, read_lock};
use crate::{
    endpoint::{Source as _, registry::Registries},
    enumerate::{ImageUse, RunningContainer, read_running},
    error::{Failure, Kind},
    event::{EventSink, warn},
    lock::LockedImage,
    oci::{Digest, Reference, ReferenceError, Repository, Target, mapping::Root},
    request::{Access, Login, Running},
    resolve,
};

/// What a cluster runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClusterComparison {
    /// Sorted by name.
    pub(crate) images: Vec<RunningImage>,
}

/// An image that a cluster runs, under one name and with one digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunningImage {
    /// The image as written in the pods.
    pub(crate) image: String,
    /// The digest that the nodes report, if any: of the index, of a platform's manifest, or of a config.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) digest: Option<Digest>,
    /// Where nodes pull it from.
    pub(crate) origin: Origin,
    /// How it compares with the lock.
    pub(crate) content: LockMatch,
    /// The image in the lock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<Reference>,
    /// The digest in the lock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) locked_digest: Option<Digest>,
    /// The containers that use it.
    pub(crate) uses: Vec<ImageUse>,
}

/// Where nodes pull an image from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Origin {
    /// The mirror.
    Mirror,
    /// Another registry.
    Outside,
    /// Its name is that of a source. A node that is redirected pulls it from the mirror under this name.
    Unknown,
}

/// How the content of a running image compares with the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LockMatch {
    /// The lock has this digest for it.
    Same,
    /// The lock has another digest for it.
    Different,
    /// The lock does not have the image.
    NotLocked,
    /// The node reports no digest, or the lock has none.
    Unknown,
}

impl RunningImage {
    /// Whether it makes the cluster differ from the lock.
    pub(crate) fn is_difference(&self) -> bool {
        self.origin == Origin::Outside || matches!(self.content, LockMatch::Different | LockMatch::NotLocked)
    }
}

pub(crate) async fn run(request: &Running, events: Arc<dyn EventSink>) -> Result<ClusterComparison, Failure> {
    let Running { pods, lock: path, root, namespaces, may_redirect, login, registries } = request;
    let lock = read_lock(path)?;
    let names = locked_names(&lock, path, root.as_ref())?;
    let index = Index::new(&lock, &names, root.as_ref(), *may_redirect);
    let mut containers = read_running(pods).await?;
    if !namespaces.is_empty() {
        containers.retain(|container| {
            container.used_at.namespace.as_ref().is_some_and(|namespace| namespaces.contains(namespace))
        });
        if containers.is_empty() {
            let message = format!("{pods} has no pod in namespace {}", namespaces.join(", "));
            return Err(Failure::new(Kind::Input, message));
        }
    }
    let mut images: Vec<RunningImage> =
        grouped(containers).into_iter().map(|image| index.classify(image)).collect();
    if images.iter().any(|image| index.needs_reading(image)) {
        let access = Access::open(registries, Arc::clone(&events))?;
        let mut reader =
            Reader { access, root: None, login: login.as_ref(), read: HashMap::new(), events: &*events };
        for image in &mut images {
            if let Some((copy, locked)) = index.unread(image) {
                let known = reader.digests(&copy, &locked).await;
                image.content = match (&image.digest, known) {
                    (Some(digest), Some(known)) if known.contains(digest) => LockMatch::Same,
                    (Some(_), Some(_)) => LockMatch::Different,
                    _ => LockMatch::Unknown,
                };
            }
        }
    }
    Ok(ClusterComparison { images })
}

/// One entry for each name and digest, with everything that uses it.
fn grouped(containers: Vec<RunningContainer>) -> Vec<RunningImage> {
    let mut groups: BTreeMap<(String, Option<String>), RunningImage> = BTreeMap::new();
    for RunningContainer { image, digest, used_at } in containers {
        let key = (image.clone(), digest.as_ref().map(ToString::to_string));
        let group = groups.entry(key).or_insert_with(|| RunningImage {
            image,
            digest,
            origin: Origin::Outside,
            content: LockMatch::NotLocked,
            source: None,
            locked_digest: None,
            uses: Vec::new(),
        });
        group.uses.push(used_at);
    }
    groups.into_values().collect()
}

impl Index<'_> {
    /// Says where the image comes from and whether the lock has its digest.
    fn classify(&self, mut image: RunningImage) -> RunningImage {
        let Ok(reference) = image.image.parse::<Reference>() else {
            (image.origin, image.content) = (Origin::Unknown, LockMatch::Unknown);
            return image;
        };
        // A reference by digest is pulled by digest, also before a node reports it.
        let digest = image.digest.clone().or_else(|| reference.digest().cloned());
        let (origin, meaning) = self.meaning(&reference, digest.as_ref());
        image.origin = origin;
        image.content = match meaning {
            Meaning::Unlisted => LockMatch::NotLocked,
            Meaning::Locked(locked) => {
                image.source = Some(locked.source.clone());
                image.locked_digest.clone_from(&locked.digest);
                compare(locked, digest.as_ref())
            }
        };
        image.digest = digest;
        image
    }

    /// Whether only the mirror can tell if the digest belongs to the image.
    fn needs_reading(&self, image: &RunningImage) -> bool {
        self.unread(image).is_some()
    }

    /// The copy to read, and its digest.
    fn unread(&self, image: &RunningImage) -> Option<(Repository, Digest)> {
        if image.content != LockMatch::Unknown || image.digest.is_none() {
            return None;
        }
        let locked = self.locked(image.source.as_ref()?)?;
        let digest = locked.digest.clone().filter(|_| locked.platforms.is_empty())?;
        Some((self.copy_of(&locked.source)?.repository().clone(), digest))
    }
}

/// A digest of the root, of a platform's manifest or of a config (which is among the blobs) is the image.
fn compare(locked: &LockedImage, digest: Option<&Digest>) -> LockMatch {
    let (Some(digest), Some(root)) = (digest, &locked.digest) else { return LockMatch::Unknown };
    let is_platform = || locked.platforms.iter().any(|platform| platform.digest == *digest);
    if digest == root || is_platform() || locked.blobs.contains(digest) {
        LockMatch::Same
    } else if locked.platforms.is_empty() {
        LockMatch::Unknown
    } else {
        LockMatch::Different
    }
}

/// Reads images whose platforms the lock does not know.
struct Reader<'a> {
    access: Access,
    root: Option<(Root, Registries)>,
    login: Option<&'a Login>,
    /// By digest; `None` if the mirror could not be read.
    read: HashMap<Digest, Option<HashSet<Digest>>>,
    events: &'a dyn EventSink,
}

impl Reader<'_> {
    /// All digests of an image.
    async fn digests(&mut self, repository: &Repository, digest: &Digest) -> Option<HashSet<Digest>> {
        if let Some(known) = self.read.get(digest) {
            return known.clone();
        }
        let read = match self.read(repository, digest).await {
            Ok(read) => Some(read),
            Err(failure) => {
                let message =
                    format!("the platforms of {repository}@{digest} are unknown: {}", failure.message);
                warn(self.events, message);
                None
            }
        };
        self.read.insert(digest.clone(), read.clone());
        read
    }

    async fn read(&mut self, repository: &Repository, digest: &Digest) -> Result<HashSet<Digest>, Failure> {
        let registries = self.registries(repository).await?;
        let target = Target::Digest(digest.clone());
        let root = registries.manifest(repository, &target).await.map_err(|error| error.failure())?;
        let Some(root) = root else { return Ok(HashSet::new()) };
        let graph = resolve::survey(registries, repository, root).await;
        let graph = graph.map_err(|error| error.failure())?;
        let manifests = graph.nodes.iter().map(|node| node.descriptor.digest.clone());
        Ok(manifests.chain(graph.blobs().iter().map(|blob| blob.digest.clone())).collect())
    }

    /// The mirror, opened once for each registry.
    async fn registries(&mut self, repository: &Repository) -> Result<&Registries, Failure> {
        let is_same = |(root, _): &(Root, Registries)| root.registry() == repository.registry();
        let opened = if let Some(opened) = self.root.take().filter(is_same) {
            opened
        } else {
            let root: Root = repository
                .registry()
                .parse()
                .map_err(|error: ReferenceError| Failure::from_error(Kind::Input, &error))?;
            let registries = self.access.destination(self.login).await?;
            (root, registries)
        };
        Ok(&self.root.insert(opened).1)
    }
}
