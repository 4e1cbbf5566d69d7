//! The content of a scripted registry, and the requests of the OCI distribution specification on it.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Method;
use thoras_mirror::oci::{Digest, media_type::OCI_INDEX};

use super::{Answer, Recorded};
use crate::support::{graph::missing_below, images::SampleImage};

/// The repositories by name, and the uploads that are under way.
#[derive(Debug, Default)]
pub struct Store {
    /// What each repository holds.
    pub repositories: BTreeMap<String, Contents>,
    /// Uploads by their number, with the bytes that have arrived.
    pub uploads: BTreeMap<usize, Bytes>,
    /// Messages about manifests that referenced missing content and were refused.
    pub violations: Vec<String>,
    /// Whether it has the referrers API.
    pub has_referrers_api: bool,
    uploads_begun: usize,
}

/// The contents of one repository.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// Configs and layers.
    pub blobs: BTreeMap<Digest, Bytes>,
    /// Media types and bytes.
    pub manifests: BTreeMap<Digest, (String, Bytes)>,
    /// What the tags point to.
    pub tags: BTreeMap<String, Digest>,
}

impl Contents {
    fn find(&self, reference: &str) -> Option<(&Digest, &(String, Bytes))> {
        let digest = reference.parse().ok().or_else(|| self.tags.get(reference).cloned())?;
        self.manifests.get_key_value(&digest)
    }
}

/// The digest of the manifest that this one is about.
fn subject_of(manifest: &[u8]) -> Option<String> {
    let manifest: serde_json::Value = serde_json::from_slice(manifest).ok()?;
    Some(manifest["subject"]["digest"].as_str()?.to_owned())
}

/// What a path below `/v2/` names.
enum Route<'a> {
    Ping,
    Manifest(&'a str, &'a str),
    Blob(&'a str, Option<Digest>),
    BeginUpload(&'a str),
    Upload(&'a str, Option<usize>),
    Tags(&'a str),
    Referrers(&'a str, &'a str),
    Unknown,
}

impl<'a> Route<'a> {
    fn parse(path: &'a str) -> Self {
        let Some(rest) = path.strip_prefix("/v2/") else { return Self::Unknown };
        if rest.is_empty() {
            Self::Ping
        } else if let Some((name, reference)) = rest.split_once("/manifests/") {
            Self::Manifest(name, reference)
        } else if let Some((name, upload)) = rest.split_once("/blobs/uploads/") {
            if upload.is_empty() { Self::BeginUpload(name) } else { Self::Upload(name, upload.parse().ok()) }
        } else if let Some((name, digest)) = rest.split_once("/blobs/") {
            Self::Blob(name, digest.parse().ok())
        } else if let Some(name) = rest.strip_suffix("/tags/list") {
            Self::Tags(name)
        } else if let Some((name, subject)) = rest.split_once("/referrers/") {
            Self::Referrers(name, subject)
        } else {
            Self::Unknown
        }
    }
}

impl Store {
    /// Adds a complete image, as if it had been pushed.
    pub fn insert(&mut self, repository: &str, image: &SampleImage) {
        let contents = self.repository(repository);
        contents.blobs.extend(image.blobs.clone());
        for manifest in &image.manifests {
            let value = (manifest.media_type.clone(), manifest.bytes.clone());
            contents.manifests.insert(manifest.digest.clone(), value);
        }
        contents.tags.insert(image.tag.clone(), image.root().digest.clone());
    }

    /// A repository, created if necessary.
    pub fn repository(&mut self, name: &str) -> &mut Contents {
        self.repositories.entry(name.to_owned()).or_default()
    }

    /// What a correct registry does with a request, and answers.
    pub fn serve(&mut self, request: &Recorded, body: Bytes) -> Answer {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let query: BTreeMap<String, String> =
            url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        match (&request.method, Route::parse(path)) {
            (&Method::GET | &Method::HEAD, Route::Ping) => Answer::json(200, &serde_json::json!({})),
            (&Method::GET | &Method::HEAD, Route::Manifest(name, reference)) => {
                self.manifest(name, reference)
            }
            (&Method::PUT, Route::Manifest(name, reference)) => {
                let media_type = request.header("content-type").unwrap_or_default();
                self.put_manifest(name, reference, media_type, body)
            }
            (&Method::GET | &Method::HEAD, Route::Blob(name, Some(digest))) => {
                self.blob(name, &digest, request.header("range"))
            }
            (&Method::POST, Route::BeginUpload(name)) => self.begin_upload(name, &query),
            (method, Route::Upload(name, Some(id))) if self.uploads.contains_key(&id) => match *method {
                Method::PATCH => self.append(name, id, request.header("content-range"), &body),
                Method::PUT => self.finish_upload(name, id, &query, &body),
                Method::GET => self.upload_answer(204, name, id),
                Method::DELETE => self.uploads.remove(&id).map(|_| Answer::status(204)).unwrap(),
                _ => Answer::error(405, "UNSUPPORTED"),
            },
            (_, Route::Upload(..)) => Answer::error(404, "BLOB_UPLOAD_UNKNOWN"),
            (&Method::GET, Route::Tags(name)) => self.tags(name),
            (&Method::GET, Route::Referrers(name, subject)) if self.has_referrers_api => {
                self.referrers(name, subject)
            }
            _ => Answer::error(404, "UNSUPPORTED"),
        }
    }

    /// Keeps the bytes of an interrupted upload, like registries that can resume.
    pub fn keep_partial_upload(&mut self, path: &str, bytes: &[u8]) {
        let path = path.split('?').next().unwrap_or_default();
        if let Route::Upload(_, Some(id)) = Route::parse(path) {
            self.extend_upload(id, bytes);
        }
    }

    fn manifest(&self, name: &str, reference: &str) -> Answer {
        let found = self.repositories.get(name).and_then(|contents| contents.find(reference));
        match found {
            Some((digest, (media_type, bytes))) => Answer::status(200)
                .header("content-type", media_type)
                .header("docker-content-digest", digest.as_str())
                .body(bytes.clone()),
            None => Answer::error(404, "MANIFEST_UNKNOWN"),
        }
    }

    fn put_manifest(&mut self, name: &str, reference: &str, media_type: &str, body: Bytes) -> Answer {
        let expected: Option<Digest> = reference.parse().ok();
        if expected.as_ref().is_some_and(|digest| !digest.matches(&body)) {
            return Answer::error(400, "DIGEST_INVALID");
        }
        let tag = expected.is_none().then(|| reference.to_owned());
        let digest = expected.unwrap_or_else(|| Digest::sha256(&body));
        let contents = self.repository(name);
        let manifest = |wanted: &Digest| {
            let stored = contents.manifests.get(wanted).map(|(_, bytes)| bytes.clone());
            if *wanted == digest { Some(body.to_vec()) } else { stored.map(Vec::from) }
        };
        let missing = missing_below(&digest, &manifest, &|blob| contents.blobs.contains_key(blob));
        if !missing.is_empty() {
            let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
            let missing = missing.join(", ");
            self.violations.push(format!("manifest {reference} was pushed to {name} before {missing}"));
            return Answer::error(400, "MANIFEST_BLOB_UNKNOWN");
        }
        if let Some(tag) = tag {
            contents.tags.insert(tag, digest.clone());
        }
        let subject = subject_of(&body).filter(|_| self.has_referrers_api);
        let contents = self.repository(name);
        contents.manifests.insert(digest.clone(), (media_type.to_owned(), body));
        let answer = Answer::status(201)
            .header("location", &format!("/v2/{name}/manifests/{digest}"))
            .header("docker-content-digest", digest.as_str());
        match subject {
            Some(subject) => answer.header("oci-subject", &subject),
            None => answer,
        }
    }

    fn referrers(&self, name: &str, subject: &str) -> Answer {
        let manifests = self.repositories.get(name).into_iter().flat_map(|contents| &contents.manifests);
        let about = manifests.filter(|(_, (_, bytes))| subject_of(bytes).is_some_and(|of| of == subject));
        let entry = |(digest, (media_type, bytes)): (&Digest, &(String, Bytes))| serde_json::json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() });
        let entries: Vec<_> = about.map(entry).collect();
        let index = serde_json::json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries });
        Answer::status(200).header("content-type", OCI_INDEX).body(index.to_string())
    }

    fn blob(&self, name: &str, digest: &Digest, range: Option<&str>) -> Answer {
        let Some(bytes) = self.repositories.get(name).and_then(|contents| contents.blobs.get(digest)) else {
            return Answer::error(404, "BLOB_UNKNOWN");
        };
        let answer = Answer::status(200)
            .header("content-type", "application/octet-stream")
            .header("accept-ranges", "bytes")
            .header("docker-content-digest", digest.as_str());
        let Some((start, end)) = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-')) else {
            return answer.body(bytes.clone());
        };
        let start: usize = start.parse().unwrap();
        let end = end.parse().map_or(bytes.len(), |last: usize| bytes.len().min(last + 1));
        if start >= end {
            return Answer::error(416, "RANGE_INVALID");
        }
        let content_range = format!("bytes {start}-{}/{}", end - 1, bytes.len());
        let partial = answer.header("content-range", &content_range).body(bytes.slice(start..end));
        Answer { status: http::StatusCode::PARTIAL_CONTENT, ..partial }
    }

    fn begin_upload(&mut self, name: &str, query: &BTreeMap<String, String>) -> Answer {
        let digest = query.get("mount").and_then(|digest| digest.parse::<Digest>().ok());
        let from = query.get("from").and_then(|from| self.repositories.get(from));
        if let (Some(digest), Some(from)) = (digest, from)
            && let Some(bytes) = from.blobs.get(&digest).cloned()
        {
            return self.add_blob(name, digest, bytes);
        }
        self.uploads_begun += 1;
        self.uploads.insert(self.uploads_begun, Bytes::new());
        self.upload_answer(202, name, self.uploads_begun)
    }

    fn append(&mut self, name: &str, id: usize, content_range: Option<&str>, body: &[u8]) -> Answer {
        let start = content_range.and_then(|range| range.split_once('-')?.0.parse::<usize>().ok());
        if start.is_some_and(|start| start != self.uploads[&id].len()) {
            return self.upload_answer(416, name, id);
        }
        self.extend_upload(id, body);
        self.upload_answer(202, name, id)
    }

    fn finish_upload(
        &mut self,
        name: &str,
        id: usize,
        query: &BTreeMap<String, String>,
        body: &[u8],
    ) -> Answer {
        self.extend_upload(id, body);
        let bytes = self.uploads.remove(&id).unwrap();
        match query.get("digest").and_then(|digest| digest.parse::<Digest>().ok()) {
            Some(digest) if digest.matches(&bytes) => self.add_blob(name, digest, bytes),
            _ => Answer::error(400, "DIGEST_INVALID"),
        }
    }

    fn extend_upload(&mut self, id: usize, more: &[u8]) {
        if let Some(bytes) = self.uploads.get_mut(&id) {
            *bytes = [bytes, more].concat().into();
        }
    }

    fn upload_answer(&self, status: u16, name: &str, id: usize) -> Answer {
        let last = self.uploads[&id].len().saturating_sub(1);
        // The registry's own query, like distribution's `_state`: clients must add to it, not replace it.
        Answer::status(status)
            .header("location", &format!("/v2/{name}/blobs/uploads/{id}?_state=a%2Fb%3D%3D"))
            .header("range", &format!("0-{last}"))
    }

    fn add_blob(&mut self, name: &str, digest: Digest, bytes: Bytes) -> Answer {
        let location = format!("/v2/{name}/blobs/{digest}");
        self.repository(name).blobs.insert(digest, bytes);
        Answer::status(201).header("location", &location)
    }

    fn tags(&self, name: &str) -> Answer {
        match self.repositories.get(name) {
            Some(contents) => {
                let tags: Vec<&String> = contents.tags.keys().collect();
                Answer::json(200, &serde_json::json!({ "name": name, "tags": tags }))
            }
            None => Answer::error(404, "NAME_UNKNOWN"),
        }
    }
}
