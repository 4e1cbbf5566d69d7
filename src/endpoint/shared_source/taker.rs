//! The bytes of a blob as one destination takes them.
//!
//! A [`Taker`] that has everything so far polls the read itself; every other one that waits is woken as well. So no
//! destination depends on another one being polled: a stalled destination delays only itself.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker, ready},
};

use bytes::Bytes;
use futures::{FutureExt as _, Stream, StreamExt as _, future::BoxFuture};
use tokio::time::Sleep;

use super::{
    Shared,
    kept::{ReadId, Taken, TakerId},
};
use crate::{
    endpoint::{BlobStream, Destination, Error, Source},
    oci::{Descriptor, Repository},
};

/// One read of a blob, polled by whichever taker needs bytes.
pub(super) struct Read {
    inner: Mutex<Inner>,
    waiting: Arc<Waiting>,
}

enum Inner {
    Opening { opening: BoxFuture<'static, Result<BlobStream, Error>>, from: ReadFrom },
    Open { stream: BlobStream, from: ReadFrom },
    Over,
}

/// Where a read gets its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReadFrom {
    Source,
    /// Another destination.
    Destination(usize),
}

/// The takers that wait for a read. All are woken: each may be the one whose destination is stalled.
#[derive(Default)]
struct Waiting(Mutex<Vec<Waker>>);

impl Waiting {
    fn add(&self, waker: &Waker) {
        let mut waiting = lock(&self.0);
        if !waiting.iter().any(|other| other.will_wake(waker)) {
            waiting.push(waker.clone());
        }
    }
}

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        for waker in std::mem::take(&mut *lock(&self.0)) {
            waker.wake();
        }
    }
}

/// See the module documentation.
pub(super) struct Taker<S, D>
where
    S: Source,
    D: Destination,
{
    shared: Arc<Shared<S, D>>,
    number: usize,
    repository: Repository,
    blob: Descriptor,
    offset: u64,
    joined: Option<Joined>,
    sleep: Option<Pin<Box<Sleep>>>,
}

/// A read that a taker takes part in.
struct Joined {
    id: ReadId,
    taker: TakerId,
    read: Arc<Read>,
}

impl<S: Source, D: Destination> Taker<S, D> {
    pub(super) fn new(
        shared: Arc<Shared<S, D>>,
        number: usize,
        (repository, blob): (&Repository, &Descriptor),
        offset: u64,
    ) -> Self {
        let (repository, blob) = (repository.clone(), blob.clone());
        Self { shared, number, repository, blob, offset, joined: None, sleep: None }
    }

    /// Polls until the read is open.
    pub(super) fn poll_opened(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let Joined { id, read, .. } = self.join();
        let (id, read) = (*id, Arc::clone(read));
        ready!(self.poll_open(id, &read, &mut lock(&read.inner), context));
        Poll::Ready(self.shared.kept().failure(id).map_or(Ok(()), Err))
    }

    /// Joins a read of the blob that still has the bytes from the offset on; without one, begins a read.
    fn join(&mut self) -> &Joined {
        let Self { shared, number, repository, blob, offset, joined, .. } = self;
        joined.get_or_insert_with(|| {
            let found = shared.kept().join(*number, &blob.digest, *offset);
            if let Some((id, taker, read)) = found {
                return Joined { id, taker, read };
            }
            let read = Arc::new(Read { inner: Mutex::new(Inner::Over), waiting: Arc::default() });
            // Others can join from here on. They wait for this lock.
            let mut inner = lock(&read.inner);
            let (id, taker, is_extra) =
                shared.kept().begin(*number, &blob.digest, *offset, Arc::clone(&read));
            let holder = is_extra.then(|| shared.closer_holder(*number, &blob.digest)).flatten();
            *inner = match holder {
                Some((holder, repository)) => {
                    shared.kept().note_extra_from_destination(*number);
                    let opening = open(shared.readers.get(holder), &repository, blob, *offset);
                    Inner::Opening { opening, from: ReadFrom::Destination(holder) }
                }
                None => Inner::from_source(shared, *number, (repository, blob), *offset),
            };
            drop(inner);
            Joined { id, taker, read }
        })
    }

    /// Opens the read, if it is not open. If that fails, the read ends.
    fn poll_open(&self, id: ReadId, read: &Read, inner: &mut Inner, context: &mut Context<'_>) -> Poll<()> {
        while let Inner::Opening { opening, from } = inner {
            let from = *from;
            read.waiting.add(context.waker());
            let waker = Waker::from(Arc::clone(&read.waiting));
            *inner = match ready!(opening.poll_unpin(&mut Context::from_waker(&waker))) {
                Ok(stream) => Inner::Open { stream, from },
                Err(error) => self.after(error, id, from),
            };
            read.waiting.wake_by_ref();
        }
        Poll::Ready(())
    }

    /// After a failure: the rest comes from the source, if the failure was that of another destination. Otherwise the read
    /// ends.
    fn after(&self, error: Error, id: ReadId, from: ReadFrom) -> Inner {
        let ReadFrom::Destination(holder) = from else {
            self.shared.kept().end(id, Err(error));
            return Inner::Over;
        };
        if let Some(answers) = self.shared.destination_answers.get(holder) {
            answers.distrust();
        }
        let head = self.shared.kept().head(id);
        Inner::from_source(&self.shared, self.number, (&self.repository, &self.blob), head)
    }

    /// Reads one piece for everyone, unless another taker has done so meanwhile.
    fn poll_read(&self, joined: &Joined, context: &mut Context<'_>) -> Poll<()> {
        let Joined { id, taker, read } = joined;
        let mut inner = lock(&read.inner);
        if !self.shared.kept().needs_more(*id, *taker) {
            return Poll::Ready(());
        }
        ready!(self.poll_open(*id, read, &mut inner, context));
        let Inner::Open { stream, from } = &mut *inner else { return Poll::Ready(()) };
        read.waiting.add(context.waker());
        let waker = Waker::from(Arc::clone(&read.waiting));
        match ready!(stream.poll_next_unpin(&mut Context::from_waker(&waker))) {
            Some(Ok(piece)) => self.shared.kept().push(*id, *taker, piece),
            Some(Err(error)) => *inner = self.after(error, *id, *from),
            None => {
                *inner = Inner::Over;
                self.shared.kept().end(*id, Ok(()));
            }
        }
        read.waiting.wake_by_ref();
        Poll::Ready(())
    }

    /// Leaves the read. The last taker ends it.
    fn leave(&mut self) {
        if let Some(Joined { id, taker, read }) = self.joined.take() {
            self.shared.kept().stop(id, taker);
            // The stream ends with the last handle, outside the lock.
            drop(read);
        }
    }

    /// Waits for another destination, or until the time is over.
    fn poll_wait(&mut self, until: tokio::time::Instant, context: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        sleep.as_mut().reset(until);
        sleep.as_mut().poll(context)
    }
}

impl Inner {
    fn from_source<S: Source, D: Destination>(
        shared: &Shared<S, D>,
        number: usize,
        (repository, blob): (&Repository, &Descriptor),
        offset: u64,
    ) -> Self {
        let opening = open(shared.sources.get(number), repository, blob, offset);
        Self::Opening { opening, from: ReadFrom::Source }
    }
}

/// Opens a blob of an endpoint, without borrowing.
fn open<S: Source>(
    endpoint: Option<&Arc<S>>,
    repository: &Repository,
    blob: &Descriptor,
    offset: u64,
) -> BoxFuture<'static, Result<BlobStream, Error>> {
    let Some(endpoint) = endpoint.map(Arc::clone) else { return futures::future::pending().boxed() };
    let (repository, blob) = (repository.clone(), blob.clone());
    async move { endpoint.open_blob(&repository, &blob, offset).await }.boxed()
}

impl<S: Source, D: Destination> Stream for Taker<S, D> {
    type Item = Result<Bytes, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            let Joined { id, taker, .. } = this.join();
            let (read, own) = (*id, *taker);
            let next = this.shared.kept().take(read, own, context.waker());
            match next {
                Taken::Piece(piece) => {
                    this.offset += piece.len() as u64;
                    return Poll::Ready(Some(Ok(piece)));
                }
                Taken::End => return Poll::Ready(None),
                Taken::Failed(error) => return Poll::Ready(Some(Err(error))),
                Taken::LeftBehind => this.leave(),
                Taken::Wait(until) => ready!(this.poll_wait(until, context)),
                Taken::NeedsMore => {
                    let Some(joined) = &this.joined else { continue };
                    ready!(this.poll_read(joined, context));
                }
            }
        }
    }
}

impl<S: Source, D: Destination> Drop for Taker<S, D> {
    fn drop(&mut self) {
        self.leave();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
