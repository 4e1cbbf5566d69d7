//! Runs a program with a home folder of its own, so that it finds no key and no setting of the user.

use std::{
    path::{Path, PathBuf},
    process::Output,
};

use tempfile::TempDir;
use tokio::process::Command;

use super::programs;

/// A program that starts in its own home folder.
pub struct Isolated {
    program: &'static str,
    path: PathBuf,
    folder: TempDir,
    /// Environment variables: a name and a value.
    variables: Vec<(&'static str, String)>,
}

impl Isolated {
    /// The program of this name, or the one in this environment variable.
    pub fn new(variable: &str, program: &'static str) -> Self {
        let (path, folder) = (programs::find(variable, program), tempfile::tempdir().unwrap());
        let home = folder.path().to_str().unwrap().to_owned();
        Self { program, path, folder, variables: vec![("HOME", home)] }
    }

    /// Also sets an environment variable.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// Also sets an environment variable to the home folder.
    pub fn with_home_in(self, name: &'static str) -> Self {
        let home = self.folder.path().to_str().unwrap().to_owned();
        self.with(name, home)
    }

    /// A file in its home folder.
    pub fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs it; it must succeed.
    pub async fn run(&self, arguments: &[&str]) {
        let (success, said) = self.says(arguments).await;
        assert!(success, "{} {}: {said}", self.program, arguments.join(" "));
    }

    /// Whether it succeeds, and what it says on standard error.
    pub async fn says(&self, arguments: &[&str]) -> (bool, String) {
        let output: Output = Command::new(&self.path)
            .args(arguments)
            .current_dir(self.folder.path())
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
