//! Authorizes the requests of one side: remembers each registry's challenge and answers it.

use std::{
    collections::HashMap,
    error::Error,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::FutureExt;
use http::{HeaderMap, HeaderValue, Method};
use reqwest::{Client, Request};
use tokio::sync::OnceCell;

use super::{
    super::host_state::HostStates,
    challenge::{Bearer, Challenge},
    credentials::Credentials,
    error::{AuthError, Denial},
    exchange,
    origin::{Origin, redacted},
    realm,
    token::{Token, TokenRequest},
    token_cache::{Key, TokenCache},
};
use crate::{endpoint::lock, oci::Repository};

/// Returns the client for an origin. It must not follow redirects, send `Referer` or keep cookies; TLS settings may
/// differ from host to host.
pub(crate) type Clients = Arc<dyn Fn(&Origin) -> Result<Client, Box<dyn Error + Send + Sync>> + Send + Sync>;

/// The access that a request needs to one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scope {
    /// The repository's path below the registry.
    pub repository: String,
    /// Read access.
    pub pull: bool,
    /// Write access.
    pub push: bool,
}

impl Scope {
    /// Read access to a repository.
    #[must_use]
    pub(crate) fn pull(repository: &Repository) -> Self {
        Self { repository: repository.path().to_owned(), pull: true, push: false }
    }

    /// Read and write access to a repository.
    #[must_use]
    pub(crate) fn push(repository: &Repository) -> Self {
        Self { repository: repository.path().to_owned(), pull: true, push: true }
    }

    fn actions(&self) -> Vec<&'static str> {
        [(self.pull, "pull"), (self.push, "push")]
            .into_iter()
            .filter_map(|(wanted, name)| wanted.then_some(name))
            .collect()
    }
}

/// `repository:team/app:pull,push`, as token servers read it.
impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "repository:{}:{}", self.repository, self.actions().join(","))
    }
}

/// The parts of a request that authorization depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Access<'a> {
    /// Where the request goes.
    pub registry: &'a Origin,
    /// The repository that decides which credential is used.
    pub repository: &'a Repository,
    /// What the token must allow. Two only for a mount: some registries refuse a token for two repositories.
    pub scopes: &'a [Scope],
}

impl Access<'_> {
    fn key(&self) -> Key {
        let scopes = self.scopes.iter().filter(|scope| scope.pull || scope.push);
        let mut scopes: Vec<String> = scopes.map(ToString::to_string).collect();
        scopes.sort();
        scopes.dedup();
        Key { registry: self.registry.clone(), repository: self.repository.clone(), scopes }
    }

    fn action(&self) -> &'static str {
        if self.scopes.iter().any(|scope| scope.push) { "push" } else { "pull" }
    }
}

/// Authorizes requests; cheap to clone, one for each side, shared by all its requests.
#[derive(Clone)]
pub(crate) struct Authenticator {
    shared: Arc<Inner>,
}

struct Inner {
    credentials: Credentials,
    clients: Clients,
    states: Arc<HostStates>,
    challenges: Mutex<HashMap<Origin, Challenge>>,
    /// The challenge from `/v2/`, for registries whose 401 has none.
    asked: Mutex<HashMap<Origin, Arc<OnceCell<Option<Challenge>>>>>,
    tokens: Arc<TokenCache>,
    /// How long each attempt to get a token waits for data.
    stall: Duration,
}

impl Authenticator {
    /// Reads no file and sends no request. Token servers are hosts like any other: `states` knows how they are, and
    /// `stall` is the timeout for each piece of their responses.
    #[must_use]
    pub(in super::super) fn new(
        credentials: Credentials,
        clients: Clients,
        states: Arc<HostStates>,
        stall: Duration,
    ) -> Self {
        let (challenges, asked, tokens) = (Mutex::default(), Mutex::default(), Arc::default());
        Self { shared: Arc::new(Inner { credentials, clients, states, challenges, asked, tokens, stall }) }
    }

    /// The credentials that are used.
    #[must_use]
    pub(crate) fn credentials(&self) -> &Credentials {
        &self.shared.credentials
    }

    /// The `Authorization` header for a request, marked as sensitive. `None` until the registry has sent a challenge:
    /// the first request carries no header.
    ///
    /// Call it before every request: tokens are refreshed before they expire.
    pub(crate) async fn authorization(&self, access: Access<'_>) -> Result<Option<HeaderValue>, AuthError> {
        let challenge = lock(&self.shared.challenges).get(access.registry).cloned();
        match challenge {
            None => Ok(None),
            Some(Challenge::Basic) => self.basic(access).await,
            Some(Challenge::Bearer(bearer)) => {
                self.token(access, bearer).await.map(|token| Some(token.header().clone()))
            }
        }
    }

    /// Handles a 401 and returns the header for the retry. The 401 must come from `access.registry` itself, not from a
    /// redirect target. `headers` are those of the response; `sent` is the refused `Authorization`, if any.
    ///
    /// Fails with [`AuthError::Denied`] when there is no other credential. A 401 on the retry is final: see
    /// [`Self::denied`].
    pub(crate) async fn challenged(
        &self,
        access: Access<'_>,
        headers: &HeaderMap,
        sent: Option<&HeaderValue>,
    ) -> Result<HeaderValue, AuthError> {
        match self.learn(access.registry, headers).await? {
            Challenge::Basic => match self.basic(access).await? {
                Some(header) if sent != Some(&header) => Ok(header),
                _ => Err(self.denied(access, access.action(), None).await),
            },
            Challenge::Bearer(bearer) => {
                if let Some(refused) = sent {
                    self.shared.tokens.forget(&access.key(), refused);
                }
                self.token(access, bearer).await.map(|token| token.header().clone())
            }
        }
    }

    /// Drops the token that was sent with a request, for a caller that knows it is useless although the status was not
    /// 401.
    pub(crate) fn invalidate(&self, access: Access<'_>, sent: &HeaderValue) {
        self.shared.tokens.forget(&access.key(), sent);
    }

    /// The error for a request that was finally refused; names the credential. `message` is the registry's message.
    pub(crate) async fn denied(
        &self,
        access: Access<'_>,
        action: &str,
        message: Option<String>,
    ) -> AuthError {
        let found = match self.shared.credentials.for_repository(access.registry, access.repository).await {
            Ok(found) => found,
            Err(error) => return error.into(),
        };
        let message =
            message.map(|text| found.as_ref().map_or(text.clone(), |found| found.credential.redact(&text)));
        AuthError::Denied(Box::new(Denial {
            by: access.registry.to_string(),
            repository: access.repository.clone(),
            action: action.to_owned(),
            provenance: found.map(|found| found.provenance),
            message,
        }))
    }

    async fn basic(&self, access: Access<'_>) -> Result<Option<HeaderValue>, AuthError> {
        let found = self.shared.credentials.for_repository(access.registry, access.repository).await?;
        Ok(found.map(|found| found.credential.basic_header()))
    }

    async fn token(&self, access: Access<'_>, bearer: Bearer) -> Result<Token, AuthError> {
        let (key, action) = (access.key(), access.action());
        let inner = Arc::clone(&self.shared);
        let fetched = key.clone();
        let fetch = || async move { inner.fetch(&fetched, &bearer, action).await }.boxed();
        self.shared.tokens.get(key, fetch).await
    }

    /// The registry's challenge: from this response, from an earlier one, or from `/v2/`, which is requested once.
    async fn learn(&self, registry: &Origin, headers: &HeaderMap) -> Result<Challenge, AuthError> {
        if let Some(challenge) = Challenge::from_headers(headers) {
            let mut kept = challenge.clone();
            if let Challenge::Bearer(bearer) = &mut kept {
                // The scope applies to this request only; realm and service apply to the registry.
                bearer.scopes.clear();
            }
            lock(&self.shared.challenges).insert(registry.clone(), kept);
            return Ok(challenge);
        }
        let known = lock(&self.shared.challenges).get(registry).cloned();
        if let Some(challenge) = known {
            return Ok(challenge);
        }
        let asked = Arc::clone(lock(&self.shared.asked).entry(registry.clone()).or_default());
        let answer = asked.get_or_try_init(|| self.shared.request_challenge(registry)).await?;
        let challenge =
            answer.clone().ok_or_else(|| AuthError::NoChallenge { registry: registry.clone() })?;
        lock(&self.shared.challenges).insert(registry.clone(), challenge.clone());
        Ok(challenge)
    }
}

impl Inner {
    async fn fetch(&self, key: &Key, bearer: &Bearer, action: &str) -> Result<Token, AuthError> {
        let found = self.credentials.for_repository(&key.registry, &key.repository).await?;
        let provenance = found.as_ref().map(|found| &found.provenance);
        let realm =
            realm::check(&key.registry, &bearer.realm, provenance).map_err(|refusal| AuthError::Realm {
                registry: key.registry.clone(),
                // The realm is untrusted text: show it only if it is a URL.
                realm: url::Url::parse(&bearer.realm)
                    .map_or_else(|_| "(not a URL)".to_owned(), |url| redacted(&url)),
                refusal,
            })?;
        let server =
            Origin::of(&realm).map_err(|_| AuthError::NoChallenge { registry: key.registry.clone() })?;
        let client = self.client(&server)?;
        let scopes = merge(&key.scopes, &bearer.scopes);
        let (service, found) = (bearer.service.as_deref(), found.as_ref());
        TokenRequest {
            client: &client,
            state: &self.states.of(&server),
            realm,
            service,
            scopes: &scopes,
            found,
            repository: &key.repository,
            action,
            stall: self.stall,
        }
        .send()
        .await
    }

    async fn request_challenge(&self, registry: &Origin) -> Result<Option<Challenge>, AuthError> {
        let client = self.client(registry)?;
        let url = registry.url("/v2/").map_err(|_| AuthError::NoChallenge { registry: registry.clone() })?;
        let state = self.states.of(registry);
        let answer = exchange::send(&client, &state, Request::new(Method::GET, url), self.stall).await?;
        Ok(Challenge::from_headers(&answer.headers).map(|challenge| match challenge {
            // The scope for `/v2/` is not the scope for a repository.
            Challenge::Bearer(bearer) => Challenge::Bearer(Bearer { scopes: Vec::new(), ..bearer }),
            Challenge::Basic => Challenge::Basic,
        }))
    }

    fn client(&self, origin: &Origin) -> Result<Client, AuthError> {
        (self.clients)(origin)
            .map_err(|error| AuthError::Client { origin: origin.clone(), source: Arc::from(error) })
    }
}

/// The scopes of the request and of the challenge without duplicates. The scope with push comes first: some servers
/// read only the first.
fn merge(wanted: &[String], needed: &[String]) -> Vec<String> {
    let mut merged = wanted.to_vec();
    merged
        .extend(needed.iter().filter(|scope| !wanted.iter().any(|wanted| includes(wanted, scope))).cloned());
    merged.sort_by_key(|scope| !actions(scope).1.contains("push"));
    merged
}

/// Whether `repository:a:pull,push` includes `repository:a:pull`.
fn includes(wanted: &str, needed: &str) -> bool {
    let ((resource, allowed), (needed_resource, needed)) = (actions(wanted), actions(needed));
    resource == needed_resource && needed.split(',').all(|action| allowed.split(',').any(|one| one == action))
}

/// Splits a scope into its resource and its actions, which follow the last colon.
fn actions(scope: &str) -> (&str, &str) {
    scope.rsplit_once(':').unwrap_or((scope, ""))
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let challenges = lock(&self.shared.challenges);
        formatter
            .debug_struct("Authenticator")
            .field("credentials", &self.shared.credentials)
            .field("challenges", &*challenges)
            .finish_non_exhaustive()
    }
}
