//! Compares the lock of a bundle with the bundle's contents.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::image::{Image, ImageSurvey};
use crate::{
    endpoint::bundle::Head,
    lock::{Lock, LockedImage},
    oci::{Descriptor, Digest, Reference},
    problem::Problem,
};

/// Contradictions between the lock and the bundle as a whole.
pub(super) fn problems(head: &Head, images: &[Image]) -> Vec<Problem> {
    let Some(lock) = &head.lock else { return Vec::new() };
    let there: HashSet<&Reference> = images.iter().map(|image| &image.mapping.source).collect();
    let is_missing = |image: &&LockedImage| !there.contains(&image.source) && !image.is_skipped();
    let missing = lock.images.iter().filter(is_missing);
    let mut problems: Vec<Problem> = missing
        .map(|image| {
            if image.is_confirmed() {
                wrong(&image.source, "it is not in index.json".to_owned())
            } else {
                Problem::LeftOut { image: image.source.clone() }
            }
        })
        .collect();
    // A delta leaves out only blobs of its images.
    let needed: HashSet<&Digest> = head.closure.blobs().map(|blob| &blob.digest).collect();
    let absent: BTreeSet<Digest> = head.absent().into_iter().collect();
    let stray = absent.iter().filter(|digest| !needed.contains(digest));
    problems.extend(
        stray.map(|digest| wrong(digest, "it is listed as left out, but no image needs it".to_owned())),
    );
    problems
}

/// The first contradiction between the lock and an image.
pub(super) fn image_problem(lock: &Lock, locked: &Locked<'_>, survey: &ImageSurvey<'_>) -> Option<Problem> {
    let source = &survey.image.mapping.source;
    match locked.get(source) {
        Some(locked) => contradiction(lock, locked, survey),
        // The packaged chart is in the lock's list of images.
        None if survey.is_chart() => None,
        None => Some(wrong(source, "it is not in the lock".to_owned())),
    }
}

/// The images of a lock by name.
pub(super) type Locked<'a> = HashMap<&'a Reference, &'a LockedImage>;

/// The images of a lock by name.
pub(super) fn by_name(lock: &Lock) -> Locked<'_> {
    lock.images.iter().map(|image| (&image.source, image)).collect()
}

fn wrong(subject: &impl ToString, reason: String) -> Problem {
    Problem::WrongLock { subject: subject.to_string(), reason }
}

fn contradiction(lock: &Lock, locked: &LockedImage, survey: &ImageSurvey<'_>) -> Option<Problem> {
    let root = &survey.image.root.digest;
    if let Some(digest) = locked.digest.as_ref().filter(|digest| *digest != root) {
        return Some(wrong(&locked.source, format!("it has the digest {root}, not {digest}")));
    }
    // The lock records more about an incomplete image than its manifests show.
    let graph = survey.graph().filter(|graph| graph.missing.is_empty() && graph.unusable.is_empty())?;
    if let Some(other) = locked.platforms.iter().find(|platform| !graph.platforms.contains(platform)) {
        let reason = format!("it has no manifest {} for {}", other.digest, other.platform);
        return Some(wrong(&locked.source, reason));
    }
    let blobs = graph.blobs();
    let digests: BTreeSet<&Digest> = blobs.iter().map(|blob| &blob.digest).collect();
    if digests != locked.blobs.iter().collect() {
        return Some(wrong(&locked.source, "its manifests reference other blobs".to_owned()));
    }
    let other_size = |blob: &&&Descriptor| lock.blobs.get(&blob.digest) != Some(&blob.size);
    let other = blobs.iter().find(other_size)?;
    Some(wrong(&other.digest, format!("its manifest says {} bytes", other.size)))
}
