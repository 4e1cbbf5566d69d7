//! The bytes of a blob as one destination takes them.
//!
//! A [`SharedStream`] that has everything so far polls the [`Upstream`] itself, and every other one that waits is woken as
//! well. So no destination depends on another one being polled: a stalled destination delays only itself.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Wake, Waker, ready},
};

use bytes::Bytes;
use futures::{FutureExt as _, Stream, StreamExt as _, future::BoxFuture};
use tokio::time::Sleep;

use super::{
    Shared,
    reads::{Next, ReadId, ReaderId},
};
use crate::{
    endpoint::{BlobStream, Destination, Error, Source, lock},
    oci::{Descriptor, Repository},
};

/// Where one read of a blob gets its bytes, polled by whichever stream needs some.
pub(super) struct Upstream {
    state: Mutex<State>,
    waiting: Arc<Waiting>,
}

enum State {
    Opening { opening: BoxFuture<'static, Result<BlobStream, Error>>, from: ReadFrom },
    Open { stream: BlobStream, from: ReadFrom },
    Over,
}

/// Whose bytes they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReadFrom {
    Source,
    /// Another destination.
    Destination(usize),
}

/// The tasks that wait for an upstream. All are woken: any of them may be that of a stalled destination.
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

/// The bytes of a blob from an offset on, as one destination takes them: from one read after the other, if it is left behind.
pub(super) struct SharedStream<S, D>
where
    S: Source,
    D: Destination,
{
    shared: Arc<Shared<S, D>>,
    number: usize,
    repository: Repository,
    blob: Descriptor,
    offset: u64,
    joined: Option<JoinedRead>,
    sleep: Option<Pin<Box<Sleep>>>,
}

/// The read that a stream has joined or begun.
struct JoinedRead {
    id: ReadId,
    reader: ReaderId,
    upstream: Arc<Upstream>,
}

impl<S: Source, D: Destination> SharedStream<S, D> {
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
        let JoinedRead { id, upstream, .. } = self.join();
        let (id, upstream) = (*id, Arc::clone(upstream));
        ready!(self.poll_open(id, &upstream, &mut lock(&upstream.state), context));
        Poll::Ready(self.shared.reads().failure(id).map_or(Ok(()), Err))
    }

    /// Joins a read of the blob that still has the bytes from the offset on; without one, begins a read.
    fn join(&mut self) -> &JoinedRead {
        let Self { shared, number, repository, blob, offset, joined, .. } = self;
        joined.get_or_insert_with(|| {
            let found = shared.reads().join(*number, &blob.digest, *offset);
            if let Some((id, reader, upstream)) = found {
                return JoinedRead { id, reader, upstream };
            }
            let upstream = Arc::new(Upstream { state: Mutex::new(State::Over), waiting: Arc::default() });
            // Other streams can join from here on. They wait for this lock.
            let mut state = lock(&upstream.state);
            let (id, reader, is_extra) =
                shared.reads().begin(*number, &blob.digest, *offset, Arc::clone(&upstream));
            let holder = is_extra.then(|| shared.closer_holder(*number, &blob.digest)).flatten();
            *state = match holder {
                Some((holder, repository)) => {
                    shared.reads().note_extra_from_destination(*number);
                    let opening = open(shared.read_connections.get(holder), &repository, blob, *offset);
                    State::Opening { opening, from: ReadFrom::Destination(holder) }
                }
                None => State::from_source(shared, *number, (repository, blob), *offset),
            };
            drop(state);
            JoinedRead { id, reader, upstream }
        })
    }

    /// Opens the upstream, if it is not open. If that fails, the read ends.
    fn poll_open(
        &self,
        id: ReadId,
        upstream: &Upstream,
        state: &mut State,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        while let State::Opening { opening, from } = state {
            let from = *from;
            upstream.waiting.add(context.waker());
            let waker = Waker::from(Arc::clone(&upstream.waiting));
            *state = match ready!(opening.poll_unpin(&mut Context::from_waker(&waker))) {
                Ok(stream) => State::Open { stream, from },
                Err(error) => self.after_failure(error, id, from),
            };
            upstream.waiting.wake_by_ref();
        }
        Poll::Ready(())
    }

    /// If another destination failed, the source provides the rest. If the source failed, the read ends.
    fn after_failure(&self, error: Error, id: ReadId, from: ReadFrom) -> State {
        let ReadFrom::Destination(holder) = from else {
            self.shared.reads().end(id, Err(error));
            return State::Over;
        };
        if let Some(answers) = self.shared.destination_answers.get(holder) {
            answers.distrust();
        }
        let head = self.shared.reads().head(id);
        State::from_source(&self.shared, self.number, (&self.repository, &self.blob), head)
    }

    /// Reads one piece for all streams of the read, unless another one has done so meanwhile.
    fn poll_read(&self, joined: &JoinedRead, context: &mut Context<'_>) -> Poll<()> {
        let JoinedRead { id, reader, upstream } = joined;
        let mut state = lock(&upstream.state);
        if !self.shared.reads().needs_more(*id, *reader) {
            return Poll::Ready(());
        }
        ready!(self.poll_open(*id, upstream, &mut state, context));
        let State::Open { stream, from } = &mut *state else { return Poll::Ready(()) };
        upstream.waiting.add(context.waker());
        let waker = Waker::from(Arc::clone(&upstream.waiting));
        match ready!(stream.poll_next_unpin(&mut Context::from_waker(&waker))) {
            Some(Ok(piece)) => self.shared.reads().push(*id, *reader, piece),
            Some(Err(error)) => *state = self.after_failure(error, *id, *from),
            None => {
                *state = State::Over;
                self.shared.reads().end(*id, Ok(()));
            }
        }
        upstream.waiting.wake_by_ref();
        Poll::Ready(())
    }

    /// Leaves the read. The last reader ends it.
    fn leave(&mut self) {
        if let Some(JoinedRead { id, reader, upstream }) = self.joined.take() {
            self.shared.reads().stop(id, reader);
            // The last handle closes the upstream, outside the lock of the reads.
            drop(upstream);
        }
    }

    /// Waits for another destination, until `until` at most.
    fn poll_wait(&mut self, until: tokio::time::Instant, context: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        sleep.as_mut().reset(until);
        sleep.as_mut().poll(context)
    }
}

impl State {
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

impl<S: Source, D: Destination> Stream for SharedStream<S, D> {
    type Item = Result<Bytes, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            let JoinedRead { id, reader, .. } = this.join();
            let (id, reader) = (*id, *reader);
            let next = this.shared.reads().take(id, reader, context.waker());
            match next {
                Next::Piece(piece) => {
                    this.offset += piece.len() as u64;
                    return Poll::Ready(Some(Ok(piece)));
                }
                Next::End => return Poll::Ready(None),
                Next::Failed(error) => return Poll::Ready(Some(Err(error))),
                Next::LeftBehind => this.leave(),
                Next::Wait(until) => ready!(this.poll_wait(until, context)),
                Next::NeedsMore => {
                    let Some(joined) = &this.joined else { continue };
                    ready!(this.poll_read(joined, context));
                }
            }
        }
    }
}

impl<S: Source, D: Destination> Drop for SharedStream<S, D> {
    fn drop(&mut self) {
        self.leave();
    }
}
