//! Finds out before a long run what would go wrong: every check runs, whatever the others find.
//!
//! Nothing is written anywhere: an upload is opened and given back, a file is created and removed.
//!
//! - [`local`]: helm, the lock's folder;
//! - [`source`]: each registry that images come from;
//! - [`destination`]: the registry that they go to, and their names there.

pub mod destination;
pub(crate) mod job;
pub mod local;
pub mod source;

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{FutureExt, future::LocalBoxFuture};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    endpoint::Error,
    error::{Failure, Kind},
    event::{Event, EventSink},
    problem::Side,
};

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// Helm is there.
    Helm,
    /// The chart renders, or the list can be read.
    Images,
    /// A registry that images come from answers and gives one of them.
    Source,
    /// The registry that images go to answers.
    Destination,
    /// Its certificate holds for a while yet.
    Certificate,
    /// Its clock and ours agree.
    Clock,
    /// Its repositories may be pushed to.
    Push,
    /// It takes images of several platforms.
    Indexes,
    /// It knows which signatures belong to an image.
    Referrers,
    /// Every image has a name of its own there.
    Names,
    /// The record of a run can be written.
    Lock,
}

impl fmt::Display for Check {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Helm => "helm",
            Self::Images => "images",
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Certificate => "certificate",
            Self::Clock => "clock",
            Self::Push => "push",
            Self::Indexes => "indexes",
            Self::Referrers => "referrers",
            Self::Names => "names",
            Self::Lock => "lock",
        })
    }
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It cannot be told without writing, or nothing was there to be tested.
    Untested,
    /// A run may succeed all the same.
    Warning,
    /// A run would fail.
    Problem,
}

/// What one check found. Its texts are free of secrets and control characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What was looked at.
    pub check: Check,
    /// How it ended.
    pub verdict: Verdict,
    /// What was found, in one line.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Of a problem: the kind of failure it would be; the exit code follows from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
}

impl Finding {
    fn new(check: Check, verdict: Verdict, message: impl Into<String>) -> Self {
        let message = crate::error::escape(&message.into()).replace('\n', " ");
        Self { check, verdict, message, hint: None, kind: None }
    }

    /// All is well.
    #[must_use]
    pub fn ok(check: Check, message: impl Into<String>) -> Self {
        Self::new(check, Verdict::Ok, message)
    }

    /// It is not known whether all is well.
    #[must_use]
    pub fn untested(check: Check, message: impl Into<String>) -> Self {
        Self::new(check, Verdict::Untested, message)
    }

    /// Something is odd; `hint` says what to do about it.
    #[must_use]
    pub fn warning(check: Check, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..Self::new(check, Verdict::Warning, message) }
    }

    /// A run would fail like this.
    #[must_use]
    pub fn problem(check: Check, failure: Failure) -> Self {
        let lines: Vec<String> = std::iter::once(failure.message).chain(failure.causes).collect();
        let finding = Self::new(check, Verdict::Problem, lines.join(": "));
        Self { hint: failure.hint, kind: Some(failure.kind), ..finding }
    }
}

/// How long a check may take, and what was heard while it took.
#[derive(Debug, Clone)]
pub struct Patience {
    limit: Duration,
    heard: Arc<Listener>,
}

impl Patience {
    /// Every check gets this long. What the `heard` registries said before they were asked again is shown
    /// when the time is up.
    #[must_use]
    pub fn new(limit: Duration, heard: Arc<Listener>) -> Self {
        Self { limit, heard }
    }

    /// Asks a registry, and gives up when the time is up. Boxed: many are asked at once.
    pub(crate) fn ask<'a, T: 'a>(
        &'a self,
        side: Side,
        place: &'a str,
        question: impl Future<Output = Result<T, Error>> + 'a,
    ) -> LocalBoxFuture<'a, Result<T, Failure>> {
        async move {
            let question = async { question.await.map_err(|error| error.failure()) };
            self.wait(question).await.unwrap_or_else(|| Err(self.late(place, self.heard.last(side))))
        }
        .boxed_local()
    }

    /// Lets a registry be found, and gives up when the time is up.
    pub(crate) async fn find<T>(
        &self,
        place: &str,
        search: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        self.wait(search).await.unwrap_or_else(|| Err(self.late(place, None)))
    }

    async fn wait<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout(self.limit, work).await.ok()
    }

    fn late(&self, place: &str, said: Option<String>) -> Failure {
        let said = said.map(|reason| format!("; before that: {reason}")).unwrap_or_default();
        let message = format!("{place} did not answer within {} s{said}", self.limit.as_secs());
        Failure::new(Kind::Image, message)
            .with_hint("check the network and the registry's health; --timeout SECONDS waits longer")
    }
}

/// Passes events on and remembers why each side was asked again.
pub struct Listener {
    next: Arc<dyn EventSink>,
    last: Mutex<[Option<String>; 2]>,
}

impl Listener {
    /// Passes everything on to `next`.
    #[must_use]
    pub fn new(next: Arc<dyn EventSink>) -> Self {
        Self { next, last: Mutex::default() }
    }

    fn last(&self, side: Side) -> Option<String> {
        let [source, destination] = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match side {
            Side::Source => source,
            Side::Destination => destination,
        }
    }
}

impl EventSink for Listener {
    fn emit(&self, event: Event) {
        if let Event::Retrying { side, reason, .. } = &event {
            let [source, destination] = &mut *self.last.lock().unwrap_or_else(PoisonError::into_inner);
            let last = match side {
                Side::Source => source,
                Side::Destination => destination,
            };
            *last = Some(reason.clone());
        }
        self.next.emit(event);
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Listener").field("last", &self.last).finish_non_exhaustive()
    }
}
