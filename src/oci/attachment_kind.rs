//! Kinds of attached manifests: signatures, attestations, SBOMs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Link, RawManifest, referrer::Referrer};

/// Sigstore's bundle: a signature or an attestation.
const SIGSTORE_BUNDLE: &str = "application/vnd.dev.sigstore.bundle.";
/// The annotation with what a bundle states about its subject.
const PREDICATE: &str = "dev.sigstore.bundle.predicateType";
/// The predicate of `cosign sign`: the bundle is a signature, not an attestation.
const SIGNED: &str = "https://sigstore.dev/cosign/sign/";
/// Notation's signature.
const NOTATION: &str = "application/vnd.cncf.notary.signature";
/// The layers of a `.sig` tag.
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The layers of a `.att` tag.
const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
/// Configs that say nothing about an artifact.
const EMPTY_CONFIGS: [&str; 3] = [
    "application/vnd.oci.empty.v1+json",
    "application/vnd.unknown.config.v1+json",
    "application/vnd.oci.image.config.v1+json",
];

/// The kind of an attached manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AttachmentKind {
    /// A signature.
    Signature,
    /// A signed statement, such as the provenance of a build.
    Attestation,
    /// A list of components.
    Sbom,
    /// Anything else.
    Other,
}

/// The type of an attached manifest, and its kind. The type is its artifact type; without one, the media type of its
/// config, or of its first layer if the config says nothing.
#[must_use]
pub(crate) fn describe(manifest: &RawManifest, link: &Link) -> (String, AttachmentKind) {
    let Ok(read) = Referrer::read(manifest) else {
        let artifact_type = manifest.media_type().to_string();
        let kind = AttachmentKind::of(&artifact_type, link);
        return (artifact_type, kind);
    };
    let Referrer { stated_type, config_type, layer_type, annotations, .. } = read;
    let specific = config_type.clone().filter(|config| !EMPTY_CONFIGS.contains(&config.as_str()));
    let artifact_type = type_of_tag(link)
        .map(str::to_owned)
        .or(stated_type)
        .or(specific)
        .or(layer_type)
        .or(config_type)
        .unwrap_or_else(|| manifest.media_type().to_string());
    let predicate = annotations.as_ref().and_then(|annotations| annotations.get(PREDICATE)?.as_str());
    let kind = match predicate {
        Some(predicate) if artifact_type.starts_with(SIGSTORE_BUNDLE) && !predicate.starts_with(SIGNED) => {
            AttachmentKind::Attestation
        }
        _ => AttachmentKind::of(&artifact_type, link),
    };
    (artifact_type, kind)
}

/// The type that a tag of cosign's older format implies. Those of SBOMs differ.
pub(crate) fn type_of_tag(link: &Link) -> Option<&'static str> {
    match suffix(link)? {
        "sig" => Some(SIMPLE_SIGNING),
        "att" => Some(ENVELOPE),
        _ => None,
    }
}

fn suffix(link: &Link) -> Option<&str> {
    let Link::Tag(tag) = link else { return None };
    tag.rsplit_once('.').map(|(_, suffix)| suffix)
}

impl AttachmentKind {
    /// The kind of this type. A sigstore bundle counts as a signature unless its annotations say otherwise.
    #[must_use]
    pub fn of(artifact_type: &str, link: &Link) -> Self {
        match suffix(link) {
            Some("sig") => return Self::Signature,
            Some("att") => return Self::Attestation,
            Some("sbom") => return Self::Sbom,
            _ => {}
        }
        let lower = artifact_type.to_ascii_lowercase();
        let mentions = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        if lower.starts_with(SIGSTORE_BUNDLE)
            || mentions(&["signature", "simplesigning"])
            || lower == NOTATION
        {
            Self::Signature
        } else if mentions(&["spdx", "cyclonedx", "sbom", "syft"]) {
            Self::Sbom
        } else if mentions(&["in-toto", "dsse", "attestation", "provenance"]) {
            Self::Attestation
        } else {
            Self::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::{Value, json};

    use super::*;
    use crate::oci::Digest;

    const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

    fn described(document: &Value, link: &Link) -> (String, AttachmentKind) {
        describe(&RawManifest::read(None, Bytes::from(document.to_string()), None).unwrap(), link)
    }

    fn tag(suffix: &str) -> Link {
        Link::Tag(format!("sha256-{}.{suffix}", Digest::sha256(b"x").hex()))
    }

    #[test]
    fn a_bundle_is_a_signature_or_an_attestation_by_what_it_states() {
        let bundle = |predicate: &str| {
            json!({"artifactType": BUNDLE, "config": {"mediaType": "application/vnd.oci.empty.v1+json"}, "layers": [],
                   "annotations": {PREDICATE: predicate}})
        };
        let kind = |document: Value| described(&document, &Link::Subject).1;
        assert_eq!(kind(bundle("https://sigstore.dev/cosign/sign/v1")), AttachmentKind::Signature);
        assert_eq!(kind(bundle("https://slsa.dev/provenance/v1")), AttachmentKind::Attestation);
        assert_eq!(kind(json!({"artifactType": BUNDLE})), AttachmentKind::Signature);
    }

    #[test]
    fn the_type_is_the_most_specific_that_the_manifest_names() {
        let empty = json!({"mediaType": "application/vnd.oci.empty.v1+json"});
        let image = json!({"mediaType": "application/vnd.oci.image.config.v1+json"});
        let layer = json!([{"mediaType": "text/spdx+json"}]);
        for (document, link, expected, kind) in [
            (json!({"config": {"mediaType": NOTATION}}), Link::Subject, NOTATION, AttachmentKind::Signature),
            (json!({"artifactType": "a/b", "config": empty}), Link::Subject, "a/b", AttachmentKind::Other),
            (
                json!({"config": empty, "layers": layer}),
                Link::Subject,
                "text/spdx+json",
                AttachmentKind::Sbom,
            ),
            (json!({"config": image}), tag("sig"), SIMPLE_SIGNING, AttachmentKind::Signature),
            (json!({"config": image}), tag("att"), ENVELOPE, AttachmentKind::Attestation),
            (json!({"config": image, "layers": layer}), tag("sbom"), "text/spdx+json", AttachmentKind::Sbom),
            (
                json!({"config": {"mediaType": "application/vnd.in-toto+json"}}),
                Link::Subject,
                "application/vnd.in-toto+json",
                AttachmentKind::Attestation,
            ),
        ] {
            assert_eq!(described(&document, &link), (expected.to_owned(), kind), "{document}");
        }
    }
}
