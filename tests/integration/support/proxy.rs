//! A forward proxy: tunnels for https (`CONNECT`), whole requests for http. It records its requests.
//!
//! Every host name resolves to this machine, so tests may use names that do not exist; those of [`Proxy::lead`] on any port.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{Method, Request, StatusCode, header::PROXY_AUTHORIZATION};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{
    Address,
    http_server::{Answer, Dropped, HttpServer},
};

/// A request to the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyRequest {
    /// `CONNECT`, or the method of the request that is passed on.
    pub method: Method,
    /// `HOST:PORT` of a tunnel, or the whole URL.
    pub target: String,
    /// The `Proxy-Authorization` header.
    pub authorization: Option<String>,
}

/// A running proxy. It stops when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    server: HttpServer,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The `Proxy-Authorization` that it requires.
    demanded: Option<String>,
    /// The status with which it refuses everything.
    refusal: Option<StatusCode>,
    requests: Mutex<Vec<ProxyRequest>>,
    client: reqwest::Client,
    /// The ports of servers by the names that they have here.
    servers: Mutex<HashMap<String, u16>>,
}

impl Proxy {
    /// Starts a proxy that serves every client.
    pub async fn start() -> Self {
        Self::start_with(None, None).await
    }

    /// Starts a proxy that refuses everything with this status.
    pub async fn start_refusing(status: u16) -> Self {
        Self::start_with(None, Some(StatusCode::from_u16(status).unwrap())).await
    }

    /// Starts a proxy that requires this user and password.
    pub async fn start_with_login(user: &str, password: &str) -> Self {
        let login = format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")));
        Self::start_with(Some(login), None).await
    }

    async fn start_with(demanded: Option<String>, refusal: Option<StatusCode>) -> Self {
        let redirects = reqwest::redirect::Policy::none();
        let client = reqwest::Client::builder().no_proxy().redirect(redirects).tls_certs_only([]);
        let client = client.build().unwrap();
        let (requests, servers) = (Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared { demanded, refusal, requests, client, servers });
        let server =
            HttpServer::start(None, &shared, |shared, request| async move { shared.answer(request).await });
        Self { server: server.await, shared }
    }

    /// From now on, this host name leads to this server, whatever the port.
    pub fn lead(&self, host: &str, server: &Address) {
        let port = server.host_port.rsplit(':').next().unwrap().parse().unwrap();
        self.shared.servers.lock().unwrap().insert(host.to_owned(), port);
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        self.server.address().url()
    }

    /// The same with a user and a password.
    pub fn url_with(&self, user: &str, password: &str) -> String {
        format!("http://{user}:{password}@{}", self.server.address().host_port)
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<ProxyRequest> {
        self.shared.requests.lock().unwrap().clone()
    }
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Result<Answer, Dropped> {
        let authorization =
            request.headers().get(PROXY_AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
        let is_welcome = self.demanded.is_none() || self.demanded == authorization;
        self.requests.lock().unwrap().push(ProxyRequest {
            method: request.method().clone(),
            target: request.uri().to_string(),
            authorization,
        });
        if let Some(refusal) = self.refusal {
            return Ok(status(refusal));
        }
        if !is_welcome {
            return Ok(status(StatusCode::PROXY_AUTHENTICATION_REQUIRED));
        }
        let led = self.servers.lock().unwrap().get(request.uri().host().unwrap_or_default()).copied();
        let port = led.or(request.uri().port_u16()).unwrap_or(80);
        if request.method() == Method::CONNECT {
            Ok(tunnel(request, port).await)
        } else {
            self.forward(request, port).await
        }
    }

    async fn forward(&self, request: Request<Incoming>, port: u16) -> Result<Answer, Dropped> {
        let (mut head, body) = request.into_parts();
        head.headers.remove(PROXY_AUTHORIZATION);
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let url = format!("http://127.0.0.1:{port}{path}");
        let body = body.collect().await.map_err(|_| Dropped)?.to_bytes();
        let asked = self.client.request(head.method, url).headers(head.headers).body(body);
        match asked.send().await {
            Ok(response) => Answer::forwarded(response).await,
            Err(_) => Ok(status(StatusCode::BAD_GATEWAY)),
        }
    }
}

/// Connects first, so that the client learns immediately if nothing listens.
async fn tunnel(request: Request<Incoming>, port: u16) -> Answer {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else {
        return status(StatusCode::BAD_GATEWAY);
    };
    tokio::spawn(async move {
        if let Ok(client) = hyper::upgrade::on(request).await {
            let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut server).await;
        }
    });
    status(StatusCode::OK)
}

fn status(status: StatusCode) -> Answer {
    Answer::status(status.as_u16())
}
