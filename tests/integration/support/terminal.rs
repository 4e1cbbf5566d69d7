//! Runs the program on a terminal of its own, as a person does.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use rustix::{
    fs::{Mode, OFlags, open},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(60);

/// A program on a terminal.
pub struct OnTerminal {
    terminal: File,
    pieces: Receiver<Vec<u8>>,
    child: Child,
    shown: String,
    folder: TempDir,
}

impl OnTerminal {
    /// Starts `thoras-mirror ARGUMENTS…` on a terminal with this many columns. Its home is a new folder.
    pub fn start(columns: u16, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let size = Winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let stream = || -> Stdio {
            let stream: OwnedFd = open(&*name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
            stream.into()
        };
        let folder = tempfile::tempdir().unwrap();
        let child = Command::new("setsid")
            .args(["--ctty", "--wait", env!("CARGO_BIN_EXE_thoras-mirror")])
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", folder.path())
            .env("TERM", "xterm-256color")
            .env("LC_ALL", "C.UTF-8")
            .envs(environment.iter().copied())
            .current_dir(folder.path())
            .stdin(stream())
            .stdout(stream())
            .stderr(stream())
            .spawn()
            .unwrap();
        let terminal = File::from(terminal);
        let (send, pieces) = channel();
        let mut reader = terminal.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            // A terminal without a program is an error, not an end.
            while let Ok(count @ 1..) = reader.read(&mut piece) {
                if send.send(piece[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { terminal, pieces, child, shown: String::new(), folder }
    }

    /// The home and working folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Waits until the terminal has shown this text.
    pub fn wait_for(&mut self, text: &str) {
        let begun = Instant::now();
        while !self.shown.contains(text) {
            assert!(begun.elapsed() < DEADLINE, "no {text:?} in {:?}", self.shown);
            self.read(Duration::from_millis(100));
        }
    }

    /// Types these characters.
    pub fn type_in(&mut self, text: &str) {
        self.terminal.write_all(text.as_bytes()).unwrap();
    }

    /// Whether the terminal shows what is typed.
    pub fn echoes(&self) -> bool {
        tcgetattr(&self.terminal).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    /// Waits for the end, and returns everything that was shown, with line breaks as `\n`.
    pub fn end(&mut self) -> (ExitStatus, String) {
        let begun = Instant::now();
        let status = loop {
            self.read(Duration::from_millis(50));
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < DEADLINE, "it does not end: {:?}", self.shown);
        };
        while self.read(Duration::from_millis(200)) {}
        (status, self.shown.replace("\r\n", "\n"))
    }

    fn read(&mut self, patience: Duration) -> bool {
        let piece = self.pieces.recv_timeout(patience);
        self.shown.extend(piece.iter().map(|piece| String::from_utf8_lossy(piece)));
        piece.is_ok()
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
