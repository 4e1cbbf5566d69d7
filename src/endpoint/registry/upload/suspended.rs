//! Uploads that broke off, until the next attempt or the next process resumes them.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{
    super::{
        error::{Refusal, RegistryError},
        retry,
    },
    Push,
    journal::{self, Journal},
    send::{self, Record},
    session::Session,
};
use crate::{
    endpoint::{
        Cause,
        body::{Snapshot, Start, Watch},
    },
    oci::{Digest, Repository},
};

/// How often an upload is resumed that the registry is busy with. After that, a new one is opened.
const CONFLICTS: u32 = 3;

/// The uploads of one side that broke off.
#[derive(Debug)]
pub(in super::super) struct SuspendedUploads {
    folder: Option<PathBuf>,
    uploads: Mutex<HashMap<(Repository, Digest), SuspendedUpload>>,
}

/// An upload that broke off.
#[derive(Debug)]
pub(super) struct SuspendedUpload {
    session: Session,
    pub(super) record: Record,
    /// The registry cannot have more bytes than this.
    sent: u64,
}

/// What resuming an upload led to.
pub(super) enum Resumption {
    /// The rest is wanted.
    Resumed(Box<ResumedUpload>),
    /// It had all the bytes and is a blob now.
    Completed,
    /// A new one must be opened: no byte is ever sent twice to one session.
    Dead,
}

/// A resumed upload: where it goes, from where on, and what is noted about it.
pub(super) struct ResumedUpload {
    pub(super) session: Session,
    pub(super) start: Start,
    pub(super) record: Record,
}

impl SuspendedUploads {
    /// An empty one. Journals of large uploads are kept in the folder.
    pub(in super::super) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, uploads: Mutex::default() }
    }

    /// The upload of a blob that broke off, in this process or an earlier one.
    pub(super) fn take(&self, push: &Push) -> Option<SuspendedUpload> {
        let key = (push.repository.clone(), push.blob.digest.clone());
        if let Some(suspended) = self.uploads().remove(&key) {
            return Some(suspended);
        }
        let folder = self.folder.as_deref().filter(|_| push.is_resumable())?;
        let (journal, entries) = Journal::open(folder, &push.host.origin, &push.repository, &push.blob)?;
        let (snapshots, journal) = (entries.snapshots, Some(journal));
        let record = Record { snapshots, journal, resets: 0, disputed: None, conflicts: 0 };
        // How much was sent is not noted: that would cost a write for every piece.
        Some(SuspendedUpload { session: entries.session, record, sent: push.blob.size })
    }

    /// A journal for an upload that has just been opened, if it is worth one.
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
    /// After a failure: keeps the session if it may still be good, gives it back otherwise.
    pub(super) async fn keep_or_cancel(
        push: &Push,
        session: Session,
        (began_at, mut record): (u64, Record),
        watch: &Watch,
        error: &RegistryError,
    ) {
        if matches!(error, RegistryError::Broken(_) | RegistryError::NotHttp(_)) && watch.failure().is_none()
        {
            record.resets += 1;
        }
        if matches!(error, RegistryError::Refused(Refusal { status: 416, .. })) {
            record.disputed = Some(began_at);
        }
        if retry::is_busy_upload(error) {
            record.conflicts += 1;
        }
        if may_be_good(watch, error) && record.conflicts <= CONFLICTS {
            push.suspended.keep(push, Self { session, record, sent: watch.passed() });
            return;
        }
        record.finish();
        if !is_gone(error) {
            session.cancel(push).await;
        }
    }

    /// Asks the registry how far the upload came. Only large ones are resumed.
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
        // Bytes arrived before the break: it says nothing about the size of requests.
        record.resets = 0;
        if let Some(journal) = &mut record.journal {
            journal.note_session(&session, &push.host.origin);
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

/// Whether the bytes that were sent are right, as far as is known, and the session may still have them.
fn may_be_good(watch: &Watch, error: &RegistryError) -> bool {
    if let Some(failure) = watch.failure() {
        return !matches!(failure.cause, Cause::Mismatch(_));
    }
    match error {
        RegistryError::Broken(_)
        | RegistryError::NotHttp(_)
        | RegistryError::Stalled(_)
        | RegistryError::Unreachable { .. } => true,
        busy if retry::is_busy_upload(busy) => true,
        RegistryError::Refused(Refusal { status, .. }) => {
            *status == 416 || *status >= 500 || [408, 429, 499].contains(status)
        }
        _ => false,
    }
}

/// Whether there is nothing left to give back.
fn is_gone(error: &RegistryError) -> bool {
    matches!(error, RegistryError::Refused(refusal) if refusal.has_code("BLOB_UPLOAD_UNKNOWN"))
}
