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
    fn listen(ignored: IgnoredSignals) -> io::Result<Self> {
        Ok(Self {
            interrupt: ignored.listen(SignalKind::interrupt())?,
            terminate: ignored.listen(SignalKind::terminate())?,
            quit: ignored.listen(SignalKind::quit())?,
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
    let ignored = IgnoredSignals::of_process();
    tokio::select! {
        code = ordered_end(ignored) => code,
        code = hang_up(ignored) => code,
    }
}

async fn ordered_end(ignored: IgnoredSignals) -> u8 {
    match Ending::listen(ignored) {
        Ok(mut signals) => signals.next().await,
        // Without handlers, the system ends the process. The destination stays consistent all the same.
        Err(_) => future::pending().await,
    }
}

/// Waits until the terminal is closed. After `nohup`, that does not end the program.
async fn hang_up(ignored: IgnoredSignals) -> u8 {
    match ignored.listen(SignalKind::hangup()) {
        Ok(mut signal) => {
            received(&mut signal).await;
            exit::HUNG_UP
        }
        Err(_) => future::pending().await,
    }
}

/// The signals that this process was started with ignored, as the bits of a mask; `None` if the system does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct IgnoredSignals(Option<u128>);

impl IgnoredSignals {
    /// Asks before the first handler of a signal: a signal that has one is not ignored.
    fn of_process() -> Self {
        Self::parse(&fs::read_to_string("/proc/self/status").unwrap_or_default())
    }

    /// Reads a process's `/proc/PID/status`.
    fn parse(status: &str) -> Self {
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        Self(ignored.and_then(|mask| u128::from_str_radix(mask.trim(), 16).ok()))
    }

    /// Whether a signal is ignored. A system that does not tell keeps its default for SIGHUP; the other signals must end
    /// the program.
    fn has(self, kind: SignalKind) -> bool {
        let Self(Some(mask)) = self else { return kind == SignalKind::hangup() };
        let bit = u32::try_from(kind.as_raw_value()).ok().and_then(|number| number.checked_sub(1));
        bit.and_then(|bit| mask.checked_shr(bit)).is_some_and(|mask| mask & 1 == 1)
    }

    /// Catches a signal unless it is ignored.
    fn listen(self, kind: SignalKind) -> io::Result<Option<Signal>> {
        if self.has(kind) { Ok(None) } else { signal(kind).map(Some) }
    }
}

/// Turns signals into commands for a server.
pub(super) fn control() -> Result<mpsc::UnboundedReceiver<Control>, Failure> {
    let cannot_listen = |error: io::Error| Failure::from_error(Kind::Image, &error);
    let mut ending = Ending::listen(IgnoredSignals::of_process()).map_err(cannot_listen)?;
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
        let ignored = |mask: &str| {
            let signals = IgnoredSignals::parse(&status(mask));
            [hang_up, interrupt, quit].map(|kind| signals.has(kind))
        };
        assert_eq!(ignored("0000000000000001"), [true, false, false], "nohup");
        assert_eq!(ignored("0000000000001006"), [false, true, true], "a script's background job");
        assert_eq!(ignored("0000000000001000"), [false; 3]);
        let unknown = IgnoredSignals::parse("Name:\tx\n");
        assert_eq!([hang_up, interrupt, quit].map(|kind| unknown.has(kind)), [true, false, false]);
    }
}
