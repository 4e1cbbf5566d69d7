//! Artifactory.
//!
//! - docker/buildx#196, moby/buildkit#1130: some versions answer 404 to a PUT with bytes, and take PATCH. The code is from
//!   the former.
//! - google/go-containerregistry#1691: a HEAD of a tag that does not exist is answered with 403.
//! - GoogleContainerTools/kaniko#1095: the answer to a user who may push but not overwrite.
//! - moby/buildkit#1130: the token server's path.

use super::{
    flows::{World, ends},
    profile::{Broken, DISTRIBUTION, Login, Profile, Whole, detailed, error},
};
use crate::support::{http_server::Answer, images::SampleImage};

const PROFILE: Profile = Profile {
    registry: "thoras.jfrog.io",
    host: "thoras.jfrog.io",
    login: Login::Token {
        realm: "https://thoras.jfrog.io/artifactory/api/docker/docker-local/v2/token",
        service: "thoras.jfrog.io",
        is_posted: false,
    },
    folder: "docker-local/mirror",
    source: "thoras.jfrog.io/docker-local/app",
    source_path: "docker-local/app",
    location: |repository, id, _| {
        format!("https://thoras.jfrog.io/v2/{repository}/blobs/uploads/98fb9ada-{id}")
    },
    whole: Whole::Unsupported(|| error(404, "BLOB_UNKNOWN", "blob unknown to registry")),
    // Assumed.
    broken: Broken::Lost(|| Answer::status(404)),
    immutable: Some(|_, _| {
        let detail = serde_json::json!({ "description": "HTTP 403 Forbidden" });
        detailed(403, "MANIFEST_INVALID", "manifest invalid", &detail)
    }),
    hides_tags: true,
    headers: &[
        ("docker-distribution-api-version", "registry/2.0"),
        ("x-jfrog-version", "Artifactory/7.90.8"),
    ],
    ..DISTRIBUTION
};

passes_all_flows!(&PROFILE);

/// Newer versions accept a PUT with bytes.
#[tokio::test]
async fn a_version_that_accepts_whole_blobs_gets_them_whole() {
    const NEWER: Profile = Profile { whole: Whole::Accepted, ..PROFILE };
    let world = World::with_repositories(&NEWER, &["app"]).await;
    let image = SampleImage::multi_platform("1");
    let reference = world.offer("app", &image);
    ends(world.sync(&[reference]), 0).await;
    world.holds("app", &image);
    assert_eq!(world.registry.count("PATCH", ""), 0);
}
