//! A registry over a folder or a bundle: pull and push, with nothing to install.
//!
//! It implements the OCI distribution specification 1.1 (pulling, pushing, content discovery and content management)
//! over HTTP/1.1, with or without TLS, by default on the loopback interface. A request passes through
//!
//! - `server`: the connection, its limits ([`Limits`]) and `tls`; `admission` decides which connection is next;
//! - `service`: `users`, method and endpoint, the access log; `routes`, `names` and `range` parse, without I/O;
//! - `blobs`, `uploads` (with `session`), `manifests`, `discovery`: a module per workflow of the specification, each a
//!   part of `service::Registry`;
//! - `storage`: the served content. `storage::folder` describes the layout of a writable folder; `storage::layout`
//!   reads a bundle without unpacking it.
//!
//! Invariants:
//!
//! 1. Bytes that do not match their digest are never visible: an upload is a private file that is hashed as it arrives,
//!    synced, and renamed into place if its digest matches.
//! 2. A manifest is accepted only if its blobs or manifests are in the same repository (except foreign layers and
//!    subjects), and tags move last, atomically.
//! 3. Every acknowledged change survives a crash. Upload sessions do not: they are removed at startup, and after being
//!    idle for too long.
//! 4. No request and no symbolic link leads out of the folder.
//! 5. Memory does not grow with a blob, a manifest or a list: two pieces of 256 KiB for each transfer, and the
//!    connection's buffers. Pushed manifests wait in files (`spool`); few are parsed at once. Lists have `pages`.
//! 6. Content from a bundle is hashed on its way out, and the connection is cut before its last piece if it is damaged.
//!    Before the first range of a blob, the whole blob is hashed (`checked_blobs`).
//! 7. With `users`, a request without a correct password gets only the challenge, and no password appears in a log.

mod access_log;
mod admission;
mod blobs;
mod body;
mod checked_blobs;
mod client;
mod clock;
mod conditions;
mod discovery;
pub(crate) mod fuzzing;
mod htpasswd;
mod large_work;
mod manifests;
mod names;
mod options;
mod pages;
mod range;
mod response;
mod routes;
mod server;
mod service;
mod session;
mod spool;
mod storage;
mod tls;
mod uploads;
mod users;

use std::{io, net::SocketAddr};

pub use self::{
    access_log::{AccessLog, AccessRecord},
    htpasswd::{HtpasswdError, LineProblem},
    options::{Limits, Names, Options, TlsFiles, UserFile},
    server::{Listing, Reloader, Server},
    storage::StorageError,
    tls::TlsError,
    users::UsersError,
};

/// Why a registry cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The folder cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The users cannot be read.
    #[error(transparent)]
    Users(#[from] UsersError),
    /// The port may be in use, or the address may not belong to this machine.
    #[error("cannot listen on {address}")]
    Listen {
        /// The requested address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The machine's clock is so wrong that it cannot be written into a response.
    #[error("this machine's clock is not between the years 1970 and 9999")]
    Clock,
    /// The thread that opens the folder died.
    #[error("the folder could not be opened")]
    Thread(#[source] io::Error),
}
