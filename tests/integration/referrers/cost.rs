//! What looking for attached manifests costs when nothing is attached: requests, and round trips one after the other.

use std::time::{Duration, Instant};

use super::{Answer, SampleImage, Scripted, page};
use crate::support::process::Mirror;

const NAME: &str = "vendor/app";
/// How long each answer takes. Requests that do not wait for each other arrive within a small part of it.
const DELAY: Duration = Duration::from_millis(250);

/// The requests of a run.
#[derive(Debug, PartialEq)]
struct Cost {
    source: usize,
    destination: usize,
    /// The longest chain of requests of which each was sent after the answer to the one before.
    round_trips: usize,
}

/// Two slow registries.
struct Pair {
    source: Scripted,
    destination: Scripted,
}

impl Pair {
    async fn start(referrers: &Answer) -> Self {
        let (source, destination) = (Scripted::start().await, Scripted::start().await);
        source.with_store(|store| store.insert(NAME, &SampleImage::multi_platform("1")));
        for registry in [&source, &destination] {
            registry.on("GET", "/referrers/").answer(referrers.clone());
            registry.delay_answers(DELAY);
        }
        Self { source, destination }
    }

    /// Syncs into the destination as it is.
    async fn sync(&self, referrers: &str) -> Cost {
        let before = [&self.source, &self.destination].map(|registry| registry.requests().len());
        let to = format!("{}/m", self.destination.address().host_port);
        let image = self.source.address().image(NAME, "1");
        let sync = Mirror::new(["sync", "--to", &to, &image, "--referrers", referrers]);
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

/// Cold and idle, `--referrers all` costs this many requests more at the source, none at the destination, and at most two
/// round trips.
async fn assert_costs(referrers: &Answer, requests: [usize; 2]) {
    let (with, without) = tokio::join!(Pair::start(referrers), Pair::start(referrers));
    for (run, requests) in ["cold", "idle"].into_iter().zip(requests) {
        let (all, none) = tokio::join!(with.sync("all"), without.sync("none"));
        assert_eq!(all.source - none.source, requests, "{run}: {all:?}, without {none:?}");
        assert_eq!(all.destination, none.destination, "{run}: {all:?}, without {none:?}");
        assert!(all.round_trips <= none.round_trips + 2, "{run}: {all:?}, without {none:?}");
    }
}

/// One request for each of three manifests, and the list of tags.
#[tokio::test]
async fn an_unsigned_image_costs_at_most_two_round_trips_with_the_api() {
    assert_costs(&page(&[]), [4, 4]).await;
}

/// The same: all three requests are sent before the first answer says that there is no API.
#[tokio::test]
async fn an_unsigned_image_costs_at_most_two_round_trips_without_the_api() {
    assert_costs(&Answer::status(404), [4, 4]).await;
}
