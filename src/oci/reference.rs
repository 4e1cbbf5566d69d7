//! Image references: `[registry[:port]/]repository[:tag][@digest]`.
//!
//! The grammar is that of the OCI distribution specification, with the short forms that Docker made
//! common: `nginx` means `docker.io/library/nginx:latest`.

mod grammar;
mod repository;

use std::{fmt, str::FromStr, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::grammar::check_tag;
pub use self::repository::Repository;
use super::{
    digest::{Digest, DigestError},
    quoted,
};

const DOCKER_HUB: &str = "docker.io";

/// Why a text is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The text is empty.
    #[error("an image reference cannot be empty")]
    Empty,
    /// A URL instead of a reference, shown without user and password.
    #[error("`{}` is a URL: write an image reference without `scheme://`", quoted(.0))]
    Url(String),
    /// A user name before the host. Shown without user and password.
    #[error("`{}` names a user: write an image reference without `user:password@`", quoted(.0))]
    Login(String),
    /// The host part is not a host name, an address or `host:port`.
    #[error("`{}` is not a registry: expected HOST or HOST:PORT", quoted(.0))]
    Registry(String),
    /// The path does not follow the specification's grammar.
    #[error(
        "`{}` is not a repository name: lower-case letters, digits and single separators (. _ __ -) \
         between slashes, 255 characters at most",
        quoted(.0)
    )]
    Repository(String),
    /// The tag does not follow the specification's grammar.
    #[error("`{}` is not a tag: letters, digits, _ . and -, not starting with . or -, 128 characters at most", quoted(.0))]
    Tag(String),
    /// The part after `@` is not a digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
}

/// How a manifest is requested within its repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// By a tag, which can move.
    Tag(String),
    /// By its digest.
    Digest(Digest),
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => formatter.write_str(tag),
            Self::Digest(digest) => digest.fmt(formatter),
        }
    }
}

/// A complete, normalized image reference. It has a tag, a digest, or both.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Reference {
    repository: Repository,
    tag: Option<Arc<str>>,
    digest: Option<Digest>,
}

impl Reference {
    /// A reference by tag.
    pub fn tagged(repository: Repository, tag: &str) -> Result<Self, ReferenceError> {
        check_tag(tag)?;
        Ok(Self { repository, tag: Some(tag.into()), digest: None })
    }

    /// A reference by digest.
    #[must_use]
    pub fn pinned(repository: Repository, digest: Digest) -> Self {
        Self { repository, tag: None, digest: Some(digest) }
    }

    /// The same reference, pinned to a digest.
    #[must_use]
    pub fn with_digest(self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self }
    }

    /// Registry and path.
    #[must_use]
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The tag, if one was written (or implied: `latest`).
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The tag, or `latest` if there is only a digest.
    #[must_use]
    pub(crate) fn tag_or_latest(&self) -> &str {
        self.tag().unwrap_or("latest")
    }

    /// The digest, if one was written.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What to pull: the digest takes precedence over the tag.
    #[must_use]
    pub fn target(&self) -> Target {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => Target::Digest(digest.clone()),
            (None, Some(tag)) => Target::Tag(tag.to_string()),
            (None, None) => Target::Tag("latest".to_owned()),
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if text.contains("://") {
            return Err(ReferenceError::Url(hide_login(text)));
        }
        if names_a_user(text) {
            return Err(ReferenceError::Login(hide_login(text)));
        }
        let (name_and_tag, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse::<Digest>()?)),
            None => (text, None),
        };
        let (name, tag) = split_tag(name_and_tag);
        let repository = normalize(name)?;
        if let Some(tag) = tag {
            check_tag(tag)?;
        }
        let tag = match (tag, &digest) {
            (None, None) => Some("latest".into()),
            (tag, _) => tag.map(Arc::from),
        };
        Ok(Self { repository, tag, digest })
    }
}

/// Whether an `@` follows a user name (and password) rather than starting a digest, which contains no slash.
fn names_a_user(text: &str) -> bool {
    text.rsplit_once('@').is_some_and(|(before, after)| before.contains('@') || after.contains('/'))
}

/// A malformed reference that is safe to show: everything up to the last `@` that does not start a digest may be a
/// password.
pub(crate) fn hide_login(text: &str) -> String {
    let (name, digest) = match text.rsplit_once('@') {
        Some((name, digest)) if digest.parse::<Digest>().is_ok() => (name, Some(digest)),
        _ => (text, None),
    };
    let Some((login, rest)) = name.rsplit_once('@') else { return text.to_owned() };
    let scheme = login.split_once("://").map_or(String::new(), |(scheme, _)| format!("{scheme}://"));
    let digest = digest.map_or(String::new(), |digest| format!("@{digest}"));
    format!("{scheme}***@{rest}{digest}")
}

/// A colon after the last slash starts a tag; one before it belongs to the port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    let last = text.rfind('/').map_or(0, |slash| slash + 1);
    match text.get(last..).and_then(|component| component.split_once(':')) {
        Some((component, tag)) => (text.get(..last + component.len()).unwrap_or(text), Some(tag)),
        None => (text, None),
    }
}

/// Docker's rule: the first component is a registry when it could not be a Docker Hub user.
fn normalize(name: &str) -> Result<Repository, ReferenceError> {
    let (registry, path) = match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => (DOCKER_HUB, name),
    };
    let registry = normalize_registry(registry);
    if registry == DOCKER_HUB && !path.contains('/') {
        return Repository::new(&registry, &format!("library/{path}"));
    }
    Repository::new(&registry, path)
}

/// In lower case, with Docker Hub's other names replaced by `docker.io`.
#[must_use]
pub(crate) fn normalize_registry(registry: &str) -> String {
    let lower = registry.to_ascii_lowercase();
    match lower.as_str() {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => DOCKER_HUB.to_owned(),
        _ => lower,
    }
}

impl TryFrom<String> for Reference {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<Self, ReferenceError> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.repository)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(formatter, "@{digest}")?;
        }
        Ok(())
    }
}

impl JsonSchema for Reference {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Reference".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A normalized image reference: REGISTRY/REPOSITORY[:TAG][@DIGEST]."
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn normal(text: &str) -> String {
        text.parse::<Reference>().unwrap().to_string()
    }

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn short_forms_are_completed() {
        assert_eq!(normal("nginx"), "docker.io/library/nginx:latest");
        assert_eq!(normal("grafana/grafana:11"), "docker.io/grafana/grafana:11");
        assert_eq!(normal("index.docker.io/nginx"), "docker.io/library/nginx:latest");
        assert_eq!(normal("localhost/a"), "localhost/a:latest");
        assert_eq!(normal("Registry.Example.COM/a:B"), "registry.example.com/a:B");
        assert_eq!(normal("host:5000/a/b__c"), "host:5000/a/b__c:latest");
        assert_eq!(normal("[::1]:5000/a:1"), "[::1]:5000/a:1");
        assert_eq!(normal("a--b/c.d_e"), "docker.io/a--b/c.d_e:latest");
    }

    #[test]
    fn digests_are_kept_with_and_without_a_tag() {
        assert_eq!(normal(&format!("quay.io/a/b@{DIGEST}")), format!("quay.io/a/b@{DIGEST}"));
        let both: Reference = format!("quay.io/a/b:1@{DIGEST}").parse().unwrap();
        assert_eq!(both.tag(), Some("1"));
        assert_eq!(both.target(), Target::Digest(DIGEST.parse().unwrap()));
    }

    #[test]
    fn refuses_invalid_references() {
        for text in [
            "",
            "a:",
            ":1",
            "A/b",
            "a//b",
            "a/../b",
            "host:99999/a",
            "host:/a",
            "a b",
            "-x.io/a",
            "a:-b",
            "https://quay.io/a",
            "a@sha256:00",
            "a.b/c___d",
            "a/b-",
            "[::g]:1/a",
            "a:b:c",
            "é/a",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
        assert!(format!("a:{}", "x".repeat(129)).parse::<Reference>().is_err());
    }

    #[test]
    fn a_password_in_a_reference_is_not_repeated() {
        for (text, shown) in [
            ("https://user:pa55@quay.io/a:1", "`https://***@quay.io/a:1` is a URL"),
            ("https://user:p@55/pa55@quay.io/a", "`https://***@quay.io/a` is a URL"),
            ("user:pa55@quay.io/a:1", "`***@quay.io/a:1` names a user"),
            ("user:pa55@pa55@quay.io/a", "`***@quay.io/a` names a user"),
            ("pa55@quay.io/a", "`***@quay.io/a` names a user"),
            ("user:pa55@quay.io", "`quay.io` is not a digest"),
        ] {
            for digest in ["", "@DIGEST"] {
                let text = format!("{text}{}", digest.replace("DIGEST", DIGEST));
                let error = text.parse::<Reference>().unwrap_err();
                assert!(!format!("{error} {error:?}").contains("pa55"), "{text}: {error:?}");
                let shown = shown.split('`').nth(1).unwrap();
                assert!(error.to_string().contains(shown), "{text}: {error}");
            }
            assert!(text.parse::<Reference>().unwrap_err().to_string().starts_with(shown), "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC{0,60}") {
            let _ = text.parse::<Reference>();
        }

        #[test]
        fn a_printed_reference_parses_back(
            host in "[a-z]{1,8}\\.[a-z]{2,4}(:[1-9][0-9]{0,3})?",
            path in "[a-z0-9]{1,6}((\\.|_|__|-{1,3})[a-z0-9]{1,6}){0,2}(/[a-z0-9]{1,6}){0,3}",
            tag in "[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}",
            pinned in any::<bool>(),
        ) {
            let digest = if pinned { format!("@{DIGEST}") } else { String::new() };
            let text = format!("{host}/{path}:{tag}{digest}");
            let reference: Reference = text.parse().unwrap();
            prop_assert_eq!(reference.to_string(), text);
        }
    }

    #[test]
    fn a_long_text_is_not_repeated_completely_bug() {
        for text in [
            "a ".repeat(10_000),
            format!("https://{}", "a".repeat(10_000)),
            format!("a:{}", "b".repeat(10_000)),
        ] {
            let error = text.parse::<Reference>().unwrap_err().to_string();
            assert!(error.len() < 500 && error.contains('…'), "{error}");
        }
    }
}
