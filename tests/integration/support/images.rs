//! Small images in every shape that registries hold, built from a name: the same name, the same bytes.
//!
//! Layers are pseudo-random bytes, not archives: the program must not depend on their content. Only their first bytes
//! are those of their media type's compression, since skopeo would compress other layers while it copies.

mod builder;

use std::{collections::BTreeMap, path::Path};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde_json::{Value, json};
use thoras_mirror::oci::{
    Algorithm, Digest, Hasher,
    media_type::{OCI_INDEX, OCI_MANIFEST},
};

pub use self::builder::pseudo_random;
use self::builder::{Builder, Format, compressed, descriptor};

/// The platforms of the images that have several, as `(architecture, variant)` of Linux.
const PLATFORMS: [(&str, Option<&str>); 2] = [("amd64", None), ("arm64", Some("v8"))];

/// The default size of a layer in bytes: several TCP segments, still fast.
const LAYER_SIZE: usize = 20_000;

/// One manifest of an image.
#[derive(Debug, Clone)]
pub struct SampleManifest {
    /// The digest of `bytes`.
    pub digest: Digest,
    /// The media type it is served with.
    pub media_type: String,
    /// The exact bytes.
    pub bytes: Bytes,
}

/// An image with all of its content.
#[derive(Debug, Clone)]
pub struct SampleImage {
    /// Its tag, after its name.
    pub tag: String,
    /// Children before parents, the root last.
    pub manifests: Vec<SampleManifest>,
    /// Configs and layers.
    pub blobs: BTreeMap<Digest, Bytes>,
}

impl SampleImage {
    /// An OCI index for linux/amd64 and linux/arm64/v8. All such images share their base layers.
    pub fn multi_platform(name: &str) -> Self {
        Builder::new(name).multi_platform(Format::Oci).into_image()
    }

    /// The same in Docker's format: a manifest list.
    pub fn docker(name: &str) -> Self {
        Builder::new(name).multi_platform(Format::Docker).into_image()
    }

    /// An OCI index for linux/amd64 and its variants, with this many children whose manifests have at least this many
    /// bytes each.
    pub fn with_large_manifests(name: &str, children: usize, bytes: usize) -> Self {
        let mut builder = Builder::new(name);
        let children: Vec<Value> = (0..children)
            .map(|number| {
                let mut child = builder.large_manifest(number, bytes);
                child["platform"] = json!({ "os": "linux", "architecture": "amd64" });
                if number > 0 {
                    child["platform"]["variant"] = format!("v{number}").into();
                }
                child
            })
            .collect();
        builder.index(Format::Oci, &children);
        builder.into_image()
    }

    /// One OCI manifest of at least this many bytes, for linux/amd64.
    pub fn with_large_manifest(name: &str, bytes: usize) -> Self {
        let mut builder = Builder::new(name);
        builder.large_manifest(0, bytes);
        builder.into_image()
    }

    /// An OCI index with this many small manifests for linux/amd64, which share a config and this many small layers.
    pub fn of_many_parts(name: &str, manifests: usize, layers: usize) -> Self {
        let mut builder = Builder::new(name);
        builder.layer_size = 100;
        let layers: Vec<Value> =
            (0..layers).map(|number| builder.layer(&number.to_string(), Format::Oci.layer())).collect();
        let config = json!({ "os": "linux", "architecture": "amd64" }).to_string();
        let config = builder.blob(Format::Oci.config(), config);
        let children = (0..manifests).map(|number| {
            let annotations = json!({ "number": number.to_string() });
            let contents = json!({ "config": config, "layers": layers, "annotations": annotations });
            let mut child = builder.document(OCI_MANIFEST, contents);
            child["platform"] =
                json!({ "os": "linux", "architecture": "amd64", "variant": format!("v{number}") });
            child
        });
        let children: Vec<Value> = children.collect();
        builder.index(Format::Oci, &children);
        builder.into_image()
    }

    /// The same image with the bytes of its config inside the only manifest: as they are, or changed by `change`.
    #[must_use]
    pub fn with_inline_config(mut self, change: impl Fn(&mut Vec<u8>)) -> Self {
        let root = self.manifests.pop().unwrap();
        let mut document: Value = serde_json::from_slice(&root.bytes).unwrap();
        let digest: Digest = document["config"]["digest"].as_str().unwrap().parse().unwrap();
        let mut config = self.blobs[&digest].to_vec();
        change(&mut config);
        document["config"]["data"] = BASE64_STANDARD.encode(config).into();
        let bytes = Bytes::from(document.to_string());
        let digest = Digest::sha256(&bytes);
        self.manifests.push(SampleManifest { digest, media_type: root.media_type, bytes });
        self
    }

    /// An OCI index whose layers have this many bytes each.
    pub fn with_layer_size(name: &str, bytes: usize) -> Self {
        let mut builder = Builder::new(name);
        builder.layer_size = bytes;
        builder.multi_platform(Format::Oci).into_image()
    }

    /// One OCI manifest for linux/amd64 with a third layer of this many bytes.
    pub fn with_large_layer(name: &str, bytes: usize) -> Self {
        let mut builder = Builder::new(name);
        let layer = builder.blob(Format::Oci.layer(), compressed(Format::Oci.layer(), "large", bytes));
        builder.platform_image(Format::Oci, PLATFORMS[0], &[layer]);
        builder.into_image()
    }

    /// An OCI index for linux/amd64 and linux/arm64/v8; the former has a third layer of this many bytes.
    pub fn multi_platform_with_large_layer(name: &str, bytes: usize) -> Self {
        let mut builder = Builder::new(name);
        let layer = builder.blob(Format::Oci.layer(), compressed(Format::Oci.layer(), "large", bytes));
        let large = builder.platform_image(Format::Oci, PLATFORMS[0], &[layer]);
        let small = builder.platform_image(Format::Oci, PLATFORMS[1], &[]);
        builder.index(Format::Oci, &[large, small]);
        builder.into_image()
    }

    /// An OCI index for linux/amd64 and linux/arm64 whose only layer is a real archive of one file: nodes can unpack it.
    pub fn unpackable(name: &str, file: &str, content: &str) -> Self {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, file, content.as_bytes()).unwrap();
        let archive = archive.into_inner().unwrap();
        let mut builder = Builder::new(name);
        let layer = builder.blob("application/vnd.oci.image.layer.v1.tar", archive);
        let children = ["amd64", "arm64"].map(|architecture| {
            let config = json!({
                "os": "linux", "architecture": architecture,
                "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] },
            });
            let config = builder.blob(Format::Oci.config(), config.to_string());
            let mut child = builder.manifest(Format::Oci, &config, std::slice::from_ref(&layer));
            child["platform"] = json!({ "os": "linux", "architecture": architecture });
            child
        });
        builder.index(Format::Oci, &children);
        builder.into_image()
    }

    /// One OCI manifest without an index; its config names the platform.
    pub fn single_platform(name: &str, architecture: &str) -> Self {
        let mut builder = Builder::new(name);
        builder.platform_image(Format::Oci, (architecture, None), &[]);
        builder.into_image()
    }

    /// An index whose children have attestations, as `BuildKit` writes them (platform unknown/unknown).
    pub fn with_attestations(name: &str) -> Self {
        let mut builder = Builder::new(name);
        let mut children = Vec::new();
        for platform in PLATFORMS {
            let image = builder.platform_image(Format::Oci, platform, &[]);
            let subject = image["digest"].clone();
            let statement = json!({ "_type": "https://in-toto.io/Statement/v0.1", "for": subject });
            let layer = builder.blob("application/vnd.in-toto+json", statement.to_string());
            let config = builder.blob(Format::Oci.config(), "{}");
            let mut attestation = builder.manifest(Format::Oci, &config, &[layer]);
            attestation["platform"] = json!({ "architecture": "unknown", "os": "unknown" });
            attestation["annotations"] = json!({
                "vnd.docker.reference.digest": subject,
                "vnd.docker.reference.type": "attestation-manifest",
            });
            children.extend([image, attestation]);
        }
        builder.index(Format::Oci, &children);
        builder.into_image()
    }

    /// An index of which one child is an index.
    pub fn nested(name: &str) -> Self {
        let mut builder = Builder::new(name);
        let [amd64, arm64] = PLATFORMS.map(|platform| builder.platform_image(Format::Oci, platform, &[]));
        let inner = builder.index(Format::Oci, &[arm64]);
        builder.index(Format::Oci, &[amd64, inner]);
        builder.into_image()
    }

    /// An image below this many nested indexes.
    pub fn nested_in(name: &str, indexes: usize) -> Self {
        let mut builder = Builder::new(name);
        let mut child = builder.platform_image(Format::Oci, PLATFORMS[0], &[]);
        for _ in 0..indexes {
            child = builder.index(Format::Oci, &[child]);
        }
        builder.into_image()
    }

    /// An OCI index for several platforms whose manifests have no `mediaType`.
    pub fn without_media_types(name: &str) -> Self {
        let mut builder = Builder::new(name);
        builder.says_media_types = false;
        builder.multi_platform(Format::Oci).into_image()
    }

    /// One manifest with these bytes, without the content that it references.
    pub fn of_bytes(name: &str, media_type: &str, bytes: &str) -> Self {
        let mut builder = Builder::new(name);
        builder.manifest_bytes(media_type, bytes.to_owned());
        builder.into_image()
    }

    /// Manifests with white space, key order, escapes and fields that a serializer would not reproduce.
    pub fn odd_bytes(name: &str) -> Self {
        let mut builder = Builder::new(name);
        let children = PLATFORMS.map(|platform| builder.platform_image(Format::Oci, platform, &[]));
        let text = format!(
            "\n{{ \"annotations\" :{{\"note\":\"\\u0041 \\/ {name}\"}},\r\n\t\"manifests\": {},\n\"x-unknown\":1.0e2,\
             \n  \"mediaType\":\"{OCI_INDEX}\" , \"schemaVersion\"  : 2 }}\n\n",
            Value::from(children.to_vec())
        );
        builder.manifest_bytes(OCI_INDEX, text);
        builder.into_image()
    }

    /// One manifest with unusual layers: zstd, an empty blob, and an unknown media type.
    pub fn odd_layers(name: &str) -> Self {
        let mut builder = Builder::new(name);
        let zstd = builder.layer("zstd", "application/vnd.oci.image.layer.v1.tar+zstd");
        let unknown = builder.layer("unknown", "application/vnd.example.made-up.v7+thing");
        let empty = builder.blob("application/vnd.oci.image.layer.v1.tar", "");
        builder.platform_image(Format::Oci, PLATFORMS[0], &[zstd, unknown, empty]);
        builder.into_image()
    }

    /// One manifest with two foreign layers, with the media types of both formats; the registry has neither. Also
    /// returns the layers. `urls` is what each lists as its URLs, with `{}` for its digest.
    pub fn with_foreign_layers(name: &str, urls: &[&str]) -> (Self, BTreeMap<Digest, Bytes>) {
        let mut builder = Builder::new(name);
        let types = [
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        ];
        let layers = types.map(|media_type| {
            let mut layer = builder.layer(media_type, media_type);
            let digest = layer["digest"].as_str().unwrap();
            layer["urls"] = urls.iter().map(|url| url.replace("{}", digest)).collect();
            layer
        });
        builder.platform_image(Format::Oci, PLATFORMS[0], &layers);
        let mut image = builder.into_image();
        let foreign = layers.map(|layer| layer["digest"].as_str().unwrap().parse().unwrap());
        let foreign = foreign.map(|digest| image.blobs.remove_entry(&digest).unwrap());
        (image, foreign.into())
    }

    /// One manifest with a layer under a SHA-512 digest.
    pub fn with_sha512_layer(name: &str) -> Self {
        let mut builder = Builder::new(name);
        let bytes = pseudo_random(&format!("{name}/sha512"), LAYER_SIZE);
        let mut hasher = Hasher::new(Algorithm::Sha512);
        hasher.update(&bytes);
        let layer = builder.blob_under(hasher.finish(), Format::Oci.layer(), bytes);
        builder.platform_image(Format::Oci, PLATFORMS[0], &[layer]);
        builder.into_image()
    }

    /// The manifest that the tag points to.
    pub fn root(&self) -> &SampleManifest {
        self.manifests.last().unwrap()
    }

    /// The configs' and layers' sizes together, in bytes.
    pub fn blob_bytes(&self) -> u64 {
        self.blobs.values().map(|blob| blob.len() as u64).sum()
    }

    /// Writes the image as an OCI layout whose only reference is the tag.
    pub fn write_oci_layout(&self, folder: &Path) {
        let manifests = self.manifests.iter().map(|manifest| (&manifest.digest, &manifest.bytes));
        for (digest, bytes) in manifests.chain(&self.blobs) {
            let (algorithm, hex) = digest.as_str().split_once(':').unwrap();
            let blobs = folder.join("blobs").join(algorithm);
            std::fs::create_dir_all(&blobs).unwrap();
            std::fs::write(blobs.join(hex), bytes).unwrap();
        }
        let mut root = descriptor(&self.root().media_type, &self.root().digest, &self.root().bytes);
        root["annotations"] = json!({ "org.opencontainers.image.ref.name": self.tag });
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [root] });
        std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
        std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    }
}
