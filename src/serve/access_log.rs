//! The access log: one line for each request.

use std::{
    fmt,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{Method, StatusCode};

use crate::units;

/// Called once for each request, before the client can see the last byte of the response.
pub type AccessLog = Arc<dyn Fn(&AccessRecord) + Send + Sync>;

/// One request. `Display` is its line in the access log, with control characters escaped.
#[derive(Debug, Clone)]
pub struct AccessRecord {
    /// The client's address.
    pub peer: SocketAddr,
    /// The authenticated user, if any.
    pub user: Option<String>,
    /// When the request's head arrived.
    pub time: SystemTime,
    /// The request's method.
    pub method: Method,
    /// The request's path, as sent.
    pub path: String,
    /// The request's query, as sent, without the question mark.
    pub query: Option<String>,
    /// The repository in the path, if any.
    pub repository: Option<String>,
    /// The response's status.
    pub status: StatusCode,
    /// Bytes of the request's body that arrived.
    pub received: u64,
    /// Bytes of the response's body, counted before they are sent: the client may have disconnected.
    pub sent: u64,
    /// The time from the request's head to the response's head.
    pub elapsed: Duration,
}

impl fmt::Display for AccessRecord {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { peer, method, path, query, status, received, sent, elapsed, .. } = self;
        let user = self.user.as_deref().unwrap_or("-").escape_debug();
        let time = units::http_date(self.time);
        let time = time.as_deref().unwrap_or("-");
        write!(formatter, "{peer} {user} [{time}] {method} {}", path.escape_debug())?;
        if let Some(query) = query {
            write!(formatter, "?{}", query.escape_debug())?;
        }
        let milliseconds = elapsed.as_millis();
        write!(formatter, " {} {received} in {sent} out {milliseconds} ms", status.as_u16())
    }
}
