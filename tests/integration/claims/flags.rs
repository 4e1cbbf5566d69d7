//! A flag that would be ignored is refused or reported.

use super::{assert_says, run, vendor};
use crate::support::{helm, images::SampleImage, process::Mirror, scripted::Scripted, vendor::Vendor};

#[tokio::test]
async fn flags_without_an_effect_are_refused_before_any_request() {
    let web = SampleImage::multi_platform("web");
    let (source, references) = vendor(&[&web]).await;
    for (command, flag) in [
        ("sync --to 127.0.0.1:1/a --values v.yaml", "--values"),
        ("doctor --to 127.0.0.1:1/a --chart-version 1", "--chart-version"),
        ("bundle export -o b.tar --no-test-hooks", "--no-test-hooks"),
    ] {
        let outcome = run(command, &references).run().await.expect_code(2);
        assert_says(&outcome, &format!("{flag} has no effect here: the images come from IMAGE"));
    }
    let outcome = run("sync --to 127.0.0.1:1/a --locked --add x.example/a:1", &[]).run().await.expect_code(2);
    assert_says(&outcome, "--add has no effect here: --locked copies what the lock records");
    assert_eq!(source.requests().len(), 0);
}

#[tokio::test]
async fn the_version_of_a_local_chart_is_checked() {
    let vendor = Vendor::start(vec![("web", SampleImage::multi_platform("web"))]).await;
    let chart = vendor.path("shop").display().to_string();
    let images = |version: &str| {
        let run = Mirror::new(["images", "--chart", &chart, "--chart-version", version]);
        run.env("THORAS_MIRROR_HELM", helm::program()).run()
    };
    let _ = images("4.53.0").await.expect_success();
    let outcome = images("4.54.0").await.expect_code(2);
    assert_says(&outcome, &format!("the chart {chart} has version 4.53.0, not 4.54.0"));
    let exported = Mirror::new(["images", "--chart", &chart]).env("THORAS_MIRROR_CHART_VERSION", "1.0.0");
    let outcome = exported.env("THORAS_MIRROR_HELM", helm::program()).run().await.expect_code(2);
    assert_says(&outcome, "THORAS_MIRROR_CHART_VERSION");
}

#[tokio::test]
async fn an_unused_license_is_reported_with_the_flag_that_binds_it() {
    let web = SampleImage::multi_platform("web");
    let (source, references) = vendor(&[&web]).await;
    let mirror = Scripted::start().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("license.key"), "c2VjcmV0LWtleQ==").unwrap();
    let (host, to) = (&source.address().host_port, format!("{}/m", mirror.address().host_port));
    let run = |command: &str| run(command, &references).in_folder(folder.path()).run();
    let unused = "warning: the license is not used";
    for command in [
        format!("sync --to {to} --license license.key"),
        "inspect --license license.key".to_owned(),
        "bundle export -o b.tar --license license.key".to_owned(),
    ] {
        let outcome = run(&command).await.expect_success();
        assert_says(&outcome, unused);
        assert_says(&outcome, &format!("--license-for {host}"));
    }
    let used = run(&format!("inspect --license license.key --license-for {host}")).await;
    assert!(!used.stderr.contains(unused), "{used}");
}

#[tokio::test]
async fn settings_for_hosts_and_prefixes_that_the_run_does_not_meet_are_reported() {
    let web = SampleImage::multi_platform("web");
    let (source, references) = vendor(&[&web]).await;
    let mirror = Scripted::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (host, to) = (&source.address().host_port, format!("{}/m", mirror.address().host_port));
    let run = |command: &str, images: &[String]| run(command, images).in_folder(folder.path()).run();
    let unused = "--plain-http other.example:5000 --insecure wrong.example";
    for (command, images) in [
        (format!("sync --to {to}"), references.as_slice()),
        (format!("verify --to {to}"), &[]),
        (format!("doctor --to {to}"), &references),
        ("inspect".to_owned(), &references),
        ("bundle export -o b.tar".to_owned(), &references),
        (format!("bundle import b.tar --to {to} --lock import.lock"), &[]),
    ] {
        let outcome = run(&format!("{command} {unused}"), images).await.expect_success();
        for expected in [
            "warning: --plain-http other.example:5000 has no effect: no request went to http://other.example:5000",
            "warning: --insecure wrong.example has no effect: no request went to https://wrong.example",
        ] {
            assert_eq!(outcome.stderr.matches(expected).count(), 1, "{command}: {outcome}");
        }
    }
    for command in [format!("sync --to {to}"), "bundle export -o c.tar".to_owned()] {
        let run = |prefix: &str| {
            run(&format!("{command} --source-prefix {prefix} --plain-http {host}"), &references)
        };
        let outcome = run("quay.io/elsewhere").await.expect_success();
        assert_says(&outcome, "warning: --source-prefix quay.io/elsewhere has no effect: no image is below");
        let used = run(host).await;
        assert!(!used.stderr.contains("has no effect"), "{used}");
    }
}
