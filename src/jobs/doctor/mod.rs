//! Checks everything before a long run. Every check runs, even if an earlier check fails.
//!
//! Checks leave nothing behind: uploads are canceled, and the test file is removed.
//!
//! - [`local`]: helm, the lock's folder;
//! - [`source`]: each registry that images come from;
//! - [`destination`]: the registry that images go to, and their names there;
//! - [`cluster`]: what a cluster needs of that registry;
//! - `job`: the command.

pub(crate) mod cluster;
pub(crate) mod destination;
pub(crate) mod job;
pub(crate) mod local;
pub(crate) mod source;

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

/// The checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DoctorCheck {
    /// Which settings come from environment variables.
    Settings,
    /// Helm is installed.
    Helm,
    /// The chart renders, or the list can be read.
    Images,
    /// A registry that images come from serves one of them.
    Source,
    /// The registry that images go to answers.
    Destination,
    /// Its certificate does not expire soon.
    Certificate,
    /// Its clock agrees with this machine's.
    Clock,
    /// Its repositories may be pushed to.
    Push,
    /// It accepts multi-platform images.
    Indexes,
    /// It has the referrers API, which lists the signatures of an image.
    Referrers,
    /// Every image is there.
    Mirrored,
    /// It refuses or permits anonymous pulls.
    Anonymous,
    /// The login of `--authfile` alone reads it.
    PullSecret,
    /// Every image has a unique name there.
    Names,
    /// The lock can be written.
    Lock,
}

impl fmt::Display for DoctorCheck {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Settings => "settings",
            Self::Helm => "helm",
            Self::Images => "images",
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Certificate => "certificate",
            Self::Clock => "clock",
            Self::Push => "push",
            Self::Indexes => "indexes",
            Self::Referrers => "referrers",
            Self::Mirrored => "mirrored",
            Self::Anonymous => "anonymous",
            Self::PullSecret => "pull-secret",
            Self::Names => "names",
            Self::Lock => "lock",
        })
    }
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CheckVerdict {
    /// No problem.
    Ok,
    /// Only a push would show it, or there was nothing to test.
    Untested,
    /// A run may still succeed.
    Warning,
    /// A run would fail.
    Problem,
}

/// The result of one check. Its texts contain no secrets and no control characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CheckResult {
    /// What was checked.
    pub check: DoctorCheck,
    /// How it ended.
    pub verdict: CheckVerdict,
    /// The finding, in one line.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// For a problem: the kind of failure that a run would end with. It decides the exit code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
}

impl CheckResult {
    fn new(check: DoctorCheck, verdict: CheckVerdict, message: impl Into<String>) -> Self {
        let message = crate::error::escape(&message.into()).replace('\n', " ");
        Self { check, verdict, message, hint: None, kind: None }
    }

    /// No problem.
    #[must_use]
    pub(crate) fn ok(check: DoctorCheck, message: impl Into<String>) -> Self {
        Self::new(check, CheckVerdict::Ok, message)
    }

    /// Unknown whether there is a problem.
    #[must_use]
    pub(crate) fn untested(check: DoctorCheck, message: impl Into<String>) -> Self {
        Self::new(check, CheckVerdict::Untested, message)
    }

    /// A run may still succeed; `hint` says what to do.
    #[must_use]
    pub(crate) fn warning(check: DoctorCheck, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..Self::new(check, CheckVerdict::Warning, message) }
    }

    /// A run would fail with this failure.
    #[must_use]
    pub(crate) fn failed(check: DoctorCheck, failure: Failure) -> Self {
        let lines: Vec<String> = std::iter::once(failure.message).chain(failure.causes).collect();
        let result = Self::new(check, CheckVerdict::Problem, lines.join(": "));
        Self { hint: failure.hint, kind: Some(failure.kind), ..result }
    }
}

/// The time limit of a check, and why its requests were retried meanwhile.
#[derive(Debug, Clone)]
pub(crate) struct Deadline {
    limit: Duration,
    retries: Arc<RetryListener>,
}

impl Deadline {
    /// A limit for every check. When it expires, the last reason for a retry is shown.
    #[must_use]
    pub(crate) fn new(limit: Duration, retries: Arc<RetryListener>) -> Self {
        Self { limit, retries }
    }

    /// Waits for a registry's answer, until the time is up. Boxed, because many run at once.
    pub(crate) fn ask<'a, T: 'a>(
        &'a self,
        side: Side,
        location: &'a str,
        request: impl Future<Output = Result<T, Error>> + 'a,
    ) -> LocalBoxFuture<'a, Result<T, Failure>> {
        async move {
            let request = async { request.await.map_err(|error| error.failure()) };
            self.wait(request).await.unwrap_or_else(|| Err(self.expired(location, self.retries.last(side))))
        }
        .boxed_local()
    }

    /// Waits until a registry is found, or the time is up.
    pub(crate) async fn find<T>(
        &self,
        location: &str,
        search: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        self.wait(search).await.unwrap_or_else(|| Err(self.expired(location, None)))
    }

    async fn wait<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout(self.limit, work).await.ok()
    }

    fn expired(&self, location: &str, retried: Option<String>) -> Failure {
        let retried = retried.map(|reason| format!(" (last error: {reason})")).unwrap_or_default();
        let message = format!("{location} did not answer within {} s{retried}", self.limit.as_secs());
        Failure::new(Kind::Image, message)
            .with_hint("check the network and the registry, or pass a longer --timeout SECONDS")
    }
}

/// Forwards events, and remembers the last reason for a retry on each side.
pub(crate) struct RetryListener {
    next: Arc<dyn EventSink>,
    last: Mutex<[Option<String>; 2]>,
}

impl RetryListener {
    /// Forwards everything to `next`.
    #[must_use]
    pub(crate) fn new(next: Arc<dyn EventSink>) -> Self {
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

impl EventSink for RetryListener {
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

impl fmt::Debug for RetryListener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RetryListener").field("last", &self.last).finish_non_exhaustive()
    }
}
