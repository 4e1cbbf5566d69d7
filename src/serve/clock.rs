//! The machine's clock. The HTTP library writes it into every response, and panics outside the years 1970 to 9999,
//! even if the header is turned off; the TLS library panics before 1970.

use std::{future, pin::pin, task::Poll, time::SystemTime};

use super::ServeError;
use crate::units;

/// Refuses to start with a clock that no response can be written with.
pub(super) fn check(now: SystemTime) -> Result<(), ServeError> {
    if units::has_http_date(now) { Ok(()) } else { Err(ServeError::Clock) }
}

/// Continues a connection while the clock can be written, and drops it otherwise: a clock may be set at any time.
pub(super) async fn while_usable(clock: fn() -> SystemTime, connection: impl Future<Output = ()>) {
    let mut connection = pin!(connection);
    future::poll_fn(|context| {
        if units::has_http_date(clock()) { connection.as_mut().poll(context) } else { Poll::Ready(()) }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn before_1970() -> SystemTime {
        UNIX_EPOCH - Duration::from_secs(1)
    }

    #[tokio::test]
    async fn with_a_clock_before_1970_no_connection_is_continued_bug() {
        assert!(matches!(check(before_1970()), Err(ServeError::Clock)));
        assert!(check(UNIX_EPOCH).is_ok());
        while_usable(before_1970, async { panic!("as in the HTTP library") }).await;
        let mut is_continued = false;
        while_usable(|| UNIX_EPOCH, async { is_continued = true }).await;
        assert!(is_continued);
    }
}
