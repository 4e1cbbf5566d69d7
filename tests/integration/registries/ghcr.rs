//! GitHub's registry.
//!
//! - oras-project/rust-oci-client#35: a chunk of more than 4 MiB is answered with 416 and a code of its own.
//! - hpc/charliecloud#1501: the `Location` of an upload is relative, below `blobs/upload/`.
//! - That interrupted uploads can be resumed is assumed.

use super::{
    flows::{World, ends},
    profile::{Blobs, Broken, Chunks, DISTRIBUTION, Heads, Login, Profile, error},
};
use crate::support::images::SampleImage;

const MIB: usize = 1024 * 1024;
const MAX_CHUNK_SIZE: u64 = 4 * 1024 * 1024;

const PROFILE: Profile = Profile {
    registry: "ghcr.io",
    host: "ghcr.io",
    login: Login::Token { realm: "https://ghcr.io/token", service: "ghcr.io", is_posted: false },
    folder: "thoras/mirror",
    source: "ghcr.io/thoras/app",
    source_path: "thoras/app",
    location: |repository, id, _| format!("/v2/{repository}/blobs/upload/384a86f0-{id}"),
    chunks: Chunks::UpTo(202, MAX_CHUNK_SIZE, || {
        let message = "the request body is too large and exceeds the maximum permissible limit of 4.00MiB";
        error(416, "REQUESTED_RANGE_NOT_SATISFIABLE", message)
    }),
    broken: Broken::Kept,
    blobs: Blobs::Redirected {
        status: 307,
        url: |_, digest, signature| {
            format!(
                "https://pkg-containers.githubusercontent.com/ghcr1/blobs/{digest}?se=2026&sig={signature}%3D"
            )
        },
        heads: Heads::Redirected,
    },
    large_layer: 9 * MIB,
    has_referrers: false,
    ..DISTRIBUTION
};

passes_all_flows!(&PROFILE);

/// Resets lead to chunks, which stay within the limit.
#[tokio::test]
async fn chunks_have_at_most_four_mebibytes() {
    let world = World::with_repositories(&PROFILE, &["large"]).await;
    let image = SampleImage::multi_platform_with_large_layer("1", 9 * MIB);
    let reference = world.offer("large", &image);
    world.registry.state().breaks = vec![5 * MIB; 2];
    ends(world.sync(&[reference]), 0).await;
    world.holds("large", &image);
    let chunks = world.registry.requests("PATCH", "");
    let length = |chunk: &crate::support::scripted::Recorded| {
        chunk.header("content-length").unwrap().parse::<u64>().unwrap()
    };
    assert!(chunks.len() >= 3 && chunks.iter().all(|chunk| length(chunk) <= MAX_CHUNK_SIZE), "{chunks:?}");
}

/// The object storage refuses HEAD: the signature is for GET alone (containerd/stargz-snapshotter#167).
#[tokio::test]
async fn a_storage_that_refuses_head_is_asked_with_get() {
    const REFUSING: Profile = Profile {
        blobs: match PROFILE.blobs {
            Blobs::Redirected { status, url, .. } => {
                Blobs::Redirected { status, url, heads: Heads::RefusedByStorage }
            }
            Blobs::Direct => Blobs::Direct,
        },
        ..PROFILE
    };
    crate::registries::flows::images_arrive(&REFUSING).await;
}
