//! The tags of cosign's older format, and the number of requests that unsigned images cost.

use serde_json::json;
use thoras_mirror::{
    endpoint::{Destination, Source},
    oci::{Digest, Link, Target, media_type::OCI_MANIFEST},
    problem::Side,
};

use super::{
    Answer, Scripted, digests, links, page, referrer, registries, repository, store_tag, subject, tag_of,
};
use crate::support::{images::SampleImage, scripted::Action};

const NAME: &str = "vendor/app";

/// A repository with this many tags, with an image that has two tags of cosign's older format.
async fn signed_by_tag(tags: usize) -> (Scripted, Digest, [Digest; 2]) {
    let registry = Scripted::start().await;
    let digest = Digest::sha256(b"image");
    let signed = ["sig", "att"].map(|suffix| {
        let manifest = referrer(&Digest::sha256(b"-"), suffix);
        store_tag(&registry, NAME, &format!("{}.{suffix}", tag_of(&digest)), OCI_MANIFEST, manifest.bytes())
    });
    registry.with_store(|store| {
        let tag = |n| (format!("v{n}"), Digest::sha256(b"image"));
        store.repository(NAME).tags.extend((2..tags).map(tag));
    });
    (registry, digest, signed)
}

async fn assert_found(registry: &Scripted, subject: &Digest, signed: &[Digest; 2]) {
    let source = registries(Side::Source);
    let found = source.attachments(&repository(registry.address(), NAME), subject).await.unwrap();
    assert_eq!(digests(&found), signed.iter().collect::<Vec<_>>());
    let tag = |suffix: &str| Link::Tag(format!("{}.{suffix}", tag_of(subject)));
    assert_eq!(links(&found), [&tag("sig"), &tag("att")]);
    assert!(found.iter().all(|found| found.descriptor.media_type.as_str() == OCI_MANIFEST));
    assert!(found.iter().all(|found| found.descriptor.size > 100));
}

#[tokio::test]
async fn one_list_of_tags_finds_signatures() {
    let (registry, subject, signed) = signed_by_tag(7).await;
    assert_found(&registry, &subject, &signed).await;
    assert_eq!(registry.count("GET", "/tags/list"), 1);
    assert_eq!(registry.count("HEAD", ""), 2, "only what exists");
}

/// A pull-only token may not list tags, or the list is too long, cut, or nonsense: each tag is requested.
#[tokio::test]
async fn without_a_list_each_tag_is_requested() {
    for answer in [
        Answer::error(403, "DENIED"),
        Answer::error(401, "UNAUTHORIZED"),
        Answer::error(404, "NAME_UNKNOWN"),
        Answer::status(405),
        Answer::json(200, &json!(["a"])),
        Answer::status(200).header("content-type", "text/html").body("<p>"),
    ] {
        let (registry, subject, signed) = signed_by_tag(7).await;
        registry.on("GET", "/tags/list").answer(answer);
        assert_found(&registry, &subject, &signed).await;
        assert_eq!(registry.count("HEAD", ""), 3);
    }
    let (registry, subject, signed) = signed_by_tag(7).await;
    registry.on("GET", "/tags/list").then(Action::decide(|request| {
        let n: usize = request.path.split_once("last=").map_or(0, |(_, last)| last.parse().unwrap());
        let tags = json!({ "tags": [format!("v{n}")] });
        Some(Answer::json(200, &tags).header("link", &format!("<?last={}>; rel=next", n + 1)))
    }));
    assert_found(&registry, &subject, &signed).await;
    assert_eq!(registry.count("GET", "/tags/list"), 2, "no more pages");
}

/// 100 tags and no link to more may be all that the registry lists.
#[tokio::test]
async fn a_list_with_a_round_number_of_tags_is_not_trusted() {
    let (registry, subject, signed) = signed_by_tag(100).await;
    registry.on("GET", "/tags/list").then(Action::alter(|answer| {
        let body = String::from_utf8(answer.body.to_vec()).unwrap().replace("sha256-", "other-");
        answer.body(body)
    }));
    assert_found(&registry, &subject, &signed).await;
}

/// With the API: one request for each manifest and one for the repository. All of them at the same time.
#[tokio::test]
async fn unsigned_manifests_cost_one_request_each_and_one_list() {
    let registry = Scripted::start().await;
    registry.on("GET", "/referrers/").answer(page(&[]));
    let image = SampleImage::multi_platform("1");
    registry.with_store(|store| store.insert(NAME, &image));
    let (source, repository) = (registries(Side::Source), repository(registry.address(), NAME));
    let found = image.manifests.iter().map(|manifest| source.attachments(&repository, &manifest.digest));
    let found = futures::future::join_all(found).await;
    assert!(found.into_iter().all(|found| found.unwrap().is_empty()));
    assert_eq!((registry.count("GET", "/referrers/"), registry.count("GET", "/tags/list")), (3, 1));
    assert_eq!(registry.count("", &format!("/v2/{NAME}/")), 4, "and nothing else");
}

/// Without the API: its absence is learned from the first answer about repositories with the same parent, and from three
/// repositories for the host.
#[tokio::test]
async fn a_missing_api_is_requested_once_for_each_parent_of_repositories_and_for_three_of_a_host() {
    let image = SampleImage::multi_platform("1");
    for (folders, expected) in [([""; 5], 1), (["", "", "a/", "b/", "c/"], 3)] {
        let registry = Scripted::start().await;
        let source = registries(Side::Source);
        for (n, folder) in folders.iter().enumerate() {
            let name = format!("vendor/{folder}app{n}");
            registry.with_store(|store| store.insert(&name, &image));
            for manifest in &image.manifests {
                let found =
                    source.attachments(&repository(registry.address(), &name), &manifest.digest).await;
                assert_eq!(found.unwrap(), []);
            }
        }
        assert_eq!(registry.count("GET", "/referrers/"), expected);
        assert_eq!(registry.count("GET", "/tags/list"), 5);
        assert_eq!(registry.count("HEAD", "") + registry.count("GET", "/manifests/"), 0);
    }
}

/// A 404 that names no code may be about an unsigned manifest: another one may have referrers.
#[tokio::test]
async fn an_unclear_refusal_says_nothing_about_another_manifest() {
    let registry = Scripted::start().await;
    registry.on("GET", "/referrers/").answer(Answer::status(404));
    let manifest = referrer(&Digest::sha256(b"signed"), "1");
    let listed = page(&[super::entry(&manifest)]);
    registry.on("GET", &format!("/referrers/{}", Digest::sha256(b"signed"))).answer(listed);
    let source = registries(Side::Source);
    for name in ["vendor/app", "vendor/app", "vendor/web"] {
        let repository = repository(registry.address(), name);
        for unsigned in [b"1", b"2", b"3"] {
            assert_eq!(source.attachments(&repository, &Digest::sha256(unsigned)).await.unwrap(), []);
        }
        let found = source.attachments(&repository, &Digest::sha256(b"signed")).await.unwrap();
        assert_eq!(digests(&found), [manifest.digest()], "{name}");
    }
}

/// 404 `MANIFEST_UNKNOWN` for one manifest does not hide the referrers of another.
#[tokio::test]
async fn an_unknown_manifest_says_nothing_about_the_api() {
    let registry = Scripted::start().await;
    let (unknown, known) = (Digest::sha256(b"unknown"), Digest::sha256(b"known"));
    registry.on("GET", "/referrers/").answer(Answer::error(404, "MANIFEST_UNKNOWN"));
    let manifest = referrer(&known, "1");
    registry.on("GET", &format!("/referrers/{known}")).answer(page(&[super::entry(&manifest)]));
    let (source, repository) = (registries(Side::Source), repository(registry.address(), NAME));
    for _ in 0..4 {
        assert_eq!(source.attachments(&repository, &unknown).await.unwrap(), []);
    }
    let found = source.attachments(&repository, &known).await.unwrap();
    assert_eq!(digests(&found), [manifest.digest()]);
}

/// The list of tags is older than the tags that were pushed since.
#[tokio::test]
async fn a_pushed_tag_is_found_although_the_list_is_older() {
    let registry = Scripted::start().await;
    let image = subject("1");
    registry.with_store(|store| store.insert(NAME, &image));
    let digest = image.root().digest.clone();
    let (mirror, repository) = (registries(Side::Destination), repository(registry.address(), NAME));
    assert_eq!(mirror.attachments(&repository, &digest).await.unwrap(), []);
    let signature = referrer_without_subject();
    let tag = format!("{}.sig", tag_of(&digest));
    mirror.put_manifest(&repository, &Target::Tag(tag.clone()), &signature).await.unwrap();
    let by_subject = referrer(&digest, "1");
    let target = Target::Digest(by_subject.digest().clone());
    mirror.put_manifest(&repository, &target, &by_subject).await.unwrap();
    let found = mirror.attachments(&repository, &digest).await.unwrap();
    assert_eq!(links(&found), [&Link::Subject, &Link::Tag(tag)]);
    assert_eq!(registry.count("GET", "/tags/list"), 1);
}

fn referrer_without_subject() -> thoras_mirror::oci::RawManifest {
    super::referrer_with(&Digest::sha256(b"-"), "sig", &json!({ "subject": null }))
}
