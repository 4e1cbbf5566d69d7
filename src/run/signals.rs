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

/// The signals that end a program, caught from [`Ending::listen`] on. `None` for one that the program was started with
/// ignored, as by `nohup`, or by a script that runs it in the background: a handler would change that.
struct Ending {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
    quit: Option<Signal>,
}

impl Ending {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: unless_ignored(SignalKind::interrupt())?,
            terminate: unless_ignored(SignalKind::terminate())?,
            quit: unless_ignored(SignalKind::quit())?,
        })
    }

    /// Waits for the next signal and returns its exit code.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            () = received(&mut self.interrupt) => exit::INTERRUPTED,
            () = received(&mut self.terminate) => exit::TERMINATED,
            () = received(&mut self.quit) => exit::QUIT,
        }
    }
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => future::pending().await,
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

/// Waits until the terminal is closed. After `nohup`, that does not end the program.
async fn hang_up() -> u8 {
    match unless_ignored(SignalKind::hangup()) {
        Ok(mut signal) => {
            received(&mut signal).await;
            exit::HUNG_UP
        }
        Err(_) => future::pending().await,
    }
}

/// Catches a signal unless this process was started with it ignored. Asks only before the first handler of a signal: a
/// signal that has one is not ignored.
fn unless_ignored(kind: SignalKind) -> io::Result<Option<Signal>> {
    let is_ignored = match fs::read_to_string("/proc/self/status") {
        Ok(status) => ignores(&status, kind),
        Err(_) => None,
    };
    // A system that does not tell keeps its default for SIGHUP; the other signals must end the program.
    if is_ignored.unwrap_or(kind == SignalKind::hangup()) { Ok(None) } else { signal(kind).map(Some) }
}

/// Whether a process ignores a signal, according to its `/proc/self/status`; `None` if that does not tell.
fn ignores(status: &str, kind: SignalKind) -> Option<bool> {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    let mask = u128::from_str_radix(ignored.trim(), 16).ok()?;
    let bit = u32::try_from(kind.as_raw_value()).ok()?.checked_sub(1)?;
    Some(mask.checked_shr(bit)? & 1 == 1)
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
    fn ignored_signals_are_recognized() {
        let status = |mask: &str| format!("Name:\tx\nSigBlk:\t0000000000000001\nSigIgn:\t{mask}\n");
        let [hang_up, interrupt, quit] = [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::quit()];
        let ignored = |mask| [hang_up, interrupt, quit].map(|kind| ignores(&status(mask), kind).unwrap());
        assert_eq!(ignored("0000000000000001"), [true, false, false], "nohup");
        assert_eq!(ignored("0000000000001006"), [false, true, true], "a script's background job");
        assert_eq!(ignored("0000000000001000"), [false; 3]);
        assert_eq!(ignores("Name:\tx\n", hang_up), None);
    }
}
