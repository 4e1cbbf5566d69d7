//! An HTTP/1.1 server on loopback that can interrupt its answers: the basis of [`super::scripted`],
//! [`super::token_server`], [`super::proxy`] and [`super::fault_proxy`].

use std::{future::Future, io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING},
};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{Address, tls::Authority};

/// A header that the server adds to every request whose connection showed a client's certificate.
pub const CLIENT_CERTIFICATE: &str = "x-client-certificate";

/// Returned by a handler that drops the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the script closes this connection")]
pub struct Dropped;

/// How an answer's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum End {
    /// All of it is sent.
    #[default]
    Whole,
    /// The connection closes after this many bytes (exactly, up to the 64 KiB that a socket takes at once).
    CutAfter(usize),
    /// Nothing follows after this many bytes, and the connection stays open.
    StallAfter(usize),
    /// After this many bytes, one byte follows every 50 milliseconds.
    TrickleAfter(usize),
    /// All of it is sent, this many bytes every 20 milliseconds.
    Paced(usize),
}

/// An HTTP response that has not been sent yet.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// The status line's code.
    pub status: StatusCode,
    /// All headers. Without `Content-Length` and `Transfer-Encoding`, the body's length is added.
    pub headers: HeaderMap,
    /// The body, before [`Answer::end`] shortens it.
    pub body: Bytes,
    /// How the body ends.
    pub end: End,
}

impl Answer {
    /// An answer without a body.
    pub fn status(code: u16) -> Self {
        Self { status: StatusCode::from_u16(code).unwrap(), ..Self::default() }
    }

    /// An answer with a JSON body.
    pub fn json(code: u16, body: &serde_json::Value) -> Self {
        Self::status(code).header("content-type", "application/json").body(body.to_string())
    }

    /// A registry's error envelope.
    pub fn error(code: u16, name: &str) -> Self {
        Self::json(code, &serde_json::json!({ "errors": [{ "code": name, "message": "as scripted" }] }))
    }

    /// The same answer with one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        self
    }

    /// The same answer with this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// The answer to a forwarded request, without hop-by-hop headers.
    pub async fn forwarded(response: reqwest::Response) -> Result<Self, Dropped> {
        let mut answer = Self { status: response.status(), ..Self::default() };
        answer.headers = response.headers().clone();
        for name in [CONNECTION, TRANSFER_ENCODING] {
            answer.headers.remove(name);
        }
        Ok(answer.body(response.bytes().await.map_err(|_| Dropped)?))
    }

    fn into_response(mut self, method: &Method) -> Response<Body> {
        let length = HeaderValue::from(self.body.len());
        let is_tunnel = method == Method::CONNECT && self.status.is_success();
        let head_only = is_tunnel || method == Method::HEAD;
        if !is_tunnel && !self.headers.contains_key(TRANSFER_ENCODING) {
            self.headers.entry(CONTENT_LENGTH).or_insert(length);
        }
        // A stream has no length of its own, so hyper sends the `Content-Length` above, right or wrong.
        let body = if head_only { stream::empty().boxed() } else { frames(&self.body, self.end) };
        let mut response = Response::new(StreamBody::new(body).boxed_unsync());
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

type Body = UnsyncBoxBody<Bytes, io::Error>;

fn frames(body: &Bytes, end: End) -> stream::BoxStream<'static, io::Result<Frame<Bytes>>> {
    if let End::Paced(bytes) = end {
        let pieces: Vec<Bytes> =
            (0..body.len()).step_by(bytes).map(|at| body.slice(at..body.len().min(at + bytes))).collect();
        let paced = stream::iter(pieces).then(|piece| async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(Frame::data(piece))
        });
        return paced.boxed();
    }
    let length = match end {
        End::Whole | End::Paced(_) => body.len(),
        End::CutAfter(length) | End::StallAfter(length) | End::TrickleAfter(length) => length.min(body.len()),
    };
    if let End::TrickleAfter(_) = end {
        let start = stream::iter([Ok(Frame::data(body.slice(..length)))]);
        let bytes = (length..body.len()).map({
            let body = body.clone();
            move |at| body.slice(at..=at)
        });
        let rest = stream::iter(bytes).then(|byte| async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(Frame::data(byte))
        });
        return start.chain(rest).boxed();
    }
    let start = stream::iter([Ok(Frame::data(body.slice(..length)))]);
    let rest = stream::once(async move {
        // hyper flushes when the body is not ready; a bad end at once would take the first bytes with it.
        tokio::task::yield_now().await;
        match end {
            End::Whole | End::Paced(_) => None,
            End::CutAfter(_) => Some(Err(io::Error::other(Dropped))),
            End::StallAfter(_) | End::TrickleAfter(_) => std::future::pending().await,
        }
    });
    start.chain(rest.filter_map(std::future::ready)).boxed()
}

/// A port of this machine on which connections are accepted. It closes, with all of them, when it is dropped.
#[derive(Debug)]
pub struct Listener {
    host_port: String,
    _accepting: JoinSet<()>,
}

impl Listener {
    /// Listens on a free port and serves each connection with `serve`.
    pub async fn start<S, F>(serve: S) -> Self
    where
        S: Fn(TcpStream) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host_port = listener.local_addr().unwrap().to_string();
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream));
            }
        });
        Self { host_port, _accepting: accepting }
    }

    /// `127.0.0.1:PORT`.
    pub fn host_port(&self) -> &str {
        &self.host_port
    }
}

/// A running server. It stops, with all its connections, when it is dropped.
#[derive(Debug)]
pub struct HttpServer {
    address: Address,
    _listener: Listener,
}

impl HttpServer {
    /// Listens on a free port, with TLS if there is an authority. `handler` answers requests; all of them share `state`.
    pub async fn start<T, H, F>(authority: Option<&Authority>, state: &Arc<T>, handler: H) -> Self
    where
        T: Send + Sync + 'static,
        H: Fn(Arc<T>, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Answer, Dropped>> + Send,
    {
        let state = Arc::clone(state);
        let handler = move |request| handler(Arc::clone(&state), request);
        let acceptor = authority.map(Authority::acceptor);
        let listener = Listener::start(move |stream| {
            let (acceptor, handler) = (acceptor.clone(), handler.clone());
            async move {
                match acceptor {
                    None => serve(stream, false, handler).await,
                    // A failed handshake is the client's to report.
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            let is_known = stream.get_ref().1.peer_certificates().is_some();
                            serve(stream, is_known, handler).await;
                        }
                    }
                }
            }
        });
        let listener = listener.await;
        let address = Address {
            host_port: listener.host_port().to_owned(),
            plain_http: authority.is_none(),
            authority: authority.map(Authority::certificate_file),
        };
        Self { address, _listener: listener }
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }
}

async fn serve<S, H, F>(stream: S, is_known: bool, handler: H)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Incoming>) -> F + Send + Sync,
    F: Future<Output = Result<Answer, Dropped>> + Send,
{
    let service = service_fn(|mut request: Request<Incoming>| {
        if is_known {
            request.headers_mut().insert(CLIENT_CERTIFICATE, HeaderValue::from_static("shown"));
        }
        let method = request.method().clone();
        let answer = handler(request);
        async move { answer.await.map(|answer| answer.into_response(&method)) }
    });
    // Errors are expected here: half of the scripts break connections.
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let _ = connection.with_upgrades().await;
}
