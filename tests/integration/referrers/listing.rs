//! The referrers API and its replacement, as a source lists them.

use serde_json::{Value, json};
use thoras_mirror::{
    endpoint::Source,
    oci::{Contents, Digest, Target, media_type::OCI_INDEX},
    problem::Side,
};

use super::{
    Answer, SampleImage, Scripted, digests, entry, index, next_page, page, referrer, registries, repository,
    store_tag, tag_of, text,
};
use crate::support::scripted::Action;

const NAME: &str = "vendor/app";

fn image_digest() -> Digest {
    Digest::sha256(b"image")
}

/// Three pages of two referrers each. No request is filtered, although the server claims to have applied a filter.
#[tokio::test]
async fn all_pages_are_read_without_a_filter() {
    let registry = Scripted::start().await;
    let manifests: Vec<_> = (0..6).map(|n| referrer(&image_digest(), &n.to_string())).collect();
    let entries: Vec<Value> = manifests.iter().map(entry).collect();
    let path = format!("/v2/{NAME}/referrers/{}", image_digest());
    registry.on("GET", "/referrers/").then(Action::decide(move |request| {
        let answer = match request.path.split_once("page=").map(|(_, page)| page) {
            None => next_page(&entries[..2], &format!("{path}?page=2")),
            // Relative to the request, as the specification permits.
            Some("2") => next_page(&entries[2..4], "?page=3"),
            _ => page(&entries[4..]),
        };
        Some(answer.header("oci-filters-applied", "artifactType"))
    }));
    let source = registries(Side::Source);
    let found = source.attachments(&repository(registry.address(), NAME), &image_digest()).await.unwrap();
    assert_eq!(digests(&found), manifests.iter().map(|manifest| manifest.digest()).collect::<Vec<_>>());
    assert_eq!(registry.count("GET", "/referrers/"), 3);
    assert_eq!(registry.count("", "artifactType"), 0);
}

/// 5,000 referrers with large annotations: one page at a time is in memory, and none of the annotations stay.
#[tokio::test]
async fn five_thousand_referrers_are_read_page_by_page() {
    const PER_PAGE: usize = 50;
    let registry = Scripted::start().await;
    registry.on("GET", "/referrers/").then(Action::decide(|request| {
        let first: usize = request.path.split_once("last=").map_or(0, |(_, last)| last.parse().unwrap());
        let entries: Vec<Value> = (first..first + PER_PAGE)
            .map(|n| {
                let digest = Digest::sha256(n.to_string().as_bytes());
                json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 700,
                        "artifactType": "application/spdx+json", "annotations": { "scan": "x".repeat(4000) } })
            })
            .collect();
        let next = first + PER_PAGE;
        Some(if next < 5000 { next_page(&entries, &format!("?last={next}")) } else { page(&entries) })
    }));
    let source = registries(Side::Source);
    let found = source.attachments(&repository(registry.address(), NAME), &image_digest()).await.unwrap();
    assert_eq!(found.len(), 5000);
    assert!(found.iter().all(|found| found.artifact_type.as_deref() == Some("application/spdx+json")));
    assert_eq!(registry.count("GET", "/referrers/"), 100);
    assert!(registry.most_at_once() <= 2, "a page, and the list of tags");
}

#[tokio::test]
async fn pages_in_a_circle_are_an_error() {
    let registry = Scripted::start().await;
    let entries = [entry(&referrer(&image_digest(), "1"))];
    registry.on("GET", "/referrers/").answer(next_page(&entries, "?page=2"));
    let source = registries(Side::Source);
    let error = source.attachments(&repository(registry.address(), NAME), &image_digest()).await.unwrap_err();
    let text = text(&error);
    assert!(text.starts_with(&format!(
        "cannot list the referrers of {}/{NAME}@sha256:",
        registry.address().host_port
    )));
    assert!(text.contains("links back to one of its earlier pages"), "{text}");
    assert_eq!(registry.count("GET", "/referrers/"), 2);
}

/// Endless pages, each with another URL, end at the largest number of referrers.
#[tokio::test]
async fn endless_pages_are_an_error() {
    let registry = Scripted::start().await;
    registry.on("GET", "/referrers/").then(Action::decide(|request| {
        let n: usize = request.path.split_once("page=").map_or(0, |(_, page)| page.parse().unwrap());
        Some(next_page(&[], &format!("?page={}", n + 1)))
    }));
    let source = registries(Side::Source);
    let error = source.attachments(&repository(registry.address(), NAME), &image_digest()).await.unwrap_err();
    assert!(text(&error).contains("more than 2000 pages"), "{}", text(&error));
}

/// A registry without the API refuses the request in many ways; the fallback index replaces it in each case.
#[tokio::test]
async fn every_refusal_leads_to_the_fallback_index() {
    let html = || Answer::status(200).header("content-type", "text/html").body("<!doctype html><p>Welcome");
    let json = || Answer::json(200, &index(&[]));
    for answer in [
        Answer::status(404).body("404 page not found\n"),
        Answer::error(404, "MANIFEST_UNKNOWN"),
        Answer::error(404, "NAME_UNKNOWN"),
        Answer::error(400, "UNSUPPORTED"),
        Answer::status(405),
        Answer::error(406, "UNSUPPORTED"),
        Answer::status(501),
        html(),
        json(),
    ] {
        let registry = Scripted::start().await;
        let case = format!("{} {:?}", answer.status, answer.body);
        registry.on("GET", "/referrers/").answer(answer);
        let manifest = referrer(&image_digest(), "1");
        let bytes = index(&[entry(&manifest)]).to_string();
        store_tag(&registry, NAME, &tag_of(&image_digest()), OCI_INDEX, bytes.as_bytes());
        let source = registries(Side::Source);
        let found = source.attachments(&repository(registry.address(), NAME), &image_digest()).await.unwrap();
        assert_eq!(digests(&found), [manifest.digest()], "{case}");
    }
}

#[tokio::test]
async fn a_denied_request_is_an_error_that_names_the_way_out() {
    let registry = Scripted::start().await;
    registry.on("GET", "/referrers/").answer(Answer::error(403, "DENIED"));
    let source = registries(Side::Source);
    let error = source.attachments(&repository(registry.address(), NAME), &image_digest()).await.unwrap_err();
    assert!(text(&error).contains("--referrers none"), "{}", text(&error));
}

/// GitLab resolves `sha256-HEX` to the manifest with this digest: an index must not become its own referrer's list.
#[tokio::test]
async fn a_tag_that_resolves_to_the_subject_lists_nothing() {
    let registry = Scripted::start().await;
    registry.on("GET", "/referrers/").answer(Answer::error(404, "NOT_FOUND"));
    let image = SampleImage::multi_platform("1");
    registry.with_store(|store| {
        store.insert(NAME, &image);
        let tags = &mut store.repository(NAME).tags;
        for manifest in &image.manifests {
            tags.insert(tag_of(&manifest.digest), manifest.digest.clone());
        }
    });
    let source = registries(Side::Source);
    for manifest in &image.manifests {
        let found =
            source.attachments(&repository(registry.address(), NAME), &manifest.digest).await.unwrap();
        assert_eq!(digests(&found), Vec::<&Digest>::new());
    }
}

/// The tag of one image under which another image was pushed.
#[tokio::test]
async fn a_fallback_tag_that_names_an_image_lists_nothing() {
    let registry = Scripted::start().await;
    for image in [SampleImage::docker("1"), SampleImage::single_platform("1", "amd64")] {
        registry.with_store(|store| {
            store.insert(NAME, &SampleImage { tag: tag_of(&image_digest()), ..image });
        });
        let source = registries(Side::Source);
        let found = source.attachments(&repository(registry.address(), NAME), &image_digest()).await.unwrap();
        assert_eq!(found, []);
    }
}

/// The list names a manifest about another image. Reading it, as every caller does, shows that.
#[tokio::test]
async fn a_foreign_entry_shows_its_own_subject_when_it_is_read() {
    let registry = Scripted::start().await;
    let foreign = referrer(&Digest::sha256(b"another image"), "1");
    store_tag(&registry, NAME, "foreign", "application/vnd.oci.image.manifest.v1+json", foreign.bytes());
    registry.on("GET", "/referrers/").answer(page(&[entry(&foreign)]));
    let (source, repository) = (registries(Side::Source), repository(registry.address(), NAME));
    let found = source.attachments(&repository, &image_digest()).await.unwrap();
    let target = Target::Digest(found[0].descriptor.digest.clone());
    let read = source.manifest(&repository, &target).await.unwrap().unwrap();
    let Contents::Image { subject: Some(subject), .. } = read.contents().unwrap() else {
        panic!("a referrer")
    };
    assert_ne!(subject.digest, image_digest());
}

/// It is listed, so that a filter by type can skip it, and reading it fails before its bytes arrive.
#[tokio::test]
async fn a_referrer_larger_than_8_mib_is_a_clear_error() {
    const SIZE: usize = 9 << 20;
    let registry = Scripted::start().await;
    let digest = Digest::sha256(b"large");
    let entry =
        json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": SIZE });
    registry.on("GET", "/referrers/").answer(page(&[entry]));
    registry.on("GET", "/manifests/sha256:").answer(
        Answer::status(200)
            .header("content-type", "application/vnd.oci.image.manifest.v1+json")
            .body(vec![b' '; SIZE]),
    );
    let (source, repository) = (registries(Side::Source), repository(registry.address(), NAME));
    let found = source.attachments(&repository, &image_digest()).await.unwrap();
    assert_eq!(found[0].descriptor.size, SIZE as u64);
    let error = source.manifest(&repository, &Target::Digest(digest.clone())).await.unwrap_err();
    assert!(
        text(&error).contains(&format!("{digest}")) && text(&error).contains("larger than 8.0 MiB"),
        "{}",
        text(&error)
    );
    assert_eq!(registry.count("GET", "/manifests/sha256:"), 1, "it is not tried again");
}

#[tokio::test]
async fn an_invalid_digest_in_the_list_is_an_error() {
    let registry = Scripted::start().await;
    for digest in ["sha256:../../../etc/passwd", "sha256:ABC", "md5:0123", ""] {
        let entry = json!({ "mediaType": "application/x", "digest": digest, "size": 1 });
        registry.on("GET", "/referrers/").answer(page(&[entry]));
        let source = registries(Side::Source);
        let error =
            source.attachments(&repository(registry.address(), NAME), &image_digest()).await.unwrap_err();
        assert!(text(&error).starts_with("cannot list the referrers of"), "{}", text(&error));
    }
}
