//! A sick destination affects itself alone.

use super::*;

/// A layer of three windows.
const LARGE: usize = 24 * 1024 * 1024;

/// An image with a large layer at the source.
async fn large() -> (Scripted, SampleImage, Vec<String>, String) {
    let source = Scripted::start().await;
    let image = SampleImage::with_large_layer("1", LARGE);
    source.with_store(|store| store.insert("team/app", &image));
    let layer = image.blobs.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap().0.to_string();
    let names = vec![source.address().image("team/app", "1")];
    (source, image, names, layer)
}

/// Lets no byte of a blob in until the gate opens.
fn hold_uploads(destination: &Scripted, gate: &Gate) {
    for method in ["PUT", "PATCH"] {
        destination.on(method, "/blobs/uploads/").then(Action::Hold(gate.clone()));
    }
}

#[tokio::test]
async fn a_stalled_destination_is_left_behind_served_later_and_what_is_read_again_is_counted() {
    let (source, image, names, layer) = large().await;
    let (one, two, stalled) = tokio::join!(serving(), serving(), Scripted::start());
    let gate = Gate::default();
    hold_uploads(&stalled, &gate);
    let to = [format!("{}/mirror", stalled.address().host_port), one.2.clone(), two.2.clone()];
    let more = ["--platform", "linux/amd64", "--output", "json"];
    let running = sync(&names, &to, &more).start();
    // The others finish although the first one has not taken anything.
    for to in &to[1..] {
        running.stderr_line(&format!("at {to}/app:1: copied")).await;
    }
    assert_eq!(source.count("GET", &layer), 1);
    assert!(stalled.with_store(|store| store.repository("mirror/app").tags.is_empty()));
    gate.open();
    let outcome = running.outcome().await.expect_success();
    client::assert_present(&image, stalled.address(), "mirror/app").await;

    let document = document(&outcome);
    let there = destinations(&document);
    let extra = &there[0]["extraReads"];
    let (reads, bytes) = (extra["reads"].as_u64().unwrap(), extra["bytes"].as_u64().unwrap());
    assert!(reads >= 1 && bytes >= (LARGE / 8) as u64, "{extra}");
    // The window, and what fits into the buffers of the connection, is not read again.
    assert!(bytes <= (LARGE + LARGE / 8) as u64, "{extra}");
    for other in &there[1..] {
        assert_eq!(other["extraReads"]["reads"], 0, "{other}");
    }
    let again = source.count("GET", &layer) as u64 - 1 + extra["fromDestinations"].as_u64().unwrap();
    assert!(again >= 1 && again <= reads, "{extra}: {again}");
    verify(&outcome.folder(), &[]).run().await.expect_success();
}

/// A destination that is done and answers faster than the source serves the others. If it cannot, the source does.
#[tokio::test]
async fn the_rest_comes_from_a_closer_destination_if_there_is_one() {
    for serves in [true, false] {
        let (source, image, names, layer) = large().await;
        source.delay_answers(std::time::Duration::from_millis(100));
        let (close, stalled) = tokio::join!(Scripted::start(), Scripted::start());
        if !serves {
            close.on("GET", &layer).then(Action::error(403, "DENIED"));
        }
        let gate = Gate::default();
        // It asks for the blob when the other destination is done: before, it could only read from the source.
        stalled.on("POST", "/blobs/uploads/").then(Action::Hold(gate.clone()));
        let to = [&close, &stalled].map(|there| format!("{}/mirror", there.address().host_port));
        let running = sync(&names, &to, &["--platform", "linux/amd64", "--output", "json"]).start();
        running.stderr_line(&format!("at {}/app:1: copied", to[0])).await;
        gate.open();
        let outcome = running.outcome().await.expect_success();
        client::assert_present(&image, stalled.address(), "mirror/app").await;
        assert!(close.count("GET", &layer) >= 1, "{outcome}");
        assert_eq!(source.count("GET", &layer), if serves { 1 } else { 2 }, "{outcome}");
        let document = document(&outcome);
        assert!(destinations(&document)[1]["extraReads"]["fromDestinations"].as_u64().unwrap() >= 1);
    }
}

#[tokio::test]
async fn extra_reads_are_in_the_table() {
    let (_source, _, names, _) = large().await;
    let (one, stalled) = tokio::join!(serving(), Scripted::start());
    let gate = Gate::default();
    hold_uploads(&stalled, &gate);
    let to = [one.2.clone(), format!("{}/mirror", stalled.address().host_port)];
    let running = sync(&names, &to, &["--platform", "linux/amd64"]).start();
    running.stderr_line(&format!("at {}/app:1: copied", to[0])).await;
    gate.open();
    let outcome = running.outcome().await.expect_success();
    let line = outcome.stdout.lines().find(|line| line.starts_with(&format!("{}:", to[1]))).unwrap();
    assert!(line.contains("1 image confirmed") && line.contains(" read again ("), "{outcome}");
    let other = outcome.stdout.lines().find(|line| line.starts_with(&format!("{}:", to[0]))).unwrap();
    assert!(!other.contains("read again"), "{outcome}");
}

#[tokio::test]
async fn a_destination_that_refuses_fails_alone_and_another_run_repairs_it() {
    let (source, images, names) = source().await;
    let (one, refusing) = tokio::join!(serving(), Scripted::start());
    refusing.on("POST", "/blobs/uploads/").then(Action::error(403, "DENIED"));
    let to = [format!("{}/mirror", refusing.address().host_port), one.2.clone()];
    let folder = tempfile::tempdir().unwrap();
    let run = || sync(&names, &to, &["--output", "json"]).in_folder(folder.path());
    let outcome = run().run().await.expect_code(4);
    assert_mirrored(&images, &one.1.address, "mirror").await;
    let document = document(&outcome);
    let there = destinations(&document);
    assert_eq!((&there[0]["failed"], &there[0]["confirmed"]), (&2.into(), &0.into()));
    assert_eq!((&there[1]["failed"], &there[1]["confirmed"]), (&0.into(), &2.into()));
    let lock = lock_in(folder.path());
    for (reference, confirmed) in confirmations(&lock) {
        assert_eq!(confirmed, reference.starts_with(&to[1]), "{reference}");
    }
    verify(folder.path(), &[]).run().await.expect_code(5);
    verify(folder.path(), &["--to", &to[1]]).run().await.expect_success();

    refusing.clear();
    source.clear();
    run().run().await.expect_success();
    assert!(confirmations(&lock_in(folder.path())).iter().all(|(_, confirmed)| *confirmed));
    assert!(blob_reads(&source).iter().all(|(_, count)| *count == 1));
}

#[tokio::test]
async fn a_dead_destination_fails_alone() {
    let (_source, images, names) = source().await;
    let one = serving().await;
    let closed = crate::support::ClosedPort::new();
    let to = [format!("{}/mirror", closed.host_port), one.2.clone()];
    let outcome = sync(&names, &to, &["--retries", "0"]).run().await.expect_code(1);
    assert_mirrored(&images, &one.1.address, "mirror").await;
    assert!(outcome.stdout.contains(&format!("{}: 2 images confirmed", to[1])), "{outcome}");
    assert!(outcome.stdout.contains(&format!("{}: 0 of 2 images confirmed", to[0])), "{outcome}");
}

/// It takes a few bytes of every blob, then nothing: its uploads end by the stall timeout.
#[tokio::test]
async fn a_destination_that_dies_in_the_middle_of_a_blob_fails_alone() {
    let (_source, image, names, _) = large().await;
    let (one, dying) = tokio::join!(serving(), Scripted::start());
    for method in ["PUT", "PATCH"] {
        dying.on(method, "/blobs/uploads/").then(Action::Stall);
    }
    let to = [format!("{}/mirror", dying.address().host_port), one.2.clone()];
    let more = ["--platform", "linux/amd64", "--stall-timeout", "1", "--retries", "0"];
    let outcome = sync(&names, &to, &more).run().await.expect_code(1);
    client::assert_present(&image, &one.1.address, "mirror/app").await;
    let lock = lock_of(&outcome);
    assert_eq!(confirmations(&lock).iter().filter(|(_, confirmed)| *confirmed).count(), 1, "{outcome}");
}
