//! Docker Hub.
//!
//! - Three hosts: `auth.docker.io` for tokens, `registry-1.docker.io` for the API, and a storage
//!   (opencontainers/distribution-spec#299).
//! - docker/hub-feedback#2466: an immutable tag is answered with 403.
//! - <https://docs.docker.com/docker-hub/usage/pulls/>: GETs of manifests count, HEADs do not.

use super::{
    flows::{World, ends},
    profile::{Blobs, DISTRIBUTION, Heads, Login, Profile, error, stateful},
    quotas::Limit,
};
use crate::support::images::SampleImage;

const PROFILE: Profile = Profile {
    registry: "docker.io",
    host: "registry-1.docker.io",
    login: Login::Token {
        realm: "https://auth.docker.io/token",
        service: "registry.docker.io",
        is_posted: false,
    },
    folder: "thoras",
    source: "app",
    source_path: "library/app",
    location: |repository, id, received| stateful("https://registry-1.docker.io", repository, id, received),
    blobs: Blobs::Redirected {
        status: 307,
        url: |_, digest, signature| {
            let host = "docker-images-prod.6aa30f8b08e16409b46e0173d6de2f56.r2.cloudflarestorage.com";
            format!(
                "https://{host}/registry-v2/docker/registry/v2/blobs/{digest}/data?X-Amz-Signature={signature}"
            )
        },
        heads: Heads::Redirected,
    },
    immutable: Some(|_, _| {
        let message = "requested access to the resource is denied - This tag is already assigned to an image in this \
                       repository and cannot be updated due to immutability settings. To push this image, use a different \
                       tag.";
        error(403, "DENIED", message)
    }),
    has_referrers: false,
    headers: &[
        ("docker-distribution-api-version", "registry/2.0"),
        ("ratelimit-limit", "100;w=21600"),
        ("ratelimit-remaining", "76;w=21600"),
        ("docker-ratelimit-source", "203.0.113.7"),
    ],
    ..DISTRIBUTION
};

passes_all_flows!(&PROFILE);

/// Only GETs of manifests count: an idle run makes none.
#[tokio::test]
async fn an_idle_run_does_not_count_as_a_pull() {
    let world = World::start(&PROFILE).await;
    world.registry.state().store.insert("library/app", &SampleImage::multi_platform("1"));
    let to = format!("{}/mirror", world.other.address().host_port);
    let first = ends(world.run(&["sync", "--to", &to, "app:1"]), 0).await;
    let counted = |method| {
        let asked = world.registry.requests(method, "/manifests/").into_iter();
        asked.filter(|asked| asked.header("authorization").is_some()).count()
    };
    assert_eq!(counted("GET"), 3, "an index and two images");
    world.registry.clear();
    ends(world.run(&["sync", "--to", &to, "app:1"]).in_folder(&first.folder()), 0).await;
    assert_eq!((counted("GET"), counted("HEAD")), (0, 1));
}

/// Docker Hub does not say when pulls are possible again. No pull is left and no signature is looked for: an
/// answer to another request would permit one more attempt.
#[tokio::test]
async fn the_limit_of_pulls_is_reported_with_the_words_of_docker_hub() {
    let world = World::start(&PROFILE).await;
    world.registry.state().store.insert("library/app", &SampleImage::multi_platform("1"));
    world.registry.state().limits = vec![Limit::total("GET", "/manifests/", 0, || {
        let message = "You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit";
        error(429, "TOOMANYREQUESTS", message)
    })];
    let to = format!("{}/mirror", world.other.address().host_port);
    let outcome = ends(world.run(&["sync", "--to", &to, "--referrers", "none", "app:1"]), 1).await;
    for said in
        ["429 TOOMANYREQUESTS: You have reached your", "docker.io limits the number of requests", "log in"]
    {
        assert!(outcome.stderr.contains(said), "{outcome}");
    }
    assert_eq!(world.registry.state().limits[0].refused, 5, "one request and its retries");
}
