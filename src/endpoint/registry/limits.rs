//! The numbers that bound what a registry can make this client do.

use std::time::Duration;

/// How long a connection may take to come about.
pub(super) const CONNECT: Duration = Duration::from_secs(10);
/// How long an answer's head may take, and how long a body may stay silent.
pub(super) const STALL: Duration = Duration::from_secs(60);
/// How long a registry may take to answer once it has all the bytes of a blob: it may have to move them
/// in its storage.
pub(super) const COMMIT: Duration = Duration::from_secs(300);
/// How long an idle connection is kept. Short, because a streamed body on a dead one cannot be replayed.
pub(super) const IDLE: Duration = Duration::from_secs(20);
/// How many redirects are followed for one request.
pub(super) const REDIRECTS: usize = 5;
/// The largest error answer that is read, in bytes.
pub(super) const ERROR_BODY: usize = 64 * 1024;
/// How many requests other than blob transfers run at once on one host.
pub(super) const REQUESTS_PER_HOST: usize = 24;
