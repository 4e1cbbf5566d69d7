//! What a lock records about other destinations survives: another run at the same time, and damage.

use serde_json::json;

use super::*;
use crate::support::scripted::{Action, Gate};

async fn one_image() -> ScriptedPair {
    ScriptedPair::with(&[("team/app", &SampleImage::multi_platform("1"))]).await
}

fn destinations(lock: &Value) -> Vec<&str> {
    lock["destinations"].as_array().unwrap().iter().map(|one| one["to"].as_str().unwrap()).collect()
}

/// The second run begins and ends while the first one is copying, and both write one lock.
#[tokio::test]
async fn a_destination_that_another_run_adds_meanwhile_stays_in_the_lock_bug() {
    let pair = one_image().await;
    let other = Scripted::start().await;
    let gate = Gate::default();
    pair.destination.on("POST", "/blobs/uploads/").first(1).then(Action::Hold(gate.clone()));
    let folder = tempfile::tempdir().unwrap();
    let first = pair.sync(&[]).in_folder(folder.path()).start();
    gate.reached_by(1).await;
    let (prod, stage) = (mirror_at(pair.destination.address()), mirror_at(other.address()));
    sync(&pair.images, &stage, &[]).in_folder(folder.path()).run().await.expect_success();
    gate.open();
    first.outcome().await.expect_success();
    let mut both = [prod.as_str(), &stage];
    both.sort_unstable();
    let lock = std::fs::read(folder.path().join("thoras-mirror.lock")).unwrap();
    let lock: Value = serde_json::from_slice(&lock).unwrap();
    assert_eq!(destinations(&lock), both);
    let copies = lock["images"][0]["destinations"].as_array().unwrap();
    assert!(copies.len() == 2 && copies.iter().all(|copy| copy["confirmed"] == true), "{lock}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "only the lock");
}

/// The mirror's lock is written while an export is reading the source.
#[tokio::test]
async fn an_export_does_not_replace_a_lock_that_a_mirror_gets_meanwhile_bug() {
    let pair = one_image().await;
    let gate = Gate::default();
    pair.source.on("GET", "/blobs/").first(1).then(Action::Hold(gate.clone()));
    let folder = tempfile::tempdir().unwrap();
    let export = ["bundle", "export", "-o", "b.tar", "--lock", "thoras-mirror.lock", pair.images[0].as_str()];
    let export = Mirror::new(export).in_folder(folder.path()).start();
    gate.reached_by(1).await;
    pair.sync(&[]).in_folder(folder.path()).run().await.expect_success();
    let path = folder.path().join("thoras-mirror.lock");
    let written = std::fs::read(&path).unwrap();
    gate.open();
    let outcome = export.outcome().await.expect_code(2);
    assert!(outcome.stderr.contains("is the lock of the mirror"), "{outcome}");
    assert_eq!(std::fs::read(&path).unwrap(), written);
}

/// As a merge of two branches may leave it.
#[tokio::test]
async fn a_damaged_lock_is_not_replaced_bug() {
    let pair = one_image().await;
    let to = mirror_at(pair.destination.address());
    let first = pair.sync(&[]).run().await.expect_success();
    let mut lock = lock_of(&first);
    let image = lock["images"][0].clone();
    lock["images"].as_array_mut().unwrap().push(image);
    let twice = lock.to_string();
    lock["images"] = json!("none");
    let asked = pair.source.requests().len() + pair.destination.requests().len();
    for (damaged, cause) in [
        (twice, "is listed twice\n"),
        (lock.to_string(), "because a field is text, not a list (line 1)\n"),
        (r#"{"schema":"thoras-mirror/lock/v1"}"#.to_owned(), "is missing"),
    ] {
        std::fs::write(lock_path(&first), &damaged).unwrap();
        for more in [&[] as &[&str], &["--dry-run"]] {
            let outcome = sync(&pair.images, &to, more).in_folder(&first.folder()).run().await.expect_code(3);
            assert!(outcome.stderr.contains("error: the lock thoras-mirror.lock is damaged\n"), "{outcome}");
            assert!(outcome.stderr.contains(cause), "{outcome}");
            assert!(
                outcome.stderr.contains("hint: restore it, or delete it, and run the same command again"),
                "{outcome}"
            );
        }
        assert_eq!(std::fs::read_to_string(lock_path(&first)).unwrap(), damaged);
    }
    assert_eq!(pair.source.requests().len() + pair.destination.requests().len(), asked);
    let arguments =
        ["bundle", "export", "-o", "b.tar", "--lock", "thoras-mirror.lock", pair.images[0].as_str()];
    let export = || Mirror::new(arguments).in_folder(&first.folder());
    export().run().await.expect_code(3);
    export().arg("--force").run().await.expect_success();
}
