//! The images changed between two runs: intact blobs are relocated, changes are reported.

use super::*;

/// What a run left behind when `lost` was not available, and which of its blobs are complete.
async fn left_behind(images: &[&SampleImage], lost: &Digest, more: &[&str]) -> (Site, HashSet<Digest>) {
    let site = Site::with(images).await;
    let whole = site.undisturbed(&[]).await;
    let kept = fail_without(&site, lost, more, &whole).await;
    (site, kept)
}

/// Runs an export that fails because `lost` is missing. Returns the blobs that are complete in what it leaves behind.
async fn fail_without(site: &Site, lost: &Digest, more: &[&str], whole: &[u8]) -> HashSet<Digest> {
    site.lose(lost);
    site.export("b.tar", more).run().await.expect_code(1);
    assert!(site.files().iter().all(|name| name.ends_with(".partial")), "{:?}", site.files());
    site.source.clear();
    intact(&site.joined("b.tar"), whole)
}

#[tokio::test]
async fn a_moved_tag_is_reported_and_only_new_content_is_fetched() {
    for split in [&[][..], &["--split", "65536"]] {
        let (a, b, new) =
            (SampleImage::multi_platform("a"), SampleImage::docker("b"), SampleImage::multi_platform("new"));
        let lost = own_blob(&b, &[&a, &new]);
        let (site, kept) = left_behind(&[&a, &b], &lost, split).await;
        site.retag("a", &new);
        let expected = site.undisturbed(&[]).await;
        let outcome = site.export("b.tar", split).run().await.expect_success();
        let expected_text =
            format!("changed since the interrupted export: {} -> {}", a.root().digest, new.root().digest);
        assert!(outcome.stderr.contains(&expected_text), "{outcome}");
        let needed = |digest: &Digest| new.blobs.contains_key(digest) || b.blobs.contains_key(digest);
        let fetched = site.fetched();
        assert!(fetched.iter().all(|digest| needed(digest) && !kept.contains(digest)), "{outcome}");
        assert!(a.blobs.keys().any(|digest| kept.contains(digest)), "{split:?}");
        assert!(site.joined("b.tar") == expected, "{split:?}");
        assert!(!site.files().iter().any(|name| name.ends_with(".partial")), "{:?}", site.files());
    }
}

#[tokio::test]
async fn blobs_move_both_ways_when_images_come_and_go() {
    let images = ["a", "b", "c", "d", "e", "f", "g", "h"].map(SampleImage::multi_platform);
    let more: Vec<SampleImage> =
        (0..12).map(|number| SampleImage::multi_platform(&format!("more{number}"))).collect();
    let lost = own_blob(&images[0], &[&images[1]]);
    for split in [&[][..], &["--split", "65536"]] {
        let (mut site, kept) = left_behind(&images.iter().collect::<Vec<_>>(), &lost, split).await;
        // The head grows a lot, and the lost image does not return.
        site.images.remove(0);
        for image in &more {
            site.add(image);
        }
        let expected = site.undisturbed(&[]).await;
        site.lose(&own_blob(&more[3], &[&images[0]]));
        site.export("b.tar", split).run().await.expect_code(1);
        assert!(site.fetched().iter().all(|blob| !kept.contains(blob)), "{split:?}");
        let kept = intact(&site.joined("b.tar"), &expected);
        site.source.clear();
        site.export("b.tar", split).run().await.expect_success();
        assert!(site.fetched().iter().all(|blob| !kept.contains(blob)), "{split:?}");
        assert!(site.joined("b.tar") == expected, "{split:?}");
        // In another run, it shrinks again.
        site.files().iter().for_each(|name| std::fs::remove_file(site.path(name)).unwrap());
        let kept = fail_without(&site, &own_blob(&more[11], &[&images[0]]), split, &expected).await;
        site.images.truncate(5);
        let expected = site.undisturbed(&[]).await;
        site.export("b.tar", split).run().await.expect_success();
        assert!(site.fetched().iter().all(|blob| !kept.contains(blob)), "{split:?}");
        assert!(site.joined("b.tar") == expected, "{split:?}: {:?}", site.files());
    }
}

#[tokio::test]
async fn volumes_of_another_size_are_rewritten() {
    let (a, b) = (SampleImage::multi_platform("a"), SampleImage::docker("b"));
    let lost = own_blob(&b, &[&a]);
    let (site, _) = left_behind(&[&a, &b], &lost, &["--split", "70000"]).await;
    site.export("b.tar", &["--split", "100000"]).run().await.expect_success();
    assert!(!site.files().iter().any(|name| name.contains("partial")), "{:?}", site.files());
    // Volumes of a replaced set are removed.
    site.export("b.tar", &["--split", "200000"]).run().await.expect_success();
    let expected = site.undisturbed(&[]).await;
    assert!(site.joined("b.tar") == expected, "{:?}", site.files());
}
