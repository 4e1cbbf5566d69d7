//! The archive around the blobs: headers, padding, the end mark, the head as it was written.

use std::io;

use crate::{
    endpoint::bundle::{Bundle, BundleError, Layout, Slices, index},
    oci::{Descriptor, Digest, Reference},
    problem::{ArchivePart, Problem},
};

/// Everything that is wrong outside the entries of the blobs.
pub(super) fn problems(bundle: &Bundle) -> Vec<Problem> {
    let mut problems: Vec<Problem> = index_problem(bundle).into_iter().collect();
    let Some(slices) = bundle.slices() else { return problems };
    problems.extend(bundle.absent_volumes().into_iter().map(|name| Problem::MissingVolume { name }));
    match bundle.layout() {
        Some(layout) => {
            problems.extend(head_problem(bundle, slices, layout));
            problems.extend(bundle.end_problems().unwrap_or_else(|error| vec![unreadable(&error)]));
        }
        // With this program's lock in it, it was written by this program.
        None if bundle.head().lock.is_some() => {
            problems.extend(head_problem(bundle, slices, &bundle.head().layout()));
        }
        None => {}
    }
    problems
}

/// The header and the padding of one blob.
pub(super) fn entry_problems(bundle: &Bundle, blob: &Digest) -> Vec<Problem> {
    let problems = bundle.entry_problems(blob);
    problems.map(|problem| problem.unwrap_or_else(|error| cannot_read(bundle, error))).collect()
}

/// What went wrong while a bundle was read.
pub(super) fn unreadable(error: &BundleError) -> Problem {
    Problem::UnreadableBundle { reason: error.to_string() }
}

fn cannot_read(bundle: &Bundle, error: io::Error) -> Problem {
    unreadable(&BundleError::unreadable(bundle.path(), error))
}

/// `index.json` has only one form where a lock shows that this program wrote it.
fn index_problem(bundle: &Bundle) -> Option<Problem> {
    let head = bundle.head();
    let Some(lock) = head.lock_bytes() else {
        return head.index.lock.is_some().then_some(Problem::MissingLock);
    };
    let images = &head.index.images;
    let named: Vec<(&Reference, &Descriptor)> =
        images.iter().filter_map(|image| Some((image.reference.as_ref()?, &image.root))).collect();
    let written = index::write(named, Some(&Digest::sha256(lock)));
    (written != *head.index_bytes()).then_some(Problem::AlteredIndex)
}

/// Where the files differ from the head that is written for such a bundle. (The head of volumes is read from their index,
/// so the files are compared with it even when it was read without an error.)
fn head_problem(bundle: &Bundle, slices: &Slices, layout: &Layout) -> Option<Problem> {
    let is_cut_off = slices.length() < layout.head().len() as u64;
    match slices.first_alteration(ArchivePart::Head, layout.head(), 0) {
        Ok(None) if is_cut_off => {
            let position = slices.position(slices.length());
            Some(Problem::AlteredArchive { part: ArchivePart::Head, position })
        }
        Ok(problem) => problem,
        Err(error) => Some(cannot_read(bundle, error)),
    }
}
