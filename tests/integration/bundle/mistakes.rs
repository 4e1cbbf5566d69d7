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
