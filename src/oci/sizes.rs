//! The size of everything that manifests reference.

use std::collections::HashMap;

use super::{Descriptor, Digest, manifest::ManifestError};

/// The sizes by digest. A digest that has two sizes cannot be copied, counted or verified: one of them is wrong.
#[derive(Debug, Clone, Default)]
pub struct Sizes(HashMap<Digest, u64>);

impl Sizes {
    /// Adds descriptors. Adds none of them if one contradicts a known size or another descriptor.
    pub fn add<'a>(
        &mut self,
        descriptors: impl IntoIterator<Item = &'a Descriptor>,
    ) -> Result<(), ManifestError> {
        let mut new: HashMap<&Digest, u64> = HashMap::new();
        for Descriptor { digest, size, .. } in descriptors {
            let known = self.0.get(digest).or_else(|| new.get(digest)).copied();
            match known {
                Some(known) if known != *size => {
                    return Err(ManifestError::TwoSizes { digest: digest.clone(), sizes: (known, *size) });
                }
                Some(_) => {}
                None => drop(new.insert(digest, *size)),
            }
        }
        self.0.extend(new.into_iter().map(|(digest, size)| (digest.clone(), size)));
        Ok(())
    }

    /// The same digest, sharing memory with the one that is known.
    #[must_use]
    pub(crate) fn shared(&self, digest: &Digest) -> Digest {
        self.0.get_key_value(digest).map_or(digest, |(known, _)| known).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_digests_of_different_images_share_memory() {
        let blob = || Descriptor::new("x/y".into(), Digest::sha256(b"layer"), 1);
        let (first, second) = (blob(), blob());
        let mut sizes = Sizes::default();
        sizes.add([&first]).unwrap();
        let (shared, other) = (sizes.shared(&second.digest), Digest::sha256(b"unknown"));
        assert_eq!(shared.as_str().as_ptr(), first.digest.as_str().as_ptr());
        assert_eq!(sizes.shared(&other), other);
    }

    #[test]
    fn a_contradiction_adds_nothing() {
        let blob = |name: &str, size| Descriptor::new("x/y".into(), Digest::sha256(name.as_bytes()), size);
        let mut sizes = Sizes::default();
        sizes.add(&[blob("a", 1), blob("a", 1), blob("b", 2)]).unwrap();
        assert!(matches!(sizes.add(&[blob("c", 3), blob("a", 2)]), Err(ManifestError::TwoSizes { .. })));
        assert!(sizes.add(&[blob("d", 3), blob("d", 4)]).is_err());
        sizes.add(&[blob("c", 4), blob("d", 4)]).unwrap();
    }
}
