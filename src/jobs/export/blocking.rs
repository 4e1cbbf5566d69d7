//! Runs blocking work on a separate thread, and reports its progress.

use std::{
    future::Future,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use crate::{
    endpoint::bundle::{BundleError, Meter},
    error::Failure,
    event::{Event, EventSink},
};

/// The interval between progress reports.
const INTERVAL: Duration = Duration::from_secs(10);

/// Runs blocking work, which counts processed bytes in the meter.
pub(super) async fn blocking<T: Send + 'static>(
    what: &'static str,
    events: &dyn EventSink,
    work: impl FnOnce(&Meter) -> Result<T, BundleError> + Send + 'static,
) -> Result<T, Failure> {
    let meter = Arc::new(Meter::default());
    let counted = Arc::clone(&meter);
    let work = tokio::task::spawn_blocking(move || work(&counted));
    let done = report_progress(what, events, &meter, INTERVAL, work).await;
    done.unwrap_or_else(|error| Err(BundleError::Internal(error.to_string())))
        .map_err(|error| error.failure())
}

/// Reports progress at every interval.
async fn report_progress<T>(
    what: &'static str,
    events: &dyn EventSink,
    meter: &Meter,
    interval: Duration,
    work: impl Future<Output = T>,
) -> T {
    let mut ticks = tokio::time::interval(interval);
    ticks.reset();
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            _ = ticks.tick() => events.emit(Event::Waiting { what, bytes: meter.load(Ordering::Relaxed) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Seen(Mutex<Vec<u64>>);

    impl EventSink for Seen {
        fn emit(&self, event: Event) {
            if let Event::Waiting { bytes, .. } = event {
                self.0.lock().unwrap().push(bytes);
            }
        }
    }

    #[tokio::test]
    async fn long_work_reports_its_progress() {
        let (seen, meter) = (Seen::default(), Meter::default());
        let work = async {
            while seen.0.lock().unwrap().len() < 3 {
                meter.fetch_add(7, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        };
        report_progress("reading", &seen, &meter, Duration::from_millis(1), work).await;
        let seen = seen.0.into_inner().unwrap();
        assert!(seen.is_sorted() && seen[0] > 0, "{seen:?}");
    }

    #[tokio::test]
    async fn short_work_reports_nothing() {
        let seen = Seen::default();
        blocking("reading", &seen, |_| Ok(())).await.unwrap();
        assert!(seen.0.into_inner().unwrap().is_empty());
    }
}
