//! Blobs that are requested from the source before the destination has said whether it needs them.

use super::{Case, requests, upload::UPLOADS};
use crate::support::{
    images::SampleImage,
    scripted::{Action, Gate},
};

/// How many of the requests for a blob reach the source before the destination answers the `n`th POST, and how many all
/// blobs take in the end.
async fn blobs_requested_before_the_answer(case: &Case, n: usize) -> (usize, usize) {
    let gate = Gate::default();
    case.destination.on("POST", UPLOADS).nth(n).then(Action::Hold(gate.clone()));
    let looking = async {
        gate.reached_by(1).await;
        case.source.quiet().await;
        let posts = requests(&case.destination, "POST", UPLOADS);
        let (_, digest) = posts[n - 1].path.split_once("mount=sha256%3A").unwrap();
        let requested = case.source.count("GET", &format!("/blobs/sha256:{}", &digest[..64]));
        gate.open();
        requested
    };
    let (ended, requested) = tokio::join!(case.run(), looking);
    ended.expect_success();
    (requested, case.source.count("GET", "/blobs/"))
}

/// That saves a round trip for each blob. The second POST tests whether the registry mounts from a repository into itself.
#[tokio::test]
async fn a_blob_is_requested_while_its_upload_begins_once_the_registry_lacked_another() {
    for (post, expected) in [(1, 0), (3, 1), (4, 1)] {
        let case = Case { jobs: 1, ..Case::with(SampleImage::multi_platform("1")).await };
        let blobs = case.image.blobs.len();
        assert_eq!(blobs_requested_before_the_answer(&case, post).await, (expected, blobs), "POST {post}");
        case.converges().await;
    }
}

/// The registry has the last blobs: only one of them is requested before that is known.
#[tokio::test]
async fn of_blobs_that_are_present_one_is_requested_in_vain() {
    let case = Case { jobs: 1, ..Case::with(SampleImage::multi_platform("1")).await };
    let (largest, _) = case.only_one_layer_is_missing();
    case.run().await.expect_success();
    let present = case.image.blobs.len() - 1;
    assert!(present > 2);
    let others = requests(&case.source, "GET", "/blobs/");
    let others = others.iter().filter(|request| !request.path.contains(largest.hex())).count();
    assert!(others <= 1, "{others} of {present}");
    case.converges().await;
}
