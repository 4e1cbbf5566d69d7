//! Layers that may not be redistributed: skipped, or fetched from the URLs in their manifests.

use std::collections::BTreeMap;

use bytes::Bytes;
use thoras_mirror::{error::Kind, event::Event, graph::ForeignLayers, oci::Digest, outcome::Status};

use super::{Case, Ended, REPOSITORY};
use crate::support::{
    images::SampleImage,
    scripted::{Action, Answer, Scripted},
};

/// A host that serves layers: any HTTP server, here one that supports ranges.
async fn layer_host(layers: &BTreeMap<Digest, Bytes>) -> Scripted {
    let host = Scripted::start().await;
    host.with_store(|store| store.repository("layers").blobs = layers.clone());
    host
}

/// The URL of a layer on such a host.
fn url(host: &Scripted) -> String {
    format!("{}/v2/layers/blobs/{{}}", host.address().url())
}

/// A case with `--foreign-layers` where only these URLs have the layers.
async fn wanted(urls: &[&str]) -> (Case, BTreeMap<Digest, Bytes>) {
    let (image, layers) = SampleImage::with_foreign_layers("1", urls);
    let mut case = Case::with(image).await;
    case.foreign_layers = ForeignLayers::Required;
    (case, layers)
}

/// The same, with a host that has them.
async fn fetched() -> (Case, BTreeMap<Digest, Bytes>, Scripted) {
    let host = layer_host(&BTreeMap::new()).await;
    let (case, layers) = wanted(&[&url(&host)]).await;
    host.with_store(|store| store.repository("layers").blobs = layers.clone());
    (case, layers, host)
}

fn holds(case: &Case, layers: &BTreeMap<Digest, Bytes>) {
    case.destination.with_store(|store| {
        let blobs = &store.repository(REPOSITORY).blobs;
        for (digest, bytes) in layers {
            assert!(blobs.get(digest) == Some(bytes), "{digest}");
        }
    });
}

fn assert_nothing_is_tagged(case: &Case) {
    case.assert_nothing_wrong_is_stored();
    case.destination.with_store(|store| assert!(store.repository(REPOSITORY).tags.is_empty()));
}

/// The image's repository at the source.
fn vendor(case: &Case) -> String {
    format!("{}/vendor/app", case.source.address().host_port)
}

fn kind(ended: &Ended) -> Kind {
    ended.outcomes[0].failure.as_ref().unwrap().kind
}

#[tokio::test]
async fn foreign_layers_are_skipped_with_a_warning_and_no_problem() {
    let (image, layers) = SampleImage::with_foreign_layers("1", &["https://layers.example.com/x"]);
    let case = Case::with(image).await;
    let ended = case.survives().await;
    let warning = |event: &Event| match event {
        Event::Warning { message, .. } => Some(message.clone()),
        _ => None,
    };
    let warnings: Vec<String> = ended.events.iter().filter_map(warning).collect();
    assert!(warnings.len() == 1 && warnings[0].starts_with("2 foreign layers skipped: "), "{warnings:?}");
    assert!(warnings[0].ends_with("with --foreign-layers"), "{warnings:?}");
    assert_eq!(layers.len(), 2);
    for digest in layers.keys() {
        for registry in [&case.source, &case.destination] {
            assert_eq!(registry.count("", digest.as_str()), 0, "no request for {digest}");
        }
    }
    case.destination.with_store(|store| {
        let root = case.image.root();
        let (_, bytes) = &store.repository(REPOSITORY).manifests[&root.digest];
        assert_eq!(bytes, &root.bytes, "the manifest names them as before");
    });
}

#[tokio::test]
async fn requested_foreign_layers_come_from_the_registry_if_it_has_them() {
    let (case, layers, host) = fetched().await;
    case.source.with_store(|store| store.repository("vendor/app").blobs.extend(layers.clone()));
    let ended = case.survives().await;
    assert!(!ended.text().contains("foreign"), "{}", ended.text());
    holds(&case, &layers);
    assert_eq!(host.requests().len(), 0);
}

#[tokio::test]
async fn requested_foreign_layers_come_from_their_urls_otherwise() {
    let (case, layers, host) = fetched().await;
    let ended = case.run().await.expect_success();
    assert_eq!(ended.outcomes[0].status, Status::Copied);
    let foreign: u64 = layers.values().map(|layer| layer.len() as u64).sum();
    assert_eq!(ended.outcomes[0].bytes.copied, case.image.blob_bytes() + foreign);
    assert_eq!(host.requests().len(), 2, "once each");
    holds(&case, &layers);
    case.converges().await;
    assert_eq!(host.requests().len(), 2, "never again");
}

#[tokio::test]
async fn foreign_layers_skipped_by_an_earlier_run_are_copied_later() {
    let (mut case, layers, host) = fetched().await;
    case.foreign_layers = ForeignLayers::Optional;
    case.run().await.expect_success();
    assert_eq!(host.requests().len(), 0);
    case.foreign_layers = ForeignLayers::Required;
    case.destination.clear();
    let ended = case.run().await.expect_success();
    assert_eq!(ended.outcomes[0].status, Status::Repaired);
    assert_eq!(case.destination.count("PUT", "/blobs/uploads/"), 2, "the other blobs are there");
    assert_eq!(case.destination.count("PUT", "/manifests/"), 0);
    holds(&case, &layers);
    case.converges().await;
}

#[tokio::test]
async fn the_next_url_is_asked_when_one_does_not_have_the_layer() {
    for (status, message) in [(404, "it does not exist"), (403, "403 DENIED"), (401, "401 DENIED")] {
        let (broken, host) = tokio::join!(Scripted::start(), Scripted::start());
        let (case, layers) = wanted(&[&url(&broken), "ftp://layers.example.com/{}", &url(&host)]).await;
        host.with_store(|store| store.repository("layers").blobs = layers.clone());
        broken.on("GET", "/v2/layers/").then(Action::error(status, "DENIED"));
        let ended = case.survives().await;
        holds(&case, &layers);
        let text = ended.text();
        for digest in layers.keys() {
            let broken = url(&broken).replace("{}", digest.as_str());
            let place = format!("vendor/app@{digest} from {broken} (source): ");
            assert!(text.contains(&place) && text.contains(message), "{place}: {text}");
        }
        assert!(text.contains("neither http nor https: ftp:…"), "{text}");
        assert_eq!((broken.requests().len(), host.requests().len()), (2, 2));
    }
}

#[tokio::test]
async fn the_next_url_is_tried_if_one_sends_wrong_bytes() {
    let (liar, host) = tokio::join!(Scripted::start(), Scripted::start());
    let (case, layers) = wanted(&[&url(&liar), &url(&host)]).await;
    for other in [&liar, &host] {
        other.with_store(|store| store.repository("layers").blobs = layers.clone());
    }
    liar.on("GET", "/v2/layers/").then(Action::flip_bit(10_000));
    case.survives().await;
    holds(&case, &layers);
    assert_eq!((liar.requests().len(), host.requests().len()), (2, 2));
}

#[tokio::test]
async fn wrong_bytes_from_the_only_url_are_never_stored() {
    for lie in [
        Action::flip_bit(10_000),
        Action::Answer(Answer::status(200).body("a page that asks to accept the license")),
    ] {
        let (case, _, host) = fetched().await;
        host.on("GET", "/v2/layers/").then(lie);
        let ended = case.run().await;
        let failure = ended.expect_failure();
        assert_eq!(kind(&ended), Kind::Integrity, "{failure}");
        assert!(failure.contains("no wrong data was stored"), "{failure}");
        assert_nothing_is_tagged(&case);
        host.clear();
        case.converges().await;
    }
}

#[tokio::test]
async fn a_layer_that_cannot_be_found_fails_with_its_url_and_a_remedy() {
    let (case, layers, host) = fetched().await;
    host.with_store(|store| store.repository("layers").blobs.clear());
    let ended = case.run().await;
    let failure = ended.expect_failure();
    assert_eq!(kind(&ended), Kind::Image);
    let named = layers.keys().any(|digest| {
        let url = url(&host).replace("{}", digest.as_str());
        failure
            .contains(&format!("cannot fetch foreign layer {}@{digest} from {url} (source)", vendor(&case)))
    });
    assert!(named && failure.contains("omit --foreign-layers to skip it"), "{failure}");
    assert_nothing_is_tagged(&case);
}

#[tokio::test]
async fn a_missing_layer_without_urls_fails() {
    let (case, _) = wanted(&[]).await;
    let failure = case.run().await.expect_failure();
    assert!(failure.contains("cannot read blob") && failure.contains("it does not exist"), "{failure}");
    assert_nothing_is_tagged(&case);
}

#[tokio::test]
async fn a_url_with_a_login_is_refused_without_repeating_the_password() {
    let host = Scripted::start().await;
    let with_user = url(&host).replace("http://", &format!("http://user:{}@", super::SECRET));
    let (case, layers) = wanted(&[&with_user]).await;
    host.with_store(|store| store.repository("layers").blobs = layers.clone());
    let failure = case.run().await.expect_failure();
    assert!(failure.contains("the manifest's URL contains a user name"), "{failure}");
    assert_eq!(host.requests().len(), 0);
    assert_nothing_is_tagged(&case);
}

#[tokio::test]
async fn a_redirect_from_a_layer_url_is_followed() {
    let (case, layers, host) = fetched().await;
    let store = layer_host(&layers).await;
    for digest in layers.keys() {
        let location = format!("{}?sig={}", url(&store).replace("{}", digest.as_str()), super::SECRET);
        host.on("GET", digest.as_str()).then(Action::redirect(&location));
    }
    case.survives().await;
    holds(&case, &layers);
    assert_eq!((host.requests().len(), store.requests().len()), (2, 2));
}

#[tokio::test]
async fn an_interrupted_layer_download_from_its_url_resumes() {
    let (case, layers, host) = fetched().await;
    let end = crate::support::scripted::End::CutAfter(7_000);
    for digest in layers.keys() {
        host.on("GET", digest.as_str()).first(1).then(Action::end(end));
    }
    case.survives().await;
    holds(&case, &layers);
    let ranges =
        host.requests().iter().filter(|request| request.header("range") == Some("bytes=7000-")).count();
    assert_eq!((ranges, host.requests().len()), (2, 4));
}
