//! Reads the entries of a list of referrers: a page of the API, or a fallback index.
//!
//! An entry is kept without its annotations, so that the memory for thousands of referrers does not depend on what they
//! say about themselves.

use std::collections::HashSet;

use serde::Deserialize;

use crate::{
    endpoint::{
        Cause,
        registry::{RegistryError, referrers_problem::ReferrersProblem},
    },
    oci::{Attachment, Descriptor, Digest, Link, ManifestError, MediaType, json_problem::json_problem},
};

/// The maximum number of referrers of one manifest.
const MAX_REFERRERS: usize = 50_000;

#[derive(Deserialize)]
struct Page {
    /// Some registries write `null` for an empty list.
    manifests: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    media_type: String,
    digest: String,
    size: u64,
    artifact_type: Option<String>,
}

/// Referrers in the order of the list, each once.
#[derive(Debug, Default)]
pub(super) struct AttachmentList {
    attachments: Vec<Attachment>,
    known: HashSet<Digest>,
}

impl AttachmentList {
    /// Adds the entries of a page. An invalid entry is an error: it is a referrer that cannot be read.
    pub(super) fn add(&mut self, page: &[u8]) -> Result<(), Cause> {
        let page: Page =
            serde_json::from_slice(page).map_err(|error| ManifestError::Unreadable(json_problem(&error)))?;
        for entry in page.manifests.unwrap_or_default() {
            let digest: Digest = entry.digest.parse().map_err(ManifestError::from)?;
            if !self.known.insert(digest.clone()) {
                continue;
            }
            if self.known.len() > MAX_REFERRERS {
                return Err(RegistryError::Referrers(ReferrersProblem::TooMany(MAX_REFERRERS)).into());
            }
            self.attachments.push(Attachment {
                descriptor: Descriptor::new(MediaType::from(entry.media_type.as_str()), digest, entry.size),
                artifact_type: entry.artifact_type.filter(|text| !text.is_empty()),
                link: Link::Subject,
            });
        }
        Ok(())
    }

    pub(super) fn into_attachments(self) -> Vec<Attachment> {
        self.attachments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(digest: &str) -> String {
        format!(r#"{{"mediaType":"application/x","digest":"{digest}","size":3,"artifactType":""}}"#)
    }

    #[test]
    fn repeated_entries_count_once_and_empty_lists_are_empty() {
        let digest = Digest::sha256(b"1");
        let mut list = AttachmentList::default();
        for page in [
            format!(r#"{{"manifests":[{0},{0}]}}"#, entry(digest.as_str())),
            r#"{"manifests":null}"#.to_owned(),
            "{}".to_owned(),
            format!(r#"{{"manifests":[{}]}}"#, entry(digest.as_str())),
        ] {
            list.add(page.as_bytes()).unwrap();
        }
        let [attachment] = &list.into_attachments()[..] else { panic!("one") };
        assert_eq!((&attachment.descriptor.digest, &attachment.artifact_type), (&digest, &None));
    }

    #[test]
    fn invalid_entries_are_errors() {
        for page in [
            format!(r#"{{"manifests":[{}]}}"#, entry("sha256:../../etc/passwd")),
            format!(r#"{{"manifests":[{}]}}"#, entry(&format!("md5:{}", "0".repeat(32)))),
            r#"{"manifests":[{"digest":"x"}]}"#.to_owned(),
            r#"{"manifests":{}}"#.to_owned(),
            "<html>".to_owned(),
        ] {
            let error = AttachmentList::default().add(page.as_bytes()).unwrap_err();
            assert!(!error.to_string().is_empty(), "{page}");
        }
    }
}
