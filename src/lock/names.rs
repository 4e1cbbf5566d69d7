//! The names that a lock records for a destination, so that another run gives the same names again.

use std::collections::BTreeMap;

use super::model::{Lock, Placement};
use crate::oci::{Reference, Repository, mapping::Root};

/// The names of a lock's images at one destination.
#[derive(Debug)]
pub(crate) struct RecordedNames<'a> {
    /// The naming rule that they came from.
    pub(crate) placement: &'a Placement,
    /// The destination of each image, by its source.
    pub(crate) names: BTreeMap<Reference, Reference>,
}

impl Lock {
    /// The names that the lock records at `root`; `None` if it is not one of the lock's destinations.
    ///
    /// Names outside `root` are ignored: a lock must not direct a push to another registry.
    pub(crate) fn names_at(&self, root: &Root) -> Option<RecordedNames<'_>> {
        let to = root.to_string();
        let placement = self.placement_at(&to)?;
        let names = self.copies_at(&to).filter(|(_, name)| name.repository().is_below(&to));
        Some(RecordedNames { placement, names: names.map(|(source, name)| (source, name.clone())).collect() })
    }

    /// The names that the lock records at `root` or, for a new destination, those at its first destination, moved to
    /// `root`. `None` for the lock of a bundle.
    pub(crate) fn names_for(&self, root: &Root) -> Option<RecordedNames<'_>> {
        if let Some(recorded) = self.names_at(root) {
            return Some(recorded);
        }
        let placement = self.placement()?;
        let first = placement.to.as_deref()?;
        let moved = |name: &Reference| {
            let full = name.repository().to_string();
            let below = full.strip_prefix(first)?.strip_prefix('/')?;
            let repository: Repository = format!("{root}/{below}").parse().ok()?;
            Reference::tagged(repository, name.tag_or_latest()).ok()
        };
        let names = self.copies_at(first).filter_map(|(source, name)| Some((source, moved(name)?)));
        Some(RecordedNames { placement, names: names.collect() })
    }

    /// The naming rule in the lock of a bundle, where images have the names of their sources.
    pub(crate) fn names_in_bundle(&self) -> Option<RecordedNames<'_>> {
        let placement = self.placement().filter(|placement| placement.to.is_none())?;
        let sources = self.images.iter().map(|image| (image.source.clone(), image.source.clone()));
        Some(RecordedNames { placement, names: sources.collect() })
    }

    fn copies_at<'a>(&'a self, to: &'a str) -> impl Iterator<Item = (Reference, &'a Reference)> {
        self.images.iter().filter_map(move |image| {
            let copy = image.destinations.iter().find(|copy| copy.to.as_deref() == Some(to))?;
            Some((image.source.clone(), &copy.reference))
        })
    }
}

impl RecordedNames<'_> {
    /// Whether the lock knows a repository of these images. If it knows none, it is the lock of other images.
    pub(crate) fn know_any_of(&self, references: &[Reference]) -> bool {
        let is_known = |reference: &Reference| {
            self.names.keys().any(|source| source.repository() == reference.repository())
        };
        references.iter().any(is_known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock() -> Lock {
        let text = r#"{"schema": "thoras-mirror/lock/v2",
            "destinations": [{"to": "reg.io/m", "naming": "relative", "sourcePrefix": "quay.io/team"}],
            "platforms": [], "blobs": {}, "images": [
              {"source": "quay.io/team/web:1", "platforms": [], "blobs": [],
               "destinations": [{"to": "reg.io/m", "reference": "reg.io/m/web:1", "confirmed": true}]},
              {"source": "quay.io/team/db:1", "platforms": [], "blobs": [],
               "destinations": [{"to": "reg.io/m", "reference": "evil.example/db:1", "confirmed": true}]}]}"#;
        Lock::from_slice(text.as_bytes()).unwrap()
    }

    fn names(recorded: &RecordedNames<'_>) -> Vec<String> {
        recorded.names.iter().map(|(source, name)| format!("{source} {name}")).collect()
    }

    #[test]
    fn names_outside_the_destination_are_ignored() {
        let lock = lock();
        let recorded = lock.names_at(&"reg.io/m".parse().unwrap()).unwrap();
        assert_eq!(names(&recorded), ["quay.io/team/web:1 reg.io/m/web:1"]);
        assert!(lock.names_at(&"reg.io/mirror".parse().unwrap()).is_none());
    }

    #[test]
    fn a_new_destination_gets_the_names_of_the_first() {
        let lock = lock();
        let recorded = lock.names_for(&"other.io/a/b".parse().unwrap()).unwrap();
        assert_eq!(names(&recorded), ["quay.io/team/web:1 other.io/a/b/web:1"]);
    }

    #[test]
    fn only_known_repositories_make_it_the_lock_of_these_images() {
        let lock = lock();
        let recorded = lock.names_at(&"reg.io/m".parse().unwrap()).unwrap();
        let know = |text: &str| recorded.know_any_of(&[text.parse().unwrap()]);
        assert!(know("quay.io/team/web:2"));
        assert!(!know("quay.io/other/web:1"));
    }

    #[test]
    fn only_a_lock_without_a_named_destination_is_that_of_a_bundle() {
        let mut lock = lock();
        assert!(lock.names_in_bundle().is_none());
        lock.destinations[0].to = None;
        let names = names(&lock.names_in_bundle().unwrap());
        assert_eq!(names, ["quay.io/team/db:1 quay.io/team/db:1", "quay.io/team/web:1 quay.io/team/web:1"]);
    }
}
