//! A bundle from a pipe: read once, from the first byte to the last.
//!
//! Everything before the blobs is kept, so that the images are known before the first blob. Bundles of this program
//! have that order; other archives can be read if their index and manifests come first.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::{Path, PathBuf},
};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{
    Bundle, BundleError, Head,
    content::Content,
    header::{BLOCK, Block, Entry, Headers, Step, other_than_an_archive, padding},
    index,
    names::{self, MAX_MARKER_SIZE, Name},
    open::largest_lock,
    other_kinds::Traces,
    scan::MAX_ENTRIES,
    signature::{self, IndexSignature},
    slices::Slices,
    storage::Storage,
    trust::MAX_TRUST_FILE_SIZE,
};
use crate::{
    endpoint::{BlobSequence, Error, Location, Operation},
    oci::{Digest, manifest::MAX_MANIFEST_SIZE},
    problem::Side,
};

/// The number of bytes read at a time.
const PIECE: usize = 256 * 1024;
/// The most bytes after the end mark: archivers fill up their last record.
const MAX_TAIL_LENGTH: u64 = 16 * 1024 * 1024;
/// The name in messages instead of a path.
const STANDARD_INPUT: &str = "standard input";

/// A bundle that is being read from a pipe.
#[derive(Debug)]
pub struct Incoming<R> {
    input: R,
    headers: Headers,
    seen: HashSet<Name>,
    entries: usize,
    at: u64,
    /// The unread bytes of the current entry, and its padding.
    rest: u64,
    padding: u64,
    /// The first nonzero byte of padding.
    altered: Option<u64>,
    ended: bool,
    /// What it may be instead of a layout.
    traces: Traces,
    /// The required signature.
    signed: Option<IndexSignature>,
}

/// The next blob: its digest and its size in bytes.
pub(crate) type Next = (Digest, u64);

/// Small blobs that could have been manifests when they came, by digest.
pub(crate) type Kept = Vec<(Digest, Bytes)>;

impl<R: AsyncRead + Unpin + Send> Incoming<R> {
    /// Nothing has been read yet.
    pub fn new(input: R) -> Self {
        Self {
            input,
            headers: Headers::default(),
            seen: HashSet::new(),
            entries: 0,
            at: 0,
            rest: 0,
            padding: 0,
            altered: None,
            ended: false,
            traces: Traces::default(),
            signed: None,
        }
    }

    /// The same bundle, which must have this signature, if any.
    #[must_use]
    pub(crate) fn signed_by(self, signed: Option<IndexSignature>) -> Self {
        Self { signed, ..self }
    }

    /// Reads everything before the blobs. Also returns small blobs that came between manifests, and the next blob.
    pub async fn head(&mut self) -> Result<(Bundle, Kept, Option<Next>), BundleError> {
        let (mut marker, mut index, mut lock) = (false, None, None);
        let mut head: Option<Head> = None;
        let mut kept: Kept = Vec::new();
        loop {
            if head.as_ref().is_some_and(|head| head.closure.is_complete()) {
                break;
            }
            let Some((name, size)) = self.next_file().await? else { break };
            match name {
                Name::Marker => {
                    marker = names::is_marker(&self.whole(names::MARKER, MAX_MARKER_SIZE).await?);
                    if !marker {
                        return Err(BundleError::Marker);
                    }
                }
                Name::Index => {
                    let bytes = self.whole(names::INDEX, index::MAX_SIZE).await?;
                    signature::check(self.signed.as_ref(), &bytes)?;
                    index = Some(bytes);
                }
                Name::Lock => {
                    lock = Some(self.whole(names::LOCK, largest_lock(index.as_ref())).await?);
                }
                Name::Blob(digest) => {
                    if head.is_none() {
                        let index: Bytes = index.take().ok_or(BundleError::IndexTooLate)?;
                        let lock = lock.take().map(Content::Memory);
                        head = Some(Head::new(index, lock, Path::new(STANDARD_INPUT))?);
                    }
                    if size > MAX_MANIFEST_SIZE as u64 {
                        return Err(BundleError::IndexTooLate);
                    }
                    let bytes = self.whole("a manifest", MAX_MANIFEST_SIZE as u64).await?;
                    kept.push((digest.clone(), bytes.clone()));
                    if let Some(head) = &mut head {
                        head.closure.add(digest, bytes)?;
                    }
                }
                Name::Docker | Name::Other => {}
            }
        }
        if !marker && let Some(refusal) = std::mem::take(&mut self.traces).refusal(Path::new(STANDARD_INPUT))
        {
            return Err(refusal);
        }
        let head = match (head, index) {
            (Some(head), _) => head,
            (None, Some(index)) => Head::new(index, lock.map(Content::Memory), Path::new(STANDARD_INPUT))?,
            (None, None) => return Err(not_a_layout("it has no `index.json` file")),
        };
        if !marker {
            return Err(not_a_layout("it has no `oci-layout` file"));
        }
        let (trust_blobs, next) = self.read_trust_files(&head, &mut kept).await?;
        let blobs: HashSet<&Digest> = head.closure.blobs().map(|blob| &blob.digest).collect();
        kept.retain(|(digest, _)| blobs.contains(digest));
        let slices = Slices::new(Vec::new());
        let path = PathBuf::from(STANDARD_INPUT);
        let storage = Storage::Archive { slices, blobs: std::sync::Arc::default(), path };
        let mut bundle = Bundle::new(head, storage, None);
        bundle.trust_blobs = trust_blobs;
        Ok((bundle, kept, next))
    }

    /// Reads the trust files: they are needed before the other blobs, of which they may be some. Also returns the next blob.
    async fn read_trust_files(
        &mut self,
        head: &Head,
        kept: &mut Kept,
    ) -> Result<(HashMap<Digest, Bytes>, Option<Next>), BundleError> {
        let mut next = self.next_blob().await?;
        // Too many are not trust files, and would not be read.
        if head.index.trust.is_empty() || head.trust_files().is_err() {
            return Ok((HashMap::new(), next));
        }
        let is_early = |digest: &Digest| head.closure.is_early(digest);
        while let Some((digest, _)) =
            next.take_if(|(digest, size)| *size <= MAX_TRUST_FILE_SIZE && is_early(digest))
        {
            kept.push((digest, self.whole("a trust file", MAX_TRUST_FILE_SIZE).await?));
            next = self.next_blob().await?;
        }
        Ok((kept.iter().filter(|(digest, _)| is_early(digest)).cloned().collect(), next))
    }

    /// Skips the rest of the current blob and moves to the next blob. `None` at the archive's end mark.
    pub async fn next_blob(&mut self) -> Result<Option<Next>, BundleError> {
        while let Some((name, size)) = self.next_file().await? {
            if let Name::Blob(digest) = name {
                return Ok(Some((digest, size)));
            }
        }
        Ok(None)
    }

    /// The next bytes of the current blob; `None` at its end.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, BundleError> {
        if self.rest == 0 {
            return Ok(None);
        }
        let mut piece = BytesMut::with_capacity(PIECE.min(usize::try_from(self.rest).unwrap_or(PIECE)));
        let mut limited = (&mut self.input).take(self.rest);
        // A pipe returns a few pages at a time; larger pieces cost fewer wake-ups downstream.
        while piece.len() < piece.capacity() {
            let read = limited.read_buf(&mut piece).await.map_err(unreadable)?;
            if read == 0 {
                return Err(BundleError::NoEnd);
            }
        }
        self.rest -= piece.len() as u64;
        self.at += piece.len() as u64;
        Ok(Some(piece.freeze()))
    }

    /// The bundle's blobs in order, after [`Incoming::head`]: first the kept blobs, then `next` and all that follow.
    pub(crate) fn blobs(&mut self, kept: Kept, next: Option<Next>) -> IncomingBlobs<'_, R> {
        IncomingBlobs { incoming: self, kept: kept.into_iter(), next, in_memory: None }
    }

    async fn next_file(&mut self) -> Result<Option<(Name, u64)>, BundleError> {
        while !self.ended {
            self.skip_rest().await?;
            let block = self.block().await?;
            let offset = self.at - BLOCK;
            let header = |error| BundleError::Header { offset, error };
            let step = match self.headers.block(&block) {
                // The archive may turn out to be one of Docker.
                Err(error) if error.is_link() && !self.seen.contains(&Name::Marker) => {
                    self.traces.note_link(header(error));
                    continue;
                }
                step => step.map_err(header)?,
            };
            match step {
                Step::Zeros => self.finish().await?,
                Step::Extension { size } => {
                    (self.rest, self.padding) = (size, padding(size));
                    let mut content = Vec::new();
                    while let Some(piece) = self.piece().await? {
                        content.extend_from_slice(&piece);
                    }
                    self.headers.extend(&content).map_err(header)?;
                }
                Step::Entry(entry) => {
                    if let Some(file) = self.entry(entry)? {
                        return Ok(Some(file));
                    }
                }
            }
        }
        Ok(None)
    }

    fn entry(&mut self, entry: Entry) -> Result<Option<(Name, u64)>, BundleError> {
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(BundleError::TooManyEntries { limit: MAX_ENTRIES });
        }
        (self.rest, self.padding) = (entry.size, padding(entry.size));
        let Some(name) = self.traces.note_entry(&entry)? else { return Ok(None) };
        if !self.seen.insert(name.clone()) {
            return Err(BundleError::Duplicate { path: entry.path });
        }
        Ok(Some((name, entry.size)))
    }

    /// Reads to the end, so that the program that writes to the pipe is not killed by SIGPIPE. The length is bounded,
    /// because a pipe may never end.
    async fn finish(&mut self) -> Result<(), BundleError> {
        self.ended = true;
        if self.entries == 0 {
            return Ok(());
        }
        let mut tail = (&mut self.input).take(MAX_TAIL_LENGTH);
        tokio::io::copy(&mut tail, &mut tokio::io::sink()).await.map_err(unreadable)?;
        Ok(())
    }

    /// Reads the rest of an entry, and its padding. In bundles of this program (they have a lock) the padding must be
    /// zeros.
    async fn skip_rest(&mut self) -> Result<(), BundleError> {
        while self.piece().await?.is_some() {}
        let offset = self.at;
        self.rest = std::mem::take(&mut self.padding);
        while let Some(padding) = self.piece().await? {
            let altered = padding.iter().position(|byte| *byte != 0);
            self.altered = self.altered.or(altered.map(|position| offset + position as u64));
        }
        match self.altered {
            Some(offset) if self.seen.contains(&Name::Lock) => Err(BundleError::Altered { offset }),
            _ => Ok(()),
        }
    }

    async fn block(&mut self) -> Result<Block, BundleError> {
        let mut block = [0; size_of::<Block>()];
        let mut there = 0;
        while let Some(rest) = block.get_mut(there..).filter(|rest| !rest.is_empty()) {
            match self.input.read(rest).await.map_err(unreadable)? {
                0 => break,
                read => there += read,
            }
        }
        let beginning = block.get(..there).filter(|_| self.at == 0);
        if let Some(found) = beginning.and_then(other_than_an_archive) {
            return Err(BundleError::NotAnArchive { path: STANDARD_INPUT.into(), found });
        }
        self.at += BLOCK;
        if there < block.len() { Err(BundleError::NoEnd) } else { Ok(block) }
    }

    async fn whole(&mut self, name: &'static str, limit: u64) -> Result<Bytes, BundleError> {
        if self.rest > limit {
            return Err(BundleError::TooLarge { name, limit });
        }
        let mut content = BytesMut::new();
        while let Some(piece) = self.piece().await? {
            content.extend_from_slice(&piece);
        }
        Ok(content.freeze())
    }
}

/// The blobs of an incoming bundle. See [`Incoming::blobs`].
#[derive(Debug)]
pub(crate) struct IncomingBlobs<'a, R> {
    incoming: &'a mut Incoming<R>,
    kept: std::vec::IntoIter<(Digest, Bytes)>,
    /// The first blob that is still in the stream.
    next: Option<Next>,
    /// The bytes of the current blob, if it was kept.
    in_memory: Option<Bytes>,
}

impl<R: AsyncRead + Unpin + Send> BlobSequence for IncomingBlobs<'_, R> {
    async fn next_blob(&mut self) -> Result<Option<Next>, Error> {
        if let Some((digest, bytes)) = self.kept.next() {
            let size = bytes.len() as u64;
            self.in_memory = Some(bytes);
            return Ok(Some((digest, size)));
        }
        self.in_memory = None;
        match self.next.take() {
            Some(next) => Ok(Some(next)),
            None => self.incoming.next_blob().await.map_err(broken),
        }
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, Error> {
        match &mut self.in_memory {
            Some(bytes) => Ok(Some(std::mem::take(bytes)).filter(|bytes| !bytes.is_empty())),
            None => self.incoming.piece().await.map_err(broken),
        }
    }

    fn location(&self, digest: &Digest) -> Location {
        Location::new(Operation::ReadBlob, Side::Source, format!("{digest} in {STANDARD_INPUT}"))
    }
}

/// The stream itself failed.
fn broken(error: BundleError) -> Error {
    Error::new(Operation::ReadBundle, Side::Source, STANDARD_INPUT, error)
}

fn unreadable(error: io::Error) -> BundleError {
    BundleError::unreadable(STANDARD_INPUT, error)
}
fn not_a_layout(reason: &'static str) -> BundleError {
    BundleError::NotALayout { path: PathBuf::from(STANDARD_INPUT), reason }
}
