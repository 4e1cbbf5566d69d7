//! Connections: accepts them up to the limit, handles TLS, and shuts down gracefully.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    path::PathBuf,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::{Id, JoinSet},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_io_timeout::TimeoutStream;

use super::{
    ServeError,
    admission::{Admission, MakeRoom},
    checked_blobs::CheckedBlobs,
    client::Client,
    clock,
    large_work::LargeWork,
    manifests::PARSED_KIB_AT_ONCE,
    options::{Limits, Names, Options},
    service::Registry,
    session::Sessions,
    storage::{FolderStorage, LayoutStorage, MARKER, Storage, StorageError, is_layout},
    tls::Tls,
    users::Users,
};

use crate::endpoint::bundle::{IndexSignature, why_not_a_layout};

/// The pause after a connection could not be accepted (for example, without a free file handle).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listening registry. Connections wait until [`Server::run`] is called.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<Tls>>,
    registry: Arc<Registry>,
}

/// Repositories of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The first repositories, each with its tags.
    pub shown: Vec<(String, Vec<String>)>,
    /// The number of all repositories, as far as they were counted: at most [`Server::MAX_COUNTED`].
    pub all: usize,
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
    /// The most repositories that [`Server::contents`] counts: a folder of many is not walked through to the end just to
    /// be described.
    pub const MAX_COUNTED: usize = 1_000;

    /// Opens the storage, the certificate and user files, and the port.
    pub async fn bind(options: Options) -> Result<Self, ServeError> {
        let Options {
            paths,
            names,
            signature,
            listen,
            writable,
            allow_sparse,
            tls,
            users,
            limits,
            access_log,
        } = options;
        clock::check(SystemTime::now())?;
        let open = move || -> Result<_, ServeError> {
            let tls = tls.map(Tls::open).transpose()?.map(Arc::new);
            let users = users.map(Users::open).transpose()?.map(Arc::new);
            Ok((tls, users, open_storage(&paths, &names, writable, signature.as_ref())?))
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
            allow_sparse,
            checked_blobs: CheckedBlobs::default(),
            large_work: LargeWork::start().map_err(ServeError::Thread)?,
            manifest_memory: Arc::new(Semaphore::new(PARSED_KIB_AT_ONCE)),
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

    /// The first repositories that it serves, at most `most`. Blocks.
    pub fn contents(&self, most: usize) -> io::Result<Listing> {
        let storage = &self.registry.storage;
        let names = storage.repositories(most.max(Self::MAX_COUNTED))?;
        let shown = names.iter().take(most).map(|name| {
            let tags = storage.tags(name)?;
            Ok((name.to_string(), tags.iter().map(ToString::to_string).collect()))
        });
        Ok(Listing { shown: shown.collect::<io::Result<_>>()?, all: names.len() })
    }

    /// The path (empty or with a leading slash) that the vendor's chart needs after this registry's address in
    /// `imageCredentials.registry`, as far as that is known. Blocks.
    #[must_use]
    pub fn chart_prefix(&self) -> Option<String> {
        self.registry.storage.chart_prefix()
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
        let (stop, stopped) = watch::channel(());
        let mut admission = Admission::new(limits.connections);
        let mut tasks = JoinSet::new();
        let mut clients: HashMap<Id, Client> = HashMap::new();
        let shortest = limits.idle_upload_time.min(limits.empty_upload_time);
        let mut sweeps = interval((shortest / 4).max(Duration::from_millis(10)));
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                accepted = listener.accept() => match accepted {
                    // If too many connections wait, one is dropped and thereby closed.
                    Ok((stream, peer)) => drop(admission.arrive(Client::at(peer), (stream, peer))),
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                },
                _ = sweeps.tick() => {
                    let registry = Arc::clone(&registry);
                    tasks.spawn(async move { registry.sweep_uploads().await });
                }
                Some(ended) = tasks.join_next_with_id() => {
                    let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                    if let Some(client) = clients.remove(&id) {
                        admission.leave(client);
                    }
                }
            }
            while let Some((client, (stream, peer), make_room)) = admission.admit() {
                let connection = Connection::new(&registry, peer, make_room, stopped.clone());
                let connection = clock::while_usable(SystemTime::now, connection.serve(stream, tls.clone()));
                clients.insert(tasks.spawn(connection).id(), client);
            }
            admission.make_room();
        }
        drop(listener);
        admission.dismiss_waiting();
        stop.send_replace(());
        // Connections that outlive the grace period are cut: their uploads were never acknowledged.
        let ending = async { while tasks.join_next().await.is_some() {} };
        let _ = timeout(limits.shutdown_time, ending).await;
        tasks.shutdown().await;
    }
}

/// Opens the storage, and the folder for pushes if it is writable.
fn open_storage(
    paths: &[PathBuf],
    names: &Names,
    writable: bool,
    signed: Option<&IndexSignature>,
) -> Result<(Storage, Option<Arc<FolderStorage>>), StorageError> {
    let folder = match paths {
        [folder] if !is_layout(folder) => folder,
        _ => return Ok((Storage::Layout(Box::new(LayoutStorage::open(paths, names, signed)?)), None)),
    };
    if !folder.join(MARKER).exists()
        && let Some(error) = why_not_a_layout(folder)
    {
        return Err(error.into());
    }
    let folder =
        if writable { FolderStorage::open_writable(folder)? } else { FolderStorage::open_read_only(folder)? };
    let folder = Arc::new(folder);
    Ok((Storage::Folder(Arc::clone(&folder)), writable.then_some(folder)))
}

/// An accepted connection.
struct Connection {
    registry: Arc<Registry>,
    peer: SocketAddr,
    /// Whether its first request has begun.
    has_request: AtomicBool,
    make_room: MakeRoom,
    stopped: watch::Receiver<()>,
}

/// Why a connection should end soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EndSoon {
    /// Another client waits.
    MakeRoom,
    /// The registry shuts down.
    Shutdown,
}

impl Connection {
    fn new(
        registry: &Arc<Registry>,
        peer: SocketAddr,
        make_room: MakeRoom,
        stopped: watch::Receiver<()>,
    ) -> Self {
        let registry = Arc::clone(registry);
        Self { registry, peer, has_request: AtomicBool::new(false), make_room, stopped }
    }

    /// Serves the connection to its end. Errors (a reset, a malformed request) concern only the client.
    async fn serve(mut self, stream: TcpStream, tls: Option<Arc<Tls>>) {
        // Responses are written at once: waiting for more data (Nagle) would only delay them.
        let _ = stream.set_nodelay(true);
        match tls {
            None => self.answer(stream).await,
            Some(tls) => {
                let handshake = timeout(self.registry.limits.head_time, tls.acceptor().accept(stream));
                let accepted = tokio::select! {
                    accepted = handshake => accepted,
                    _ = self.make_room.changed() => return,
                };
                if let Ok(Ok(stream)) = accepted {
                    self.answer(stream).await;
                }
            }
        }
    }

    async fn answer(self, stream: impl AsyncRead + AsyncWrite + Send + 'static) {
        let Self { registry, peer, has_request, mut make_room, mut stopped } = self;
        let Limits { head_bytes, header_lines, head_time, stall_time, .. } = registry.limits;
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(stall_time));
        let service = service_fn(|request| {
            has_request.store(true, Ordering::Relaxed);
            Arc::clone(&registry).serve(request, peer)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(head_time)
            .max_headers(header_lines)
            .max_header_size(head_bytes)
            .serve_connection(TokioIo::new(Box::pin(stream)), service);
        let mut connection = pin!(connection);
        let reason = tokio::select! {
            _ = connection.as_mut() => return,
            _ = make_room.changed() => EndSoon::MakeRoom,
            _ = stopped.changed() => EndSoon::Shutdown,
        };
        // A silent client loses nothing.
        if reason == EndSoon::MakeRoom && !has_request.load(Ordering::Relaxed) {
            return;
        }
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}
