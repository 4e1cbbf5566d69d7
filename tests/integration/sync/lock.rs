//! The record of a run, and runs that follow it.

use thoras_mirror::oci::Digest;

use super::*;
use crate::support::{helm, scripted::Action, strace::Strace};

async fn two_images() -> (SampleImage, SampleImage, ScriptedPair) {
    let (app, web) = (SampleImage::multi_platform("1"), SampleImage::nested("2"));
    let pair = ScriptedPair::with(&[("team/web", &web), ("team/app", &app)]).await;
    (app, web, pair)
}

#[tokio::test]
async fn it_records_its_schema_and_everything_by_digest_in_order() {
    let (app, web, pair) = two_images().await;
    let outcome = pair.sync(&["--platform", "linux/arm64,linux/amd64"]).run().await.expect_success();
    let lock = lock_of(&outcome);
    assert_eq!(lock["schema"], "thoras-mirror/lock/v2");
    let to = mirror_at(pair.destination.address());
    assert_eq!(lock["destinations"][0]["to"], to);
    assert_eq!(lock["platforms"], serde_json::json!(["linux/amd64", "linux/arm64"]));
    for (at, (name, image)) in [("app", &app), ("web", &web)].into_iter().enumerate() {
        let locked = &lock["images"][at];
        let tag = &image.tag;
        assert_eq!(locked["source"], pair.source.address().image(&format!("team/{name}"), tag));
        let destination = pair.destination.address().image(&format!("mirror/{name}"), tag);
        let copies = serde_json::json!([{ "to": to, "reference": destination, "confirmed": true }]);
        assert_eq!(locked["destinations"], copies);
        assert_eq!(locked["digest"], image.root().digest.as_str());
        assert_eq!(locked["mediaType"], image.root().media_type);
        assert_eq!(locked["platforms"].as_array().unwrap().len(), 2);
        let blobs: Vec<&str> = image.blobs.keys().map(Digest::as_str).collect();
        assert_eq!(locked["blobs"], serde_json::json!(blobs), "sorted, as in a map");
        for (digest, bytes) in &image.blobs {
            assert_eq!(lock["blobs"][digest.as_str()], bytes.len());
        }
    }
}

#[tokio::test]
async fn it_is_replaced_atomically_without_temporary_files() {
    let (_, _, pair) = two_images().await;
    let first = pair.sync(&[]).run().await.expect_success();
    let earlier = lock_of(&first).to_string();
    std::fs::write(lock_path(&first), &earlier).unwrap();
    let hard_link = first.folder().join("kept");
    std::fs::hard_link(lock_path(&first), &hard_link).unwrap();
    pair.sync(&[]).in_folder(&first.folder()).run().await.expect_success();
    assert_eq!(lock_of(&first)["schema"], "thoras-mirror/lock/v2");
    assert_eq!(std::fs::read_to_string(&hard_link).unwrap(), earlier, "it was renamed into place");
    assert_eq!(std::fs::read_dir(first.folder()).unwrap().count(), 2);
}

#[tokio::test]
async fn an_unwritable_folder_is_detected_before_any_request() {
    let (_, _, pair) = two_images().await;
    // The second case: a folder at the lock's path.
    for place in ["no/such/folder/a.lock", "."] {
        let outcome = pair.sync(&["--lock", place]).run().await.expect_code(2);
        assert!(outcome.stderr.contains(&format!("error: cannot write the lock {place}")), "{outcome}");
        assert!(outcome.stderr.contains("--lock FILE"), "{outcome}");
    }
    assert_eq!(pair.source.requests().len() + pair.destination.requests().len(), 0);
}

#[tokio::test]
async fn a_failed_image_stays_in_it_unconfirmed() {
    let (_, web, pair) = two_images().await;
    pair.source.on("GET", "/v2/team/app/").then(Action::error(404, "MANIFEST_UNKNOWN"));
    let outcome = pair.sync(&[]).run().await.expect_code(1);
    let lock = lock_of(&outcome);
    let [app, other] = lock["images"].as_array().unwrap().as_slice() else { panic!("{lock}") };
    assert_eq!((&app["destinations"][0]["confirmed"], app.get("digest")), (&false.into(), None));
    assert_eq!(other["destinations"][0]["confirmed"], true);
    assert_eq!(other["digest"], web.root().digest.as_str());
}

/// A mirror with its lock, after the tag has moved at the source.
async fn with_moved_tag() -> (SampleImage, ScriptedPair, Outcome) {
    let old = SampleImage::multi_platform("1");
    let pair = ScriptedPair::with(&[("team/app", &old)]).await;
    let first = pair.sync(&[]).run().await.expect_success();
    let new = SampleImage { tag: "1".to_owned(), ..SampleImage::multi_platform("next") };
    pair.source.with_store(|store| store.insert("team/app", &new));
    (old, pair, first)
}

fn locked(pair: &ScriptedPair, earlier: &Outcome, more: &[&str]) -> Mirror {
    let more: Vec<&str> = ["--locked"].iter().chain(more).copied().collect();
    sync(&[], &mirror_at(pair.destination.address()), &more).in_folder(&earlier.folder())
}

#[tokio::test]
async fn a_locked_run_copies_the_locked_digests_even_if_tags_moved() {
    let (old, pair, first) = with_moved_tag().await;
    pair.destination.with_store(|store| store.repositories.clear());
    locked(&pair, &first, &[]).run().await.expect_success();
    assert_eq!(pair.tag("mirror/app", "1"), Some(old.root().digest.to_string()));
    client::assert_present(&old, pair.destination.address(), "mirror/app").await;
    assert_eq!(lock_of(&first)["images"][0]["digest"], old.root().digest.as_str());
}

#[tokio::test]
async fn a_locked_run_with_nothing_to_do_makes_no_request_to_the_source() {
    let (_, pair, first) = with_moved_tag().await;
    let asked = pair.source.requests().len();
    let outcome = locked(&pair, &first, &["--output", "json"]).run().await.expect_success();
    assert_eq!(statuses(&document(&outcome)), ["up-to-date"]);
    assert_eq!(pair.source.requests().len(), asked);
}

#[tokio::test]
async fn a_locked_run_leaves_the_lock_byte_identical_bug() {
    let (_, pair, first) = with_moved_tag().await;
    let path = first.folder().join("thoras-mirror.lock");
    let before = std::fs::read(&path).unwrap();
    locked(&pair, &first, &[]).run().await.expect_success();
    assert_eq!(String::from_utf8(std::fs::read(&path).unwrap()), String::from_utf8(before));
}

#[tokio::test]
async fn a_failed_locked_run_keeps_the_locked_digests_bug() {
    let (old, pair, first) = with_moved_tag().await;
    pair.destination.with_store(|store| store.repositories.clear());
    pair.source.on("GET", "/manifests/").first(1).then(Action::error(403, "DENIED"));
    locked(&pair, &first, &[]).run().await.expect_code(4);
    let lock = lock_of(&first);
    assert_eq!(lock["images"][0]["destinations"][0]["confirmed"], false);
    assert_eq!(lock["images"][0]["digest"], old.root().digest.as_str());
    locked(&pair, &first, &[]).run().await.expect_success();
    assert_eq!(pair.tag("mirror/app", "1"), Some(old.root().digest.to_string()));
}

#[tokio::test]
async fn a_locked_run_to_another_registry_adds_a_destination() {
    let (old, pair, first) = with_moved_tag().await;
    let other = Scripted::start().await;
    let (prod, stage) = (mirror_at(pair.destination.address()), mirror_at(other.address()));
    let run = |to: &str| sync(&[], to, &["--locked"]).in_folder(&first.folder()).run();
    let before = lock_of(&first);
    run(&stage).await.expect_success();
    let lock = lock_of(&first);
    let mut named = [&prod, &stage];
    named.sort();
    let recorded = lock["destinations"].as_array().unwrap().iter().map(|one| one["to"].as_str().unwrap());
    assert_eq!(recorded.collect::<Vec<_>>(), named);
    let copies = lock["images"][0]["destinations"].as_array().unwrap();
    assert_eq!(copies.len(), 2);
    assert!(copies.contains(&before["images"][0]["destinations"][0]), "{lock}");
    assert!(copies.iter().all(|copy| copy["confirmed"] == true), "{lock}");

    // Syncing either of them again changes nothing.
    for to in [&prod, &stage] {
        run(to).await.expect_success();
        assert_eq!(lock_of(&first), lock);
    }

    let verify = || Mirror::new(["verify", "--output", "json"]).in_folder(&first.folder()).run();
    let outcome = verify().await.expect_success();
    assert_eq!(document(&outcome)["totals"]["confirmed"], 2);
    assert_eq!(document(&outcome)["destination"], named.map(String::as_str).join(", "));
    for (at, (broken, to)) in [(&other, &stage), (&pair.destination, &prod)].into_iter().enumerate() {
        broken.with_store(|store| store.repositories.clear());
        let outcome = verify().await.expect_code(5);
        assert_eq!(document(&outcome)["totals"]["failed"], 1, "{outcome}");
        let repair = format!("repair: thoras-mirror sync --locked --lock thoras-mirror.lock --to {to}\n");
        assert_eq!(outcome.stderr.matches("repair: ").count(), 1, "{outcome}");
        assert!(outcome.stderr.contains(&repair), "{at}: {repair}: {outcome}");
        broken.with_store(|store| store.insert("mirror/app", &old));
    }
}

#[tokio::test]
async fn verify_sends_one_login_to_one_registry_only() {
    let (_, pair, first) = with_moved_tag().await;
    let other = Scripted::start().await;
    let stage = mirror_at(other.address());
    sync(&[], &stage, &["--locked"]).in_folder(&first.folder()).run().await.expect_success();
    let asked = pair.destination.requests().len() + other.requests().len();
    let run = Mirror::new(["verify", "--to-username", "user"]).env("THORAS_MIRROR_TO_PASSWORD", "secret");
    let outcome = run.in_folder(&first.folder()).run().await.expect_code(2);
    assert!(outcome.stderr.contains("--to-username applies to one registry"), "{outcome}");
    assert_eq!(pair.destination.requests().len() + other.requests().len(), asked);
}

#[tokio::test]
async fn foreign_layers_for_one_of_several_destinations_are_refused_before_any_request() {
    let (_, pair, first) = with_moved_tag().await;
    let other = Scripted::start().await;
    let before = std::fs::read(lock_path(&first)).unwrap();
    let more = ["--locked", "--foreign-layers"];
    let run = sync(&[], &mirror_at(other.address()), &more).in_folder(&first.folder());
    let outcome = run.run().await.expect_code(2);
    assert!(outcome.stderr.contains("only some of the lock's destinations"), "{outcome}");
    assert_eq!(other.requests().len(), 0);
    assert_eq!(std::fs::read(lock_path(&first)).unwrap(), before);
    let run = sync(&[], &mirror_at(pair.destination.address()), &more).in_folder(&first.folder());
    run.run().await.expect_success();
    assert_eq!(lock_of(&first)["foreignLayers"], true);
}

#[tokio::test]
async fn a_file_that_is_not_a_lock_is_not_overwritten_bug() {
    let (_, _, pair) = two_images().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("values.yaml");
    std::fs::write(&path, "image: nginx\n").unwrap();
    let outcome = pair.sync(&["--lock"]).arg(&path).run().await.expect_code(2);
    assert!(outcome.stderr.contains("values.yaml exists and is not a thoras-mirror lock file"), "{outcome}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "image: nginx\n");
    assert_eq!(pair.source.requests().len() + pair.destination.requests().len(), 0);
}

#[tokio::test]
async fn a_locked_run_without_a_lock_says_what_to_do() {
    let (_, _, pair) = two_images().await;
    let to = mirror_at(pair.destination.address());
    let outcome = sync(&[], &to, &["--locked"]).run().await.expect_code(2);
    assert!(outcome.stderr.contains("error: there is no lock at thoras-mirror.lock"), "{outcome}");
    assert!(outcome.stderr.contains("hint: --locked repeats an earlier sync"), "{outcome}");
    assert_eq!(pair.destination.requests().len(), 0);
}

#[tokio::test]
async fn it_records_the_chart_without_values_or_passwords() {
    let image = SampleImage::multi_platform("1");
    let pair = ScriptedPair::with(&[("team/app", &image)]).await;
    let chart = tempfile::tempdir().unwrap();
    std::fs::create_dir(chart.path().join("templates")).unwrap();
    std::fs::write(chart.path().join("Chart.yaml"), "apiVersion: v2\nname: shop\nversion: 1.2.3\n").unwrap();
    let template = "apiVersion: v1\nkind: Pod\nmetadata: {name: shop}\nspec:\n  containers:\n  - name: app\n    \
                    image: {{ .Values.image }}\n    env: [{name: KEY, value: {{ .Values.key }}}]\n";
    std::fs::write(chart.path().join("templates/pod.yaml"), template).unwrap();

    let (folder, set) = (chart.path().to_str().unwrap(), format!("image={}", pair.images[0]));
    let more = ["--chart", folder, "--set", &set, "--set", "key=very-secret", "--to-username", "user"];
    let run = sync(&[], &mirror_at(pair.destination.address()), &more);
    let run = run.env("THORAS_MIRROR_HELM", helm::program()).env("THORAS_MIRROR_TO_PASSWORD", "also-secret");
    let outcome = run.run().await.expect_success();
    let text = std::fs::read_to_string(lock_path(&outcome)).unwrap();
    let lock = lock_of(&outcome);
    assert_eq!((&lock["chart"]["name"], &lock["chart"]["version"]), (&"shop".into(), &"1.2.3".into()));
    assert_eq!(lock["images"][0]["source"], pair.images[0]);
    for secret in ["very-secret", "also-secret"] {
        assert!(
            !text.contains(secret) && !outcome.to_string().contains(secret),
            "{secret}: {text} {outcome}"
        );
    }
}

#[tokio::test]
async fn locked_ignores_filters_from_the_environment_and_refuses_filter_flags() {
    let (_, _, pair) = two_images().await;
    let first = pair.sync(&[]).run().await.expect_success();
    let to = mirror_at(pair.destination.address());
    let locked = || sync(&[], &to, &["--locked"]).in_folder(&first.folder());
    let run = locked().env("THORAS_MIRROR_INCLUDE", "*/app").env("THORAS_MIRROR_EXCLUDE", "*");
    let outcome = run.run().await.expect_success();
    assert!(outcome.stdout.contains("2 images confirmed"), "{outcome}");
    let outcome = locked().arguments(["--exclude", "*/app"]).run().await.expect_code(2);
    assert!(outcome.stderr.contains("'--locked' cannot be used with '--exclude"), "{outcome}");
}

/// Otherwise a power cut could replace the earlier lock with an empty file.
#[tokio::test]
async fn it_is_synced_before_its_rename() {
    let (_, _, pair) = two_images().await;
    let strace = Strace::new();
    let outcome = pair.sync(&[]).traced_by(&strace).run().await.expect_success();
    strace.trace().await.durable_rename_to(&lock_path(&outcome));
}
