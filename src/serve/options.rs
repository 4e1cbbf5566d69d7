//! Options: what to serve, at which address, to which users, and the limits for clients.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use super::access_log::AccessLog;
use crate::{
    endpoint::bundle::IndexSignature,
    oci::{manifest::MAX_MANIFEST_SIZE, mapping::Naming},
};

/// The usual port of registries.
const DEFAULT_PORT: u16 = 5000;

/// What to serve, and where.
#[derive(Clone)]
pub struct Options {
    /// A folder of this registry; or, read-only, a bundle: an OCI image layout as a tar, a folder, or volumes (only
    /// volumes may be several paths). A writable folder is created (mode 0700) if it does not exist.
    pub paths: Vec<PathBuf>,
    /// How the repositories of a bundle are named.
    pub names: Names,
    /// The signature that the bundle must have, if any.
    pub signature: Option<IndexSignature>,
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Whether clients may push and delete, if the storage supports it.
    pub writable: bool,
    /// Whether a manifest may be pushed although some of the manifests and blobs that it references are missing.
    pub allow_sparse: bool,
    /// The certificate for HTTPS; `None` serves HTTP.
    pub tls: Option<TlsFiles>,
    /// The users who may log in; `None` permits anonymous access.
    pub users: Option<UserFile>,
    /// The limits for clients.
    pub limits: Limits,
    /// Called for every request.
    pub access_log: Option<AccessLog>,
}

/// How the repositories of a bundle are named: like those of a mirror, so that charts find their images.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// The naming rule; by default that of the export, else relative.
    pub naming: Option<Naming>,
    /// The prefix that relative naming removes; by default the vendor's, else the prefix that all images share.
    pub source_prefix: Option<String>,
}

/// The certificate files, read at startup and on every reload ([`super::Reloader`]).
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The server's certificate followed by intermediate certificates, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM, not encrypted.
    pub key: PathBuf,
}

/// The file of users, read at startup and on every reload ([`super::Reloader`]).
#[derive(Debug, Clone)]
pub struct UserFile {
    /// Lines of `NAME:BCRYPT`, as `htpasswd -B` writes them.
    pub htpasswd: PathBuf,
    /// The users who may push and delete; if empty, all users in the file.
    pub pushers: Vec<String>,
}

/// Limits for clients, so that no client can exhaust the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections served at once: 512. Further connections wait. One address gets at most three quarters of them (if
    /// there are at least four), and a waiting address that has fewer connections than another goes first.
    pub connections: usize,
    /// Bytes of a request's head: 64 KiB, at least 8 KiB. A longer head is answered with 431.
    pub head_bytes: usize,
    /// Header lines of a request: 100. More are answered with 431.
    pub header_lines: usize,
    /// Bytes of a manifest: 8 MiB, the most that this program reads; the specification requires at least 4 MiB. A
    /// larger manifest is answered with 413.
    pub manifest_bytes: usize,
    /// Bytes of a blob: unlimited. A larger blob is answered with 413, and a full disk with 507.
    pub blob_bytes: u64,
    /// Open uploads: 10,000. Opening more is answered with 429.
    pub open_uploads: usize,
    /// Open uploads of one address: 1,000. Opening more is answered with 429.
    pub open_uploads_per_client: usize,
    /// How long a TLS handshake, or a request's head, may take, and how long a connection may wait for its next
    /// request: 30 seconds. Then it is closed.
    pub head_time: Duration,
    /// How long a body may stall in either direction: 60 seconds. Less than 16 KiB in that time is a stall, so a client
    /// cannot keep a connection alive with single bytes. The request is then answered with 408 and the connection
    /// closed.
    pub stall_time: Duration,
    /// How long the rest of a refused request is read, so that its sender sees the refusal: 5 seconds.
    pub refused_body_time: Duration,
    /// How long an idle upload is kept: 15 minutes. Then its bytes are removed.
    pub idle_upload_time: Duration,
    /// How long an idle upload without any bytes is kept: one minute. Some clients open uploads that they never use.
    pub empty_upload_time: Duration,
    /// How long requests in flight may continue after shutdown begins: 10 seconds.
    pub shutdown_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            head_bytes: 64 * 1024,
            header_lines: 100,
            manifest_bytes: MAX_MANIFEST_SIZE,
            blob_bytes: u64::MAX,
            open_uploads: 10_000,
            open_uploads_per_client: 1_000,
            head_time: Duration::from_secs(30),
            stall_time: Duration::from_secs(60),
            refused_body_time: Duration::from_secs(5),
            idle_upload_time: Duration::from_secs(15 * 60),
            empty_upload_time: Duration::from_secs(60),
            shutdown_time: Duration::from_secs(10),
        }
    }
}

impl Options {
    /// Pull and push over `path` for anyone, on the loopback interface and the usual port, without TLS and without an
    /// access log.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::over(vec![path.into()])
    }

    /// The same over the files of one bundle.
    #[must_use]
    pub fn over(paths: Vec<PathBuf>) -> Self {
        Self {
            paths,
            names: Names::default(),
            signature: None,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)),
            writable: true,
            allow_sparse: false,
            tls: None,
            users: None,
            limits: Limits::default(),
            access_log: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Options")
            .field("paths", &self.paths)
            .field("names", &self.names)
            .field("signature", &self.signature)
            .field("listen", &self.listen)
            .field("writable", &self.writable)
            .field("allow_sparse", &self.allow_sparse)
            .field("tls", &self.tls)
            .field("users", &self.users)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
