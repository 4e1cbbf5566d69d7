//! Registry addresses in every form.

use crate::support::{
    images::SampleImage,
    process::Mirror,
    registry::{Options, Registry},
    scripted::Scripted,
    tls::Authority,
};

#[tokio::test]
async fn a_registry_at_an_ipv6_address_with_a_port_works_as_destination_and_source() {
    let source = Scripted::start().await;
    let image = SampleImage::multi_platform("1");
    source.with_store(|store| store.insert("team/app", &image));
    let mirror = Registry::start_with(Options::default().ipv6()).await;
    assert!(mirror.address().host_port.starts_with("[::1]:"));
    let to = format!("{}/mirror", mirror.address().host_port);
    let run = Mirror::new(["sync", &source.address().image("team/app", "1"), "--to", &to]).run().await;
    let _ = run.expect_success();
    let inspected = Mirror::new(["inspect", "--raw", &format!("{to}/app:1")]).run().await.expect_success();
    assert_eq!(inspected.stdout.as_bytes(), image.root().bytes);
}

#[tokio::test]
async fn an_ipv6_registry_over_tls_is_verified_by_its_address() {
    let authority = Authority::new();
    let registry = Registry::start_with(Options::default().ipv6().tls(&authority)).await;
    let source = Scripted::start().await;
    let image = SampleImage::single_platform("1", "amd64");
    source.with_store(|store| store.insert("team/app", &image));
    let to = registry.address().host_port.clone();
    let authority = format!("{to}={}", authority.certificate_file().display());
    let from = source.address().image("team/app", "1");
    let run = Mirror::new(["sync", &from, "--to", &to, "--platform", "linux/amd64", "--ca-cert", &authority]);
    let _ = run.run().await.expect_success();
    assert_eq!(registry.count("PUT", "/v2/app/manifests/1").await, 1);
}
