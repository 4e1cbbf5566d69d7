//! The images changed between two runs: what is intact is moved, what changed is named.

use super::*;

/// What one run left when `lost` could not be had, and the next run is asked for other images.
async fn left_behind(images: &[&SampleImage], lost: &Digest, more: &[&str]) -> Site {
    let site = Site::with(images).await;
    site.lose(lost);
    site.export("b.tar", more).run().await.expect_code(1);
    site.source.clear();
    site
}

fn own_blob(image: &SampleImage, others: &[&SampleImage]) -> Digest {
    let shared = |digest: &&Digest| others.iter().any(|other| other.blobs.contains_key(*digest));
    image.blobs.keys().find(|digest| !shared(digest)).unwrap().clone()
}

#[tokio::test]
async fn a_moved_tag_is_named_and_only_what_is_new_is_fetched() {
    for split in [&[][..], &["--split", "65536"]] {
        let (a, b, new) =
            (SampleImage::multi_platform("a"), SampleImage::docker("b"), SampleImage::multi_platform("new"));
        let lost = own_blob(&b, &[&a, &new]);
        let site = left_behind(&[&a, &b], &lost, split).await;
        site.retag("a", &new);
        let expected = site.undisturbed(&[]).await;
        let outcome = site.export("b.tar", split).run().await.expect_success();
        let told =
            format!("changed since the export that broke off: {} -> {}", a.root().digest, new.root().digest);
        assert!(outcome.stderr.contains(&told), "{outcome}");
        let mut fetched = site.fetched();
        fetched.sort();
        let is_new = |digest: &&Digest| {
            **digest == lost || (!a.blobs.contains_key(*digest) && !b.blobs.contains_key(*digest))
        };
        let mut wanted: Vec<Digest> =
            new.blobs.keys().chain(b.blobs.keys()).filter(is_new).cloned().collect();
        wanted.sort();
        assert_eq!(fetched, wanted, "{outcome}");
        let files: Vec<String> = site.files().into_iter().filter(|name| !name.ends_with("json")).collect();
        assert!(files.iter().flat_map(|name| site.read(name)).eq(expected), "{split:?}");
        assert!(!files.iter().any(|name| name.ends_with(".partial")), "{files:?}");
    }
}

#[tokio::test]
async fn blobs_move_both_ways_when_images_come_and_go() {
    let images = ["a", "b", "c", "d", "e", "f", "g", "h"].map(SampleImage::multi_platform);
    let more: Vec<SampleImage> =
        (0..12).map(|number| SampleImage::multi_platform(&format!("more{number}"))).collect();
    let lost = own_blob(&images[0], &[&images[1]]);
    for split in [&[][..], &["--split", "65536"]] {
        let mut site = left_behind(&images.iter().collect::<Vec<_>>(), &lost, split).await;
        // The head grows by far, and the lost image does not come back.
        site.images.remove(0);
        more.iter().for_each(|image| site.add(image));
        let expected = site.undisturbed(&[]).await;
        site.lose(&own_blob(&more[3], &[&images[0]]));
        site.export("b.tar", split).run().await.expect_code(1);
        let fetched = site.fetched();
        assert!(!images.iter().any(|old| old.blobs.keys().any(|blob| fetched.contains(blob))), "{split:?}");
        site.source.clear();
        site.export("b.tar", split).run().await.expect_success();
        assert_eq!(site.fetched().len(), 1);
        let volumes: Vec<String> = site.files().into_iter().filter(|name| !name.ends_with("json")).collect();
        assert!(volumes.iter().flat_map(|name| site.read(name)).eq(expected), "{split:?}");
        // And it shrinks again, in a run of its own.
        site.files().iter().for_each(|name| std::fs::remove_file(site.path(name)).unwrap());
        let last = site.images.len() - 1;
        site.lose(&own_blob(&more[11], &[&images[0]]));
        site.export("b.tar", split).run().await.expect_code(1);
        site.source.clear();
        site.images.drain(5..=last);
        let expected = site.undisturbed(&[]).await;
        site.export("b.tar", split).run().await.expect_success();
        assert_eq!(site.fetched(), []);
        let volumes: Vec<String> = site.files().into_iter().filter(|name| !name.ends_with("json")).collect();
        assert!(volumes.iter().flat_map(|name| site.read(name)).eq(expected), "{split:?}: {volumes:?}");
    }
}

#[tokio::test]
async fn volumes_of_another_size_are_written_anew() {
    let (a, b) = (SampleImage::multi_platform("a"), SampleImage::docker("b"));
    let lost = own_blob(&b, &[&a]);
    let site = left_behind(&[&a, &b], &lost, &["--split", "70000"]).await;
    site.export("b.tar", &["--split", "100000"]).run().await.expect_success();
    assert!(!site.files().iter().any(|name| name.contains("partial")), "{:?}", site.files());
    // Volumes of a set that is replaced go with it.
    site.export("b.tar", &["--split", "200000"]).run().await.expect_success();
    let expected = site.undisturbed(&[]).await;
    let volumes: Vec<String> = site.files().into_iter().filter(|name| !name.ends_with("json")).collect();
    assert!(volumes.iter().flat_map(|name| site.read(name)).eq(expected), "{volumes:?}");
}
