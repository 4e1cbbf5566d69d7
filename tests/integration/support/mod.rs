//! What the integration tests stand on: real registries, images to put into them, faults, other programs.
//!
//! - [`images`] builds images from nothing; [`client`] pushes them and reads them back without this project's code;
//! - [`bundle`] lays them out as bundles of ours; [`built_bundle`] does so from the format's description alone;
//! - [`memory_registry`] is a source and destination in memory, for the core without any registry;
//! - [`registry`] runs CNCF distribution, [`storage`] looks into (and damages) its files;
//! - [`token_server`] hands out the tokens that such a registry trusts;
//! - [`scripted`] is a small registry that misbehaves on demand; [`fault_proxy`] stands before a real one and breaks
//!   requests at random;
//! - [`proxy`] is a forward proxy; [`secrets`] looks for what must never be shown;
//! - [`vendor`] is a vendor's registry and chart, exported by the program itself;
//! - [`process`] runs the program under test, [`kill`] kills it at moments that [`dice`] draw, [`serving`] runs its
//!   registry, [`documents`] checks the JSON that it prints;
//! - [`strace`] records the system calls of both, and kills them at one;
//! - [`skopeo`], [`containerd`] and [`helm`] run other programs, [`fake_helm`] stands in Helm's place and writes down what it saw.

pub mod built_bundle;
pub mod bundle;
pub mod client;
pub mod containerd;
pub mod dice;
pub mod documents;
pub mod fake_helm;
pub mod fault_proxy;
pub mod graph;
pub mod helm;
pub mod http_server;
pub mod images;
pub mod kill;
pub mod memory;
pub mod memory_registry;
pub mod process;
pub mod programs;
pub mod proxy;
pub mod registry;
pub mod scripted;
pub mod secrets;
pub mod serving;
pub mod skopeo;
pub mod small_disk;
pub mod storage;
pub mod strace;
pub mod tls;
pub mod token_server;
pub mod vendor;

use std::path::PathBuf;

/// Whether a request is of this method, any if empty, and has this text in its path and query.
///
/// All that counts requests asks this, so that nowhere an empty method means "none" and makes a count of zero vacuous.
pub fn is_request(seen: (&str, &str), method: &str, path: &str) -> bool {
    const METHODS: [&str; 7] = ["", "GET", "HEAD", "POST", "PATCH", "PUT", "DELETE"];
    assert!(METHODS.contains(&method), "no request ever has the method {method}");
    (method.is_empty() || seen.0 == method) && seen.1.contains(path)
}

/// A port of this machine on which nothing listens, and which no other process gets for as long as this lives.
#[derive(Debug)]
pub struct ClosedPort {
    /// `127.0.0.1:PORT`.
    pub host_port: String,
    _bound: tokio::net::TcpSocket,
}

impl ClosedPort {
    /// Takes a free port.
    pub fn new() -> Self {
        let bound = tokio::net::TcpSocket::new_v4().unwrap();
        bound.bind(([127, 0, 0, 1], 0).into()).unwrap();
        Self { host_port: bound.local_addr().unwrap().to_string(), _bound: bound }
    }
}

/// Where a server listens, and what a client must know to talk to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// `127.0.0.1:PORT`.
    pub host_port: String,
    /// Whether it speaks http, not https.
    pub plain_http: bool,
    /// For https: the PEM file of the authority that vouches for it.
    pub authority: Option<PathBuf>,
}

impl Address {
    /// The same server under its other name: a different host for everything that compares host names.
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

    /// A client of the tests' own: it trusts the server's authority, ignores proxies, follows no redirect.
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
        reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .tls_certs_only(certificates)
    }
}
