//! Manifests with wrong bytes: damaged in transit, or served by a registry whose headers are wrong.

use thoras_mirror::{error::Kind, event::Event, oci::Digest, outcome::Status};

use super::{Case, Ended, requests};
use crate::support::{
    images::SampleImage,
    scripted::{Action, Answer},
};

const TAG: &str = "/manifests/1";
const BY_DIGEST: &str = "/manifests/sha256:";
const DIGEST_HEADER: &str = "docker-content-digest";

fn reads(case: &Case, path: &str) -> usize {
    let requests = requests(&case.source, "GET", path);
    requests.iter().filter(|request| request.path.contains("/manifests/")).count()
}

fn warnings(ended: &Ended) -> Vec<&String> {
    let mut messages = Vec::new();
    for event in &ended.events {
        if let Event::Warning { message, .. } = event {
            messages.push(message);
        }
    }
    messages
}

/// A digest that exists nowhere.
fn nowhere() -> Digest {
    Digest::sha256(b"nowhere")
}

/// Serves the root unchanged, with the digest header of another manifest.
fn named(digest: &Digest) -> Action {
    Action::header(DIGEST_HEADER, digest.as_str())
}

#[tokio::test]
async fn a_manifest_by_digest_that_was_damaged_once_is_read_again() {
    let case = Case::with(SampleImage::multi_platform("1")).await;
    let child = &case.image.manifests[0].digest;
    let path = format!("/manifests/{child}");
    case.source.on("GET", &path).nth(1).then(Action::flip_bit(2));
    let ended = case.run().await.expect_success();
    assert_eq!((reads(&case, child.as_str()), ended.retries()), (2, 1));
    assert!(ended.text().contains("the manifest has digest"), "it is reported: {}", ended.text());
    case.converges().await;
}

#[tokio::test]
async fn a_manifest_by_digest_that_is_always_damaged_is_refused_after_two_tries() {
    let case = Case::with(SampleImage::multi_platform("1")).await;
    let child = &case.image.manifests[0].digest;
    let path = format!("/manifests/{child}");
    case.source.on("GET", &path).then(Action::flip_bit(2));
    let failure = case.run().await.expect_failure();
    assert!(failure.contains(&format!("@{child} (source), tried 2 times")), "{failure}");
    assert!(failure.contains("the manifest has digest"), "{failure}");
    assert!(failure.contains("no wrong data was stored"), "{failure}");
    assert_eq!(reads(&case, child.as_str()), 2);
    case.converges().await;
}

#[tokio::test]
async fn a_cut_does_not_use_up_the_second_try_of_a_damaged_manifest() {
    let case = Case::with(SampleImage::multi_platform("1")).await;
    let child = &case.image.manifests[0].digest;
    let path = format!("/manifests/{child}");
    let cut = crate::support::scripted::End::CutAfter(10);
    case.source.on("GET", &path).nth(1).then(Action::end(cut));
    case.source.on("GET", &path).nth(2).then(Action::flip_bit(2));
    case.run().await.expect_success();
    assert_eq!(reads(&case, child.as_str()), 3);
    case.converges().await;
}

/// A bug found by the chaos runs: a flipped bit in the answer to a tag was mirrored as if it were the image.
#[tokio::test]
async fn a_bit_flipped_once_in_a_root_read_by_tag_is_retried_bug() {
    // In the JSON structure, where parsing fails, and within a string, where it does not.
    for at in [0, 30] {
        let case = Case::with(SampleImage::multi_platform("1")).await;
        case.source.on("GET", TAG).nth(1).then(Action::flip_bit(at));
        let ended = case.run().await.expect_success();
        assert_eq!(ended.outcomes[0].digest.as_ref(), Some(&case.image.root().digest));
        assert_eq!((reads(&case, TAG), reads(&case, case.image.root().digest.as_str())), (2, 1));
        assert_eq!(warnings(&ended), [""; 0], "the registry did nothing wrong");
        case.converges().await;
    }
}

#[tokio::test]
async fn a_root_always_damaged_under_its_tag_is_read_by_digest_with_a_warning() {
    let case = Case::with(SampleImage::multi_platform("1")).await;
    case.source.on("GET", TAG).then(Action::flip_bit(30));
    let ended = case.run().await.expect_success();
    assert_eq!(ended.outcomes[0].digest.as_ref(), Some(&case.image.root().digest));
    assert_eq!((reads(&case, TAG), reads(&case, case.image.root().digest.as_str())), (2, 1));
    let said = warnings(&ended);
    assert!(
        said.len() == 1 && said[0].contains("using the manifest with the digest in the header"),
        "{said:?}"
    );
    case.converges().await;
}

#[tokio::test]
async fn a_digest_header_that_is_always_wrong_is_ignored_with_a_warning() {
    let case = Case::start().await;
    case.source.on("", TAG).then(named(&nowhere()));
    let ended = case.run().await.expect_success();
    assert_eq!((reads(&case, TAG), reads(&case, BY_DIGEST)), (2, 1));
    let said = warnings(&ended);
    let expected = format!("names digest {}, but the manifest has {}", nowhere(), case.image.root().digest);
    assert!(said.len() == 1 && said[0].contains(&expected), "{said:?}");
    case.holds_the_image(super::REPOSITORY);
    // HEAD names the same absent digest: that must not look like a deleted image.
    let again = case.run().await.expect_success();
    assert_eq!(again.outcomes[0].status, Status::UpToDate);
}

#[tokio::test]
async fn a_digest_header_that_is_wrong_once_is_ignored() {
    let case = Case::start().await;
    case.source.on("GET", TAG).nth(1).then(named(&nowhere()));
    let ended = case.run().await.expect_success();
    assert_eq!((reads(&case, TAG), reads(&case, BY_DIGEST)), (2, 1));
    assert_eq!(warnings(&ended), [""; 0]);
    case.converges().await;
}

#[tokio::test]
async fn a_tag_that_returns_different_wrong_bytes_each_time_is_refused() {
    let case = Case::start().await;
    let root = case.image.root();
    for (n, at) in [(1, 30), (2, 31)] {
        let mut damaged = root.bytes.to_vec();
        damaged[at] ^= 1;
        let answer = Answer::status(200).header("content-type", &root.media_type);
        let answer = answer.header(DIGEST_HEADER, nowhere().as_str()).body(damaged);
        case.source.on("GET", TAG).nth(n).answer(answer);
    }
    let ended = case.run().await;
    let failure = ended.expect_failure();
    assert!(failure.contains("something between here and the registry corrupts it"), "{failure}");
    assert_eq!(ended.outcomes[0].failure_kind(), Some(Kind::Integrity), "exit code 6");
    assert!(failure.contains(nowhere().as_str()), "{failure}");
    assert_eq!(case.destination.count("PUT", ""), 0);
    case.converges().await;
}

#[tokio::test]
async fn a_tag_deleted_between_two_reads_does_not_exist() {
    let case = Case::start().await;
    case.source.on("GET", TAG).then(Action::error(404, "MANIFEST_UNKNOWN"));
    case.source.on("GET", TAG).nth(1).then(named(&nowhere()));
    let failure = case.run().await.expect_failure();
    assert!(failure.contains("it does not exist"), "{failure}");
    case.converges().await;
}
