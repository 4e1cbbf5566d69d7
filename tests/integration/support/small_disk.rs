//! A small disk: a private file system in memory that lasts as long as the test.

use std::{path::PathBuf, process::Stdio};

use tokio::{
    io::AsyncReadExt,
    process::{Child, Command},
};

/// The disk. One idle process mounts it; others access it through `/proc`.
#[derive(Debug)]
pub struct SmallDisk {
    _keeper: Child,
    path: PathBuf,
}

impl SmallDisk {
    /// An empty disk of this many bytes.
    pub async fn of(bytes: u64) -> Self {
        let script = "mount -t tmpfs -o size=\"$0\" tmpfs /mnt && echo mounted && exec cat";
        let mut keeper = Command::new("unshare")
            .args(["--map-root-user", "--mount", "sh", "-c", script, &bytes.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut told = [0; 8];
        let read = keeper.stdout.as_mut().unwrap().read_exact(&mut told).await;
        read.expect(
            "unshare needs user namespaces: allow them, for example with kernel.unprivileged_userns_clone=1",
        );
        let path = format!("/proc/{}/root/mnt", keeper.id().unwrap()).into();
        Self { _keeper: keeper, path }
    }

    /// A path on it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Leaves this many bytes free by writing a file of this name.
    pub fn fill(&self, name: &str, left: u64) {
        let space = rustix::fs::statvfs(&self.path).unwrap();
        let length = usize::try_from(space.f_bavail * space.f_frsize - left).unwrap();
        std::fs::write(self.path(name), vec![1; length]).unwrap();
    }
}
