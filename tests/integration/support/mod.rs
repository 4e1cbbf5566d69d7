//! Support for the integration tests: real registries, images for them, faults, and other programs.
//!
//! | module | what it provides |
//! |---|---|
//! | [`images`] | small sample images of every shape, built from a name |
//! | [`client`] | pushes and reads images through `oci-client`, without this project's code |
//! | [`graph`] | what a manifest references, read without this project's code |
//! | [`bundle`] | bundles of sample images, written by this project's writer |
//! | [`built_bundle`] | bundles written from the format's description, without this project's writer |
//! | [`vendor`] | a vendor's registry and chart |
//! | [`registry`] | a CNCF distribution registry, one process per test |
//! | [`storage`] | the files of such a registry: reads and damages them |
//! | [`token_server`] | a token server that such a registry trusts |
//! | [`scripted`] | a registry in memory that fails as scripted, over HTTP |
//! | [`memory_registry`] | a source and destination in memory with faults and a history, without HTTP |
//! | [`memory`] | a minimal third kind of endpoint with its own error type |
//! | [`http_server`] | the HTTP/1.1 server below the scripted registry, the token server and the proxies |
//! | [`fault_proxy`] | a proxy in front of a real registry that breaks requests at random, from a seed |
//! | [`proxy`] | a forward proxy for http and https |
//! | [`tls`] | a certificate authority with server and client certificates |
//! | [`process`] | runs the program under test |
//! | [`serving`] | runs `thoras-mirror serve` |
//! | [`kill`] | kills runs at moments that a seed determines |
//! | [`dice`] | random numbers from a seed |
//! | [`strace`] | records system calls, or kills the program at one |
//! | [`small_disk`] | a disk with little space |
//! | [`documents`] | validates JSON output against its schema |
//! | [`secrets`] | searches output and files for leaked secrets |
//! | [`programs`] | finds other programs and runs them |
//! | [`helm`], [`skopeo`], [`containerd`], [`cosign`], [`notation`] | run these programs |
//! | [`sigstore`] | a Sigstore instance in memory: certificates, log entries, and signatures with any flaw |
//! | [`fake_helm`] | a fake Helm that records how it was called |

pub mod built_bundle;
pub mod bundle;
pub mod client;
pub mod containerd;
pub mod cosign;
pub mod dice;
pub mod documents;
pub mod fake_helm;
pub mod fault_proxy;
pub mod graph;
pub mod helm;
pub mod http_server;
pub mod images;
pub mod isolated;
pub mod kill;
pub mod memory_registry;
pub mod notation;
pub mod process;
pub mod programs;
pub mod proxy;
pub mod registry;
pub mod scripted;
pub mod secrets;
pub mod serving;
pub mod sigstore;
pub mod skopeo;
pub mod small_disk;
pub mod storage;
pub mod strace;
pub mod terminal;
pub mod tls;
pub mod token_server;
pub mod vendor;

use std::path::PathBuf;

/// Whether a request has this method (any, if empty) and this text in its path and query.
///
/// Everything that counts requests uses this, so that an empty method always means "any" and no count is zero by mistake.
pub fn is_request(seen: (&str, &str), method: &str, path: &str) -> bool {
    const METHODS: [&str; 7] = ["", "GET", "HEAD", "POST", "PATCH", "PUT", "DELETE"];
    assert!(METHODS.contains(&method), "no request ever has the method {method}");
    (method.is_empty() || seen.0 == method) && seen.1.contains(path)
}

/// A port of this machine on which nothing listens. No other process can take it while this value lives.
#[derive(Debug)]
pub struct ClosedPort {
    /// `127.0.0.1:PORT`.
    pub host_port: String,
    _bound: tokio::net::TcpSocket,
}

impl ClosedPort {
    /// Reserves a free port.
    pub fn new() -> Self {
        let bound = tokio::net::TcpSocket::new_v4().unwrap();
        bound.bind(([127, 0, 0, 1], 0).into()).unwrap();
        Self { host_port: bound.local_addr().unwrap().to_string(), _bound: bound }
    }
}

/// Where a server listens, and how to connect to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// `127.0.0.1:PORT`.
    pub host_port: String,
    /// Whether it speaks http, not https.
    pub plain_http: bool,
    /// For https: the PEM file of the authority that issued its certificate.
    pub authority: Option<PathBuf>,
}

impl Address {
    /// The same server as `localhost`: a different host for code that compares host names.
    pub fn as_localhost(&self) -> Self {
        Self { host_port: self.host_port.replace("127.0.0.1", "localhost"), ..self.clone() }
    }

    /// `http://HOST:PORT` or `https://HOST:PORT`.
    pub fn url(&self) -> String {
        let scheme = if self.plain_http { "http" } else { "https" };
        format!("{scheme}://{}", self.host_port)
    }

    /// `HOST:PORT/REPOSITORY:TAG`.
    pub fn image(&self, repository: &str, tag: &str) -> String {
        format!("{}/{repository}:{tag}", self.host_port)
    }

    /// An HTTP client for tests: it trusts the server's authority, ignores proxies and follows no redirect.
    pub fn http_client(&self) -> reqwest::Client {
        self.http_client_builder().build().unwrap()
    }

    /// The same, with the client certificate of this authority.
    pub fn http_client_with(&self, authority: &tls::Authority) -> reqwest::Client {
        let mut pem = std::fs::read(authority.client_certificate_file()).unwrap();
        pem.extend(std::fs::read(authority.client_key_file()).unwrap());
        let identity = reqwest::Identity::from_pem(&pem).unwrap();
        self.http_client_builder().identity(identity).build().unwrap()
    }

    fn http_client_builder(&self) -> reqwest::ClientBuilder {
        let authorities = self.authority.iter().map(|file| std::fs::read(file).unwrap());
        let certificates = authorities.map(|pem| reqwest::Certificate::from_pem(&pem).unwrap());
        // A certificate that signs itself: the HTTP library never accepts one.
        let read = |file: &PathBuf| std::fs::read(file).ok();
        let is_own = |file: &PathBuf| read(file) == read(&file.with_file_name("server.pem"));
        reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .tls_certs_only(certificates)
            .tls_danger_accept_invalid_certs(self.authority.as_ref().is_some_and(is_own))
    }
}
