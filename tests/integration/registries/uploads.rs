//! Upload sessions of a simulated registry.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Method;
use thoras_mirror::oci::Digest;

use super::{
    access,
    profile::{Broken, Chunks, Mounts, Profile, Progress},
    simulation::{State, split},
};
use crate::support::{
    http_server::Answer,
    scripted::{Recorded, Store},
};

/// An upload.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub repository: String,
    /// Its number in the store.
    id: usize,
    /// The query of its current `Location`.
    query: String,
    received: usize,
    first: usize,
    /// Its connection broke, and the registry lost it.
    is_lost: bool,
}

fn path_of(request_path: &str) -> &str {
    request_path.split('?').next().unwrap_or_default()
}

/// Whether a path and query names a session.
pub(super) fn names_session(state: &State, path: &str) -> bool {
    state.sessions.contains_key(path_of(path))
}

/// The repository of a session.
pub(super) fn repository_of(state: &State, path: &str) -> Option<String> {
    state.sessions.get(path_of(path)).map(|session| session.repository.clone())
}

/// POST: opens a session, or mounts a blob.
pub(super) fn begin(profile: &Profile, state: &mut State, request: &Recorded) -> Answer {
    let (name, _) = split(&request.path);
    let query = request.path.split_once('?').map_or("", |(_, query)| query);
    let query: BTreeMap<String, String> =
        url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    share_blobs(profile, &mut state.store, name);
    let mounts = match (query.get("mount"), query.get("from")) {
        (Some(digest), Some(from)) => {
            access::may_pull(profile, state, request, from)
                && (profile.mounts != Mounts::Committed || is_committed(&mut state.store, from, digest))
        }
        _ => false,
    };
    let path = if mounts { request.path.clone() } else { format!("/v2/{name}/blobs/uploads/") };
    let answer = state.store.serve(&Recorded { path, ..request.clone() }, Bytes::new());
    if answer.status != 202 {
        return answer;
    }
    let id = answer.headers["location"].to_str().unwrap();
    let id = id.split('?').next().unwrap().rsplit('/').next().unwrap().parse().unwrap();
    let session = Session {
        repository: name.to_owned(),
        id,
        query: String::new(),
        received: 0,
        first: 0,
        is_lost: false,
    };
    about(profile, state, session, 202)
}

/// Whether a manifest references a blob.
fn is_committed(store: &mut Store, repository: &str, digest: &str) -> bool {
    let manifests = store.repository(repository).manifests.values();
    manifests.into_iter().any(|(_, bytes)| String::from_utf8_lossy(bytes).contains(digest))
}

/// An answer with the `Location` and the `Range` of a session.
fn about(profile: &Profile, state: &mut State, mut session: Session, status: u16) -> Answer {
    let location = (profile.location)(&session.repository, session.id, session.received);
    let path =
        location.strip_prefix("https://").map_or(location.as_str(), |rest| &rest[rest.find('/').unwrap()..]);
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    query.clone_into(&mut session.query);
    let range = (profile.range)(Progress { received: session.received, first: session.first });
    state.sessions.insert(path.to_owned(), session);
    let answer = Answer::status(status).header("location", &location);
    range.iter().fold(answer, |answer, range| answer.header("range", range))
}

/// A request to a session.
pub(super) fn serve(profile: &Profile, state: &mut State, request: &Recorded, body: Bytes) -> Answer {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let mut session = state.sessions[path].clone();
    if let (true, Broken::Lost(answer)) = (session.is_lost, profile.broken) {
        return answer();
    }
    let added = query.strip_prefix(session.query.as_str());
    let added = added.map(|added| added.trim_start_matches('&'));
    if !added.is_some_and(|added| added.is_empty() || added.starts_with("digest=")) {
        state.violations.push(format!("the query `{}` became `{query}`", session.query));
    }
    let internal =
        format!("/v2/{}/blobs/uploads/{}?{}", session.repository, session.id, added.unwrap_or_default());
    let length = body.len();
    let start = request.header("content-range").and_then(|range| range.split_once('-')?.0.parse().ok());
    if request.method == Method::PATCH && start.unwrap_or(0_usize) != session.received {
        return about(profile, state, session, 416);
    }
    if request.method == Method::PUT && session.received > 0 && length > 0 && start != Some(session.received)
    {
        state.violations.push(format!("{length} bytes again for a session that has {}", session.received));
    }
    if let (Some(answer), true, Some(digest)) = (profile.existing_blob, length > 0, digest_of(&internal)) {
        let mut repositories = state.store.repositories.values();
        if repositories.any(|contents| contents.blobs.contains_key(&digest)) {
            return answer(digest.as_str());
        }
    }
    let answer = state.store.serve(&Recorded { path: internal, ..request.clone() }, body);
    match (&request.method, profile.chunks) {
        (&Method::PATCH, Chunks::Accepted(status) | Chunks::UpTo(status, ..)) if answer.status == 202 => {
            session.first = if session.received == 0 { length } else { session.first };
            session.received += length;
            about(profile, state, session, status)
        }
        (&Method::GET, _) => about(profile, state, session, 204),
        (&Method::DELETE, _) => drop_session(state, path, answer),
        _ if answer.status == 201 => drop_session(state, path, answer),
        _ => answer,
    }
}

fn digest_of(path: &str) -> Option<Digest> {
    path.split_once("digest=")?.1.replace("%3A", ":").parse().ok()
}

fn drop_session(state: &mut State, path: &str, answer: Answer) -> Answer {
    state.sessions.remove(path);
    answer
}

/// The connection of a request broke after these bytes.
pub(super) fn broke(profile: &Profile, state: &mut State, path: &str, bytes: &[u8]) {
    let Some(session) = state.sessions.get_mut(path_of(path)) else { return };
    match profile.broken {
        Broken::Lost(_) => session.is_lost = true,
        Broken::Kept => {
            session.first = if session.received == 0 { bytes.len() } else { session.first };
            session.received += bytes.len();
            let internal = format!("/v2/{}/blobs/uploads/{}", session.repository, session.id);
            state.store.keep_partial_upload(&internal, bytes);
        }
    }
}

/// Where repositories share their blobs, this one gets those of all others.
pub(super) fn share_blobs(profile: &Profile, store: &mut Store, name: &str) {
    if profile.mounts == Mounts::Shared {
        let all: Vec<_> = store.repositories.values().flat_map(|contents| contents.blobs.clone()).collect();
        store.repository(name).blobs.extend(all);
    }
}

/// The answer of the store to a request for a blob.
pub(super) fn shared_blob(profile: &Profile, state: &mut State, request: &Recorded, rest: &str) -> Answer {
    let (name, _) = split(&request.path);
    if state.store.repositories.contains_key(name) && rest.starts_with("blobs/sha") {
        share_blobs(profile, &mut state.store, name);
    }
    state.store.serve(request, Bytes::new())
}
