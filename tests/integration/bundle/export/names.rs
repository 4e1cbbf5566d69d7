//! Names of images in a bundle: exactly as requested.

use super::*;
use crate::support::skopeo;

#[tokio::test]
async fn every_reference_keeps_its_name_and_its_digest() {
    let (one, two) = (SampleImage::multi_platform("1"), SampleImage::multi_platform("2"));
    let mut site = Site::with(&[]).await;
    let host = site.source.address().host_port.clone();
    let other = SampleImage { tag: "1".to_owned(), ..two.clone() };
    site.source.with_store(|store| {
        store.insert("team/app", &one);
        store.insert("team/app", &two);
        store.insert("team/other", &other);
        store.insert("team/copy", &one);
    });
    let (first, second) = (&one.root().digest, &two.root().digest);
    let wanted = [
        (format!("{host}/team/app@{first}"), first),
        (format!("{host}/team/app:1"), first),
        (format!("{host}/team/app:1@{first}"), first),
        (format!("{host}/team/app:1@{second}"), second),
        (format!("{host}/team/other:1"), second),
        (format!("{host}/team/copy:1"), first),
    ];
    site.images = wanted.iter().map(|(name, _)| name.clone()).collect();
    site.export("b.tar", &[]).run().await.expect_success();
    let path = site.path("b.tar");
    for (name, digest) in &wanted {
        let raw = skopeo::run(&["inspect", "--raw", &format!("oci-archive:{}:{name}", path.display())]).await;
        assert_eq!(Digest::sha256(&raw), **digest, "{name}");
    }
    let lock = lock_of(&path);
    assert_eq!(lock["images"].as_array().unwrap().len(), wanted.len());
    for blob in one.blobs.keys().chain(two.blobs.keys()) {
        assert_eq!(site.fetched().iter().filter(|fetched| *fetched == blob).count(), 1, "{blob}");
    }
    Mirror::new(["bundle", "verify"]).arg(path).run().await.expect_success();
}
