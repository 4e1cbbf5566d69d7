//! Answers of the source that every destination needs: concurrent callers share one request, and the latest answers
//! stay in memory.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared, WeakShared},
};

use crate::endpoint::Error;

type Asking<V> = BoxFuture<'static, Result<V, Error>>;

/// Answers by question. The oldest are dropped when all of them take more than `most` bytes.
pub(super) struct Answers<K, V> {
    most: usize,
    inner: Mutex<Inner<K, V>>,
}

struct Inner<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// The questions with an answer, the oldest first, each with the bytes that it takes.
    order: VecDeque<(K, usize)>,
    bytes: usize,
}

enum Entry<V> {
    /// Every caller that waits for the answer polls the request. When the last one stops waiting, the request ends.
    Asked(WeakShared<Asking<V>>),
    Answered(V),
}

impl<K, V> Answers<K, V>
where
    K: Hash + Eq + Clone,
    V: Clone + Send + Sync + 'static,
{
    pub(super) fn new(most: usize) -> Self {
        let inner = Inner { entries: HashMap::new(), order: VecDeque::new(), bytes: 0 };
        Self { most, inner: Mutex::new(inner) }
    }

    /// The answer, if it is known; otherwise asks, or waits for the request of an earlier caller. `bytes` says how much
    /// memory an answer takes; `None` if it must not stay. Failures do not stay either.
    pub(super) async fn get(
        &self,
        question: K,
        ask: impl FnOnce() -> Asking<V>,
        bytes: impl FnOnce(&V) -> Option<usize>,
    ) -> Result<V, Error> {
        let asking: Shared<Asking<V>> = {
            let mut inner = self.lock();
            let asked = match inner.entries.get(&question) {
                Some(Entry::Answered(answer)) => return Ok(answer.clone()),
                Some(Entry::Asked(asked)) => asked.upgrade(),
                None => None,
            };
            if let Some(asked) = asked {
                asked
            } else {
                let asking = ask().shared();
                if let Some(weak) = asking.downgrade() {
                    inner.entries.insert(question.clone(), Entry::Asked(weak));
                }
                asking
            }
        };
        let answer = asking.await;
        let mut inner = self.lock();
        if let Some(Entry::Asked(_)) = inner.entries.get(&question) {
            match answer.as_ref().ok().and_then(bytes) {
                Some(bytes) => inner.keep(question, &answer, bytes, self.most),
                None => drop(inner.entries.remove(&question)),
            }
        }
        drop(inner);
        answer
    }

    /// Replaces an answer that turned out to be wrong.
    pub(super) fn correct(&self, question: &K, answer: V) {
        if let Some(entry) = self.lock().entries.get_mut(question) {
            *entry = Entry::Answered(answer);
        }
    }

    /// Adds an answer that came without the question.
    pub(super) fn add(&self, question: K, answer: V, bytes: usize) {
        let mut inner = self.lock();
        if !inner.entries.contains_key(&question) {
            inner.keep(question, &Ok(answer), bytes, self.most);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<K, V>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Inner<K, V> {
    fn keep(&mut self, question: K, answer: &Result<V, Error>, bytes: usize, most: usize) {
        let Ok(answer) = answer else { return };
        self.entries.insert(question.clone(), Entry::Answered(answer.clone()));
        if bytes == 0 {
            // It stays for the whole run.
            return;
        }
        self.order.push_back((question, bytes));
        self.bytes += bytes;
        while self.bytes > most
            && let Some((oldest, bytes)) = self.order.pop_front()
        {
            self.bytes -= bytes;
            self.entries.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use futures::future;

    use super::*;
    use crate::{
        endpoint::{Cause, Operation},
        problem::Side,
    };

    /// Asks `answers`, and counts in `asked` how often the question reaches the source.
    async fn get(
        answers: &Answers<u32, u32>,
        question: u32,
        asked: &Arc<AtomicUsize>,
        answer: Result<u32, Error>,
    ) -> Result<u32, Error> {
        let asked = Arc::clone(asked);
        let ask = move || {
            async move {
                asked.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                answer
            }
            .boxed()
        };
        answers.get(question, ask, |_| Some(10)).await
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_callers_share_one_request_and_its_answer_stays() {
        let (answers, asked) = (Answers::new(25), Arc::default());
        let (a, b) = future::join(get(&answers, 1, &asked, Ok(7)), get(&answers, 1, &asked, Ok(8))).await;
        assert_eq!((a.unwrap(), b.unwrap()), (7, 7));
        assert_eq!(get(&answers, 1, &asked, Ok(9)).await.unwrap(), 7);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_and_the_oldest_answers_go_first() {
        let (answers, asked) = (Answers::new(25), Arc::default());
        for question in 0..1000 {
            get(&answers, question, &asked, Ok(question)).await.unwrap();
            let inner = answers.lock();
            assert!(inner.entries.len() <= 2 && inner.order.len() <= 2 && inner.bytes <= 25);
        }
        get(&answers, 999, &asked, Ok(0)).await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 1000, "the latest is there");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_does_not_stay_and_a_caller_that_stops_waiting_does_not_affect_the_others() {
        let (answers, asked) = (Answers::new(25), Arc::default());
        let failure = || Error::new(Operation::ReadManifest, Side::Source, "x", Cause::NoSuchManifest);
        assert!(get(&answers, 1, &asked, Err(failure())).await.is_err());
        assert_eq!(get(&answers, 1, &asked, Ok(1)).await.unwrap(), 1);
        let mut first = get(&answers, 2, &asked, Ok(2)).boxed();
        assert!((&mut first).now_or_never().is_none());
        let mut second = get(&answers, 2, &asked, Ok(3)).boxed();
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        assert_eq!(second.await.unwrap(), 2, "the request of the first continues");
        drop(get(&answers, 3, &asked, Ok(4)).boxed().now_or_never());
        assert_eq!(get(&answers, 3, &asked, Ok(5)).await.unwrap(), 5, "an abandoned request is sent again");
    }
}
