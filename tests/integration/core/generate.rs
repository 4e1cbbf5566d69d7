//! Draws random images: nested indexes, shared children and blobs, attestations, rare digests and media types.

use proptest::{collection::vec, prelude::*, sample::select};

use super::world::World;

/// How many configs and how many layers there are to choose from. Few, so that images share them.
pub(super) const CONFIGS: u8 = 5;
pub(super) const LAYERS: u8 = 11;
/// How many repositories each side has.
pub(super) const REPOSITORIES: u8 = 3;

/// An index into a list, modulo its length.
pub(super) type Pick = usize;

fn pick() -> std::ops::Range<Pick> {
    0..64
}

/// One manifest.
#[derive(Debug, Clone)]
pub(super) enum Node {
    /// An image of a config and layers.
    Image { config: u8, layers: Vec<u8>, listed: Listed, format: Format, sha512: bool },
    /// An index of manifests that were drawn before it.
    Index { children: Vec<Pick>, format: Format },
}

/// What an index says about an image that it lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listed {
    /// No platform: the config names it.
    Bare,
    /// The platform.
    Platform,
    /// `unknown/unknown`, as build tools write for attestations.
    UnknownPlatform,
    /// An attestation annotation, and no platform.
    Attestation,
}

/// How a manifest is written and served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Oci,
    Docker,
    /// OCI, without a `mediaType` in the body.
    Untyped,
    /// OCI, without a `mediaType` in the body or from the registry.
    Unnamed,
}

/// One image to mirror: which manifest, from which repository, to which.
#[derive(Debug, Clone)]
pub(super) struct ImageSpec {
    pub(super) root: Pick,
    pub(super) from: u8,
    pub(super) to: u8,
    pub(super) pinned: bool,
}

/// Something that the destination has before the first run.
#[derive(Debug, Clone)]
pub(super) enum Preset {
    /// A manifest of an image with everything below it, under the image's tag or untagged.
    Manifest { image: Pick, node: Pick, tagged: bool },
    /// A layer that no image references.
    Layer { to: u8, layer: u8 },
    /// The beginning of a layer.
    Prefix { to: u8, layer: u8, length: Pick },
}

/// Everything about a world.
#[derive(Debug, Clone)]
pub(super) struct Spec {
    pub(super) nodes: Vec<Node>,
    pub(super) images: Vec<ImageSpec>,
    pub(super) presets: Vec<Preset>,
    pub(super) same_registry: bool,
    pub(super) mounts: bool,
    pub(super) jobs: usize,
    pub(super) seed: u64,
}

fn format() -> impl Strategy<Value = Format> {
    select(vec![Format::Oci, Format::Oci, Format::Docker, Format::Untyped, Format::Unnamed])
}

fn image_manifest() -> impl Strategy<Value = Node> {
    let listed = select(vec![
        Listed::Bare,
        Listed::Platform,
        Listed::Platform,
        Listed::UnknownPlatform,
        Listed::Attestation,
    ]);
    (0..CONFIGS, vec(0..LAYERS, 0..4), listed, format(), prop::bool::weighted(0.1)).prop_map(
        |(config, layers, listed, format, sha512)| Node::Image { config, layers, listed, format, sha512 },
    )
}

fn node() -> impl Strategy<Value = Node> {
    let index = (vec(pick(), 0..4), format()).prop_map(|(children, format)| Node::Index { children, format });
    prop_oneof![image_manifest(), index]
}

fn image() -> impl Strategy<Value = ImageSpec> {
    (pick(), 0..REPOSITORIES, 0..REPOSITORIES, any::<bool>()).prop_map(|(root, from, to, pinned)| ImageSpec {
        root,
        from,
        to,
        pinned,
    })
}

fn preset() -> impl Strategy<Value = Preset> {
    prop_oneof![
        (pick(), pick(), any::<bool>()).prop_map(|(image, node, tagged)| Preset::Manifest {
            image,
            node,
            tagged
        }),
        (0..REPOSITORIES, 0..LAYERS).prop_map(|(to, layer)| Preset::Layer { to, layer }),
        (0..REPOSITORIES, 0..LAYERS, pick()).prop_map(|(to, layer, length)| Preset::Prefix {
            to,
            layer,
            length
        }),
    ]
}

/// A world whose destination has at most this many presets.
pub(super) fn spec(presets: usize) -> impl Strategy<Value = Spec> {
    let nodes = (image_manifest(), vec(node(), 1..8)).prop_map(|(first, mut rest)| {
        rest.insert(0, first);
        rest
    });
    let images = vec(image(), 1..5);
    let settings = (prop::bool::weighted(0.2), prop::bool::weighted(0.7), 1_usize..5, any::<u64>());
    (nodes, images, vec(preset(), 0..=presets), settings).prop_map(
        |(nodes, images, presets, (same_registry, mounts, jobs, seed))| Spec {
            nodes,
            images,
            presets,
            same_registry,
            mounts,
            jobs,
            seed,
        },
    )
}

/// A world with an empty destination.
pub(super) fn empty_world() -> impl Strategy<Value = World> {
    spec(0).prop_map(World::new)
}

/// A world whose destination already has some of the images, complete or in part, or other images under their tags.
/// Every manifest present is complete.
pub(super) fn world() -> impl Strategy<Value = World> {
    spec(6).prop_map(World::new)
}
