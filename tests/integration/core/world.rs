//! A source, a destination and images to mirror, built from a [`Spec`]; and the content of each image, computed without
//! the code under test.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use bytes::Bytes;
use serde_json::{Value, json};
use thoras_mirror::{
    oci::{
        Algorithm, Digest, Hasher, Mapping, Reference, Repository,
        media_type::{DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST},
    },
    problem::Side,
};

use super::generate::{Format, ImageSpec, LAYERS, Listed, Node, Preset, Spec};
use crate::support::memory_registry::{Contents, Memory, Settings};

/// How deep indexes are nested at most.
const MAX_DEPTH: usize = 4;

/// A source, a destination and what is to be mirrored.
pub(super) struct World {
    pub(super) spec: Spec,
    pub(super) source: Memory,
    pub(super) destination: Memory,
    pub(super) images: Vec<Image>,
    pub(super) jobs: usize,
    manifests: Vec<Manifest>,
}

/// One image and its content.
#[derive(Debug, Clone)]
pub(super) struct Image {
    pub(super) mapping: Mapping,
    pub(super) root: Digest,
    /// Its manifests with their bytes, the root among them.
    pub(super) manifests: BTreeMap<Digest, Bytes>,
    /// Its configs and layers with their bytes.
    pub(super) blobs: BTreeMap<Digest, Bytes>,
    /// The configs that must be read to learn a platform, repeated once for each platform.
    pub(super) learned_from: Vec<Digest>,
    /// The platforms that a node can run.
    pub(super) platforms: BTreeSet<String>,
    position: usize,
}

impl Image {
    pub(super) fn blob_bytes(&self) -> u64 {
        self.blobs.values().map(|bytes| bytes.len() as u64).sum()
    }

    /// How many of its platforms come from this config.
    pub(super) fn learns_from(&self, digest: &str) -> usize {
        self.learned_from.iter().filter(|config| config.as_str() == digest).count()
    }
}

/// One manifest of the pool.
struct Manifest {
    digest: Digest,
    served_as: Option<String>,
    bytes: Bytes,
    children: Vec<usize>,
    config: Option<(Digest, Bytes)>,
    layers: Vec<(Digest, Bytes)>,
    listed: Listed,
    platform: Option<&'static str>,
    has_image_config: bool,
    depth: usize,
}

impl World {
    pub(super) fn new(spec: Spec) -> Self {
        let settings =
            Settings { mounts: spec.mounts, resumes: true, strict: true, latency: 9, seed: spec.seed };
        let destination = Memory::new(Side::Destination, settings);
        let source = if spec.same_registry {
            destination.seen_as(Side::Source)
        } else {
            Memory::new(Side::Source, Settings { seed: !spec.seed, ..settings })
        };
        let mut world =
            Self { jobs: spec.jobs, source, destination, images: Vec::new(), manifests: Vec::new(), spec };
        for node in world.spec.nodes.clone() {
            let manifest = world.manifest(&node);
            world.manifests.push(manifest);
        }
        for (number, image) in world.spec.images.clone().iter().enumerate() {
            let image = world.image(number, image);
            world.source.edit(image.mapping.source.repository(), |contents| {
                world.store_all(image.position, contents);
                contents.tags.insert(format!("t{number}"), image.root.clone());
            });
            world.images.push(image);
        }
        for preset in world.spec.presets.clone() {
            world.apply(&preset);
        }
        world
    }

    /// An image of one manifest for each of these lists of layers, all into one repository.
    pub(super) fn of_layers(lists: &[&[u8]]) -> Self {
        let image = |layers: &&[u8]| Node::Image {
            config: 3,
            layers: layers.to_vec(),
            listed: Listed::Bare,
            format: Format::Oci,
            sha512: false,
        };
        Self::new(Spec {
            nodes: lists.iter().map(image).collect(),
            images: (0..lists.len()).map(|root| ImageSpec { root, from: 0, to: 0, pinned: false }).collect(),
            presets: Vec::new(),
            same_registry: false,
            mounts: true,
            jobs: 1,
            seed: 1,
        })
    }

    pub(super) fn mappings(&self) -> Vec<Mapping> {
        self.images.iter().map(|image| image.mapping.clone()).collect()
    }

    /// Which repositories of the destination need each blob.
    pub(super) fn needed(&self) -> BTreeSet<(Digest, Repository)> {
        let needs = |image: &Image| {
            let repository = image.mapping.repository.clone();
            image.blobs.keys().map(|digest| (digest.clone(), repository.clone())).collect::<Vec<_>>()
        };
        self.images.iter().flat_map(needs).collect()
    }

    /// Asserts that every tag names its image and that the image is complete, byte for byte.
    pub(super) fn assert_complete(&self) {
        for image in &self.images {
            self.destination.edit(&image.mapping.repository, |contents| {
                assert_eq!(contents.tags.get(&image.mapping.tag), Some(&image.root));
                for (digest, bytes) in &image.manifests {
                    assert_eq!(contents.manifests.get(digest).map(|(_, bytes)| bytes), Some(bytes));
                }
                for (digest, bytes) in &image.blobs {
                    assert_eq!(contents.blobs.get(digest), Some(bytes), "{digest}");
                }
            });
        }
    }

    /// Stores a manifest under the digest of roots, and everything below it.
    pub(super) fn store_all(&self, position: usize, contents: &mut Contents) {
        let manifest = &self.manifests[position];
        let root = Digest::sha256(&manifest.bytes);
        contents.manifests.insert(root, (manifest.served_as.clone(), manifest.bytes.clone()));
        for position in self.below(position) {
            let manifest = &self.manifests[position];
            let blobs = manifest.config.iter().chain(&manifest.layers);
            contents.blobs.extend(blobs.cloned());
            let children = manifest.children.iter().map(|child| &self.manifests[*child]);
            contents.manifests.extend(
                children.map(|child| (child.digest.clone(), (child.served_as.clone(), child.bytes.clone()))),
            );
        }
    }

    /// The positions of a manifest and of everything below it, each once.
    fn below(&self, position: usize) -> BTreeSet<usize> {
        let mut below = BTreeSet::from([position]);
        let mut queue = vec![position];
        while let Some(position) = queue.pop() {
            queue.extend(self.manifests[position].children.iter().filter(|child| below.insert(**child)));
        }
        below
    }

    fn apply(&self, preset: &Preset) {
        match preset {
            Preset::Manifest { image, node, tagged } => {
                let image = &self.images[image % self.images.len()];
                let below: Vec<usize> = self.below(image.position).into_iter().collect();
                let position = below[node % below.len()];
                self.destination.edit(&image.mapping.repository, |contents| {
                    self.store_all(position, contents);
                    if *tagged {
                        let digest = Digest::sha256(&self.manifests[position].bytes);
                        contents.tags.insert(image.mapping.tag.clone(), digest);
                    }
                });
            }
            Preset::Layer { to, layer: number } => {
                let (digest, bytes) = layer(*number);
                self.destination.edit(&destination(*to), |contents| contents.blobs.insert(digest, bytes));
            }
            Preset::Prefix { to, layer: number, length } => {
                let (digest, bytes) = layer(*number);
                let prefix = bytes[..length % (bytes.len() + 1)].to_vec();
                self.destination.edit(&destination(*to), |contents| contents.uploads.insert(digest, prefix));
            }
        }
    }

    fn image(&self, number: usize, spec: &ImageSpec) -> Image {
        let position = spec.root % self.manifests.len();
        let root = Digest::sha256(&self.manifests[position].bytes);
        let host = if self.spec.same_registry { "mirror" } else { "source" };
        let from: Repository = format!("{host}.example.com/from{}", spec.from).parse().unwrap();
        let source = Reference::tagged(from, &format!("t{number}")).unwrap();
        let source = if spec.pinned { source.with_digest(root.clone()) } else { source };
        let mapping =
            Mapping { source, pinned: None, repository: destination(spec.to), tag: format!("t{number}") };
        let mut image = Image {
            mapping,
            manifests: BTreeMap::from([(root.clone(), self.manifests[position].bytes.clone())]),
            root,
            blobs: BTreeMap::new(),
            learned_from: Vec::new(),
            platforms: BTreeSet::new(),
            position,
        };
        let below = self.below(position);
        for manifest in below.iter().map(|position| &self.manifests[*position]) {
            image.blobs.extend(manifest.config.iter().chain(&manifest.layers).cloned());
            let children = manifest.children.iter().map(|child| &self.manifests[*child]);
            image.manifests.extend(children.map(|child| (child.digest.clone(), child.bytes.clone())));
        }
        for at in below {
            let manifest = &self.manifests[at];
            // Nothing lists the root.
            let listed = if at == position { Listed::Bare } else { manifest.listed };
            let says_nothing = match listed {
                Listed::Bare => true,
                Listed::Platform => manifest.platform.is_none(),
                Listed::UnknownPlatform | Listed::Attestation => false,
            };
            if says_nothing && manifest.has_image_config {
                image.learned_from.extend(manifest.config.iter().map(|(digest, _)| digest.clone()));
            }
            if matches!(listed, Listed::Bare | Listed::Platform) {
                image.platforms.extend(manifest.platform.map(str::to_owned));
            }
        }
        image
    }

    fn manifest(&self, node: &Node) -> Manifest {
        match node {
            Node::Image { config, layers, listed, format, sha512 } => {
                let (config_type, platform, config) = config_blob(*config, *format);
                let layers: Vec<_> = layers.iter().map(|number| layer(*number)).collect();
                let layer_type = "application/vnd.oci.image.layer.v1.tar+gzip";
                let document = json!({
                    "config": descriptor(config_type, &config.0, &config.1),
                    "layers": layers.iter().map(|(digest, bytes)| descriptor(layer_type, digest, bytes)).collect::<Vec<_>>(),
                    // One manifest is never listed in two ways.
                    "annotations": { "listed": format!("{listed:?}") },
                });
                let (served_as, bytes) = write(*format, false, document);
                let has_image_config = config_type.contains("image");
                let platform = platform.filter(|_| has_image_config);
                Manifest {
                    digest: if *sha512 { sha512_of(&bytes) } else { Digest::sha256(&bytes) },
                    served_as,
                    bytes,
                    children: Vec::new(),
                    config: Some(config),
                    layers,
                    listed: *listed,
                    platform,
                    has_image_config,
                    depth: 0,
                }
            }
            Node::Index { children, format } => {
                let below = |child: usize| self.manifests[child].depth < MAX_DEPTH;
                let children: Vec<usize> = children
                    .iter()
                    .map(|child| child % self.manifests.len())
                    .map(|child| if below(child) { child } else { 0 })
                    .collect();
                let listed: Vec<Value> =
                    children.iter().map(|child| self.manifests[*child].listed()).collect();
                let (served_as, bytes) = write(*format, true, json!({ "manifests": listed }));
                let depth = children.iter().map(|child| self.manifests[*child].depth + 1).max().unwrap_or(0);
                Manifest {
                    digest: Digest::sha256(&bytes),
                    served_as,
                    bytes,
                    children,
                    config: None,
                    layers: Vec::new(),
                    listed: Listed::Bare,
                    platform: None,
                    has_image_config: false,
                    depth,
                }
            }
        }
    }
}

impl Manifest {
    /// What an index says about it.
    fn listed(&self) -> Value {
        let media_type = self.served_as.as_deref();
        let media_type = media_type.unwrap_or(if self.config.is_some() { OCI_MANIFEST } else { OCI_INDEX });
        let mut listed = descriptor(media_type, &self.digest, &self.bytes);
        match (self.listed, self.platform) {
            (Listed::Platform, Some(platform)) => {
                let parts: Vec<&str> = platform.split('/').collect();
                listed["platform"] = json!({ "os": parts[0], "architecture": parts[1] });
                if let Some(variant) = parts.get(2) {
                    listed["platform"]["variant"] = json!(variant);
                }
            }
            (Listed::UnknownPlatform, _) => {
                listed["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
            }
            (Listed::Attestation, _) => {
                listed["annotations"] = json!({ "vnd.docker.reference.type": "attestation-manifest" });
            }
            (Listed::Bare | Listed::Platform, _) => {}
        }
        listed
    }
}

fn destination(number: u8) -> Repository {
    format!("mirror.example.com/to{number}").parse().unwrap()
}

fn descriptor(media_type: &str, digest: &Digest, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest.as_str(), "size": bytes.len() })
}

/// The media type that a registry serves, and the bytes.
fn write(format: Format, index: bool, mut document: Value) -> (Option<String>, Bytes) {
    let media_type = match (format, index) {
        (Format::Docker, true) => DOCKER_INDEX,
        (Format::Docker, false) => DOCKER_MANIFEST,
        (_, true) => OCI_INDEX,
        (_, false) => OCI_MANIFEST,
    };
    document["schemaVersion"] = json!(2);
    if matches!(format, Format::Oci | Format::Docker) {
        document["mediaType"] = json!(media_type);
    }
    ((format != Format::Unnamed).then(|| media_type.to_owned()), document.to_string().into())
}

/// A config's media type, the platform that it names, and its bytes.
fn config_blob(number: u8, format: Format) -> (&'static str, Option<&'static str>, (Digest, Bytes)) {
    let image = match format {
        Format::Docker => "application/vnd.docker.container.image.v1+json",
        _ => "application/vnd.oci.image.config.v1+json",
    };
    let (media_type, platform, text) = match number {
        0 => (image, Some("linux/amd64"), r#"{"os":"linux","architecture":"amd64"}"#),
        1 => (image, Some("linux/arm64/v8"), r#"{"os":"linux","architecture":"arm64","variant":"v8"}"#),
        2 => (image, Some("linux/amd64"), r#"{"architecture":"amd64","os":"linux","rootfs":{}}"#),
        3 => ("application/vnd.oci.empty.v1+json", None, "{}"),
        _ => (image, None, "not even JSON"),
    };
    (media_type, platform, (Digest::sha256(text.as_bytes()), Bytes::from_static(text.as_bytes())))
}

/// A layer of the pool: empty, of all lengths, one with a SHA-512 digest, and one that is also a config.
pub(super) fn layer(number: u8) -> (Digest, Bytes) {
    const LENGTHS: [usize; 9] = [0, 1, 30, 64, 150, 151, 333, 700, 1000];
    if number == LAYERS - 1 {
        return config_blob(0, Format::Oci).2;
    }
    let length = LENGTHS[usize::from(number) % LENGTHS.len()];
    let bytes: Bytes = (0..length).map(|at| number.wrapping_add(u8::try_from(at % 251).unwrap())).collect();
    let digest = if matches!(number, 4 | 9) { sha512_of(&bytes) } else { Digest::sha256(&bytes) };
    (digest, bytes)
}

fn sha512_of(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(bytes);
    hasher.finish()
}

impl fmt::Debug for World {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spec.fmt(formatter)
    }
}
