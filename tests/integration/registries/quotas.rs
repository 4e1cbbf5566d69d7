//! Registries that limit the requests of one action: all images arrive, and few requests are refused.

use std::time::Instant;

use super::{
    ecr,
    flows::{World, ends},
    profile::{Login, Profile, Repositories},
};
use crate::support::{
    images::SampleImage,
    scripted::{Answer, Recorded},
};

const IMAGES: usize = 100;

/// A quota, as a bucket.
#[derive(Debug)]
pub(super) struct Limit {
    method: &'static str,
    path: &'static str,
    per_second: f64,
    capacity: f64,
    tokens: f64,
    last: Option<Instant>,
    answer: fn() -> Answer,
    pub refused: usize,
}

impl Limit {
    /// So many in a second, or all of them at its start.
    fn new(method: &'static str, path: &'static str, per_second: f64, answer: fn() -> Answer) -> Self {
        let (capacity, tokens) = (per_second, per_second);
        Self { method, path, per_second, capacity, tokens, last: None, answer, refused: 0 }
    }

    /// So many in all.
    pub(super) fn total(method: &'static str, path: &'static str, most: u32, answer: fn() -> Answer) -> Self {
        let all = Self::new(method, path, f64::from(most), answer);
        Self { per_second: 0.0, ..all }
    }

    /// The refusal of a request, if there are too many.
    pub(super) fn refusal(&mut self, request: &Recorded) -> Option<Answer> {
        if !request.is(self.method, self.path) {
            return None;
        }
        let passed = self.last.replace(request.at).map_or(0.0, |last| (request.at - last).as_secs_f64());
        self.tokens = (self.tokens + passed * self.per_second).min(self.capacity);
        if self.tokens < 1.0 {
            self.refused += 1;
            return Some((self.answer)());
        }
        self.tokens -= 1.0;
        None
    }
}

/// <https://docs.aws.amazon.com/AmazonECR/latest/userguide/common-errors-docker.html>
fn rate_exceeded() -> Answer {
    super::profile::error(429, "TOOMANYREQUESTS", "Rate exceeded")
}

fn exception() -> Answer {
    let exception = serde_json::json!({ "__type": "ThrottlingException", "message": "Rate exceeded" });
    Answer::json(400, &exception)
}

/// The quotas of ECR.
fn limits(answer: fn() -> Answer) -> Vec<Limit> {
    vec![
        Limit::new("PUT", "/manifests/", 10.0, answer),
        Limit::new("POST", "/blobs/uploads/", 100.0, answer),
        Limit::new("PUT", "/blobs/uploads/", 100.0, answer),
    ]
}

/// Copies a hundred images. Returns how many requests were refused, by limit.
async fn refusals(profile: &'static Profile, answer: fn() -> Answer) -> Vec<usize> {
    let names: Vec<String> = (0..IMAGES).map(|number| format!("app{number}")).collect();
    let world =
        World::with_repositories(profile, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let images: Vec<SampleImage> =
        names.iter().map(|name| SampleImage::single_platform(name, "amd64")).collect();
    let offered: Vec<String> =
        names.iter().zip(&images).map(|(name, image)| world.offer(name, image)).collect();
    world.registry.state().limits = limits(answer);
    ends(world.sync(&offered).arguments(["--platform", "linux/amd64"]), 0).await;
    for (name, image) in names.iter().zip(&images) {
        world.holds(name, image);
    }
    world.registry.state().limits.iter().map(|limit| limit.refused).collect()
}

/// The quotas of this registry are known.
#[tokio::test]
async fn a_run_to_ecr_keeps_to_its_quotas_from_the_start() {
    let refused = refusals(&ecr::PROFILE, rate_exceeded).await;
    assert!(refused.iter().sum::<usize>() <= 5, "{refused:?} of about {IMAGES} manifests and 600 uploads");
}

/// A registry with the same quotas, under a name that says nothing.
#[tokio::test]
async fn the_quotas_of_an_unknown_registry_are_learned() {
    const UNKNOWN: Profile = Profile {
        registry: "registry.example.com",
        host: "registry.example.com",
        login: Login::Basic("Basic realm=\"registry\""),
        location: |repository, id, _| format!("/v2/{repository}/blobs/uploads/{id}"),
        repositories: Repositories::Created,
        ..ecr::PROFILE
    };
    for answer in [rate_exceeded, exception] {
        let refused = refusals(&UNKNOWN, answer).await;
        // What is in flight when the first refusal arrives, and a few later ones.
        assert!((1..=25).contains(&refused[0]), "{refused:?} of {IMAGES} manifests");
    }
}
