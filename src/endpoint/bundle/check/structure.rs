//! The archive around the blobs: headers, padding, the end mark, the head as it was written.

use super::Fault;
use crate::{
    endpoint::bundle::{
        Bundle, BundleError, Layout, Slices,
        header::{self, END},
        index,
        layout::BlobEntry,
    },
    oci::{Descriptor, Digest, Reference},
};

/// Everything but the entries of the blobs.
pub(super) fn faults(bundle: &Bundle) -> Vec<Fault> {
    let mut faults = index_faults(bundle);
    let Some(slices) = bundle.storage().archive() else { return faults };
    faults.extend(bundle.absent_volumes().into_iter().map(|name| Fault::Volume { name }));
    match bundle.layout() {
        Some(layout) => faults.extend(end_faults(bundle, slices, layout)),
        // With our lock in it, it was ours once.
        None if bundle.head().lock.is_some() => faults.push(head_fault(bundle, slices)),
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
    let offset = expected.saturating_sub(END);
    differs(bundle, slices, offset, &[0; 2 * size_of::<header::Block>()], || Fault::End { offset })
}

/// Where the head begins to be another one than would be written for what it says.
fn head_fault(bundle: &Bundle, slices: &Slices) -> Fault {
    let layout = bundle.head().layout();
    let mut found = vec![0; layout.head().len()];
    let there = usize::try_from(slices.length()).unwrap_or(usize::MAX).min(found.len());
    let part = found.get_mut(..there).unwrap_or_default();
    if let Err(error) = slices.read_exact_at(part, 0) {
        return BundleError::unreadable(bundle.path(), error).into();
    }
    let same = found.iter().zip(layout.head()).take(there).take_while(|(one, other)| one == other).count();
    Fault::Head { offset: same as u64 }
}

/// The header and the padding of one blob.
pub(super) fn entry_faults(bundle: &Bundle, slices: &Slices, entry: &BlobEntry) -> Vec<Fault> {
    let blob = &entry.blob.digest;
    let offset = entry.extent.offset.saturating_sub(entry.header.len() as u64);
    let header =
        differs(bundle, slices, offset, &entry.header, || Fault::Header { blob: blob.clone(), offset });
    let offset = entry.extent.end();
    let padding = vec![0; usize::try_from(header::padding(entry.extent.size)).unwrap_or_default()];
    let padding = differs(bundle, slices, offset, &padding, || Fault::Padding { blob: blob.clone(), offset });
    header.into_iter().chain(padding).collect()
}

/// A fault unless these bytes stand there. What is not there at all is told elsewhere, once.
fn differs(
    bundle: &Bundle,
    slices: &Slices,
    offset: u64,
    expected: &[u8],
    fault: impl FnOnce() -> Fault,
) -> Option<Fault> {
    let length = expected.len() as u64;
    if offset.saturating_add(length) > slices.length() || !slices.absent(offset, length).is_empty() {
        return None;
    }
    let mut found = vec![0; expected.len()];
    match slices.read_exact_at(&mut found, offset) {
        Ok(()) => (found != expected).then(fault),
        Err(error) => Some(BundleError::unreadable(bundle.path(), error).into()),
    }
}
