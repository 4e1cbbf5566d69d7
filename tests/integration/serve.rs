//! The registry over a folder, used over HTTP by these tests, by skopeo and by the oci-client crate.
//!
//! The modules are named after the workflows of the OCI conformance tests.

mod bundles;
mod clients;
mod content_discovery;
mod content_management;
mod data;
mod durability;
mod encryption;
mod hostile;
mod limits;
mod manifests;
mod pull;
mod push;
mod users;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use thoras_mirror::{
    oci::{Digest, media_type::OCI_MANIFEST},
    serve::{AccessRecord, Limits, Options, Reloader, ServeError, Server},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{Mutex, mpsc, oneshot},
    task::JoinHandle,
};

/// A registry in the test's own process.
struct Registry {
    address: SocketAddr,
    scheme: &'static str,
    reloader: Reloader,
    client: Client,
    access: Mutex<mpsc::UnboundedReceiver<AccessRecord>>,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

impl Registry {
    /// Over a folder of its own.
    async fn start() -> (tempfile::TempDir, Self) {
        let root = tempfile::tempdir().unwrap();
        let registry = Self::over(root.path(), true).await.unwrap();
        (root, registry)
    }

    async fn over(root: &Path, writable: bool) -> Result<Self, ServeError> {
        Self::with(Options { writable, ..Options::new(root) }).await
    }

    /// Over a folder of its own, with limits that a test can reach.
    async fn limited(limits: Limits) -> (tempfile::TempDir, Self) {
        let root = tempfile::tempdir().unwrap();
        let registry = Self::with(Options { limits, ..Options::new(root.path()) }).await.unwrap();
        (root, registry)
    }

    /// On a free port, with an access log that the test can read.
    async fn with(options: Options) -> Result<Self, ServeError> {
        let (record, access) = mpsc::unbounded_channel();
        let options = Options {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            access_log: Some(Arc::new(move |shown: &AccessRecord| {
                let _ = record.send(shown.clone());
            })),
            ..options
        };
        let server = Server::bind(options).await?;
        let (address, reloader) = (server.address(), server.reloader());
        let scheme = if server.is_encrypted() { "https" } else { "http" };
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        let client = Client::builder().no_proxy().build().unwrap();
        Ok(Self { address, scheme, reloader, client, access: Mutex::new(access), stop, running })
    }

    async fn stop(self) {
        drop(self.client);
        self.stop.send(()).unwrap();
        self.running.await.unwrap();
    }

    fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path))
    }

    async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    async fn head(&self, path: &str) -> Response {
        self.request(Method::HEAD, path).send().await.unwrap()
    }

    async fn delete(&self, path: &str) -> Response {
        self.request(Method::DELETE, path).send().await.unwrap()
    }

    async fn post(&self, path: &str) -> Response {
        self.request(Method::POST, path).header("content-length", 0).send().await.unwrap()
    }

    async fn put(&self, path: &str, bytes: impl Into<reqwest::Body>) -> Response {
        self.request(Method::PUT, path).body(bytes).send().await.unwrap()
    }

    /// A chunk that says where it belongs.
    async fn patch(&self, path: &str, start: usize, bytes: &[u8]) -> Response {
        let range = format!("{start}-{}", start + bytes.len() - 1);
        let request = self.request(Method::PATCH, path).header("content-range", range);
        request.body(bytes.to_vec()).send().await.unwrap()
    }

    /// Opens an upload and returns its path.
    async fn open_upload(&self, repository: &str) -> String {
        let answer = self.post(&format!("/v2/{repository}/blobs/uploads/")).await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        header(&answer, "location").to_owned()
    }

    /// Pushes a blob in one request and returns its digest.
    async fn push_blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::sha256(bytes);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let answer = self.request(Method::POST, &path).body(bytes.to_vec()).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        digest
    }

    async fn put_manifest(
        &self,
        repository: &str,
        reference: &str,
        media_type: &str,
        text: &str,
    ) -> Response {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let request = self.request(Method::PUT, &path).header("content-type", media_type);
        request.body(text.to_owned()).send().await.unwrap()
    }

    /// Pushes an image of one layer, whose content is `seed`, under a tag; returns its manifest.
    async fn push_image(&self, repository: &str, tag: &str, seed: &str) -> String {
        let manifest = self.image(repository, seed).await.to_string();
        let answer = self.put_manifest(repository, tag, OCI_MANIFEST, &manifest).await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        manifest
    }

    /// The manifest of an image whose blobs have been pushed.
    async fn image(&self, repository: &str, seed: &str) -> Value {
        let config = self.push_blob(repository, b"{}").await;
        let layer = self.push_blob(repository, seed.as_bytes()).await;
        json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config, 2),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer, seed.len())],
        })
    }

    /// Waits until the registry has answered a request of this method, and returns how it shows it.
    async fn answered(&self, method: &Method) -> AccessRecord {
        let mut access = self.access.lock().await;
        loop {
            let record = access.recv().await.unwrap();
            if record.method == *method {
                return record;
            }
        }
    }

    /// A connection on which the test writes the bytes itself.
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes as they are and returns the status of the answer.
    async fn raw(&self, request: &str) -> u16 {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        status_line(&mut stream).await
    }
}

/// Reads until the end of a head and returns its status.
async fn status_line(stream: &mut TcpStream) -> u16 {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap().split(' ').nth(1).unwrap().parse().unwrap()
}

fn descriptor(media_type: &str, digest: &Digest, size: usize) -> Value {
    json!({ "mediaType": media_type, "digest": digest, "size": size })
}

fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers().get(name).unwrap_or_else(|| panic!("no {name} in {answer:?}")).to_str().unwrap()
}

/// Asserts a refusal and returns its first error.
async fn assert_refused(answer: Response, status: StatusCode, code: &str) -> Value {
    assert_eq!(answer.status(), status, "{answer:?}");
    assert_eq!(header(&answer, "content-type"), "application/json");
    let document: Value = answer.json().await.unwrap();
    assert_eq!(document["errors"][0]["code"], code, "{document}");
    document["errors"][0].clone()
}

/// Bytes that no two lengths share and that do not repeat with a piece's length.
fn bytes_of(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

/// The files below a folder, relative to it.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}
