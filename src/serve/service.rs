//! From the request to the response: endpoint, method and access log.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::Arc,
    time::{Instant, SystemTime},
};

use http::{Method, Request, header, request::Parts};
use http_body::Body as _;
use hyper::body::Incoming;
use serde_json::json;
use tokio::sync::Semaphore;
use url::form_urlencoded;

use super::{
    access_log::{AccessLog, AccessRecord},
    body::RequestBody,
    checked_blobs::CheckedBlobs,
    client::Client,
    large_work::LargeWork,
    options::Limits,
    response::{Answer, Refusal, json_answer, mark_version},
    routes::Route,
    session::Sessions,
    storage::{FolderStorage, Storage},
    users::{User, Users},
};
use crate::oci::manifest::MAX_MANIFEST_SIZE;

/// The most bytes of a refused request's body that are read so that the client sees the response: enough for any
/// manifest, because its sender may have to log in first. Blobs are refused earlier, when their upload is opened.
const DRAINED: u64 = MAX_MANIFEST_SIZE as u64;

/// The state that all connections share. The endpoints are in the modules of their workflows.
pub(super) struct Registry {
    pub(super) storage: Arc<Storage>,
    pub(super) sessions: Sessions,
    /// The storage for pushes and deletions; `None` if the registry is read-only.
    pub(super) pushes: Option<Arc<FolderStorage>>,
    /// The users who may log in; `None` permits anonymous access.
    pub(super) users: Option<Arc<Users>>,
    pub(super) limits: Limits,
    /// Whether an index may lack manifests.
    pub(super) allow_sparse: bool,
    /// The blobs of a bundle whose ranges may be sent.
    pub(super) checked_blobs: CheckedBlobs,
    /// Parses large manifests.
    pub(super) large_work: LargeWork,
    /// Bounds the small manifests that are parsed at once, in KiB of their bytes: see `manifests`.
    pub(super) manifest_memory: Arc<Semaphore>,
    pub(super) access_log: Option<AccessLog>,
}

/// The query of a request, decoded.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    fn parse(text: &str) -> Self {
        Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    /// All values of a parameter.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The first value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    }
}

impl Registry {
    /// Answers a request; failures are responses as well.
    pub(super) async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Result<Answer, Infallible> {
        let (started, time) = (Instant::now(), SystemTime::now());
        let (parts, incoming) = request.into_parts();
        let mut body = RequestBody::new(incoming, self.limits.stall_time);
        let route = Route::parse(parts.uri.path());
        let repository = route.as_ref().ok().and_then(Route::repository).map(ToString::to_string);
        let (user, answered) = match self.admit(&parts).await {
            Ok(user) => {
                let answered = match (may_ask(user.as_ref(), &parts.method), route) {
                    (Err(refusal), _) => Err(refusal),
                    (Ok(()), Ok(route)) => self.answer(route, &parts, &mut body, Client::at(peer)).await,
                    (Ok(()), Err(error)) => Err(Refusal::route(&error, &parts.method)),
                };
                (user.map(|user| user.name), answered)
            }
            Err(refusal) => (None, Err(refusal)),
        };
        let mut answer = match answered {
            Ok(answer) => answer,
            Err(refusal) => {
                // A client that waits for "100 Continue" has not sent the body, and should not start now.
                if !parts.headers.contains_key(header::EXPECT) {
                    body.drain(DRAINED, self.limits.refused_body_time).await;
                }
                refusal.into_answer()
            }
        };
        mark_version(&mut answer);
        let sent = match parts.method {
            Method::HEAD => 0,
            _ => answer.body().size_hint().exact().unwrap_or_default(),
        };
        if let Some(log) = &self.access_log {
            log(&AccessRecord {
                peer,
                user,
                time,
                method: parts.method,
                path: parts.uri.path().to_owned(),
                query: parts.uri.query().map(str::to_owned),
                repository,
                status: answer.status(),
                received: body.received(),
                sent,
                elapsed: started.elapsed(),
            });
        }
        Ok(answer)
    }

    /// The user, if users are configured.
    async fn admit(&self, parts: &Parts) -> Result<Option<User>, Refusal> {
        match &self.users {
            Some(users) => users.admit(&parts.headers).await.map(Some),
            None => Ok(None),
        }
    }

    async fn answer(
        &self,
        route: Route,
        parts: &Parts,
        body: &mut RequestBody,
        client: Client,
    ) -> Result<Answer, Refusal> {
        let method = &parts.method;
        let reading = is_reading(method);
        if !reading {
            self.writable()?;
        }
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        match route {
            Route::Base if reading => Ok(json_answer(&json!({}))),
            Route::Catalog if reading => self.list_repositories(&query).await,
            Route::Tags(name) if reading => self.list_tags(name, &query).await,
            Route::Referrers(name, digest) if reading => self.list_referrers(name, digest, &query).await,
            Route::Base | Route::Catalog | Route::Tags(_) | Route::Referrers(..) => {
                Err(Refusal::method("GET, HEAD"))
            }
            Route::Blob(name, digest) => match *method {
                Method::GET => self.get_blob(name, digest, &parts.headers).await,
                Method::HEAD => self.head_blob(name, digest, &parts.headers).await,
                Method::DELETE => self.delete_blob(name, digest).await,
                _ => Err(Refusal::method("GET, HEAD, DELETE")),
            },
            Route::Manifest(name, reference) => match *method {
                Method::GET => self.get_manifest(name, reference, &parts.headers, true).await,
                Method::HEAD => self.get_manifest(name, reference, &parts.headers, false).await,
                Method::PUT => self.put_manifest(name, reference, &query, &parts.headers, body).await,
                Method::DELETE => self.delete_manifest(name, reference).await,
                _ => Err(Refusal::method("GET, HEAD, PUT, DELETE")),
            },
            Route::Uploads(name) => match *method {
                Method::POST => self.start_upload(name, &query, body, client).await,
                _ => Err(Refusal::method("POST")),
            },
            Route::Upload(name, id) => match *method {
                Method::GET | Method::HEAD => self.upload_status(&name, &id),
                Method::PATCH => self.append_to_upload(&name, &id, &parts.headers, body).await,
                Method::PUT => self.finish_upload(&name, &id, &query, &parts.headers, body).await,
                Method::DELETE => self.cancel_upload(&name, &id).await,
                _ => Err(Refusal::method("GET, PATCH, PUT, DELETE")),
            },
        }
    }

    /// The storage for pushes, unless the registry is read-only.
    pub(super) fn writable(&self) -> Result<&Arc<FolderStorage>, Refusal> {
        self.pushes.as_ref().ok_or_else(Refusal::read_only)
    }

    /// Changes the storage on a thread that may block.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&FolderStorage) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let folder = Arc::clone(self.writable()?);
        let done = tokio::task::spawn_blocking(move || work(&folder)).await;
        done.map_err(|error| Refusal::from(std::io::Error::other(error)))
    }

    /// Reads the storage on a thread that may block.
    pub(super) async fn storage<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Storage) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let storage = Arc::clone(&self.storage);
        let done = tokio::task::spawn_blocking(move || work(&storage)).await;
        done.map_err(|error| Refusal::from(std::io::Error::other(error)))
    }
}

/// Refuses changes by users who may only pull.
fn may_ask(user: Option<&User>, method: &Method) -> Result<(), Refusal> {
    match user {
        Some(user) if !user.may_push && !is_reading(method) => Err(Refusal::denied(&user.name)),
        _ => Ok(()),
    }
}

fn is_reading(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}
