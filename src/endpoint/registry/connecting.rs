//! Whether a request is still connecting. The connect timeout limits that phase; the stall timeout counts from its end.
//!
//! The HTTP client has timeouts for connecting and for everything, but none that begins with the connection. A layer
//! around its connector, [`ConnectingLayer`], tells the request in whose task it runs; the request listens in
//! [`Phase::scope`].

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use tokio::{sync::watch, time::Instant};
use tower_layer::Layer;
use tower_service::Service;

use super::error::RegistryError;

tokio::task_local! {
    static PHASE: Phase;
}

/// The phase of one request. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Phase(Arc<watch::Sender<Option<Instant>>>);

impl Phase {
    /// The phase of a request that has not begun to connect, and may not have to.
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Some(Instant::now()))))
    }

    /// Whether the request is connecting: DNS, TCP, proxy or TLS.
    pub(super) fn is_connecting(&self) -> bool {
        self.0.borrow().is_none()
    }

    /// Sends a request whose phase this is.
    pub(super) fn scope<T>(&self, send: impl Future<Output = T>) -> impl Future<Output = T> {
        PHASE.scope(self.clone(), send)
    }

    /// Returns when this time has passed outside of the connect phase.
    async fn stalled(&self, stall: Duration) {
        let mut phase = self.0.subscribe();
        loop {
            let since = *phase.borrow_and_update();
            let over = async {
                match since {
                    Some(since) => tokio::time::sleep_until(since + stall).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                changed = phase.changed() => if changed.is_err() { return },
                () = over => return,
            }
        }
    }
}

/// Waits for the header of a response, at most for `stall` after the connection is established.
pub(super) async fn response<T>(stall: Duration, send: impl Future<Output = T>) -> Result<T, RegistryError> {
    let phase = Phase::new();
    tokio::select! {
        biased;
        outcome = phase.scope(send) => Ok(outcome),
        () = phase.stalled(stall) => Err(RegistryError::Stalled(stall)),
    }
}

/// Ends the connect phase, even if connecting is canceled.
struct Connecting(Phase);

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.0.send_replace(Some(Instant::now()));
    }
}

/// Tells requests when they connect.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConnectingLayer;

impl<S> Layer<S> for ConnectingLayer {
    type Service = Connector<S>;

    fn layer(&self, inner: S) -> Connector<S> {
        Connector(inner)
    }
}

/// The client's connector inside a [`ConnectingLayer`].
#[derive(Debug, Clone)]
pub(super) struct Connector<S>(S);

impl<S, R> Service<R> for Connector<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let connecting = PHASE.try_with(|phase| {
            phase.0.send_replace(None);
            Connecting(phase.clone())
        });
        self.0.call(request).inspect(|_| drop(connecting)).boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// A connector that takes ten seconds.
    struct Slow;

    impl Service<()> for Slow {
        type Response = ();
        type Error = Infallible;
        type Future = BoxFuture<'static, Result<(), Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, (): ()) -> Self::Future {
            tokio::time::sleep(Duration::from_secs(10)).map(Ok).boxed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_stall_timeout_counts_from_the_connection_on_bug() {
        let stall = Duration::from_secs(4);
        let send = |pause| async move {
            let _ = ConnectingLayer.layer(Slow).call(()).await;
            tokio::time::sleep(Duration::from_secs(pause)).await;
        };
        response(stall, send(3)).await.unwrap();
        let error = response(stall, send(5)).await.unwrap_err();
        assert!(matches!(error, RegistryError::Stalled(time) if time == stall), "{error}");
        let idle = response(stall, tokio::time::sleep(Duration::from_secs(5))).await;
        assert!(idle.is_err(), "a connection that was idle is not connected again");
        let phase = Phase::new();
        let mut sending = Box::pin(phase.scope(send(0)));
        assert!(sending.as_mut().now_or_never().is_none() && phase.is_connecting());
        drop(sending);
        assert!(!phase.is_connecting(), "it was canceled");
    }
}
