//! Records the commit in `THORAS_MIRROR_VERSION`, which `--version` prints: `0.1.0 (4fbbf93a9be2)`.
//!
//! The commit comes from the variable `THORAS_MIRROR_COMMIT`, from the file that `cargo package` adds to a crate, or from
//! git. Without any of them, the version stands alone. A debug build does not follow git, because each new commit would
//! compile the whole crate again: it says so.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The digits of a commit that are shown.
const DIGITS: usize = 12;
const VARIABLE: &str = "THORAS_MIRROR_COMMIT";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let folder = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let is_debug = env::var("PROFILE").is_ok_and(|profile| profile == "debug");
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let stated = env::var(VARIABLE).ok().or_else(|| packaged(&folder));
    let shown = match (stated.and_then(|commit| short(&commit)), is_debug) {
        (Some(commit), _) => format!("{version} ({commit})"),
        (None, true) => match from_git(&folder) {
            Some(commit) => format!("{version} (debug build, {commit} or later)"),
            None => format!("{version} (debug build)"),
        },
        (None, false) => {
            follow_git(&folder);
            from_git(&folder).map_or(version.clone(), |commit| format!("{version} ({commit})"))
        }
    };
    println!("cargo::rustc-env=THORAS_MIRROR_VERSION={shown}");
}

/// The first digits of a commit; `None` if the text is not one.
fn short(commit: &str) -> Option<String> {
    let commit = commit.trim();
    let is_commit = commit.len() >= 7 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_commit.then(|| commit.chars().take(DIGITS).collect())
}

/// The commit in `.cargo_vcs_info.json`: `{"git": {"sha1": "…"}, …}`.
fn packaged(folder: &Path) -> Option<String> {
    let text = fs::read_to_string(folder.join(".cargo_vcs_info.json")).ok()?;
    let (_, rest) = text.split_once("\"sha1\"")?;
    rest.split('"').nth(1).map(ToOwned::to_owned)
}

/// Only the repository of this folder: an unpacked crate may lie inside another repository.
fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    if !folder.join(".git").exists() {
        return None;
    }
    let output = Command::new("git").arg("-C").arg(folder).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn from_git(folder: &Path) -> Option<String> {
    short(&git(folder, &["rev-parse", "HEAD"])?)
}

/// Runs this again after a commit or a checkout: both append to the log of HEAD.
fn follow_git(folder: &Path) {
    for name in ["HEAD", "logs/HEAD"] {
        let path = git(folder, &["rev-parse", "--git-path", name]).map(|path| folder.join(path));
        if let Some(path) = path.filter(|path| path.exists()) {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
}
