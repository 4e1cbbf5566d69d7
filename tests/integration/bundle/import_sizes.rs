//! Blobs whose size in the bundle differs from their manifest: refused before any copy when read from files, and before
//! any tag when read from a stream.

use serde_json::json;

use super::importing::*;
use crate::support::{built_bundle::path_of, images::SampleManifest};
use thoras_mirror::oci::Digest;

/// An image with a layer whose size differs from its manifest.
struct Wrong {
    called: &'static str,
    image: SampleImage,
    layer: Digest,
    /// The size in the manifest.
    expected: usize,
    /// The size in the bundle.
    found: usize,
}

/// The bytes of the first layer are longer or shorter than its descriptor says.
fn other_bytes(
    called: &'static str,
    mut image: SampleImage,
    expected: usize,
    change: impl Fn(&mut Vec<u8>),
) -> Wrong {
    let (layer, bytes) = image.blobs.iter().find(|(_, bytes)| bytes.len() == expected).unwrap();
    let (layer, mut bytes) = (layer.clone(), bytes.to_vec());
    change(&mut bytes);
    let found = bytes.len();
    image.blobs.insert(layer.clone(), bytes.into());
    Wrong { called, image, layer, expected, found }
}

/// The bytes of the layer match their digest, but the manifest has another size.
fn other_descriptor(called: &'static str, change: impl Fn(usize) -> usize) -> Wrong {
    let mut image = SampleImage::single_platform("1", "amd64");
    let SampleManifest { media_type, bytes, .. } = image.manifests.pop().unwrap();
    let mut manifest: Value = serde_json::from_slice(&bytes).unwrap();
    let layer: Digest = manifest["layers"][1]["digest"].as_str().unwrap().parse().unwrap();
    let found = image.blobs[&layer].len();
    let expected = change(found);
    manifest["layers"][1]["size"] = json!(expected);
    let bytes: bytes::Bytes = manifest.to_string().into();
    image.manifests.push(SampleManifest { digest: Digest::sha256(&bytes), media_type, bytes });
    Wrong { called, image, layer, expected, found }
}

fn wrong_images() -> Vec<Wrong> {
    // A whole number of pieces is complete: only the size reveals the bytes that follow.
    const LARGE: usize = 1 << 20;
    let small = || SampleImage::single_platform("1", "amd64");
    let large = || SampleImage::with_large_layer("1", LARGE);
    let with_empty = || SampleImage::odd_layers("1");
    vec![
        other_bytes("more bytes", small(), 20_000, |bytes| bytes.extend(b"more")),
        other_bytes("more behind whole pieces", large(), LARGE, |bytes| bytes.extend(b"more")),
        other_bytes("more behind nothing", with_empty(), 0, |bytes| bytes.extend(b"more")),
        other_bytes("one byte less", small(), 20_000, |bytes| bytes.truncate(19_999)),
        other_bytes("no bytes", small(), 20_000, Vec::clear),
        other_descriptor("a size that is too small", |size| size - 1),
        other_descriptor("a size that is too large", |size| size + 1),
    ]
}

/// An archive of another tool, in an order that can be streamed.
fn foreign_archive(image: &SampleImage) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    image.write_oci_layout(folder.path());
    let manifests = image.manifests.iter().map(|manifest| path_of(&manifest.digest));
    let head = ["oci-layout", "index.json"].map(str::to_owned).into_iter().chain(manifests);
    let mut builder = tar::Builder::new(Vec::new());
    for path in head.chain(image.blobs.keys().map(path_of)) {
        builder.append_path_with_name(folder.path().join(&path), &path).unwrap();
    }
    builder.into_inner().unwrap()
}

/// One of our archives, whose lock agrees with the manifest.
fn our_archive(wrong: &Wrong) -> Vec<u8> {
    let builder = BundleBuilder::new(&[(APP, &wrong.image)]);
    builder.lock(|lock| lock["blobs"][wrong.layer.as_str()] = wrong.expected.into()).build().bytes
}

#[tokio::test]
async fn a_blob_of_the_wrong_size_in_a_file_is_refused_before_anything_is_copied() {
    let team = Team::start().await;
    for wrong in wrong_images() {
        let folder = tempfile::tempdir().unwrap();
        wrong.image.write_oci_layout(folder.path());
        let archive = team.file(&foreign_archive(&wrong.image));
        for path in [folder.path(), &archive] {
            let outcome = import(path, &team.to(), &["--as", APP]).run().await.expect_code(6);
            let Wrong { called, layer, expected, found, .. } = &wrong;
            let message = format!("blob {layer} has {found} bytes instead of {expected}");
            assert!(outcome.stderr.contains(&message), "{called}: {outcome}");
        }
        let ours = team.file(&our_archive(&wrong));
        import(&ours, &team.to(), &[]).run().await.expect_code(6);
        team.assert_untouched().await;
    }
}

#[tokio::test]
async fn a_blob_of_the_wrong_size_in_a_stream_is_refused_and_nothing_is_tagged() {
    let team = Team::start().await;
    for wrong in wrong_images() {
        let stream = |bytes: Vec<u8>, more: &[&str]| import(Path::new("-"), &team.to(), more).stdin(bytes);
        let foreign = stream(foreign_archive(&wrong.image), &["--as", APP]).run().await.expect_code(6);
        assert!(foreign.stderr.contains(wrong.layer.as_str()), "{}: {foreign}", wrong.called);
        stream(our_archive(&wrong), &[]).run().await.expect_code(6);
        team.assert_nothing_imported();
    }
}
