//! Amazon ECR.
//!
//! - aws/containers-roadmap#2831, openai/tart#273: chunks are answered with 201, and their `Range` stays at the first one.
//! - aws/containers-roadmap#2860: only blobs that a manifest references are mounted.
//! - aws/containers-roadmap#2380: an immutable tag is refused even for the same digest. The text is from
//!   osscontainertools/kaniko#204.
//! - Blobs are in S3, which refuses a request that has an `Authorization` in addition to its signature.

use super::{
    flows::{World, a_missing_repository_is_named, ends},
    profile::{
        Blobs, Broken, Chunks, DISTRIBUTION, Heads, Login, Mounts, Profile, Progress, Repositories, error,
    },
};
use crate::support::images::SampleImage;

const MIB: usize = 1024 * 1024;
const HOST: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

pub(super) const PROFILE: Profile = Profile {
    registry: HOST,
    host: HOST,
    login: Login::Basic(
        "Basic realm=\"https://123456789012.dkr.ecr.us-east-1.amazonaws.com/\",service=\"ecr.amazonaws.com\"",
    ),
    folder: "mirror",
    source: "123456789012.dkr.ecr.us-east-1.amazonaws.com/platform/app",
    source_path: "platform/app",
    location: |repository, id, _| format!("https://{HOST}/v2/{repository}/blobs/uploads/{id}-b49173cd"),
    range: |Progress { first, .. }| Some(format!("0-{}", first.saturating_sub(1))),
    chunks: Chunks::Accepted(201),
    // Assumed.
    broken: Broken::Lost(|| error(404, "BLOB_UPLOAD_UNKNOWN", "The upload does not exist")),
    mounts: Mounts::Committed,
    blobs: Blobs::Redirected {
        status: 307,
        url: |repository, digest, signature| {
            let host = "prod-us-east-1-starport-layer-bucket.s3.us-east-1.amazonaws.com";
            format!("https://{host}/{repository}/{digest}?X-Amz-Signature={signature}&X-Amz-Expires=3600")
        },
        heads: Heads::Answered,
    },
    large_layer: 6 * MIB,
    immutable: Some(|repository, tag| {
        let message = format!(
            "The image tag '{tag}' already exists in the '{repository}' repository and cannot be overwritten because the \
             tag is immutable."
        );
        error(400, "TAG_INVALID", &message)
    }),
    repositories: Repositories::MustExist(usize::MAX, |name| {
        let message = format!(
            "The repository with name '{name}' does not exist in the registry with id '123456789012'"
        );
        error(404, "NAME_UNKNOWN", &message)
    }),
    ..DISTRIBUTION
};

passes_all_flows!(&PROFILE);

#[tokio::test]
async fn a_repository_that_does_not_exist_is_named() {
    a_missing_repository_is_named(&PROFILE, &[&format!("create {HOST}/mirror/app first")]).await;
}

/// A proxy on the way resets large requests: the blob goes in chunks, whose answers say 201 and an old `Range`.
#[tokio::test]
async fn chunks_with_a_stale_range_are_not_sent_again() {
    let world = World::with_repositories(&PROFILE, &["large"]).await;
    let image = SampleImage::multi_platform_with_large_layer("1", 12 * MIB);
    let reference = world.offer("large", &image);
    world.registry.state().breaks = vec![6 * MIB; 2];
    ends(world.sync(&[reference]), 0).await;
    world.holds("large", &image);
    let chunks = world.registry.requests("PATCH", "");
    let ranges: Vec<_> = chunks.iter().filter_map(|chunk| chunk.header("content-range")).collect();
    let of_large: Vec<_> =
        ranges.iter().filter(|range| range.ends_with("5242879") || !range.starts_with("0-")).collect();
    assert_eq!(of_large, [&"0-5242879", &"5242880-10485759", &"10485760-12582911"], "{ranges:?}");
}
