//! Upload sessions: blobs whose bytes are still arriving.
//!
//! A session keeps the hash state of the received bytes, so that a resumed upload is hashed once. Its bytes are in a
//! private file, which becomes a blob only if the hash matches. Sessions end with the process, or after being idle for
//! too long.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{sync::OwnedMutexGuard, task::JoinHandle};

use super::{
    body::{BodyError, PIECE, RequestBody},
    client::Client,
    names::{RepositoryName, UploadId},
    storage::FolderStorage,
};
use crate::oci::{Algorithm, Digest, Hasher};

/// The open sessions.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<UploadId, Session>>);

/// An upload. Clones share the session.
#[derive(Debug, Clone)]
pub(super) struct Session {
    /// Its identifier.
    pub(super) id: UploadId,
    /// The repository that it was opened in.
    pub(super) repository: RepositoryName,
    /// The client that opened it.
    client: Client,
    received: Arc<AtomicU64>,
    /// When a request last held the writer.
    used: Arc<Mutex<Instant>>,
    writer: Arc<tokio::sync::Mutex<Writer>>,
}

/// Exclusive access to a session: one request at a time has it. It moves to the writing thread and back, so that a
/// dropped request leaves the session consistent.
pub(super) type WriterGuard = OwnedMutexGuard<Writer>;

/// The file and hash of a session.
#[derive(Debug)]
pub(super) struct Writer {
    id: UploadId,
    storage: Arc<FolderStorage>,
    /// Open while a request writes; idle sessions have no open file.
    file: Option<File>,
    hasher: Option<(Algorithm, Hasher)>,
    received: Arc<AtomicU64>,
    /// Committed or discarded: a request that found the session shortly before must not write to it.
    closed: bool,
}

/// Why a session cannot be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unavailable {
    /// Another request is writing.
    Busy,
    /// The upload was just finished or canceled.
    Closed,
}

/// Why an upload did not become a blob.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommitError {
    /// The bytes have a different digest.
    #[error("the upload's bytes have the digest {0}")]
    Mismatch(Digest),
    /// The disk failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Why the bytes of a request did not all arrive in the session.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReceiveError {
    /// The client stopped sending; the bytes that arrived are kept.
    #[error(transparent)]
    Body(BodyError),
    /// The blob exceeds the limit; the session cannot be used further.
    #[error("a blob may have at most {0} bytes")]
    TooLarge(u64),
    /// The body is longer or shorter than its `Content-Range`; nothing of it is kept.
    #[error("the body is not {0} bytes long, although its Content-Range says so")]
    OtherLength(u64),
    /// The disk failed; the session cannot be used further.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Sessions {
    /// Opens a session. Nothing is written until bytes arrive.
    pub(super) fn open(
        &self,
        storage: &Arc<FolderStorage>,
        repository: &RepositoryName,
        client: Client,
    ) -> io::Result<Session> {
        let id = UploadId::random()?;
        let received = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            id: id.clone(),
            storage: Arc::clone(storage),
            file: None,
            hasher: None,
            received: Arc::clone(&received),
            closed: false,
        };
        let session = Session {
            id: id.clone(),
            repository: repository.clone(),
            client,
            received,
            used: Arc::new(Mutex::new(Instant::now())),
            writer: Arc::new(tokio::sync::Mutex::new(writer)),
        };
        self.table().insert(id, session.clone());
        Ok(session)
    }

    /// The session, if it is open and belongs to this repository.
    pub(super) fn find(&self, repository: &RepositoryName, id: &UploadId) -> Option<Session> {
        self.table().get(id).filter(|session| session.repository == *repository).cloned()
    }

    /// The number of open sessions.
    pub(super) fn count(&self) -> usize {
        self.table().len()
    }

    /// The number of open sessions of a client.
    pub(super) fn count_of(&self, client: Client) -> usize {
        self.table().values().filter(|session| session.client == client).count()
    }

    /// The sessions that have been idle for this long, or without any bytes for the time `empty`.
    pub(super) fn idle(&self, time: Duration, empty: Duration) -> Vec<Session> {
        let is_idle = |session: &&Session| {
            let allowed = if session.received() == 0 { empty.min(time) } else { time };
            session.unused() >= allowed
        };
        self.table().values().filter(is_idle).cloned().collect()
    }

    /// Forgets a session; its writer removes the private file.
    pub(super) fn forget(&self, id: &UploadId) {
        self.table().remove(id);
    }

    fn table(&self) -> MutexGuard<'_, HashMap<UploadId, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// The number of received bytes.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Acquire)
    }

    /// How long it has been idle.
    fn unused(&self) -> Duration {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Resets the idle time.
    pub(super) fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Takes exclusive access.
    pub(super) fn writer(&self) -> Result<WriterGuard, Unavailable> {
        let writer = Arc::clone(&self.writer).try_lock_owned().map_err(|_| Unavailable::Busy)?;
        if writer.closed { Err(Unavailable::Closed) } else { Ok(writer) }
    }
}

impl Writer {
    /// Hashes and writes. Blocks.
    fn append(&mut self, pieces: &[Bytes], algorithm: Algorithm) -> io::Result<()> {
        let mut file = self.take_file()?;
        let (_, hasher) = self.hasher.get_or_insert_with(|| (algorithm, Hasher::new(algorithm)));
        let mut length = 0;
        for piece in pieces {
            hasher.update(piece);
            file.write_all(piece)?;
            length += piece.len() as u64;
        }
        self.received.fetch_add(length, Ordering::AcqRel);
        self.file = Some(file);
        Ok(())
    }

    /// Makes the bytes a blob of the repository if they have this digest, and drops them otherwise. Blocks.
    pub(super) fn commit(&mut self, repository: &RepositoryName, digest: &Digest) -> Result<(), CommitError> {
        self.closed = true;
        self.try_commit(repository, digest).inspect_err(|_| {
            // Files that cannot be removed now are removed at the next startup.
            let _ = self.storage.discard_upload(&self.id);
        })
    }

    fn try_commit(&mut self, repository: &RepositoryName, digest: &Digest) -> Result<(), CommitError> {
        let mut file = self.take_file()?;
        let found = match self.hasher.take() {
            Some((algorithm, hasher)) if algorithm == digest.algorithm() => hasher.finish(),
            // Earlier chunks were hashed before the client named a different algorithm.
            _ => hash_again(&mut file, digest.algorithm())?,
        };
        if found != *digest {
            return Err(CommitError::Mismatch(found));
        }
        self.storage.commit_upload(&self.id, &file, repository, digest)?;
        Ok(())
    }

    /// Drops the bytes. Blocks.
    pub(super) fn discard(&mut self) -> io::Result<()> {
        self.closed = true;
        self.file = None;
        self.storage.discard_upload(&self.id)
    }

    fn take_file(&mut self) -> io::Result<File> {
        match self.file.take() {
            Some(file) => Ok(file),
            None => self.storage.append_upload(&self.id),
        }
    }

    /// Closes the file until the next request.
    pub(super) fn rest(&mut self) {
        self.file = None;
    }

    /// Its state, to return to.
    fn checkpoint(&self) -> Checkpoint {
        Checkpoint { hasher: self.hasher.clone(), received: self.received.load(Ordering::Acquire) }
    }

    /// Drops all bytes after the checkpoint. Blocks.
    fn roll_back(&mut self, checkpoint: Checkpoint) -> io::Result<()> {
        self.take_file()?.set_len(checkpoint.received)?;
        self.hasher = checkpoint.hasher;
        self.received.store(checkpoint.received, Ordering::Release);
        Ok(())
    }
}

/// A state of a writer.
struct Checkpoint {
    hasher: Option<(Algorithm, Hasher)>,
    received: u64,
}

fn hash_again(file: &mut File, algorithm: Algorithm) -> io::Result<Digest> {
    let mut hasher = Hasher::new(algorithm);
    let mut piece = vec![0; PIECE];
    file.rewind()?;
    loop {
        let length = file.read(&mut piece)?;
        if length == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(piece.get(..length).unwrap_or_default());
    }
}

/// Receives a request's bytes: while one piece is hashed and written, the next piece arrives. `algorithm` applies if
/// these are the session's first bytes; `limit` is the most bytes that the session may have. `exact` is the number of
/// bytes that the body must have, if the client named it.
pub(super) async fn receive(
    body: &mut RequestBody,
    writer: WriterGuard,
    algorithm: Algorithm,
    limit: u64,
    exact: Option<u64>,
) -> Result<WriterGuard, ReceiveError> {
    let before = writer.received.load(Ordering::Acquire);
    let mut checkpoint = exact.map(|length| (length, writer.checkpoint()));
    let start = body.received();
    let has_room = |received: u64| before.saturating_add(received - start) <= limit;
    if !body.announced().is_none_or(has_room) {
        return Err(ReceiveError::TooLarge(limit));
    }
    let mut writing = Writing::Done(writer);
    let end = loop {
        let BodyPieces { pieces, end } = gather(body).await;
        if !has_room(body.received()) {
            writing.done().await?;
            return Err(ReceiveError::TooLarge(limit));
        }
        let length = body.received() - start;
        let is_too_long = exact.is_some_and(|exact| length > exact);
        let is_too_short = end == BodyEnd::Complete && exact.is_some_and(|exact| length < exact);
        if let Some((exact, checkpoint)) = checkpoint.take_if(|_| is_too_long || is_too_short) {
            let mut writer = writing.done().await?;
            let rolled_back = tokio::task::spawn_blocking(move || writer.roll_back(checkpoint));
            rolled_back.await.map_err(io::Error::other)??;
            return Err(ReceiveError::OtherLength(exact));
        }
        if !pieces.is_empty() {
            writing = Writing::start(writing.done().await?, pieces, algorithm);
        }
        if end != BodyEnd::More {
            break end;
        }
    };
    let mut writer = writing.done().await?;
    match end {
        BodyEnd::Failed(error) => {
            writer.rest();
            Err(ReceiveError::Body(error))
        }
        BodyEnd::More | BodyEnd::Complete => Ok(writer),
    }
}

/// About one piece of a request's body.
pub(super) struct BodyPieces {
    pub(super) pieces: Vec<Bytes>,
    pub(super) end: BodyEnd,
}

/// Whether a body has more bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyEnd {
    More,
    Complete,
    Failed(BodyError),
}

/// Collects about one piece.
pub(super) async fn gather(body: &mut RequestBody) -> BodyPieces {
    let (mut pieces, mut length) = (Vec::new(), 0);
    while length < PIECE {
        match body.next().await {
            Some(Ok(bytes)) => {
                length += bytes.len();
                pieces.push(bytes);
            }
            Some(Err(error)) => return BodyPieces { pieces, end: BodyEnd::Failed(error) },
            None => return BodyPieces { pieces, end: BodyEnd::Complete },
        }
    }
    BodyPieces { pieces, end: BodyEnd::More }
}

/// A writer, or the thread that is using it.
enum Writing {
    Done(WriterGuard),
    Running(JoinHandle<io::Result<WriterGuard>>),
}

impl Writing {
    fn start(mut writer: WriterGuard, pieces: Vec<Bytes>, algorithm: Algorithm) -> Self {
        Self::Running(tokio::task::spawn_blocking(move || {
            writer.append(&pieces, algorithm)?;
            Ok(writer)
        }))
    }

    async fn done(self) -> io::Result<WriterGuard> {
        match self {
            Self::Done(writer) => Ok(writer),
            Self::Running(thread) => thread.await.map_err(io::Error::other)?,
        }
    }
}
