//! Other programs and the one under test are found, fed and watched.

use crate::support::{helm, process::Mirror};

#[tokio::test]
async fn helm_runs() {
    assert!(helm::run(&["version", "--short"]).await.starts_with("v3."));
}

#[tokio::test]
async fn the_program_under_test_runs_in_a_folder_of_its_own() {
    let outcome = Mirror::new(["--version"]).run().await.expect_success();
    assert!(outcome.folder().is_dir());
}
