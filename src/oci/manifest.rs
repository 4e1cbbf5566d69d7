//! Manifests: the exact bytes, and a typed view of their content.
//!
//! The bytes are never serialized again from the view, which would change the digest.

mod error;
mod view;

use bytes::Bytes;
use serde::Deserialize;

pub use self::error::ManifestError;
use super::{
    Descriptor, Digest, MediaType, Sizes,
    descriptor::InlineData,
    json_problem::json_problem,
    media_type::{OCI_INDEX, OCI_MANIFEST, Structure},
};

/// The largest manifest that is read, in bytes. The specification requires registries to accept at least 4 MiB.
pub(crate) const MAX_MANIFEST_SIZE: usize = 8 * 1024 * 1024;

/// The largest manifest whose descriptors keep their inline data, in bytes.
const MAX_SIZE_WITH_INLINE_DATA: usize = 1024 * 1024;

/// How gzip begins.
const GZIP: &[u8] = &[0x1f, 0x8b];

/// A manifest's exact bytes, its digest and its media type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawManifest {
    media_type: MediaType,
    digest: Digest,
    bytes: Bytes,
}

/// What a manifest references.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    /// An index: other manifests, in order.
    Index {
        /// The children.
        manifests: Vec<Descriptor>,
        /// The manifest that this one is about.
        subject: Option<Descriptor>,
    },
    /// An image or artifact manifest: blobs.
    Image {
        /// The config blob.
        config: Descriptor,
        /// The layers, lowest first.
        layers: Vec<Descriptor>,
        /// The manifest that this one is about.
        subject: Option<Descriptor>,
    },
}

impl Contents {
    /// Makes the digests of what it references share memory with equal ones, if there are any.
    pub(crate) fn sharing<'a>(mut self, equal: impl Fn(&Digest) -> Option<&'a Digest>) -> Self {
        let (many, one) = match &mut self {
            Self::Index { manifests, .. } => (manifests, None),
            Self::Image { layers, config, .. } => (layers, Some(config)),
        };
        for descriptor in many.iter_mut().chain(one) {
            if let Some(digest) = equal(&descriptor.digest) {
                descriptor.digest = digest.clone();
            }
        }
        self
    }

    /// Makes the digest of its subject share memory with this one, if they are equal: a manifest may be the subject of
    /// thousands.
    pub(crate) fn share_subject(&mut self, digest: &Digest) {
        let (Self::Index { subject, .. } | Self::Image { subject, .. }) = self;
        if let Some(subject) = subject.as_mut().filter(|subject| subject.digest == *digest) {
            subject.digest = digest.clone();
        }
    }
}

/// The fields that decide the type of a manifest. Checked before the rest is parsed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: Option<u64>,
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    layers: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    config: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    fs_layers: Option<serde::de::IgnoredAny>,
}

impl RawManifest {
    /// Reads bytes that a registry served with `content_type`: checks them against the requested digest, if any, and
    /// determines the media type.
    pub fn read(
        content_type: Option<&str>,
        bytes: Bytes,
        expected: Option<&Digest>,
    ) -> Result<Self, ManifestError> {
        let digest = match expected {
            Some(expected) => {
                let mut hasher = expected.hasher();
                hasher.update(&bytes);
                let found = hasher.finish();
                if found != *expected {
                    return Err(ManifestError::Digest { expected: expected.clone(), found });
                }
                // Equal digests share memory.
                expected.clone()
            }
            None => Digest::sha256(&bytes),
        };
        let media_type = decide_media_type(content_type, &bytes)?;
        Ok(Self { media_type, digest, bytes })
    }

    /// The media type to push it with.
    #[must_use]
    pub fn media_type(&self) -> &MediaType {
        &self.media_type
    }

    /// The digest of the bytes.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The exact bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Its length in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// A descriptor of this manifest, without a platform.
    #[must_use]
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(self.media_type.clone(), self.digest.clone(), self.size())
    }

    /// Checks the size against the parent's descriptor.
    pub fn check_size(&self, expected: &Descriptor) -> Result<(), ManifestError> {
        if self.size() == expected.size {
            return Ok(());
        }
        Err(ManifestError::Size { digest: self.digest.clone(), expected: expected.size, found: self.size() })
    }

    /// The same manifest in memory of its own. Bytes that were read may share a larger allocation, or count towards a
    /// limit while they exist.
    #[must_use]
    pub(crate) fn into_kept(self) -> Self {
        Self { bytes: Bytes::copy_from_slice(&self.bytes), ..self }
    }

    /// What it references. Refuses two sizes for one digest. Large manifests lose the data inside their descriptors.
    pub fn contents(&self) -> Result<Contents, ManifestError> {
        let mut contents = self.parsed()?;
        if self.bytes.len() > MAX_SIZE_WITH_INLINE_DATA {
            contents.drop_inline_data();
        }
        Ok(contents)
    }

    fn parsed(&self) -> Result<Contents, ManifestError> {
        let unreadable = |error: serde_json::Error| ManifestError::Unreadable(json_problem(&error));
        match self.media_type.structure() {
            Structure::Index => {
                let index: view::Index = serde_json::from_slice(&self.bytes).map_err(unreadable)?;
                let manifests = descriptors(&index.manifests)?;
                Sizes::default().add(&manifests)?;
                Ok(Contents::Index {
                    manifests,
                    subject: index.subject.as_ref().map(Descriptor::try_from).transpose()?,
                })
            }
            Structure::Image => {
                let image: view::Image = serde_json::from_slice(&self.bytes).map_err(unreadable)?;
                let (config, layers) = ((&image.config).try_into()?, descriptors(&image.layers)?);
                Sizes::default().add(layers.iter().chain([&config]))?;
                Ok(Contents::Image {
                    config,
                    layers,
                    subject: image.subject.as_ref().map(Descriptor::try_from).transpose()?,
                })
            }
            Structure::Schema1 => Err(ManifestError::Schema1),
            Structure::Unknown => {
                Err(ManifestError::Unreadable(format!("its media type is `{}`", self.media_type)))
            }
        }
    }
}

impl Contents {
    fn drop_inline_data(&mut self) {
        let (many, one) = match self {
            Self::Index { manifests, .. } => (manifests, None),
            Self::Image { layers, config, .. } => (layers, Some(config)),
        };
        for descriptor in many.iter_mut().chain(one) {
            descriptor.inline = InlineData::default();
        }
    }
}

fn descriptors(read: &[oci_spec::image::Descriptor]) -> Result<Vec<Descriptor>, ManifestError> {
    let converted =
        read.iter().map(|descriptor| Descriptor::try_from(descriptor).map_err(ManifestError::from));
    // Not a list: it would have room for four, and most have one.
    converted.collect::<Result<Box<[_]>, _>>().map(Vec::from)
}

/// The body's `mediaType` applies if the header is not specific; otherwise both must agree.
fn decide_media_type(content_type: Option<&str>, bytes: &[u8]) -> Result<MediaType, ManifestError> {
    if bytes.starts_with(GZIP) {
        // No decoder is used, so that the bytes that are hashed are those that arrived.
        let reason = "it is compressed (gzip), although no compression was requested: a proxy may do that";
        return Err(ManifestError::Unreadable(reason.to_owned()));
    }
    let shape: Shape =
        serde_json::from_slice(bytes).map_err(|error| ManifestError::Unreadable(json_problem(&error)))?;
    if shape.manifests.is_some() && (shape.layers.is_some() || shape.config.is_some()) {
        return Err(ManifestError::Ambiguous);
    }
    if shape.fs_layers.is_some() || shape.schema_version == Some(1) {
        return Err(ManifestError::Schema1);
    }
    let served = content_type
        .and_then(|text| text.split(';').next())
        .map(|text| MediaType::from(text.trim()))
        .filter(|media_type| media_type.structure() != Structure::Unknown);
    let claimed = shape.media_type.as_deref().map(MediaType::from);
    let media_type = match (served, claimed) {
        (Some(served), Some(claimed)) if served != claimed => {
            return Err(ManifestError::TypeConfusion { served, claimed });
        }
        (Some(media_type), _) | (None, Some(media_type)) => media_type,
        (None, None) if shape.manifests.is_some() => OCI_INDEX.into(),
        (None, None) => OCI_MANIFEST.into(),
    };
    let structure_agrees = match media_type.structure() {
        // Without any list, the content is neither, which its reader explains.
        Structure::Index => shape.manifests.is_some() || (shape.layers.is_none() && shape.config.is_none()),
        Structure::Image => shape.manifests.is_none(),
        Structure::Schema1 => return Err(ManifestError::Schema1),
        Structure::Unknown => true,
    };
    if structure_agrees { Ok(media_type) } else { Err(ManifestError::OtherContent(media_type)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::oci::media_type::DOCKER_MANIFEST;

    const BLOB: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn read(content_type: Option<&str>, text: &str) -> Result<RawManifest, ManifestError> {
        RawManifest::read(content_type, Bytes::copy_from_slice(text.as_bytes()), None)
    }

    fn image(media_type: &str) -> String {
        format!(
            r#"{{ "schemaVersion": 2, {media_type}
  "config": {{"mediaType":"application/x.new","digest":"{BLOB}","size":0}}, "layers": [ ] }}"#
        )
    }

    #[test]
    fn keeps_odd_white_space_and_unknown_media_types() {
        let text = image("");
        let manifest = read(None, &text).unwrap();
        assert_eq!(manifest.bytes(), text.as_bytes());
        assert_eq!(manifest.media_type().as_str(), OCI_MANIFEST);
        let Contents::Image { config, .. } = manifest.contents().unwrap() else { panic!("an image") };
        assert_eq!(config.media_type.as_str(), "application/x.new");
    }

    #[test]
    fn refuses_type_confusion() {
        let text = image(&format!(r#""mediaType":"{DOCKER_MANIFEST}","#));
        assert!(matches!(read(Some(OCI_MANIFEST), &text), Err(ManifestError::TypeConfusion { .. })));
        assert!(read(Some("application/json; charset=utf-8"), &text).is_ok());
        assert_eq!(read(None, r#"{"manifests":[],"layers":[]}"#), Err(ManifestError::Ambiguous));
        let error = read(Some(OCI_INDEX), &image("")).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the manifest's type is `{OCI_INDEX}`, but its content is an image")
        );
        assert_eq!(read(None, r#"{"schemaVersion":1,"fsLayers":[]}"#), Err(ManifestError::Schema1));
    }

    #[test]
    fn null_is_an_empty_list_as_for_other_tools_bug() {
        let text = image("").replace("[ ]", "null");
        let Contents::Image { layers, .. } = read(None, &text).unwrap().contents().unwrap() else { panic!() };
        assert_eq!(layers, []);
        let index = read(Some(OCI_INDEX), r#"{"schemaVersion":2,"manifests":null}"#).unwrap();
        assert_eq!(index.contents(), Ok(Contents::Index { manifests: Vec::new(), subject: None }));
        for (absent, field) in
            [(r#"{"schemaVersion":2}"#, "manifests"), (r#"{"manifests":[]}"#, "schemaVersion")]
        {
            let error = read(Some(OCI_INDEX), absent).unwrap().contents().unwrap_err();
            assert_eq!(error.to_string(), format!("invalid manifest: the field `{field}` is missing"));
        }
    }

    #[test]
    fn refuses_bytes_of_another_digest() {
        let expected: Digest = BLOB.parse().unwrap();
        let error = RawManifest::read(None, Bytes::from_static(b"{}"), Some(&expected)).unwrap_err();
        assert!(matches!(error, ManifestError::Digest { .. }));
    }

    #[test]
    fn refuses_malformed_digests_and_negative_sizes() {
        for text in [
            image("").replace(BLOB, "sha256:../../x"),
            image("").replace("\"size\":0", "\"size\":-1"),
            image("").replace("\"layers\": [ ]", "\"layers\": {}"),
        ] {
            assert!(read(None, &text).unwrap().contents().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_not_json_is_described_without_the_parsers_words() {
        for (text, expected) in [
            ("", "invalid manifest: it is empty"),
            ("Not found", "invalid manifest: it is not JSON"),
            ("{\"'x'\"", "invalid manifest: it ends in the middle of its JSON"),
            ("{\"schemaVersion\":2,", "invalid manifest: it ends in the middle of its JSON"),
        ] {
            assert_eq!(read(None, text).unwrap_err().to_string(), expected);
        }
        let incomplete = image("").replace("\"digest\"", "\"other\"");
        let error = read(None, &incomplete).unwrap().contents().unwrap_err().to_string();
        assert_eq!(error, "invalid manifest: the field `digest` is missing");
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "\\PC{0,200}") {
            if let Ok(manifest) = read(None, &text) {
                let _ = manifest.contents();
            }
        }
    }
}
