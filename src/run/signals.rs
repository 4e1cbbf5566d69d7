//! Signals: SIGINT and SIGTERM end a job; a server also handles SIGHUP.

use std::io;

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
}

impl Ending {
    fn listen() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next signal and returns its exit code.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => exit::INTERRUPTED,
            _ = self.terminate.recv() => exit::TERMINATED,
        }
    }
}

/// Waits for a signal that ends the program, and returns its exit code.
pub(super) async fn ending() -> u8 {
    match Ending::listen() {
        Ok(mut signals) => signals.next().await,
        // Without handlers, the system ends the process. The destination stays consistent all the same.
        Err(_) => std::future::pending().await,
    }
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
