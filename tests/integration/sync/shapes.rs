//! Manifests without a media type, ambiguous manifests, and indexes that list missing children.

use thoras_mirror::oci::media_type::{DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};

use super::*;

#[tokio::test]
async fn a_manifest_without_a_media_type_uses_its_content_type() {
    let image = SampleImage::without_media_types("1");
    assert!(
        !String::from_utf8_lossy(&image.root().bytes).contains(&format!("\"mediaType\":\"{OCI_INDEX}\""))
    );
    let pair = ScriptedPair::with(&[("team/app", &image)]).await;
    let _ = pair.sync(&[]).run().await.expect_success();
    pair.destination.with_store(|store| {
        let contents = store.repository("mirror/app");
        for manifest in &image.manifests {
            let expected = (manifest.media_type.clone(), manifest.bytes.clone());
            assert_eq!(contents.manifests.get(&manifest.digest), Some(&expected));
        }
        assert_eq!(contents.tags["1"], image.root().digest);
    });
}

#[tokio::test]
async fn a_manifest_without_any_media_type_is_recognized_by_its_content() {
    let image = SampleImage::without_media_types("1");
    let pair = ScriptedPair::with(&[("team/app", &image)]).await;
    pair.source.with_store(|store| {
        for (media_type, _) in store.repository("team/app").manifests.values_mut() {
            *media_type = "application/octet-stream".to_owned();
        }
    });
    let _ = pair.sync(&[]).run().await.expect_success();
    pair.destination.with_store(|store| {
        let contents = store.repository("mirror/app");
        for manifest in &image.manifests {
            let expected = (manifest.media_type.clone(), manifest.bytes.clone());
            assert_eq!(contents.manifests.get(&manifest.digest), Some(&expected));
        }
    });
}

#[tokio::test]
async fn an_ambiguous_manifest_is_refused() {
    let digest = SampleImage::multi_platform("x").root().digest.clone();
    let named = format!(r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{digest}","size":2}}"#);
    let both = format!(r#"{{"schemaVersion":2,"config":{named},"layers":[{named}],"manifests":[{named}]}}"#);
    let image = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{named},"layers":[]}}"#);
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{named}]}}"#);
    for (media_type, body, reason) in [
        (OCI_INDEX, &both, "has both `manifests` and `layers`"),
        (OCI_MANIFEST, &both, "has both `manifests` and `layers`"),
        (OCI_INDEX, &image, "was served as `application/vnd.oci.image.index.v1+json` but its `mediaType` is"),
        (DOCKER_MANIFEST, &image, "was served as `application/vnd.docker.distribution.manifest.v2+json` but"),
        (
            OCI_MANIFEST,
            &index,
            "type is `application/vnd.oci.image.manifest.v1+json`, but its content is an index",
        ),
    ] {
        let confused = SampleImage::of_bytes("1", media_type, body);
        let pair = ScriptedPair::with(&[("team/app", &confused)]).await;
        let outcome = pair.sync(&[]).run().await.expect_code(1);
        assert!(outcome.stderr.contains(reason), "{media_type} {body}: {outcome}");
        assert!(outcome.stderr.contains(&pair.images[0]), "{outcome}");
        assert_eq!((pair.writes(), pair.tags()), (0, Vec::new()), "{outcome}");
    }
}

#[tokio::test]
async fn indexes_may_be_nested_at_most_eight_deep() {
    let platform = ["--platform", "linux/amd64"];
    let image = SampleImage::nested_in("1", 8);
    let pair = ScriptedPair::with(&[("team/app", &image)]).await;
    let _ = pair.sync(&platform).run().await.expect_success();
    assert_eq!(pair.tag("mirror/app", "1").as_deref(), Some(image.root().digest.as_str()));

    let image = SampleImage::nested_in("1", 9);
    let pair = ScriptedPair::with(&[("team/app", &image)]).await;
    let outcome = pair.sync(&platform).run().await.expect_code(1);
    assert!(outcome.stderr.contains("indexes are nested more than 8 levels deep"), "{outcome}");
    assert!(outcome.stderr.contains(image.root().digest.as_str()), "{outcome}");
    assert_eq!((pair.writes(), pair.tags()), (0, Vec::new()), "{outcome}");
}

#[tokio::test]
async fn a_child_missing_at_the_source_is_named_with_its_platform_and_nothing_is_tagged() {
    let image = SampleImage::multi_platform("1");
    let child = image.manifests[1].digest.clone();
    let pair = ScriptedPair::with(&[("team/app", &image)]).await;
    pair.source.with_store(|store| drop(store.repository("team/app").manifests.remove(&child)));
    // Even if that platform is not required: the index would be incomplete.
    for more in [&[] as &[&str], &["--platform", "linux/amd64"]] {
        let outcome = pair.sync(more).run().await.expect_code(1);
        assert!(outcome.stderr.contains(&format!("@{child} (source)")), "{outcome}");
        assert!(outcome.stderr.contains("although an index references it for linux/arm64/v8"), "{outcome}");
        assert!(outcome.stderr.contains("hint: the image is incomplete: ask its publisher"), "{outcome}");
        assert_eq!((pair.writes(), pair.tags()), (0, Vec::new()), "{outcome}");
    }
}
