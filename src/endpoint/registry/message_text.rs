//! The only code that decides something by the text of a message. Everywhere else, errors have types and responses have
//! statuses and codes; each function here says why they do not suffice.

use super::refusal::Refusal;
use crate::oci::Digest;

/// Whether a refused push of a tag means that the tag is immutable.
///
/// No registry has a code of its own for this: ECR answers 400 `TAG_INVALID`, Artifact Registry 400 `MANIFEST_INVALID`, Nexus
/// 400 `BLOB_UPLOAD_INVALID`, Docker Hub 403 `DENIED`, ACR 405, Quay 409, Harbor 412. 409 and 412 have no other meaning for
/// a manifest; 400, 403 and 405 may mean anything, so the text decides. Artifactory has no text: it answers 403 with the
/// code of an invalid manifest, which is 400 everywhere else (GoogleContainerTools/kaniko#1095). A wrong guess only changes
/// the message, not the outcome: the tag exists and points to another manifest.
pub(super) fn says_immutable(Refusal { status, code, message, .. }: &Refusal) -> bool {
    let text = format!("{} {message}", code.as_deref().unwrap_or_default()).to_ascii_lowercase();
    let words = [
        "immutab",
        "already exists",
        "alreadyexists",
        "overwrit",
        "locked",
        "operation is disallowed",
        "not allow updating",
    ];
    let is_artifactory = (*status, code.as_deref()) == (403, Some("MANIFEST_INVALID"));
    is_artifactory || matches!(status, 409 | 412) || words.iter().any(|word| text.contains(word))
}

/// Whether a refusal means that there are too many requests.
///
/// The specification has one code for this, `TOOMANYREQUESTS`, with status 429. Cloud registries also answer 400 or 403
/// with the name of their API's exception, as the code or, in front of the message, as text: `ThrottlingException`,
/// `RequestLimitExceeded`, `SlowDown`. A wrong guess costs some retries.
pub(super) fn says_throttled(Refusal { status, code, message, .. }: &Refusal) -> bool {
    let words = ["throttl", "toomanyrequests", "requestlimitexceeded", "ratelimit", "slowdown"];
    let is_throttling = |text: &str| {
        let text: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
        words.iter().any(|word| text.to_ascii_lowercase().contains(word))
    };
    // Only the first word of a message names an exception.
    let named = message.split([':', ' ']).next().unwrap_or_default();
    (400..500).contains(status) && (code.as_deref().is_some_and(is_throttling) || is_throttling(named))
}

/// Whether a refused push means that there is no storage left for this user or project.
///
/// The specification has no code for this. Harbor answers 403 `DENIED` with "adding 2 GiB of storage resource, which when
/// updated to current usage of 9 GiB will exceed the configured upper limit of 10 GiB", Quay with "Quota has been exceeded
/// on namespace". A wrong guess changes the hint and the exit code of a run that fails anyway.
pub(super) fn says_storage_full(Refusal { message, .. }: &Refusal) -> bool {
    let text = message.to_ascii_lowercase();
    text.contains("exceed") && ["quota", "storage"].iter().any(|word| text.contains(word))
}

/// Whether a registry failed because its own disk is full.
///
/// 507 is the status for this, but most registries answer 500 `UNKNOWN` with the text of the operating system, which Go
/// writes in lower case and other languages do not. CNCF distribution only shows the number of the error, as `Err` in the
/// details. A wrong guess changes the hint.
pub(super) fn says_disk_full(Refusal { status, message, .. }: &Refusal) -> bool {
    let text = message.to_ascii_lowercase();
    let is_text = ["no space left on device", "err=28,", "err=28}"].iter().any(|words| text.contains(words));
    *status == 507 || (*status >= 500 && is_text)
}

/// Whether a registry refused a manifest because of something that the manifest references: it has no right code for
/// that, but its message names the digest. A wrong guess costs a look at the content and some retries.
pub(super) fn names_content<'a>(refusal: &Refusal, content: impl IntoIterator<Item = &'a Digest>) -> bool {
    let may_be = matches!(refusal.status, 400 | 404 | 409 | 412 | 422);
    may_be && content.into_iter().any(|digest| refusal.message.contains(digest.as_str()))
}

/// Whether a 404 is about the route, not about what it names.
///
/// A registry that lacks a repository or a manifest says so in the specification's envelope. Go's router answers an unknown
/// route with this text (`src/net/http/server.go`), and distribution and most other registries are written in Go. The API
/// is not requested again for repositories with the same parent.
pub(super) fn says_no_such_route(Refusal { status, code, message, .. }: &Refusal) -> bool {
    *status == 404 && code.is_none() && message.trim() == "404 page not found"
}

/// Whether a TLS server reports that it received a plain http request.
///
/// Go's `net/http` answers 400 with this text and nothing else (`src/net/http/server.go`). Other servers close the
/// connection or send a TLS alert, which `client_error` recognizes. It decides about a hint and, for a loopback
/// registry, whether https is tried.
pub(super) fn says_tls_is_missing(status: u16, message: &str) -> bool {
    status == 400 && message.contains("HTTP request to an HTTPS server")
}

/// Whether hyper could not parse even the start of a response.
///
/// `hyper::Error::is_parse` covers every malformed response, and hyper exposes which part it is only in the text.
/// `client_error` tests this against the real library.
pub(super) fn says_not_http(error: &hyper::Error) -> bool {
    error.is_parse() && error.to_string().contains("invalid HTTP version")
}

/// Whether a credential helper failed because it has no credential for the server.
///
/// The protocol has no code for this: helpers print the text of `errCredentialsNotFoundMessage`
/// (docker/docker-credential-helpers, `credentials/error.go`), and Docker compares it as well.
pub(super) fn says_no_credential(message: &str) -> bool {
    message.to_ascii_lowercase().contains("credentials not found")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        endpoint::{Location, Operation},
        error::Kind,
        problem::Side,
    };

    fn refused(status: u16, code: &str, message: &str) -> Refusal {
        Refusal { status, code: Some(code.to_owned()), message: message.to_owned(), ..Refusal::default() }
    }

    #[test]
    fn immutable_tags_of_well_known_registries_are_recognized() {
        for refusal in [
            refused(
                400,
                "TAG_INVALID",
                "The image tag '1' already exists and cannot be overwritten because the tag is immutable.",
            ),
            refused(400, "ImageTagAlreadyExistsException", ""),
            refused(403, "DENIED", "cannot overwrite tag 1"),
            refused(405, "UNSUPPORTED", "the operation is disallowed: the manifest is locked"),
            refused(
                400,
                "MANIFEST_INVALID",
                "cannot update tag 1. The repository has enabled tag immutability",
            ),
            refused(
                400,
                "BLOB_UPLOAD_INVALID",
                "blob upload invalid (Repository does not allow updating assets: x)",
            ),
            refused(403, "DENIED", "This tag cannot be updated due to immutability settings."),
            refused(403, "MANIFEST_INVALID", "manifest invalid (description=HTTP 403 Forbidden)"),
            refused(405, "REGISTRY_DISALLOWED_OPERATION", "The operation is disallowed on this registry"),
            refused(409, "CONFLICT", ""),
            refused(412, "PRECONDITION", ""),
        ] {
            assert!(says_immutable(&refusal), "{refusal}");
        }
        for refusal in
            [refused(403, "DENIED", "no access"), refused(400, "MANIFEST_INVALID", "manifest invalid")]
        {
            assert!(!says_immutable(&refusal), "{refusal}");
        }
    }

    #[test]
    fn throttling_is_recognized_in_codes_and_at_the_start_of_messages() {
        for refusal in [
            refused(400, "ThrottlingException", "Rate exceeded"),
            refused(400, "TOOMANYREQUESTS", ""),
            refused(403, "RATE_LIMIT_EXCEEDED", ""),
            refused(400, "DENIED", "ThrottlingException: Rate exceeded"),
            refused(403, "DENIED", "toomanyrequests: Rate exceeded"),
            refused(400, "RequestThrottledException", ""),
        ] {
            assert!(says_throttled(&refusal), "{refusal}");
        }
        for refusal in [
            refused(400, "MANIFEST_INVALID", "the layer throttle.json is invalid"),
            refused(403, "DENIED", "no access"),
            refused(500, "UNKNOWN", "throttled"),
        ] {
            assert!(!says_throttled(&refusal), "{refusal}");
        }
    }

    #[test]
    fn a_used_up_quota_is_not_a_question_of_credentials_bug() {
        for message in [
            "adding 2.6 GiB of storage resource, which when updated to current usage of 9.4 GiB will exceed the configured \
             upper limit of 10.0 GiB.",
            "Quota has been exceeded on namespace",
        ] {
            let refusal = refused(403, "DENIED", message);
            assert!(says_storage_full(&refusal));
            assert_eq!(refusal.kind(), Kind::Image);
            let location =
                Location::new(Operation::UploadBlob, Side::Destination, "r.example.com/a@sha256:00");
            let remedy = refusal.remedy(&location, "r.example.com").unwrap();
            assert!(remedy.starts_with("the storage quota at r.example.com is used up"), "{remedy}");
        }
        assert_eq!(refused(403, "DENIED", "no access").kind(), Kind::Authentication);
    }

    #[test]
    fn a_full_disk_is_named_whatever_the_status_bug() {
        let location = Location::new(Operation::UploadBlob, Side::Destination, "r.example.com/a@sha256:00");
        let remedy = |status, message: &str| {
            refused(status, "UNKNOWN", message).remedy(&location, "r.example.com").unwrap()
        };
        for (status, message) in [
            (507, ""),
            (500, "filesystem: write /var/lib/registry/x: no space left on device"),
            (500, "java.io.IOException: No space left on device"),
            (500, "unknown error (DriverName=filesystem, Enclosed: {Err=28, Op=mkdir, Path=/x})"),
        ] {
            assert!(remedy(status, message).starts_with("r.example.com is out of disk space"), "{message}");
        }
        let denied = "unknown error (DriverName=filesystem, Enclosed: {Err=13, Op=mkdir, Path=/x})";
        assert!(remedy(500, denied).starts_with("check the logs"));
    }

    #[test]
    fn a_read_only_registry_is_named_as_such_bug() {
        let refusal = refused(405, "UNSUPPORTED", "The operation is unsupported.");
        let location = Location::new(Operation::BeginUpload, Side::Destination, "r.example.com/a@sha256:00");
        assert!(refusal.remedy(&location, "r.example.com").unwrap().contains("read-only"));
    }

    #[test]
    fn only_gos_answer_to_plain_http_says_that_tls_is_missing() {
        assert!(says_tls_is_missing(400, "Client sent an HTTP request to an HTTPS server."));
        assert!(!says_tls_is_missing(403, "Client sent an HTTP request to an HTTPS server."));
        assert!(!says_tls_is_missing(400, "bad request"));
    }

    #[test]
    fn the_helpers_message_is_recognized_in_any_case() {
        assert!(says_no_credential("credentials not found in native keychain"));
        assert!(says_no_credential("Credentials not found"));
        assert!(!says_no_credential("the keychain is locked"));
    }
}
