//! Bundles into several registries.

use super::*;
use crate::support::{
    Address,
    built_bundle::{BundleBuilder, SampleBundle},
};

/// Two images, and a bundle with both.
struct Team {
    app: SampleImage,
    web: SampleImage,
    folder: tempfile::TempDir,
}

impl Team {
    fn new() -> Self {
        let (app, web) = (SampleImage::multi_platform("1"), SampleImage::nested("2"));
        Self { app, web, folder: tempfile::tempdir().unwrap() }
    }

    fn bundle(&self) -> SampleBundle {
        let images =
            [("registry.example.com/team/app:1", &self.app), ("registry.example.com/team/web:2", &self.web)];
        let builder = BundleBuilder::new(&images);
        builder
            .lock(|lock| lock["destinations"][0]["sourcePrefix"] = "registry.example.com/team".into())
            .build()
    }

    fn file(&self, bytes: &[u8]) -> std::path::PathBuf {
        let path = self.folder.path().join("bundle.tar");
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

/// `thoras-mirror bundle import FILE --to … --to …`
fn import(file: &Path, to: &[String], more: &[&str]) -> Mirror {
    let to = to.iter().flat_map(|to| ["--to".to_owned(), to.clone()]);
    Mirror::new(["bundle", "import"]).arg(file).arguments(to).arguments(more.iter().copied())
}

async fn assert_imported(team: &Team, address: &Address) {
    client::assert_present(&team.app, address, "mirror/app").await;
    client::assert_present(&team.web, address, "mirror/web").await;
}

#[tokio::test]
async fn a_file_a_folder_and_standard_input_fill_two_registries() {
    let team = Team::new();
    let bundle = team.bundle();
    let file = team.file(&bundle.bytes);
    let unpacked = team.folder.path().join("unpacked");
    std::fs::create_dir(&unpacked).unwrap();
    let tar = std::process::Command::new("tar").arg("-xf").arg(&file).arg("-C").arg(&unpacked).status();
    assert!(tar.unwrap().success());
    for form in ["file", "folder", "stdin"] {
        let (one, two) = tokio::join!(serving(), serving());
        let to = [one.2.clone(), two.2.clone()];
        let run = match form {
            "file" => import(&file, &to, &["--output", "json"]),
            "folder" => import(&unpacked, &to, &["--output", "json"]),
            _ => import(Path::new("-"), &to, &["--output", "json"]).stdin(bundle.bytes.clone()),
        };
        let outcome = run.run().await.expect_success();
        for server in [&one.1, &two.1] {
            assert_imported(&team, &server.address).await;
        }
        let document = document(&outcome);
        for there in destinations(&document) {
            assert_eq!((&there["confirmed"], &there["failed"]), (&2.into(), &0.into()), "{form}");
            assert_eq!(there["extraReads"]["reads"], 0, "{form}");
            assert!(there["bytes"]["copied"].as_u64().unwrap() > 0, "{form}");
        }
        assert!(confirmations(&lock_of(&outcome)).iter().all(|(_, confirmed)| *confirmed), "{form}");
        verify(&outcome.folder(), &["--level", "bytes"]).run().await.expect_success();
    }
}

#[tokio::test]
async fn volumes_fill_two_registries() {
    let (source, images, names) = source().await;
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("b.tar");
    let export = Mirror::new(["bundle", "export", "--split", "64KiB", "-o"]).arg(&bundle).arguments(names);
    export.run().await.expect_success();
    drop(source);
    let (one, two) = tokio::join!(serving(), serving());
    let mut volumes: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().path()).collect();
    volumes.sort();
    let to = [one.2.clone(), two.2.clone()];
    let flags = to.iter().flat_map(|to| ["--to".to_owned(), to.clone()]);
    Mirror::new(["bundle", "import"]).arguments(volumes).arguments(flags).run().await.expect_success();
    for server in [&one.1, &two.1] {
        assert_mirrored(&images, &server.address, "mirror").await;
    }
}

#[tokio::test]
async fn from_standard_input_a_destination_that_refuses_fails_alone() {
    let team = Team::new();
    let bundle = team.bundle();
    for keep_going in [&[][..], &["--keep-going"]] {
        let (one, refusing) = tokio::join!(serving(), Scripted::start());
        refusing.on("POST", "/blobs/uploads/").then(Action::error(403, "DENIED"));
        let to = [format!("{}/mirror", refusing.address().host_port), one.2.clone()];
        let more = [&["--output", "json"], keep_going].concat();
        let outcome = import(Path::new("-"), &to, &more).stdin(bundle.bytes.clone()).run().await;
        assert!(!outcome.status.success(), "{outcome}");
        assert_imported(&team, &one.1.address).await;
        let document = document(&outcome);
        assert_eq!(destinations(&document)[0]["failed"], 2, "{outcome}");
        assert_eq!(destinations(&document)[1]["confirmed"], 2, "{outcome}");
        for (reference, confirmed) in confirmations(&lock_of(&outcome)) {
            assert_eq!(confirmed, reference.starts_with(&to[1]), "{reference}");
        }
        // Both destinations are named in the lock: a later import of the file completes it.
        refusing.clear();
        let file = team.file(&bundle.bytes);
        import(&file, &to, &[]).in_folder(&outcome.folder()).run().await.expect_success();
        verify(&outcome.folder(), &[]).run().await.expect_success();
    }
}

#[tokio::test]
async fn a_damaged_stream_fails_as_with_one_destination() {
    let team = Team::new();
    let mut bundle = team.bundle();
    let at = bundle.blob(team.app.blobs.keys().next().unwrap()).start;
    bundle.bytes[at] ^= 1;
    let (one, two) = tokio::join!(serving(), serving());
    let to = [one.2.clone(), two.2.clone()];
    let outcome = import(Path::new("-"), &to, &[]).stdin(bundle.bytes.clone()).run().await;
    assert_ne!(outcome.status.code(), Some(0), "{outcome}");
    import(Path::new("-"), &to[..1], &[]).stdin(bundle.bytes).run().await.expect_code(6);
}
