//! A copy to where an image comes from would succeed without contacting the vendor.

use std::path::PathBuf;

use serde_json::Value;

use super::{assert_says, run, vendor};
use crate::support::{helm, images::SampleImage, process::Mirror, registry::Registry, vendor::Vendor};

#[tokio::test]
async fn a_source_that_is_the_destination_is_refused_before_any_request() {
    let [web, api] = ["web", "api"].map(SampleImage::multi_platform);
    let (source, references) = vendor(&[&web, &api]).await;
    let host = &source.address().host_port;
    let port = host.rsplit(':').next().unwrap();
    for to in
        [format!("{host}/vendor"), format!("localhost:{port}/vendor"), format!("LOCALHOST:{port}/vendor/")]
    {
        for more in ["", "--dry-run", "--naming last"] {
            let outcome = run(&format!("sync --to {to} {more}"), &references).run().await.expect_code(2);
            assert_says(&outcome, "2 images would be copied onto themselves");
            assert_says(&outcome, &references[0]);
        }
        let outcome = run(&format!("verify --to {to}"), &references[..1]).run().await.expect_code(2);
        assert_says(&outcome, &format!("{} would be copied onto itself", references[0]));
    }
    assert_eq!(source.requests().len(), 0);
}

#[tokio::test]
async fn a_list_and_a_lock_that_name_the_mirror_are_refused_and_promotion_is_not() {
    let registry = Registry::start().await;
    let web = SampleImage::multi_platform("web");
    crate::support::client::push(&web, registry.address(), "stage/web").await;
    let (reference, host) = (registry.address().image("stage/web", "web"), &registry.address().host_port);
    let listed = Mirror::new(["sync", "--images", "-", "--to"]).arg(format!("{host}/stage"));
    let outcome = listed.stdin(format!("{reference}\n")).run().await.expect_code(2);
    assert_says(&outcome, &format!("{reference} would be copied onto itself"));

    let promoted = run(&format!("sync {reference} --to {host}/prod"), &[]).run().await.expect_success();
    let locked = run(&format!("sync --locked --to {host}/stage"), &[]).in_folder(&promoted.folder());
    let outcome = locked.run().await.expect_code(2);
    assert_says(&outcome, &format!("thoras-mirror.lock names {host}/stage as the source"));
    assert!(registry.storage().tags().contains_key("prod/web:web"));
}

/// `COMMAND --to TO --chart` of the vendor's chart.
fn shop(vendor: &Vendor, command: &str, to: &str) -> Mirror {
    let run = Mirror::new([command, "--to", to, "--chart"]).arg(vendor.path("shop"));
    run.env("THORAS_MIRROR_HELM", helm::program())
}

/// A file with the values that make the chart pull from the mirror.
fn values_for(vendor: &Vendor, to: &str) -> PathBuf {
    let values = vendor.path("mine.yaml");
    std::fs::write(&values, format!("imageCredentials:\n  registry: {to}\n")).unwrap();
    values
}

#[tokio::test]
async fn the_helm_value_that_points_at_the_mirror_is_named_also_by_doctor() {
    let vendor = Vendor::start(vec![("web", SampleImage::multi_platform("web"))]).await;
    let mirror = Registry::start().await;
    let to = format!("{}/thoras", mirror.address().host_port);
    let values = values_for(&vendor, &to);
    let with = |command: &str, more: &[&str]| shop(&vendor, command, &to).arguments(more.iter().copied());
    let files = ["--values", values.to_str().unwrap()];
    for command in ["sync", "doctor"] {
        let outcome = with(command, &files).run().await.expect_code(2);
        let text = format!("{}{}", outcome.stdout, outcome.stderr);
        let named =
            format!("the Helm value `imageCredentials.registry` ({}) already points at {to}", files[1]);
        assert!(text.contains(&named), "{outcome}");
    }
    let set = format!("imageCredentials.registry={to}");
    let outcome = with("sync", &["--set", &set, "-o", "json"]).run().await.expect_code(2);
    let document: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let hint = document["failures"][0]["hint"].as_str().unwrap();
    assert!(hint.contains("`imageCredentials.registry` (--set)"), "{hint}");
    // The chart's own values are the vendor's.
    let prefix = vendor.prefix();
    let own = shop(&vendor, "sync", &prefix);
    assert_says(&own.run().await.expect_code(2), "`imageCredentials.registry` (the chart's values.yaml)");
    let _ = with("sync", &[]).run().await.expect_success();
    assert_eq!(mirror.count("PUT", "/manifests/").await, 3);
}

/// `doctor` with the values that `values` prints: right once the images are in the mirror.
#[tokio::test]
async fn doctor_says_whether_the_images_that_values_take_from_the_mirror_are_there() {
    let images = vec![("web", SampleImage::multi_platform("web")), ("db", SampleImage::multi_platform("db"))];
    let vendor = Vendor::start(images).await;
    let mirror = Registry::start().await;
    let to = format!("{}/thoras", mirror.address().host_port);
    let values = values_for(&vendor, &to);
    let with = |command: &str, more: &[&str]| shop(&vendor, command, &to).arguments(more.iter().copied());
    let files = ["--values", values.to_str().unwrap()];
    let _ = with("sync", &["--include", "*/web:*"]).run().await.expect_success();
    let partly = with("doctor", &files).run().await.expect_code(2);
    assert!(
        partly.stdout.contains("warning   mirrored     1 of 2 images are in the mirror; missing: "),
        "{partly}"
    );
    assert!(partly.stdout.contains("run sync with the vendor's registry in the values"), "{partly}");
    let _ = with("sync", &[]).run().await.expect_success();
    let complete = with("doctor", &files).run().await.expect_success();
    assert!(complete.stdout.contains("2 images are taken from the mirror by these values"), "{complete}");
    assert!(complete.stdout.contains("ok        mirrored     2 of 2 images"), "{complete}");
    assert!(!complete.stdout.contains("onto"), "{complete}");
}
