//! Responses: common headers, and the error envelope of the OCI distribution specification, "Error Codes".

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use serde::Serialize;
use serde_json::json;

use super::{body::AnswerBody, names::RepositoryName, routes::RouteError};
use crate::oci::Digest;

/// The digest of the content of a response.
pub(super) const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// The subject of the pushed manifest: tells the client that the registry maintains the referrers list.
pub(super) const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
/// A tag from the query that the manifest received.
pub(super) const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");
/// The filters applied to a referrers list.
pub(super) const OCI_FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
/// The identifier of an upload session; older Docker clients read it.
pub(super) const DOCKER_UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// A response.
pub(super) type Answer = Response<AnswerBody>;

/// The specification's error codes that this registry uses, and `UNKNOWN`, which registries use for internal errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum ErrorCode {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    Denied,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    SizeInvalid,
    #[serde(rename = "TOOMANYREQUESTS")]
    TooManyRequests,
    Unauthorized,
    Unknown,
    Unsupported,
}

/// An error response: status, additional headers, one or more errors.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    errors: Vec<ErrorEntry>,
}

#[derive(Debug, Serialize)]
struct ErrorEntry {
    code: ErrorCode,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<serde_json::Value>,
}

impl Refusal {
    /// A refusal with one error. The caller must escape text from outside.
    pub(super) fn new(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        let error = ErrorEntry { code, message: message.into(), detail: None };
        Self { status, headers: Vec::new(), errors: vec![error] }
    }

    /// Missing children of a manifest, with one error each.
    pub(super) fn missing_children(missing: &[Digest]) -> Self {
        let entry = |digest: &Digest| ErrorEntry {
            code: ErrorCode::ManifestBlobUnknown,
            message: "the manifest references a blob or manifest that is missing in this repository"
                .to_owned(),
            detail: Some(json!({ "digest": digest })),
        };
        Self {
            status: StatusCode::BAD_REQUEST,
            headers: Vec::new(),
            errors: missing.iter().map(entry).collect(),
        }
    }

    /// Adds a header.
    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// A method that the endpoint does not support.
    pub(super) fn method(allowed: &'static str) -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            ErrorCode::Unsupported,
            format!("this endpoint supports {allowed}"),
        )
        .with(header::ALLOW, HeaderValue::from_static(allowed))
    }

    /// A change by a user who may only pull.
    pub(super) fn denied(user: &str) -> Self {
        let message =
            format!("the user `{}` may pull from this registry, but not push to it", user.escape_debug());
        Self::new(StatusCode::FORBIDDEN, ErrorCode::Denied, message)
    }

    /// A change to a read-only registry.
    pub(super) fn read_only() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported, "this registry is served read-only")
            .with(header::ALLOW, HeaderValue::from_static("GET, HEAD"))
    }

    /// A path that is not an endpoint. An invalid tag cannot exist: reading it finds nothing, pushing it is an error.
    pub(super) fn route(error: &RouteError, method: &Method) -> Self {
        let (status, code) = match error {
            RouteError::NoEndpoint => (StatusCode::NOT_FOUND, ErrorCode::Unsupported),
            RouteError::Name(_) => (StatusCode::BAD_REQUEST, ErrorCode::NameInvalid),
            RouteError::Digest(_) => (StatusCode::BAD_REQUEST, ErrorCode::DigestInvalid),
            RouteError::Tag(_) if method == Method::PUT => {
                (StatusCode::BAD_REQUEST, ErrorCode::ManifestInvalid)
            }
            RouteError::Tag(_) => (StatusCode::NOT_FOUND, ErrorCode::ManifestUnknown),
            RouteError::Upload => (StatusCode::NOT_FOUND, ErrorCode::BlobUploadUnknown),
        };
        Self::new(status, code, error.to_string())
    }

    /// The blob is not in the repository.
    pub(super) fn blob_unknown() -> Self {
        Self::new(StatusCode::NOT_FOUND, ErrorCode::BlobUnknown, "this repository has no such blob")
    }

    /// The manifest or tag is not in the repository.
    pub(super) fn manifest_unknown() -> Self {
        Self::new(StatusCode::NOT_FOUND, ErrorCode::ManifestUnknown, "this repository has no such manifest")
    }

    /// The HTTP response.
    pub(super) fn into_answer(self) -> Answer {
        let mut answer = json_answer(&json!({ "errors": self.errors }));
        *answer.status_mut() = self.status;
        answer.headers_mut().extend(self.headers);
        answer
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        let status = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                StatusCode::INSUFFICIENT_STORAGE
            }
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let message = format!("the registry's storage failed: {}", error.to_string().escape_debug());
        Self::new(status, ErrorCode::Unknown, message)
    }
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(AnswerBody::empty());
    *answer.status_mut() = status;
    answer
}

/// 200 with a JSON document.
pub(super) fn json_answer(document: &impl Serialize) -> Answer {
    // These documents have only string keys, so they can always be written as JSON.
    let text = serde_json::to_vec(document).unwrap_or_default();
    let mut answer = Response::new(AnswerBody::whole(Bytes::from(text)));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// A header value from validated text (digests, names, numbers, URLs made of them).
pub(super) fn checked_value(text: impl AsRef<str>) -> HeaderValue {
    HeaderValue::from_str(text.as_ref()).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// 201, with the location of the content.
pub(super) fn created(name: &RepositoryName, kind: &'static str, digest: &Digest) -> Answer {
    let mut answer = empty(StatusCode::CREATED);
    let headers = answer.headers_mut();
    headers.insert(header::LOCATION, checked_value(format!("/v2/{name}/{kind}/{digest}")));
    headers.insert(DOCKER_CONTENT_DIGEST, checked_value(digest.as_str()));
    answer
}

/// A digest in a query.
pub(super) fn parse_digest(text: &str) -> Result<Digest, Refusal> {
    text.parse::<Digest>()
        .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, ErrorCode::DigestInvalid, error.to_string()))
}

/// Adds the headers that every response has.
pub(super) fn mark_version(answer: &mut Answer) {
    answer.headers_mut().insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
}
