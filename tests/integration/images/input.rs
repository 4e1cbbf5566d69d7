//! Rendered manifests, lists and references, from files, from standard input and as arguments.

use super::{chart, images, rendered};
use crate::support::{helm, process::Mirror};

const LIST: &str = "# what the cluster needs\nquay.io/b/worker:2   # the worker\n\nnginx\nquay.io/a/web:1\n";
const LISTED: &str = "docker.io/library/nginx:latest\nquay.io/a/web:1\nquay.io/b/worker:2\n";

#[tokio::test]
async fn manifests_come_from_a_file_or_standard_input() {
    let from_file = images(&["--rendered", &rendered()]).await.expect_success();
    let manifests = std::fs::read(rendered()).unwrap();
    let piped = Mirror::new(["images", "--rendered", "-"]).stdin(manifests).run().await.expect_success();
    assert_eq!(piped.stdout, from_file.stdout);
    assert_eq!(piped.stdout.lines().count(), 10);
}

#[tokio::test]
async fn lists_come_from_a_file_or_standard_input_with_comments() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), LIST).unwrap();
    let from_file = images(&["--images", file.path().to_str().unwrap()]).await.expect_success();
    assert_eq!(from_file.stdout, LISTED);
    let piped = Mirror::new(["images", "--images", "-"]).stdin(LIST).run().await.expect_success();
    assert_eq!(piped.stdout, LISTED);
}

#[tokio::test]
async fn references_are_arguments_and_duplicates_count_once() {
    let outcome = images(&["quay.io/b/worker:2", "nginx", "quay.io/a/web:1", "docker.io/nginx:latest"]).await;
    assert_eq!(outcome.expect_success().stdout, LISTED);
}

#[tokio::test]
async fn broken_yaml_is_named_with_file_and_line() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "kind: Pod\n---\nkind: List\nitems: [\n---\nkind: Pod\n").unwrap();
    let path = file.path().to_str().unwrap();
    let outcome = images(&["--rendered", path]).await.expect_code(3);
    assert!(outcome.stderr.contains(&format!("error: {path}, line ")), "{outcome}");
    assert_eq!(outcome.stdout, "");
    let piped = Mirror::new(["images", "--rendered", "-"]).stdin("a: [b\nc: d").run().await.expect_code(3);
    assert!(piped.stderr.contains("standard input, line "), "{piped}");
}

#[tokio::test]
async fn a_line_that_is_not_a_reference_is_named() {
    let wrong = Mirror::new(["images", "--images", "-"]).stdin("quay.io/a/b:1\nhttps://quay.io/a/b\n");
    let outcome = wrong.run().await.expect_code(3);
    assert!(outcome.stderr.contains("standard input, line 2:"), "{outcome}");
    assert!(
        images(&["Not_A/Reference:"])
            .await
            .expect_code(2)
            .stderr
            .contains("`Not_A/Reference` is not a repository name")
    );
}

#[tokio::test]
async fn nothing_found_is_an_error() {
    for (input, message) in [("--images", "lists no image"), ("--rendered", "names no image")] {
        let outcome = Mirror::new(["images", input, "-"]).stdin("# nothing\n").run().await.expect_code(3);
        assert!(outcome.stderr.contains(&format!("standard input {message}")), "{outcome}");
    }
}

#[tokio::test]
async fn missing_files_are_named() {
    for input in ["--images", "--rendered"] {
        let outcome = images(&[input, "absent.txt"]).await.expect_code(3);
        assert!(outcome.stderr.contains("cannot read absent.txt"), "{outcome}");
    }
}

#[tokio::test]
async fn several_selections_in_one_run_are_refused() {
    for arguments in [
        &["--rendered", "a", "--images", "b"] as &[&str],
        &["--chart", "a", "--images", "b"],
        &["--chart", "a", "quay.io/a/b:1"],
        &["--rendered", "a", "quay.io/a/b:1"],
        &["--quiet", "--verbose"],
    ] {
        let outcome = images(arguments).await.expect_code(2);
        assert!(outcome.stderr.contains("cannot be used with"), "{outcome}");
    }
    let sync =
        ["sync", "--to", "127.0.0.1:1/a", "--to-username", "u", "--to-password-stdin", "--images", "-"];
    let outcome = Mirror::new(sync).run().await.expect_code(2);
    assert!(outcome.stderr.contains("standard input can be read only once"), "{outcome}");
}

#[tokio::test]
async fn an_input_that_is_too_large_or_binary_is_not_blamed_on_its_path_bug() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(256 * 1024 * 1024 + 1).unwrap();
    let path = file.path().to_str().unwrap();
    for flag in ["--images", "--rendered"] {
        let outcome = images(&[flag, path]).await.expect_code(3);
        assert!(outcome.stderr.contains("it is larger than 256 MiB"), "{outcome}");
        assert!(outcome.stderr.contains("hint: split the file"), "{outcome}");
    }
    std::fs::write(path, b"\x1f\x8b\xff").unwrap();
    let outcome = images(&["--images", path]).await.expect_code(3);
    assert!(outcome.stderr.contains("hint: pass a text file"), "{outcome}");
    let running = images(&["quay.io/a/b:1", "--add-running", path]).await.expect_code(3);
    assert!(running.stderr.contains("hint: pass the output of `kubectl get pods"), "{running}");
    let lock = Mirror::new(["verify", "--lock", "/dev/zero"]).run().await.expect_code(3);
    assert!(lock.stderr.contains("hint: no lock is so large"), "{lock}");
}

#[tokio::test]
async fn values_that_are_too_large_are_not_to_be_split_bug() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(256 * 1024 * 1024 + 1).unwrap();
    let run = Mirror::new(["images", "--chart", &chart("sample"), "--values", "-"]);
    let run = run.arg("--helm").arg(helm::program()).stdin_from(file).run();
    let outcome = run.await.expect_code(3);
    assert!(outcome.stderr.contains("it is larger than 256 MiB"), "{outcome}");
    assert!(outcome.stderr.contains("hint: check that --values names a values file"), "{outcome}");
}
