//! Checks that a run can be recorded in a lock that has other destinations: an image has one digest in a lock.
//!
//! The lock is written last. What cannot be recorded fails before any transfer.

use std::{collections::BTreeMap, path::Path};

use futures::{StreamExt as _, stream};

use crate::{
    endpoint::Source,
    error::{Failure, Kind},
    lock::Lock,
    oci::{Digest, Mapping, Reference, mapping::Root},
};

/// How many tags are looked up at once.
const CONCURRENCY: usize = 16;
/// How many images an error names.
const MAX_NAMED: usize = 5;

/// The lock of a run that keeps other destinations.
pub(super) struct KeptLock<'a> {
    pub(super) lock: &'a Lock,
    pub(super) path: &'a Path,
    /// The destinations of the run.
    pub(super) roots: &'a [&'a Root],
}

impl KeptLock<'_> {
    /// Fails if the source has other digests than the lock records at its other destinations. A tag that cannot be read
    /// is left to the run.
    pub(super) async fn check_source<S: Source>(
        &self,
        source: &S,
        mappings: &[Mapping],
    ) -> Result<(), Failure> {
        let recorded = self.recorded();
        let found = stream::iter(mappings.iter().filter(|mapping| recorded.contains_key(&mapping.source)))
            .map(|mapping| async move {
                let reference = mapping.pull();
                let digest = if let Some(digest) = reference.digest() {
                    Some(digest.clone())
                } else {
                    source.digest(mapping.source.repository(), reference.tag_or_latest()).await.ok().flatten()
                };
                digest.map(|digest| (mapping.source.clone(), digest))
            })
            .buffered(CONCURRENCY);
        let found: Vec<_> = found.filter_map(std::future::ready).collect().await;
        self.check(found)
    }

    /// Fails if one of these images has another digest than the lock records at its other destinations.
    pub(super) fn check(&self, images: impl IntoIterator<Item = (Reference, Digest)>) -> Result<(), Failure> {
        let recorded = self.recorded();
        let differing: Vec<String> = images
            .into_iter()
            .filter_map(|(image, digest)| {
                let known = recorded.get(&image).filter(|known| ***known != digest)?;
                Some(format!("{image} is {digest}, but {known} in the lock"))
            })
            .collect();
        if differing.is_empty() {
            return Ok(());
        }
        let message = match differing.len() {
            1 => "an image has a different digest at the other destinations".to_owned(),
            count => format!("{count} images have different digests at the other destinations"),
        };
        let more = differing.len().saturating_sub(MAX_NAMED);
        let mut causes: Vec<String> = differing.into_iter().take(MAX_NAMED).collect();
        causes.extend((more > 0).then(|| match more {
            1 => "1 more differs".to_owned(),
            _ => format!("{more} more differ"),
        }));
        let roots: Vec<String> = self.roots.iter().map(ToString::to_string).collect();
        let path = self.path;
        let hint = format!(
            "record {} in another file with --lock FILE, or copy the digests of {}: thoras-mirror sync --locked --to {}",
            roots.join(" and "),
            path.display(),
            roots.join(" --to ")
        );
        let message = format!("{message} in the lock {}; nothing was copied", path.display());
        Err(Failure { causes, ..Failure::new(Kind::Usage, message) }.with_hint(hint))
    }

    /// The digests of the images that other destinations have.
    fn recorded(&self) -> BTreeMap<&Reference, &Digest> {
        let to: Vec<String> = self.roots.iter().map(ToString::to_string).collect();
        let is_kept =
            |copy_to: Option<&str>| copy_to.is_some_and(|copy_to| to.iter().all(|to| to != copy_to));
        let copies = self.lock.copies().filter(|(_, copy)| is_kept(copy.to.as_deref()));
        copies.filter_map(|(image, _)| Some((&image.source, image.digest.as_ref()?))).collect()
    }
}
