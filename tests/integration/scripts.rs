//! What the scripts of this repository tell a person who runs them for the first time.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::support::process::Mirror;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A copy of `scripts/`, and a folder that is all of `PATH`: the basic tools, and what the test puts there.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let machine = Self { folder };
        for name in ["scripts", "bin"] {
            fs::create_dir(machine.path(name)).unwrap();
        }
        for name in ["test", "test-programs", "tools"] {
            fs::copy(repository().join("scripts").join(name), machine.path("scripts").join(name)).unwrap();
        }
        let path = std::env::var_os("PATH").unwrap();
        for name in ["bash", "env", "sed", "mkdir", "dirname", "id", "uname", "cat", "grep", "head", "rm"] {
            let found =
                std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.exists());
            symlink(found.unwrap(), machine.path("bin").join(name)).unwrap();
        }
        machine.has("rustc", "echo 'host: x86_64-unknown-linux-gnu'");
        machine.has("cc", "");
        // What it ran, one line each.
        machine.has("cargo", &format!("echo \"$1\" >> {}", machine.path("cargo.log").display()));
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a program on `PATH`.
    fn has(&self, name: &str, script: &str) {
        let file = self.path("bin").join(name);
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn test(&self) -> Output {
        let mut command = Command::new(self.path("scripts/test"));
        command.arg("sync").env_clear().env("PATH", self.path("bin")).output().unwrap()
    }

    fn cargo_ran(&self) -> Vec<String> {
        let log = fs::read_to_string(self.path("cargo.log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }
}

const PROGRAMS: [&str; 10] = [
    "docker-registry",
    "skopeo",
    "crane",
    "oras",
    "cosign",
    "notation",
    "containerd",
    "ctr",
    "helm",
    "strace",
];

#[test]
fn the_tests_say_what_they_need_before_they_start() {
    type Prepare = fn(&Machine);
    let offline: Prepare = |machine| {
        machine.has("apt-get", "exit 100");
        machine.has("dpkg", "");
    };
    for (prepare, reason) in [
        (offline, "apt cannot reach its sources"),
        ((|_| ()) as Prepare, "this system has no apt-get and dpkg to get them with"),
    ] {
        let machine = Machine::new();
        prepare(&machine);
        let output = machine.test();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        let first = stderr.lines().next().unwrap();
        assert!(first.starts_with("tests: need a C compiler, the crates in Cargo.lock, and "), "{stderr}");
        assert!(stderr.contains(reason), "{stderr}");
        let listed = stderr.split_once("install these programs").unwrap().1;
        for program in PROGRAMS {
            assert!(first.contains(program), "{stderr}");
            assert!(listed.lines().any(|line| line.starts_with(&format!("  {program} "))), "{stderr}");
        }
        assert_eq!(machine.cargo_ran(), ["fetch"], "no test was built");
    }
}

#[test]
fn the_tests_name_a_missing_compiler_and_missing_crates_before_they_start() {
    let machine = Machine::new();
    fs::remove_file(machine.path("bin/cc")).unwrap();
    let stderr = String::from_utf8(machine.test().stderr).unwrap();
    assert!(stderr.contains("there is no C compiler (cc): install one"), "{stderr}");
    assert_eq!(machine.cargo_ran(), Vec::<String>::new());

    let machine = Machine::new();
    machine.has("cargo", "exit 101");
    let output = machine.test();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("cargo cannot get the crates in Cargo.lock: run cargo fetch --locked"),
        "{stderr}"
    );
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test]
async fn the_quickstart_ends_with_a_command_that_exists_and_is_that_of_the_readme() {
    let script = fs::read_to_string(repository().join("scripts/quickstart")).unwrap();
    let last = script.lines().last().unwrap();
    let command = last.strip_prefix("echo \"$program ").and_then(|rest| rest.strip_suffix('"')).unwrap();
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    assert!(readme.contains(&format!("\n    target/release/thoras-mirror {command}\n")), "{command}");
    // An unknown command or flag is refused before `--help` counts.
    Mirror::new(command.split(' ').chain(["--help"])).run().await.expect_success();
    let wrong = command.split(' ').chain(["--no-such-flag", "--help"]);
    Mirror::new(wrong).run().await.expect_code(2);
}
