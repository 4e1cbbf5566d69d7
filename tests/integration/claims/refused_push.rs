//! What a run reports about an image whose push was refused.

use serde_json::json;

use super::{run, vendor};
use crate::support::{
    client, documents,
    images::SampleImage,
    scripted::{Action, Scripted},
};

#[tokio::test]
async fn a_refused_push_claims_no_bytes_no_confirmation_and_no_moved_tag() {
    let web = SampleImage::multi_platform("web");
    let old = SampleImage { tag: "web".to_owned(), ..SampleImage::docker("old") };
    let (_source, references) = vendor(&[&web]).await;
    for refused in ["/blobs/uploads/", "/manifests/web"] {
        let mirror = Scripted::start().await;
        mirror.with_store(|store| store.insert("mirror/web", &old));
        let method = if refused.contains("blobs") { "POST" } else { "PUT" };
        mirror.on(method, refused).then(Action::error(403, "DENIED"));
        let command = format!("-v sync --to {}/mirror", mirror.address().host_port);
        let outcome = run(&command, &references).run().await.expect_code(4);
        for claim in ["confirmed,", "pushed", "moved", "✓"] {
            assert!(!outcome.stderr.contains(claim), "{claim}\n{outcome}");
        }
        assert!(!outcome.stdout.contains("moved"), "{outcome}");
        let uploaded = refused.contains("manifests");
        if !uploaded {
            assert!(!outcome.stderr.contains("copied"), "{outcome}");
            assert!(
                outcome.stdout.contains(": 0 B copied, 0 B mounted, 0 B already present; 1 failed"),
                "{outcome}"
            );
        }
        let outcome = run(&format!("{command} -o json"), &references).run().await.expect_code(4);
        let image = &documents::run(&outcome)["images"][0];
        assert_eq!(image.get("movedFrom"), None, "{image}");
        if !uploaded {
            assert_eq!(image["bytes"], json!({ "copied": 0, "mounted": 0, "present": 0 }));
        }
    }
}

#[tokio::test]
async fn a_moved_tag_is_reported_once_it_is_moved() {
    let web = SampleImage::multi_platform("web");
    let old = SampleImage { tag: "web".to_owned(), ..SampleImage::docker("old") };
    let (_source, references) = vendor(&[&web]).await;
    let mirror = Scripted::start().await;
    mirror.with_store(|store| store.insert("mirror/web", &old));
    let command = format!("sync -o json --to {}/mirror", mirror.address().host_port);
    let outcome = run(&command, &references).run().await.expect_success();
    assert_eq!(documents::run(&outcome)["images"][0]["movedFrom"], old.root().digest.as_str());
    client::assert_present(&web, mirror.address(), "mirror/web").await;
}

#[tokio::test]
async fn an_export_that_wrote_no_bundle_confirms_nothing() {
    let [web, api] = ["web", "api"].map(SampleImage::multi_platform);
    let (source, references) = vendor(&[&web, &api]).await;
    let own = api.blobs.keys().find(|digest| !web.blobs.contains_key(*digest)).unwrap();
    source.on("GET", own.as_str()).then(Action::error(403, "DENIED"));
    let folder = tempfile::tempdir().unwrap();
    let command = format!("bundle export --format json -o {}", folder.path().join("b.tar").display());
    let outcome = run(&command, &references).run().await.expect_code(4);
    let document = documents::run(&outcome);
    assert_eq!(document["totals"]["confirmed"], 0, "{document}");
    assert_eq!(document["images"][1]["status"], "skipped", "{document}");
}
