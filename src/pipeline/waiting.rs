//! Work that blocks and takes long, beside everything else, with a word about it now and then.

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

/// How often a person hears of it.
const INTERVAL: Duration = Duration::from_secs(10);

/// Does work that blocks. It counts in the meter how many bytes it has done.
pub(super) async fn blocking<T: Send + 'static>(
    what: &'static str,
    events: &dyn EventSink,
    work: impl FnOnce(&Meter) -> Result<T, BundleError> + Send + 'static,
) -> Result<T, Failure> {
    let meter = Arc::new(Meter::default());
    let counted = Arc::clone(&meter);
    let work = tokio::task::spawn_blocking(move || work(&counted));
    let done = telling(what, events, &meter, INTERVAL, work).await;
    done.unwrap_or_else(|error| Err(BundleError::Internal(error.to_string())))
        .map_err(|error| error.failure())
}

/// Says at every interval how far some work is.
async fn telling<T>(
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
    struct Heard(Mutex<Vec<u64>>);

    impl EventSink for Heard {
        fn emit(&self, event: Event) {
            if let Event::Waiting { bytes, .. } = event {
                self.0.lock().unwrap().push(bytes);
            }
        }
    }

    #[tokio::test]
    async fn who_waits_long_hears_how_far_it_is() {
        let (heard, meter) = (Heard::default(), Meter::default());
        let work = async {
            while heard.0.lock().unwrap().len() < 3 {
                meter.fetch_add(7, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        };
        telling("reading", &heard, &meter, Duration::from_millis(1), work).await;
        let heard = heard.0.into_inner().unwrap();
        assert!(heard.is_sorted() && heard[0] > 0, "{heard:?}");
    }

    #[tokio::test]
    async fn what_is_done_at_once_is_not_worth_a_word() {
        let heard = Heard::default();
        blocking("reading", &heard, |_| Ok(())).await.unwrap();
        assert!(heard.0.into_inner().unwrap().is_empty());
    }
}
