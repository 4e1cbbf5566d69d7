//! Signed bundles: `bundle export --sign-key`, and `--bundle-key` wherever a bundle is read. The keys and the format are
//! those of cosign: see `src/signing`.

use std::{fs, io::Read as _, path::PathBuf, process::Command};

use thoras_mirror::endpoint::bundle::{Bundle, IndexSignature};

use super::importing::*;
use crate::support::scripted::Scripted;

const PASSWORD: &str = "hunter2";

/// A key of `testdata/signing`.
pub(super) fn key(name: &str) -> String {
    format!("{}/testdata/signing/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Exports two images.
fn export(source: &Scripted, output: &Path, more: &[&str]) -> Mirror {
    let images = ["app", "web"].map(|tag| source.address().image("team", tag));
    Mirror::new(["bundle", "export", "-o"]).arg(output).arguments(images).arguments(more.iter().copied())
}

async fn source() -> Scripted {
    let source = Scripted::start().await;
    source.with_store(|store| {
        store.insert("team", &SampleImage::multi_platform("app"));
        store.insert("team", &SampleImage::nested("web"));
    });
    source
}

fn is_signed(bundle: &Path, signature: &Path, key_name: &str) -> bool {
    let signature = fs::read(signature).unwrap();
    let key = fs::read(key(key_name)).unwrap();
    let signature = IndexSignature::new(&key, signature).unwrap();
    Bundle::open_signed(&[bundle.to_owned()], Some(&signature)).is_ok()
}

#[tokio::test]
async fn a_signed_export_changes_nothing_when_it_runs_again() {
    let (source, folder) = (source().await, tempfile::tempdir().unwrap());
    let path = |name: &str| folder.path().join(name);
    for (name, more) in [("one.tar", vec![]), ("many.tar", vec!["--split", "64KiB"])] {
        let sign = key("cosign.key");
        let more = [["--sign-key", &sign].as_slice(), &more].concat();
        let run =
            || async { export(&source, &path(name), &more).env("COSIGN_PASSWORD", PASSWORD).run().await };
        let first = run().await.expect_success();
        let signature = path(&format!("{name}.sig"));
        assert!(first.stdout.contains("signature ") && !first.to_string().contains(PASSWORD), "{first}");
        let bundle = if name == "one.tar" { path(name) } else { path("many.tar.volumes.json") };
        assert!(is_signed(&bundle, &signature, "cosign.pub"));
        assert!(!is_signed(&bundle, &signature, "p256.pub"));
        let written =
            || (fs::read(&signature).unwrap(), fs::metadata(&signature).unwrap().modified().unwrap());
        let before = written();
        run().await.expect_success();
        assert_eq!(written(), before, "{name}: ECDSA signatures differ each time");
        // A signature of another bundle is replaced, as is a missing one.
        for stale in [Some(fs::read(key("p256.sig")).unwrap()), None] {
            match stale {
                Some(stale) => fs::write(&signature, stale).unwrap(),
                None => fs::remove_file(&signature).unwrap(),
            }
            run().await.expect_success();
            assert!(is_signed(&bundle, &signature, "cosign.pub"));
        }
    }
}

#[tokio::test]
async fn every_kind_of_key_and_password_signs() {
    let (source, folder) = (source().await, tempfile::tempdir().unwrap());
    for (private, public) in [
        ("p256.pem", "p256.pub"),
        ("p521.pem", "p521.pub"),
        ("ed25519.pem", "ed25519.pub"),
        ("rsa.pem", "rsa.pub"),
    ] {
        let bundle = folder.path().join(private);
        export(&source, &bundle, &["--sign-key", &key(private)]).run().await.expect_success();
        assert!(is_signed(&bundle, &folder.path().join(format!("{private}.sig")), public));
    }
    let encrypted = ["--sign-key", &key("cosign.key")];
    let bundle = folder.path().join("encrypted.tar");
    let mirror = export(&source, &bundle, &encrypted).env("THORAS_MIRROR_SIGN_PASSWORD", PASSWORD);
    mirror.env("COSIGN_PASSWORD", "other").run().await.expect_success();
    fs::remove_file(folder.path().join("encrypted.tar.sig")).unwrap();
    let asked = [encrypted.as_slice(), &["--sign-password-stdin"]].concat();
    export(&source, &bundle, &asked).stdin(format!("{PASSWORD}\n")).run().await.expect_success();
    assert!(is_signed(&bundle, &folder.path().join("encrypted.tar.sig"), "cosign.pub"));
}

#[tokio::test]
async fn a_stream_is_signed_into_a_file_that_must_be_named() {
    let (source, folder) = (source().await, tempfile::tempdir().unwrap());
    let (bundle, signature) = (folder.path().join("stream.tar"), folder.path().join("stream.sig"));
    let sign = key("p256.pem");
    let refused = export(&source, Path::new("-"), &["--sign-key", &sign]).run().await.expect_code(2);
    assert!(refused.stderr.contains("--signature FILE"), "{refused}");
    let more = ["--sign-key", &sign, "--signature", signature.to_str().unwrap()];
    let streamed = export(&source, Path::new("-"), &more).run_captured().await;
    fs::write(&bundle, &streamed.stdout).unwrap();
    assert!(is_signed(&bundle, &signature, "p256.pub"));
}

#[tokio::test]
async fn keys_and_files_that_cannot_work_are_refused_before_any_request() {
    let (source, folder) = (source().await, tempfile::tempdir().unwrap());
    let output = folder.path().join("x.tar");
    let notes = folder.path().join("notes.txt");
    fs::write(&notes, "precious").unwrap();
    for (more, message) in [
        (vec!["--sign-key", &*key("cosign.key")], "no password"),
        (vec!["--sign-key", &*key("p256.pub")], "public key"),
        (vec!["--sign-key", &*key("p384.pem")], "algorithm"),
        (vec!["--sign-key", &*key("absent")], "cannot read"),
        (vec!["--sign-key", "{\"kdf\":\"MIG\"}"], "file"),
        (vec!["--sign-key", &*key("p256.pem"), "--signature", notes.to_str().unwrap()], "exists"),
        (vec!["--sign-key", &*key("p256.pem"), "--signature", output.to_str().unwrap()], "another output"),
        (vec!["--signature", "x.sig"], "--sign-key"),
    ] {
        let refused = export(&source, &output, &more).run().await.expect_code(2);
        assert!(refused.stderr.contains(message) && !refused.stderr.contains("MIG"), "{more:?}: {refused}");
    }
    let wrong = export(&source, &output, &["--sign-key", &key("cosign.key")]);
    let wrong = wrong.env("COSIGN_PASSWORD", "s3cret-word").run().await.expect_code(2);
    assert!(wrong.stderr.contains("password is wrong") && !wrong.stderr.contains("s3cret-word"), "{wrong}");
    assert!(wrong.stderr.contains("hint: correct the password in COSIGN_PASSWORD, or copy"), "{wrong}");
    assert!(source.requests().is_empty());
    assert_eq!(fs::read(&notes).unwrap(), b"precious");
}

/// The bundle as one tar, as a folder and as volumes, and the signature of each.
struct Forms {
    forms: Vec<(&'static str, Vec<PathBuf>, PathBuf)>,
    signature: Vec<u8>,
}

impl Forms {
    fn new(team: &Team) -> Self {
        let folder = team.folder.path();
        let bundle = team.bundle();
        let tar = folder.join("team.tar");
        fs::write(&tar, &bundle.bytes).unwrap();
        let layout = folder.join("layout");
        fs::create_dir(&layout).unwrap();
        let unpacked = Command::new("tar").arg("-C").arg(&layout).arg("-xf").arg(&tar).status().unwrap();
        assert!(unpacked.success());
        bundle.write_volumes(folder, "split.tar", 5000);
        let mut volumes: Vec<PathBuf> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("split.tar.0"))
            .collect();
        volumes.sort();
        // Signed as cosign signs: the bytes of index.json.
        let index = folder.join("index");
        fs::copy(layout.join("index.json"), &index).unwrap();
        let output = Command::new("openssl")
            .args(["dgst", "-sha256", "-sign", &key("p256.pem")])
            .arg(&index)
            .output()
            .unwrap();
        let forms = vec![
            ("tar", vec![tar.clone()], folder.join("team.tar.sig")),
            ("folder", vec![layout.clone()], folder.join("layout.sig")),
            ("volumes", volumes, folder.join("split.tar.sig")),
            ("index of volumes", vec![folder.join("split.tar.volumes.json")], folder.join("split.tar.sig")),
        ];
        Self { forms, signature: output.stdout }
    }
}

fn run(files: &[PathBuf], team: &Team, more: &[&str]) -> Mirror {
    let command = Mirror::new(["bundle", "import"]).arguments(files);
    command.arg("--to").arg(team.to()).arguments(more.iter().copied())
}

#[tokio::test]
async fn a_bundle_without_a_valid_signature_is_refused_before_any_blob_in_every_form() {
    let team = Team::start().await;
    let Forms { forms, signature } = Forms::new(&team);
    let (right, wrong) = (key("p256.pub"), key("cosign.pub"));
    for (form, files, beside) in &forms {
        let _ = fs::remove_file(beside);
        let missing = run(files, &team, &["--bundle-key", &right]).run().await.expect_code(6);
        assert!(missing.stderr.contains("has no signature"), "{form}: {missing}");
        fs::write(beside, &signature).unwrap();
        let refused = run(files, &team, &["--bundle-key", &wrong]).run().await.expect_code(6);
        assert!(refused.stderr.contains("signature"), "{form}: {refused}");
        for bad in [b"".as_slice(), b"AAAA", b"not base64 at all", &[0; 10_000]] {
            fs::write(beside, bad).unwrap();
            run(files, &team, &["--bundle-key", &right]).run().await.expect_code(6);
        }
        fs::write(beside, &signature).unwrap();
        for command in ["verify", "inspect"] {
            let command = |key: &str| {
                let mirror = Mirror::new(["bundle", command]).arguments(files);
                mirror.arg("--bundle-key").arg(key).run()
            };
            command(&wrong).await.expect_code(6);
            command(&right).await.expect_success();
        }
    }
    team.assert_nothing_imported();
    team.assert_untouched().await;
    for (_, files, _) in &forms {
        run(files, &team, &["--bundle-key", &right]).run().await.expect_success();
        team.assert_imported();
    }
    // Without a key, nothing changes.
    fs::remove_file(&forms[0].2).unwrap();
    run(&forms[0].1, &team, &[]).run().await.expect_success();
}

#[tokio::test]
async fn standard_input_is_refused_at_its_index() {
    let team = Team::start().await;
    let Forms { forms, signature } = Forms::new(&team);
    let mut bytes = Vec::new();
    fs::File::open(&forms[0].1[0]).unwrap().read_to_end(&mut bytes).unwrap();
    let (right, named) = (key("p256.pub"), team.folder.path().join("far.sig"));
    let stdin = [PathBuf::from("-")];
    let refused =
        run(&stdin, &team, &["--bundle-key", &right]).stdin(bytes.clone()).run().await.expect_code(2);
    assert!(refused.stderr.contains("--signature"), "{refused}");
    fs::write(&named, &signature).unwrap();
    let named = named.to_str().unwrap();
    // All that is there ends with index.json: a reader that continues would report that the archive ends.
    let end = bytes.windows(19).position(|window| window == b"thoras-mirror.lock\0").unwrap();
    let wrong = ["--bundle-key", &key("cosign.pub"), "--signature", named];
    let refused = run(&stdin, &team, &wrong).stdin(&bytes[..end]).run().await.expect_code(6);
    assert!(refused.stderr.contains("signature"), "{refused}");
    team.assert_untouched().await;
    run(&stdin, &team, &["--bundle-key", &right, "--signature", named])
        .stdin(bytes)
        .run()
        .await
        .expect_success();
    team.assert_imported();
}

#[tokio::test]
async fn an_index_that_was_changed_after_signing_is_refused_even_if_all_else_fits() {
    let team = Team::start().await;
    let Forms { forms, signature } = Forms::new(&team);
    let layout = &forms[1].1[0];
    let index = layout.join("index.json");
    let changed = fs::read_to_string(&index).unwrap().replacen("team/app:1", "team/apx:1", 2);
    fs::write(&index, changed).unwrap();
    fs::write(&forms[1].2, &signature).unwrap();
    run(&forms[1].1, &team, &[]).run().await.expect_code(6);
    let refused = run(&forms[1].1, &team, &["--bundle-key", &key("p256.pub")]).run().await.expect_code(6);
    assert!(refused.stderr.contains("signature"), "{refused}");
    team.assert_untouched().await;
}

#[tokio::test]
async fn serve_checks_the_signature_too() {
    let team = Team::start().await;
    let Forms { forms, signature } = Forms::new(&team);
    let (_, files, beside) = &forms[0];
    fs::write(beside, &signature).unwrap();
    let serve = |key: &str| {
        let mirror = Mirror::new(["serve", "--listen", "127.0.0.1:0", "--bundle-key"]).arg(key);
        mirror.arguments(files)
    };
    serve(&key("cosign.pub")).run().await.expect_code(6);
    let right = serve(&key("p256.pub")).start();
    right.stdout_line("http://").await;
}
