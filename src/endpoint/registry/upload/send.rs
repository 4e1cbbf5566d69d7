//! One request with bytes of a blob, supervised for stalls.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderValue, Method, StatusCode, header};
use reqwest::{Body, Response};
use tokio::time::Instant;
use url::Url;

use super::{
    super::{
        answer,
        auth::Origin,
        client_error,
        connecting::Phase,
        error::RegistryError,
        host::{Host, discard},
        limits, redirect,
        throttle::Turn,
        trickle::Trickle,
    },
    Push,
    chunks::{Chunk, Pieces, Release},
    journal::Journal,
    session::Session,
};
use crate::{
    endpoint::{
        VerifiedBody,
        body::{Snapshot, Watch},
    },
    event::Event,
    quota::Action,
};

/// The state of a running upload that is needed to resume it.
#[derive(Debug)]
pub(super) struct UploadRecord {
    pub(super) snapshots: Vec<Snapshot>,
    pub(super) journal: Option<Journal>,
    /// How often a request of this upload was interrupted.
    pub(super) resets: u32,
    /// The registry reported its progress and then refused the rest.
    pub(super) disputed: Option<u64>,
    /// How often the registry was still busy with an earlier request of this upload.
    pub(super) conflicts: u32,
    /// Where the registry redirected a whole blob after it had read the body: the next body goes there.
    pub(super) redirected: Option<Url>,
}

impl UploadRecord {
    /// The record of a new session.
    pub(super) fn new(push: &Push, session: &Session, resets: u32) -> Self {
        let mut journal = push.suspended.new_journal(push);
        if let Some(journal) = &mut journal {
            journal.record_session(session, &push.host.origin);
        }
        Self { snapshots: Vec::new(), journal, resets, disputed: None, conflicts: 0, redirected: None }
    }

    /// Adds the snapshots of the body.
    pub(super) fn update(&mut self, watch: &Watch) {
        for snapshot in watch.take_snapshots() {
            if let Some(journal) = &mut self.journal {
                journal.record_snapshot(&snapshot);
            }
            self.snapshots.push(snapshot);
        }
    }

    /// This upload will not be resumed.
    pub(super) fn finish(self) {
        if let Some(journal) = self.journal {
            journal.remove();
        }
    }
}

/// Bytes to send.
pub(super) struct Outgoing {
    pub(super) method: Method,
    pub(super) url: Url,
    /// `Content-Range`, for a chunk.
    pub(super) range: Option<HeaderValue>,
    pub(super) length: u64,
    /// Where the bytes come from; `None` when there are none.
    pub(super) pieces: Option<Arc<Mutex<Pieces>>>,
}

impl Outgoing {
    /// The body. With `release`, it sends nothing before that.
    fn body(&self, release: Option<Release>) -> Body {
        match &self.pieces {
            Some(pieces) => Body::wrap(Chunk::new(Arc::clone(pieces), self.length, release)),
            None => Body::default(),
        }
    }
}

/// Sends a whole blob. `Content-Length` is set, so the registry cannot accept a body that ends early.
pub(super) async fn whole(
    push: &Push,
    session: &Session,
    body: VerifiedBody,
    watch: &Watch,
    record: &mut UploadRecord,
) -> Result<(), RegistryError> {
    let url = record.redirected.take().unwrap_or_else(|| session.closing_url(&push.blob));
    let (method, length) = (Method::PUT, body.length());
    let outgoing = Outgoing { method, url, range: None, length, pieces: Some(Pieces::new(body)) };
    discard(transmit(push, outgoing, watch, record).await?).await;
    Ok(())
}

/// Commits a session that has all the bytes.
pub(super) async fn close(
    push: &Push,
    session: &Session,
    watch: &Watch,
    record: &mut UploadRecord,
) -> Result<(), RegistryError> {
    let (method, url) = (Method::PUT, session.closing_url(&push.blob));
    let outgoing = Outgoing { method, url, range: None, length: 0, pieces: None };
    discard(transmit(push, outgoing, watch, record).await?).await;
    Ok(())
}

/// Sends one request whose body can be sent only once. Returns a successful response. Follows a redirect within the
/// registry while no byte of the body has been sent.
pub(super) async fn transmit(
    push: &Push,
    mut outgoing: Outgoing,
    watch: &Watch,
    record: &mut UploadRecord,
) -> Result<Response, RegistryError> {
    let host = &push.host;
    let action = if outgoing.method == Method::PATCH { Action::UploadChunk } else { Action::CompleteUpload };
    let turn = host.pace.bytes(action).await;
    if let Some(verdict) = host.pace.verdict() {
        return Err(verdict);
    }
    let waits = host.capabilities.redirects_before_bodies() && outgoing.length > 0;
    let pause = limits::REDIRECT_TIMEOUT.min(host.tuning().stall / 2);
    for _ in 0..=limits::MAX_REDIRECTS {
        let release = waits.then(|| Release::after(pause));
        let response = transmit_once(push, &outgoing, release.clone(), turn, (watch, record)).await?;
        match redirect::target(response.url(), &outgoing.method, &response)? {
            None if response.status().is_success() => return Ok(response),
            None => return Err(RegistryError::Redirect("it redirects without a `Location`".to_owned())),
            Some(target) => outgoing.url = target,
        }
        if outgoing.length > 0 && release.as_ref().is_none_or(Release::is_over) {
            if release.is_some() {
                host.capabilities.redirected_after_body();
            }
            record.redirected = Some(outgoing.url);
            return Err(RegistryError::UploadRedirected);
        }
    }
    Err(RegistryError::Redirect(format!("it redirects more than {} times", limits::MAX_REDIRECTS)))
}

/// Returns a success or a redirect.
async fn transmit_once(
    push: &Push,
    outgoing: &Outgoing,
    release: Option<Release>,
    turn: Turn,
    (watch, record): (&Watch, &mut UploadRecord),
) -> Result<Response, RegistryError> {
    let host = &push.host;
    let origin = Origin::of(&outgoing.url).map_err(|error| RegistryError::Redirect(error.to_string()))?;
    let mut request = host
        .network()
        .client(&origin)?
        .request(outgoing.method.clone(), outgoing.url.clone())
        .header(header::CONTENT_LENGTH, outgoing.length)
        .header(header::CONTENT_TYPE, "application/octet-stream");
    if let Some(range) = &outgoing.range {
        request = request.header(header::CONTENT_RANGE, range.clone());
    }
    // A session may live on another host; the registry's credentials do not go there.
    let authorization = if origin == host.origin {
        host.authorization(&push.repository, &push.scopes()).await?
    } else {
        None
    };
    if let Some(value) = &authorization {
        request = request.header(header::AUTHORIZATION, value);
    }
    let send = request.body(outgoing.body(release)).send();
    let answered = supervise(push, watch, record, send).await;
    record.update(watch);
    let error = match answered {
        Ok(response) if response.status().is_success() && answer::is_web_page(response.headers()) => {
            RegistryError::WebPage
        }
        Ok(response) if response.status().is_success() || response.status().is_redirection() => {
            host.pace.received(turn);
            return Ok(response);
        }
        Ok(mut response) => {
            answer::remember(&mut response, authorization.as_ref());
            if let (StatusCode::UNAUTHORIZED, Some(sent)) = (response.status(), &authorization) {
                host.forget(&push.repository, &push.scopes(), sent);
            }
            RegistryError::Refused(answer::refusal(response).await)
        }
        Err(error) => error,
    };
    Err(host.failed(error, &origin, turn))
}

/// Waits for the response, records the progress and cancels a stalled request. A read timeout does not suffice: nothing
/// is read while the request body is sent.
async fn supervise(
    push: &Push,
    watch: &Watch,
    record: &mut UploadRecord,
    send: impl Future<Output = reqwest::Result<Response>>,
) -> Result<Response, RegistryError> {
    let phase = Phase::new();
    let mut stillness = StallTimer::new(push);
    let mut ticks = tokio::time::interval(stillness.tick());
    let send = phase.scope(send);
    tokio::pin!(send);
    loop {
        tokio::select! {
            biased;
            answered = &mut send => return answered.map_err(|error| client_error::translate(&error)),
            () = watch.snapshot_taken() => record.update(watch),
            _ = ticks.tick() => stillness.check(&push.host, watch, &phase)?,
        }
    }
}

/// Measures the time without progress.
struct StallTimer {
    name: String,
    size: u64,
    stall: Duration,
    commit: Duration,
    moved: u64,
    since: Instant,
    reported: u32,
    trickle: Trickle,
    checked: Instant,
}

impl StallTimer {
    fn new(push: &Push) -> Self {
        let tuning = push.host.tuning();
        Self {
            name: push.name(),
            size: push.blob.size,
            stall: tuning.stall,
            commit: tuning.commit,
            moved: 0,
            since: Instant::now(),
            reported: 0,
            trickle: Trickle::new(tuning.stall),
            checked: Instant::now(),
        }
    }

    fn tick(&self) -> Duration {
        (self.stall / 10).clamp(Duration::from_millis(1), Duration::from_secs(1))
    }

    fn check(&mut self, host: &Host, watch: &Watch, phase: &Phase) -> Result<(), RegistryError> {
        let is_committing = watch.passed() >= self.size;
        let waited = std::mem::replace(&mut self.checked, Instant::now()).elapsed();
        // A stalled source has its own timeout and may recover; so has connecting.
        let waits_elsewhere = watch.waits_for_source() || phase.is_connecting();
        if !waits_elsewhere && !is_committing {
            self.trickle.add(waited, watch.moved().saturating_sub(self.moved))?;
        }
        if watch.moved() != self.moved || waits_elsewhere {
            self.moved = watch.moved();
            self.since = Instant::now();
            self.reported = 0;
        }
        let still = self.since.elapsed();
        let patience = if is_committing { self.commit } else { self.stall };
        if still >= patience {
            return Err(RegistryError::Stalled(patience));
        }
        if still >= self.stall * (self.reported + 1) {
            self.reported += 1;
            let message = format!(
                "{} received all of {} but has not responded for {} s",
                host.origin,
                self.name,
                still.as_secs()
            );
            host.events().emit(Event::Warning { image: None, message });
        }
        Ok(())
    }
}
