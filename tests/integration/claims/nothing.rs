//! Work on nothing is an error: it would always succeed.

use std::path::Path;

use super::{assert_says, run};
use crate::support::{documents, process::Mirror};

/// A layout of no images, as a folder and as an archive.
fn empty_layouts(folder: &Path) -> [String; 2] {
    let layout = folder.join("layout");
    std::fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    let index = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
    std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    std::fs::write(layout.join("index.json"), index).unwrap();
    let archive = folder.join("empty.tar");
    let mut tar = tar::Builder::new(std::fs::File::create(&archive).unwrap());
    for name in ["oci-layout", "index.json"] {
        tar.append_path_with_name(layout.join(name), name).unwrap();
    }
    tar.finish().unwrap();
    [layout, archive].map(|path| path.display().to_string())
}

#[tokio::test]
async fn a_bundle_without_images_is_refused_by_every_command() {
    let folder = tempfile::tempdir().unwrap();
    for path in empty_layouts(folder.path()) {
        for command in [
            "bundle verify",
            "bundle inspect",
            "bundle import --to 127.0.0.1:1/a",
            "serve --listen 127.0.0.1:0",
        ] {
            let outcome = run(command, std::slice::from_ref(&path)).run().await.expect_code(3);
            assert_says(&outcome, &format!("error: {path} contains no images"));
        }
        let outcome = run("bundle verify -o json", &[path]).run().await.expect_code(3);
        assert_eq!(documents::run(&outcome)["exitCode"], 3);
    }
    let piped = Mirror::new(["bundle", "import", "-", "--to", "127.0.0.1:1/a"]);
    let bytes = std::fs::read(folder.path().join("empty.tar")).unwrap();
    assert_says(&piped.stdin(bytes).run().await.expect_code(3), "standard input contains no images");
}

#[tokio::test]
async fn a_lock_without_images_or_without_a_destination_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let lock = folder.path().join("thoras-mirror.lock");
    let v2 = |images: &str| {
        format!(
            r#"{{"schema":"thoras-mirror/lock/v2","destinations":[{{"to":"127.0.0.1:1/a","naming":"relative"}}],
            "platforms":[],"blobs":{{}},"images":[{images}]}}"#
        )
    };
    let v1 = |images: &str| {
        format!(
            r#"{{"schema":"thoras-mirror/lock/v1","placement":{{"to":"127.0.0.1:1/a","naming":"relative"}},
            "platforms":[],"blobs":{{}},"images":[{images}]}}"#
        )
    };
    let nowhere = r#"{"source":"127.0.0.1:1/b/c:1","destinations":[],"platforms":[],"blobs":[]}"#;
    let nowhere_v1 = nowhere.replace('}', r#","confirmed":true}"#);
    for (content, expected) in [
        (v2(""), "contains no images"),
        (v1(""), "contains no images"),
        (v2(nowhere), "the image 127.0.0.1:1/b/c:1 has no destination"),
        (v1(&nowhere_v1), "the image 127.0.0.1:1/b/c:1 has no destination"),
    ] {
        std::fs::write(&lock, content).unwrap();
        for command in ["verify", "sync --locked --to 127.0.0.1:1/a"] {
            let outcome = run(command, &[]).in_folder(folder.path()).run().await.expect_code(3);
            assert_says(&outcome, expected);
        }
    }
}

#[tokio::test]
async fn empty_lists_and_manifests_are_refused() {
    for flag in ["--images", "--rendered"] {
        let outcome = run(&format!("sync --to 127.0.0.1:1/a {flag} -"), &[]).stdin("# none\n").run().await;
        let _ = outcome.expect_code(3);
    }
    let added = run("sync --to 127.0.0.1:1/a --add-images - 127.0.0.1:1/b/c:1", &[]).stdin("\n").run().await;
    assert_says(&added.expect_code(3), "standard input lists no image");
}
