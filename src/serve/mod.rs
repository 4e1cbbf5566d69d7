//! A registry over a folder: pull and push, with nothing to install.
//!
//! It speaks the OCI distribution specification 1.1: pulling, pushing, content discovery and content
//! management, over plain HTTP/1.1, on the loopback interface unless told otherwise. A request passes through
//!
//! - `service`: method and endpoint, the access log; `routes`, `names` and `range` parse, purely;
//! - `blobs`, `uploads` (with `session`), `manifests`, `discovery`: one module per workflow of the
//!   specification, each a part of `service::Registry`;
//! - `storage`: what is served; the layout of a writable folder is described in `storage::folder`.
//!
//! What holds whatever happens:
//!
//! 1. Bytes that do not match their digest are never visible: an upload is a private file, hashed once as it
//!    arrives, synced, and renamed into place when its digest matches.
//! 2. A manifest is accepted only when its blobs or manifests are in the same repository (foreign layers and
//!    subjects apart), and a tag moves last, atomically.
//! 3. What was answered with success survives a crash. Upload sessions do not: they are swept at start.
//! 4. No request and no symbolic link leads out of the folder.
//! 5. Memory does not grow with a blob: two pieces of 256 KiB a transfer, beside the connection's buffers.

mod blobs;
mod body;
mod discovery;
#[doc(hidden)]
pub mod fuzzing;
mod manifests;
mod names;
mod range;
mod response;
mod routes;
mod service;
mod session;
mod storage;
mod uploads;

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use http::{Method, StatusCode};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::{rt::TokioIo, server::graceful::GracefulShutdown};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

pub use self::storage::StorageError;
use self::{
    service::Registry,
    session::Sessions,
    storage::{FolderStorage, Storage},
};

/// The port that registries listen on by custom.
pub const DEFAULT_PORT: u16 = 5000;

/// How long requests in flight may go on after the shutdown began.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// How long to wait before the next try when a connection could not be accepted (no file handle is left, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Called once for each request, before the client can have seen the answer's last byte.
pub type AccessLog = Arc<dyn Fn(&AccessRecord) + Send + Sync>;

/// What to serve, and where.
#[derive(Clone)]
pub struct Options {
    /// The folder. Served writable, it is created (mode 0700) when it does not exist.
    pub root: PathBuf,
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Whether clients may push and delete.
    pub writable: bool,
    /// Told about every request.
    pub access_log: Option<AccessLog>,
}

impl Options {
    /// Pull and push over `root`, on the loopback interface and the customary port, without an access log.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)),
            writable: true,
            access_log: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Options")
            .field("root", &self.root)
            .field("listen", &self.listen)
            .field("writable", &self.writable)
            .finish_non_exhaustive()
    }
}

/// One request, as the access log shows it. `Display` is one line, with control characters escaped.
#[derive(Debug, Clone)]
pub struct AccessRecord {
    /// The client's address.
    pub peer: SocketAddr,
    /// The request's method.
    pub method: Method,
    /// The request's path, as it was sent.
    pub path: String,
    /// The request's query, as it was sent, without the question mark.
    pub query: Option<String>,
    /// The repository, if the path names one.
    pub repository: Option<String>,
    /// The answer's status.
    pub status: StatusCode,
    /// Bytes of the request's body that arrived.
    pub received: u64,
    /// Bytes of the answer's body. They are counted before they are sent: the client may have hung up.
    pub sent: u64,
    /// From the request's head to the answer's head.
    pub elapsed: Duration,
}

impl fmt::Display for AccessRecord {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { peer, method, path, query, status, received, sent, elapsed, .. } = self;
        write!(formatter, "{peer} {method} {}", path.escape_debug())?;
        if let Some(query) = query {
            write!(formatter, "?{}", query.escape_debug())?;
        }
        let milliseconds = elapsed.as_millis();
        write!(formatter, " {} {received} in {sent} out {milliseconds} ms", status.as_u16())
    }
}

/// Why a registry cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The folder cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: is the port taken, or the address not this machine's?")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The thread that opens the folder died.
    #[error("the folder could not be opened")]
    Thread(#[source] io::Error),
}

/// A registry that listens. It answers from [`Server::run`] on; until then connections wait.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    registry: Arc<Registry>,
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Server {
    /// Opens the folder and the port.
    pub async fn bind(options: Options) -> Result<Self, ServeError> {
        let Options { root, listen, writable, access_log } = options;
        let open = move || {
            if writable { FolderStorage::open_writable(&root) } else { FolderStorage::open_read_only(&root) }
        };
        let folder = tokio::task::spawn_blocking(open)
            .await
            .map_err(|error| ServeError::Thread(io::Error::other(error)))??;
        let not_listening = |source| ServeError::Listen { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(not_listening)?;
        let address = listener.local_addr().map_err(not_listening)?;
        let folder = Arc::new(folder);
        let registry = Registry {
            pushes: writable.then(|| Arc::clone(&folder)),
            storage: Arc::new(Storage::Folder(folder)),
            sessions: Sessions::default(),
            access_log,
        };
        Ok(Self { listener, address, registry: Arc::new(registry) })
    }

    /// Where it listens, the port that was picked included.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `shutdown` completes; then takes no new connections, lets requests in flight go on for ten
    /// seconds, and ends.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { listener, registry, .. } = self;
        let graceful = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        connections.spawn(serve_connection(Arc::clone(&registry), stream, peer, &graceful));
                    }
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
        drop(listener);
        // Connections that outlive the grace are cut: their uploads were never acknowledged.
        let _ = tokio::time::timeout(SHUTDOWN_GRACE, graceful.shutdown()).await;
        connections.shutdown().await;
    }
}

/// Serves one connection to its end. What ends it early (a reset, a malformed request) is the client's affair.
fn serve_connection(
    registry: Arc<Registry>,
    stream: TcpStream,
    peer: SocketAddr,
    graceful: &GracefulShutdown,
) -> impl Future<Output = ()> + Send + 'static {
    // Answers are written whole: waiting for more to send with them only delays them.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| Arc::clone(&registry).serve(request, peer));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let connection = graceful.watch(connection);
    async move {
        let _ = connection.await;
    }
}
