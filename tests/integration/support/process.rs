//! Runs the program under test: a clean environment, captured output, a deadline.

use std::{
    ffi::OsString,
    fmt,
    os::fd::OwnedFd,
    path::Path,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader},
    process::{Child, Command},
    sync::watch,
};

use super::strace::Strace;

/// How long a run may take before it counts as hanging.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A run that has not started.
///
/// Only `PATH` is inherited from the environment; the working directory, `HOME` and `DOCKER_CONFIG` are folders of its
/// own.
#[derive(Debug)]
pub struct Mirror {
    command: Command,
    folder: Arc<TempDir>,
    stdin: Vec<u8>,
    /// In place of a pipe with the bytes.
    stdin_file: Option<OwnedFd>,
}

impl Mirror {
    /// `thoras-mirror ARGUMENTS…`
    pub fn new<A: Into<OsString>>(arguments: impl IntoIterator<Item = A>) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        for name in ["work", "home", "docker"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_thoras-mirror"));
        command
            .args(arguments.into_iter().map(Into::into))
            .env_clear()
            .env("HOME", folder.path().join("home"))
            .env("DOCKER_CONFIG", folder.path().join("docker"))
            .env("NO_COLOR", "1")
            .current_dir(folder.path().join("work"));
        connect(&mut command);
        // The second is for coverage measurement, which counts in files.
        for name in ["PATH", "LLVM_PROFILE_FILE"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        Self { command, folder, stdin: Vec::new(), stdin_file: None }
    }

    /// A folder that the process gets: `work`, `home` or `docker`.
    pub fn folder_named(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Adds arguments.
    #[must_use]
    pub fn arguments<A: Into<OsString>>(mut self, more: impl IntoIterator<Item = A>) -> Self {
        self.command.args(more.into_iter().map(Into::into));
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.command.arg(argument.into());
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.command.env(name, value.into());
        self
    }

    /// Runs in this folder, for example that of an earlier run.
    #[must_use]
    pub fn in_folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Records the system calls of the program as configured so far.
    #[must_use]
    pub fn traced_by(mut self, strace: &Strace) -> Self {
        let plain = self.command.as_std();
        let mut traced = strace.command(plain.get_program());
        traced.args(plain.get_args()).env_clear().current_dir(plain.get_current_dir().unwrap());
        traced.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        connect(&mut traced);
        self.command = traced;
        self
    }

    /// Starts the program as configured so far with these signals ignored, as a script starts a job in the background.
    #[must_use]
    pub fn ignoring(mut self, signals: &str) -> Self {
        let plain = self.command.as_std();
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("trap '' {signals}; exec \"$0\" \"$@\"")]).arg(plain.get_program());
        shell.args(plain.get_args()).env_clear().current_dir(plain.get_current_dir().unwrap());
        shell.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        connect(&mut shell);
        self.command = shell;
        self
    }

    /// Sets standard input, which is empty by default.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// The same from a file, a device or a pipe.
    #[must_use]
    pub fn stdin_from(mut self, file: impl Into<OwnedFd>) -> Self {
        self.stdin_file = Some(file.into());
        self
    }

    /// Runs to the end.
    pub async fn run(self) -> Outcome {
        self.start().outcome().await
    }

    /// Runs to the end with empty standard input, and keeps standard output byte for byte.
    pub async fn run_captured(mut self) -> Captured {
        let output = self.command.stdin(Stdio::null()).output();
        let output = tokio::time::timeout(DEADLINE, output).await.expect("it ends").unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        Captured { status: output.status, stdout: output.stdout, stderr }
    }

    /// Starts in the background.
    pub fn start(mut self) -> Running {
        if let Some(file) = self.stdin_file {
            self.command.stdin(file);
        }
        let mut child = self.command.spawn().unwrap();
        if let Some(mut stdin) = child.stdin.take() {
            let input = self.stdin;
            // A program that does not read its input is not a test failure.
            tokio::spawn(async move { drop(stdin.write_all(&input).await) });
        }
        let stdout = Output::read(child.stdout.take().unwrap());
        let stderr = Output::read(child.stderr.take().unwrap());
        Running { child, stdout, stderr, folder: self.folder }
    }
}

/// Pipes all streams and kills the program when the test ends.
fn connect(command: &mut Command) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
}

/// How a run with binary standard output ended.
#[derive(Debug)]
pub struct Captured {
    /// Its exit status.
    pub status: ExitStatus,
    /// Every byte.
    pub stdout: Vec<u8>,
    /// Progress, logs and errors.
    pub stderr: String,
}

/// A run in the background. It is killed when it is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: Output,
    stderr: Output,
    folder: Arc<TempDir>,
}

impl Running {
    /// Its peak memory in KiB.
    pub fn peak_memory(&self) -> u64 {
        self.peak_so_far().expect("the program has ended")
    }

    /// Runs to the end. Returns how it ended and its peak memory in KiB, except of its last milliseconds.
    pub async fn outcome_and_peak(mut self) -> (Outcome, u64) {
        let mut peak = 0;
        while tokio::time::timeout(Duration::from_millis(5), self.ended()).await.is_err() {
            peak = self.peak_so_far().unwrap_or(peak);
        }
        (self.outcome().await, peak)
    }

    fn peak_so_far(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    }

    /// Sends SIGINT, as Ctrl-C does.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Sends SIGTERM, as Kubernetes does.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGHUP, as a terminal does when it is closed.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// Sends SIGQUIT, as a terminal does for Ctrl and a backslash.
    pub fn quit(&self) {
        self.signal(Signal::QUIT);
    }

    /// Sends SIGKILL, which the program cannot handle.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.id().expect("the program has ended");
        kill_process(Pid::from_raw(id.cast_signed()).unwrap(), signal).unwrap();
    }

    /// Waits for a line with this text on standard error, and returns the line.
    pub async fn stderr_line(&self, text: &str) -> String {
        let line = self.stderr.line_with(text);
        tokio::time::timeout(DEADLINE, line).await.unwrap_or_else(|_| panic!("no line with {text:?}"))
    }

    /// The same on standard output.
    pub async fn stdout_line(&self, text: &str) -> String {
        let line = self.stdout.line_with(text);
        tokio::time::timeout(DEADLINE, line).await.unwrap_or_else(|_| panic!("no line with {text:?}"))
    }

    /// Waits for the end, however long it takes.
    pub async fn ended(&mut self) {
        self.child.wait().await.unwrap();
    }

    /// Waits for the end; a hanging run fails the test with its output so far.
    pub async fn outcome(mut self) -> Outcome {
        let ended = tokio::time::timeout(DEADLINE, self.child.wait()).await;
        if ended.is_err() {
            self.child.kill().await.unwrap();
        }
        let outcome = Outcome {
            status: self.child.wait().await.unwrap(),
            stdout: self.stdout.all().await,
            stderr: self.stderr.all().await,
            folder: self.folder,
        };
        assert!(ended.is_ok(), "no end after {DEADLINE:?}: {outcome}");
        outcome
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit status.
    pub status: ExitStatus,
    /// Results.
    pub stdout: String,
    /// Progress, logs and errors.
    pub stderr: String,
    folder: Arc<TempDir>,
}

impl Outcome {
    /// The working directory, for as long as the outcome lives.
    pub fn folder(&self) -> std::path::PathBuf {
        self.folder.path().join("work")
    }

    /// Asserts that the program exited with this code, and shows all output otherwise.
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{self}");
        self
    }

    /// The same for success.
    pub fn expect_success(self) -> Self {
        self.expect_code(0)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, stdout, stderr, .. } = self;
        write!(formatter, "thoras-mirror: {status}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

/// What a program prints to one pipe, readable while it runs.
#[derive(Debug)]
struct Output {
    text: watch::Receiver<String>,
}

impl Output {
    fn read(pipe: impl AsyncRead + Send + Unpin + 'static) -> Self {
        let (sender, text) = watch::channel(String::new());
        tokio::spawn(async move {
            let mut lines = BufReader::new(pipe);
            let mut line = String::new();
            while lines.read_line(&mut line).await.expect("output is UTF-8") > 0 {
                sender.send_modify(|text| text.push_str(&line));
                line.clear();
            }
        });
        Self { text }
    }

    async fn line_with(&self, wanted: &str) -> String {
        let find = |text: &str| text.lines().find(|line| line.contains(wanted)).map(str::to_owned);
        let mut text = self.text.clone();
        let seen = text.wait_for(|text| find(text).is_some()).await.map(|text| text.clone());
        seen.ok()
            .and_then(|text| find(&text))
            .unwrap_or_else(|| panic!("ended without a line with {wanted:?}"))
    }

    /// All of it, once the pipe is closed.
    async fn all(mut self) -> String {
        while self.text.changed().await.is_ok() {}
        self.text.borrow().clone()
    }
}
