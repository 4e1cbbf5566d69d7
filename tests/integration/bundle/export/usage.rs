//! Arguments that make no sense, and their messages.

use super::*;

#[tokio::test]
async fn invalid_arguments_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let image = ["127.0.0.1:1/team/app:1".to_owned()];
    for (arguments, reason) in [
        (&["-o", "json"][..], "a file named `json`"),
        (&["-o", "table"], "a file named `table`"),
        (&["-o", "-", "--split", "4GiB"], "--split cannot be used with --output -"),
        (&["-o", "-", "--format", "json"], "both write to standard output"),
        (&["-o", "b.tar", "--split", "12 parrots"], "not a size"),
        (&["-o", "b.tar", "--split", "-1"], "unexpected argument"),
        (&["-o", "b.tar", "--split", "1KiB"], "the smallest volume is 64 KiB"),
        (&["-o", "b.tar", "--split", ""], "not a size"),
        (&["-o", "b.tar", "--lock", "b.tar"], "name the same file"),
        (&["-o", ""], "a value is required"),
    ] {
        let program = Mirror::new(["bundle", "export"]).in_folder(folder.path());
        let outcome = program.arguments(arguments.iter().copied()).arg(&image[0]).run().await;
        assert_eq!(outcome.status.code(), Some(2), "{arguments:?}: {outcome}");
        assert!(outcome.stderr.contains(reason), "{arguments:?}: {outcome}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn volumes_too_large_for_fat32_give_a_warning() {
    let site = Site::with(&[&SampleImage::multi_platform("a")]).await;
    let outcome = site.export("b.tar", &["--split", "4GiB"]).run().await.expect_success();
    assert!(outcome.stderr.contains("warning:") && outcome.stderr.contains("FAT32"), "{outcome}");
    let outcome = site.export("b.tar", &["--split", "fat32"]).run().await.expect_success();
    assert!(!outcome.stderr.contains("FAT32"), "{outcome}");
}

#[tokio::test]
async fn a_closed_pipe_ends_the_stream_with_a_message() {
    let site = Site::with(&[&SampleImage::with_layer_size("a", 400_000)]).await;
    let script = r#""$0" "$@" | head -c 1000 >/dev/null; echo "${PIPESTATUS[0]}""#;
    let program = env!("CARGO_BIN_EXE_thoras-mirror");
    let home = tempfile::tempdir().unwrap();
    let output = tokio::process::Command::new("bash")
        .args(["-c", script, program, "bundle", "export", "-o", "-"])
        .args(&site.images)
        .env("HOME", home.path())
        .output()
        .await
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "1", "{stderr}");
    assert!(stderr.contains("cannot write standard output: Broken pipe"), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
}
