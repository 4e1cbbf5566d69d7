//! The names in requests, validated before they become part of a path on disk.

use std::fmt;

use crate::oci::{Reference, Repository, reference::ReferenceError};

/// A placeholder for this registry where the grammar of [`Repository`] requires a host.
const THIS_REGISTRY: &str = "localhost";

/// A repository of this registry: slash-separated components as in the OCI distribution specification, "Pulling
/// manifests". No component begins with `.` or `_`, so none can leave the folder or collide with the folders of the
/// store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct RepositoryName(Repository);

impl RepositoryName {
    /// Checks the grammar.
    pub(super) fn new(path: &str) -> Result<Self, ReferenceError> {
        Repository::new(THIS_REGISTRY, path).map(Self)
    }

    /// The name in URLs.
    pub(super) fn as_str(&self) -> &str {
        self.0.path()
    }
}

impl AsRef<str> for RepositoryName {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TagName(String);

impl TagName {
    /// Checks the grammar.
    pub(super) fn new(text: &str) -> Result<Self, ReferenceError> {
        let repository = Repository::new(THIS_REGISTRY, "tag")?;
        Reference::tagged(repository, text)?;
        Ok(Self(text.to_owned()))
    }

    /// The tag in URLs.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for TagName {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for TagName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// An upload session's identifier: 128 random bits, so that no client can guess another's session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct UploadId(String);

impl UploadId {
    /// A new identifier from the system's random number generator.
    pub(super) fn random() -> std::io::Result<Self> {
        let high = getrandom::u64()?;
        let low = getrandom::u64()?;
        Ok(Self(format!("{high:016x}{low:016x}")))
    }

    /// Parses an identifier in a URL; `None` if this registry cannot have issued it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let fine = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        fine.then(|| Self(text.to_owned()))
    }

    /// 32 lower-case hexadecimal digits.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_the_folder_or_meet_the_stores_own_folders() {
        for path in
            ["", ".", "..", "a/../b", "/a", "a/", "_tags", "a/_manifests", "a\\b", "A", "a%2fb", "a\0"]
        {
            assert!(RepositoryName::new(path).is_err(), "{path:?}");
        }
        for tag in ["", ".", "..", ".hidden", "-a", "a/b", "a\0", "é"] {
            assert!(TagName::new(tag).is_err(), "{tag:?}");
        }
    }

    #[test]
    fn upload_ids_are_distinct_and_read_back() {
        let id = UploadId::random().unwrap();
        assert_ne!(id, UploadId::random().unwrap());
        assert_eq!(UploadId::parse(id.as_str()), Some(id));
        assert_eq!(UploadId::parse("../../../../../../../etc/passwd0"), None);
    }
}
