//! What an earlier run left: intact blobs are kept, the rest is fetched again.

use std::{fs::File, os::unix::fs::FileExt, time::Duration};

use super::*;
use crate::support::kill::kill;

const LARGE: usize = 6 << 20;
const SENT: usize = 3 << 20;
/// At most this much of the data sent is still in memory: the last piece is held back until more follows.
const HELD: usize = 1 << 20;
const AMD64: [&str; 2] = ["--platform", "linux/amd64"];

/// An export that was killed after half of a large blob. Also returns the blob, its position, and the bytes of the
/// complete bundle.
async fn killed_during_a_blob(name: &str) -> (Site, Digest, Extent, Vec<u8>) {
    let image = SampleImage::with_large_layer("big", LARGE);
    let site = Site::with(&[&image]).await;
    let expected = site.undisturbed(&AMD64).await;
    let (large, extent) = extents(&expected).into_iter().max_by_key(|(_, extent)| extent.size).unwrap();
    site.source.on("GET", large.as_str()).first(1).then(stall_after(SENT));
    let partial = site.path(&format!("{name}.partial"));
    let last = extent.offset + (SENT - HELD) as u64 - 64;
    let mut found = [0; 64];
    // Only the file shows when the bytes have been written.
    let written = async {
        while File::open(&partial).and_then(|file| file.read_exact_at(&mut found, last)).is_err()
            || found == [0; 64]
        {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    kill(site.export(name, &AMD64), written).await;
    site.source.clear();
    (site, large, extent, expected)
}

#[tokio::test]
async fn an_interrupted_blob_is_resumed() {
    let (site, large, _, expected) = killed_during_a_blob("b.tar").await;
    let outcome =
        site.export("b.tar", &[&AMD64[..], &["--format", "json"]].concat()).run().await.expect_success();
    let config = config_of(&SampleImage::with_large_layer("big", LARGE));
    let layers: Vec<Digest> = site.fetched().into_iter().filter(|blob| *blob != config).collect();
    assert_eq!(layers, std::slice::from_ref(&large), "the others are there");
    let request =
        site.source.requests().into_iter().find(|request| request.is("GET", large.as_str())).unwrap();
    let from: usize = request
        .header("range")
        .and_then(|range| range.strip_prefix("bytes=")?.split('-').next()?.parse().ok())
        .unwrap();
    assert!((SENT - HELD - 64..=SENT).contains(&from), "{from}");
    assert!(site.read("b.tar") == expected);
    assert_eq!(site.files(), ["b.tar"]);
    let kept = document(&outcome)["written"]["kept"].as_u64().unwrap();
    assert!(kept >= from as u64, "{kept}");
}

#[tokio::test]
async fn a_damaged_partial_blob_is_fetched_again() {
    let (site, large, extent, expected) = killed_during_a_blob("b.tar").await;
    let partial = File::options().write(true).open(site.path("b.tar.partial")).unwrap();
    partial.write_all_at(b"garbage", extent.offset + 1_000_000).unwrap();
    site.export("b.tar", &AMD64).run().await.expect_success();
    assert!(site.read("b.tar") == expected);
    let requests = site.source.requests();
    let ranges: Vec<_> = requests
        .iter()
        .filter(|one| one.is("GET", large.as_str()))
        .map(|one| one.header("range").is_some())
        .collect();
    assert_eq!(ranges, [true, false], "the rest, then all of it");
}

/// What happens to the partial file, and whether its intact blobs can still be recognized.
type Damage = (&'static str, fn(&mut Vec<u8>, &[(Digest, Extent)]), bool);

#[tokio::test]
async fn no_damage_is_ever_accepted() {
    let damages: [Damage; 7] = [
        ("nothing", |_, _| (), true),
        ("a bit of a blob", |bytes, blobs| bytes[usize::try_from(blobs[0].1.offset).unwrap()] ^= 1, true),
        ("a bit of the head", |bytes, _| bytes[1000] ^= 1, true),
        (
            "a bit of a header",
            |bytes, blobs| bytes[usize::try_from(blobs[1].1.offset).unwrap() - 500] ^= 1,
            true,
        ),
        ("cut off", |bytes, blobs| bytes.truncate(usize::try_from(blobs[3].1.offset).unwrap()), false),
        ("zeros", |bytes, _| bytes.fill(0), false),
        (
            "another archive",
            |bytes, _| {
                bytes.truncate(512);
                bytes.extend(b"#!/bin/sh\necho hello\n".repeat(99));
            },
            false,
        ),
    ];
    for split in [&[][..], &["--split", "70000"]] {
        let site = Site::with(&[&SampleImage::multi_platform("a"), &SampleImage::docker("b")]).await;
        let expected = site.undisturbed(&[]).await;
        let blobs = extents(&expected);
        let names: Vec<String> = match split {
            [] => vec!["b.tar".to_owned()],
            _ => (1..=expected.len().div_ceil(70_000)).map(|number| format!("b.tar.{number:03}")).collect(),
        };
        for (what, damage, is_readable) in &damages {
            site.lose(&blobs.last().unwrap().0);
            site.export("b.tar", split).run().await.expect_code(1);
            assert!(site.files().iter().all(|name| name.ends_with(".partial")), "{what}: {:?}", site.files());
            let partials = names.iter().map(|name| site.path(&format!("{name}.partial")));
            let mut bytes: Vec<u8> = partials.clone().flat_map(|path| std::fs::read(path).unwrap()).collect();
            damage(&mut bytes, &blobs);
            let kept = intact(&bytes, &expected);
            let mut pieces = bytes.chunks(if split.is_empty() { usize::MAX } else { 70_000 });
            for path in partials {
                match pieces.next() {
                    Some(piece) => std::fs::write(path, piece).unwrap(),
                    None => std::fs::remove_file(path).unwrap(),
                }
            }
            site.source.clear();
            site.export("b.tar", split).run().await.expect_success();
            let written: Vec<u8> = names.iter().flat_map(|name| site.read(name)).collect();
            assert!(written == expected, "{what} {split:?}");
            let fetched = site.fetched();
            assert!(!is_readable || fetched.iter().all(|blob| !kept.contains(blob)), "{what} {split:?}");
            assert!(!site.files().iter().any(|name| name.contains("partial")), "{:?}", site.files());
            site.files().iter().for_each(|name| std::fs::remove_file(site.path(name)).unwrap());
            site.source.clear();
        }
    }
}

#[tokio::test]
async fn volumes_already_renamed_are_reused() {
    let site = Site::with(&[&SampleImage::multi_platform("a")]).await;
    let split = ["--split", "70000"];
    site.export("b.tar", &split).run().await.expect_success();
    let whole = site.files();
    let volumes = whole.len() - 1;
    let contents: Vec<Vec<u8>> = whole.iter().map(|name| site.read(name)).collect();
    for named in 0..=volumes {
        // The state after a run that was killed after this many renames.
        std::fs::remove_file(site.path("b.tar.volumes.json")).unwrap();
        for name in &whole[named..volumes] {
            std::fs::rename(site.path(name), site.path(&format!("{name}.partial"))).unwrap();
        }
        site.source.clear();
        site.export("b.tar", &split).run().await.expect_success();
        assert_eq!(site.fetched(), [], "{named}");
        assert_eq!(site.files(), whole);
        assert!(whole.iter().map(|name| site.read(name)).eq(contents.iter().cloned()), "{named}");
    }
}
