//! Joins the locks of all shards of a list to the lock that a single run would have written.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Lock, LockedImage};
use crate::{
    error::{Failure, Kind},
    oci::{Digest, Reference},
    shard::{ImageList, ListedImage, Repeated},
    units,
};

/// How many images an error names.
const MAX_NAMED: usize = 5;

/// The lock of a whole list.
#[derive(Debug)]
pub(crate) struct JoinedLock {
    pub(crate) lock: Lock,
    /// What was transferred more than once because the list was divided.
    pub(crate) repeated: Repeated,
    /// The images that are neither confirmed nor skipped.
    pub(crate) unconfirmed: Vec<UnconfirmedImage>,
}

/// An image that its shard did not confirm.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnconfirmedImage {
    pub(crate) source: Reference,
    /// The number of the shard.
    pub(crate) shard: u32,
}

/// Why the locks of shards do not make one lock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JoinError {
    /// No shard was given.
    #[error("there are no shards")]
    NoShards,
    /// A lock says that it is that of another shard or list.
    #[error("the lock of shard {index} says that it is {found}")]
    OtherShard {
        /// The shard by its tag.
        index: u32,
        /// What the lock says.
        found: String,
    },
    /// The shards ran with different options.
    #[error("shard {index} has a different {field} than shard {first}")]
    Option {
        /// The shard that differs.
        index: u32,
        /// The shard that it was compared with.
        first: u32,
        /// What differs.
        field: &'static str,
    },
    /// No shard has these images.
    #[error("{} in the list, but in no shard", images(.0.len()))]
    Missing(Vec<ListedImage>),
    /// Images that are not in the list.
    #[error("{} in shard {index}, but not in the list", images(.found.len()))]
    Unlisted {
        /// The shard.
        index: u32,
        /// The images.
        found: Vec<Reference>,
    },
    /// An image is in two shards.
    #[error("{image} is in shard {first} and in shard {second}")]
    Twice {
        /// The image.
        image: Reference,
        /// One shard.
        first: u32,
        /// The other one.
        second: u32,
    },
    /// A source has two digests.
    #[error("{image} is {one} in one shard and {other} in another")]
    Digest {
        /// The image.
        image: Reference,
        /// One digest.
        one: Digest,
        /// The other one.
        other: Digest,
    },
    /// A blob has two sizes.
    #[error("blob {blob} has {size} bytes in shard {index} and {other} in another")]
    Size {
        /// The blob.
        blob: Digest,
        /// The shard.
        index: u32,
        /// Its size there.
        size: u64,
        /// Its size in another shard.
        other: u64,
    },
}

fn images(count: usize) -> String {
    if count == 1 { "an image is".to_owned() } else { format!("{count} images are") }
}

impl JoinError {
    /// The failure, with the images by name.
    pub(crate) fn failure(&self) -> Failure {
        let named: Vec<String> = match self {
            Self::Missing(images) => images.iter().map(|image| image.source.to_string()).collect(),
            Self::Unlisted { found, .. } => found.iter().map(ToString::to_string).collect(),
            _ => Vec::new(),
        };
        let mut failure = Failure::from_error(Kind::Input, self);
        if !named.is_empty() {
            failure.message = format!("{}: {}", failure.message, units::named(&named, MAX_NAMED));
        }
        failure.with_hint(
            "run every shard with the same options, and the same --lock or --plan; then merge again",
        )
    }
}

/// Joins the locks of all shards of `list`, each with its number.
pub(crate) fn join(shards: Vec<(u32, Lock)>, list: &ImageList) -> Result<JoinedLock, JoinError> {
    let digest = list.digest();
    let count = shards.len();
    for (index, lock) in &shards {
        let own = lock.shard.as_ref();
        if own.is_none_or(|own| (own.index, own.count as usize, &own.list) != (*index, count, &digest)) {
            let found = own.map_or("the lock of a whole list".to_owned(), |own| {
                format!("shard {} of {} of the list {}", own.index, own.count, own.list)
            });
            return Err(JoinError::OtherShard { index: *index, found });
        }
    }
    check_options(&shards)?;
    check_images(&shards, list)?;
    let mut shards = shards.into_iter();
    let (first, mut joined) = shards.next().ok_or(JoinError::NoShards)?;
    joined.shard = None;
    let mut holders: BTreeMap<Digest, usize> = joined.blobs.keys().map(|blob| (blob.clone(), 1)).collect();
    let mut images = Images::default();
    images.add(first, std::mem::take(&mut joined.images))?;
    for (index, lock) in shards {
        images.add(index, lock.images)?;
        for (blob, size) in lock.blobs {
            *holders.entry(blob.clone()).or_default() += 1;
            match joined.blobs.insert(blob.clone(), size) {
                Some(other) if other != size => return Err(JoinError::Size { blob, index, size, other }),
                _ => {}
            }
        }
    }
    let mut repeated = Repeated::default();
    for (blob, shards) in holders {
        repeated.add(joined.blobs.get(&blob).copied().unwrap_or(0), shards);
    }
    let unconfirmed = images.unconfirmed();
    joined.images = images.0.into_values().map(|(_, image)| image).collect();
    Ok(JoinedLock { lock: joined, repeated, unconfirmed })
}

/// The images by source, each with the shard that it came from first.
#[derive(Default)]
struct Images(BTreeMap<Reference, (u32, LockedImage)>);

impl Images {
    /// One source can have several destinations, in different shards.
    fn add(&mut self, index: u32, images: Vec<LockedImage>) -> Result<(), JoinError> {
        for image in images {
            let Some((_, same)) = self.0.get_mut(&image.source) else {
                self.0.insert(image.source.clone(), (index, image));
                continue;
            };
            if let (Some(one), Some(other)) = (&same.digest, &image.digest)
                && one != other
            {
                let (image, one, other) = (image.source, one.clone(), other.clone());
                return Err(JoinError::Digest { image, one, other });
            }
            let mut image = image;
            if same.digest.is_none() || (same.blobs.is_empty() && !image.blobs.is_empty()) {
                std::mem::swap(same, &mut image);
            }
            same.add_copies(image.destinations);
        }
        Ok(())
    }

    fn unconfirmed(&self) -> Vec<UnconfirmedImage> {
        let is_unconfirmed = |image: &LockedImage| {
            !image.is_skipped() && image.destinations.iter().any(|copy| !copy.confirmed)
        };
        let found = self.0.values().filter(|(_, image)| is_unconfirmed(image));
        found.map(|(shard, image)| UnconfirmedImage { source: image.source.clone(), shard: *shard }).collect()
    }
}

/// Everything outside the images is the same in every shard.
fn check_options(shards: &[(u32, Lock)]) -> Result<(), JoinError> {
    let Some((first, one)) = shards.first() else { return Err(JoinError::NoShards) };
    for (index, other) in shards {
        let field = if one.destinations != other.destinations {
            "destination or naming rule"
        } else if one.chart != other.chart {
            "chart"
        } else if one.platforms != other.platforms {
            "list of platforms"
        } else if one.foreign_layers != other.foreign_layers {
            "choice of foreign layers"
        } else {
            continue;
        };
        return Err(JoinError::Option { index: *index, first: *first, field });
    }
    Ok(())
}

/// Every image of the list is in exactly one shard.
fn check_images(shards: &[(u32, Lock)], list: &ImageList) -> Result<(), JoinError> {
    let listed: BTreeSet<(&Reference, &Reference)> =
        list.images().map(|image| (&image.source, &image.destination)).collect();
    let mut found: BTreeMap<(&Reference, &Reference), u32> = BTreeMap::new();
    for (index, lock) in shards {
        let mut unlisted = Vec::new();
        for (image, copy) in lock.copies() {
            let key = (&image.source, &copy.reference);
            if !listed.contains(&key) {
                unlisted.push(image.source.clone());
            }
            if let Some(first) = found.insert(key, *index) {
                return Err(JoinError::Twice { image: image.source.clone(), first, second: *index });
            }
        }
        if !unlisted.is_empty() {
            return Err(JoinError::Unlisted { index: *index, found: unlisted });
        }
    }
    let is_missing = |image: &&ListedImage| !found.contains_key(&(&image.source, &image.destination));
    let missing: Vec<ListedImage> = list.images().filter(is_missing).cloned().collect();
    if missing.is_empty() { Ok(()) } else { Err(JoinError::Missing(missing)) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::model::Shard, *};

    fn list(names: &[&str]) -> ImageList {
        let image = |name: &&str| ListedImage {
            source: format!("src.example/{name}").parse().unwrap(),
            destination: format!("dst.example/m/{name}").parse().unwrap(),
            pinned: None,
        };
        ImageList::new(names.iter().map(image))
    }

    /// The lock of a whole run over these images. All share a blob, and each has one of its own.
    fn whole(names: &[&str]) -> Lock {
        let shared = Digest::sha256(b"shared");
        let mut blobs = json!({ shared.as_str(): 10 });
        let image = |name: &&str| {
            let own = Digest::sha256(name.as_bytes());
            blobs[own.as_str()] = json!(1);
            let mut both = [&own, &shared];
            both.sort();
            json!({"source": format!("src.example/{name}"), "digest": own, "platforms": [], "blobs": both,
                "destinations": [{"to": "dst.example/m", "reference": format!("dst.example/m/{name}"), "confirmed": true}]})
        };
        let mut images: Vec<_> = names.iter().map(image).collect();
        images.sort_by_key(|image| image["source"].to_string());
        let lock = json!({"schema": super::super::SCHEMA, "platforms": ["linux/amd64"], "images": images,
            "destinations": [{"to": "dst.example/m", "naming": "relative"}], "blobs": blobs});
        Lock::from_slice(lock.to_string().as_bytes()).unwrap()
    }

    fn shard(index: u32, count: u32, names: &[&str], list: &ImageList) -> (u32, Lock) {
        let mut lock = whole(names);
        if names.is_empty() {
            lock.blobs.clear();
        }
        lock.shard = Some(Shard { index, count, list: list.digest() });
        (index, lock)
    }

    #[test]
    fn the_joined_lock_is_that_of_a_single_run() {
        let all = list(&["a:1", "b:1", "c:1"]);
        let shards =
            vec![shard(0, 3, &["c:1"], &all), shard(1, 3, &["a:1", "b:1"], &all), shard(2, 3, &[], &all)];
        let joined = join(shards, &all).unwrap();
        assert_eq!(joined.lock.to_bytes(), whole(&["a:1", "b:1", "c:1"]).to_bytes());
        assert_eq!(joined.repeated, Repeated { transfers: 1, bytes: 10 });
        assert!(joined.unconfirmed.is_empty());
    }

    #[test]
    fn an_image_that_is_missing_unlisted_or_twice_is_named() {
        let all = list(&["a:1", "b:1"]);
        let text = |shards| join(shards, &all).unwrap_err().failure().message;
        let with = |names: &[&str]| vec![shard(0, 2, &["a:1"], &all), shard(1, 2, names, &all)];
        assert_eq!(text(with(&[])), "an image is in the list, but in no shard: src.example/b:1");
        assert_eq!(text(with(&["a:1", "b:1"])), "src.example/a:1 is in shard 0 and in shard 1");
        assert_eq!(
            text(with(&["b:1", "z:1"])),
            "an image is in shard 1, but not in the list: src.example/z:1"
        );
    }

    #[test]
    fn the_lock_of_another_list_or_shard_is_refused() {
        let (all, other) = (list(&["a:1"]), list(&["a:2"]));
        let refused = |lock| join(vec![lock], &all).unwrap_err().to_string();
        let found = refused(shard(0, 1, &["a:1"], &other));
        assert!(
            found.contains(&format!("says that it is shard 0 of 1 of the list {}", other.digest())),
            "{found}"
        );
        assert!(refused(shard(0, 2, &["a:1"], &all)).contains("shard 0 of 2"));
        assert!(refused((0, whole(&["a:1"]))).contains("the lock of a whole list"));
        assert_eq!(join(Vec::new(), &list(&[])).unwrap_err(), JoinError::NoShards);
    }

    #[test]
    fn shards_with_other_options_are_refused() {
        let all = list(&["a:1", "b:1"]);
        let with = |change: fn(&mut Lock)| {
            let mut second = shard(1, 2, &["b:1"], &all);
            change(&mut second.1);
            join(vec![shard(0, 2, &["a:1"], &all), second], &all).unwrap_err().to_string()
        };
        let platforms = with(|lock| lock.platforms.clear());
        assert_eq!(platforms, "shard 1 has a different list of platforms than shard 0");
        assert!(with(|lock| lock.foreign_layers = true).contains("foreign layers"));
        assert!(with(|lock| lock.destinations[0].source_prefix = Some("x.io".to_owned())).contains("naming"));
        let size = with(|lock| lock.blobs.values_mut().for_each(|size| *size += 1));
        assert!(size.contains("bytes in shard 1"), "{size}");
    }

    #[test]
    fn an_error_names_five_images_and_counts_the_others() {
        let message = |names: &[&str]| {
            join(vec![shard(0, 1, &[], &list(names))], &list(names)).unwrap_err().failure().message
        };
        let five = message(&["a:1", "b:1", "c:1", "d:1", "e:1"]);
        assert!(five.ends_with(", src.example/d:1, src.example/e:1"), "{five}");
        let seven = message(&["a:1", "b:1", "c:1", "d:1", "e:1", "f:1", "g:1"]);
        assert!(seven.ends_with(", src.example/e:1 and 2 more"), "{seven}");
    }

    /// Two shards have the same source, each at another destination. Returns the joined image.
    fn joined(change: impl Fn(&mut LockedImage, &mut LockedImage)) -> Result<LockedImage, JoinError> {
        let listed = |name: &str| ListedImage {
            source: "src.example/a:1".parse().unwrap(),
            destination: format!("dst.example/m/{name}").parse().unwrap(),
            pinned: None,
        };
        let all = ImageList::new(["a:1", "b:1"].map(listed));
        let (mut first, mut second) = (shard(0, 2, &["a:1"], &all), shard(1, 2, &["a:1"], &all));
        second.1.images[0].destinations[0].reference = "dst.example/m/b:1".parse().unwrap();
        change(&mut first.1.images[0], &mut second.1.images[0]);
        Ok(join(vec![first, second], &all)?.lock.images.remove(0))
    }

    #[test]
    fn an_image_of_two_shards_has_one_digest_and_what_either_knows() {
        let unknown = |image: &mut LockedImage| (image.digest, image.blobs) = (None, Vec::new());
        let whole = joined(|_, _| ()).unwrap();
        assert_eq!(whole.destinations.len(), 2);
        assert_eq!(joined(|first, _| unknown(first)).unwrap(), whole);
        assert_eq!(joined(|_, second| unknown(second)).unwrap(), whole);
        assert_eq!(joined(|first, _| first.blobs.clear()).unwrap(), whole);
        assert_eq!(joined(|_, second| second.blobs.clear()).unwrap(), whole);
        let digest_alone = joined(|first, second| {
            first.blobs.clear();
            unknown(second);
        });
        assert_eq!(digest_alone.unwrap().digest, whole.digest);
        let two = joined(|_, second| second.digest = Some(Digest::sha256(b"other"))).unwrap_err();
        assert!(matches!(two, JoinError::Digest { .. }), "{two}");
    }

    #[test]
    fn images_that_are_not_confirmed_are_listed_with_their_shard() {
        let all = list(&["a:1", "b:1"]);
        let mut second = shard(1, 2, &["b:1"], &all);
        second.1.images[0].destinations[0].confirmed = false;
        let joined = join(vec![shard(0, 2, &["a:1"], &all), second], &all).unwrap();
        let unconfirmed = UnconfirmedImage { source: "src.example/b:1".parse().unwrap(), shard: 1 };
        assert_eq!(joined.unconfirmed, [unconfirmed]);
        assert!(!joined.lock.images[1].is_confirmed());
    }
}
