//! Runs containerd, which cluster nodes pull images with, and queries it through its client `ctr`.

use std::{collections::BTreeSet, path::Path, process::Stdio};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use super::programs;

/// A daemon with an empty store that stops with the test. It runs no container, so only unpacking an image needs root.
pub struct Containerd {
    _child: Child,
    folder: TempDir,
}

impl Containerd {
    /// Starts it and waits until it reports that it is ready.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.toml");
        std::fs::write(&config, configuration(folder.path())).unwrap();
        let mut child = Command::new(programs::find("THORAS_MIRROR_TEST_CONTAINERD", "containerd"))
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut seen = Vec::new();
        loop {
            let line = log.next_line().await.unwrap();
            let line = line.unwrap_or_else(|| panic!("containerd ended:\n{}", seen.join("\n")));
            if line.contains("successfully booted") {
                break;
            }
            seen.push(line);
        }
        // A write to a full pipe would block.
        tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
        Self { _child: child, folder }
    }

    /// What `ctr ARGUMENTS…` prints.
    pub async fn ctr(&self, arguments: &[&str]) -> String {
        let socket = socket(self.folder.path());
        let before = ["--address", &socket, "--namespace", "test"];
        let program = programs::find("THORAS_MIRROR_TEST_CTR", "ctr");
        String::from_utf8(programs::run(program, before.iter().chain(arguments).copied()).await).unwrap()
    }

    /// What its snapshotter has unpacked into files of this name.
    pub fn unpacked(&self, file: &str) -> Vec<String> {
        let snapshots = self.folder.path().join("root/io.containerd.snapshotter.v1.native/snapshots");
        let folders = std::fs::read_dir(snapshots).unwrap().map(|entry| entry.unwrap().path().join(file));
        folders.filter(|path| path.is_file()).map(|path| std::fs::read_to_string(path).unwrap()).collect()
    }

    /// The digest of a name in its store, if any.
    pub async fn digest(&self, name: &str) -> Option<String> {
        let table = self.ctr(&["images", "ls"]).await;
        let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        rows.find(|row| row.first() == Some(&name))?.get(2).map(|digest| (*digest).to_owned())
    }

    /// The digests of all manifests and blobs in its store; it hashed each when it came in.
    pub async fn content(&self) -> BTreeSet<String> {
        self.ctr(&["content", "ls", "--quiet"]).await.lines().map(str::to_owned).collect()
    }
}

fn socket(folder: &Path) -> String {
    folder.join("s").display().to_string()
}

/// All of its files in one folder, and nothing that needs root or a kernel module.
fn configuration(folder: &Path) -> String {
    let (socket, folder) = (socket(folder), folder.display());
    let (user, group) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    format!(
        r#"version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.runtime.v1.linux"]
[grpc]
address = "{socket}"
uid = {user}
gid = {group}
"#
    )
}
