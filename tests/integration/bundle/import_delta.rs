//! Deltas: the omitted blobs are found at the destination, or the import fails before any transfer.

use thoras_mirror::oci::Digest;

use super::importing::*;
use crate::support::client;

/// The layer that both images share.
fn shared(team: &Team) -> Digest {
    let is_layer = |digest: &&Digest| !team.app.blobs[*digest].starts_with(b"{");
    let mut both =
        team.app.blobs.keys().filter(|digest| team.web.blobs.contains_key(digest)).filter(is_layer);
    both.next().unwrap().clone()
}

/// The bundle of both images without their shared layer, which is in the repositories `places` according to the lock.
fn delta(team: &Team, places: &[&str]) -> SampleBundle {
    team.builder().without(&Digest::sha256(b"base"), &[(&shared(team), places)]).build()
}

#[tokio::test]
async fn blobs_already_in_the_target_repositories_are_not_missing() {
    let team = Team::start().await;
    let old = SampleImage::multi_platform("old");
    for repository in ["mirror/app", "mirror/web"] {
        client::push(&old, team.registry.address(), repository).await;
    }
    let file = team.file(&delta(&team, &[]).bytes);
    import(&file, &team.to(), &[]).run().await.expect_success();
    let tags = team.registry.storage().tags();
    assert_eq!(tags["mirror/app:1"], team.app.root().digest);
    assert_eq!(tags["mirror/web:2"], team.web.root().digest);
    assert!(team.registry.storage().incomplete_tags().is_empty());
}

#[tokio::test]
async fn blobs_in_the_bases_repositories_are_mounted() {
    for place in ["registry.example.com/team/old", "DESTINATION/mirror/old", "DESTINATION/mirror/deep/place"]
    {
        let team = Team::start().await;
        let address = team.registry.address().clone();
        let place = place.replace("DESTINATION", &address.host_port);
        let holder = if place.contains("deep/place") { "mirror/deep/place" } else { "mirror/old" };
        client::push(&team.app, &address, holder).await;
        team.registry.clear_requests().await;
        let bundle = delta(&team, &["ignored.example.com/x", "not a repository", &place]);
        let file = team.file(&bundle.bytes);
        let outcome = import(&file, &team.to(), &[]).run().await.expect_success();
        let shared = shared(&team);
        let storage = team.registry.storage();
        assert!(
            storage.has_blob("mirror/app", &shared) && storage.has_blob("mirror/web", &shared),
            "{outcome}"
        );
        assert!(storage.incomplete_tags().is_empty());
        assert_eq!(storage.tags()["mirror/app:1"], team.app.root().digest);
        assert_eq!(team.registry.count("GET", shared.as_str()).await, 0, "{place}: mounted, not copied");
    }
}

/// Whoever wrote the bundle must not choose which private repository a blob is mounted from.
#[tokio::test]
async fn a_delta_mounts_only_from_below_the_destination_bug() {
    for place in ["DESTINATION/private/place", "DESTINATION/mirror-private/place", "DESTINATION/mirror"] {
        let team = Team::start().await;
        let address = team.registry.address().clone();
        let holder = place.strip_prefix("DESTINATION/").unwrap();
        client::push(&team.app, &address, holder).await;
        team.registry.clear_requests().await;
        let bundle = delta(&team, &[&place.replace("DESTINATION", &address.host_port)]);
        let file = team.file(&bundle.bytes);
        let outcome = import(&file, &team.to(), &[]).run().await.expect_code(1);
        assert!(outcome.stderr.contains(shared(&team).as_str()), "{outcome}");
        assert_eq!(team.registry.count("", &format!("/v2/{holder}/blobs/")).await, 0, "{place}");
    }
}

#[tokio::test]
async fn a_delta_can_be_imported_from_standard_input() {
    let team = Team::start().await;
    client::push(&team.app, team.registry.address(), "mirror/old").await;
    let bundle = delta(&team, &["registry.example.com/team/old"]);
    import(Path::new("-"), &team.to(), &[]).stdin(bundle.bytes).run().await.expect_success();
    let tags = team.registry.storage().tags();
    assert_eq!(tags["mirror/web:2"], team.web.root().digest);
    assert!(team.registry.storage().incomplete_tags().is_empty());
}

#[tokio::test]
async fn a_delta_with_a_missing_base_is_refused_before_any_transfer() {
    let team = Team::start().await;
    let bundle = delta(&team, &["registry.example.com/team/old"]);
    let file = team.file(&bundle.bytes);
    for run in
        [import(&file, &team.to(), &[]), import(Path::new("-"), &team.to(), &[]).stdin(bundle.bytes.clone())]
    {
        let outcome = run.run().await.expect_code(1);
        assert!(outcome.stderr.contains(shared(&team).as_str()), "{outcome}");
        assert!(outcome.stderr.contains(Digest::sha256(b"base").as_str()), "{outcome}");
        team.assert_untouched().await;
    }
}
