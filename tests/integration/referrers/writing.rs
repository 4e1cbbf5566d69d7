//! Pushing a manifest with a subject: it can be found from its subject afterwards, at every registry.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};
use thoras_mirror::{
    endpoint::{Destination, Error, Source, registry::Registries},
    oci::{Digest, RawManifest, Target, media_type::OCI_INDEX},
    problem::Side,
};

use super::{
    Answer, SampleImage, Scripted, digests, entry, index, page, referrer, referrer_with, registries,
    repository, store_tag, subject, tag_of, text,
};
use crate::support::scripted::Action;

const NAME: &str = "mirror/app";

/// A registry without the API, with an image.
struct Mirror {
    registry: Scripted,
    image: SampleImage,
    client: Registries,
}

impl Mirror {
    async fn start() -> Self {
        let (registry, image) = (Scripted::start().await, subject("1"));
        registry.with_store(|store| store.insert(NAME, &image));
        Self { registry, image, client: registries(Side::Destination) }
    }

    fn digest(&self) -> Digest {
        self.image.root().digest.clone()
    }

    fn tag(&self) -> String {
        tag_of(&self.digest())
    }

    fn referrer(&self, name: &str) -> RawManifest {
        referrer(&self.digest(), name)
    }

    async fn push(&self, manifest: &RawManifest) -> Result<(), Error> {
        push(&self.client, &self.registry, manifest).await
    }

    /// The fallback index.
    fn index(&self) -> String {
        let bytes = self.registry.with_store(|store| {
            let contents = store.repository(NAME);
            contents.manifests[&contents.tags[&self.tag()]].1.to_vec()
        });
        String::from_utf8(bytes).unwrap()
    }

    fn entries(&self) -> Vec<Value> {
        let index: Value = serde_json::from_str(&self.index()).unwrap();
        index["manifests"].as_array().unwrap().clone()
    }

    fn index_writes(&self) -> usize {
        self.registry.count("PUT", &self.tag())
    }
}

async fn push(client: &Registries, registry: &Scripted, manifest: &RawManifest) -> Result<(), Error> {
    let repository = repository(registry.address(), NAME);
    client.put_manifest(&repository, &Target::Digest(manifest.digest().clone()), manifest).await
}

#[tokio::test]
async fn a_registry_without_the_api_gets_an_index() {
    let mirror = Mirror::start().await;
    let more = json!({ "annotations": { "a": "1", "b": "2" }, "artifactType": "application/x.sbom" });
    let manifest = referrer_with(&mirror.digest(), "1", &more);
    mirror.push(&manifest).await.unwrap();
    let [entry] = &mirror.entries()[..] else { panic!("one entry in {}", mirror.index()) };
    assert_eq!(entry["digest"], manifest.digest().as_str());
    assert_eq!(entry["size"], manifest.size());
    assert_eq!(entry["artifactType"], "application/x.sbom");
    assert_eq!(entry["annotations"], more["annotations"]);
    let repository = repository(mirror.registry.address(), NAME);
    for client in [&mirror.client, &registries(Side::Source)] {
        let found = client.attachments(&repository, &mirror.digest()).await.unwrap();
        assert_eq!(digests(&found), [manifest.digest()]);
        assert_eq!(found[0].artifact_type.as_deref(), Some("application/x.sbom"));
    }
    mirror.push(&manifest).await.unwrap();
    assert_eq!(mirror.index_writes(), 1, "an index that has the entry is not written");
}

#[tokio::test]
async fn a_registry_that_confirms_the_subject_gets_no_index() {
    let mirror = Mirror::start().await;
    let confirm = Action::alter(|answer| answer.header("OCI-Subject", "sha256:0"));
    mirror.registry.on("PUT", "/manifests/sha256:").then(confirm);
    mirror.push(&mirror.referrer("1")).await.unwrap();
    assert_eq!(mirror.registry.count("", "sha256-"), 0);
    assert_eq!(mirror.registry.count("GET", "/referrers/"), 0);
}

/// Some registries with the API do not confirm it. They are asked once.
#[tokio::test]
async fn a_registry_with_the_api_gets_no_index_although_it_does_not_confirm_the_subject() {
    let mirror = Mirror::start().await;
    mirror.registry.on("GET", "/referrers/").answer(page(&[]));
    for name in ["1", "2", "3"] {
        mirror.push(&mirror.referrer(name)).await.unwrap();
    }
    assert_eq!(mirror.registry.count("", "sha256-"), 0);
    assert_eq!(mirror.registry.count("GET", "/referrers/"), 1);
}

#[tokio::test]
async fn an_image_without_a_subject_costs_no_request() {
    let mirror = Mirror::start().await;
    mirror.push(&referrer_with(&mirror.digest(), "1", &json!({ "subject": null }))).await.unwrap();
    assert_eq!(mirror.registry.count("", "referrers") + mirror.registry.count("", "sha256-"), 0);
}

#[tokio::test]
async fn entries_of_others_keep_their_bytes_and_their_order() {
    let mirror = Mirror::start().await;
    let other = mirror.referrer("other");
    store_tag(&mirror.registry, NAME, "other", "application/vnd.oci.image.manifest.v1+json", other.bytes());
    let before = format!(
        "{{ \"manifests\": [ {} ],\n  \"x\": 1.0, \"schemaVersion\": 2,\"mediaType\":\"{OCI_INDEX}\"}}\n",
        entry(&other).to_string().replace(',', " , ")
    );
    store_tag(&mirror.registry, NAME, &mirror.tag(), OCI_INDEX, before.as_bytes());
    mirror.push(&mirror.referrer("ours")).await.unwrap();
    let (head, tail) = before.split_at(before.find(" ],").unwrap());
    let after = mirror.index();
    assert!(after.starts_with(head) && after.ends_with(tail), "{after}");
    assert_eq!(mirror.entries().len(), 2);
}

/// A registry that checks `If-Match`: another client wrote in between, so the push reads the index again.
#[tokio::test]
async fn a_failed_precondition_is_resolved_by_reading_again() {
    let mirror = Mirror::start().await;
    let (first, second) = (mirror.referrer("1"), mirror.referrer("2"));
    mirror.push(&first).await.unwrap();
    mirror.registry.clear();
    mirror.registry.on("GET", &mirror.tag()).then(Action::header("etag", "\"v1\""));
    mirror.registry.on("PUT", &mirror.tag()).first(1).answer(Answer::error(412, "PRECONDITION_FAILED"));
    mirror.push(&second).await.unwrap();
    let requests = mirror.registry.requests();
    let writes = requests.iter().filter(|request| request.is("PUT", &mirror.tag()));
    assert_eq!(
        writes.map(|write| write.header("if-match")).collect::<Vec<_>>(),
        [Some("\"v1\""), None],
        "it was not the tag that had changed"
    );
    let listed: Vec<String> = mirror.entries().iter().map(|entry| entry["digest"].to_string()).collect();
    assert_eq!(listed, [&first, &second].map(|manifest| format!("\"{}\"", manifest.digest())));
}

/// Another client that read the index earlier replaces it right after it was written.
#[tokio::test]
async fn entries_that_another_client_undoes_are_written_again() {
    let mirror = Mirror::start().await;
    let theirs = mirror.referrer("theirs");
    store_tag(&mirror.registry, NAME, "theirs", "application/vnd.oci.image.manifest.v1+json", theirs.bytes());
    let bytes = index(&[entry(&theirs)]).to_string();
    let theirs_index = Digest::sha256(bytes.as_bytes());
    store_tag(&mirror.registry, NAME, "their-index", OCI_INDEX, bytes.as_bytes());
    let gate = Arc::new(AtomicUsize::new(0));
    let written = Arc::clone(&gate);
    mirror.registry.on("PUT", &mirror.tag()).then(Action::alter(move |answer| {
        written.fetch_add(1, Ordering::SeqCst);
        answer
    }));
    let ours = mirror.referrer("ours");
    let undo = async {
        while gate.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        mirror.registry.with_store(|store| {
            store.repository(NAME).tags.insert(mirror.tag(), theirs_index.clone());
        });
    };
    let (pushed, ()) = futures::future::join(mirror.push(&ours), undo).await;
    pushed.unwrap();
    let listed: Vec<Value> = mirror.entries().iter().map(|entry| entry["digest"].clone()).collect();
    assert_eq!(listed, [json!(theirs.digest()), json!(ours.digest())]);
}

/// Another client that read the index before anything was in it replaces it after the push: it undoes what was there
/// before as well. What others deleted in between stays deleted.
#[tokio::test]
async fn entries_of_others_that_another_client_undoes_are_written_again() {
    let mirror = Mirror::start().await;
    let manifests = ["earlier", "deleted", "stale"].map(|name| mirror.referrer(name));
    for manifest in &manifests {
        store_tag(&mirror.registry, NAME, "x", manifest.media_type().as_str(), manifest.bytes());
    }
    let [earlier, deleted, stale] = &manifests;
    let more = json!({ "annotations": { "kept": "as written" }, "x-unknown": [1] });
    let mut earlier_entry = entry(earlier);
    earlier_entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let stale_index = index(&[entry(stale)]).to_string();
    let stale_index = store_tag(&mirror.registry, NAME, "stale", OCI_INDEX, stale_index.as_bytes());
    let before = index(&[earlier_entry.clone(), entry(deleted)]).to_string();
    store_tag(&mirror.registry, NAME, &mirror.tag(), OCI_INDEX, before.as_bytes());
    let ours = mirror.referrer("ours");
    let undo = async {
        mirror.registry.wait_for(1, "PUT", &mirror.tag()).await;
        while mirror.entries().len() < 3 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        mirror.registry.with_store(|store| {
            let contents = store.repository(NAME);
            contents.tags.insert(mirror.tag(), stale_index.clone());
            contents.manifests.remove(deleted.digest());
        });
    };
    let (pushed, ()) = futures::future::join(mirror.push(&ours), undo).await;
    pushed.unwrap();
    let entries = mirror.entries();
    let listed: BTreeSet<&str> = entries.iter().map(|entry| entry["digest"].as_str().unwrap()).collect();
    assert_eq!(listed, BTreeSet::from([earlier, stale, &ours].map(|manifest| manifest.digest().as_str())));
    assert!(entries.contains(&earlier_entry), "{entries:?}");
    assert_eq!(mirror.index_writes(), 2);
}

/// A client that never stops is an error, not a loop without end.
#[tokio::test]
async fn a_client_that_always_undoes_the_entries_is_an_error() {
    let mirror = Mirror::start().await;
    mirror.registry.on("PUT", &mirror.tag()).answer(Answer::status(201));
    let error = mirror.push(&mirror.referrer("1")).await.unwrap_err();
    assert!(text(&error).contains("another client replaced this index"), "{}", text(&error));
    assert_eq!(mirror.index_writes(), 12);
}

/// Many referrers of one subject that are pushed at once share the writes of its index.
#[tokio::test]
async fn one_task_at_a_time_writes_the_index_for_all() {
    let mirror = Mirror::start().await;
    let manifests: Vec<RawManifest> = (0..40).map(|n| mirror.referrer(&n.to_string())).collect();
    let pushed = futures::future::join_all(manifests.iter().map(|manifest| mirror.push(manifest))).await;
    assert!(pushed.iter().all(Result::is_ok));
    assert_eq!(mirror.entries().len(), 40);
    assert!(mirror.index_writes() <= 8, "{} writes", mirror.index_writes());
}

#[tokio::test]
async fn an_immutable_tag_names_the_exclusion() {
    let mirror = Mirror::start().await;
    mirror.push(&mirror.referrer("1")).await.unwrap();
    let refusal = json!({ "errors": [{ "code": "ImageTagAlreadyExistsException", "message": "the tag is immutable" }] });
    mirror.registry.on("PUT", &mirror.tag()).answer(Answer::json(400, &refusal));
    let error = mirror.push(&mirror.referrer("2")).await.unwrap_err();
    let text = text(&error);
    assert!(text.contains("does not allow moving it") && text.contains("exclude `sha256-*`"), "{text}");
}

/// 412 is also how some registries refuse to move a tag.
#[tokio::test]
async fn an_immutable_tag_that_looks_like_a_conflict_names_the_exclusion() {
    let mirror = Mirror::start().await;
    mirror.push(&mirror.referrer("1")).await.unwrap();
    mirror.registry.on("GET", &mirror.tag()).then(Action::header("etag", "\"v1\""));
    mirror.registry.on("PUT", &mirror.tag()).answer(Answer::error(412, "PRECONDITION"));
    let error = mirror.push(&mirror.referrer("2")).await.unwrap_err();
    assert!(text(&error).contains("exclude `sha256-*`"), "{}", text(&error));
}

/// The tag belongs to an image: it is not replaced.
#[tokio::test]
async fn an_image_under_the_tag_is_not_replaced() {
    let mirror = Mirror::start().await;
    let image = SampleImage { tag: mirror.tag(), ..SampleImage::single_platform("other", "amd64") };
    mirror.registry.with_store(|store| store.insert(NAME, &image));
    let error = mirror.push(&mirror.referrer("1")).await.unwrap_err();
    assert!(text(&error).contains("points to a manifest of type"), "{}", text(&error));
    assert_eq!(mirror.index_writes(), 0);
}

/// Somebody deleted a referrer, not its entry: the registry refuses every index that has it.
#[tokio::test]
async fn an_entry_whose_manifest_was_deleted_does_not_prevent_others() {
    let mirror = Mirror::start().await;
    let (deleted, kept, new) = (mirror.referrer("deleted"), mirror.referrer("kept"), mirror.referrer("new"));
    mirror.push(&deleted).await.unwrap();
    mirror.push(&kept).await.unwrap();
    mirror.registry.with_store(|store| store.repository(NAME).manifests.remove(deleted.digest()));
    mirror.push(&new).await.unwrap();
    let listed: Vec<Value> = mirror.entries().iter().map(|entry| entry["digest"].clone()).collect();
    assert_eq!(listed, [json!(kept.digest()), json!(new.digest())]);
    assert!(!mirror.registry.take_violations().is_empty(), "the index was refused first");
}
