//! Reading every blob once, in the order of the file, on every core.

use std::{collections::HashMap, sync::Arc};

use super::{Fault, structure};
use crate::{
    endpoint::bundle::{BlobReader, Bundle, BundleError, hashing},
    event::{Event, EventSink, Landing},
    oci::{Descriptor, Digest, Mapping},
    problem::Problem,
};

/// Every blob that is there, as it was found.
#[derive(Default)]
pub(super) struct Examined {
    found: HashMap<Digest, Found>,
    pub(super) faults: Vec<Fault>,
}

/// A blob: its size in bytes, and what is wrong with it.
struct Found {
    size: u64,
    damage: Option<Damage>,
}

enum Damage {
    /// Its bytes hash to something else; the volumes that hold them, where there are several.
    Corrupt(Digest, Vec<String>),
    /// The file ends after so many of its bytes.
    CutOff(u64),
    Unreadable(String),
}

/// The first image that needs each blob, for the progress.
pub(super) type Owners = HashMap<Digest, (Arc<Mapping>, Descriptor)>;

impl Examined {
    /// Reads everything. Blocks.
    pub(super) fn read(bundle: &Bundle, owners: &Owners, events: &dyn EventSink) -> Self {
        let mut blobs = match bundle.storage().in_order() {
            Ok(blobs) => blobs,
            Err(error) => return Self { faults: vec![error.into()], ..Self::default() },
        };
        // Manifests were hashed when the bundle was opened.
        blobs.retain(|digest| !bundle.head().closure.manifests.contains_key(digest));
        let read = hashing::on_every_core(blobs, |digest| {
            let (found, faults) = examine(bundle, &digest, owners.get(&digest), events);
            (digest, found, faults)
        });
        let mut examined = Self::default();
        for (digest, found, faults) in read {
            examined.faults.extend(faults);
            if let Some(damage) = found.damage.as_ref().filter(|_| !owners.contains_key(&digest)) {
                examined.faults.push(Fault::Blob { blob: digest.clone(), reason: damage.of_a_stray() });
            }
            examined.found.insert(digest, found);
        }
        examined
    }

    /// What is wrong with a blob that an image needs.
    pub(super) fn problem(&self, blob: &Descriptor) -> Option<Problem> {
        let (digest, expected) = (blob.digest.clone(), blob.size);
        let Some(found) = self.found.get(&digest) else {
            return Some(Problem::MissingBlob { digest, size: expected });
        };
        if found.size != expected {
            return Some(Problem::WrongSize { digest, expected, found: found.size });
        }
        Some(match found.damage.as_ref()? {
            Damage::Corrupt(other, volumes) => {
                let place = lying_in(volumes);
                Problem::CorruptBlob { digest, reason: format!("its bytes hash to {other}{place}") }
            }
            Damage::CutOff(there) => Problem::WrongSize { digest, expected, found: *there },
            Damage::Unreadable(reason) => Problem::UnreadableBlob { digest, reason: reason.clone() },
        })
    }
}

impl Damage {
    fn of_a_stray(&self) -> String {
        match self {
            Self::Corrupt(found, volumes) => format!("has bytes that hash to {found}{}", lying_in(volumes)),
            Self::CutOff(there) => format!("is cut off after {there} bytes"),
            Self::Unreadable(reason) => format!("cannot be read: {reason}"),
        }
    }
}

fn lying_in(volumes: &[String]) -> String {
    if volumes.is_empty() { String::new() } else { format!("; it lies in {}", volumes.join(" and ")) }
}

fn examine(
    bundle: &Bundle,
    digest: &Digest,
    owner: Option<&(Arc<Mapping>, Descriptor)>,
    events: &dyn EventSink,
) -> (Found, Vec<Fault>) {
    let faults = match (bundle.storage().archive(), bundle.layout().and_then(|layout| layout.blob(digest))) {
        (Some(slices), Some(entry)) => structure::entry_faults(bundle, slices, entry),
        _ => Vec::new(),
    };
    let unreadable = |reason| Found { size: 0, damage: Some(Damage::Unreadable(reason)) };
    let reader = match bundle.blob(digest) {
        Ok(Some(reader)) => reader,
        Ok(None) => return (unreadable("it is gone".to_owned()), faults),
        Err(error) => return (unreadable(error.to_string()), faults),
    };
    let Some((image, blob)) = owner else {
        return (read(&reader, digest, |_| ()), faults);
    };
    events.emit(Event::BlobStarted { image: Arc::clone(image), blob: blob.clone() });
    let found = read(&reader, digest, |bytes| {
        events.emit(Event::BlobProgress { image: Arc::clone(image), bytes });
    });
    let how = Landing::Copied;
    events.emit(Event::BlobFinished { image: Arc::clone(image), blob: blob.clone(), how });
    (found, faults)
}

fn read(reader: &BlobReader, digest: &Digest, progress: impl FnMut(u64)) -> Found {
    let size = reader.size();
    let absent = reader.absent();
    let there = reader.before_the_end();
    let damage = if !absent.is_empty() {
        Some(Damage::Unreadable(BundleError::Absent { names: absent }.to_string()))
    } else if there < size {
        Some(Damage::CutOff(there))
    } else {
        match hashing::hash_telling(reader, digest, size, progress).map(crate::oci::Hasher::finish) {
            Ok(found) if found == *digest => None,
            Ok(found) => Some(Damage::Corrupt(found, reader.volumes())),
            Err(error) => Some(Damage::Unreadable(error.to_string())),
        }
    };
    Found { size, damage }
}
