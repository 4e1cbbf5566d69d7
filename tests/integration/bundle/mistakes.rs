//! Other input instead of a bundle: every command says what it is, where it is and what to do, and never hangs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, Mode};

use super::importing::*;

/// The commands that read a bundle, without its path.
const COMMANDS: [&[&str]; 4] = [
    &["bundle", "verify"],
    &["bundle", "inspect"],
    &["bundle", "import", "--to", "127.0.0.1:1/mirror"],
    &["serve", "--listen", "127.0.0.1:0"],
];

/// A tar with these empty files.
fn tar(path: &Path, names: &[&str]) {
    let mut builder = tar::Builder::new(fs::File::create(path).unwrap());
    for name in names {
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_cksum();
        builder.append_data(&mut header, name, std::io::empty()).unwrap();
    }
    builder.finish().unwrap();
}

/// Asserts that a command fails with this code, the path, this text and a hint.
async fn assert_refused(command: &[&str], path: &Path, code: i32, text: &str, hint: &str) {
    let outcome = Mirror::new(command.iter().copied()).arg(path).run().await.expect_code(code);
    let called = format!("{command:?} {}: {outcome}", path.display());
    let error = outcome.stderr.lines().find(|line| line.starts_with("error: ")).expect(&called);
    assert!(error.contains(path.to_str().unwrap()), "where: {called}");
    assert!(error.contains(text), "what: {called}");
    let hints: Vec<&str> = outcome.stderr.lines().filter(|line| line.starts_with("hint: ")).collect();
    assert!(hints.len() == 1 && hints[0].contains(hint), "what to do: {called}");
    assert_eq!(outcome.stdout, "", "{called}");
}

#[tokio::test]
async fn a_file_that_is_not_a_bundle_is_identified_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("README.md"), "# Not a bundle\n".repeat(100)).unwrap();
    fs::write(at("empty"), "").unwrap();
    fs::write(at("b.tar.gz"), [0x1f, 0x8b, 8, 0, 0, 0]).unwrap();
    tar(&at("photos.tar"), &["2024/beach.jpg", "2024/sea.jpg"]);
    tar(&at("docker.tar"), &["manifest.json", "abc/layer.tar", "repositories"]);
    rustix::fs::mkfifoat(CWD, at("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
    std::os::unix::fs::symlink("nowhere", at("link.tar")).unwrap();
    let layout = "with the files `oci-layout` and `index.json`";
    let cases: [(PathBuf, &str, &str); 9] = [
        (at("missing.tar"), "No such file", "check the path"),
        (at("link.tar"), "No such file", "check the path"),
        (at("README.md"), "is not a bundle: not a tar archive", layout),
        (at("empty"), "is not a bundle: it is empty", layout),
        (at("b.tar.gz"), "is not a bundle: it is compressed (gzip)", "decompress it first (gunzip"),
        (at("photos.tar"), "is not an OCI image layout: it has no `oci-layout` file", layout),
        (
            at("docker.tar"),
            "looks like an archive of `docker save` before Docker 25",
            "skopeo copy docker-archive:",
        ),
        (at("pipe"), "it is neither a file nor a folder", "`bundle import - < PIPE`"),
        ("/dev/zero".into(), "it is neither a file nor a folder", "`bundle import - < PIPE`"),
    ];
    for command in COMMANDS {
        for (path, text, hint) in &cases {
            assert_refused(command, path, 3, text, hint).await;
        }
    }
}

/// A tar with entries that are links, as `docker save` wrote them before version 25.
fn tar_with_links(path: &Path, kind: tar::EntryType) {
    let mut builder = tar::Builder::new(fs::File::create(path).unwrap());
    let mut append = |name: &str, kind: tar::EntryType| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        if kind != tar::EntryType::Regular {
            header.set_link_name("../1/layer.tar").unwrap();
        }
        header.set_cksum();
        builder.append_data(&mut header, name, std::io::empty()).unwrap();
    };
    append("1/layer.tar", tar::EntryType::Regular);
    append("2/layer.tar", kind);
    append("manifest.json", tar::EntryType::Regular);
    append("repositories", tar::EntryType::Regular);
    builder.finish().unwrap();
}

/// "`2/layer.tar` is a symbolic link: a bundle holds regular files only"
#[tokio::test]
async fn a_docker_archive_with_links_is_identified_with_both_remedies() {
    let folder = tempfile::tempdir().unwrap();
    let case =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/cases/09-docker-archive-with-symlinks/in.tar");
    let mut paths = vec![(folder.path().join("symbolic.tar"), tar::EntryType::Symlink)];
    paths.push((folder.path().join("hard.tar"), tar::EntryType::Link));
    for (path, kind) in &paths {
        tar_with_links(path, *kind);
    }
    let mut paths: Vec<PathBuf> = paths.into_iter().map(|(path, _)| path).collect();
    paths.extend(case.is_file().then_some(case));
    for path in &paths {
        for command in COMMANDS {
            let text = "looks like an archive of `docker save` before Docker 25";
            assert_refused(command, path, 3, text, "save the image again with Docker 25").await;
            assert_refused(command, path, 3, text, "skopeo copy docker-archive:FILE oci-archive:NEW").await;
        }
        let piped = import(Path::new("-"), "127.0.0.1:1/mirror", &[]).stdin(fs::read(path).unwrap());
        let outcome = piped.run().await.expect_code(3);
        assert!(outcome.stderr.contains("skopeo copy docker-archive:"), "{outcome}");
    }
}

/// macOS adds a `._NAME` to every file that it archives or copies to a FAT disk.
#[tokio::test]
async fn metadata_of_macos_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let hex = "0".repeat(64);
    tar(&at("mac.tar"), &["./._oci-layout", "oci-layout", &format!("blobs/sha256/._{hex}")]);
    let magic = [&[0, 5, 0x16, 7, 0, 2, 0, 0][..], b"Mac OS X        ", &[0; 4072]].concat();
    fs::write(at("._b.tar"), &magic).unwrap();
    fs::write(at("._b.tar.volumes.json"), magic).unwrap();
    let found = "it is a macOS metadata file (AppleDouble)";
    for command in COMMANDS {
        assert_refused(command, &at("mac.tar"), 3, found, "COPYFILE_DISABLE=1").await;
        for name in ["._b.tar", "._b.tar.volumes.json"] {
            assert_refused(command, &at(name), 3, found, "does not begin with `._`").await;
        }
    }
}

/// What a person copies who selects the wrong half of the files.
#[tokio::test]
async fn only_the_metadata_of_macos_is_named_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let outer = folder.path().join("outer");
    fs::create_dir_all(&outer).unwrap();
    fs::write(outer.join("._oci-layout"), "").unwrap();
    let archive = folder.path().join("dots.tar");
    tar(&archive, &["./._oci-layout", "./._index.json"]);
    let found = "it has no `oci-layout` file, only `._oci-layout`, the metadata that macOS adds";
    for command in COMMANDS {
        assert_refused(command, &archive, 3, found, "a bundle is a tar archive").await;
    }
    for command in COMMANDS.iter().filter(|command| !command.starts_with(&["serve"])) {
        assert_refused(command, &outer, 3, found, "a bundle is a tar archive").await;
    }
    let piped = import(Path::new("-"), "127.0.0.1:1/mirror", &[]).stdin(fs::read(archive).unwrap());
    assert!(piped.run().await.expect_code(3).stderr.contains(found));
}

#[tokio::test]
async fn a_field_of_the_wrong_type_has_words_of_its_own_bug() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("layout/blobs/sha256")).unwrap();
    fs::write(at("layout/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    for (index, expected) in [
        (r#"{"schemaVersion":2,"manifests":7}"#, "a field is a number, not a list"),
        (r#"{"schemaVersion":2}"#, "the field `manifests` is missing"),
        ("<html>", "it is not JSON"),
        ("", "it is empty"),
    ] {
        fs::write(at("layout/index.json"), index).unwrap();
        let outcome = Mirror::new(["bundle", "inspect"]).arg(at("layout").display().to_string()).run().await;
        let stderr = outcome.expect_code(6).stderr;
        assert!(stderr.contains(&format!("index.json cannot be read: {expected}\n")), "{stderr}");
    }
    let volumes = r#"{"schema":"thoras-mirror/volumes/v1","bundle":7}"#;
    fs::write(at("b.tar.volumes.json"), volumes).unwrap();
    let file = at("b.tar.volumes.json").display().to_string();
    let outcome = Mirror::new(["bundle", "inspect"]).arg(file).run().await;
    assert!(outcome.stderr.contains("a field is a number, not text"), "{outcome}");
}

#[tokio::test]
async fn a_layout_in_a_subfolder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("outer/thoras");
    fs::create_dir_all(&inner).unwrap();
    SampleImage::multi_platform("1").write_oci_layout(&inner);
    let archive = folder.path().join("outer.tar");
    tar(&archive, &["thoras/index.json", "thoras/oci-layout", "thoras/blobs/sha256/x"]);
    for command in COMMANDS {
        let text = "is not an OCI image layout, but its folder `thoras` is";
        assert_refused(command, &folder.path().join("outer"), 3, text, "pass that folder").await;
        assert_refused(command, &archive, 3, text, "unpack the archive and pass that folder").await;
    }
    let piped = import(Path::new("-"), "127.0.0.1:1/mirror", &[]).stdin(fs::read(archive).unwrap());
    assert!(piped.run().await.expect_code(3).stderr.contains("but its folder `thoras` is"));
}

#[tokio::test]
async fn a_folder_of_skopeo_is_named_in_every_form_bug() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("images");
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("version"), "Directory Transport Version: 1.1\n").unwrap();
    fs::write(inner.join("manifest.json"), "{}").unwrap();
    let archive = folder.path().join("images.tar");
    tar(&archive, &["./version", "./manifest.json", &"0".repeat(64)]);
    for command in COMMANDS {
        let text = "a folder of `skopeo copy … dir:`, which is not an OCI image layout";
        assert_refused(command, &inner, 3, text, "convert it with `skopeo copy --all dir:FOLDER").await;
        assert_refused(command, &archive, 3, text, "unpack the archive, convert the folder with `skopeo")
            .await;
    }
    let piped = import(Path::new("-"), "127.0.0.1:1/mirror", &[]).stdin(fs::read(&archive).unwrap());
    assert!(piped.run().await.expect_code(3).stderr.contains("contains a folder of `skopeo copy … dir:`"));
}

/// 93 lines, one for each missing blob.
#[tokio::test]
async fn a_truncated_file_is_one_line() {
    let team = Team::start().await;
    let bytes = team.bundle().bytes;
    let path = team.file(&bytes[..bytes.len() / 2]);
    for command in [COMMANDS[0], COMMANDS[2], COMMANDS[3]] {
        let outcome = Mirror::new(command.iter().copied()).arg(&path).run().await.expect_code(6);
        let lines: Vec<&str> = outcome.stderr.lines().filter(|line| !line.starts_with("hint: ")).collect();
        assert_eq!(lines.len(), 1, "{outcome}");
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let kib = |length: usize| format!("{:.1}", length as f64 / 1024.0);
        let amount = format!("is truncated: {} of {} KiB", kib(bytes.len() / 2), kib(bytes.len()));
        assert!(lines[0].contains(&amount), "{amount}: {outcome}");
    }
}

#[tokio::test]
async fn a_bundle_that_exists_only_in_volumes_is_found_by_the_hint() {
    let team = Team::start().await;
    let folder = tempfile::tempdir().unwrap();
    team.bundle().write_volumes(folder.path(), "b.tar", 40_000);
    let path = folder.path().join("b.tar");
    for command in COMMANDS {
        assert_refused(command, &path, 3, "No such file", "the bundle is in volumes: pass ").await;
    }
}

#[tokio::test]
async fn a_folder_without_a_layout_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("beach.jpg"), "x").unwrap();
    let path = folder.path();
    for command in &COMMANDS[..3] {
        let hint = "with the files `oci-layout` and `index.json`";
        assert_refused(command, path, 3, "has no `oci-layout` file", hint).await;
    }
    assert_eq!(fs::read_dir(path).unwrap().count(), 1);
}

/// Commands used to look for a file named `-`, and `serve` created a folder of that name.
#[tokio::test]
async fn only_import_reads_standard_input() {
    for command in [COMMANDS[0], COMMANDS[1], COMMANDS[3]] {
        let outcome = Mirror::new(command.iter().copied()).arg("-").run().await.expect_code(2);
        let told = "error: only `bundle import` reads a bundle from standard input";
        assert!(outcome.stderr.contains(told), "{outcome}");
        assert!(outcome.stderr.contains("hint: save it to a file first"), "{outcome}");
        assert_eq!(fs::read_dir(outcome.folder()).unwrap().count(), 0, "{outcome}");
    }
}

/// "the archive cannot be read at byte 512" did not name the file.
#[tokio::test]
async fn damage_is_reported_with_the_name_of_the_file() {
    let team = Team::start().await;
    let mut bytes = team.bundle().bytes;
    bytes[1024] ^= 1;
    let path = team.file(&bytes);
    for command in COMMANDS {
        assert_refused(command, &path, 6, "byte 1024", "copy the bundle again").await;
    }
}

#[tokio::test]
async fn a_pipe_that_is_not_a_bundle_gives_the_same_message_as_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("docker.tar");
    tar(&path, &["manifest.json", "abc/layer.tar"]);
    let docker = fs::read(&path).unwrap();
    let cases = [
        (docker, "standard input looks like an archive of `docker save` before Docker 25"),
        (vec![0x1f, 0x8b, 8], "standard input is not a bundle: it is compressed (gzip)"),
    ];
    for (bytes, text) in cases {
        let run = import(Path::new("-"), "127.0.0.1:1/mirror", &[]).stdin(bytes);
        let outcome = run.run().await.expect_code(3);
        assert!(outcome.stderr.contains(text) && outcome.stderr.contains("hint: "), "{outcome}");
    }
}

#[tokio::test]
async fn an_unfinished_export_is_reported_as_unfinished() {
    let folder = tempfile::tempdir().unwrap();
    let image = SampleImage::multi_platform("1");
    let path = folder.path().join("b.tar.partial");
    fs::write(&path, BundleBuilder::new(&[(APP, &image)]).build().bytes).unwrap();
    for command in COMMANDS.iter().filter(|command| command[0] == "bundle") {
        let outcome = Mirror::new(command.iter().copied()).arg(&path).run().await;
        let warning = outcome.stderr.lines().find(|line| line.starts_with("warning: ")).unwrap();
        assert!(warning.contains("run the same `bundle export` again to complete it"), "{outcome}");
    }
}
