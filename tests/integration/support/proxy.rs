//! A forward proxy: tunnels for https (`CONNECT`), whole requests for http. It records what it is asked.
//!
//! Every host name leads to this machine, so a test may use names that no name server knows.

use std::sync::{Arc, Mutex};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri, header::PROXY_AUTHORIZATION};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// What the proxy was asked.
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
    host_port: String,
    shared: Arc<Shared>,
    _accepting: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    /// The `Proxy-Authorization` without which it refuses.
    demanded: Option<String>,
    /// What it answers everyone instead of serving them.
    refusal: Option<StatusCode>,
    requests: Mutex<Vec<ProxyRequest>>,
    client: reqwest::Client,
}

impl Proxy {
    /// Serves everyone.
    pub async fn start() -> Self {
        Self::start_with(None, None).await
    }

    /// Refuses everyone with this status.
    pub async fn start_refusing(status: u16) -> Self {
        Self::start_with(None, Some(StatusCode::from_u16(status).unwrap())).await
    }

    /// Serves whoever knows this user and password.
    pub async fn start_with_login(user: &str, password: &str) -> Self {
        let login = format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")));
        Self::start_with(Some(login), None).await
    }

    async fn start_with(demanded: Option<String>, refusal: Option<StatusCode>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host_port = listener.local_addr().unwrap().to_string();
        let redirects = reqwest::redirect::Policy::none();
        let client = reqwest::Client::builder().no_proxy().redirect(redirects).tls_certs_only([]);
        let client = client.build().unwrap();
        let shared = Arc::new(Shared { demanded, refusal, requests: Mutex::default(), client });
        let mut accepting = JoinSet::new();
        let serving = Arc::clone(&shared);
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                connections.spawn(async move {
                    let service = service_fn(move |request| {
                        let shared = Arc::clone(&shared);
                        async move { Ok::<_, hyper::Error>(shared.answer(request).await) }
                    });
                    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    // A client that goes away is none of the test's business.
                    let _ = connection.with_upgrades().await;
                });
            }
        });
        Self { host_port, shared, _accepting: accepting }
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.host_port)
    }

    /// The same with a user and a password.
    pub fn url_with(&self, user: &str, password: &str) -> String {
        format!("http://{user}:{password}@{}", self.host_port)
    }

    /// What was asked so far.
    pub fn requests(&self) -> Vec<ProxyRequest> {
        self.shared.requests.lock().unwrap().clone()
    }
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let authorization =
            request.headers().get(PROXY_AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
        let is_welcome = self.demanded.is_none() || self.demanded == authorization;
        self.requests.lock().unwrap().push(ProxyRequest {
            method: request.method().clone(),
            target: request.uri().to_string(),
            authorization,
        });
        if let Some(refusal) = self.refusal {
            return status(refusal);
        }
        if !is_welcome {
            return status(StatusCode::PROXY_AUTHENTICATION_REQUIRED);
        }
        let port = request.uri().port_u16().unwrap_or(80);
        if request.method() == Method::CONNECT {
            tunnel(request, port).await
        } else {
            self.forward(request, port).await
        }
    }

    async fn forward(&self, request: Request<Incoming>, port: u16) -> Response<Full<Bytes>> {
        let (mut head, body) = request.into_parts();
        head.headers.remove(PROXY_AUTHORIZATION);
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let url: Uri = format!("http://127.0.0.1:{port}{path}").parse().unwrap();
        let body = body.collect().await.unwrap().to_bytes();
        let asked = self.client.request(head.method, url.to_string()).headers(head.headers).body(body);
        let Ok(answer) = asked.send().await else { return status(StatusCode::BAD_GATEWAY) };
        let mut response = status(answer.status());
        *response.headers_mut() = answer.headers().clone();
        *response.body_mut() = Full::new(answer.bytes().await.unwrap());
        response
    }
}

/// Connects first, so that a client learns at once when nobody listens.
async fn tunnel(request: Request<Incoming>, port: u16) -> Response<Full<Bytes>> {
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

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}
