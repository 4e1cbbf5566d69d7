//! Kinds of artifacts: only container images must have platforms.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Descriptor, MediaType, chart::HELM_CONFIG};

/// What an artifact is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ArtifactKind {
    /// A container image.
    #[default]
    Image,
    /// A Helm chart.
    Chart,
    /// A WebAssembly module, for example of a proxy or a policy engine.
    Wasm,
    /// A policy, such as a bundle of Open Policy Agent.
    Policy,
    /// Any other artifact.
    Artifact,
}

impl ArtifactKind {
    /// The kind of a manifest with this config and these layers. Runtimes run only configs of images.
    #[must_use]
    pub(crate) fn of(config: &MediaType, layers: &[Descriptor]) -> Self {
        if config.is_image_config() {
            return Self::Image;
        }
        let text = config.as_str();
        let mentions = |word: &str| {
            text.contains(word) || layers.iter().any(|layer| layer.media_type.as_str().contains(word))
        };
        if text == HELM_CONFIG {
            Self::Chart
        } else if mentions("wasm") {
            Self::Wasm
        } else if mentions("openpolicyagent") || mentions("kyverno") || mentions("policy") {
            Self::Policy
        } else {
            Self::Artifact
        }
    }

    /// Whether it must have platforms. Takes a reference because serde requires it.
    #[must_use]
    pub fn is_image(&self) -> bool {
        *self == Self::Image
    }
}

impl fmt::Display for ArtifactKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Image => "image",
            Self::Chart => "chart",
            Self::Wasm => "wasm",
            Self::Policy => "policy",
            Self::Artifact => "artifact",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Digest;

    #[test]
    fn artifacts_are_known_by_their_config_or_their_layers() {
        let layer = |media_type: &str| Descriptor::new(media_type.into(), Digest::sha256(b"x"), 1);
        let tar = "application/vnd.oci.image.layer.v1.tar+gzip";
        for (config, layers, kind) in [
            ("application/vnd.oci.image.config.v1+json", vec![layer(tar)], ArtifactKind::Image),
            ("application/vnd.docker.container.image.v1+json", vec![layer(tar)], ArtifactKind::Image),
            (HELM_CONFIG, vec![], ArtifactKind::Chart),
            ("application/vnd.wasm.config.v0+json", vec![layer("application/wasm")], ArtifactKind::Wasm),
            (
                "application/vnd.oci.empty.v1+json",
                vec![layer("application/vnd.wasm.content.layer.v1+wasm")],
                ArtifactKind::Wasm,
            ),
            ("application/vnd.cncf.openpolicyagent.config.v1+json", vec![], ArtifactKind::Policy),
            (
                "application/vnd.cncf.kyverno.config.v1+json",
                vec![layer("application/vnd.cncf.kyverno.policy.layer.v1+yaml")],
                ArtifactKind::Policy,
            ),
            ("application/vnd.unknown.config.v1+json", vec![layer("text/plain")], ArtifactKind::Artifact),
            ("application/vnd.oci.empty.v1+json", vec![layer(tar)], ArtifactKind::Artifact),
        ] {
            assert_eq!(ArtifactKind::of(&config.into(), &layers), kind, "{config}");
        }
    }
}
