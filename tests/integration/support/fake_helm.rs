//! A fake Helm that records its arguments, environment and standard input, then answers as scripted.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

/// A script in a folder of its own.
#[derive(Debug)]
pub struct FakeHelm {
    folder: TempDir,
}

impl FakeHelm {
    /// `template` prints these manifests, `show` names a chart, `pull` leaves a package.
    pub fn rendering(manifests: &str) -> Self {
        let helm = Self::running(
            r#"case "$1" in
template) cat "$here/manifests.yaml" ;;
show) printf 'name: fake\nversion: 1.2.3\n' ;;
esac"#,
        );
        fs::write(helm.folder.path().join("manifests.yaml"), manifests).unwrap();
        helm
    }

    /// Every subcommand writes this to standard error and fails.
    pub fn failing(message: &str) -> Self {
        let helm = Self::running("cat \"$here/message\" >&2; exit 1");
        fs::write(helm.folder.path().join("message"), message).unwrap();
        helm
    }

    /// Runs these lines of shell after recording everything. `$here` is the script's folder, where standard input is
    /// `stdin.SUBCOMMAND`.
    fn running(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let record = r#"#!/bin/sh
here=$(dirname "$0")
tr '\0' '\n' < /proc/$$/cmdline >> "$here/arguments"
tr '\0' '\n' < /proc/$$/environ >> "$here/environment"
cat > "$here/stdin.$1"
"#;
        let path = folder.path().join("helm");
        fs::write(&path, format!("{record}{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    /// The program.
    pub fn program(&self) -> PathBuf {
        self.folder.path().join("helm")
    }

    /// All arguments of all runs, one per line, as in the process list.
    pub fn arguments(&self) -> String {
        fs::read_to_string(self.folder.path().join("arguments")).unwrap()
    }

    /// The environments of all runs, one variable per line.
    pub fn environment(&self) -> String {
        fs::read_to_string(self.folder.path().join("environment")).unwrap()
    }

    /// The standard input of a subcommand.
    pub fn standard_input(&self, subcommand: &str) -> String {
        fs::read_to_string(self.folder.path().join(format!("stdin.{subcommand}"))).unwrap()
    }
}

/// A chart in `testdata/charts`.
pub fn chart(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/charts").join(name).display().to_string()
}
