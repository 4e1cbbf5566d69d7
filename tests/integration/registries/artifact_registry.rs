//! Google Artifact Registry.
//!
//! - <https://cloud.google.com/artifact-registry/docs/reference/docker-api>: no chunked uploads. What PATCH answers is assumed.
//! - containers/skopeo#1101, gitpod-io/gitpod#10214: the `Location` of an upload is a path outside `/v2/`.
//! - Blobs are read from a signed path of the same host, which needs no login.

use super::{
    flows::{World, a_missing_repository_is_named, ends},
    profile::{Blobs, Broken, Chunks, DISTRIBUTION, Heads, Login, Profile, Progress, Repositories, error},
};
use crate::support::{http_server::Answer, images::SampleImage};

const MIB: usize = 1024 * 1024;

const PROFILE: Profile = Profile {
    registry: "us-east4-docker.pkg.dev",
    host: "us-east4-docker.pkg.dev",
    login: Login::Token {
        realm: "https://us-east4-docker.pkg.dev/v2/token",
        service: "us-east4-docker.pkg.dev",
        is_posted: false,
    },
    folder: "thoras/mirror",
    source: "us-east4-docker.pkg.dev/thoras/platform/app",
    source_path: "thoras/platform/app",
    location: |repository, id, _| {
        let mut parts = repository.split('/');
        let (project, folder) = (parts.next().unwrap(), parts.next().unwrap());
        format!(
            "/artifacts-uploads/namespaces/{project}/repositories/{folder}/uploads/AF2k-{id}{}",
            "x".repeat(900)
        )
    },
    range: |_: Progress| None,
    chunks: Chunks::Unsupported(|| Answer::status(404)),
    broken: Broken::Lost(|| Answer::status(404)),
    blobs: Blobs::Redirected {
        status: 302,
        url: |repository, digest, signature| {
            format!(
                "/artifacts-downloads/namespaces/{repository}/downloads/{signature}{digest}{}",
                "y".repeat(900)
            )
        },
        heads: Heads::Answered,
    },
    large_layer: 6 * MIB,
    immutable: Some(|_, tag| {
        let message = format!("cannot update tag {tag}. The repository has enabled tag immutability");
        error(400, "MANIFEST_INVALID", &message)
    }),
    repositories: Repositories::MustExist(2, |name| {
        let name = name.split('/').nth(1).unwrap_or_default();
        error(404, "NAME_UNKNOWN", &format!("Repository \"{name}\" not found"))
    }),
    ..DISTRIBUTION
};

passes_all_flows!(&PROFILE);

#[tokio::test]
async fn a_repository_that_does_not_exist_is_named() {
    let says = "create us-east4-docker.pkg.dev/thoras/mirror/app first";
    a_missing_repository_is_named(&PROFILE, &[says]).await;
}

/// Several interruptions do not lead to chunks.
#[tokio::test]
async fn what_breaks_repeatedly_is_still_sent_whole() {
    let world = World::with_repositories(&PROFILE, &["large"]).await;
    let image = SampleImage::multi_platform_with_large_layer("1", 6 * MIB);
    let reference = world.offer("large", &image);
    world.registry.state().breaks = vec![3 * MIB; 2];
    ends(world.sync(&[reference]), 0).await;
    world.holds("large", &image);
    assert!(world.registry.count("PATCH", "") <= 1, "one refused chunk says enough");
}
