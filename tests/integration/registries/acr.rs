//! Azure Container Registry.
//!
//! - opencontainers/artifacts#55: connections are closed during a PUT of a large blob; goharbor/harbor#23015: 413 for more
//!   than about 20 MB; goharbor/harbor#23016: 400 `CONTENT_LENGTH_INVALID` for a chunk without a length.
//! - Azure/azure-sdk-for-js#25448: an interrupted upload is lost (404 `BLOB_UPLOAD_INVALID`).
//! - Azure/azure-sdk-for-net#22827: the answer about a locked tag.
//! - Blobs are in Azure's storage, which refuses a request that has an `Authorization` in addition to its signature.

use super::{
    flows::{World, ends},
    profile::{Blobs, Chunks, DISTRIBUTION, Heads, Login, Profile, Whole, error, page},
};
use crate::support::{http_server::Answer, images::SampleImage};

const MIB: usize = 1024 * 1024;
const MAX_BODY_SIZE: u64 = 20_000_000;

const PROFILE: Profile = Profile {
    registry: "thoras.azurecr.io",
    host: "thoras.azurecr.io",
    login: Login::Token {
        realm: "https://thoras.azurecr.io/oauth2/token",
        service: "thoras.azurecr.io",
        is_posted: true,
    },
    folder: "mirror",
    source: "thoras.azurecr.io/platform/app",
    source_path: "platform/app",
    location: |repository, id, received| {
        format!("/v2/{repository}/blobs/uploads/a064371b-{id}?_nouploadcache=false&_state=Hw%2B{received}%3D")
    },
    whole: Whole::ResetAfter(MAX_BODY_SIZE),
    chunks: Chunks::UpTo(202, MAX_BODY_SIZE, too_large),
    blobs: Blobs::Redirected {
        status: 307,
        url: |_, digest, signature| {
            format!(
                "https://eusmanaged1.blob.core.windows.net/8f6/{digest}?se=2026&sig={signature}%3D&sp=r&sr=b"
            )
        },
        heads: Heads::Answered,
    },
    large_layer: 21 * MIB,
    immutable: Some(|_, _| {
        let message = "The operation is disallowed on this registry, repository or image. View troubleshooting steps at \
                       https://aka.ms/acr/faq/#why-does-my-pull-or-push-request-fail-with-disallowed-operation";
        error(405, "REGISTRY_DISALLOWED_OPERATION", message)
    }),
    ..DISTRIBUTION
};

passes_all_flows!(&PROFILE);

/// The same registry, when it answers before the connection is closed.
const ANSWERING: Profile = Profile { whole: Whole::RefusedAbove(MAX_BODY_SIZE, too_large), ..PROFILE };

fn too_large() -> Answer {
    page(413, "413 Request Entity Too Large - AzureContainerRegistry")
}

#[tokio::test]
async fn a_413_for_a_large_put_leads_to_chunks_at_once() {
    let world = World::with_repositories(&ANSWERING, &["large"]).await;
    let image = SampleImage::multi_platform_with_large_layer("1", 21 * MIB);
    let reference = world.offer("large", &image);
    ends(world.sync(&[reference]), 0).await;
    world.holds("large", &image);
    assert!(world.registry.count("PATCH", "") >= 5);
}
