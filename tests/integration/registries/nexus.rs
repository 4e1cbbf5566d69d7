//! Sonatype Nexus with redeployment disabled, where tags and blobs cannot be written twice.
//!
//! - GoogleContainerTools/jib#3057, GoogleContainerTools/jib#2395: the answer about a tag that exists.
//! - sonatype/nexus-public#967: the answer to a blob that another repository received in the meantime. Repositories share
//!   their blobs.
//! - The form of a `Location` and what becomes of an interrupted upload are assumed.

use super::{
    flows::World,
    profile::{Broken, DISTRIBUTION, Login, Mounts, Profile, detailed, error},
};
use crate::support::{
    images::SampleImage,
    scripted::{Action, Gate},
};

const PROFILE: Profile = Profile {
    registry: "nexus.example.com",
    host: "nexus.example.com",
    login: Login::Basic("BASIC realm=\"Sonatype Nexus Repository Manager\""),
    folder: "mirror",
    source: "nexus.example.com/platform/app",
    source_path: "platform/app",
    location: |repository, id, _| format!("/v2/{repository}/blobs/uploads/cf55dd02-{id}"),
    broken: Broken::Lost(|| error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")),
    mounts: Mounts::Shared,
    immutable: Some(|_, _| {
        let detail = serde_json::json!("Repository does not allow updating assets: docker-hosted");
        detailed(400, "BLOB_UPLOAD_INVALID", "blob upload invalid", &detail)
    }),
    existing_blob: Some(|digest| {
        let detail = serde_json::json!(format!("docker-hosted/v2/-/blobs/{digest} cannot be updated"));
        detailed(400, "BLOB_UPLOAD_INVALID", "blob upload invalid", &detail)
    }),
    has_referrers: false,
    headers: &[("docker-distribution-api-version", "registry/2.0"), ("server", "Nexus/3.82.0-08 (PRO)")],
    ..DISTRIBUTION
};

passes_all_flows!(&PROFILE);

/// Another client uploads the same layer to another repository while ours is on its way.
#[tokio::test]
async fn a_blob_that_arrived_meanwhile_is_found() {
    let world = World::with_repositories(&PROFILE, &["app"]).await;
    let image = SampleImage::multi_platform("1");
    let reference = world.offer("app", &image);
    let (digest, bytes) = image.blobs.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let gate = Gate::default();
    world.other.on("GET", digest.as_str()).then(Action::Hold(gate.clone()));
    let run = world.sync(&[reference]).start();
    gate.reached_by(1).await;
    world.registry.state().store.repository("other/app").blobs.insert(digest.clone(), bytes.clone());
    gate.open();
    let _ = run.outcome().await.expect_success();
    world.holds("app", &image);
}
