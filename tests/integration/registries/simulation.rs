//! A server that behaves as a [`Profile`] says: the registry's API, its token server and its object storage, each under its
//! own host name, over TLS and through a proxy that resolves the names.
//!
//! Content is kept by the correct store of the scripted registry. What no client may do is a violation and fails the test:
//! a credential or a cookie that goes where it does not belong, a changed query of an upload, bytes at the wrong offset.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard},
    time::Instant,
};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::{
    access,
    profile::{Blobs, Chunks, Heads, Login, Profile, Repositories, Whole},
    quotas::Limit,
    uploads::{self, Session},
};
use crate::support::{
    http_server::{Answer, Dropped, HttpServer},
    is_request,
    proxy::Proxy,
    scripted::{Recorded, Store},
    tls::Authority,
};

/// The user, and the password or the refresh token.
pub(super) const LOGIN: (&str, &str) = ("robot", "s3cret-of-the-robot");
/// Part of every signature of a storage URL.
pub(super) const SIGNATURE: &str = "s1gnature";

/// A running simulation.
pub(super) struct Simulated {
    pub profile: &'static Profile,
    _server: HttpServer,
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub profile: &'static Profile,
    state: Mutex<State>,
}

/// What the simulation knows.
#[derive(Default)]
pub(super) struct State {
    pub store: Store,
    /// By path.
    pub sessions: HashMap<String, Session>,
    /// Scopes by token.
    pub tokens: HashMap<String, Vec<String>>,
    /// Blobs by the path and query of their signed URL, with the method that was signed.
    pub signed: HashMap<String, (Method, String, String)>,
    /// The repositories or projects that exist, at a registry that does not create them.
    pub existing: BTreeSet<String>,
    pub is_immutable: bool,
    /// The connection breaks after this many bytes of the next requests with larger bodies.
    pub breaks: Vec<usize>,
    /// Quotas of requests.
    pub limits: Vec<Limit>,
    pub violations: Vec<String>,
    requests: Vec<(String, Recorded)>,
}

impl Simulated {
    /// Starts it. `proxy` leads to it from now on.
    pub(super) async fn start(profile: &'static Profile, authority: &Authority, proxy: &Proxy) -> Self {
        let mut state = State::default();
        state.store.has_referrers_api = profile.has_referrers;
        let shared = Arc::new(Shared { profile, state: Mutex::new(state) });
        let server = HttpServer::start(Some(authority), &shared, |shared, request| async move {
            shared.handle(request).await
        });
        let server = server.await;
        for host in hosts(profile) {
            proxy.lead(&host, server.address());
        }
        Self { profile, _server: server, shared }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// How many requests its API received.
    pub(super) fn count(&self, method: &str, path: &str) -> usize {
        self.requests(method, path).len()
    }

    /// The requests that its API received.
    pub(super) fn requests(&self, method: &str, path: &str) -> Vec<Recorded> {
        self.requests_to(self.profile.host, method, path)
    }

    /// The requests that one of its hosts received.
    pub(super) fn requests_to(&self, host: &str, method: &str, path: &str) -> Vec<Recorded> {
        let all = self.state().requests.clone();
        let wanted = |(to, request): &(String, Recorded)| {
            to == host && is_request((request.method.as_str(), &request.path), method, path)
        };
        all.into_iter().filter(wanted).map(|(_, request)| request).collect()
    }

    /// Forgets the requests so far.
    pub(super) fn clear(&self) {
        self.state().requests.clear();
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let mut state = self.state();
            let mut violations = std::mem::take(&mut state.violations);
            violations.append(&mut state.store.violations);
            drop(state);
            assert!(violations.is_empty(), "{}:\n{}", self.profile.registry, violations.join("\n"));
        }
    }
}

/// All host names of a registry.
pub(super) fn hosts(profile: &Profile) -> Vec<String> {
    let realm = match profile.login {
        Login::Token { realm, .. } => host_of(realm),
        Login::Basic(_) => None,
    };
    let storage = match profile.blobs {
        Blobs::Redirected { url, .. } => host_of(&url("x", "y", "z")),
        Blobs::Direct => None,
    };
    [Some(profile.host.to_owned()), realm, storage].into_iter().flatten().collect()
}

/// The host in a URL; `None` if it is a path.
fn host_of(url: &str) -> Option<String> {
    Some(url.strip_prefix("https://")?.split('/').next().unwrap().to_owned())
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    async fn handle(&self, request: Request<Incoming>) -> Result<Answer, Dropped> {
        let (head, body) = request.into_parts();
        let path = head.uri.path_and_query().unwrap().to_string();
        let (method, headers, at) = (head.method, head.headers, Instant::now());
        let request = Recorded { method, path, headers, body_length: None, at };
        let host = request.header("host").unwrap_or_default().trim_end_matches(":443").to_owned();
        self.state().requests.push((host.clone(), request.clone()));
        if let Some(answer) = self.storage(&host, &request) {
            return Ok(answer);
        }
        if access::is_realm(self.profile, &host, &request.path) {
            let body = body.collect().await.map_err(|_| Dropped)?.to_bytes();
            return Ok(access::token(self, &request, &body));
        }
        let refusal = access::refusal(self, &request)
            .or_else(|| self.state().limits.iter_mut().find_map(|limit| limit.refusal(&request)))
            .or_else(|| self.early_refusal(&request));
        let answer = if let Some(refusal) = refusal {
            // Servers keep reading for a while, so that the client can read the answer (nginx's `lingering_close`).
            tokio::spawn(async move { body.collect().await.map(drop) });
            refusal
        } else {
            let body = self.read(&request, body).await?;
            self.serve(&request, body)
        };
        let headers = self.profile.headers.iter();
        Ok(headers.fold(answer, |answer, (name, value)| answer.header(name, value)))
    }

    /// What is answered before the body is read.
    fn early_refusal(&self, request: &Recorded) -> Option<Answer> {
        let length = request.header("content-length").and_then(|length| length.parse::<u64>().ok());
        let is_upload = uploads::names_session(&self.state(), &request.path);
        match (request.method.as_str(), is_upload, self.profile.chunks, self.profile.whole) {
            ("PATCH" | "PUT", true, ..) if length.is_none() => {
                // goharbor/harbor#23016: what Azure says of Go's chunked encoding.
                Some(super::profile::error(400, "CONTENT_LENGTH_INVALID", "content length is invalid"))
            }
            ("PATCH", true, Chunks::Unsupported(answer), _) => Some(answer()),
            ("PATCH", true, Chunks::UpTo(_, most, answer), _) if length > Some(most) => Some(answer()),
            ("PUT", true, _, Whole::Unsupported(answer)) if length > Some(0) => Some(answer()),
            ("PUT", true, _, Whole::RefusedAbove(most, answer)) if length > Some(most) => Some(answer()),
            _ => None,
        }
    }

    /// Reads a body, unless the connection breaks before its end.
    async fn read(&self, request: &Recorded, mut body: Incoming) -> Result<Bytes, Dropped> {
        let length = request.header("content-length").and_then(|length| length.parse::<usize>().ok());
        let length = length.unwrap_or_default();
        let is_upload = uploads::names_session(&self.state(), &request.path);
        let reset = match self.profile.whole {
            Whole::ResetAfter(most) if request.method == Method::PUT => usize::try_from(most).ok(),
            _ => None,
        };
        let planned = {
            let breaks = &mut self.state().breaks;
            let is_next = is_upload && breaks.last().is_some_and(|bytes| *bytes < length);
            if is_next { breaks.pop() } else { None }
        };
        let end = planned.or(reset.filter(|reset| is_upload && *reset < length)).unwrap_or(usize::MAX);
        let mut bytes = Vec::new();
        while bytes.len() < end {
            match body.frame().await {
                Some(Ok(frame)) => bytes.extend(frame.into_data().unwrap_or_default()),
                Some(Err(_)) => {
                    uploads::broke(self.profile, &mut self.state(), &request.path, &bytes);
                    return Err(Dropped);
                }
                None => return Ok(bytes.into()),
            }
        }
        bytes.truncate(end);
        uploads::broke(self.profile, &mut self.state(), &request.path, &bytes);
        Err(Dropped)
    }

    fn serve(&self, request: &Recorded, body: Bytes) -> Answer {
        let state = &mut *self.state();
        if uploads::names_session(state, &request.path) {
            return uploads::serve(self.profile, state, request, body);
        }
        let (name, rest) = split(&request.path);
        if let Repositories::MustExist(_, answer) = self.profile.repositories
            && !name.is_empty()
            && !state.existing.contains(&self.profile.repositories.needed(name))
        {
            return answer(name);
        }
        match (&request.method, rest.split('/').next().unwrap_or_default()) {
            (&Method::POST, "blobs") => uploads::begin(self.profile, state, request),
            (&Method::GET | &Method::HEAD, "blobs") => self.blob(state, request, name, rest),
            (&Method::PUT, "manifests") => self.put_manifest(state, request, name, rest, body),
            (&Method::HEAD, "manifests") if self.profile.hides_tags => {
                let answer = state.store.serve(request, body);
                if answer.status == 404 { super::profile::error(403, "DENIED", "Forbidden") } else { answer }
            }
            _ => state.store.serve(request, body),
        }
    }

    fn blob(&self, state: &mut State, request: &Recorded, name: &str, rest: &str) -> Answer {
        let answer = uploads::shared_blob(self.profile, state, request, rest);
        let is_head = request.method == Method::HEAD;
        match self.profile.blobs {
            Blobs::Redirected { status, url, heads }
                if answer.status.is_success() && !(is_head && heads == Heads::Answered) =>
            {
                let signature = format!("{SIGNATURE}{}", state.signed.len());
                let digest = rest.split('/').nth(1).unwrap();
                let url = url(name, digest, &signature);
                let path = url
                    .strip_prefix("https://")
                    .map_or(url.as_str(), |rest| &rest[rest.find('/').unwrap()..]);
                let method = if heads == Heads::RefusedByStorage { &Method::GET } else { &request.method };
                let signed = (method.clone(), name.to_owned(), digest.to_owned());
                state.signed.insert(path.to_owned(), signed);
                Answer::status(status).header("location", &url)
            }
            _ => answer,
        }
    }

    /// What the object storage answers; `None` if the request is not for it.
    fn storage(&self, host: &str, request: &Recorded) -> Option<Answer> {
        let Blobs::Redirected { url, .. } = self.profile.blobs else { return None };
        let example = url("x", "y", "z");
        let is_storage = match host_of(&example) {
            Some(storage) => storage == host,
            None => {
                host == self.profile.host && request.path.starts_with(&example[..=example[1..].find('/')?])
            }
        };
        if !is_storage {
            return None;
        }
        let state = &mut *self.state();
        for name in ["authorization", "cookie", "referer"] {
            if host != self.profile.host && request.header(name).is_some() {
                state.violations.push(format!("the storage received `{name}`: {}", request.path));
            }
        }
        // The signature covers the method.
        let found = state.signed.get(&request.path).filter(|signed| signed.0 == request.method).cloned();
        let Some((_, name, digest)) = found else {
            return Some(Answer::status(403).header("content-type", "application/xml").body(FORBIDDEN));
        };
        let path = format!("/v2/{name}/blobs/{digest}");
        let request = Recorded { path, ..request.clone() };
        let mut answer = uploads::shared_blob(self.profile, state, &request, &format!("blobs/{digest}"));
        answer.headers.remove("docker-content-digest");
        Some(answer)
    }

    fn put_manifest(
        &self,
        state: &mut State,
        request: &Recorded,
        name: &str,
        rest: &str,
        body: Bytes,
    ) -> Answer {
        let reference = rest.split('/').nth(1).unwrap();
        let tagged = state.store.repository(name).tags.get(reference).cloned();
        if let (Some(_), true, Some(answer)) = (tagged, state.is_immutable, self.profile.immutable) {
            // Even for the same digest: aws/containers-roadmap#2380.
            return answer(name, reference);
        }
        uploads::share_blobs(self.profile, &mut state.store, name);
        state.store.serve(request, body)
    }
}

/// What object stores answer to a request that its signature does not cover.
const FORBIDDEN: &str =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>SignatureDoesNotMatch</Code></Error>";

/// The repository in a path below `/v2/`, and what follows it.
pub(super) fn split(path: &str) -> (&str, &str) {
    let path = path.split('?').next().unwrap_or_default();
    let path = path.strip_prefix("/v2/").unwrap_or_default();
    let ends = ["/blobs/", "/manifests/", "/tags/", "/referrers/"].map(|part| path.find(part));
    match ends.into_iter().flatten().max() {
        Some(end) => (&path[..end], &path[end + 1..]),
        None => ("", path),
    }
}
