//! Runs `thoras-mirror serve`, which prints its address.

use std::{net::SocketAddr, path::Path, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdout, Command},
};

use super::{Address, strace::Strace};

/// A server that is read line by line while it runs, which [`Mirror`] does not do.
pub struct Serving {
    child: Child,
    /// Where it listens.
    pub address: Address,
    stdout: Lines<BufReader<ChildStdout>>,
    stderr: Lines<BufReader<ChildStderr>>,
}

impl Serving {
    /// Starts on a free port and reads its address from standard output, as a script would.
    pub async fn start(path: &Path, more: &[&str]) -> Self {
        Self::start_at(path, &[&["--listen", "127.0.0.1:0"], more].concat()).await
    }

    /// The same, listening where the arguments say.
    pub async fn start_at(path: &Path, arguments: &[&str]) -> Self {
        Self::over(&[path], arguments).await
    }

    /// Over several files, listening where the arguments say.
    pub async fn over(paths: &[&Path], arguments: &[&str]) -> Self {
        Self::started_by(Command::new(env!("CARGO_BIN_EXE_thoras-mirror")), paths, arguments).await
    }

    /// On a free port, with its system calls recorded.
    pub async fn traced_by(strace: &Strace, path: &Path) -> Self {
        let command = strace.command(env!("CARGO_BIN_EXE_thoras-mirror"));
        Self::started_by(command, &[path], &["--listen", "127.0.0.1:0"]).await
    }

    async fn started_by(mut command: Command, paths: &[&Path], arguments: &[&str]) -> Self {
        let mut child = command
            .arg("serve")
            .args(arguments)
            .args(paths)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = stdout.next_line().await.unwrap().unwrap();
        let (start, url) = line.split_once(" on http").unwrap();
        assert!(start.starts_with(&format!("serving {}", paths[0].display())), "{start}");
        let listening: SocketAddr = url.rsplit_once("://").unwrap().1.parse().unwrap();
        assert_ne!(listening.port(), 0);
        let address = Address { host_port: listening.to_string(), plain_http: true, authority: None };
        Self { child, address, stdout, stderr }
    }

    /// The process's id.
    pub fn process(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap();
        kill_process(id, signal).unwrap();
    }

    /// Sends a signal and waits for the end. Returns the exit code and what was printed on the way.
    pub async fn end(mut self, signal: Signal) -> (Option<i32>, Vec<String>) {
        self.signal(signal);
        let ended = tokio::time::timeout(Duration::from_secs(30), self.child.wait()).await.unwrap();
        assert_eq!(self.stdout.next_line().await.unwrap(), None, "one line is all that stdout holds");
        let mut log = Vec::new();
        while let Some(line) = self.stderr.next_line().await.unwrap() {
            log.push(line);
        }
        (ended.unwrap().code(), log)
    }
}
