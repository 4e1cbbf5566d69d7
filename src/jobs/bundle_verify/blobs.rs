//! Reads every blob once, in file order, on every core.

use std::{collections::HashMap, sync::Arc};

use super::structure;
use crate::{
    endpoint::bundle::{BlobReader, Bundle, completeness::unreadable_without, hashing},
    event::{BlobOutcome, Event, EventSink},
    jobs::first_images::FirstImages,
    oci::{Descriptor, Digest, Hasher, Mapping},
    problem::{Problem, absent_volumes::absent_volumes},
};

/// The result of reading every blob.
#[derive(Default)]
pub(super) struct BlobResults {
    found: HashMap<Digest, BlobResult>,
    /// Problems around the blobs, and of blobs that no image needs.
    pub(super) problems: Vec<Problem>,
}

/// A blob in the bundle.
struct BlobResult {
    /// Its size in bytes; `None` if it cannot be opened.
    size: Option<u64>,
    problem: Option<Problem>,
}

impl BlobResults {
    /// Reads everything. Blocks.
    pub(super) fn read(bundle: &Bundle, first_images: &FirstImages, events: &dyn EventSink) -> Self {
        let mut blobs = match bundle.storage().in_order() {
            Ok(blobs) => blobs,
            Err(error) => return Self { problems: vec![structure::unreadable(&error)], ..Self::default() },
        };
        // Manifests were hashed when the bundle was opened.
        blobs.retain(|digest| !bundle.head().closure.manifests.contains_key(digest));
        let read = hashing::on_every_core(blobs, |digest| {
            let around = structure::entry_problems(bundle, &digest);
            let found = read_blob(bundle, &digest, first_images.of(&digest), events);
            (digest, around, found)
        });
        let mut results = Self::default();
        for (digest, around, found) in read {
            results.problems.extend(around);
            let is_unused = first_images.of(&digest).is_none();
            // A missing volume is a separate problem.
            let problem = found.problem.as_ref().filter(|problem| absent_volumes([*problem]).is_none());
            if let Some(problem) = problem.filter(|_| is_unused) {
                let reason = problem.to_string();
                results.problems.push(Problem::UnusedBlob { digest: digest.clone(), reason });
            }
            results.found.insert(digest, found);
        }
        results
    }

    /// The problem of a blob that an image needs, if it has one.
    pub(super) fn problem(&self, blob: &Descriptor) -> Option<Problem> {
        let (digest, expected) = (blob.digest.clone(), blob.size);
        let Some(found) = self.found.get(&digest) else {
            return Some(Problem::MissingBlob { digest, size: expected });
        };
        match found.size {
            Some(found) if found != expected => Some(Problem::WrongSize { digest, expected, found }),
            _ => found.problem.clone(),
        }
    }
}

fn read_blob(
    bundle: &Bundle,
    digest: &Digest,
    first_image: Option<&(Arc<Mapping>, Descriptor)>,
    events: &dyn EventSink,
) -> BlobResult {
    let unreadable = |reason| {
        let problem = Problem::UnreadableBlob { digest: digest.clone(), reason, volumes: Vec::new() };
        BlobResult { size: None, problem: Some(problem) }
    };
    let reader = match bundle.blob(digest) {
        Ok(Some(reader)) => reader,
        Ok(None) => return unreadable("it no longer exists".to_owned()),
        Err(error) => return unreadable(error.to_string()),
    };
    let size = Some(reader.size());
    let Some((image, blob)) = first_image else {
        return BlobResult { size, problem: hash(&reader, digest, |_| ()) };
    };
    events.emit(Event::BlobStarted { image: Arc::clone(image), blob: blob.clone() });
    let problem = hash(&reader, digest, |bytes| {
        events.emit(Event::BlobProgress { image: Arc::clone(image), bytes });
    });
    let how = BlobOutcome::Copied;
    events.emit(Event::BlobFinished { image: Arc::clone(image), blob: blob.clone(), how });
    BlobResult { size, problem }
}

/// Compares a blob's bytes with its digest.
fn hash(reader: &BlobReader, digest: &Digest, progress: impl FnMut(u64)) -> Option<Problem> {
    let digest = digest.clone();
    let (expected, found) = (reader.size(), reader.before_the_end());
    let absent = reader.absent();
    if !absent.is_empty() {
        return Some(unreadable_without(digest, absent));
    }
    if found < expected {
        return Some(Problem::WrongSize { digest, expected, found });
    }
    match hashing::hash_with_progress(reader, &digest, expected, progress).map(Hasher::finish) {
        Ok(found) if found == digest => None,
        Ok(found) => {
            let volumes = reader.volumes();
            let position = if volumes.is_empty() {
                String::new()
            } else {
                format!("; it is in {}", volumes.join(" and "))
            };
            Some(Problem::CorruptBlob { digest, reason: format!("its bytes hash to {found}{position}") })
        }
        Err(error) => {
            Some(Problem::UnreadableBlob { digest, reason: error.to_string(), volumes: Vec::new() })
        }
    }
}
