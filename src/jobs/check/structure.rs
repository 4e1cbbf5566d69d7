//! The archive around the blobs: headers, padding, the end mark, the head as it was written.

use std::io;

use super::{Fault, fault::Place};
use crate::{
    endpoint::bundle::{
        Bundle, BundleError, Layout, Slices,
        header::{END, END_MARK},
        index,
        layout::BlobEntry,
        wholeness::{Around, altered_around},
    },
    oci::{Descriptor, Digest, Reference},
};

/// Everything but the entries of the blobs.
pub(super) fn faults(bundle: &Bundle) -> Vec<Fault> {
    let mut faults = index_faults(bundle);
    let Some(slices) = bundle.storage().archive() else { return faults };
    faults.extend(bundle.absent_volumes().into_iter().map(|name| Fault::Volume { name }));
    match bundle.layout() {
        Some(layout) => {
            faults.extend(stored_head_fault(bundle, slices, layout));
            faults.extend(end_faults(bundle, slices, layout));
        }
        // With our lock in it, it was ours once.
        None if bundle.head().lock.is_some() => faults.extend(head_fault(bundle, slices)),
        None => {}
    }
    faults
}

/// `index.json` says what it should in one way only, where a lock shows that it is ours.
fn index_faults(bundle: &Bundle) -> Vec<Fault> {
    let head = bundle.head();
    let Some(lock) = head.lock_bytes() else {
        return if head.index.lock.is_some() { vec![Fault::NoLock] } else { Vec::new() };
    };
    let images = &head.index.images;
    let named: Vec<(&Reference, &Descriptor)> =
        images.iter().filter_map(|image| Some((image.reference.as_ref()?, &image.root))).collect();
    let written = index::write(named, Some(&Digest::sha256(lock)));
    if written == *head.index_bytes() { Vec::new() } else { vec![Fault::Index] }
}

fn end_faults(bundle: &Bundle, slices: &Slices, layout: &Layout) -> Option<Fault> {
    let (found, expected) = (slices.length(), layout.length());
    if found < expected {
        return Some(Fault::CutOff { missing: expected - found });
    }
    if found > expected {
        return Some(Fault::Behind { offset: expected, count: found - expected });
    }
    let altered = slices.first_difference(&END_MARK, expected.saturating_sub(END));
    told(bundle, altered, |offset| Fault::End { place: Place::of(slices, offset) })
}

/// Where the files differ from a head that was read from elsewhere: from the index of volumes.
fn stored_head_fault(bundle: &Bundle, slices: &Slices, layout: &Layout) -> Option<Fault> {
    let altered = slices.first_difference(layout.head(), 0);
    told(bundle, altered, |offset| Fault::Head { place: Place::of(slices, offset) })
}

/// Where the head begins to be another one than would be written for what it says.
fn head_fault(bundle: &Bundle, slices: &Slices) -> Option<Fault> {
    let layout = bundle.head().layout();
    let shorter = slices.length() < layout.head().len() as u64;
    let altered = slices.first_difference(layout.head(), 0);
    let altered = altered.map(|place| place.or(shorter.then(|| slices.length())));
    told(bundle, altered, |offset| Fault::Head { place: Place::of(slices, offset) })
}

/// The header and the padding of one blob.
pub(super) fn entry_faults(bundle: &Bundle, slices: &Slices, entry: &BlobEntry) -> Vec<Fault> {
    let fault = |altered: io::Result<(Around, u64)>| match altered {
        Ok((part, offset)) => {
            let (blob, place) = (entry.blob.digest.clone(), Place::of(slices, offset));
            match part {
                Around::Header => Fault::Header { blob, place },
                Around::Padding => Fault::Padding { blob, place },
            }
        }
        Err(error) => BundleError::unreadable(bundle.path(), error).into(),
    };
    altered_around(slices, entry).map(fault).collect()
}

/// A fault where something differs, or cannot be read.
fn told(
    bundle: &Bundle,
    altered: io::Result<Option<u64>>,
    fault: impl FnOnce(u64) -> Fault,
) -> Option<Fault> {
    match altered {
        Ok(place) => place.map(fault),
        Err(error) => Some(BundleError::unreadable(bundle.path(), error).into()),
    }
}
