//! Running other programs and the program under test.

use std::os::unix::process::ExitStatusExt as _;

use crate::support::{helm, process::Mirror};

#[tokio::test]
async fn helm_runs() {
    assert!(helm::run(&["version", "--short"]).await.starts_with("v3."));
}

#[tokio::test]
async fn the_program_under_test_runs_in_its_own_folder() {
    let outcome = Mirror::new(["--version"]).run().await.expect_success();
    assert!(outcome.folder().is_dir());
}

#[tokio::test]
async fn a_running_program_can_be_read_interrupted_and_killed() {
    let start = || Mirror::new(["serve", ".", "--listen", "127.0.0.1:0"]).start();
    let running = start();
    let line = running.stdout_line("serving").await;
    running.interrupt();
    let outcome = running.outcome().await.expect_success();
    assert_eq!(outcome.stdout, format!("{line}\n"));

    let running = start();
    running.kill();
    assert_eq!(running.outcome().await.status.signal(), Some(9));
}
