//! Conditional requests (RFC 9110, section 13). Content is named by its digest, so it never changes.

use http::{HeaderMap, StatusCode, header};

use super::response::{Answer, DOCKER_CONTENT_DIGEST, checked_value, empty};
use crate::oci::Digest;

/// The entity tag of content.
pub(super) fn entity_tag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

/// Whether the client already has this content, by its `If-None-Match`.
pub(super) fn is_known(headers: &HeaderMap, digest: &Digest) -> bool {
    let expected = entity_tag(digest);
    let values = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
    // GET compares weakly: a tag may have the prefix `W/`.
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == expected)
}

/// 304: the client has it.
pub(super) fn not_modified(digest: &Digest) -> Answer {
    let mut answer = empty(StatusCode::NOT_MODIFIED);
    let headers = answer.headers_mut();
    headers.insert(header::ETAG, checked_value(entity_tag(digest)));
    headers.insert(DOCKER_CONTENT_DIGEST, checked_value(digest.as_str()));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entity_tags_are_compared_weakly_and_as_a_list() {
        let digest = Digest::sha256(b"x");
        let known = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, value.parse().unwrap());
            is_known(&headers, &digest)
        };
        for value in
            ["*", &format!("\"{digest}\""), &format!("W/\"{digest}\""), &format!("\"a\", \"{digest}\"")]
        {
            assert!(known(value), "{value}");
        }
        for value in ["", "\"a\"", digest.as_str()] {
            assert!(!known(value), "{value}");
        }
        assert!(!is_known(&HeaderMap::new(), &digest));
    }
}
