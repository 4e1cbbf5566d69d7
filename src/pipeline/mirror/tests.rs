//! What a run remembers between its images, and what it asks of the destination.

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::{
    confirm::Survey,
    endpoint::{
        Cause, EndpointError, Location, Meaning, Operation, artifact::ArtifactSource, empty::EmptyDestination,
    },
    event::Silent,
    graph::{Graph, Node},
    oci::{Descriptor, Digest, RawManifest, manifest::Contents, media_type::OCI_MANIFEST},
    outcome::ImageContent,
    problem::Side,
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

/// An image with a foreign layer and two other blobs.
fn with_a_foreign_layer() -> Graph {
    let blob =
        |media_type: &str| Descriptor::new(media_type.into(), Digest::sha256(media_type.as_bytes()), 1);
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let layers = vec![blob("application/vnd.docker.image.rootfs.diff.tar.gzip"), blob(foreign)];
    let node = Node {
        descriptor: blob(OCI_MANIFEST),
        media_type: OCI_MANIFEST.into(),
        manifest: None,
        contents: Contents::Image { config: blob("config"), layers, subject: None },
        height: 0,
    };
    let graph = Graph { nodes: vec![node], ..Graph::default() };
    graph.with_foreign_layers(ForeignLayers::Required)
}

/// An earlier run may have skipped foreign layers, so an existing manifest says nothing about them.
#[test]
fn only_foreign_layers_of_an_image_that_exists_are_looked_for_one_by_one() {
    let looked_for = |options: Options, exists: bool| {
        let (source, destination) = (Arc::new(source()), Arc::new(EmptyDestination));
        let run = Run::new(source, destination, &[], options, Arc::new(Silent));
        let there = Survey { graph: exists.then(with_a_foreign_layer), ..Survey::default() };
        let blobs = run.blobs_to_check(&with_a_foreign_layer(), &there);
        (blobs.len(), blobs.iter().filter(|blob| blob.media_type.is_foreign_layer()).count())
    };
    let checking = |check: Level| Options { check, ..Options::default() };
    assert_eq!(looked_for(checking(Level::Platforms), true), (1, 1));
    assert_eq!(looked_for(checking(Level::Platforms), false), (0, 0), "an upload tells");
    assert_eq!(looked_for(checking(Level::Blobs), true), (0, 0), "all have been checked");
    let dry_run = Options { dry_run: true, ..Options::default() };
    assert_eq!(looked_for(dry_run, false), (3, 1), "no upload tells");
}

#[test]
fn images_that_give_one_digest_two_sizes_are_refused() {
    let run =
        Run::new(Arc::new(source()), Arc::new(EmptyDestination), &[], Options::default(), Arc::new(Silent));
    let (graph, mut other) = (with_a_foreign_layer(), with_a_foreign_layer());
    for _ in 0..2 {
        run.refuse_other_sizes(&graph, &mut ImageContent::of(&graph)).unwrap();
    }
    other.nodes[0].descriptor.size = 2;
    let failure = run.refuse_other_sizes(&other, &mut ImageContent::of(&other)).unwrap_err();
    assert_eq!(failure.kind, Kind::Integrity);
    assert!(failure.causes[0].contains(other.nodes[0].descriptor.digest.as_str()), "{failure:?}");
}

/// The warnings of a run.
#[derive(Debug, Default)]
struct Warnings(Mutex<Vec<String>>);

impl EventSink for Warnings {
    fn emit(&self, event: Event) {
        if let Event::Warning { message, .. } = event {
            self.0.lock().unwrap().push(message);
        }
    }
}

#[test]
fn a_warning_says_how_many_foreign_layers_are_skipped() {
    let image = Mapping::to(source().reference, &"mirror.example.com/app:1".parse().unwrap());
    let warned = |foreign_layers: ForeignLayers| {
        let warnings = Warnings::default();
        let graph = with_a_foreign_layer().with_foreign_layers(foreign_layers);
        warn_of_foreign_layers(&image, graph.left_out(), &warnings);
        warnings.0.into_inner().unwrap()
    };
    assert_eq!(warned(ForeignLayers::Required), [""; 0]);
    let warnings = warned(ForeignLayers::Optional);
    assert!(warnings.len() == 1 && warnings[0].starts_with("1 foreign layer skipped"), "{warnings:?}");
}

/// An endpoint whose repositories must be created first.
#[derive(Debug, thiserror::Error)]
#[error("create the repository first")]
struct NoRepository;

impl EndpointError for NoRepository {
    fn meaning(&self) -> Meaning {
        Meaning::RepositoryMissing
    }
}

#[test]
fn only_the_destination_may_lack_a_repository_that_must_be_created() {
    let stopped = |side| {
        let location = Location::new(Operation::UploadBlob, side, "example.com/app");
        Stopped::from(location.error(Cause::Endpoint(Arc::new(NoRepository))))
    };
    assert!(stopped(Side::Destination).lacks_repository);
    assert!(!stopped(Side::Source).lacks_repository);
}
