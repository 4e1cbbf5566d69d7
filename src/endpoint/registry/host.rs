//! One registry: its address, its capabilities, and the one function that sends its requests.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::Response;
use tokio::sync::OwnedSemaphorePermit;
use url::Url;

use super::{
    answer,
    auth::{Access, Authenticator, Origin, Scope},
    capabilities::Capabilities,
    connecting,
    error::RegistryError,
    limits::{self, Tuning},
    network::Network,
    pace::Pace,
    rate::Rate,
    redirect,
    retry::Attempts,
    throttle::Turn,
};
use crate::{
    endpoint::{Cause, Error, Location, Operation},
    event::{Event, EventSink},
    oci::Repository,
    problem::Side,
    quota::Action,
};

/// A registry on one side of a copy.
pub(super) struct Host {
    pub(super) side: Side,
    pub(super) origin: Origin,
    network: Arc<Network>,
    /// The credentials; none for a host that is not a registry.
    authenticator: Option<Authenticator>,
    events: Arc<dyn EventSink>,
    tuning: Tuning,
    /// Limits concurrent requests.
    pub(super) pace: Pace,
    /// Its detected capabilities.
    pub(super) capabilities: Capabilities,
}

/// A request that can be sent again: its body, if any, is in memory.
#[derive(Clone)]
pub(super) struct Call<'a> {
    pub(super) operation: Operation,
    pub(super) repository: &'a Repository,
    /// What the request is about, for errors: `REGISTRY/REPOSITORY:TAG` or `…@DIGEST`.
    pub(super) name: String,
    pub(super) scopes: Vec<Scope>,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
    /// The maximum number of attempts.
    pub(super) attempts: u32,
}

impl Host {
    /// Sends nothing. Without an authenticator, no request carries a credential.
    pub(super) fn new(
        side: Side,
        origin: Origin,
        network: Arc<Network>,
        authenticator: Option<Authenticator>,
        events: Arc<dyn EventSink>,
        tuning: Tuning,
    ) -> Self {
        let pace = Pace::new(network.states().of(&origin), &tuning);
        let capabilities = Capabilities::new(&origin);
        Self { side, origin, network, authenticator, events, tuning, pace, capabilities }
    }

    pub(super) fn tuning(&self) -> Tuning {
        self.tuning
    }

    /// The bucket of this side, if its rate is limited.
    pub(super) fn rate(&self) -> Option<&Rate> {
        self.network.rates().of(self.side)
    }

    /// Waits until this many bytes may be exchanged with this side.
    pub(super) async fn take_rate(&self, bytes: usize) {
        if let Some(rate) = self.rate() {
            rate.take(bytes).await;
        }
    }

    /// A permit for one more part of a blob in memory; `None` if there are as many as may be.
    pub(super) fn part_in_memory(&self) -> Option<OwnedSemaphorePermit> {
        self.network.part_in_memory()
    }

    /// `/v2/REPOSITORY/REST` on this registry.
    pub(super) fn url(&self, repository: &Repository, rest: &str) -> Result<Url, RegistryError> {
        self.origin
            .url(&format!("/v2/{}/{rest}", repository.path()))
            .map_err(|error| RegistryError::Settings(error.to_string()))
    }

    pub(super) fn error(
        &self,
        operation: Operation,
        name: &str,
        tries: &Attempts,
        cause: impl Into<Cause>,
    ) -> Error {
        let location = Location::new(operation, self.side, name);
        Error { location, attempts: tries.count(), elapsed: tries.elapsed(), cause: cause.into() }
    }

    /// Sends a request and retries it until the response is a success or a status in `expected`, or a retry does not
    /// help. Follows redirects.
    pub(super) async fn send(&self, call: &Call<'_>, expected: &[StatusCode]) -> Result<Response, Error> {
        let mut tries = Attempts::new(call.attempts);
        let mut asked_again = false;
        loop {
            let (turn, permit) = self.pace.request(call.action()).await;
            if let Some(verdict) = self.pace.verdict() {
                return Err(self.error(call.operation, &call.name, &tries, verdict));
            }
            tries.begin();
            let mut at = self.origin.clone();
            let error = match self.send_once(call, &mut at).await {
                Ok(response) if is_wanted(&response, expected) && !call.gets_web_page(&response) => {
                    self.pace.answered(turn);
                    return Ok(response);
                }
                // The signed URL of the redirect has expired: request a new one.
                Ok(response) if at != self.origin && is_expired(response.status()) && !asked_again => {
                    asked_again = true;
                    discard(response).await;
                    continue;
                }
                Ok(response) if response.status().is_success() => RegistryError::WebPage,
                Ok(response) => RegistryError::Refused(answer::refusal(response).await),
                Err(error) => error,
            };
            let error = self.failed(error, &at, turn);
            // Release the permit: no other request should wait during a pause.
            drop(permit);
            let cause = error.clone().into();
            let Some(pause) = tries.next_pause(&cause, self.pace.answers()) else {
                self.network.states().of(&at).gave_up(error.innermost());
                return Err(self.error(call.operation, &call.name, &tries, cause));
            };
            self.wait(call, &cause, pause).await;
        }
    }

    /// Records a failed attempt at the host where it happened, and names that host if it is not the registry.
    pub(super) fn failed(&self, error: RegistryError, at: &Origin, turn: Turn) -> RegistryError {
        if *at == self.origin {
            self.pace.failed(&error, turn);
            return error;
        }
        self.network.states().of(at).failed(&error);
        error.at(at)
    }

    /// Reports why a request is retried, and waits.
    pub(super) async fn wait(&self, call: &Call<'_>, cause: &Cause, pause: Duration) {
        let reason = format!("cannot {} {}: {cause}", call.operation, call.name);
        self.events.emit(Event::Retrying { side: self.side, reason, pause });
        tokio::time::sleep(pause).await;
    }

    /// One attempt: authenticates and follows redirects. A request with a body is redirected only within the registry,
    /// and only by a status that keeps its method. `at` becomes the origin of the last request.
    async fn send_once(&self, call: &Call<'_>, at: &mut Origin) -> Result<Response, RegistryError> {
        let mut url = call.url.clone();
        for _ in 0..=limits::MAX_REDIRECTS {
            *at = Origin::of(&url).map_err(|error| RegistryError::Redirect(error.to_string()))?;
            let response = self.send_to(at, &url, call).await?;
            url = match redirect::target(&url, &call.method, &response)? {
                Some(target) => target,
                None => return Ok(response),
            };
        }
        Err(RegistryError::Redirect(format!("it redirects more than {} times", limits::MAX_REDIRECTS)))
    }

    /// One request to one URL. Credentials only if the URL is this registry's own origin.
    async fn send_to(&self, origin: &Origin, url: &Url, call: &Call<'_>) -> Result<Response, RegistryError> {
        let Some(authenticator) = self.authenticator.as_ref().filter(|_| *origin == self.origin) else {
            return self.attempt(origin, url, call, None).await;
        };
        let access = self.access(call.repository, &call.scopes);
        let known = authenticator.authorization(access).await?;
        let response = self.attempt(origin, url, call, known.as_ref()).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let headers = response.headers().clone();
        discard(response).await;
        let fresh = authenticator.challenged(access, &headers, known.as_ref()).await?;
        let response = self.attempt(origin, url, call, Some(&fresh)).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let message = Some(answer::refusal(response).await.message).filter(|message| !message.is_empty());
        let action = if call.scopes.iter().any(|scope| scope.push) { "push" } else { "pull" };
        Err(authenticator.denied(access, action, message).await.into())
    }

    fn access<'a>(&'a self, repository: &'a Repository, scopes: &'a [Scope]) -> Access<'a> {
        Access { registry: &self.origin, repository, scopes }
    }

    /// The `Authorization` for a request whose body can be sent only once.
    pub(super) async fn authorization(
        &self,
        repository: &Repository,
        scopes: &[Scope],
    ) -> Result<Option<HeaderValue>, RegistryError> {
        let Some(authenticator) = &self.authenticator else { return Ok(None) };
        Ok(authenticator.authorization(self.access(repository, scopes)).await?)
    }

    /// Drops a token that was refused before it expired.
    pub(super) fn forget(&self, repository: &Repository, scopes: &[Scope], sent: &HeaderValue) {
        if let Some(authenticator) = &self.authenticator {
            authenticator.invalidate(self.access(repository, scopes), sent);
        }
    }

    async fn attempt(
        &self,
        origin: &Origin,
        url: &Url,
        call: &Call<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, RegistryError> {
        if *origin != self.origin {
            let state = self.network.states().of(origin);
            state.ready().await;
            if let Some(verdict) = state.verdict() {
                return Err(verdict);
            }
        }
        let client = match &self.authenticator {
            Some(_) => self.network.client(origin)?,
            None => self.network.anonymous_client(origin)?,
        };
        let mut request = client
            .request(call.method.clone(), url.clone())
            .headers(call.headers.clone())
            .header(header::ACCEPT_ENCODING, "identity");
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if let Some(body) = &call.body {
            self.take_rate(body.len()).await;
            request = request.body(body.clone());
        } else if call.method == Method::POST {
            request = request.header(header::CONTENT_LENGTH, 0);
        }
        match connecting::response(self.tuning.stall, request.send()).await? {
            Ok(mut response) => {
                answer::remember(&mut response, authorization);
                Ok(response)
            }
            Err(error) => Err(self.network.explain(origin, &error).await),
        }
    }

    pub(super) fn network(&self) -> &Network {
        &self.network
    }

    pub(super) fn events(&self) -> &dyn EventSink {
        self.events.as_ref()
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Host").field("origin", &self.origin).finish_non_exhaustive()
    }
}

fn is_wanted(response: &Response, expected: &[StatusCode]) -> bool {
    response.status().is_success() || expected.contains(&response.status())
}

impl Call<'_> {
    /// What the registry counts it as.
    fn action(&self) -> Action {
        match self.operation {
            Operation::ReadManifest if self.method == Method::HEAD => Action::CheckManifest,
            Operation::ReadManifest => Action::ReadManifest,
            Operation::PushManifest => Action::PushManifest,
            Operation::CheckBlob => Action::CheckBlob,
            Operation::ReadBlob => Action::ReadBlob,
            Operation::BeginUpload => Action::BeginUpload,
            _ => Action::Other,
        }
    }

    /// Whether the response to this call is a web page. A blob may be one.
    fn gets_web_page(&self, response: &Response) -> bool {
        let is_blob = matches!(
            self.operation,
            Operation::ReadBlob | Operation::ReadForeignLayer | Operation::CheckBlob
        );
        !is_blob && response.status().is_success() && answer::is_web_page(response.headers())
    }
}

/// The statuses with which object stores answer an expired signed URL.
fn is_expired(status: StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 401 | 403 | 410)
}

/// Reads a short response to its end, so that its connection can be reused.
pub(super) async fn discard(response: Response) {
    let _ = answer::refusal(response).await;
}
