//! Checks the blobs of an image: that each exists with its size, or every byte of it.

use futures::{StreamExt, stream};

use super::Level;
use crate::{
    endpoint::{Cause, Error, Source, VerifiedBody, body},
    graph::Graph,
    oci::{Descriptor, Repository, verified::Mismatch},
    problem::Problem,
};

/// How many blobs of one image are checked concurrently.
const CONCURRENT_CHECKS: usize = 16;
const CONCURRENT_READS: usize = 4;

/// A blob that was checked.
pub(super) struct CheckedBlob {
    /// In bytes, according to the manifest.
    pub(super) size: u64,
    /// What is wrong with it, if anything is; an error if it could not be checked.
    pub(super) checked: Result<Option<Problem>, Error>,
}

/// Checks every blob of the graph.
pub(super) async fn check<S: Source>(
    destination: &S,
    repository: &Repository,
    graph: &Graph,
    level: Level,
) -> Vec<CheckedBlob> {
    let at_once = match level {
        Level::Platforms => return Vec::new(),
        Level::Blobs => CONCURRENT_CHECKS,
        Level::Bytes => CONCURRENT_READS,
    };
    let blobs: Vec<Descriptor> = graph.blobs().into_iter().cloned().collect();
    stream::iter(blobs)
        .map(|blob| async move {
            let checked = match level {
                Level::Bytes => read_blob(destination, repository, &blob).await,
                _ => check_size(destination, repository, &blob).await,
            };
            CheckedBlob { size: blob.size, checked }
        })
        .buffered(at_once)
        .collect()
        .await
}

async fn check_size<S: Source>(
    destination: &S,
    repository: &Repository,
    blob: &Descriptor,
) -> Result<Option<Problem>, Error> {
    Ok(match destination.blob_size(repository, &blob.digest).await? {
        None => Some(Problem::MissingBlob { digest: blob.digest.clone(), size: blob.size }),
        Some(found) if found != blob.size => {
            Some(Problem::WrongSize { digest: blob.digest.clone(), expected: blob.size, found })
        }
        Some(_) => None,
    })
}

async fn read_blob<S: Source>(
    destination: &S,
    repository: &Repository,
    blob: &Descriptor,
) -> Result<Option<Problem>, Error> {
    let read = async {
        let stream = destination.open_blob(repository, blob, 0).await?;
        let location = destination.blob_location(repository, &blob.digest);
        body::drain(VerifiedBody::new(stream, blob, location, Box::new(|_| ()))).await
    };
    let digest = blob.digest.clone();
    match read.await {
        Ok(_) => Ok(None),
        Err(error) => match error.cause {
            Cause::NoSuchBlob => Ok(Some(Problem::MissingBlob { digest, size: blob.size })),
            Cause::Mismatch(Mismatch::TooShort { expected, found, .. }) => {
                Ok(Some(Problem::WrongSize { digest, expected, found }))
            }
            Cause::Mismatch(mismatch) => {
                Ok(Some(Problem::CorruptBlob { digest, reason: corruption(&mismatch) }))
            }
            _ => Err(error),
        },
    }
}

/// How the bytes differ, without repeating the blob's digest.
fn corruption(mismatch: &Mismatch) -> String {
    match mismatch {
        Mismatch::Digest { found, .. } => format!("its bytes hash to {found}"),
        Mismatch::TooLong { expected, .. } => format!("it is longer than {expected} bytes"),
        Mismatch::TooShort { expected, found, .. } => format!("it ends after {found} of {expected} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Digest;

    #[test]
    fn a_corrupt_blob_says_how_its_bytes_differ() {
        let digest = Digest::sha256(b"blob");
        let other = Mismatch::Digest { expected: digest.clone(), found: Digest::sha256(b"other") };
        assert_eq!(corruption(&other), format!("its bytes hash to {}", Digest::sha256(b"other")));
        let long = Mismatch::TooLong { digest, expected: 4 };
        assert_eq!(corruption(&long), "it is longer than 4 bytes");
    }
}
