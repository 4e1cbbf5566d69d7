//! Manifests that are attached to other manifests: signatures, attestations, SBOMs.
//!
//! A manifest is attached by its `subject` (OCI image specification, "Image Manifest"), or, in cosign's older format, by
//! a tag that is made of the digest of the image. The tag of a fallback index (distribution specification, "Referrers
//! Tag Schema") has the same form.

use super::{Descriptor, Digest};

/// The suffixes of the tags that cosign's older format attaches: a signature, an attestation, an SBOM.
const COSIGN_SUFFIXES: [&str; 3] = ["sig", "att", "sbom"];

/// How a manifest is attached to another one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Link {
    /// Its `subject` names the other manifest.
    Subject,
    /// This tag in the repository of the image, `sha256-HEX` with the suffix `.sig`, `.att` or `.sbom`.
    Tag(String),
}

impl Link {
    /// The tag, if it is attached by one.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        match self {
            Self::Tag(tag) => Some(tag),
            Self::Subject => None,
        }
    }
}

/// A manifest that is attached to another one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Attachment {
    /// How it is described where it was found. Only the digest is verified.
    pub descriptor: Descriptor,
    /// What it is, if that is known without reading it: its artifact type, or the media type of its config.
    pub artifact_type: Option<String>,
    /// How it is attached.
    pub link: Link,
}

/// The tag of the index that lists the referrers of a manifest at a registry without the referrers API: `sha256-HEX`,
/// shortened as the specification demands.
#[must_use]
pub(crate) fn fallback_tag(subject: &Digest) -> String {
    let (algorithm, hex) = subject.as_str().split_once(':').unwrap_or((subject.as_str(), ""));
    let cut = |text: &str, longest: usize| text.chars().take(longest).collect::<String>();
    format!("{}-{}", cut(algorithm, 32), cut(hex, 64))
}

/// The tags under which cosign's older format attaches manifests to this one: `sha256-HEX.sig`, `.att` and `.sbom`.
#[must_use]
pub(crate) fn cosign_tags(subject: &Digest) -> [String; 3] {
    let name = subject.as_str().replacen(':', "-", 1);
    COSIGN_SUFFIXES.map(|suffix| format!("{name}.{suffix}"))
}

/// Whether a tag belongs to another manifest: a fallback index, or an attachment in cosign's older format.
#[must_use]
pub(crate) fn is_attachment_tag(tag: &str) -> bool {
    let (name, suffix) = tag.split_once('.').map_or((tag, None), |(name, suffix)| (name, Some(suffix)));
    let is_digest = name.split_once('-').is_some_and(|(algorithm, hex)| {
        matches!((algorithm, hex.len()), ("sha256", 64) | ("sha512", 64 | 128))
            && hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    });
    is_digest && suffix.is_none_or(|suffix| COSIGN_SUFFIXES.contains(&suffix))
}

/// The digest in a tag that [`is_attachment_tag`] recognizes: of the manifest that it belongs to.
pub(crate) fn subject_of_tag(tag: &str) -> Option<Digest> {
    let name = tag.split('.').next().unwrap_or(tag);
    name.replacen('-', ":", 1).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{Algorithm, Hasher};

    #[test]
    fn the_tags_of_a_digest_have_its_digits_and_belong_to_it() {
        let digest = Digest::sha256(b"image");
        let hex = digest.hex();
        assert_eq!(fallback_tag(&digest), format!("sha256-{hex}"));
        assert_eq!(cosign_tags(&digest)[0], format!("sha256-{hex}.sig"));
        for tag in cosign_tags(&digest).iter().chain([&fallback_tag(&digest)]) {
            assert!(is_attachment_tag(tag), "{tag}");
        }
        let mut long = Hasher::new(Algorithm::Sha512);
        long.update(b"image");
        let long = long.finish();
        assert_eq!(fallback_tag(&long), format!("sha512-{}", &long.hex()[..64]));
        assert!(is_attachment_tag(&fallback_tag(&long)) && is_attachment_tag(&cosign_tags(&long)[2]));
    }

    #[test]
    fn tags_of_images_belong_to_no_other_manifest() {
        let hex = "0".repeat(64);
        let others = [
            "1.0".to_owned(),
            "sha256-0123".to_owned(),
            format!("sha256-{hex}.zip"),
            format!("mirror-{hex}"),
        ];
        for tag in others {
            assert!(!is_attachment_tag(&tag), "{tag}");
        }
    }
}
