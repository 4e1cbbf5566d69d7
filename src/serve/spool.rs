//! A manifest that is being received. A few bytes are kept in memory; more go to a private file, so that the memory of
//! slow clients does not add up. They are read back only when a thread is about to parse them.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    body::{BodyError, RequestBody},
    names::UploadId,
    session::{BodyEnd, BodyPieces, gather},
    storage::FolderStorage,
};

/// The bytes of a received manifest.
pub(super) enum Spool {
    Memory(Bytes),
    File(PrivateFile),
}

/// Why a manifest was not received.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpoolError {
    /// The client stopped sending.
    #[error(transparent)]
    Body(BodyError),
    /// The manifest exceeds the limit.
    #[error("a manifest may have at most {0} bytes")]
    TooLarge(usize),
    /// The disk failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Spool {
    /// Receives a manifest of at most `limit` bytes.
    pub(super) async fn receive(
        body: &mut RequestBody,
        limit: usize,
        storage: &Arc<FolderStorage>,
    ) -> Result<Self, SpoolError> {
        if body.announced().is_some_and(|length| length > limit as u64) {
            return Err(SpoolError::TooLarge(limit));
        }
        let mut file: Option<PrivateFile> = None;
        let mut total = 0;
        loop {
            let BodyPieces { pieces, end } = gather(body).await;
            total += pieces.iter().map(Bytes::len).sum::<usize>();
            if total > limit {
                return Err(SpoolError::TooLarge(limit));
            }
            match end {
                BodyEnd::Failed(error) => return Err(SpoolError::Body(error)),
                BodyEnd::Complete if file.is_none() => return Ok(Self::Memory(pieces.concat().into())),
                BodyEnd::Complete | BodyEnd::More => {}
            }
            let mut writing = match file.take() {
                Some(file) => file,
                None => PrivateFile::new(storage)?,
            };
            let written = tokio::task::spawn_blocking(move || {
                writing.append(&pieces)?;
                Ok::<_, io::Error>(writing)
            });
            let written = written.await.map_err(io::Error::other)??;
            if end == BodyEnd::Complete {
                return Ok(Self::File(written));
            }
            file = Some(written);
        }
    }

    /// The number of bytes.
    pub(super) fn length(&self) -> usize {
        match self {
            Self::Memory(bytes) => bytes.len(),
            Self::File(file) => file.length,
        }
    }

    /// The bytes. Blocks.
    pub(super) fn into_bytes(self) -> io::Result<Bytes> {
        match self {
            Self::Memory(bytes) => Ok(bytes),
            Self::File(file) => file.read(),
        }
    }
}

/// A file that is removed when it is dropped, or at the next startup.
pub(super) struct PrivateFile {
    id: UploadId,
    file: File,
    length: usize,
    storage: Arc<FolderStorage>,
}

impl PrivateFile {
    fn new(storage: &Arc<FolderStorage>) -> io::Result<Self> {
        let id = UploadId::random()?;
        let file = storage.append_upload(&id)?;
        Ok(Self { id, file, length: 0, storage: Arc::clone(storage) })
    }

    fn append(&mut self, pieces: &[Bytes]) -> io::Result<()> {
        for piece in pieces {
            self.file.write_all(piece)?;
            self.length += piece.len();
        }
        Ok(())
    }

    fn read(mut self) -> io::Result<Bytes> {
        let mut bytes = Vec::with_capacity(self.length);
        self.file.rewind()?;
        (&mut self.file).take(self.length as u64).read_to_end(&mut bytes)?;
        Ok(bytes.into())
    }
}

impl Drop for PrivateFile {
    fn drop(&mut self) {
        // A file that cannot be removed now is removed at the next startup.
        let _ = self.storage.discard_upload(&self.id);
    }
}
