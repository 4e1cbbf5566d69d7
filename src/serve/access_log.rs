//! One line for each request.

use std::{
    fmt,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{Method, StatusCode};

/// Called once for each request, before the client can have seen the answer's last byte.
pub type AccessLog = Arc<dyn Fn(&AccessRecord) + Send + Sync>;

/// One request, as the access log shows it. `Display` is one line, with control characters escaped.
#[derive(Debug, Clone)]
pub struct AccessRecord {
    /// The client's address.
    pub peer: SocketAddr,
    /// Who it is, if a password proved it.
    pub user: Option<String>,
    /// When the request's head had arrived.
    pub time: SystemTime,
    /// The request's method.
    pub method: Method,
    /// The request's path, as it was sent.
    pub path: String,
    /// The request's query, as it was sent, without the question mark.
    pub query: Option<String>,
    /// The repository, if the path names one.
    pub repository: Option<String>,
    /// The answer's status.
    pub status: StatusCode,
    /// Bytes of the request's body that arrived.
    pub received: u64,
    /// Bytes of the answer's body. They are counted before they are sent: the client may have hung up.
    pub sent: u64,
    /// From the request's head to the answer's head.
    pub elapsed: Duration,
}

impl fmt::Display for AccessRecord {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { peer, method, path, query, status, received, sent, elapsed, .. } = self;
        let user = self.user.as_deref().unwrap_or("-").escape_debug();
        let time = httpdate::fmt_http_date(self.time);
        write!(formatter, "{peer} {user} [{time}] {method} {}", path.escape_debug())?;
        if let Some(query) = query {
            write!(formatter, "?{}", query.escape_debug())?;
        }
        let milliseconds = elapsed.as_millis();
        write!(formatter, " {} {received} in {sent} out {milliseconds} ms", status.as_u16())
    }
}
