//! What a run remembers between its images.

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::{
    endpoint::{artifact::ArtifactSource, empty::EmptyDestination},
    event::Silent,
    oci::{Digest, RawManifest, media_type::OCI_MANIFEST},
};

/// An image of two blobs.
fn source() -> ArtifactSource {
    let blobs: Vec<(Digest, Bytes)> =
        [&b"{}"[..], b"layer"].map(|bytes| (Digest::sha256(bytes), Bytes::from_static(bytes))).into();
    let [config, layer] = ["application/vnd.oci.empty.v1+json", "application/vnd.oci.image.layer.v1.tar"];
    let describe = |media_type: &str, (digest, bytes): &(Digest, Bytes)| json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() });
    let document = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": describe(config, &blobs[0]),
        "layers": [describe(layer, &blobs[1])],
    });
    let manifest = RawManifest::read(Some(OCI_MANIFEST), document.to_string().into(), None).unwrap();
    ArtifactSource { reference: "source.example.com/app:1".parse().unwrap(), manifest, blobs }
}

/// The number of repositories that something is remembered about: by the planner, and by the transfer.
fn remembered(run: &Run<ArtifactSource, EmptyDestination>) -> (usize, (usize, usize)) {
    (run.planner.lock().unwrap().repositories(), run.transfer.repositories())
}

#[tokio::test]
async fn what_is_remembered_about_a_repository_is_dropped_with_its_last_image() {
    let source = source();
    let mapping = |repository: &str, tag: &str| {
        let source = source.reference.clone();
        let repository = format!("mirror.example.com/{repository}").parse().unwrap();
        Arc::new(Mapping { source, pinned: None, repository, tag: tag.to_owned() })
    };
    let mappings = [mapping("a", "1"), mapping("b", "1"), mapping("a", "2")];
    let (destination, events) = (Arc::new(EmptyDestination), Arc::new(Silent));
    let run = Run::new(Arc::new(source), destination, &mappings, Options::default(), events);
    let mut window = Window::default();
    let mut seen = Vec::new();
    for image in &mappings {
        let ended = run.image(image, window.enter()).await;
        let problems = ended.outcome.problems;
        assert_eq!(problems, [Problem::MissingTag], "the destination stores nothing, but accepts everything");
        seen.push(remembered(&run));
    }
    assert_eq!(seen, [(1, (1, 1)), (1, (1, 1)), (0, (0, 0))], "after each image: only `a` has another one");
}
