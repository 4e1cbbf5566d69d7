//! Registries that limit the requests of one action: all images arrive, and no request is refused if the quota is known or
//! passed with `--quota`, and few if it is not.
//!
//! Requests are counted; no test fails because a run is slow, unless it takes minutes.

use std::time::Instant;

use futures::future::join_all;

use super::{
    ecr,
    flows::{World, ends},
    profile::{Login, Profile, Repositories},
};
use crate::support::{
    images::SampleImage,
    process::Mirror,
    scripted::{Answer, Recorded},
};

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

/// What is limited: manifests, the beginning of an upload, and its completion.
const ACTIONS: [(&str, &str); 3] =
    [("PUT", "/manifests/"), ("POST", "/blobs/uploads/"), ("PUT", "/blobs/uploads/")];

/// Copies an image with so many manifests and blobs to a registry with these limits. Returns how many requests were
/// refused, by limit.
async fn refusals(
    profile: &'static Profile,
    (manifests, blobs): (usize, usize),
    limits: [Limit; 3],
    arguments: &[&str],
) -> [usize; 3] {
    let world = World::with_repositories(profile, &["app"]).await;
    let image = SampleImage::of_many_parts("1", manifests - 1, blobs - 1);
    let offered = world.offer("app", &image);
    world.registry.state().limits = limits.into();
    ends(world.sync(&[offered]).arguments(["--platform", "linux/amd64"]).arguments(arguments), 0).await;
    world.holds("app", &image);
    for ((method, path), needed) in ACTIONS.into_iter().zip([manifests, blobs, blobs]) {
        assert!(world.registry.count(method, path) >= needed, "{method} {path} is what is limited");
    }
    let state = world.registry.state();
    std::array::from_fn(|at| state.limits[at].refused)
}

/// A run that does not know these limits exceeds them. It has many more requests than they permit, so that this is so on
/// a busy machine as well, and ends at the first refusal.
async fn exceeds((manifests, blobs): (usize, usize), limits: [Limit; 3], arguments: &[&str]) {
    let world = World::with_repositories(&ecr::PROFILE, &["app"]).await;
    let offered = world.offer("app", &SampleImage::of_many_parts("1", manifests - 1, blobs - 1));
    world.registry.state().limits = limits.into();
    let run = world.sync(&[offered]).arguments(["--platform", "linux/amd64", "--retries", "0"]);
    let outcome = ends(run.arguments(arguments), 1).await;
    assert!(outcome.stderr.contains("Rate exceeded"), "{outcome}");
}

/// So many of each action per second.
fn strict(permitted: [f64; 3], answer: fn() -> Answer) -> [Limit; 3] {
    std::array::from_fn(|at| Limit::new(ACTIONS[at].0, ACTIONS[at].1, permitted[at], answer))
}

/// The same for a client that keeps to it: what it sends may arrive more closely together if the machine is busy, but twice
/// as many at once only if it stands still for a second.
fn lenient(permitted: [f64; 3]) -> [Limit; 3] {
    strict(permitted, rate_exceeded).map(|limit| {
        let capacity = limit.per_second * 2.0;
        Limit { capacity, tokens: capacity, ..limit }
    })
}

/// The quotas of ECR.
const ECR: [f64; 3] = [10.0, 100.0, 100.0];
const UNLIMITED: f64 = 1e9;

/// The quotas of this registry are known.
#[tokio::test]
async fn a_run_to_ecr_keeps_to_its_quotas_from_the_start() {
    assert_eq!(refusals(&ecr::PROFILE, (60, 2), lenient(ECR), &[]).await, [0; 3]);
}

#[tokio::test]
async fn a_raised_quota_is_used() {
    let raised = ["--quota", "PutImage=20"];
    let limits = lenient([20.0, 100.0, 100.0]);
    let usual = lenient([10.0, UNLIMITED, UNLIMITED]);
    let refusals = refusals(&ecr::PROFILE, (80, 2), limits, &raised);
    let (refused, ()) = tokio::join!(refusals, exceeds((200, 2), usual, &raised));
    assert_eq!(refused, [0; 3]);
}

#[tokio::test]
async fn a_lowered_quota_is_kept_from_the_start() {
    let lowered = ["--quota", "PutImage=2,InitiateLayerUpload=10", "--quota", "CompleteLayerUpload=8"];
    let permitted = [2.0, 10.0, 8.0];
    // Without these flags, each of the limits is exceeded.
    let only = async |at: usize| {
        let mut limits = [UNLIMITED; 3];
        limits[at] = permitted[at];
        exceeds([(60, 2), (3, 200), (3, 200)][at], lenient(limits), &[]).await;
    };
    let refusals = refusals(&ecr::PROFILE, (9, 30), lenient(permitted), &lowered);
    let (refused, _) = tokio::join!(refusals, join_all((0..3).map(only)));
    assert_eq!(refused, [0; 3]);
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
        let refused = refusals(&UNKNOWN, (100, 2), strict(ECR, answer), &[]).await;
        // What is in flight when the first refusal arrives, and a few later ones.
        assert!((1..=25).contains(&refused[0]), "{refused:?} of 100 manifests");
    }
}

/// The limit of `PutImage` in a dry run, and the seconds that it costs.
async fn planned(world: &World, image: &str, arguments: &[&str], variable: &str) -> (String, u64) {
    let run = world.sync(&[image.to_owned()]).arguments(arguments).env("THORAS_MIRROR_QUOTA", variable);
    let run = run.arguments(["--dry-run", "--output", "json", "--platform", "linux/amd64"]);
    let outcome = ends(run, 0).await;
    let document: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let quotas =
        document["requests"].as_array().unwrap().iter().filter_map(|there| there["quotas"].as_array());
    let met = quotas.flatten().find(|met| met["action"] == "PutImage").unwrap();
    assert_eq!(met["requests"], 31, "{met:#}");
    (met["limit"].as_str().unwrap().to_owned(), met["seconds"].as_u64().unwrap())
}

#[tokio::test]
async fn a_dry_run_counts_with_the_quotas_that_a_run_keeps_to() {
    let world = World::with_repositories(&ecr::PROFILE, &["app"]).await;
    let image = world.offer("app", &SampleImage::of_many_parts("1", 30, 1));
    let own = format!("{}/putimage=100", ecr::PROFILE.registry);
    for (arguments, variable, limit, seconds) in [
        (&[][..], "PutImage=10", "10 per second", 3),
        (&["--quota", "PutImage=1"], "PutImage=10", "1 per second", 30),
        (&["--quota", "PutImage=1", "--quota", &own], "PutImage=10", "100 per second", 0),
        // A variable may be set for other commands.
        (&[], "requests=9,PutImage=5", "5 per second", 6),
        // Its quota of Docker Hub counts nothing here.
        (&[], "pulls=200", "10 per second", 3),
        (&["--shard", "0/1"], "PutImage=5", "5 per second", 6),
    ] {
        let found = planned(&world, &image, arguments, variable).await;
        assert_eq!(found, (limit.to_owned(), seconds), "{arguments:?} {variable}");
    }
    // The only image belongs to one of two machines, which may use half of the quota.
    let mut found = None;
    for shard in ["0/2", "1/2"] {
        let run = world.sync(std::slice::from_ref(&image)).arguments(["--shard", shard]);
        let run = run.arguments(["--quota", "PutImage=4", "--dry-run", "--platform", "linux/amd64"]);
        let outcome = ends(run, 0).await;
        let line = outcome.stdout.lines().find(|line| line.contains("PutImage")).map(str::to_owned);
        found = found.or(line);
    }
    let expected = "at least 15.0 s: 31 PutImage, limited to 4 per second, shared by 2 machines";
    assert_eq!(found.as_deref(), Some(expected));
    assert_eq!(world.writes(), 0);
}

#[tokio::test]
async fn a_quota_that_counts_nothing_is_refused_before_anything_is_copied() {
    let world = World::with_repositories(&ecr::PROFILE, &["app"]).await;
    let image = world.offer("app", &SampleImage::multi_platform("1"));
    let ecr = ecr::PROFILE.registry;
    let of_run = format!(
        "the quotas that apply to this run: CompleteLayerUpload ({ecr}), InitiateLayerUpload ({ecr}), \
                          PutImage ({ecr})"
    );
    let none = "no registry of this run has a known quota that applies";
    let at_ecr = format!("{ecr}/mirror");
    let local = format!("{}/mirror", world.other.address().host_port);
    let verify = ["verify", "--against", "source", "--to", &at_ecr, &image];
    for (arguments, quota, says) in [
        (&["sync", "--to", &at_ecr, &image][..], "requests=5", of_run.as_str()),
        (&["sync", "--to", &at_ecr, &image], "eu.gcr.io/requests=5", &of_run),
        (&["sync", "--to", &local, &image], "PutImage=5", none),
        (&["bundle", "export", "-o", "b.tar", &image], "PutImage=5", none),
        (&["bundle", "import", "b.tar", "--to", &local], "PutImage=5", none),
        (&verify, "PutImage=5", none),
    ] {
        let outcome = ends(world.run(arguments).arguments(["--quota", quota]), 2).await;
        let message = format!("--quota {quota} has no effect: it counts no request of this run");
        assert!(outcome.stderr.contains(&message) && outcome.stderr.contains(says), "{outcome}");
    }
    assert_eq!(world.writes(), 0);
}

#[tokio::test]
async fn a_mistake_in_a_quota_names_the_quotas_that_exist() {
    let sync = |arguments: &[&str]| {
        Mirror::new(["sync", "--to", "r.example/x", "quay.io/a/b:1"]).arguments(arguments.iter().copied())
    };
    for (quota, says) in [
        ("PutImages=5", "there is no quota `PutImages`; known quotas: PutImage (Amazon ECR), "),
        ("ghcr.io/PutImage=5", "ghcr.io has no known quota `PutImage`; known quotas: requests (GHCR)"),
        (
            "PutImage=0",
            "N is a whole number of at least 1: how many PutImage the registry permits per second",
        ),
        (
            "requests=2,000",
            "'000' for '--quota <[HOST/]NAME=N>': expected [HOST/]NAME=N, such as PutImage=100",
        ),
        ("PutImage=5,putimage=6", "--quota: PutImage has two values, 5 and 6"),
    ] {
        let typed = ends(sync(&["--quota", quota]), 2).await;
        assert!(typed.stderr.contains(says), "{typed}");
        let exported = ends(sync(&[]).env("THORAS_MIRROR_QUOTA", quota), 2).await;
        assert!(
            exported.stderr.contains(says) && exported.stderr.contains("THORAS_MIRROR_QUOTA"),
            "{exported}"
        );
    }
}
