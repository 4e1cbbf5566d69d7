//! Writing a bundle in order, to something that cannot seek: a pipe, an object store, a tape.
//!
//! The bytes are the same as in a file. Blobs are started ahead of their turn: small blobs are read into memory; for
//! large blobs only the connection is opened. If a blob fails permanently, the stream ends without its end mark.

use std::{collections::HashMap, hash::BuildHasher};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::{draft::Draft, error::BundleError, header, layout::BlobEntry};
use crate::{
    endpoint::{Cause, Error, Operation, Source, VerifiedBody, body::OnProgress},
    oci::{Descriptor, Digest, Repository},
    problem::Side,
};

/// The number of blobs started ahead of their turn.
const AHEAD: usize = 4;
/// A blob of at most this many bytes is read completely ahead of its turn.
const SMALL: u64 = 128 * 1024;

/// A blob that was started ahead of its turn.
enum Begun {
    Whole(Bytes),
    Open(Box<VerifiedBody>),
}

/// Writes the bundle to `out`. `holders` names the repository that each blob is read from.
pub(crate) async fn write<S: Source, W: AsyncWrite + Unpin, H: BuildHasher + Sync>(
    draft: &Draft,
    source: &S,
    holders: &HashMap<Digest, Repository, H>,
    mut out: W,
    progress: impl Fn(&Descriptor) -> OnProgress + Sync,
) -> Result<(), Error> {
    let layout = draft.layout();
    for piece in layout.head_pieces() {
        send(&mut out, &piece.map_err(unwritable)?).await?;
    }
    let progress = &progress;
    let begun = stream::iter(layout.blobs()).map(|entry| async move {
        let known = draft.trust_blobs.get(&entry.blob.digest).cloned();
        let blob = match known {
            Some(bytes) => Begun::Whole(bytes),
            None => begin(source, holders, entry, progress).await?,
        };
        Ok::<_, Error>((entry, blob))
    });
    let mut begun = std::pin::pin!(begun.buffered(AHEAD));
    let zeros = [0; 2 * size_of::<header::Block>()];
    while let Some((entry, blob)) = begun.try_next().await? {
        send(&mut out, &entry.header()).await?;
        match blob {
            Begun::Whole(bytes) => send(&mut out, &bytes).await?,
            Begun::Open(mut body) => {
                while let Some(piece) = body.next().await {
                    send(&mut out, &piece?).await?;
                }
            }
        }
        let padding = usize::try_from(header::padding(entry.extent.size)).unwrap_or_default();
        send(&mut out, zeros.get(..padding).unwrap_or_default()).await?;
    }
    send(&mut out, &zeros).await?;
    out.flush().await.map_err(unwritable)
}

async fn begin<S: Source, H: BuildHasher>(
    source: &S,
    holders: &HashMap<Digest, Repository, H>,
    entry: &BlobEntry,
    progress: &(impl Fn(&Descriptor) -> OnProgress + Sync),
) -> Result<Begun, Error> {
    let blob = &entry.blob;
    let missing =
        || Error::new(Operation::ReadBlob, source.side(), blob.digest.to_string(), Cause::NoSuchBlob);
    let repository = holders.get(&blob.digest).ok_or_else(missing)?;
    let location = source.blob_location(repository, &blob.digest);
    let stream = source.open_blob(repository, blob, 0).await?;
    let body = VerifiedBody::new(stream, blob, location, progress(blob));
    if blob.size > SMALL {
        return Ok(Begun::Open(Box::new(body)));
    }
    Ok(Begun::Whole(body.whole().await?))
}

async fn send<W: AsyncWrite + Unpin>(out: &mut W, bytes: &[u8]) -> Result<(), Error> {
    out.write_all(bytes).await.map_err(unwritable)
}

fn unwritable(error: std::io::Error) -> Error {
    let error = BundleError::unwritable("standard output", error);
    Error::new(Operation::WriteBundle, Side::Destination, "standard output", error)
}
