//! Cached tokens, with at most one fetch in flight for each key.
//!
//! Fifty concurrent misses cause one request and share its outcome, success or failure. There is no background task:
//! the waiters drive the fetch, and it is canceled when the last of them is dropped.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use http::HeaderValue;

use super::{error::AuthError, origin::Origin, token::Token};
use crate::oci::Repository;

type Outcome = Result<Token, AuthError>;
type Fetch = BoxFuture<'static, Outcome>;

/// What a token is valid for. The repository is part of the key because it decides which credential was used: a token
/// obtained with one must not be used for another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) registry: Origin,
    pub(super) repository: Repository,
    /// Sorted.
    pub(super) scopes: Vec<String>,
}

#[derive(Debug)]
enum CachedToken {
    Ready(Token),
    Fetching(WeakShared<Fetch>),
}

/// Tokens by [`Key`].
#[derive(Debug, Default)]
pub(super) struct TokenCache {
    slots: Mutex<HashMap<Key, CachedToken>>,
}

impl TokenCache {
    /// Returns the token for `key`: cached, from a fetch in flight, or from `fetch`.
    pub(super) async fn get(self: &Arc<Self>, key: Key, fetch: impl FnOnce() -> Fetch) -> Outcome {
        let shared = {
            let mut slots = self.lock();
            let in_flight = match slots.get(&key) {
                Some(CachedToken::Ready(token)) if token.is_fresh(Instant::now()) => return Ok(token.clone()),
                Some(CachedToken::Fetching(weak)) => weak.upgrade(),
                _ => None,
            };
            match in_flight {
                Some(shared) => shared,
                None => self.start(&mut slots, key, fetch()),
            }
        };
        shared.await
    }

    /// Removes a refused token, unless it has been replaced in the meantime.
    pub(super) fn forget(&self, key: &Key, refused: &HeaderValue) {
        let mut slots = self.lock();
        if matches!(slots.get(key), Some(CachedToken::Ready(token)) if token.header() == refused) {
            slots.remove(key);
        }
    }

    fn start(
        self: &Arc<Self>,
        slots: &mut HashMap<Key, CachedToken>,
        key: Key,
        fetch: Fetch,
    ) -> Shared<Fetch> {
        let shared = Arc::clone(self).settle(key.clone(), fetch).boxed().shared();
        if let Some(weak) = shared.downgrade() {
            slots.insert(key, CachedToken::Fetching(weak));
        }
        shared
    }

    /// Failures are not cached: the next caller tries again.
    async fn settle(self: Arc<Self>, key: Key, fetch: Fetch) -> Outcome {
        let outcome = fetch.await;
        let mut slots = self.lock();
        match &outcome {
            Ok(token) => slots.insert(key, CachedToken::Ready(token.clone())),
            Err(_) => slots.remove(&key),
        };
        drop(slots);
        outcome
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, CachedToken>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::endpoint::registry::auth::origin::Scheme;

    fn key() -> Key {
        let registry = Origin::of_registry("quay.io", Scheme::Https).unwrap();
        Key { registry, repository: "quay.io/a".parse().unwrap(), scopes: Vec::new() }
    }

    fn fetch(refresh_at: Instant, header: &'static str) -> impl FnOnce() -> Fetch {
        move || async move { Ok(Token::until(refresh_at, header)) }.boxed()
    }

    async fn header(cache: &Arc<TokenCache>, refresh_at: Instant, header: &'static str) -> HeaderValue {
        cache.get(key(), fetch(refresh_at, header)).await.unwrap().header().clone()
    }

    #[tokio::test]
    async fn a_token_is_cached_until_it_must_be_refreshed() {
        let (cache, now) = (Arc::new(TokenCache::default()), Instant::now());
        assert_eq!(header(&cache, now, "first").await, "first");
        assert_eq!(header(&cache, now + Duration::from_secs(600), "second").await, "second");
        assert_eq!(header(&cache, now + Duration::from_secs(600), "third").await, "second");
    }

    #[tokio::test]
    async fn only_the_token_that_was_refused_is_forgotten() {
        let (cache, later) = (Arc::new(TokenCache::default()), Instant::now() + Duration::from_secs(600));
        header(&cache, later, "first").await;
        cache.forget(&key(), &HeaderValue::from_static("another"));
        assert_eq!(header(&cache, later, "second").await, "first");
        cache.forget(&key(), &HeaderValue::from_static("first"));
        assert_eq!(header(&cache, later, "second").await, "second");
    }

    #[tokio::test]
    async fn an_abandoned_fetch_does_not_block_the_next() {
        let (cache, later) = (Arc::new(TokenCache::default()), Instant::now() + Duration::from_secs(600));
        let never = || futures::future::pending().boxed();
        assert!(cache.get(key(), never).now_or_never().is_none());
        assert_eq!(header(&cache, later, "next").await, "next");
    }

    #[tokio::test]
    async fn a_dropped_waiter_does_not_cancel_the_fetch() {
        let (cache, later) = (Arc::new(TokenCache::default()), Instant::now() + Duration::from_secs(600));
        let (finish, finished) = tokio::sync::oneshot::channel::<()>();
        let slow = move || {
            async move {
                finished.await.unwrap();
                Ok(Token::until(later, "one"))
            }
            .boxed()
        };
        let mut first = Box::pin(cache.get(key(), slow));
        assert!((&mut first).now_or_never().is_none());
        let mut second = Box::pin(cache.get(key(), fetch(later, "other")));
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        finish.send(()).unwrap();
        assert_eq!(second.await.unwrap().header(), "one");
    }
}
