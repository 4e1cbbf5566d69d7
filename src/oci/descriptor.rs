//! Descriptors: the edges of an image's graph (OCI image specification, "Content Descriptors").

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Digest, MediaType, Platform, digest::DigestError};

/// A parent's description of a child: type, digest, size in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The child's media type.
    pub media_type: MediaType,
    /// The child's digest.
    pub digest: Digest,
    /// The child's size in bytes.
    pub size: u64,
    /// For a child of an index: the platform it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Whether the parent marks it as an attestation.
    #[serde(skip)]
    pub attestation: bool,
    /// The manifest that the attestation is about.
    #[serde(skip)]
    pub about: Option<Digest>,
    /// Alternative URLs of the child, as written in the parent.
    #[serde(skip)]
    pub urls: Urls,
    /// The child's bytes, if the parent contains them.
    #[serde(skip)]
    pub inline: InlineData,
}

/// The bytes of a descriptor's `data` field, verified against its digest and size; none if they do not match.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct InlineData(Option<Box<Bytes>>);

impl InlineData {
    /// The verified bytes.
    #[must_use]
    pub fn bytes(&self) -> Option<&Bytes> {
        self.0.as_deref()
    }

    fn read(data: Option<&str>, digest: &Digest, size: u64) -> Self {
        let decode = |data: &str| {
            let bytes = STANDARD.decode(data).ok()?;
            (bytes.len() as u64 == size && digest.matches(&bytes)).then(|| Bytes::from(bytes))
        };
        Self(data.and_then(decode).map(Box::new))
    }
}

impl fmt::Debug for InlineData {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} bytes", self.0.as_deref().map(Bytes::len))
    }
}

/// Unparsed URLs. They may be signed or hold passwords, so `Debug` shows only their number.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Urls(Option<Box<[String]>>);

impl Urls {
    /// The URLs as written.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl fmt::Debug for Urls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} URLs", self.as_slice().len())
    }
}

impl Descriptor {
    /// A descriptor without platform and annotations.
    #[must_use]
    pub fn new(media_type: MediaType, digest: Digest, size: u64) -> Self {
        Self {
            media_type,
            digest,
            size,
            platform: None,
            attestation: false,
            about: None,
            urls: Urls::default(),
            inline: InlineData::default(),
        }
    }

    /// Whether it is an attestation: annotated as one, or for platform `unknown/unknown`.
    #[must_use]
    pub fn is_attestation(&self) -> bool {
        self.attestation || self.platform.as_ref().is_some_and(Platform::is_unknown)
    }

    /// The platform, unless it is an attestation's `unknown/unknown`.
    #[must_use]
    pub fn runnable_platform(&self) -> Option<&Platform> {
        self.platform.as_ref().filter(|_| !self.is_attestation())
    }
}

impl TryFrom<&oci_spec::image::Descriptor> for Descriptor {
    type Error = DigestError;

    fn try_from(read: &oci_spec::image::Descriptor) -> Result<Self, DigestError> {
        let platform = read.platform().as_ref().map(|platform| {
            Platform::new(
                &platform.os().to_string(),
                &platform.architecture().to_string(),
                platform.variant().as_deref(),
            )
        });
        let annotation =
            |name: &str| read.annotations().as_ref().and_then(|annotations| annotations.get(name));
        let attestation =
            annotation("vnd.docker.reference.type").is_some_and(|kind| kind == "attestation-manifest");
        let about = annotation("vnd.docker.reference.digest").and_then(|digest| digest.parse().ok());
        let digest: Digest = read.digest().to_string().parse()?;
        let inline = InlineData::read(read.data().as_deref(), &digest, read.size());
        Ok(Self {
            media_type: read.media_type().to_string().as_str().into(),
            digest,
            size: read.size(),
            platform,
            attestation,
            about,
            urls: Urls(read.urls().clone().filter(|urls| !urls.is_empty()).map(Vec::into_boxed_slice)),
            inline,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inline_data_counts_only_if_it_matches_digest_and_size() {
        let digest = Digest::sha256(b"{}");
        let inline = |data: &str, size| InlineData::read(Some(data), &digest, size).bytes().cloned();
        assert_eq!(inline("e30=", 2).as_deref(), Some(b"{}".as_slice()));
        for (data, size) in [("e30=", 3), ("e31=", 2), ("", 2), ("e30", 2), ("not base64!", 2)] {
            assert_eq!(inline(data, size), None, "{data} {size}");
        }
        assert_eq!(InlineData::read(None, &digest, 2).bytes(), None);
    }
}
