//! Checks the archive around the blobs: headers, padding, end mark and head.

use std::io;

use crate::{
    endpoint::bundle::{Bundle, BundleError, Layout, Slices},
    oci::Digest,
    problem::{ArchivePart, Problem},
};

/// Every problem outside the entries of the blobs.
pub(super) fn problems(bundle: &Bundle) -> Vec<Problem> {
    let mut problems: Vec<Problem> = index_problem(bundle).into_iter().collect();
    problems.extend(trust_problems(bundle));
    let Some(slices) = bundle.slices() else { return problems };
    problems.extend(bundle.absent_volumes().into_iter().map(|name| Problem::MissingVolume { name }));
    match bundle.layout() {
        Some(layout) => {
            problems.extend(head_problem(bundle, slices, layout));
            problems.extend(bundle.end_problems().unwrap_or_else(|error| vec![unreadable(&error)]));
        }
        // Only this program writes a lock into a bundle.
        None if bundle.head().lock.is_some() => {
            problems.extend(head_problem(bundle, slices, &bundle.head().layout()));
        }
        None => {}
    }
    problems
}

/// Trust files that are missing. Those that are there are hashed like every blob.
fn trust_problems(bundle: &Bundle) -> Vec<Problem> {
    let files = match bundle.head().trust_files() {
        Ok(files) => files,
        Err(error) => return vec![unreadable(&error)],
    };
    let missing = files.into_iter().filter(|file| matches!(bundle.blob(&file.blob.digest), Ok(None)));
    missing.map(|file| Problem::MissingBlob { digest: file.blob.digest, size: file.blob.size }).collect()
}

/// Checks the header and the padding of one blob.
pub(super) fn entry_problems(bundle: &Bundle, blob: &Digest) -> Vec<Problem> {
    let problems = bundle.entry_problems(blob);
    problems.map(|problem| problem.unwrap_or_else(|error| cannot_read(bundle, error))).collect()
}

/// The problem that caused an error while reading the bundle.
pub(super) fn unreadable(error: &BundleError) -> Problem {
    Problem::UnreadableBundle { reason: error.to_string() }
}

fn cannot_read(bundle: &Bundle, error: io::Error) -> Problem {
    unreadable(&BundleError::unreadable(bundle.path(), error))
}

/// A bundle with a lock was written by this program, so its `index.json` can have only one form.
fn index_problem(bundle: &Bundle) -> Option<Problem> {
    let head = bundle.head();
    if !head.has_lock() {
        return head.index.lock.is_some().then_some(Problem::MissingLock);
    }
    (!head.index_is_ours()).then_some(Problem::AlteredIndex)
}

/// Where the files differ from the head that this program writes for these images. (The head of volumes is read from
/// their index, so the files are compared with it even if it was read without an error.)
fn head_problem(bundle: &Bundle, slices: &Slices, layout: &Layout) -> Option<Problem> {
    let is_cut_off = slices.length() < layout.head_length();
    match layout.head_problem(slices) {
        Ok(None) if is_cut_off => {
            let position = slices.position(slices.length());
            Some(Problem::AlteredArchive { part: ArchivePart::Head, position })
        }
        Ok(problem) => problem,
        Err(error) => Some(cannot_read(bundle, error)),
    }
}
