//! What distinguishes a registry from the specification: data, which [`super::simulation`] enforces.

use crate::support::scripted::Answer;

/// One registry as it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Profile {
    /// Its name in references.
    pub registry: &'static str,
    /// The host that serves its API.
    pub host: &'static str,
    pub login: Login,
    /// Where images go: the value of `--to` without the registry, and whether what is below it must exist.
    pub folder: &'static str,
    /// The repository of an image, as a source, as it is typed.
    pub source: &'static str,
    /// The same below `/v2/`.
    pub source_path: &'static str,
    /// The `Location` of an upload: repository, number of the session, bytes received.
    pub location: fn(&str, usize, usize) -> String,
    /// The `Range` in answers about an upload of which this many bytes were received.
    pub range: fn(Progress) -> Option<String>,
    pub whole: Whole,
    pub chunks: Chunks,
    /// What becomes of an upload whose connection broke.
    pub broken: Broken,
    pub mounts: Mounts,
    pub blobs: Blobs,
    /// The size of the largest layer that is copied to it.
    pub large_layer: usize,
    /// What it answers when a tag would move, if tags can be immutable: repository and tag.
    pub immutable: Option<fn(&str, &str) -> Answer>,
    pub repositories: Repositories,
    /// What it answers to bytes of a blob that it has, if that is an error.
    pub existing_blob: Option<fn(&str) -> Answer>,
    pub has_referrers: bool,
    /// Whether a HEAD of a tag that does not exist is refused.
    pub hides_tags: bool,
    /// Headers of all its answers.
    pub headers: &'static [(&'static str, &'static str)],
}

/// CNCF distribution: what a profile does not say is as here.
pub(super) const DISTRIBUTION: Profile = Profile {
    registry: "registry.example.com",
    host: "registry.example.com",
    login: Login::Basic("Basic realm=\"registry.example.com\""),
    folder: "mirror",
    source: "registry.example.com/platform/app",
    source_path: "platform/app",
    location: |repository, id, received| stateful("https://registry.example.com", repository, id, received),
    range: usual_range,
    whole: Whole::Accepted,
    chunks: Chunks::Accepted(202),
    broken: Broken::Lost(invalid_upload),
    mounts: Mounts::All,
    blobs: Blobs::Direct,
    large_layer: 6 * 1024 * 1024,
    immutable: None,
    repositories: Repositories::Created,
    existing_blob: None,
    has_referrers: true,
    hides_tags: false,
    headers: &[("docker-distribution-api-version", "registry/2.0")],
};

/// How far an upload is, for the `Range` of an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    pub received: usize,
    /// The bytes of the first chunk.
    pub first: usize,
}

/// Whether repositories must exist.
#[derive(Debug, Clone, Copy)]
pub(super) enum Repositories {
    /// They are created when they are pushed to.
    Created,
    /// This many leading components of their path must exist; otherwise, this is the answer.
    MustExist(usize, fn(&str) -> Answer),
    /// The same, but the token server answers this.
    MustExistForToken(usize, fn(&str) -> Answer),
}

impl Repositories {
    /// What must exist for a repository.
    pub(super) fn needed(self, repository: &str) -> String {
        let parts = match self {
            Self::Created => 0,
            Self::MustExist(parts, _) | Self::MustExistForToken(parts, _) => parts,
        };
        repository.split('/').take(parts).collect::<Vec<_>>().join("/")
    }
}

/// How it asks for a login.
#[derive(Debug, Clone, Copy)]
pub(super) enum Login {
    /// With this challenge.
    Basic(&'static str),
    /// With a token from this URL for this service.
    Token {
        realm: &'static str,
        service: &'static str,
        /// Whether the login is a refresh token, which is posted.
        is_posted: bool,
    },
}

/// What it does with the bytes of a blob in one PUT.
#[derive(Debug, Clone, Copy)]
pub(super) enum Whole {
    Accepted,
    /// Of more bytes than this, it closes the connection after as many.
    ResetAfter(u64),
    /// With more bytes than this, it answers this before it reads them.
    RefusedAbove(u64, fn() -> Answer),
    /// It answers this.
    Unsupported(fn() -> Answer),
}

/// What it does with PATCH.
#[derive(Debug, Clone, Copy)]
pub(super) enum Chunks {
    /// It answers this status to chunks of any size.
    Accepted(u16),
    /// The same to chunks of at most this many bytes; larger ones are refused.
    UpTo(u16, u64, fn() -> Answer),
    /// It answers this.
    Unsupported(fn() -> Answer),
}

/// What becomes of an upload whose connection broke.
#[derive(Debug, Clone, Copy)]
pub(super) enum Broken {
    /// The bytes are kept, and a GET tells how many.
    Kept,
    /// The session is gone. Requests are answered with this.
    Lost(fn() -> Answer),
}

/// Which blobs of other repositories are mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mounts {
    All,
    /// Only those that a manifest of the other repository references.
    Committed,
    /// Repositories share their blobs.
    Shared,
}

/// How blobs are read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Blobs {
    /// From the registry.
    Direct,
    /// From the URL of a redirect with this status: repository, digest, and a signature.
    Redirected { status: u16, url: fn(&str, &str, &str) -> String, heads: Heads },
}

/// What it does with a HEAD of a blob that is redirected when it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heads {
    /// It answers.
    Answered,
    /// It redirects, and the storage answers.
    Redirected,
    /// It redirects, but the signature is for GET alone.
    RefusedByStorage,
}

/// A registry's error.
pub(super) fn error(status: u16, code: &str, message: &str) -> Answer {
    detailed(status, code, message, &serde_json::Value::Null)
}

/// The same with a detail.
pub(super) fn detailed(status: u16, code: &str, message: &str, detail: &serde_json::Value) -> Answer {
    let error = serde_json::json!({ "code": code, "message": message, "detail": detail });
    Answer::json(status, &serde_json::json!({ "errors": [error] }))
}

/// The page of a web server in front of a registry.
pub(super) fn page(status: u16, title: &str) -> Answer {
    let page =
        format!("<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<h1>{title}</h1></body></html>");
    Answer::status(status).header("content-type", "text/html").body(page)
}

/// `0-LAST`, as the specification says.
#[expect(clippy::unnecessary_wraps, reason = "some registries send none")]
pub(super) fn usual_range(Progress { received, .. }: Progress) -> Option<String> {
    Some(format!("0-{}", received.saturating_sub(1)))
}

/// What CNCF distribution answers about a session that it lost.
pub(super) fn invalid_upload() -> Answer {
    error(404, "BLOB_UPLOAD_INVALID", "blob upload invalid")
}

/// A session of CNCF distribution: its state changes with every request.
pub(super) fn stateful(base: &str, repository: &str, id: usize, received: usize) -> String {
    format!("{base}/v2/{repository}/blobs/uploads/{id:08x}-0f1e?_state=HMAC%2B{received}%2Fabc%3D%3D")
}
