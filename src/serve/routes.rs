//! Paths of the OCI distribution specification ("Endpoints") as typed routes. No I/O, no methods.
//!
//! Repository names may have any number of components, even `blobs` and `tags`, so a path is parsed from its end.

use super::names::{RepositoryName, TagName, UploadId};
use crate::oci::{Digest, digest::DigestError, reference::ReferenceError};

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// `/v2/`: is this a registry?
    Base,
    /// `/v2/_catalog`: the repositories. No repository's name begins with `_`.
    Catalog,
    /// `/v2/NAME/manifests/REFERENCE`
    Manifest(RepositoryName, Reference),
    /// `/v2/NAME/blobs/DIGEST`
    Blob(RepositoryName, Digest),
    /// `/v2/NAME/blobs/uploads/`
    Uploads(RepositoryName),
    /// `/v2/NAME/blobs/uploads/ID`
    Upload(RepositoryName, UploadId),
    /// `/v2/NAME/tags/list`
    Tags(RepositoryName),
    /// `/v2/NAME/referrers/DIGEST`
    Referrers(RepositoryName, Digest),
}

/// A manifest's name within its repository; unlike in [`crate::oci::Target`], the tag is validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reference {
    /// By a tag.
    Tag(TagName),
    /// By its digest.
    Digest(Digest),
}

/// Why a path is not a route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RouteError {
    /// The specification has no such endpoint.
    #[error("the OCI distribution specification has no such endpoint")]
    NoEndpoint,
    /// The repository name breaks the grammar.
    #[error("{0}")]
    Name(ReferenceError),
    /// The digest is malformed.
    #[error("{0}")]
    Digest(DigestError),
    /// A manifest's reference is neither a tag nor a digest.
    #[error("{0}")]
    Tag(ReferenceError),
    /// This registry cannot have issued the upload identifier.
    #[error("no such upload")]
    Upload,
}

impl Route {
    /// Parses the path of a request, without its query.
    pub(super) fn parse(path: &str) -> Result<Self, RouteError> {
        let rest = match path.strip_prefix("/v2") {
            Some("" | "/") => return Ok(Self::Base),
            Some("/_catalog") => return Ok(Self::Catalog),
            Some(rest) => rest.strip_prefix('/').ok_or(RouteError::NoEndpoint)?,
            None => return Err(RouteError::NoEndpoint),
        };
        let (before, last) = rest.rsplit_once('/').ok_or(RouteError::NoEndpoint)?;
        if let Some(path) = before.strip_suffix("/blobs/uploads") {
            let name = name(path)?;
            return match last {
                "" => Ok(Self::Uploads(name)),
                id => UploadId::parse(id).map(|id| Self::Upload(name, id)).ok_or(RouteError::Upload),
            };
        }
        let (path, kind) = before.rsplit_once('/').ok_or(RouteError::NoEndpoint)?;
        match (kind, last) {
            ("manifests", reference) => Ok(Self::Manifest(name(path)?, Reference::parse(reference)?)),
            // Some clients omit the final slash when they open an upload.
            ("blobs", "uploads") => Ok(Self::Uploads(name(path)?)),
            ("blobs", text) => Ok(Self::Blob(name(path)?, digest(text)?)),
            ("referrers", text) => Ok(Self::Referrers(name(path)?, digest(text)?)),
            ("tags", "list") => Ok(Self::Tags(name(path)?)),
            _ => Err(RouteError::NoEndpoint),
        }
    }

    /// The repository in the path.
    pub(super) fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::Base | Self::Catalog => None,
            Self::Manifest(name, _)
            | Self::Blob(name, _)
            | Self::Uploads(name)
            | Self::Upload(name, _)
            | Self::Tags(name)
            | Self::Referrers(name, _) => Some(name),
        }
    }
}

impl Reference {
    /// A colon makes it a digest: no tag contains one.
    fn parse(text: &str) -> Result<Self, RouteError> {
        let text = unescape_colon(text);
        if text.contains(':') {
            return digest(&text).map(Self::Digest);
        }
        TagName::new(&text).map(Self::Tag).map_err(RouteError::Tag)
    }
}

fn name(path: &str) -> Result<RepositoryName, RouteError> {
    RepositoryName::new(path).map_err(RouteError::Name)
}

fn digest(text: &str) -> Result<Digest, RouteError> {
    unescape_colon(text).parse().map_err(RouteError::Digest)
}

/// The colon is the only character of the grammar that a client may percent-encode; any other escape fails the grammar.
fn unescape_colon(text: &str) -> String {
    text.replace("%3A", ":").replace("%3a", ":")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn named(path: &str) -> RepositoryName {
        RepositoryName::new(path).unwrap()
    }

    #[test]
    fn every_endpoint_is_read() {
        let digest: Digest = DIGEST.parse().unwrap();
        let id = UploadId::random().unwrap();
        for (path, expected) in [
            ("/v2".to_owned(), Route::Base),
            ("/v2/".to_owned(), Route::Base),
            ("/v2/_catalog".to_owned(), Route::Catalog),
            (
                "/v2/a/b/manifests/1.0".to_owned(),
                Route::Manifest(named("a/b"), Reference::Tag(TagName::new("1.0").unwrap())),
            ),
            (
                format!("/v2/a/manifests/{DIGEST}"),
                Route::Manifest(named("a"), Reference::Digest(digest.clone())),
            ),
            (format!("/v2/a/blobs/{DIGEST}"), Route::Blob(named("a"), digest.clone())),
            (format!("/v2/a/blobs/{}", DIGEST.replace(':', "%3A")), Route::Blob(named("a"), digest.clone())),
            ("/v2/a/blobs/uploads/".to_owned(), Route::Uploads(named("a"))),
            ("/v2/a/blobs/uploads".to_owned(), Route::Uploads(named("a"))),
            (format!("/v2/a/blobs/uploads/{id}"), Route::Upload(named("a"), id)),
            ("/v2/a/tags/list".to_owned(), Route::Tags(named("a"))),
            (format!("/v2/a/referrers/{DIGEST}"), Route::Referrers(named("a"), digest)),
        ] {
            assert_eq!(Route::parse(&path), Ok(expected), "{path}");
        }
    }

    #[test]
    fn repositories_may_be_named_like_endpoints() {
        let tag = |text| Reference::Tag(TagName::new(text).unwrap());
        for (path, expected) in [
            ("/v2/tags/list/tags/list", Route::Tags(named("tags/list"))),
            ("/v2/a/blobs/manifests/latest", Route::Manifest(named("a/blobs"), tag("latest"))),
            ("/v2/a/blobs/uploads/tags/list", Route::Tags(named("a/blobs/uploads"))),
            ("/v2/a/blobs/uploads/blobs/uploads/", Route::Uploads(named("a/blobs/uploads"))),
            ("/v2/v2/manifests/list", Route::Manifest(named("v2"), tag("list"))),
        ] {
            assert_eq!(Route::parse(path), Ok(expected), "{path}");
        }
    }

    #[test]
    fn refuses_invalid_references() {
        for path in [
            "",
            "/",
            "/v1/",
            "/v2x",
            "/v2/a",
            "/v2/a/b",
            "/v2/tags/list",
            "/v2/a/tags/other",
            "/v3/a/tags/list",
        ] {
            assert_eq!(Route::parse(path), Err(RouteError::NoEndpoint), "{path}");
        }
        for path in [
            "/v2/A/tags/list",
            "/v2/../tags/list",
            "/v2/a/%2e%2e/tags/list",
            "/v2//tags/list",
            "/v2/_x/tags/list",
        ] {
            assert!(matches!(Route::parse(path), Err(RouteError::Name(_))), "{path}");
        }
        for path in ["/v2/a/blobs/sha256:00", "/v2/a/manifests/sha256:..%2F..%2Fx", "/v2/a/referrers/latest"]
        {
            assert!(matches!(Route::parse(path), Err(RouteError::Digest(_))), "{path}");
        }
        for path in
            ["/v2/a/manifests/", "/v2/a/manifests/.INVALID", "/v2/a/manifests/..", "/v2/a/manifests/a%2Fb"]
        {
            assert!(matches!(Route::parse(path), Err(RouteError::Tag(_))), "{path}");
        }
        assert_eq!(Route::parse("/v2/a/blobs/uploads/.."), Err(RouteError::Upload));
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_never_yields_dots(path in "(/v2)?(/(\\.\\.|a|blobs|uploads|tags|list|manifests|\\PC{0,6})){0,8}") {
            if let Ok(route) = Route::parse(&path)
                && let Some(name) = route.repository()
            {
                let safe = |part: &str| !part.is_empty() && !part.starts_with(['.', '_']);
                prop_assert!(name.as_str().split('/').all(safe));
            }
        }

        #[test]
        fn any_name_and_tag_come_back(
            path in "[a-z0-9]{1,6}((\\.|_|__|-)[a-z0-9]{1,6}){0,2}(/(blobs|uploads|tags|list|manifests|referrers|[a-z]{1,4})){0,4}",
            tag in "[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}",
        ) {
            let route = Route::parse(&format!("/v2/{path}/manifests/{tag}")).unwrap();
            prop_assert_eq!(route, Route::Manifest(named(&path), Reference::Tag(TagName::new(&tag).unwrap())));
        }
    }
}
