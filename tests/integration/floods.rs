//! One cause is one message, with the number and the names of the images, however many images it affects.

use std::path::Path;

use serde_json::Value;

use crate::support::{
    ClosedPort, client,
    images::SampleImage,
    process::{Mirror, Outcome},
    registry::{Options, Registry},
    terminal::OnTerminal,
    tls::Authority,
};

const COUNT: usize = 40;

/// A run over this many images of `HOST/vendor`.
fn run(arguments: &[&str], host: &str, count: usize) -> Mirror {
    let images = (1..=count).map(|number| format!("{host}/vendor/img{number}:1"));
    Mirror::new(arguments.iter().map(|&word| word.to_owned()).chain(images))
}

/// One error with every name and the number, in few lines.
fn assert_one_message(outcome: &Outcome, count: usize) {
    let errors = outcome.stderr.lines().filter(|line| line.starts_with("error:")).count();
    assert_eq!(errors, 1, "{outcome}");
    assert!(outcome.stderr.contains(&format!("error: {count} images")), "{outcome}");
    assert!(outcome.stderr.lines().count() <= 20, "{outcome}");
    let (_, message) = outcome.stderr.split_once("error:").unwrap();
    for number in 1..=count {
        assert!(message.contains(&format!("img{number}:1")), "img{number} in {outcome}");
    }
    assert_eq!(outcome.stderr.matches("hint:").count(), 1, "{outcome}");
}

/// Each image has a line in the table, which states the cause.
fn assert_table(outcome: &Outcome, cause: &str) {
    let rows = outcome.stdout.lines().filter(|line| line.starts_with("img") && line.contains(cause));
    assert_eq!(rows.count(), COUNT, "{outcome}");
}

#[tokio::test]
async fn no_login() {
    let source = Registry::start_with(Options::default().htpasswd("a", "b")).await;
    let to = Registry::start().await;
    let to = format!("{}/mirror", to.address().host_port);
    let outcome = run(&["sync", "--to", &to], &source.address().host_port, COUNT).run().await.expect_code(4);
    assert_one_message(&outcome, COUNT);
    assert_table(&outcome, "requires a login");
}

#[tokio::test]
async fn a_refused_login_at_the_destination() {
    let source = Registry::start().await;
    for number in 1..=COUNT {
        let image = SampleImage { tag: "1".to_owned(), ..SampleImage::multi_platform(&number.to_string()) };
        client::push(&image, source.address(), &format!("vendor/img{number}")).await;
    }
    let to = Registry::start_with(Options::default().htpasswd("a", "b")).await;
    let to = format!("{}/mirror", to.address().host_port);
    let run = run(&["sync", "--to", &to, "--to-username", "a"], &source.address().host_port, COUNT);
    let outcome = run.env("THORAS_MIRROR_TO_PASSWORD", "wrong").run().await.expect_code(4);
    assert_one_message(&outcome, COUNT);
    assert_table(&outcome, "denied");
}

#[tokio::test]
async fn no_such_images() {
    let source = Registry::start().await;
    let host = &source.address().host_port;
    let outcome = run(&["sync", "--to", &format!("{host}/m")], host, COUNT).run().await.expect_code(1);
    assert_one_message(&outcome, COUNT);
    assert_table(&outcome, "it does not exist");
    let outcome = run(&["inspect"], host, COUNT).run().await.expect_code(1);
    assert!(outcome.stderr.matches("error:").count() == 1, "{outcome}");
    assert!(outcome.stderr.contains(&format!("error: {COUNT} images")), "{outcome}");
}

#[tokio::test]
async fn a_registry_that_is_down_and_one_with_an_unknown_certificate() {
    let to = Registry::start().await;
    let to = format!("{}/mirror", to.address().host_port);
    let closed = ClosedPort::new();
    let arguments = ["sync", "--to", &to, "--retries", "1"];
    let outcome = run(&arguments, &closed.host_port, COUNT).run().await.expect_code(1);
    assert_one_message(&outcome, COUNT);
    assert_table(&outcome, "Connection refused");
    let authority = Authority::new();
    let source = Registry::start_with(Options::default().tls(&authority)).await;
    let outcome = run(&arguments, &source.address().host_port, COUNT).run().await.expect_code(1);
    assert_one_message(&outcome, COUNT);
    assert!(outcome.stderr.contains("--ca-cert"), "{outcome}");
}

#[tokio::test]
async fn a_host_without_an_address_has_a_hint_about_dns() {
    let to = Registry::start().await;
    let to = format!("{}/mirror", to.address().host_port);
    let arguments = ["sync", "--to", &to, "--retries", "0"];
    let outcome = run(&arguments, "no-such-host.invalid", 4).run().await.expect_code(1);
    assert_one_message(&outcome, 4);
    assert!(outcome.stderr.contains("DNS") && outcome.stderr.contains("getent hosts"), "{outcome}");
}

#[tokio::test]
async fn verify_with_missing_images() {
    let (source, mirror) = tokio::join!(Registry::start(), Registry::start());
    let image = SampleImage { tag: "1".to_owned(), ..SampleImage::multi_platform("one") };
    for number in 1..=COUNT {
        client::push(&image, source.address(), &format!("vendor/img{number}")).await;
    }
    let to = format!("{}/mirror", mirror.address().host_port);
    let synced = run(&["sync", "--to", &to], &source.address().host_port, COUNT).run().await.expect_success();
    for (tag, digest) in mirror.storage().tags() {
        let (repository, _) = tag.rsplit_once(':').unwrap();
        mirror.storage().delete_manifest(repository, &digest);
    }
    let outcome = verify(&synced.folder()).await;
    let errors = outcome.stderr.lines().filter(|line| line.starts_with("error:")).count();
    assert_eq!(errors, 1, "{outcome}");
    assert!(outcome.stderr.contains(&format!("error: {COUNT} images with the same problem")), "{outcome}");
    assert!(outcome.stderr.lines().count() <= 20, "{outcome}");
    assert_eq!(outcome.stderr.matches("repair:").count(), 1, "{outcome}");
    assert_table(&outcome, "the tag does not exist");
}

async fn verify(folder: &Path) -> Outcome {
    Mirror::new(["verify"]).in_folder(folder).run().await.expect_code(5)
}

#[tokio::test]
async fn a_json_log_is_json_to_the_last_line() {
    let source = Registry::start_with(Options::default().htpasswd("a", "b")).await;
    let host = &source.address().host_port;
    let to = format!("{host}/mirror");
    for (run, code) in [
        (run(&["sync", "--to", &to, "--log-format", "json"], host, COUNT), 4),
        (run(&["sync", "--to", &to, "-v"], host, 1).env("THORAS_MIRROR_LOG_FORMAT", "json"), 4),
        (Mirror::new(["sync", "--log-format", "json", "--no-such-flag"]), 2),
        (Mirror::new(["sync", "--log-format=json", "--to", "u:s3cret@host"]), 2),
    ] {
        let outcome = run.run().await.expect_code(code);
        assert!(!outcome.stderr.is_empty() && !outcome.stderr.contains("s3cret"), "{outcome}");
        for line in outcome.stderr.lines() {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let time = line["time"].as_str().unwrap();
            assert!(time.ends_with('Z') && time.contains('T'), "{time}");
            assert!(["debug", "info", "warning", "error"].contains(&line["level"].as_str().unwrap()));
            assert!(!line["message"].as_str().unwrap().is_empty());
        }
        assert!(outcome.stderr.contains("\"level\":\"error\""), "{outcome}");
    }
}

#[tokio::test]
async fn a_log_in_a_file_shows_times() {
    let source = Registry::start().await;
    let host = &source.address().host_port;
    let outcome = run(&["sync", "--to", &format!("{host}/m")], host, 1).run().await.expect_code(1);
    let (time, rest) = outcome.stderr.lines().next().unwrap().split_once(' ').unwrap();
    assert!(time.len() == 20 && time.ends_with('Z') && rest.starts_with("FAILED img1:1"), "{outcome}");
}

/// Colors and the cursor.
fn without_escapes(text: &str) -> String {
    console::strip_ansi_codes(text).into_owned()
}

#[tokio::test]
async fn a_table_on_eighty_columns_has_one_line_for_each_image_and_failures_first_in_red() {
    let source = Registry::start().await;
    let image = SampleImage { tag: "1".to_owned(), ..SampleImage::multi_platform("one") };
    for number in 1..=12 {
        client::push(&image, source.address(), &format!("vendor/img{number}")).await;
    }
    let host = source.address().host_port.clone();
    let shown = tokio::task::spawn_blocking(move || {
        let names: Vec<String> = (1..=13).map(|number| format!("{host}/vendor/img{number}:1")).collect();
        let to = format!("{host}/mirror");
        let arguments: Vec<&str> =
            ["sync", "--to", &to].into_iter().chain(names.iter().map(String::as_str)).collect();
        let mut shown = Vec::new();
        for environment in [&[][..], &[("NO_COLOR", "1")]] {
            let (status, text) = OnTerminal::start(80, &arguments, environment).end();
            assert_eq!(status.code(), Some(1), "{text}");
            shown.push(text);
        }
        shown
    });
    let shown = shown.await.unwrap();
    for text in &shown {
        let plain = without_escapes(text);
        let (_, table) = plain.split_once("IMAGE ").unwrap();
        let rows: Vec<&str> = table.lines().skip(1).take_while(|line| !line.is_empty()).collect();
        assert_eq!(rows.len(), 13, "{plain}");
        assert!(rows.iter().all(|row| row.starts_with("img") && row.chars().count() <= 80), "{plain}");
        assert!(rows[0].starts_with("img13:1  failed"), "{plain}");
        assert!(plain.contains("platforms: linux/amd64,linux/arm64"), "{plain}");
    }
    assert!(shown[0].contains("\u{1b}[31mimg13:1"), "{:?}", shown[0]);
    assert!(!shown[1].contains("\u{1b}[31m"), "{:?}", shown[1]);
}

#[tokio::test]
async fn a_dry_run_names_the_destinations() {
    let source = Registry::start().await;
    let image = SampleImage { tag: "1".to_owned(), ..SampleImage::multi_platform("one") };
    client::push(&image, source.address(), "vendor/img1").await;
    let host = &source.address().host_port;
    let to = format!("{host}/mirror");
    let outcome = run(&["sync", "--dry-run", "--to", &to], host, 1).run().await.expect_success();
    assert!(outcome.stdout.contains(&format!("{to}/img1:1")), "{outcome}");
    let outcome = run(&["sync", "--to", &to], host, 1).run().await.expect_success();
    assert!(!outcome.stdout.contains("DESTINATION"), "the names are the same: {outcome}");
    let outcome = run(&["copy", "--naming", "full", "--to", &to], host, 1).run().await.expect_success();
    assert!(outcome.stdout.contains("DESTINATION") && outcome.stdout.contains("/vendor/img1:1"), "{outcome}");
}
