//! Signals: SIGINT, SIGTERM, SIGQUIT and SIGHUP end a job, which removes its temporary files, stops the programs that it
//! started and shows what is typed again. A server reloads its files on SIGHUP.

use std::{fs, future, io};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use crate::{
    error::{Failure, Kind, exit},
    jobs::serve::Control,
};

/// The signals that end a program, caught from [`Ending::listen`] on.
struct Ending {
    interrupt: Signal,
    terminate: Signal,
    quit: Signal,
}

impl Ending {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    /// Waits for the next signal and returns its exit code.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => exit::INTERRUPTED,
            _ = self.terminate.recv() => exit::TERMINATED,
            _ = self.quit.recv() => exit::QUIT,
        }
    }
}

/// Waits for a signal that ends the program, and returns its exit code.
pub(super) async fn ending() -> u8 {
    tokio::select! {
        code = ordered_end() => code,
        code = hang_up() => code,
    }
}

async fn ordered_end() -> u8 {
    match Ending::listen() {
        Ok(mut signals) => signals.next().await,
        // Without handlers, the system ends the process. The destination stays consistent all the same.
        Err(_) => future::pending().await,
    }
}

/// Waits until the terminal is closed. After `nohup`, that does not end the program: a handler would change that.
async fn hang_up() -> u8 {
    let is_ignored = fs::read_to_string("/proc/self/status").map_or(true, |status| ignores_hang_up(&status));
    if is_ignored {
        return future::pending().await;
    }
    match signal(SignalKind::hangup()) {
        Ok(mut signal) => {
            signal.recv().await;
            exit::HUNG_UP
        }
        Err(_) => future::pending().await,
    }
}

/// Whether the process ignores SIGHUP, which has the number 1, according to its `/proc/self/status`.
fn ignores_hang_up(status: &str) -> bool {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u128::from_str_radix(mask.trim(), 16).ok()).is_none_or(|mask| mask & 1 == 1)
}

/// Turns signals into commands for a server.
pub(super) fn control() -> Result<mpsc::UnboundedReceiver<Control>, Failure> {
    let cannot_listen = |error: io::Error| Failure::from_error(Kind::Image, &error);
    let mut ending = Ending::listen().map_err(cannot_listen)?;
    let mut reload = signal(SignalKind::hangup()).map_err(cannot_listen)?;
    let (send, receive) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let command = tokio::select! {
                code = ending.next() => Control::Stop(code),
                Some(()) = reload.recv() => Control::Reload,
            };
            if send.send(command).is_err() {
                return;
            }
        }
    });
    Ok(receive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nohup_is_recognized() {
        let status = |mask: &str| format!("Name:\tx\nSigBlk:\t0000000000000001\nSigIgn:\t{mask}\n");
        assert!(ignores_hang_up(&status("0000000000000001")));
        assert!(!ignores_hang_up(&status("0000000000001000")));
        assert!(ignores_hang_up("Name:\tx\n"), "a system without the field keeps its default");
    }
}
