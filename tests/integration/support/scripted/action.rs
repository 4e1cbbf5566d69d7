//! What a script does to a request: other answers, changed answers, broken connections and delays.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{super::process::DEADLINE, Answer, End, Recorded};

/// Decides whether to answer a request in the registry's place.
pub type Decision = dyn Fn(&Recorded) -> Option<Answer> + Send + Sync;

/// What happens to a request that a rule names.
#[derive(Clone)]
pub enum Action {
    /// The body is read, this is answered, and the registry never receives it.
    Answer(Answer),
    /// This is answered before the body is read.
    AnswerEarly(Answer),
    /// The registry serves the request; its answer is changed.
    Alter(Arc<dyn Fn(Answer) -> Answer + Send + Sync>),
    /// Decides for each request: an answer before the body is read, or `None` to let the registry serve it.
    Decide(Arc<Decision>),
    /// Decides for each request once its body is read: an answer, or `None` to let the registry serve it.
    DecideAfterBody(Arc<Decision>),
    /// The connection closes before the body is read.
    Close,
    /// The registry serves the request, and the connection closes in place of its answer.
    ServeThenClose,
    /// The connection closes after this many bytes of the request's body, which the registry keeps or loses.
    CutUpload {
        /// How many bytes arrive.
        after: usize,
        /// Whether the registry keeps them, so that the upload can be resumed.
        keep: bool,
    },
    /// No answer ever comes; the body is not read.
    Stall,
    /// The registry serves the request once the gate opens.
    Hold(Gate),
    /// This is answered once the gate opens, and the registry never receives the request.
    HoldThen(Gate, Answer),
}

impl Action {
    /// Answers with a status and a registry's error envelope.
    pub fn error(status: u16, code: &str) -> Self {
        Self::Answer(Answer::error(status, code))
    }

    /// Answers with a redirect.
    pub fn redirect(url: &str) -> Self {
        Self::Answer(Answer::status(307).header("location", url))
    }

    /// Changes the registry's own answer.
    pub fn alter(change: impl Fn(Answer) -> Answer + Send + Sync + 'static) -> Self {
        Self::Alter(Arc::new(change))
    }

    /// Decides for each request whether to answer it before its body is read.
    pub fn decide(choose: impl Fn(&Recorded) -> Option<Answer> + Send + Sync + 'static) -> Self {
        Self::Decide(Arc::new(choose))
    }

    /// Decides for each request whether to answer it once its body is read.
    pub fn decide_after_body(choose: impl Fn(&Recorded) -> Option<Answer> + Send + Sync + 'static) -> Self {
        Self::DecideAfterBody(Arc::new(choose))
    }

    /// Serves this many requests a second and answers all others with this.
    pub fn limit(per_second: usize, refusal: Answer) -> Self {
        let served: Mutex<VecDeque<Instant>> = Mutex::default();
        Self::decide(move |_| {
            let (mut served, now) = (served.lock().unwrap(), Instant::now());
            while served.front().is_some_and(|at| now - *at >= Duration::from_secs(1)) {
                served.pop_front();
            }
            if served.len() >= per_second {
                return Some(refusal.clone());
            }
            served.push_back(now);
            None
        })
    }

    /// Ends the answer's body like this.
    pub fn end(end: End) -> Self {
        Self::alter(move |answer| Answer { end, ..answer })
    }

    /// Flips a bit of the body's byte at this place.
    pub fn flip_bit(at: usize) -> Self {
        Self::alter(move |answer| {
            let mut body = answer.body.to_vec();
            body[at] ^= 1;
            answer.body(body)
        })
    }

    /// Replaces a header of the registry's answer.
    pub fn header(name: &'static str, value: &str) -> Self {
        let value = value.to_owned();
        Self::alter(move |mut answer| {
            answer.headers.remove(name);
            answer.header(name, &value)
        })
    }
}

/// Holds requests until a test opens it.
#[derive(Debug, Clone)]
pub struct Gate {
    open: Arc<watch::Sender<bool>>,
    waiting: Arc<watch::Sender<usize>>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { open: Arc::new(watch::Sender::new(false)), waiting: Arc::new(watch::Sender::new(0)) }
    }
}

impl Gate {
    /// Lets all requests pass from now on.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Waits until this many requests have reached the gate.
    pub async fn reached_by(&self, requests: usize) {
        let mut waiting = self.waiting.subscribe();
        let all = tokio::time::timeout(DEADLINE, waiting.wait_for(|&waiting| waiting >= requests));
        assert!(
            all.await.is_ok(),
            "{} of {requests} requests at the gate after {DEADLINE:?}",
            self.reached()
        );
    }

    /// How many requests have reached it.
    pub fn reached(&self) -> usize {
        *self.waiting.borrow()
    }

    /// Waits until it is open.
    pub(super) async fn pass(&self) {
        self.waiting.send_modify(|waiting| *waiting += 1);
        self.open.subscribe().wait_for(|&open| open).await.unwrap();
    }
}
