//! GitLab.
//!
//! - The token server is another host. It denies a project that does not exist.
//! - hpc/charliecloud#1501: absolute `Location`s. GitLab's registry descends from CNCF distribution.
//! - <https://docs.gitlab.com/user/packages/container_registry/immutable_container_tags>: immutable tags. The answer is
//!   assumed.

use super::{
    flows::{World, ends},
    profile::{Blobs, DISTRIBUTION, Heads, Login, Profile, Repositories, error, stateful},
};
use crate::support::images::SampleImage;

const PROFILE: Profile = Profile {
    registry: "registry.gitlab.com",
    host: "registry.gitlab.com",
    login: Login::Token {
        realm: "https://gitlab.com/jwt/auth",
        service: "container_registry",
        is_posted: false,
    },
    folder: "thoras/mirror",
    source: "registry.gitlab.com/thoras/platform/app",
    source_path: "thoras/platform/app",
    location: |repository, id, received| stateful("https://registry.gitlab.com", repository, id, received),
    blobs: Blobs::Redirected {
        status: 307,
        url: |_, digest, signature| {
            format!(
                "https://cdn.registry.gitlab-static.net/blobs/{digest}?Expires=1&KeyName=k&Signature={signature}"
            )
        },
        heads: Heads::Answered,
    },
    immutable: Some(|_, tag| error(403, "DENIED", &format!("tag {tag} is immutable"))),
    repositories: Repositories::MustExistForToken(2, |_| error(403, "DENIED", "access forbidden")),
    has_referrers: false,
    headers: &[
        ("docker-distribution-api-version", "registry/2.0"),
        ("gitlab-container-registry-version", "4.19.0-gitlab"),
    ],
    ..DISTRIBUTION
};

passes_all_flows!(&PROFILE);

#[tokio::test]
async fn a_project_that_does_not_exist_is_a_denied_push() {
    let world = World::start(&PROFILE).await;
    let reference = world.offer("app", &SampleImage::multi_platform("1"));
    let outcome = ends(world.sync(&[reference]), 4).await;
    assert!(outcome.stderr.contains("https://gitlab.com/jwt/auth"), "{outcome}");
    assert!(outcome.stderr.contains("registry.gitlab.com/thoras/mirror/app"), "{outcome}");
    assert!(outcome.stderr.contains("access forbidden"), "{outcome}");
}
