//! Finds the other programs that tests run; `scripts/test` provides them.

use std::{env, ffi::OsString, path::PathBuf, process::Output};

use tokio::process::Command;

/// The program that `variable` names, else `name` on PATH.
///
/// A test that cannot run has not passed: it fails here and says what to do.
pub fn find(variable: &str, name: &str) -> PathBuf {
    if let Some(path) = env::var_os(variable).filter(|value| !value.is_empty()) {
        return path.into();
    }
    let folders: Vec<PathBuf> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
    let found = folders.into_iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not on PATH: run scripts/test, or set {variable} to its path"))
}

/// Runs a program to its end and returns what it printed; fails the test when the program fails.
pub async fn run<A: Into<OsString>>(program: PathBuf, arguments: impl IntoIterator<Item = A>) -> Vec<u8> {
    let mut command = Command::new(&program);
    command.args(arguments.into_iter().map(Into::into)).kill_on_drop(true);
    let Output { status, stdout, stderr } = command.output().await.unwrap();
    assert!(
        status.success(),
        "{} {status}\n{}{}",
        program.display(),
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr)
    );
    stdout
}
