//! Disks that are full, that refuse large files, and that corrupt data.

use std::{fs::File, os::unix::fs::FileExt};

use super::*;
use crate::support::{process::Running, scripted::Gate, small_disk::SmallDisk};

const MIB: u64 = 1 << 20;
const AMD64: [&str; 2] = ["--platform", "linux/amd64"];

/// An image with one blob of 6 MiB, that blob, and the image's config.
async fn large() -> (Site, Digest, Digest) {
    let image = SampleImage::with_large_layer("big", 6 << 20);
    let large = image.blobs.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap().0.clone();
    (Site::with(&[&image]).await, large, config_of(&image))
}

/// An export that waits for `blob` and has all the others.
async fn waiting_for(blob: &Digest, site: &Site, output: &Path, expected: &[u8]) -> (Running, Gate) {
    let gate = Gate::default();
    site.source.on("GET", blob.as_str()).first(1).then(Action::Hold(gate.clone()));
    let running = export(&site.images, output, &[&AMD64[..], &["-v"]].concat()).start();
    gate.reached_by(1).await;
    for (other, _) in extents(expected).iter().filter(|(other, _)| other != blob) {
        running.stderr_line(&format!("{} copied", other.short())).await;
    }
    (running, gate)
}

#[tokio::test]
async fn a_full_disk_stops_the_export_and_the_next_run_resumes() {
    let (site, large, config) = large().await;
    let expected = site.undisturbed(&AMD64).await;
    let disk = SmallDisk::of(16 * MIB).await;
    let path = disk.path("b.tar");
    let (running, gate) = waiting_for(&large, &site, &path, &expected).await;
    disk.fill("something else", 3 * MIB);
    gate.open();
    let outcome = running.outcome().await.expect_code(1);
    assert!(outcome.stderr.contains("No space left on device"), "{outcome}");
    assert!(outcome.stderr.contains("hint: free disk space and run the same command again"), "{outcome}");
    assert_eq!(site.source.count("GET", large.as_str()), 1, "another attempt finds no more room");
    assert!(!path.exists());
    // Still no room: nothing is requested, and nothing is lost.
    site.source.clear();
    let refused = export(&site.images, &path, &AMD64).run().await.expect_code(1);
    assert!(refused.stderr.contains("not enough space"), "{refused}");
    assert!(!site.fetched().contains(&large));
    std::fs::remove_file(disk.path("something else")).unwrap();
    export(&site.images, &path, &AMD64).run().await.expect_success();
    assert!(site.fetched().iter().all(|blob| *blob == large || *blob == config), "the others are there");
    let request =
        site.source.requests().into_iter().find(|request| request.is("GET", large.as_str())).unwrap();
    assert!(request.header("range").is_some(), "{request:?}");
    assert!(std::fs::read(&path).unwrap() == expected);
}

/// FAT32 behaves like this, and so does `ulimit -f`.
#[tokio::test]
async fn a_file_size_limit_is_reported_before_any_blob_is_fetched() {
    let (site, large, _) = large().await;
    let path = site.path("b.tar");
    // If the signal is ignored, the write fails with an error, as on a disk.
    let script = r#"trap "" XFSZ; ulimit -f 4096; exec "$0" "$@""#;
    let program = env!("CARGO_BIN_EXE_thoras-mirror");
    let limited = tokio::process::Command::new("bash")
        .args(["-c", script, program, "bundle", "export", "--platform", "linux/amd64", "-o"])
        .arg(&path)
        .args(&site.images)
        .env("HOME", site.folder.path())
        .output();
    let output = limited.await.unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("File too large") && stderr.contains("--split fat32"), "{stderr}");
    assert!(stderr.contains(path.to_str().unwrap()), "{stderr}");
    assert!(!site.fetched().contains(&large) && !path.exists());
}

#[tokio::test]
async fn a_disk_that_changes_bytes_is_detected() {
    let image = SampleImage::multi_platform("a");
    let site = Site::with(&[&image]).await;
    let expected = site.undisturbed(&AMD64).await;
    let blobs = extents(&expected);
    let last = blobs.last().unwrap();
    let end = expected.len() as u64 - 1;
    for (place, code, expected_text) in [
        (blobs[0].1.offset, 6, blobs[0].0.as_str()),
        (blobs[1].1.end(), 6, "was read back and differs"),
        (blobs[1].1.offset - 500, 6, "was read back and differs"),
        (700, 6, "was read back and differs"),
        (end, 6, "was read back and differs"),
    ] {
        let (running, gate) = waiting_for(&last.0, &site, &site.path("b.tar"), &expected).await;
        let file = File::options().write(true).open(site.path("b.tar.partial")).unwrap();
        file.write_all_at(b"\xff", place).unwrap();
        gate.open();
        let outcome = running.outcome().await.expect_code(code);
        assert!(outcome.stderr.contains(expected_text), "{place}: {outcome}");
        assert!(outcome.stderr.contains("the disk may be failing"), "{place}: {outcome}");
        assert_eq!(site.files(), ["b.tar.partial"]);
        site.source.clear();
        site.export("b.tar", &AMD64).run().await.expect_success();
        assert!(site.read("b.tar") == expected, "{place}");
        assert!(site.fetched().len() <= 1, "{place}: the rest was right");
        std::fs::remove_file(site.path("b.tar")).unwrap();
        site.source.clear();
    }
}
