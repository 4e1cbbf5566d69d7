//! The one place that knows what a manifest references (OCI image specification, "Image Index" and "Image Manifest").

use std::collections::HashSet;

use crate::oci::{Contents, Descriptor, Digest};

/// How a manifest references something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Relation {
    /// A manifest that an index lists.
    Child,
    /// The config of an image or artifact.
    Config,
    /// A layer of an image or artifact.
    Layer,
    /// A manifest whose `subject` is this one: a signature, an attestation, an SBOM. The registry knows these edges, the
    /// manifest does not, so [`successors()`] never yields one; a [`Node`](super::Node) holds them.
    Referrer,
}

impl Relation {
    /// Whether the other end is a manifest, which has successors of its own.
    #[must_use]
    pub const fn is_manifest(self) -> bool {
        matches!(self, Self::Child | Self::Referrer)
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

/// The manifest that this one is about, if it is a referrer.
#[must_use]
pub const fn subject(contents: &Contents) -> Option<&Descriptor> {
    match contents {
        Contents::Index { subject, .. } | Contents::Image { subject, .. } => subject.as_ref(),
    }
}

/// Walks manifests from `root` down, each once, whatever holds them. `visit` is called with the digest of every manifest that
/// is reached and returns what it references, or `None` where it is missing or cannot be read.
pub fn walk<'a>(root: &Digest, mut visit: impl FnMut(&Digest) -> Option<&'a Contents>) {
    let mut seen = HashSet::from([root.clone()]);
    let mut next = vec![root.clone()];
    while let Some(digest) = next.pop() {
        let Some(contents) = visit(&digest) else { continue };
        next.extend(
            children(contents)
                .map(|child| &child.digest)
                .filter(|child| seen.insert((*child).clone()))
                .cloned(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_walk_visits_each_manifest_once_even_in_a_loop() {
        let index = |children: &[&str]| Contents::Index {
            manifests: children.iter().map(|name| descriptor(name)).collect(),
            subject: None,
        };
        let (root, nested) = (index(&["nested", "nested", "absent"]), index(&["root"]));
        let mut visited = Vec::new();
        walk(&Digest::sha256(b"root"), |digest| {
            visited.push(digest.clone());
            [("root", &root), ("nested", &nested)]
                .into_iter()
                .find_map(|(name, contents)| (*digest == Digest::sha256(name.as_bytes())).then_some(contents))
        });
        visited.sort();
        let mut expected = ["root", "nested", "absent"].map(|name| Digest::sha256(name.as_bytes()));
        expected.sort();
        assert_eq!(visited, expected);
    }
}
