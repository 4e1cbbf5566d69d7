//! Faults of registries that concern manifests.

use thoras_mirror::outcome::Status;

use super::{Case, REPOSITORY, requests};
use crate::support::{
    images::SampleImage,
    scripted::{Action, Answer, Gate},
};

const MANIFESTS: &str = "/manifests/";

/// Answers with another success status, without the headers that name what was stored.
fn success_without_headers(status: u16) -> Action {
    Action::alter(move |answer| if answer.status.is_success() { Answer::status(status) } else { answer })
}

#[tokio::test]
async fn success_needs_no_location_or_digest_header() {
    for status in [200, 201, 202] {
        let case = Case::with(SampleImage::nested("1")).await;
        case.destination.on("PUT", MANIFESTS).then(success_without_headers(status));
        case.survives().await;
    }
}

#[tokio::test]
async fn a_registry_without_head_is_queried_with_get() {
    for status in [405, 400] {
        let case = Case::start().await;
        case.survives().await;
        for registry in [&case.source, &case.destination] {
            registry.on("HEAD", MANIFESTS).then(Action::error(status, "UNSUPPORTED"));
        }
        let ended = case.run().await.expect_success();
        assert_eq!(ended.outcomes[0].status, Status::UpToDate, "HEAD answers {status}");
    }
}

#[tokio::test]
async fn a_manifest_is_retried_when_the_registry_sees_its_blobs_late() {
    for (status, code) in [
        (404, "MANIFEST_BLOB_UNKNOWN"),
        (400, "MANIFEST_BLOB_UNKNOWN"),
        (400, "BLOB_UNKNOWN"),
        (400, "DIGEST_INVALID"),
    ] {
        let case = Case::start().await;
        case.destination.on("PUT", MANIFESTS).first(2).then(Action::error(status, code));
        case.run().await.expect_success();
        assert_eq!(
            case.destination.count("POST", "/blobs/uploads/"),
            case.destination.count("PUT", "/blobs/uploads/") + 1
        );
        assert_eq!(requests(&case.destination, "PUT", MANIFESTS).len(), 3, "{status} {code}");
        case.converges().await;
    }
}

#[tokio::test]
async fn a_lost_blob_is_uploaded_again() {
    let case = Case::start().await;
    let (digest, _) = case.layer();
    // The upload is answered with success and lost.
    case.destination.on("PUT", digest.as_str()).nth(1).answer(Answer::status(201));
    let ended = case.run().await.expect_success();
    assert!(
        ended.text().contains(&format!("lost blob {digest} after its upload; uploading it again")),
        "{}",
        ended.text()
    );
    assert_eq!(case.destination.count("PUT", digest.as_str()), 2);
    case.expect_violations_for(&digest);
    case.converges().await;
}

#[tokio::test]
async fn a_manifest_fails_when_the_registry_keeps_reporting_missing_blobs() {
    let case = Case::start().await;
    case.destination.on("PUT", MANIFESTS).then(Action::error(404, "MANIFEST_BLOB_UNKNOWN"));
    let failure = case.run().await.expect_failure();
    assert!(
        failure.contains("cannot push manifest") && failure.contains("MANIFEST_BLOB_UNKNOWN"),
        "{failure}"
    );
    assert_eq!(
        requests(&case.destination, "PUT", MANIFESTS).len(),
        8,
        "four, and four after looking for the blobs"
    );
    case.converges().await;
}

#[tokio::test]
async fn an_immutable_tag_with_the_same_digest_is_success() {
    for (status, code) in [(400, "TAG_INVALID"), (403, "DENIED"), (409, "CONFLICT"), (412, "PRECONDITION")] {
        let case = Case::start().await;
        // The tag appears between our check and our PUT, as when two mirrors run at once.
        case.destination.on("PUT", "/manifests/1").nth(1).then(Action::alter(move |answer| {
            assert!(answer.status.is_success());
            Answer::error(status, code)
        }));
        case.survives().await;
    }
}

#[tokio::test]
async fn an_immutable_tag_with_another_digest_fails_with_a_clear_message() {
    let case = Case::start().await;
    let other = SampleImage::multi_platform("1");
    case.destination.with_store(|store| store.insert(REPOSITORY, &other));
    let refusal = serde_json::json!({ "errors": [{
        "code": "TAG_INVALID",
        "message": "The image tag '1' already exists and cannot be overwritten because the tag is immutable.",
    }] });
    case.destination.on("PUT", "/manifests/1").answer(Answer::json(400, &refusal));
    let failure = case.run().await.expect_failure();
    let expected = format!("the tag already points to {}", other.root().digest);
    assert!(failure.contains(&expected) && failure.contains("does not allow moving it"), "{failure}");
    assert!(failure.contains("delete the tag"), "{failure}");
    case.assert_nothing_wrong_is_stored();
}

#[tokio::test]
async fn another_refusal_is_not_mistaken_for_an_immutable_tag() {
    let case = Case::start().await;
    case.destination.with_store(|store| store.insert(REPOSITORY, &SampleImage::multi_platform("1")));
    case.destination.on("PUT", "/manifests/1").then(Action::error(403, "DENIED"));
    let failure = case.run().await.expect_failure();
    assert!(failure.contains("403 DENIED: as scripted") && failure.contains("allow pushing"), "{failure}");
}

#[tokio::test]
async fn a_rejected_manifest_is_named_with_its_type_and_a_remedy() {
    for (status, code) in [(400, "MANIFEST_INVALID"), (415, "UNSUPPORTED")] {
        let case = Case::with(SampleImage::with_attestations("1")).await;
        case.destination.on("PUT", MANIFESTS).then(Action::error(status, code));
        let failure = case.run().await.expect_failure();
        assert!(failure.contains(&format!("{REPOSITORY}@sha256:")), "which: {failure}");
        assert!(failure.contains(&format!("{status} {code}: as scripted")), "why: {failure}");
        assert!(failure.contains("application/vnd.oci.image.manifest.v1+json"), "of what type: {failure}");
        assert!(failure.contains("--exclude"), "what helps: {failure}");
        case.converges().await;
    }
}

#[tokio::test]
async fn a_manifest_with_an_interrupted_body_is_read_again() {
    let case = Case::start().await;
    let end = crate::support::scripted::End::CutAfter(10);
    case.source.on("GET", MANIFESTS).nth(1).then(Action::end(end));
    case.survives().await;
}

#[tokio::test]
async fn unusual_white_space_is_kept_byte_for_byte() {
    Case::with(SampleImage::odd_bytes("1")).await.survives().await;
}

/// The registry acknowledges a child manifest and loses it before the index arrives.
#[tokio::test]
async fn a_lost_child_manifest_is_pushed_again() {
    for refusal in [
        None,
        Some(Answer::error(404, "MANIFEST_UNKNOWN")),
        Some(Answer::error(400, "BLOB_UNKNOWN")),
        Some(Answer::error(400, "MANIFEST_INVALID")),
    ] {
        let case = Case::with(SampleImage::nested("1")).await;
        let child = case.image.manifests[0].digest.clone();
        let put = format!("{MANIFESTS}{child}");
        case.destination.on("PUT", &put).nth(1).answer(Answer::status(201));
        if let Some(refusal) = refusal {
            // The refusal in the words of other registries.
            let name = child.clone();
            case.destination.on("PUT", MANIFESTS).then(Action::alter(move |answer| {
                let message = format!("unknown reference {name}");
                let code = String::from_utf8_lossy(&refusal.body);
                let code = code.split("\"code\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
                let body = serde_json::json!({ "errors": [{ "code": code, "message": message }] });
                if answer.status == 400 { Answer::json(refusal.status.as_u16(), &body) } else { answer }
            }));
            case.destination.on("PUT", &put).nth(1).answer(Answer::status(201));
        }
        let ended = case.run().await.expect_success();
        let expected = format!("lost manifest {child} after its upload; uploading it again");
        assert!(ended.text().contains(&expected), "{}", ended.text());
        let violations = case.destination.take_violations();
        assert!(violations.iter().all(|violation| violation.contains(child.as_str())), "{violations:?}");
        case.converges().await;
    }
}

/// The confirmation takes one round trip: what the image's index should name is read together with the index.
#[tokio::test]
async fn everything_that_was_pushed_is_confirmed_at_the_same_time_and_once() {
    let case = Case::with(SampleImage::multi_platform("1")).await;
    let (gate, tag) = (Gate::default(), format!("/manifests/{}", case.image.tag));
    case.destination.on("GET", &tag).nth(2).then(Action::Hold(gate.clone()));
    let children = case.image.manifests.len() - 1;
    let confirming = async {
        gate.reached_by(1).await;
        case.destination.quiet().await;
        let read = case.destination.count("GET", "/manifests/sha256:");
        gate.open();
        read
    };
    let (ended, read) = tokio::join!(case.run(), confirming);
    ended.expect_success();
    assert_eq!(read, children, "before the index is read");
    assert_eq!(case.destination.count("GET", "/manifests/sha256:"), children, "none is read twice");
    case.converges().await;
}
