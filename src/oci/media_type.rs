//! Media types of manifests, and what each means for a copy.

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, LazyLock},
};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// `application/vnd.oci.image.index.v1+json`
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// `application/vnd.oci.image.manifest.v1+json`
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// `application/vnd.docker.distribution.manifest.list.v2+json`
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// `application/vnd.docker.distribution.manifest.v2+json`
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// The four types in the `Accept` header of every request for a manifest.
pub const ACCEPTED: [&str; 4] = [OCI_INDEX, DOCKER_INDEX, OCI_MANIFEST, DOCKER_MANIFEST];

/// The types of almost every descriptor. They share memory: ten thousand images have a hundred thousand descriptors.
static COMMON: LazyLock<[Arc<str>; 10]> = LazyLock::new(|| {
    [
        OCI_INDEX,
        OCI_MANIFEST,
        DOCKER_INDEX,
        DOCKER_MANIFEST,
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.docker.container.image.v1+json",
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    ]
    .map(Arc::from)
});

/// A media type, exactly as written.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct MediaType(Arc<str>);

/// A manifest's structure according to its media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Structure {
    /// A list of manifests: an OCI index or a Docker manifest list.
    Index,
    /// A config and layers.
    Image,
    /// Docker's schema 1, whose digests work differently. It is refused.
    Schema1,
    /// An unknown type.
    Unknown,
}

impl MediaType {
    /// The text as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The structure of a manifest of this type.
    #[must_use]
    pub fn structure(&self) -> Structure {
        match self.as_str() {
            OCI_INDEX | DOCKER_INDEX => Structure::Index,
            OCI_MANIFEST | DOCKER_MANIFEST => Structure::Image,
            text if text.starts_with("application/vnd.docker.distribution.manifest.v1") => Structure::Schema1,
            _ => Structure::Unknown,
        }
    }

    /// Whether it is the config of a runnable image, which names a platform.
    #[must_use]
    pub fn is_image_config(&self) -> bool {
        matches!(
            self.as_str(),
            "application/vnd.oci.image.config.v1+json" | "application/vnd.docker.container.image.v1+json"
        )
    }

    /// Whether it is a layer that may not be redistributed. Registries often do not have such layers.
    #[must_use]
    pub fn is_foreign_layer(&self) -> bool {
        self.0.contains(".nondistributable.") || self.0.contains("rootfs.foreign.")
    }
}

impl From<&str> for MediaType {
    fn from(text: &str) -> Self {
        let common = COMMON.iter().find(|common| ***common == *text);
        Self(common.map_or_else(|| text.into(), Arc::clone))
    }
}

impl<'de> Deserialize<'de> for MediaType {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Cow::<'_, str>::deserialize(input).map(|text| Self::from(&*text))
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl fmt::Debug for MediaType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl JsonSchema for MediaType {
    fn schema_name() -> Cow<'static, str> {
        "MediaType".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "description": "A media type, as the registry wrote it." })
    }
}
