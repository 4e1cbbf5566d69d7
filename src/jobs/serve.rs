//! `serve`: a folder or a bundle as a registry.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{mpsc, oneshot};

use super::{
    open_bundle::{self, shown},
    signing,
};
use crate::{
    bounded_read,
    endpoint::bundle::IndexSignature,
    error::{Failure, Kind, escape, exit},
    event::{Event, EventSink, warn},
    request::Serve,
    serve::{
        AccessLog, AccessRecord, Listing, Options, Reloader, ServeError, Server, StorageError, TlsError,
        UsersError,
    },
    units,
};

/// How many repositories are listed at startup.
const MAX_SHOWN: usize = 10;

/// A command to a running server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    /// Stop. The second time, stop immediately with this exit code.
    Stop(u8),
    /// Reload the certificate and the users, and reopen the access log.
    Reload,
}

/// Serves until it is stopped, and returns the exit code: success once requests in flight have finished.
pub(crate) async fn run(
    request: &Serve,
    events: Arc<dyn EventSink>,
    mut control: mpsc::UnboundedReceiver<Control>,
) -> Result<u8, Failure> {
    let log = request.access_log.as_deref().map(LogFile::open).transpose()?.map(Arc::new);
    let signature = signing::of_bundle(request.signed.as_ref(), &request.paths)?;
    let options = options(request, signature, access_log(log.as_ref(), &events));
    raise_file_limit();
    open_bundle::warn_of_unfinished(&request.paths, &*events);
    let server = Server::bind(options).await.map_err(|error| failure(&error, &request.paths))?;
    warn_of_open_access(request, &server, &*events);
    warn_of_a_delta(&server, &*events);
    announce(request, &server, &*events);
    let reloader = server.reloader();
    let (stop, stopped) = oneshot::channel::<()>();
    let mut serving = pin!(server.run(async {
        let _ = stopped.await;
    }));
    loop {
        tokio::select! {
            () = &mut serving => return Ok(exit::SUCCESS),
            command = control.recv() => match command {
                Some(Control::Reload) => reload(&reloader, log.as_deref(), &*events),
                Some(Control::Stop(_)) | None => break,
            },
        }
    }
    drop(stop);
    loop {
        tokio::select! {
            () = &mut serving => return Ok(exit::SUCCESS),
            Some(command) = control.recv() => if let Control::Stop(code) = command { return Ok(code) },
        }
    }
}

fn failure(error: &ServeError, paths: &[PathBuf]) -> Failure {
    match error {
        ServeError::Storage(StorageError::Bundle(error)) => open_bundle::failure(error, paths),
        ServeError::Storage(StorageError::Manifest { .. }) => Failure::from_error(Kind::Integrity, error)
            .with_hint("copy the bundle again from where it was written"),
        ServeError::Storage(StorageError::Io { source, .. }) => {
            let hint = match source.kind() {
                io::ErrorKind::PermissionDenied => {
                    "pass a folder that this user may read and write (with --read-only, read)"
                }
                _ => "pass a folder that exists or can be created, on a disk with free space",
            };
            Failure::from_error(Kind::Usage, error).with_hint(hint)
        }
        ServeError::Listen { .. } => Failure::from_error(Kind::Usage, error).with_hint(
            "pass another --listen HOST:PORT: the port may be in use, or the address may not belong to this machine",
        ),
        ServeError::Clock => Failure::from_error(Kind::Usage, error).with_hint("set the clock of this machine"),
        ServeError::Tls(TlsError::Unreadable { source, .. })
        | ServeError::Users(UsersError::Unreadable { source, .. }) => {
            Failure::from_error(Kind::Usage, error).with_hint(bounded_read::hint(source))
        }
        error => Failure::from_error(Kind::Usage, error),
    }
}

fn options(request: &Serve, signature: Option<IndexSignature>, access_log: AccessLog) -> Options {
    let Serve { paths, names, signed: _, listen, writable, allow_sparse, tls, users, limits, access_log: _ } =
        request;
    Options {
        signature,
        paths: paths.clone(),
        names: names.clone(),
        listen: *listen,
        writable: *writable,
        allow_sparse: *allow_sparse,
        tls: tls.clone(),
        users: users.clone(),
        limits: *limits,
        access_log: Some(access_log),
    }
}

fn access_log(file: Option<&Arc<LogFile>>, events: &Arc<dyn EventSink>) -> AccessLog {
    if let Some(file) = file.cloned() {
        return Arc::new(move |record: &AccessRecord| file.write(&record.to_string()));
    }
    let events = Arc::clone(events);
    Arc::new(move |record: &AccessRecord| events.emit(Event::Request { line: record.to_string() }))
}

/// Raises the limit of open files as far as the system permits: every connection may need two.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // With the lower limit, further connections wait.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

fn warn_of_open_access(request: &Serve, server: &Server, events: &dyn EventSink) {
    let address = request.listen;
    if address.ip().is_loopback() {
        return;
    }
    if request.users.is_some() && request.tls.is_none() {
        warn(
            events,
            format!(
                "passwords travel to {address} unencrypted: pass --tls-cert and --tls-key, or put an HTTPS proxy in \
                 front of it"
            ),
        );
    }
    if request.users.is_none() && server.is_writable() {
        warn(
            events,
            format!("anyone who can reach {address} can push and delete: pass --htpasswd or --read-only"),
        );
    }
}

/// Images of a delta cannot be pulled completely: without this warning, only a failing pull would show it.
fn warn_of_a_delta(server: &Server, events: &dyn EventSink) {
    let blobs = match server.left_out() {
        0 => return,
        1 => "1 blob".to_owned(),
        count => format!("{count} blobs"),
    };
    warn(
        events,
        format!(
            "this bundle was exported with --base and leaves out {blobs}: images that need them cannot be pulled \
             here; `bundle import` combines the bundle with its base"
        ),
    );
}

/// Prints the server's address (for scripts that passed port 0) and what the user can do next.
fn announce(request: &Serve, server: &Server, events: &dyn EventSink) {
    let address = server.address();
    let scheme = if server.is_encrypted() { "https" } else { "http" };
    // No client can connect to "any address".
    let host =
        if address.ip().is_unspecified() { format!("HOST:{}", address.port()) } else { address.to_string() };
    let mut next_steps = Vec::new();
    if request.users.is_some() {
        next_steps.push(format!("log in: docker login {host} (or: thoras-mirror login {host})"));
    }
    if server.is_writable() {
        let plain = !server.is_encrypted() && !address.ip().is_loopback();
        let how = if plain { format!(" --plain-http {host}") } else { String::new() };
        next_steps.push(format!("push:   thoras-mirror sync --to {host}{how}"));
    }
    next_steps.push(format!("pull:   docker pull {host}/REPOSITORY:TAG"));
    next_steps.extend(contents(server, &host));
    let access = if server.is_writable() { "" } else { ", read-only," };
    let (what, url) = (format!("{}{access}", shown(&request.paths)), format!("{scheme}://{address}"));
    events.emit(Event::Serving { what, url, next_steps });
}

/// What is served, in a few lines: the repositories, and the value with which the vendor's chart finds its images.
fn contents(server: &Server, host: &str) -> Vec<String> {
    // A folder that cannot be read now fails each request with the reason.
    let Ok(Listing { shown, all }) = server.contents(MAX_SHOWN) else { return Vec::new() };
    let mut lines: Vec<String> = shown
        .iter()
        .map(|(name, tags)| match tags.as_slice() {
            [] => format!("serves: {host}/{name}"),
            [tag] => format!("serves: {host}/{name}:{tag}"),
            [tag, rest @ ..] => {
                format!("serves: {host}/{name}:{tag} and {}", units::counted(rest.len(), "more tag"))
            }
        })
        .collect();
    if all > shown.len() {
        let more = match all - shown.len() {
            1 => "1 more repository".to_owned(),
            more if all < Server::MAX_COUNTED => format!("{more} more repositories"),
            more => format!("at least {more} more repositories"),
        };
        lines.push(format!("serves: {more}"));
    }
    if let Some(prefix) = server.chart_prefix() {
        lines.push(format!("chart:  --set imageCredentials.registry={host}{prefix}"));
    }
    lines
}

/// Reloads the files. If a file has an error, nothing changes.
fn reload(reloader: &Reloader, log: Option<&LogFile>, events: &dyn EventSink) {
    if let Err(error) = reloader.reload() {
        let failure = Failure::from_error(Kind::Usage, &error);
        let reasons: Vec<String> = std::iter::once(failure.message).chain(failure.causes).collect();
        warn(events, format!("cannot reload: {}; the previous version stays in use", reasons.join(": ")));
    }
    if let Some(Err(failure)) = log.map(LogFile::reopen) {
        warn(events, failure.message);
    }
}

/// An access log in a file.
struct LogFile {
    path: PathBuf,
    file: Mutex<File>,
}

impl LogFile {
    fn open(path: &Path) -> Result<Self, Failure> {
        Ok(Self { path: path.to_owned(), file: Mutex::new(open_to_append(path)?) })
    }

    /// Continues in a new file if the old file was moved.
    fn reopen(&self) -> Result<(), Failure> {
        let file = open_to_append(&self.path)?;
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
        Ok(())
    }

    fn write(&self, line: &str) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk must not stop the registry: only log lines are lost.
        let _ = file.write_all(format!("{}\n", escape(line)).as_bytes());
    }
}

fn open_to_append(path: &Path) -> Result<File, Failure> {
    OpenOptions::new().create(true).append(true).open(path).map_err(|error| {
        Failure::new(Kind::Usage, format!("cannot write the access log {}: {error}", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_text_is_not_missing_bug() {
        let hint = |kind: io::ErrorKind| {
            let (path, source) = (PathBuf::from("users"), kind.into());
            failure(&ServeError::Users(UsersError::Unreadable { path, source }), &[]).hint.unwrap()
        };
        assert_eq!(hint(io::ErrorKind::InvalidData), "check that it is the right file");
        assert!(hint(io::ErrorKind::NotFound).starts_with("check that the file exists"));
    }
}
