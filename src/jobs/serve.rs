//! `serve`: a folder or a bundle as a registry.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use super::{
    Session, Signals,
    bundle::opening::{self, shown},
};
use crate::{
    cli::{Serve, ServeAccess},
    error::{Failure, Kind, escape, exit},
    report::{Verbosity, print},
    serve::{
        AccessLog, AccessRecord, Limits, Names, Options, Reloader, ServeError, Server, StorageError,
        TlsFiles, UserFile,
    },
};

/// Serves until a signal comes, which is how a server is meant to end: requests in flight may finish, then it
/// exits with success. A second signal ends it at once. SIGHUP reads certificate and users again.
pub(super) async fn run(args: Serve, session: &Session) -> Result<u8, Failure> {
    opening::refuse_standard_input(&args.paths)?;
    let log = match &args.access_log {
        Some(path) => Some(Arc::new(LogFile::open(path)?)),
        None => None,
    };
    let quiet = session.verbosity == Verbosity::Quiet;
    let options = options(&args, access_log(log.as_ref(), quiet));
    // Listened for before anybody can know that there is something to end.
    let cannot_listen = |error: io::Error| Failure::from_error(Kind::Image, &error);
    let mut signals = Signals::listen().map_err(cannot_listen)?;
    let mut reloads = signal(SignalKind::hangup()).map_err(cannot_listen)?;
    warn_of_open_doors(&options);
    opening::warn_of_unfinished(&args.paths);
    let server = Server::bind(options).await.map_err(|error| failure(&error, &args.paths))?;
    warn_of_a_delta(&server);
    announce(&args, &server, quiet)?;
    let reloader = server.reloader();
    let (stop, stopped) = oneshot::channel::<()>();
    let mut serving = pin!(server.run(async {
        let _ = stopped.await;
    }));
    tokio::select! {
        () = &mut serving => return Ok(exit::SUCCESS),
        () = reload_on(&mut reloads, &reloader, log.as_deref()) => return Ok(exit::SUCCESS),
        _ = signals.next() => drop(stop),
    }
    tokio::select! {
        () = serving => Ok(exit::SUCCESS),
        code = signals.next() => Ok(code),
    }
}

fn failure(error: &ServeError, paths: &[PathBuf]) -> Failure {
    match error {
        ServeError::Storage(StorageError::Bundle(error)) => opening::failure(error, paths),
        ServeError::Storage(StorageError::Manifest { .. }) => Failure::from_error(Kind::Integrity, error)
            .with_hint("copy the bundle again from where it was written"),
        ServeError::Storage(StorageError::Io { source, .. }) => {
            let hint = match source.kind() {
                io::ErrorKind::PermissionDenied => {
                    "name a folder that this user may read and write to (read, with --read-only)"
                }
                _ => "name a folder that is there or can be made, on a disk with room",
            };
            Failure::from_error(Kind::Usage, error).with_hint(hint)
        }
        error => Failure::from_error(Kind::Usage, error),
    }
}

fn options(args: &Serve, access_log: Option<AccessLog>) -> Options {
    let ServeAccess { tls_cert, tls_key, htpasswd, push_user } = &args.access;
    let defaults = Limits::default();
    Options {
        names: Names { naming: args.naming, source_prefix: args.source_prefix.clone() },
        listen: args.listen,
        writable: !args.read_only,
        tls: tls_cert
            .as_ref()
            .zip(tls_key.as_ref())
            .map(|(certificate, key)| TlsFiles { certificate: certificate.clone(), key: key.clone() }),
        users: htpasswd
            .as_ref()
            .map(|htpasswd| UserFile { htpasswd: htpasswd.clone(), pushers: push_user.clone() }),
        limits: Limits {
            connections: usize::try_from(args.max_connections).unwrap_or(defaults.connections),
            blob_bytes: args.max_blob_bytes.unwrap_or(defaults.blob_bytes),
            ..defaults
        },
        access_log,
        ..Options::over(args.paths.clone())
    }
}

fn access_log(file: Option<&Arc<LogFile>>, quiet: bool) -> Option<AccessLog> {
    match file.cloned() {
        Some(file) => Some(Arc::new(move |record: &AccessRecord| file.write(&record.to_string()))),
        None if quiet => None,
        None => Some(Arc::new(|record: &AccessRecord| print::log(&record.to_string()))),
    }
}

/// What an engineer would want to know before others find out.
fn warn_of_open_doors(options: &Options) {
    if options.listen.ip().is_loopback() {
        return;
    }
    let address = options.listen;
    if options.users.is_some() && options.tls.is_none() {
        print::warning(&format!(
            "passwords reach {address} unencrypted: give --tls-cert and --tls-key, or let something in front of it \
             speak HTTPS"
        ));
    }
    if options.users.is_none() && options.writable {
        print::warning(&format!(
            "whoever reaches {address} may push and delete: give --htpasswd, or --read-only"
        ));
    }
}

/// Its images cannot be pulled whole, which a node finds out in the middle of a pull.
fn warn_of_a_delta(server: &Server) {
    let blobs = match server.left_out() {
        0 => return,
        1 => "one blob".to_owned(),
        count => format!("{count} blobs"),
    };
    print::warning(&format!(
        "this bundle was exported with --base and leaves out {blobs}: images that need them cannot be pulled from here; \
         `bundle import` puts it together with its base"
    ));
}

/// One line of result for scripts (one that asked for port 0 reads the address from it), and what a person does
/// next.
fn announce(args: &Serve, server: &Server, quiet: bool) -> Result<(), Failure> {
    let address = server.address();
    let scheme = if server.is_encrypted() { "https" } else { "http" };
    print::result(&format!("serving {} on {scheme}://{address}", shown(&args.paths)))?;
    if quiet {
        return Ok(());
    }
    // Nobody can be reached at "any address".
    let host =
        if address.ip().is_unspecified() { format!("HOST:{}", address.port()) } else { address.to_string() };
    if args.access.htpasswd.is_some() {
        print::log(&format!("log in: docker login {host}"));
    }
    if server.is_writable() {
        let plain = !server.is_encrypted() && !address.ip().is_loopback();
        let how = if plain { format!(" --plain-http {host}") } else { String::new() };
        print::log(&format!("push:   thoras-mirror sync --to {host}{how}"));
    }
    print::log(&format!("pull:   docker pull {host}/REPOSITORY:TAG"));
    Ok(())
}

/// Reads again what can be read again, for ever. A file that is wrong changes nothing but the log.
async fn reload_on(reloads: &mut Signal, reloader: &Reloader, log: Option<&LogFile>) {
    while reloads.recv().await.is_some() {
        if let Err(error) = reloader.reload() {
            let failure = Failure::from_error(Kind::Usage, &error);
            print::print_failure(&failure.with_hint("what was read before stays in use"));
        }
        if let Some(Err(failure)) = log.map(LogFile::open_again) {
            print::print_failure(&failure);
        }
    }
    // Without the signal there is nothing to do, and nothing to end.
    std::future::pending::<()>().await;
}

/// A log that is appended to.
struct LogFile {
    path: PathBuf,
    file: Mutex<File>,
}

impl LogFile {
    fn open(path: &Path) -> Result<Self, Failure> {
        Ok(Self { path: path.to_owned(), file: Mutex::new(open_to_append(path)?) })
    }

    /// Goes on in a new file when the old one was moved away.
    fn open_again(&self) -> Result<(), Failure> {
        let file = open_to_append(&self.path)?;
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
        Ok(())
    }

    fn write(&self, line: &str) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk must not end the registry; what the log lacks is all that is lost.
        let _ = file.write_all(format!("{}\n", escape(line)).as_bytes());
    }
}

fn open_to_append(path: &Path) -> Result<File, Failure> {
    OpenOptions::new().create(true).append(true).open(path).map_err(|error| {
        Failure::new(Kind::Usage, format!("cannot write the access log {}: {error}", path.display()))
    })
}
