//! The lock of a bundle held against what is in it.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{
    Fault,
    subject::{Subject, Surveyed},
};
use crate::{
    endpoint::bundle::Head,
    lock::{Lock, LockedImage},
    oci::{Descriptor, Digest, Reference},
};

/// Whatever the lock says of the bundle as a whole that is not so.
pub(super) fn faults(head: &Head, subjects: &[Subject]) -> Vec<Fault> {
    let Some(lock) = &head.lock else { return Vec::new() };
    let there: HashSet<&Reference> = subjects.iter().map(|subject| &subject.image.source).collect();
    let missing = lock.images.iter().filter(|image| !there.contains(&image.source));
    let mut faults: Vec<Fault> = missing
        .map(|image| {
            if image.is_confirmed() {
                wrong(&image.source, "it is not in index.json".to_owned())
            } else {
                Fault::LeftOut { image: image.source.clone() }
            }
        })
        .collect();
    // A delta leaves out nothing but blobs of its images.
    let needed: HashSet<&Digest> = head.closure.blobs().map(|blob| &blob.digest).collect();
    let absent: BTreeSet<Digest> = head.absent().into_iter().collect();
    let stray = absent.iter().filter(|digest| !needed.contains(digest));
    faults.extend(stray.map(|digest| wrong(digest, "no image needs what it leaves out".to_owned())));
    faults
}

/// The first thing that the lock says of an image and that is not so.
pub(super) fn image_fault(lock: &Lock, locked: &Locked<'_>, surveyed: &Surveyed<'_>) -> Option<Fault> {
    let source = &surveyed.subject.image.source;
    match locked.get(source) {
        Some(locked) => contradiction(lock, locked, surveyed),
        // The packaged chart travels beside the images.
        None if surveyed.is_chart() => None,
        None => Some(wrong(source, "it does not name it".to_owned())),
    }
}

/// The images of a lock by name.
pub(super) type Locked<'a> = HashMap<&'a Reference, &'a LockedImage>;

/// The images of a lock by name.
pub(super) fn by_name(lock: &Lock) -> Locked<'_> {
    lock.images.iter().map(|image| (&image.source, image)).collect()
}

fn wrong(subject: &impl ToString, reason: String) -> Fault {
    Fault::Lock { subject: subject.to_string(), reason }
}

fn contradiction(lock: &Lock, locked: &LockedImage, surveyed: &Surveyed<'_>) -> Option<Fault> {
    let root = &surveyed.subject.root.digest;
    if let Some(digest) = locked.digest.as_ref().filter(|digest| *digest != root) {
        return Some(wrong(&locked.source, format!("it has the digest {root}, not {digest}")));
    }
    // Of an image that is not whole, less is known than the lock says.
    let graph = surveyed.graph().filter(|graph| graph.missing.is_empty() && graph.unusable.is_empty())?;
    if let Some(other) = locked.platforms.iter().find(|one| !graph.platforms.contains(one)) {
        let reason = format!("it has no manifest {} for {}", other.digest, other.platform);
        return Some(wrong(&locked.source, reason));
    }
    let blobs = graph.blobs();
    let digests: BTreeSet<&Digest> = blobs.iter().map(|blob| &blob.digest).collect();
    if digests != locked.blobs.iter().collect() {
        return Some(wrong(&locked.source, "it is made of other blobs".to_owned()));
    }
    let other_size = |blob: &&&Descriptor| lock.blobs.get(&blob.digest) != Some(&blob.size);
    let other = blobs.iter().find(other_size)?;
    Some(wrong(&other.digest, format!("it has {} bytes", other.size)))
}
