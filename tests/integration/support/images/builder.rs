//! Builds the manifests and blobs of an image.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};
use thoras_mirror::oci::{
    Digest,
    media_type::{DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST},
};

use super::{LAYER_SIZE, PLATFORMS, SampleImage, SampleManifest};

/// Which family of media types an image uses.
#[derive(Clone, Copy)]
pub(super) enum Format {
    Oci,
    Docker,
}

impl Format {
    pub(super) fn index(self) -> &'static str {
        match self {
            Self::Oci => OCI_INDEX,
            Self::Docker => DOCKER_INDEX,
        }
    }

    pub(super) fn manifest(self) -> &'static str {
        match self {
            Self::Oci => OCI_MANIFEST,
            Self::Docker => DOCKER_MANIFEST,
        }
    }

    pub(super) fn config(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.config.v1+json",
            Self::Docker => "application/vnd.docker.container.image.v1+json",
        }
    }

    pub(super) fn layer(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Docker => "application/vnd.docker.image.rootfs.diff.tar.gzip",
        }
    }
}

/// Collects manifests and blobs; every method returns the descriptor of what it added.
pub(super) struct Builder {
    pub(super) name: String,
    pub(super) layer_size: usize,
    pub(super) says_media_types: bool,
    pub(super) manifests: Vec<SampleManifest>,
    pub(super) blobs: BTreeMap<Digest, Bytes>,
}

impl Builder {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            layer_size: LAYER_SIZE,
            says_media_types: true,
            manifests: Vec::new(),
            blobs: BTreeMap::new(),
        }
    }

    pub(super) fn into_image(self) -> SampleImage {
        SampleImage { tag: self.name, manifests: self.manifests, blobs: self.blobs }
    }

    pub(super) fn multi_platform(mut self, format: Format) -> Self {
        let children = PLATFORMS.map(|platform| self.platform_image(format, platform, &[]));
        self.index(format, &children);
        self
    }

    /// An image with a base layer that all images for this platform share, its own layer, and `more`.
    pub(super) fn platform_image(
        &mut self,
        format: Format,
        (architecture, variant): (&str, Option<&str>),
        more: &[Value],
    ) -> Value {
        let mut platform = json!({ "architecture": architecture, "os": "linux" });
        if let Some(variant) = variant {
            platform["variant"] = variant.into();
        }
        let base = self.blob(
            format.layer(),
            compressed(format.layer(), &format!("base/{architecture}"), self.layer_size),
        );
        let own = self.layer(architecture, format.layer());
        let mut config = platform.clone();
        config["config"] = json!({ "Labels": { "name": self.name } });
        config["rootfs"] = json!({ "type": "layers", "diff_ids": [base["digest"], own["digest"]] });
        let config = self.blob(format.config(), config.to_string());
        let mut image = self.manifest(format, &config, &[&[base, own], more].concat());
        image["platform"] = platform;
        image
    }

    pub(super) fn large_manifest(&mut self, number: usize, bytes: usize) -> Value {
        let format = Format::Oci;
        let layer = self.layer("shared", format.layer());
        let config =
            json!({ "os": "linux", "architecture": "amd64", "config": { "Labels": { "name": self.name } } });
        let config = self.blob(format.config(), config.to_string());
        let annotations = json!({ "number": number.to_string(), "padding": "x".repeat(bytes) });
        let contents = json!({ "config": config, "layers": [layer], "annotations": annotations });
        self.document(format.manifest(), contents)
    }

    pub(super) fn layer(&mut self, seed: &str, media_type: &str) -> Value {
        self.blob(media_type, compressed(media_type, &format!("{}/{seed}", self.name), self.layer_size))
    }

    pub(super) fn blob(&mut self, media_type: &str, bytes: impl Into<Bytes>) -> Value {
        let bytes = bytes.into();
        self.blob_under(Digest::sha256(&bytes), media_type, bytes)
    }

    pub(super) fn blob_under(&mut self, digest: Digest, media_type: &str, bytes: impl Into<Bytes>) -> Value {
        let bytes = bytes.into();
        let descriptor = descriptor(media_type, &digest, &bytes);
        self.blobs.insert(digest, bytes);
        descriptor
    }

    pub(super) fn manifest(&mut self, format: Format, config: &Value, layers: &[Value]) -> Value {
        let media_type = format.manifest();
        self.document(media_type, json!({ "config": config, "layers": layers }))
    }

    pub(super) fn index(&mut self, format: Format, manifests: &[Value]) -> Value {
        let media_type = format.index();
        self.document(media_type, json!({ "manifests": manifests }))
    }

    pub(super) fn document(&mut self, media_type: &str, mut contents: Value) -> Value {
        let mut document = json!({ "schemaVersion": 2 });
        if self.says_media_types {
            document["mediaType"] = media_type.into();
        }
        document.as_object_mut().unwrap().append(contents.as_object_mut().unwrap());
        self.manifest_bytes(media_type, document.to_string())
    }

    pub(super) fn manifest_bytes(&mut self, media_type: &str, bytes: String) -> Value {
        let bytes = Bytes::from(bytes);
        let digest = Digest::sha256(&bytes);
        let descriptor = descriptor(media_type, &digest, &bytes);
        self.manifests.push(SampleManifest { digest, media_type: media_type.to_owned(), bytes });
        descriptor
    }
}

pub(super) fn descriptor(media_type: &str, digest: &Digest, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest.as_str(), "size": bytes.len() })
}

/// Pseudo-random bytes that start with the magic number of this media type's compression (RFC 1952, RFC 8878).
pub(super) fn compressed(media_type: &str, seed: &str, length: usize) -> Vec<u8> {
    let magic: &[u8] =
        if media_type.ends_with("gzip") { &[0x1f, 0x8b, 8] } else { &[0x28, 0xb5, 0x2f, 0xfd] };
    [magic, &pseudo_random(seed, length - magic.len())].concat()
}

/// Bytes that depend on `seed` alone and do not compress (xorshift64*, Vigna 2016).
pub fn pseudo_random(seed: &str, length: usize) -> Vec<u8> {
    let mut state = u64::from_str_radix(&Digest::sha256(seed.as_bytes()).hex()[..16], 16).unwrap() | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes()
    });
    words.flatten().take(length).collect()
}
