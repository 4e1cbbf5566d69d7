//! `--limit-rate`. No run is too fast; that none is too slow is shown without waiting, in `endpoint/registry/rate.rs`.

use std::time::{Duration, Instant};

use crate::support::{images::SampleImage, process::Mirror, registry::Registry, scripted::Scripted};

/// Bytes per second. The image has about as many.
const RATE: u32 = 1_000_000;

async fn source() -> (Scripted, SampleImage) {
    let (source, image) =
        (Scripted::start().await, SampleImage::with_layer_size("1", usize::try_from(RATE / 4).unwrap()));
    source.with_store(|store| store.insert("app", &image));
    (source, image)
}

/// Runs a command that moves the bytes of the image, at most at the limited rate. A tenth may pass at once.
async fn takes_its_time(arguments: &[&str], image: &SampleImage) {
    let start = Instant::now();
    Mirror::new(arguments.iter().copied()).run().await.expect_success();
    let least = f64::from(u32::try_from(image.blob_bytes()).unwrap()) / f64::from(RATE) * 0.9;
    assert!(start.elapsed() >= Duration::from_secs_f64(least), "{arguments:?}: {:?}", start.elapsed());
}

#[tokio::test]
async fn a_limit_holds_for_the_sum_of_all_connections_of_a_side() {
    let (source, image) = source().await;
    let reference = source.address().image("app", "1");
    for flag in ["--limit-rate", "--limit-rate-from", "--limit-rate-to"] {
        let mirror = Registry::start().await;
        let to = &mirror.address().host_port;
        takes_its_time(&["sync", &reference, "--to", to, flag, "1MB/s"], &image).await;
        // Nothing to copy, and little to wait for.
        let idle = ["sync", &reference, "--to", to, "--limit-rate", "20KB/s"];
        Mirror::new(idle).run().await.expect_success();
    }
}

#[tokio::test]
async fn bundles_and_verification_are_limited_at_the_side_that_is_a_registry() {
    let (source, image) = source().await;
    let mirror = Registry::start().await;
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("images.tar");
    let lock = folder.path().join("lock");
    let (bundle, lock) = (bundle.to_str().unwrap(), lock.to_str().unwrap());
    let reference = source.address().image("app", "1");
    let to = &mirror.address().host_port;
    takes_its_time(&["bundle", "export", "-o", bundle, &reference, "--limit-rate-from", "1MB/s"], &image)
        .await;
    let import = ["bundle", "import", bundle, "--to", to, "--lock", lock, "--limit-rate-to", "1MB/s"];
    takes_its_time(&import, &image).await;
    takes_its_time(&["verify", "--lock", lock, "--level", "bytes", "--limit-rate", "1MB/s"], &image).await;
}

#[tokio::test]
async fn an_invalid_rate_is_refused_with_an_example() {
    let outcome = Mirror::new(["sync", "--to", "r.example/x", "--limit-rate", "20Mbit/s"]).run().await;
    let outcome = outcome.expect_code(2);
    assert!(outcome.stderr.contains("expected bytes per second, such as 20MB/s or 512KiB/s"), "{outcome}");
}
