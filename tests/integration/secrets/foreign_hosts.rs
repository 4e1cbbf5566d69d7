//! The license and other credentials are sent only to the host they are bound to.

use std::collections::BTreeSet;

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{assert_hidden, basic};
use crate::support::{
    Address,
    images::SampleImage,
    process::{Mirror, Outcome},
    scripted::{Action, Scripted},
};

const KEY: &str = r#"{"type":"service_account","private_key":"license>s3cret?~/+"}"#;
const LICENSE_USER: &str = "_json_key_base64";

fn license_header() -> String {
    basic(LICENSE_USER, &BASE64_STANDARD.encode(KEY))
}

/// A registry that holds the image as `thoras-registry/platform/web:web`.
async fn vendor() -> Scripted {
    let registry = Scripted::start().await;
    let web = SampleImage::multi_platform("web");
    registry.with_store(|store| store.insert("thoras-registry/platform/web", &web));
    registry
}

async fn vendor_with_license() -> Scripted {
    let registry = vendor().await;
    registry.demand("Basic realm=\"vendor\"", &[&license_header()]);
    registry
}

fn image(address: &Address) -> String {
    address.image("thoras-registry/platform/web", "web")
}

/// Every `Authorization` header that a registry saw.
fn authorizations(registry: &Scripted) -> BTreeSet<String> {
    let requests = registry.requests();
    requests.iter().filter_map(|request| request.header("authorization")).map(str::to_owned).collect()
}

fn assert_license_hidden(outcome: &Outcome) {
    let key = BASE64_STANDARD.encode(KEY);
    assert_hidden(
        outcome,
        &[KEY, &key, "license>s3cret?~/+", license_header().strip_prefix("Basic ").unwrap()],
        "",
    );
}

#[tokio::test]
async fn the_license_is_sent_only_to_its_host_however_it_is_configured() {
    let vendor = vendor_with_license().await;
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let (raw, encoded) =
        (write("raw.json", KEY), write("encoded", &format!("{}\n", BASE64_STANDARD.encode(KEY))));
    let bound = format!("{}/thoras-registry", vendor.address().host_port);
    let image = image(vendor.address());
    let inspect =
        |more: &[&str]| Mirror::new(["-v", "inspect", "--license-for", &bound, &image].iter().chain(more));
    for command in [
        inspect(&["--license", &raw]),
        inspect(&["--license", &encoded]),
        inspect(&["--license", "-"]).stdin(KEY),
        inspect(&[]).env("THORAS_LICENSE", KEY),
        inspect(&[]).env("THORAS_LICENSE", BASE64_STANDARD.encode(KEY)),
        inspect(&[]).env("THORAS_LICENSE_FILE", &raw),
    ] {
        assert_license_hidden(&command.run().await.expect_success());
    }
    assert_eq!(authorizations(&vendor), BTreeSet::from([license_header()]));
}

#[tokio::test]
async fn a_foreign_host_in_a_list_gets_no_license_even_with_the_same_path() {
    let (vendor, foreign, mirror) = (vendor_with_license().await, vendor().await, Scripted::start().await);
    // Another port is another host, and so is another name of the same machine.
    let other_name = image(&vendor.address().as_localhost());
    let list = format!("{}\n{}\n{other_name}\n", image(vendor.address()), image(foreign.address()));
    let to = format!("{}/mirror", mirror.address().host_port);
    let bound = format!("{}/thoras-registry", vendor.address().host_port);
    let sync = ["-v", "sync", "--to", &to, "--license-for", &bound, "--images", "-", "--naming", "full"];
    let outcome = Mirror::new(sync).env("THORAS_LICENSE", KEY).stdin(list).run().await;
    assert_license_hidden(&outcome);
    let outcome = outcome.expect_code(4);
    assert_eq!(outcome.stdout.lines().filter(|line| line.contains(" copied ")).count(), 2, "{outcome}");

    assert_eq!(authorizations(&foreign), BTreeSet::new());
    assert_eq!(authorizations(&mirror), BTreeSet::new(), "nor does the destination");
    for request in vendor.requests() {
        let to_other_name = request.header("host").is_some_and(|host| host.starts_with("localhost"));
        assert!(!to_other_name || request.header("authorization").is_none(), "{request:?}");
    }
}

#[tokio::test]
async fn the_license_is_bound_to_the_configured_path_and_by_default_to_the_vendor() {
    let vendor = vendor_with_license().await;
    let image = image(vendor.address());
    let elsewhere = format!("{}/another-path", vendor.address().host_port);
    let outcome =
        Mirror::new(["-v", "inspect", "--license-for", &elsewhere, &image]).env("THORAS_LICENSE", KEY);
    assert_license_hidden(&outcome.run().await.expect_code(4));
    let outcome = Mirror::new(["-v", "inspect", &image]).env("THORAS_LICENSE", KEY).run().await;
    assert_license_hidden(&outcome.expect_code(4));
    assert_eq!(authorizations(&vendor), BTreeSet::new());
}

#[tokio::test]
async fn license_for_without_a_license_is_a_usage_error() {
    let outcome = Mirror::new(["inspect", "--license-for", "127.0.0.1:1/a", "127.0.0.1:1/a/b:1"]).run().await;
    assert!(outcome.expect_code(2).stderr.contains("THORAS_LICENSE"));
}

/// Redirects every blob through these hosts before it is served.
async fn mirror_through(vendor: &Scripted) -> Outcome {
    let mirror = Scripted::start().await;
    let to = format!("{}/mirror", mirror.address().host_port);
    let bound = format!("{}/thoras-registry", vendor.address().host_port);
    let sync = ["-v", "sync", "--to", &to, "--license-for", &bound, &image(vendor.address())];
    let outcome = Mirror::new(sync).env("THORAS_LICENSE", KEY).run().await;
    assert_license_hidden(&outcome);
    outcome
}

fn blob_requests(registry: &Scripted) -> usize {
    registry.requests().iter().filter(|request| request.path.contains("/blobs/")).count()
}

#[tokio::test]
async fn a_blob_redirected_to_another_host_carries_no_credential() {
    let (vendor, storage) = (vendor_with_license().await, vendor().await);
    let blobs = SampleImage::multi_platform("web").blobs;
    for digest in blobs.keys() {
        let place =
            format!("{}/v2/thoras-registry/platform/web/blobs/{digest}?sig=x", storage.address().url());
        vendor.on("GET", digest.as_str()).then(Action::redirect(&place));
    }
    let _ = mirror_through(&vendor).await.expect_success();
    assert_eq!(blob_requests(&storage), blobs.len());
    assert_eq!(authorizations(&storage), BTreeSet::new());
    assert!(storage.requests().iter().all(|request| request.header("referer").is_none()));
}

#[tokio::test]
async fn the_second_hop_on_a_foreign_host_carries_no_credential() {
    let (vendor, storage) = (vendor_with_license().await, vendor().await);
    let blobs = SampleImage::multi_platform("web").blobs;
    for digest in blobs.keys() {
        vendor
            .on("GET", digest.as_str())
            .then(Action::redirect(&format!("{}/first/{digest}", storage.address().url())));
        let second = format!("/v2/thoras-registry/platform/web/blobs/{digest}");
        storage.on("GET", &format!("/first/{digest}")).then(Action::redirect(&second));
    }
    let _ = mirror_through(&vendor).await.expect_success();
    assert_eq!(blob_requests(&storage), blobs.len());
    assert_eq!(authorizations(&storage), BTreeSet::new());
}

#[tokio::test]
async fn a_redirect_back_from_a_foreign_host_is_evaluated_again() {
    let (vendor, storage) = (vendor_with_license().await, vendor().await);
    let blobs = SampleImage::multi_platform("web").blobs;
    for digest in blobs.keys() {
        let away = format!("{}/away/{digest}", storage.address().url());
        vendor.on("GET", &format!("/blobs/{digest}")).first(1).then(Action::redirect(&away));
        let back = format!("{}/v2/thoras-registry/platform/web/blobs/{digest}", vendor.address().url());
        storage.on("GET", &format!("/away/{digest}")).then(Action::redirect(&back));
    }
    let outcome = mirror_through(&vendor).await;
    assert_eq!(authorizations(&storage), BTreeSet::new());
    assert_eq!(authorizations(&vendor), BTreeSet::from([license_header()]));
    assert!(storage.count("GET", "/away/") >= 1, "{outcome}");
}

#[tokio::test]
async fn a_token_realm_on_a_foreign_host_gets_no_license() {
    let (vendor, foreign) = (vendor().await, Scripted::start().await);
    let realm = format!("{}/token", foreign.address().as_localhost().url());
    vendor.demand(&format!("Bearer realm=\"{realm}\",service=\"test\""), &[]);
    let bound = format!("{}/thoras-registry", vendor.address().host_port);
    let outcome = Mirror::new(["-v", "inspect", "--license-for", &bound, &image(vendor.address())]);
    let outcome = outcome.env("THORAS_LICENSE", KEY).run().await;
    assert_license_hidden(&outcome);
    assert_ne!(outcome.status.code(), Some(0));
    assert_eq!(authorizations(&foreign), BTreeSet::new());
}
