//! A proxy between a client and a registry that breaks requests at random, from a seed.
//!
//! The fault of a request depends on the seed, on the request and on how often it was made before, not on the order in
//! which requests arrive. A failing seed fails again, however a concurrent client interleaves its requests.

use std::{
    collections::HashMap,
    fmt, io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Request, header::TRANSFER_ENCODING};
use http_body_util::BodyStream;
use hyper::body::Incoming;
use tokio::sync::watch;

use super::{
    Address,
    dice::Dice,
    http_server::{Answer, Dropped, End, HttpServer},
};

/// A brief pause: long enough for requests to overtake each other.
const STALL: Duration = Duration::from_millis(30);

/// The timeout for the registry. A connection that a restart leaves open is never answered, and the client under test
/// would wait for its own long timeout.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The fault of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The connection closes after this many bytes of the request's body, which the registry gets.
    CutRequest(usize),
    /// The connection closes after this many bytes of the answer's body.
    CutAnswer(usize),
    /// The registry serves the request, and the connection closes in place of its answer.
    LoseAnswer,
    /// The registry receives the request after a pause.
    Stall,
    /// This status is answered, and the registry never receives the request. 429 says `Retry-After: 0`.
    Refuse(u16),
    /// One bit of the answer's body is flipped, if there is a body and its digest is known.
    FlipBit(usize),
}

impl Fault {
    /// Draws a fault for `percent` of all requests.
    fn draw(dice: &mut Dice, percent: usize) -> Self {
        if dice.below(100) >= percent {
            return Self::None;
        }
        // Bodies are manifests of a kilobyte, layers of some 20, and one image's layers of hundreds.
        let bytes = match dice.below(3) {
            0 => dice.below(300),
            1 => dice.below(20_000),
            _ => dice.below(300_000),
        };
        match dice.below(8) {
            0 => Self::CutRequest(bytes),
            1 => Self::CutAnswer(bytes),
            2 => Self::LoseAnswer,
            3 => Self::Stall,
            4 => Self::Refuse(429),
            5 => Self::Refuse(500),
            6 => Self::Refuse(503),
            _ => Self::FlipBit(bytes),
        }
    }
}

/// A running proxy. It stops when it is dropped.
#[derive(Debug)]
pub struct FaultProxy {
    server: HttpServer,
    state: Arc<State>,
}

struct State {
    seed: String,
    percent: usize,
    registry: String,
    client: reqwest::Client,
    calm: AtomicBool,
    seen: Mutex<HashMap<String, usize>>,
    history: Mutex<Vec<String>>,
    requests: watch::Sender<usize>,
}

impl FaultProxy {
    /// Forwards to `registry`, which speaks http, and breaks `percent` of all requests.
    pub async fn start(registry: &Address, seed: &str, percent: usize) -> Self {
        let state = Arc::new(State {
            seed: seed.to_owned(),
            percent,
            registry: registry.url(),
            client: registry.http_client(),
            calm: AtomicBool::new(false),
            seen: Mutex::default(),
            history: Mutex::default(),
            requests: watch::Sender::new(0),
        });
        let server =
            HttpServer::start(None, &state, |state, request| async move { state.answer(request).await });
        Self { server: server.await, state }
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        self.server.address()
    }

    /// Disables all faults from now on.
    pub fn calm(&self) {
        self.state.calm.store(true, Ordering::SeqCst);
    }

    /// Waits for this many more requests.
    pub async fn requests(&self, more: usize) {
        let mut requests = self.state.requests.subscribe();
        let wanted = *requests.borrow() + more;
        requests.wait_for(|&count| count >= wanted).await.unwrap();
    }

    /// Every request with its fault, one per line, in order of arrival.
    pub fn history(&self) -> Vec<String> {
        self.state.history.lock().unwrap().clone()
    }
}

impl State {
    async fn answer(&self, request: Request<Incoming>) -> Result<Answer, Dropped> {
        let fault = self.fault(&request);
        self.requests.send_modify(|count| *count += 1);
        match fault {
            Fault::Refuse(status) => Ok(Answer::error(status, "AS_DRAWN").header("retry-after", "0")),
            Fault::Stall => {
                tokio::time::sleep(STALL).await;
                self.forward(request, None).await
            }
            Fault::CutRequest(bytes) => {
                let length = request.headers().get("content-length").and_then(|value| value.to_str().ok());
                let length = length.map_or(0, |text| text.parse().unwrap());
                self.forward(request, Some(bytes.min(length))).await.and(Err(Dropped))
            }
            Fault::LoseAnswer => self.forward(request, None).await.and(Err(Dropped)),
            Fault::CutAnswer(bytes) => {
                let answer = self.forward(request, None).await?;
                Ok(Answer { end: End::CutAfter(bytes), ..answer })
            }
            Fault::FlipBit(position) => {
                self.forward(request, None).await.map(|answer| flip(answer, position))
            }
            Fault::None => self.forward(request, None).await,
        }
    }

    /// Draws and records the fault of a request.
    fn fault(&self, request: &Request<Incoming>) -> Fault {
        let key = key(request);
        let times = {
            let mut seen = self.seen.lock().unwrap();
            let times = seen.entry(key.clone()).or_default();
            *times += 1;
            *times
        };
        let fault = if self.calm.load(Ordering::SeqCst) {
            Fault::None
        } else {
            Fault::draw(&mut Dice::new(&format!("{}/{key}/{times}", self.seed)), self.percent)
        };
        self.history.lock().unwrap().push(format!("{key} #{times}: {fault:?}"));
        fault
    }

    /// Forwards a request to the registry; with `cut`, the connection breaks after this many bytes of its body.
    ///
    /// The `Host` header is kept, so that the registry's `Location`s lead through the proxy again.
    async fn forward(&self, request: Request<Incoming>, cut: Option<usize>) -> Result<Answer, Dropped> {
        let (head, body) = request.into_parts();
        let url = format!("{}{}", self.registry, head.uri);
        let has_body =
            head.headers.contains_key("content-length") || head.headers.contains_key(TRANSFER_ENCODING);
        let mut upstream = self.client.request(head.method, url).headers(head.headers).timeout(TIMEOUT);
        if has_body {
            let pieces = BodyStream::new(body).filter_map(async |frame| match frame {
                Ok(frame) => frame.into_data().ok().map(Ok),
                Err(error) => Some(Err(io::Error::other(error))),
            });
            upstream = upstream.body(match cut {
                None => reqwest::Body::wrap_stream(pieces),
                Some(bytes) => {
                    let start = collect_start(pieces.boxed(), bytes).await;
                    reqwest::Body::wrap_stream(stream::iter([start, Err(io::Error::other(Dropped))]))
                }
            });
        }
        Answer::forwarded(upstream.send().await.map_err(|_| Dropped)?).await
    }
}

impl fmt::Debug for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("State").field("seed", &self.seed).finish_non_exhaustive()
    }
}

/// The first bytes of a body.
async fn collect_start(
    mut pieces: stream::BoxStream<'_, io::Result<Bytes>>,
    bytes: usize,
) -> io::Result<Bytes> {
    let mut start = Vec::new();
    while start.len() < bytes {
        match pieces.next().await {
            Some(piece) => start.extend(piece?),
            None => break,
        }
    }
    start.truncate(bytes);
    Ok(start.into())
}

fn flip(answer: Answer, position: usize) -> Answer {
    let mut body = answer.body.to_vec();
    if !body.is_empty() {
        let position = position % body.len();
        body[position] ^= 1 << (position % 8);
    }
    answer.body(body)
}

/// The request without what differs in every run: the identifier and the state of an upload.
fn key(request: &Request<Incoming>) -> String {
    let path = request.uri().path();
    let path = path.split_once("/uploads/").map_or(path, |(before, _)| before);
    let query = url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes());
    let digest = query.filter(|(name, _)| name == "digest" || name == "mount").map(|(_, value)| value);
    let digest = digest.last().unwrap_or_default();
    format!("{} {path} {digest}", request.method())
}
