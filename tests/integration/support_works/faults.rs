//! The fault proxy: it breaks the share of requests it was told to, the same ones for the same seed.

use crate::support::{client, fault_proxy::FaultProxy, images::SampleImage, registry::Registry};

/// Requests the same blobs through a new proxy and returns the fault of each request.
async fn history(registry: &Registry, image: &SampleImage, seed: &str) -> Vec<String> {
    let proxy = FaultProxy::start(registry.address(), seed, 50).await;
    let client = proxy.address().http_client();
    for digest in image.blobs.keys().cycle().take(60) {
        let answer = client.get(format!("{}/v2/app/blobs/{digest}", proxy.address().url())).send().await;
        if let Ok(answer) = answer {
            drop(answer.bytes().await);
        }
    }
    proxy.history()
}

#[tokio::test]
async fn the_same_seed_breaks_the_same_requests() {
    let registry = Registry::start().await;
    let image = SampleImage::multi_platform("1");
    client::push(&image, registry.address(), "app").await;
    let first = history(&registry, &image, "a").await;
    assert_eq!(first, history(&registry, &image, "a").await);
    assert_ne!(first, history(&registry, &image, "b").await);
    for fault in ["None", "CutAnswer", "LoseAnswer", "Stall", "Refuse(429)", "Refuse(500)", "FlipBit"] {
        assert!(first.iter().any(|line| line.contains(fault)), "no {fault} in {first:#?}");
    }
}

#[tokio::test]
async fn nothing_breaks_after_faults_are_switched_off() {
    let registry = Registry::start().await;
    let image = SampleImage::multi_platform("1");
    let proxy = FaultProxy::start(registry.address(), "a", 100).await;
    let url = format!("{}/v2/", proxy.address().url());
    let client = proxy.address().http_client();
    let mut broken = false;
    for _ in 0..10 {
        broken |= !client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success());
    }
    assert!(broken);
    proxy.calm();
    client::push(&image, proxy.address(), "app").await;
    client::assert_present(&image, proxy.address(), "app").await;
}
