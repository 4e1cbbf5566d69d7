//! The one place that knows what a manifest references (OCI image specification, "Image Index" and "Image Manifest").

use std::collections::HashSet;

use crate::oci::{Contents, Descriptor};

/// How a manifest references something. Attachments are not included: only the registry knows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Relation {
    /// A manifest that an index lists.
    Child,
    /// The config of an image or artifact.
    Config,
    /// A layer of an image or artifact.
    Layer,
}

impl Relation {
    /// Whether the other end is a manifest, which has successors of its own.
    #[must_use]
    pub const fn is_manifest(self) -> bool {
        matches!(self, Self::Child)
    }
}

/// One edge of the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Successor<'a> {
    /// How it is referenced.
    pub relation: Relation,
    /// What is referenced.
    pub descriptor: &'a Descriptor,
}

/// Everything that a manifest references, in the order of the manifest: the children of an index; the config of an image,
/// then its layers, foreign ones included.
pub fn successors(contents: &Contents) -> impl Iterator<Item = Successor<'_>> {
    let (children, config, layers) = match contents {
        Contents::Index { manifests, .. } => (manifests.as_slice(), None, [].as_slice()),
        Contents::Image { config, layers, .. } => ([].as_slice(), Some(config), layers.as_slice()),
    };
    let edge = |relation| move |descriptor| Successor { relation, descriptor };
    let children = children.iter().map(edge(Relation::Child));
    children
        .chain(config.into_iter().map(edge(Relation::Config)))
        .chain(layers.iter().map(edge(Relation::Layer)))
}

/// The manifests that a manifest lists: see [`successors()`].
pub fn children(contents: &Contents) -> impl Iterator<Item = &Descriptor> {
    successors(contents).filter(|edge| edge.relation == Relation::Child).map(|edge| edge.descriptor)
}

/// The blobs that a manifest references, config first: see [`successors()`].
pub fn blobs(contents: &Contents) -> impl Iterator<Item = &Descriptor> {
    successors(contents).filter(|edge| !edge.relation.is_manifest()).map(|edge| edge.descriptor)
}

/// The config of an image or artifact; an index has none.
#[must_use]
pub fn config(contents: &Contents) -> Option<&Descriptor> {
    successors(contents).find(|edge| edge.relation == Relation::Config).map(|edge| edge.descriptor)
}

/// The layers of an image or artifact, foreign ones included: see [`successors`].
pub fn layers(contents: &Contents) -> impl Iterator<Item = &Descriptor> {
    successors(contents).filter(|edge| edge.relation == Relation::Layer).map(|edge| edge.descriptor)
}

/// The manifest that this one is about, if it is a referrer.
#[must_use]
pub const fn subject(contents: &Contents) -> Option<&Descriptor> {
    match contents {
        Contents::Index { subject, .. } | Contents::Image { subject, .. } => subject.as_ref(),
    }
}

/// Everything that can be reached from a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reachable {
    /// Each manifest once, the root first, whether it could be read or not.
    pub manifests: Vec<Descriptor>,
    /// Each blob once, foreign layers included.
    pub blobs: Vec<Descriptor>,
}

/// Walks down from `root` through manifests in any kind of storage. `read` is called once for every manifest and returns what it
/// references, or `None` where it is missing or cannot be read. The first error of `read` ends the walk.
pub fn reachable<E>(
    root: &Descriptor,
    mut read: impl FnMut(&Descriptor) -> Result<Option<Contents>, E>,
) -> Result<Reachable, E> {
    let (mut seen_manifests, mut seen_blobs) = (HashSet::from([root.digest.clone()]), HashSet::new());
    let (mut manifests, mut blobs) = (Vec::new(), Vec::new());
    let mut next = vec![root.clone()];
    while let Some(manifest) = next.pop() {
        let contents = read(&manifest)?;
        manifests.push(manifest);
        for Successor { relation, descriptor } in contents.iter().flat_map(successors) {
            let (seen, found) = if relation.is_manifest() {
                (&mut seen_manifests, &mut next)
            } else {
                (&mut seen_blobs, &mut blobs)
            };
            if seen.insert(descriptor.digest.clone()) {
                found.push(descriptor.clone());
            }
        }
    }
    Ok(Reachable { manifests, blobs })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::oci::Digest;

    fn descriptor(name: &str) -> Descriptor {
        Descriptor::new("x/y".into(), Digest::sha256(name.as_bytes()), 1)
    }

    #[test]
    fn an_image_references_its_config_then_its_layers_and_nothing_below() {
        let (config, layers) = (descriptor("config"), vec![descriptor("a"), descriptor("b")]);
        let image = Contents::Image { config, layers, subject: Some(descriptor("subject")) };
        let relations: Vec<Relation> = successors(&image).map(|edge| edge.relation).collect();
        assert_eq!(relations, [Relation::Config, Relation::Layer, Relation::Layer]);
        assert_eq!(children(&image).count(), 0);
        assert_eq!(subject(&image), Some(&descriptor("subject")), "a subject is no successor");
    }

    #[test]
    fn a_walk_reads_each_manifest_once_even_in_a_loop() {
        let index = |children: &[&str]| Contents::Index {
            manifests: children.iter().map(|name| descriptor(name)).collect(),
            subject: None,
        };
        let image = Contents::Image {
            config: descriptor("config"),
            layers: vec![descriptor("layer"), descriptor("layer")],
            subject: Some(descriptor("subject")),
        };
        let held = [
            ("root", index(&["nested", "nested", "absent", "image"])),
            ("nested", index(&["root", "image"])),
            ("image", image),
        ];
        let mut read = Vec::new();
        let reachable = reachable(&descriptor("root"), |manifest| {
            read.push(manifest.clone());
            let named = held.iter().find(|(name, _)| *manifest == descriptor(name));
            Ok::<_, Infallible>(named.map(|(_, contents)| contents.clone()))
        });
        let Ok(reachable) = reachable;
        assert_eq!(reachable.manifests, read);
        assert_eq!(reachable.manifests[0], descriptor("root"));
        let sorted = |mut descriptors: Vec<Descriptor>| {
            descriptors.sort_by(|one, other| one.digest.cmp(&other.digest));
            descriptors
        };
        let named = |names: &[&str]| sorted(names.iter().map(|name| descriptor(name)).collect());
        assert_eq!(sorted(reachable.manifests), named(&["root", "nested", "absent", "image"]));
        assert_eq!(sorted(reachable.blobs), named(&["config", "layer"]));
    }

    #[test]
    fn a_walk_ends_with_the_first_error() {
        assert_eq!(reachable(&descriptor("root"), |_| Err("broken")), Err("broken"));
    }
}
