//! The attachments of an image, and which of them are signatures.

use std::collections::BTreeMap;

use bytes::Bytes;
use oci_spec::image::{Descriptor as OciDescriptor, ImageManifest};

use crate::oci::{Descriptor, Digest};

/// The prefix of the media type of a layer that is a Sigstore bundle; the version follows.
const BUNDLE_LAYER: &str = "application/vnd.dev.sigstore.bundle";

/// The media type of a layer of a `.sig` tag: the text that was signed.
const SIMPLE_SIGNING_LAYER: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// The suffix of the tag `sha256-<hex>.sig`.
pub(crate) const SIGNATURE_TAG_SUFFIX: &str = ".sig";

/// The largest layer that is read as a signature, in bytes. Attestations may hold whole SBOMs.
const MAX_SIGNATURE_SIZE: u64 = 32 * 1024 * 1024;

/// A manifest that is attached to an image, with the bytes of the layers that [`signature_layers`] names.
#[derive(Debug, Clone)]
pub struct Attached {
    by: AttachedBy,
    digest: Digest,
    manifest: Bytes,
    layers: BTreeMap<Digest, Bytes>,
}

/// How it is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AttachedBy {
    /// Its `subject` is the image.
    Subject,
    /// The tag `sha256-<hex>.sig` names it.
    SignatureTag,
}

impl Attached {
    /// A referrer: a manifest whose `subject` is the image. The layers may be in any order.
    pub fn referrer(manifest: Bytes, layers: impl IntoIterator<Item = Bytes>) -> Self {
        Self::new(AttachedBy::Subject, manifest, layers)
    }

    /// The manifest under the image's tag `sha256-<hex>.sig`. The layers may be in any order.
    pub fn signature_tag(manifest: Bytes, layers: impl IntoIterator<Item = Bytes>) -> Self {
        Self::new(AttachedBy::SignatureTag, manifest, layers)
    }

    fn new(by: AttachedBy, manifest: Bytes, layers: impl IntoIterator<Item = Bytes>) -> Self {
        // A layer is found by the digest of its bytes, so altered bytes belong to no descriptor.
        let layers = layers.into_iter().map(|bytes| (Digest::sha256(&bytes), bytes)).collect();
        Self { by, digest: Digest::sha256(&manifest), manifest, layers }
    }

    /// The signatures that it holds. Empty for everything else that can be attached, such as an SBOM.
    pub(super) fn signatures(&self) -> Vec<Signature> {
        let layers = layers(&self.manifest);
        let kinds: Vec<SignatureKind> = match self.by {
            AttachedBy::Subject => bundle_layer(&layers)
                .map(|layer| SignatureKind::Bundle(self.content(layer)))
                .into_iter()
                .collect(),
            AttachedBy::SignatureTag => layers
                .iter()
                .filter(|layer| is_simple_signing(layer))
                .filter_map(|layer| {
                    let annotations = layer.annotations().clone().unwrap_or_default();
                    // cosign reads the other layers as signatures, too, and fails because they lack this annotation.
                    let signature = annotations.get("dev.cosignproject.cosign/signature")?.clone();
                    let annotation =
                        |name: &str| annotations.get(name).filter(|text| !text.is_empty()).cloned();
                    Some(SignatureKind::SimpleSigning(Box::new(SimpleSigning {
                        payload: self.content(layer),
                        signature,
                        certificate: annotation("dev.sigstore.cosign/certificate"),
                        log_entry: annotation("dev.sigstore.cosign/bundle"),
                    })))
                })
                .collect(),
        };
        kinds.into_iter().map(|kind| Signature { manifest: self.digest.clone(), kind }).collect()
    }

    fn content(&self, layer: &OciDescriptor) -> Option<Bytes> {
        self.layers.get(&layer.digest().to_string().parse().ok()?).cloned()
    }
}

/// The layers of an attached manifest that [`Attached`] needs: none unless it may be a signature. `is_signature_tag`:
/// whether a tag `sha256-<hex>.sig` names it; otherwise it is a referrer.
#[must_use]
pub fn signature_layers(manifest: &[u8], is_signature_tag: bool) -> Vec<Descriptor> {
    let layers = layers(manifest);
    let needed: Vec<&OciDescriptor> = if is_signature_tag {
        layers.iter().filter(|layer| is_simple_signing(layer)).collect()
    } else {
        bundle_layer(&layers).into_iter().collect()
    };
    let own = |layer: &&OciDescriptor| {
        Some(Descriptor::new(
            layer.media_type().to_string().as_str().into(),
            layer.digest().to_string().parse().ok()?,
            layer.size(),
        ))
    };
    needed.iter().filter(|layer| layer.size() <= MAX_SIGNATURE_SIZE).filter_map(own).collect()
}

/// Whether the artifact type of a referrer says that it is a signature.
#[must_use]
pub(crate) fn is_signature_type(artifact_type: &str) -> bool {
    artifact_type.starts_with(BUNDLE_LAYER)
}

fn layers(manifest: &[u8]) -> Vec<OciDescriptor> {
    ImageManifest::from_reader(manifest).map(|manifest| manifest.layers().clone()).unwrap_or_default()
}

/// As in cosign, a bundle is the only layer of its manifest.
fn bundle_layer(layers: &[OciDescriptor]) -> Option<&OciDescriptor> {
    match layers {
        [layer] if layer.media_type().to_string().starts_with(BUNDLE_LAYER) => Some(layer),
        _ => None,
    }
}

fn is_simple_signing(layer: &OciDescriptor) -> bool {
    layer.media_type().to_string() == SIMPLE_SIGNING_LAYER
}

/// One signature, not yet verified.
#[derive(Debug, Clone)]
pub(super) struct Signature {
    /// The manifest that holds it.
    pub(super) manifest: Digest,
    pub(super) kind: SignatureKind,
}

/// The formats of signatures. The bytes are `None` if no layer has the digest in the manifest.
#[derive(Debug, Clone)]
pub(super) enum SignatureKind {
    /// A Sigstore bundle, as JSON.
    Bundle(Option<Bytes>),
    /// cosign's older format.
    SimpleSigning(Box<SimpleSigning>),
}

/// A layer of a `.sig` tag and its annotations, as written.
#[derive(Debug, Clone)]
pub(super) struct SimpleSigning {
    /// What was signed: JSON that names the image's digest.
    pub(super) payload: Option<Bytes>,
    /// Base64.
    pub(super) signature: String,
    /// The signing certificate in PEM, for keyless signatures.
    pub(super) certificate: Option<String>,
    /// The entry in the transparency log with the log's promise, as JSON.
    pub(super) log_entry: Option<String>,
}
