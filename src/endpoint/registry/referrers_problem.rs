//! Errors of lists of referrers, with hints.

use crate::{
    error::hide_repeated,
    oci::{MediaType, attachment::is_attachment_tag},
};

/// Why the referrers of a manifest cannot be listed or recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferrersProblem {
    /// The registry lists more than are read.
    #[error("it has more than {0} referrers")]
    TooMany(usize),
    /// The tag of the fallback index has another content.
    #[error("the tag belongs to an index of referrers, but it points to a manifest of type `{}`", hide_repeated(.0.as_str()).escape_debug())]
    TagTaken(MediaType),
    /// Other writers replaced the fallback index each time.
    #[error("another client replaced this index of referrers each of the {0} times that it was written")]
    Contested(u32),
    /// The fallback index is larger than registries accept.
    #[error("the index of referrers would have {0} bytes, more than a manifest may have")]
    IndexTooLarge(usize),
}

impl ReferrersProblem {
    pub(super) fn remedy(&self, registry: &str) -> String {
        match self {
            Self::TooMany(_) | Self::IndexTooLarge(_) => {
                "delete old referrers (SBOMs, scan results), or copy only signatures with --referrers signatures"
                    .to_owned()
            }
            Self::TagTaken(_) => format!(
                "{registry} has no referrers API, so clients look for signatures under this tag: rename or delete what \
                 it points to"
            ),
            Self::Contested(_) => "run the same command again when no other client pushes to this image".to_owned(),
        }
    }
}

/// What to do about an immutable tag that names the attachments of an image, which change when one is added.
pub(super) fn immutable_tag_remedy(name: &str, registry: &str) -> Option<String> {
    let (_, tag) = name.rsplit_once(':').filter(|(_, tag)| is_attachment_tag(tag))?;
    let pattern = tag.split('-').next().unwrap_or(tag);
    Some(format!(
        "tags like this change whenever an image gets another signature: exclude `{pattern}-*` from tag immutability at \
         {registry} (Amazon ECR: an exclusion filter of the repository)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_tags_of_attachments_are_excluded_from_immutability() {
        let name = |suffix: &str| format!("reg.example.com:5000/app:sha256-{}{suffix}", "0".repeat(64));
        for suffix in ["", ".sig", ".att"] {
            let remedy = immutable_tag_remedy(&name(suffix), "reg.example.com:5000").unwrap();
            assert!(remedy.contains("exclude `sha256-*`"), "{remedy}");
        }
        assert_eq!(immutable_tag_remedy("reg.example.com:5000/app:1.0", "reg.example.com:5000"), None);
    }
}
