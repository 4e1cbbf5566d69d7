//! What looking for attached manifests costs when nothing is attached: requests, and round trips one after the other.

use std::time::{Duration, Instant};

use super::{Answer, SampleImage, Scripted, page};
use crate::support::process::Mirror;

const NAMES: [&str; 3] = ["vendor/app", "vendor/web", "vendor/worker"];
/// How long each answer takes. Requests that do not wait for each other arrive within a small part of it.
const DELAY: Duration = Duration::from_millis(400);

/// The requests of a run.
#[derive(Debug, PartialEq)]
struct Cost {
    source: usize,
    destination: usize,
    /// The longest chain of requests of which each was sent after the answer to the one before.
    round_trips: usize,
}

/// Two slow registries, and images for two platforms.
struct Pair {
    source: Scripted,
    destination: Scripted,
    names: &'static [&'static str],
}

impl Pair {
    async fn start(names: &'static [&'static str], referrers: &Answer) -> Self {
        let (source, destination) = (Scripted::start().await, Scripted::start().await);
        for name in names {
            let image = SampleImage { tag: "1".to_owned(), ..SampleImage::multi_platform(name) };
            source.with_store(|store| store.insert(name, &image));
        }
        for registry in [&source, &destination] {
            registry.on("GET", "/referrers/").answer(referrers.clone());
            registry.delay_answers(DELAY);
        }
        Self { source, destination, names }
    }

    /// Syncs into the destination as it is.
    async fn sync(&self, referrers: &str) -> Cost {
        let before = [&self.source, &self.destination].map(|registry| registry.requests().len());
        let to = format!("{}/m", self.destination.address().host_port);
        let images = self.names.iter().map(|name| self.source.address().image(name, "1"));
        let sync = Mirror::new(["sync", "--to", &to, "--referrers", referrers]).arguments(images);
        sync.arguments(["--platform", "linux/amd64"]).run().await.expect_success();
        let [source, destination] = [(&self.source, before[0]), (&self.destination, before[1])]
            .map(|(registry, before)| registry.requests().split_off(before));
        let at: Vec<Instant> = source.iter().chain(&destination).map(|request| request.at).collect();
        Cost { source: source.len(), destination: destination.len(), round_trips: round_trips(at) }
    }
}

/// The largest number of requests that were not in flight at the same time.
fn round_trips(mut arrivals: Vec<Instant>) -> usize {
    arrivals.sort();
    let (mut count, mut answered) = (0, None);
    for at in arrivals {
        if answered.is_none_or(|answered| at >= answered) {
            (count, answered) = (count + 1, Some(at + DELAY));
        }
    }
    count
}

/// Cold and idle, `--referrers all` costs this many requests more at the source, none at the destination, and at most so
/// many round trips.
async fn assert_costs(
    names: &'static [&'static str],
    referrers: &Answer,
    requests: usize,
    round_trips: usize,
) {
    let (with, without) = tokio::join!(Pair::start(names, referrers), Pair::start(names, referrers));
    for run in ["cold", "idle"] {
        let (all, none) = tokio::join!(with.sync("all"), without.sync("none"));
        assert_eq!(all.source - none.source, requests, "{run}: {all:?}, without {none:?}");
        assert_eq!(all.destination, none.destination, "{run}: {all:?}, without {none:?}");
        assert!(all.round_trips <= none.round_trips + round_trips, "{run}: {all:?}, without {none:?}");
    }
}

/// One request for each of three manifests, the list of tags, and one that finds out whether there is an API.
#[tokio::test]
async fn an_unsigned_image_costs_at_most_one_round_trip_with_the_api() {
    assert_costs(&NAMES[..1], &page(&[]), 5, 1).await;
}

/// The same: the answer may be about the manifest.
#[tokio::test]
async fn an_unsigned_image_costs_at_most_one_round_trip_if_the_registry_knows_nothing_about_it() {
    assert_costs(&NAMES[..1], &Answer::status(404), 5, 1).await;
}

/// The lists of tags are requested while the destination is read, and so is the one request that shows for all that there
/// is no API: that takes no longer than to begin with the source afterwards.
#[tokio::test]
async fn unsigned_images_cost_no_round_trip_without_the_api() {
    let refused = Answer::status(404).body("404 page not found\n");
    assert_costs(&NAMES[..1], &refused, 2, 0).await;
    assert_costs(&NAMES, &refused, 4, 0).await;
}

/// Three requests for each image with the API, its list of tags, and one for all of them that finds out whether there is an
/// API. That one and the lists are requested while the destination is read.
#[tokio::test]
async fn unsigned_images_cost_at_most_one_round_trip_with_the_api() {
    assert_costs(&NAMES, &page(&[]), 13, 1).await;
}
