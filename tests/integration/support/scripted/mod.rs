//! A registry in memory that is correct unless a script changes its behavior.
//!
//! [`Scripted::on`] selects requests, an [`Action`] says what happens to them. Every request is recorded. A manifest
//! that arrives before its content is refused and counts as a violation: the test fails when the registry is dropped. A
//! test that provokes violations takes them with [`Scripted::take_violations`].

mod action;
mod store;

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, header::AUTHORIZATION};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::watch;

pub use self::action::{Action, Gate};
pub use super::http_server::{Answer, End};
use super::{
    Address,
    http_server::{Dropped, HttpServer},
    is_request,
    process::DEADLINE,
    tls::Authority,
};
pub use store::Store;

/// The silence after which a client is considered to be waiting for answers: far longer than sending a request takes.
const QUIET: Duration = Duration::from_millis(500);

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Its method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// All headers, `Authorization` included.
    pub headers: HeaderMap,
    /// The body's length in bytes, once all of it has arrived.
    pub body_length: Option<usize>,
    /// When its head arrived.
    pub at: Instant,
}

impl Recorded {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Whether it has this method (any, if empty) and this text in its path and query.
    pub fn is(&self, method: &str, path: &str) -> bool {
        is_request((self.method.as_str(), &self.path), method, path)
    }
}

/// Which requests an action is for: those whose path and query contain a text.
struct Rule {
    method: String,
    path: String,
    skipped: usize,
    left: usize,
    action: Action,
}

/// A rule that still lacks its action: see [`Scripted::on`].
pub struct On<'a> {
    registry: &'a Scripted,
    method: String,
    path: String,
    skipped: usize,
    times: usize,
}

impl On<'_> {
    /// Only the `n`th such request, counted from 1.
    #[must_use]
    pub fn nth(self, n: usize) -> Self {
        Self { skipped: n - 1, times: 1, ..self }
    }

    /// Only the first `n` such requests.
    #[must_use]
    pub fn first(self, n: usize) -> Self {
        Self { skipped: 0, times: n, ..self }
    }

    /// What happens to them.
    pub fn then(self, action: Action) {
        let Self { registry, method, path, skipped, times: left } = self;
        registry.shared.state().rules.push(Rule { method, path, skipped, left, action });
    }

    /// Shorthand: they are answered with this.
    pub fn answer(self, answer: Answer) {
        self.then(Action::Answer(answer));
    }
}

/// A running scripted registry. It stops when it is dropped.
pub struct Scripted {
    server: HttpServer,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// How many requests have arrived.
    arrived: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    store: Store,
    rules: Vec<Rule>,
    requests: Vec<Recorded>,
    auth: Option<Demand>,
    /// How long each answer takes.
    delay: Duration,
    open: usize,
    most_open: usize,
}

/// A challenge, and the `Authorization` headers that are accepted.
struct Demand {
    challenge: String,
    accepted: Vec<String>,
}

impl Scripted {
    /// Starts over http.
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// Starts over https with a certificate of this authority.
    pub async fn start_tls(authority: &Authority) -> Self {
        Self::start_with(Some(authority)).await
    }

    async fn start_with(authority: Option<&Authority>) -> Self {
        let shared = Arc::new(Shared::default());
        let server =
            HttpServer::start(
                authority,
                &shared,
                |shared, request| async move { shared.handle(request).await },
            );
        Self { server: server.await, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        self.server.address()
    }

    /// Names requests by method (any, if empty) and a part of their path and query: all of them, unless limited
    /// further.
    ///
    /// Of several rules for a request, the one that was added last wins.
    pub fn on(&self, method: &str, path: &str) -> On<'_> {
        On { registry: self, method: method.to_owned(), path: path.to_owned(), skipped: 0, times: usize::MAX }
    }

    /// From now on, requests below `/v2/` need one of these `Authorization` headers, else get 401 and the challenge.
    pub fn demand(&self, challenge: &str, accepted: &[&str]) {
        let accepted = accepted.iter().map(|&header| header.to_owned()).collect();
        self.shared.state().auth = Some(Demand { challenge: challenge.to_owned(), accepted });
    }

    /// From now on, each answer takes this long, as over a slow network.
    pub fn delay_answers(&self, delay: Duration) {
        self.shared.state().delay = delay;
    }

    /// Reads or changes the registry's content.
    pub fn with_store<T>(&self, look: impl FnOnce(&mut Store) -> T) -> T {
        look(&mut self.shared.state().store)
    }

    /// Returns and clears all violations so far, for tests that provoke them.
    pub fn take_violations(&self) -> Vec<String> {
        self.with_store(|store| std::mem::take(&mut store.violations))
    }

    /// All requests, in the order in which they arrived.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.state().requests.clone()
    }

    /// How many requests had this method (any, if empty) and this text in their path and query.
    pub fn count(&self, method: &str, path: &str) -> usize {
        self.shared.state().requests.iter().filter(|request| request.is(method, path)).count()
    }

    /// The largest number of unanswered requests at one time.
    pub fn most_at_once(&self) -> usize {
        self.shared.state().most_open
    }

    /// Resets [`Scripted::most_at_once`].
    pub fn forget_most_at_once(&self) {
        self.shared.state().most_open = 0;
    }

    /// Clears the recorded requests and the rules, not the content.
    pub fn clear(&self) {
        let mut state = self.shared.state();
        state.requests.clear();
        state.rules.clear();
        state.most_open = 0;
    }

    /// Waits until no request has arrived for a while: every client is then waiting for an answer.
    pub async fn quiet(&self) {
        let mut arrived = self.shared.arrived.subscribe();
        while tokio::time::timeout(QUIET, arrived.changed()).await.is_ok() {}
    }

    /// Waits until this many such requests have arrived.
    pub async fn wait_for(&self, requests: usize, method: &str, path: &str) {
        let mut arrived = self.shared.arrived.subscribe();
        let all = tokio::time::timeout(DEADLINE, arrived.wait_for(|_| self.count(method, path) >= requests));
        let is_complete = all.await.is_ok();
        assert!(is_complete, "{} of {requests} {method} {path} after {DEADLINE:?}", self.count(method, path));
    }
}

/// Children before parents, the tag last: a violation fails the test unless it was taken.
impl Drop for Scripted {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let violations = self.take_violations();
            assert!(violations.is_empty(), "manifests named what was absent:\n{}", violations.join("\n"));
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    async fn handle(&self, request: Request<Incoming>) -> Result<Answer, Dropped> {
        let _open = Open::new(self);
        let (head, body) = request.into_parts();
        let path = head.uri.path_and_query().unwrap().to_string();
        let (method, headers, at) = (head.method, head.headers, Instant::now());
        let recorded = Recorded { method, path, headers, body_length: None, at };
        let (index, action) = self.record(recorded.clone());
        let delay = self.state().delay;
        if !delay.is_zero() {
            // Not waiting for a condition: the network is slow.
            tokio::time::sleep(delay).await;
        }
        match &action {
            Some(Action::AnswerEarly(answer)) => return Ok(answer.clone()),
            Some(Action::Decide(choose)) => {
                if let Some(answer) = choose(&recorded) {
                    return Ok(answer);
                }
            }
            Some(Action::Close) => return Err(Dropped),
            Some(Action::Stall) => return std::future::pending().await,
            Some(Action::Hold(gate) | Action::HoldThen(gate, _)) => gate.pass().await,
            Some(Action::CutUpload { after, keep }) => {
                let start = read_start(body, *after).await;
                if *keep {
                    self.state().store.keep_partial_upload(&recorded.path, &start);
                }
                return Err(Dropped);
            }
            Some(
                Action::Answer(_) | Action::Alter(_) | Action::DecideAfterBody(_) | Action::ServeThenClose,
            )
            | None => (),
        }
        let body = body.collect().await.map_err(|_| Dropped)?.to_bytes();
        if let Some(request) = self.state().requests.get_mut(index) {
            request.body_length = Some(body.len());
        }
        match action {
            Some(Action::Answer(answer) | Action::HoldThen(_, answer)) => Ok(answer),
            Some(Action::DecideAfterBody(choose)) => {
                Ok(choose(&recorded).unwrap_or_else(|| self.serve(&recorded, body)))
            }
            Some(Action::Alter(change)) => Ok(change(self.serve(&recorded, body))),
            Some(Action::ServeThenClose) => {
                self.serve(&recorded, body);
                Err(Dropped)
            }
            _ => Ok(self.serve(&recorded, body)),
        }
    }

    /// Records a request and finds its action in the script.
    fn record(&self, request: Recorded) -> (usize, Option<Action>) {
        let mut state = self.state();
        let mut action = None;
        for rule in state.rules.iter_mut().filter(|rule| request.is(&rule.method, &rule.path)) {
            if rule.skipped > 0 {
                rule.skipped -= 1;
            } else if rule.left > 0 {
                rule.left -= 1;
                action = Some(rule.action.clone());
            }
        }
        state.requests.push(request);
        let arrived = state.requests.len();
        drop(state);
        self.arrived.send_replace(arrived);
        (arrived - 1, action)
    }

    /// What a correct registry answers.
    fn serve(&self, request: &Recorded, body: Bytes) -> Answer {
        let mut state = self.state();
        if let Some(demand) = &state.auth {
            let given = request.header(AUTHORIZATION.as_str());
            if !demand.accepted.iter().any(|accepted| Some(accepted.as_str()) == given) {
                return Answer::error(401, "UNAUTHORIZED").header("www-authenticate", &demand.challenge);
            }
        }
        state.store.serve(request, body)
    }
}

/// An unanswered request: counted while this value lives.
struct Open<'a>(&'a Shared);

impl<'a> Open<'a> {
    fn new(shared: &'a Shared) -> Self {
        let mut state = shared.state();
        state.open += 1;
        state.most_open = state.most_open.max(state.open);
        Self(shared)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.state().open -= 1;
    }
}

/// The first bytes of a body: `length` of them, fewer if it ends before.
async fn read_start(mut body: Incoming, length: usize) -> Bytes {
    let mut start = Vec::new();
    while start.len() < length
        && let Some(Ok(frame)) = body.frame().await
    {
        start.extend(frame.into_data().unwrap_or_default());
    }
    start.truncate(length);
    start.into()
}
