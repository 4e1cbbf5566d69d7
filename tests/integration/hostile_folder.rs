//! A working directory that others can write to: files with expected names, links at predictable ones, a lock by a
//! stranger.

use std::{fs, os::unix::fs::symlink};

use crate::support::{
    fake_helm::FakeHelm,
    images::SampleImage,
    process::Mirror,
    scripted::{Action, Gate, Scripted},
};

const RENDERED: &str =
    "kind: Pod\napiVersion: v1\nmetadata: {name: p}\nspec: {containers: [{name: a, image: quay.io/a/b:1}]}\n";

async fn source() -> (Scripted, String) {
    let source = Scripted::start().await;
    source.with_store(|store| store.insert("vendor/web", &SampleImage::multi_platform("1")));
    let image = source.address().image("vendor/web", "1");
    (source, image)
}

#[tokio::test]
async fn a_file_called_like_the_default_chart_is_not_rendered_bug() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thoras"), "not the vendor's chart").unwrap();
    fs::create_dir(folder.path().join("grafana")).unwrap();
    for chart in [None, Some("thoras"), Some("grafana")] {
        let helm = FakeHelm::rendering(RENDERED);
        let images =
            Mirror::new(["images"]).arguments(chart.into_iter().flat_map(|chart| ["--chart", chart]));
        // The fake pull leaves no package.
        let outcome = images.env("THORAS_MIRROR_HELM", helm.program()).in_folder(folder.path()).run().await;
        let _ = outcome.expect_code(3);
        let arguments = helm.arguments();
        assert!(arguments.contains("pull") && !arguments.contains("show"), "{arguments}");
        assert!(!arguments.contains(&folder.path().display().to_string()), "{arguments}");
    }
    // A package is named as a file.
    fs::write(folder.path().join("shop-1.0.0.tgz"), "package").unwrap();
    let helm = FakeHelm::rendering(RENDERED);
    let images =
        Mirror::new(["images", "--chart", "shop-1.0.0.tgz"]).env("THORAS_MIRROR_HELM", helm.program());
    let _ = images.in_folder(folder.path()).run().await.expect_success();
}

#[tokio::test]
async fn an_export_follows_no_link_bug() {
    let (_source, image) = source().await;
    for split in [None, Some("70000")] {
        for name in [
            "b.tar.partial",
            "b.tar.001.partial",
            "b.tar.partial.moves.partial",
            "b.tar.volumes.json.partial",
        ] {
            let folder = tempfile::tempdir().unwrap();
            let (victim, absent) = (folder.path().join("victim"), folder.path().join("absent"));
            fs::write(&victim, "precious").unwrap();
            symlink(&victim, folder.path().join(name)).unwrap();
            let export = Mirror::new(["bundle", "export", "-o", "b.tar", &image]);
            let export = export.arguments(split.into_iter().flat_map(|size| ["--split", size]));
            let outcome = export.in_folder(folder.path()).run().await;
            if outcome.status.code() != Some(0) {
                assert!(outcome.stderr.contains("it is a symbolic link"), "{name}: {outcome}");
            }
            assert_eq!(fs::read(&victim).unwrap(), b"precious", "{name} {split:?}: {outcome}");
            fs::remove_file(folder.path().join(name)).ok();
            symlink(&absent, folder.path().join(name)).unwrap();
            let export = Mirror::new(["bundle", "export", "-o", "b.tar", &image]);
            let _ = export.in_folder(folder.path()).run().await;
            assert!(!absent.exists(), "{name}: a link to nothing creates nothing");
        }
    }
}

#[tokio::test]
async fn a_killed_run_leaves_no_temporary_lock_bug() {
    let (source, image) = source().await;
    let destination = Scripted::start().await;
    let gate = Gate::default();
    source.on("GET", "/blobs/").then(Action::Hold(gate.clone()));
    let folder = tempfile::tempdir().unwrap();
    let to = format!("{}/mirror", destination.address().host_port);
    let running = Mirror::new(["sync", "--to", &to, &image]).in_folder(folder.path()).start();
    source.wait_for(1, "GET", "/blobs/").await;
    let names =
        || fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(names(), [""; 0], "during the transfer");
    running.kill();
    let _ = running.outcome().await;
    assert_eq!(names(), [""; 0]);
    gate.open();
}

#[tokio::test]
async fn a_locks_text_reaches_the_terminal_escaped_bug() {
    let (_source, image) = source().await;
    let destination = Scripted::start().await;
    let to = format!("{}/mirror", destination.address().host_port);
    let synced = Mirror::new(["sync", "--to", &to, &image]).run().await.expect_success();
    let path = synced.folder().join("thoras-mirror.lock");
    let text = fs::read_to_string(&path).unwrap();
    let hostile = r"\u001b[2J\u009b31m\nerror: all is lost\u202e";
    let mut lock: serde_json::Value = serde_json::from_str(&text).unwrap();
    let evil: serde_json::Value = serde_json::from_str(&format!("\"{hostile}\"")).unwrap();
    lock["chart"] = serde_json::json!({ "name": evil, "version": evil });
    lock["destinations"][0]["sourcePrefix"] = evil.clone();
    // Without a digest, the repair repeats the names.
    lock["images"][0].as_object_mut().unwrap().remove("digest");
    lock["images"][0]["destinations"][0]["confirmed"] = false.into();
    fs::write(&path, lock.to_string()).unwrap();
    for output in ["table", "json"] {
        let verify = Mirror::new(["verify", "-v", "--output", output]).in_folder(&synced.folder());
        let outcome = verify.run().await.expect_code(5);
        for text in [&outcome.stdout, &outcome.stderr] {
            let bad =
                text.chars().find(|found| (found.is_control() && *found != '\n') || *found == '\u{202e}');
            assert_eq!(bad, None, "{text:?}");
            assert!(!text.lines().any(|line| line.starts_with("error: all is lost")), "{text}");
        }
        if output == "table" {
            assert!(outcome.stderr.contains("repair: ") && outcome.stderr.contains("u{1b}"), "{outcome}");
        }
    }
}

#[tokio::test]
async fn a_lock_does_not_choose_a_file_or_a_url_as_the_chart() {
    let folder = tempfile::tempdir().unwrap();
    let digest = format!("sha256:{}", "ab".repeat(32));
    for name in ["./evil", "/etc", "oci://evil.example/chart", "https://evil.example/c.tgz", "-x", "evil.tgz"]
    {
        let lock = serde_json::json!({
            "schema": "thoras-mirror/lock/v2",
            "chart": { "name": name, "version": "1.0.0" },
            "destinations": [{ "to": "127.0.0.1:1/m", "naming": "relative", "chart": "localhost/charts/shop:1.0.0" }],
            "platforms": ["linux/amd64"],
            "images": [{
                "source": "localhost/charts/shop:1.0.0", "digest": digest, "kind": "chart", "platforms": [], "blobs": [],
                "destinations": [{
                    "to": "127.0.0.1:1/m", "reference": "127.0.0.1:1/m/charts/shop:1.0.0", "confirmed": true,
                }],
            }],
            "blobs": {},
        });
        fs::write(folder.path().join("thoras-mirror.lock"), lock.to_string()).unwrap();
        let sync = Mirror::new(["sync", "--locked", "--with-chart", "--to", "127.0.0.1:1/m"]);
        let outcome = sync.in_folder(folder.path()).run().await.expect_code(3);
        assert!(outcome.stderr.contains("name the chart with --chart"), "{name}: {outcome}");
    }
}
