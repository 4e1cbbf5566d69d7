//! Receipts: `bundle import --receipt` records what arrived, and `bundle export --base RECEIPT` continues from there.

use std::fs;

use super::{importing::*, signed::key};
use crate::support::scripted::Scripted;

/// A source with one image, whose second version shares a layer with the first.
async fn source() -> Scripted {
    let source = Scripted::start().await;
    source.with_store(|store| {
        store.insert("team", &SampleImage::multi_platform("1"));
        store.insert("team", &SampleImage::nested("2"));
    });
    source
}

async fn export(source: &Scripted, tag: &str, output: &Path, more: &[&str]) -> Outcome {
    let image = source.address().image("team", tag);
    let mirror = Mirror::new(["bundle", "export", &*image, "-o"]).arg(output);
    mirror.arguments(more.iter().copied()).run().await
}

#[tokio::test]
async fn a_receipt_is_the_base_of_the_next_bundle() {
    let (source, registry) = (source().await, Registry::start().await);
    let folder = tempfile::tempdir().unwrap();
    let text = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (first, second) = (folder.path().join("first.tar"), folder.path().join("second.tar"));
    let exported = export(&source, "1", &first, &["--format", "json"]).await.expect_success();
    let id = document(&exported)["written"]["id"].as_str().unwrap().to_owned();
    let to = format!("{}/mirror", registry.address().host_port);
    let (receipt, sign) = (text("receipt.json"), key("p256.pem"));
    let import_first =
        || import(&first, &to, &["--receipt", &receipt, "--sign-key", &sign]).in_folder(folder.path());
    import_first().run().await.expect_success();
    let read: Value = serde_json::from_slice(&fs::read(&receipt).unwrap()).unwrap();
    assert_eq!(read["schema"], "thoras-mirror/receipt/v1");
    assert_eq!(read["bundle"], id.as_str());
    assert_eq!(read["to"], to.as_str());
    assert_eq!(read["result"], "complete");
    assert_eq!(read["images"][0]["status"], "copied");
    assert!(read["time"].as_str().unwrap().ends_with('Z'), "{read}");
    // The same bundle again: the receipt says so.
    import_first().run().await.expect_success();
    let read: Value = serde_json::from_slice(&fs::read(&receipt).unwrap()).unwrap();
    assert_eq!(read["images"][0]["status"], "up-to-date");

    let signed = ["--base", &receipt, "--base-id", &id, "--bundle-key", &key("p256.pub")];
    let exported = export(&source, "2", &second, &[signed.as_slice(), &["--format", "json"]].concat()).await;
    let written = document(&exported.expect_success());
    assert!(written["written"]["leftOut"].as_u64().unwrap() > 0, "{written}");
    import(&second, &to, &[]).in_folder(folder.path()).run().await.expect_success();
    assert!(registry.storage().incomplete_tags().is_empty());

    // A signature, a digest or a format that is not the expected one.
    let other =
        export(&source, "2", &second, &["--base", &receipt, "--bundle-key", &key("cosign.pub")]).await;
    assert!(other.expect_code(6).stderr.contains("signature"));
    let other_id = format!("sha256:{}", "0".repeat(64));
    let other =
        export(&source, "2", &second, &["--base", &receipt, "--base-id", &other_id]).await.expect_code(6);
    assert!(other.stderr.contains(&id) && other.stderr.contains(&other_id), "{other}");
    let text_of_receipt = fs::read_to_string(&receipt).unwrap();
    fs::write(&receipt, text_of_receipt.replace("\"complete\"", "\"partial\"")).unwrap();
    let altered =
        export(&source, "2", &second, &["--base", &receipt, "--bundle-key", &key("p256.pub")]).await;
    assert!(altered.expect_code(6).stderr.contains("signature"));
    for (from, to, message) in [
        ("receipt/v1", "receipt/v9", "receipt/v9"),
        ("\"to\": \"", "\"to\": \"other.example.com/", "not the one of an import"),
        ("\"result\"", "\"outcome\"", "cannot be read"),
    ] {
        fs::write(&receipt, text_of_receipt.replacen(from, to, 1)).unwrap();
        let refused = export(&source, "2", &second, &["--base", &receipt]).await.expect_code(3);
        assert!(refused.stderr.contains(message), "{refused}");
    }
}

#[tokio::test]
async fn an_import_with_failures_is_recorded_and_what_arrived_is_the_base() {
    let team = Team::start().await;
    let bundle = team.bundle();
    let own = team.web.blobs.keys().find(|digest| !team.app.blobs.contains_key(*digest)).unwrap();
    let mut bytes = bundle.bytes.clone();
    bytes[bundle.blob(own)].fill(b'!');
    let file = team.file(&bytes);
    let receipt = team.folder.path().join("receipt.json");
    let more = ["--keep-going", "--receipt", receipt.to_str().unwrap()];
    import(&file, &team.to(), &more).in_folder(team.folder.path()).run().await;
    let read: Value = serde_json::from_slice(&fs::read(&receipt).unwrap()).unwrap();
    assert_eq!(read["result"], "partial", "{read}");
    let images = read["images"].as_array().unwrap();
    let failed = images.iter().find(|image| image["status"] == "failed").unwrap();
    assert_eq!(failed["source"], WEB);
    assert!(failed["failure"].is_string());
    assert_eq!(read["lock"]["images"][0]["destinations"][0]["confirmed"], Value::Bool(true), "{read}");
}

#[tokio::test]
async fn a_receipt_replaces_only_a_receipt_of_the_same_bundle() {
    let team = Team::start().await;
    let file = team.file(&team.bundle().bytes);
    let receipt = team.folder.path().join("receipt.json");
    let path = receipt.to_str().unwrap();
    let run = |more: &[&str]| {
        let more = [["--receipt", path].as_slice(), more].concat();
        import(&file, &team.to(), &more).in_folder(team.folder.path()).run()
    };
    fs::write(&receipt, "notes").unwrap();
    let refused = run(&[]).await.expect_code(2);
    assert!(refused.stderr.contains("--force"), "{refused}");
    team.assert_untouched().await;
    run(&["--force"]).await.expect_success();
    let written = fs::read_to_string(&receipt).unwrap();
    let id = serde_json::from_str::<Value>(&written).unwrap()["bundle"].as_str().unwrap().to_owned();
    let other = format!("sha256:{}", "1".repeat(64));
    fs::write(&receipt, written.replace(&id, &other)).unwrap();
    team.registry.clear_requests().await;
    let refused = run(&[]).await.expect_code(2);
    assert!(refused.stderr.contains(&other), "{refused}");
    team.assert_untouched().await;
    run(&["--force"]).await.expect_success();
    run(&["--dry-run"]).await.expect_code(2);
}
