//! Interrupted uploads, until the next attempt or the next process resumes them.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{
    super::{error::RegistryError, refusal::Refusal, retry},
    Push,
    journal::{self, Journal},
    send::{self, UploadRecord},
    session::Session,
};
use crate::{
    endpoint::{
        Cause,
        body::{Snapshot, Start, Watch},
    },
    oci::{Digest, Repository},
};

/// How often to resume an upload while the registry is busy with it. After that, a new one is opened.
const CONFLICTS: u32 = 3;

/// The interrupted uploads of one side.
#[derive(Debug)]
pub(in super::super) struct SuspendedUploads {
    folder: Option<PathBuf>,
    uploads: Mutex<HashMap<(Repository, Digest), SuspendedUpload>>,
}

/// An interrupted upload.
#[derive(Debug)]
pub(super) struct SuspendedUpload {
    session: Session,
    pub(super) record: UploadRecord,
    /// The upper bound of the bytes that the registry has.
    sent: u64,
}

/// The result of resuming an upload.
pub(super) enum Resumption {
    /// The rest is wanted.
    Resumed(Box<ResumedUpload>),
    /// The registry had all the bytes; the blob is committed.
    Completed,
    /// A new upload must be opened: no byte is ever sent twice to one session.
    Dead,
}

/// A resumed upload: its session, its start offset and its record.
pub(super) struct ResumedUpload {
    pub(super) session: Session,
    pub(super) start: Start,
    pub(super) record: UploadRecord,
}

impl SuspendedUploads {
    /// Starts empty. The folder holds the journals of large uploads.
    pub(in super::super) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, uploads: Mutex::default() }
    }

    /// The interrupted upload of a blob, from this process or an earlier one.
    pub(super) fn take(&self, push: &Push) -> Option<SuspendedUpload> {
        let key = (push.repository.clone(), push.blob.digest.clone());
        if let Some(suspended) = self.uploads().remove(&key) {
            return Some(suspended);
        }
        let folder = self.folder.as_deref().filter(|_| push.is_resumable())?;
        let (journal, entries) = Journal::open(folder, &push.host.origin, &push.repository, &push.blob)?;
        let (snapshots, journal) = (entries.snapshots, Some(journal));
        let record =
            UploadRecord { snapshots, journal, resets: 0, disputed: None, conflicts: 0, redirected: None };
        // The journal does not record how much was sent: that would cost a write for every piece.
        Some(SuspendedUpload { session: entries.session, record, sent: push.blob.size })
    }

    /// A journal for a new upload, if the blob is large enough.
    pub(super) fn new_journal(&self, push: &Push) -> Option<Journal> {
        let folder = self.folder.as_deref().filter(|_| push.is_resumable())?;
        journal::sweep(folder);
        Journal::create(folder, &push.host.origin, &push.repository, &push.blob)
    }

    fn keep(&self, push: &Push, suspended: SuspendedUpload) {
        let key = (push.repository.clone(), push.blob.digest.clone());
        self.uploads().insert(key, suspended);
    }

    fn uploads(&self) -> MutexGuard<'_, HashMap<(Repository, Digest), SuspendedUpload>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SuspendedUpload {
    /// After a failure: keeps the session if it may still be valid, cancels it otherwise.
    pub(super) async fn keep_or_cancel(
        push: &Push,
        session: Session,
        (began_at, mut record): (u64, UploadRecord),
        watch: &Watch,
        error: &RegistryError,
    ) {
        if matches!(error.innermost(), RegistryError::Broken(_) | RegistryError::NotHttp(_))
            && watch.failure().is_none()
        {
            record.resets += 1;
        }
        if error.is_status(&[416]) {
            record.disputed = Some(began_at);
        }
        if retry::is_busy_upload(error) {
            record.conflicts += 1;
        }
        if record.redirected.is_some() || may_be_valid(watch, error) && record.conflicts <= CONFLICTS {
            push.suspended.keep(push, Self { session, record, sent: watch.passed() });
            return;
        }
        record.finish();
        if !is_gone(error) {
            session.cancel(push).await;
        }
    }

    /// A redirected upload. It starts over at its new URL: the registry kept no byte of it.
    pub(super) fn restart(self, push: &Push) -> Result<ResumedUpload, Box<Self>> {
        if self.record.redirected.is_none() {
            return Err(Box::new(self));
        }
        let start = Start { snapshot_every: push.snapshot_every(), ..Start::at_the_beginning(&push.blob) };
        Ok(ResumedUpload { session: self.session, start, record: self.record })
    }

    /// Asks the registry for the upload's progress. Only large uploads are resumed.
    pub(super) async fn resume(self, push: &Push) -> Resumption {
        let Self { mut session, mut record, sent } = self;
        let may_go_on = push.is_resumable() && push.host.capabilities.takes_chunks();
        let received = if may_go_on { session.received(push, sent).await } else { 0 };
        if received == push.blob.size
            && received > 0
            && send::close(push, &session, &Watch::default(), &mut record).await.is_ok()
        {
            record.finish();
            return Resumption::Completed;
        }
        if received == 0 || received == push.blob.size || record.disputed == Some(received) {
            record.finish();
            session.cancel(push).await;
            return Resumption::Dead;
        }
        // Bytes arrived before the interruption, so the size of the request was not the cause.
        record.resets = 0;
        if let Some(journal) = &mut record.journal {
            journal.record_session(&session, &push.host.origin);
        }
        let hashed = last_before(&record.snapshots, received)
            .unwrap_or_else(|| Start::at_the_beginning(&push.blob).hashed);
        let start = Start { hashed, received, snapshot_every: push.snapshot_every() };
        Resumption::Resumed(Box::new(ResumedUpload { session, start, record }))
    }
}

fn last_before(snapshots: &[Snapshot], offset: u64) -> Option<Snapshot> {
    let usable = snapshots.iter().filter(|snapshot| snapshot.offset <= offset);
    usable.max_by_key(|snapshot| snapshot.offset).cloned()
}

/// Whether the session may still be valid and the bytes sent so far are not known to be wrong.
fn may_be_valid(watch: &Watch, error: &RegistryError) -> bool {
    if let Some(failure) = watch.failure() {
        return !matches!(failure.cause, Cause::Mismatch(_));
    }
    match error {
        RegistryError::Elsewhere { error, .. } => may_be_valid(watch, error),
        RegistryError::Broken(_)
        | RegistryError::NotHttp(_)
        | RegistryError::Stalled(_)
        | RegistryError::TooSlow { .. }
        | RegistryError::Unreachable { .. } => true,
        busy if retry::is_busy_upload(busy) => true,
        RegistryError::Refused(Refusal { status, .. }) => {
            *status == 416 || *status >= 500 || [408, 429, 499].contains(status)
        }
        _ => false,
    }
}

/// Whether the session no longer exists.
fn is_gone(error: &RegistryError) -> bool {
    error.refusal().is_some_and(|refusal| refusal.has_code("BLOB_UPLOAD_UNKNOWN"))
}
