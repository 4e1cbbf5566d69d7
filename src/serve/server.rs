//! Connections: accepts them up to the limit, handles TLS, and shuts down gracefully.

use std::{io, net::SocketAddr, path::PathBuf, pin::pin, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_io_timeout::TimeoutStream;

use super::{
    ServeError,
    options::{Limits, Names, Options},
    service::Registry,
    session::Sessions,
    storage::{FolderStorage, LayoutStorage, Storage, StorageError, is_layout},
    tls::Tls,
    users::Users,
};

/// The pause after a connection could not be accepted (for example, without a free file handle).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listening registry. Connections wait until [`Server::run`] is called.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<Tls>>,
    registry: Arc<Registry>,
}

/// Reloads certificates and users while the registry runs.
#[derive(Debug, Clone)]
pub struct Reloader {
    tls: Option<Arc<Tls>>,
    users: Option<Arc<Users>>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Reloader {
    /// Reloads all files. If any file has an error, nothing changes. Blocks briefly.
    pub fn reload(&self) -> Result<(), ServeError> {
        let tls = self.tls.as_ref().map(|tls| tls.read_again().map(|config| (tls, config))).transpose()?;
        let users =
            self.users.as_ref().map(|users| users.read_again().map(|table| (users, table))).transpose()?;
        if let Some((tls, config)) = tls {
            tls.replace(config);
        }
        if let Some((users, table)) = users {
            users.replace(table);
        }
        Ok(())
    }
}

impl Server {
    /// Opens the storage, the certificate and user files, and the port.
    pub async fn bind(options: Options) -> Result<Self, ServeError> {
        let Options { paths, names, listen, writable, tls, users, limits, access_log } = options;
        let open = move || -> Result<_, ServeError> {
            let tls = tls.map(Tls::open).transpose()?.map(Arc::new);
            let users = users.map(Users::open).transpose()?.map(Arc::new);
            Ok((tls, users, open_storage(&paths, &names, writable)?))
        };
        let opened = tokio::task::spawn_blocking(open).await;
        let (tls, users, (storage, pushes)) =
            opened.map_err(|error| ServeError::Thread(io::Error::other(error)))??;
        let not_listening = |source| ServeError::Listen { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(not_listening)?;
        let address = listener.local_addr().map_err(not_listening)?;
        let registry = Registry {
            pushes,
            storage: Arc::new(storage),
            sessions: Sessions::default(),
            users,
            limits,
            access_log,
        };
        Ok(Self { listener, address, tls, registry: Arc::new(registry) })
    }

    /// The address that it listens on, with the actual port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it serves HTTPS.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether clients may push and delete.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.registry.pushes.is_some()
    }

    /// The number of blobs that cannot be pulled because the bundle is a delta and leaves them out.
    #[must_use]
    pub fn left_out(&self) -> usize {
        self.registry.storage.left_out()
    }

    /// The reloader of certificates and users.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        Reloader { tls: self.tls.clone(), users: self.registry.users.clone() }
    }

    /// Serves until `shutdown` completes; then accepts no new connections, lets requests in flight continue for
    /// [`Limits::shutdown_time`](super::Limits), and returns. Removes idle uploads meanwhile.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { listener, tls, registry, .. } = self;
        let limits = registry.limits;
        let graceful = GracefulShutdown::new();
        let slots = Arc::new(Semaphore::new(limits.connections));
        let mut tasks = JoinSet::new();
        let mut sweeps = interval((limits.idle_upload_time / 4).max(Duration::from_millis(10)));
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                accepted = accept(&listener, &slots) => match accepted {
                    Ok((stream, peer, slot)) => {
                        let connection = Connection { registry: Arc::clone(&registry), peer, _slot: slot };
                        tasks.spawn(connection.serve(stream, tls.clone(), graceful.watcher()));
                    }
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                },
                _ = sweeps.tick() => {
                    let registry = Arc::clone(&registry);
                    tasks.spawn(async move { registry.sweep_uploads().await });
                }
                Some(_) = tasks.join_next() => {}
            }
        }
        drop(listener);
        // Connections that outlive the grace period are cut: their uploads were never acknowledged.
        let _ = timeout(limits.shutdown_time, graceful.shutdown()).await;
        tasks.shutdown().await;
    }
}

/// Opens the storage, and the folder for pushes if it is writable.
fn open_storage(
    paths: &[PathBuf],
    names: &Names,
    writable: bool,
) -> Result<(Storage, Option<Arc<FolderStorage>>), StorageError> {
    let folder = match paths {
        [folder] if !is_layout(folder) => folder,
        _ => return Ok((Storage::Layout(Box::new(LayoutStorage::open(paths, names)?)), None)),
    };
    let folder =
        if writable { FolderStorage::open_writable(folder)? } else { FolderStorage::open_read_only(folder)? };
    let folder = Arc::new(folder);
    Ok((Storage::Folder(Arc::clone(&folder)), writable.then_some(folder)))
}

/// The next connection, once the limit permits it.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, slot))
}

/// An accepted connection.
struct Connection {
    registry: Arc<Registry>,
    peer: SocketAddr,
    /// Its share of the limit, released when the connection ends.
    _slot: OwnedSemaphorePermit,
}

impl Connection {
    /// Serves the connection to its end. Errors (a reset, a malformed request) concern only the client.
    async fn serve(self, stream: TcpStream, tls: Option<Arc<Tls>>, watcher: Watcher) {
        // Responses are written at once: waiting for more data (Nagle) would only delay them.
        let _ = stream.set_nodelay(true);
        match tls {
            None => self.answer(stream, watcher).await,
            Some(tls) => {
                let handshake = tls.acceptor().accept(stream);
                if let Ok(Ok(stream)) = timeout(self.registry.limits.head_time, handshake).await {
                    self.answer(stream, watcher).await;
                }
            }
        }
    }

    async fn answer(self, stream: impl AsyncRead + AsyncWrite + Send + 'static, watcher: Watcher) {
        let Limits { head_bytes, header_lines, head_time, stall_time, .. } = self.registry.limits;
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(stall_time));
        let service = service_fn(|request| Arc::clone(&self.registry).serve(request, self.peer));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(head_time)
            .max_headers(header_lines)
            .max_header_size(head_bytes)
            .serve_connection(TokioIo::new(Box::pin(stream)), service);
        let _ = watcher.watch(connection).await;
    }
}
