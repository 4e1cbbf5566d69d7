//! A real registry: CNCF distribution as Debian packages it (`docker-registry`), one process per test.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::Stdio,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{Address, is_request, programs, storage::Storage, tls::Authority, token_server::TokenServer};

/// The timeout for the first answer of a registry, on a machine that is busy with other tests.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Options of a registry. The default: http, no login, deletion enabled.
#[derive(Debug, Default)]
pub struct Options<'a> {
    authority: Option<&'a Authority>,
    auth: Option<Value>,
    htpasswd: Option<String>,
    asks_for_certificate: bool,
    clients: Option<&'a Authority>,
    ipv6: bool,
}

impl<'a> Options<'a> {
    /// Serves https with a certificate of this authority.
    #[must_use]
    pub fn tls(self, authority: &'a Authority) -> Self {
        Self { authority: Some(authority), ..self }
    }

    /// Serves https with a certificate of this authority, to clients that show a certificate of the same authority.
    #[must_use]
    pub fn mutual_tls(self, authority: &'a Authority) -> Self {
        Self { authority: Some(authority), asks_for_certificate: true, ..self }
    }

    /// The same, with another authority for the certificates of clients.
    #[must_use]
    pub fn mutual_tls_for(self, authority: &'a Authority, clients: &'a Authority) -> Self {
        Self { clients: Some(clients), ..self.mutual_tls(authority) }
    }

    /// Listens on `[::1]`.
    #[must_use]
    pub fn ipv6(self) -> Self {
        Self { ipv6: true, ..self }
    }

    /// Asks for this user and password (Basic), for everything.
    #[must_use]
    pub fn htpasswd(self, user: &str, password: &str) -> Self {
        const CHEAPEST: u32 = 4;
        let hash = bcrypt::hash(password, CHEAPEST).unwrap();
        Self { htpasswd: Some(format!("{user}:{hash}\n")), ..self }
    }

    /// Sends clients to this token server (Bearer) and trusts its tokens.
    #[must_use]
    pub fn tokens(self, server: &TokenServer) -> Self {
        Self { auth: Some(json!({ "token": server.registry_configuration() })), ..self }
    }
}

/// One answered request, from the registry's access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedRequest {
    /// `GET`, `HEAD`, …
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The answer's status.
    pub status: u16,
    /// The `User-Agent` header.
    pub user_agent: String,
}

/// A running registry. Its process and its files go when it is dropped.
#[derive(Debug)]
pub struct Registry {
    address: Address,
    // Before the folder: fields are dropped in this order.
    process: Child,
    folder: TempDir,
    client: reqwest::Client,
    markers: AtomicUsize,
    cleared: AtomicUsize,
}

impl Registry {
    /// Starts an open registry on a free port.
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    /// Starts a registry on a free port.
    pub async fn start_with(options: Options<'_>) -> Self {
        // Between finding a free port and listening on it, another process may take it.
        for _ in 0..10 {
            if let Some(registry) = Self::try_start(&options).await {
                return registry;
            }
        }
        panic!("docker-registry found every port taken");
    }

    async fn try_start(options: &Options<'_>) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let loopback = if options.ipv6 { "[::1]:0" } else { "127.0.0.1:0" };
        let listen = TcpListener::bind(loopback)
            .unwrap_or_else(|error| panic!("this machine has no loopback address for {loopback}: {error}"))
            .local_addr()
            .unwrap();
        fs::write(folder.path().join("config.json"), configuration(options, folder.path(), listen)).unwrap();
        let process = spawn(folder.path());
        let address = Address {
            host_port: listen.to_string(),
            plain_http: options.authority.is_none(),
            authority: options.authority.map(Authority::certificate_file),
        };
        let client = match options.authority.filter(|_| options.asks_for_certificate) {
            Some(authority) => address.http_client_with(options.clients.unwrap_or(authority)),
            None => address.http_client(),
        };
        let (markers, cleared) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let mut registry = Self { address, process, folder, client, markers, cleared };
        registry.answers().await.then_some(registry)
    }

    /// Waits until this process answers, not another one on its port. Returns false if the port was taken.
    async fn answers(&mut self) -> bool {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                let log = self.error_log();
                assert!(log.contains("address already in use"), "docker-registry {status}: {log}");
                return false;
            }
            let marker = self.send_marker().await;
            if marker.is_some_and(|marker| self.log_lines().iter().any(|line| line.contains(&marker))) {
                return true;
            }
            assert!(Instant::now() < deadline, "docker-registry does not answer: {}", self.error_log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends the process and starts another one on the same port, over the same files.
    ///
    /// Requests in flight may end first: CNCF distribution writes some files in place and never recovers from half a
    /// manifest, so killing it would test its storage, not its clients.
    pub async fn restart(&mut self) {
        let id = self.process.id().expect("docker-registry has ended");
        kill_process(Pid::from_raw(id.cast_signed()).unwrap(), Signal::TERM).unwrap();
        self.process.wait().await.unwrap();
        let deadline = Instant::now() + TIMEOUT;
        loop {
            self.process = spawn(self.folder.path());
            if self.answers().await {
                return;
            }
            // An outgoing connection has the port for a moment.
            assert!(Instant::now() < deadline, "{} stays taken", self.address.host_port);
        }
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Its files.
    pub fn storage(&self) -> Storage {
        Storage::new(self.folder.path())
    }

    /// What it printed on stderr.
    pub fn error_log(&self) -> String {
        fs::read_to_string(self.folder.path().join("error.log")).unwrap()
    }

    /// All requests since the start or since [`Registry::clear_requests`].
    ///
    /// A request is logged when its handler returns, so a marker request that is sent now is logged after all earlier
    /// ones.
    pub async fn requests(&self) -> Vec<LoggedRequest> {
        let all = self.all_requests().await;
        all[self.cleared.load(Ordering::SeqCst)..].to_vec()
    }

    /// How many of [`Registry::requests`] have this method (any, if empty) and this text in their path (`"PUT", "/manifests/"`).
    pub async fn count(&self, method: &str, path: &str) -> usize {
        let requests = self.requests().await;
        requests.iter().filter(|request| is_request((&request.method, &request.path), method, path)).count()
    }

    /// Forgets the requests so far.
    pub async fn clear_requests(&self) {
        let all = self.all_requests().await;
        self.cleared.store(all.len(), Ordering::SeqCst);
    }

    async fn all_requests(&self) -> Vec<LoggedRequest> {
        let deadline = Instant::now() + TIMEOUT;
        let marker = self.send_marker().await.expect("docker-registry no longer answers");
        loop {
            let lines = self.log_lines();
            if lines.iter().any(|line| line.contains(&marker)) {
                return lines.iter().filter(|line| !line.contains(MARKER)).map(|line| parse(line)).collect();
            }
            assert!(Instant::now() < deadline, "{marker} is not in docker-registry's log");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Sends a request that can be recognized in the log and returns the text to look for.
    async fn send_marker(&self) -> Option<String> {
        let marker = format!("{MARKER}{}.", self.markers.fetch_add(1, Ordering::SeqCst));
        let request = self.client.get(format!("{}/v2/?{marker}", self.address.url())).timeout(TIMEOUT);
        request.send().await.is_ok().then_some(marker)
    }

    /// The complete lines of the access log.
    fn log_lines(&self) -> Vec<String> {
        let log = fs::read_to_string(self.folder.path().join("access.log")).unwrap();
        log.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
    }
}

const MARKER: &str = "test-marker=";

/// Starts a process over a folder that holds its configuration.
fn spawn(folder: &Path) -> Child {
    let append = |name: &str| {
        let file = File::options().create(true).append(true).open(folder.join(name)).unwrap();
        Stdio::from(file)
    };
    // Only its own output shows whether its port was taken.
    let error_log = File::create(folder.join("error.log")).unwrap();
    Command::new(programs::find("THORAS_MIRROR_TEST_REGISTRY", "docker-registry"))
        .arg("serve")
        .arg(folder.join("config.json"))
        .stdin(Stdio::null())
        .stdout(append("access.log"))
        .stderr(error_log)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// The configuration file: JSON, which is valid YAML.
fn configuration(options: &Options<'_>, folder: &Path, listen: SocketAddr) -> String {
    let mut configuration = json!({
        "version": "0.1",
        "log": { "level": "error", "accesslog": { "disabled": false } },
        "storage": { "filesystem": { "rootdirectory": folder }, "delete": { "enabled": true } },
        "http": { "addr": listen.to_string(), "draintimeout": "2s" },
    });
    if let Some(authority) = options.authority {
        configuration["http"]["tls"] = json!({
            "certificate": authority.server_certificate_file(),
            "key": authority.server_key_file(),
        });
        if options.asks_for_certificate {
            configuration["http"]["tls"]["clientcas"] =
                json!([options.clients.unwrap_or(authority).certificate_file()]);
        }
    }
    if let Some(auth) = &options.auth {
        configuration["auth"] = auth.clone();
    }
    if let Some(htpasswd) = &options.htpasswd {
        let path = folder.join("htpasswd");
        fs::write(&path, htpasswd).unwrap();
        configuration["auth"] = json!({ "htpasswd": { "realm": "test", "path": path } });
    }
    configuration.to_string()
}

/// Reads a line of the combined log format: `… "METHOD PATH HTTP/1.1" STATUS SIZE "REFERRER" "USER AGENT"`.
fn parse(line: &str) -> LoggedRequest {
    let quoted: Vec<&str> = line.split('"').collect();
    let (request, numbers, user_agent) = (quoted[1], quoted[2], quoted[5]);
    let mut words = request.split(' ');
    LoggedRequest {
        method: words.next().unwrap().to_owned(),
        path: words.next().unwrap().to_owned(),
        status: numbers.split_whitespace().next().unwrap().parse().unwrap(),
        user_agent: user_agent.to_owned(),
    }
}
