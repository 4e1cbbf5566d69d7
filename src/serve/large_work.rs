//! A thread for work that takes much memory for a moment: parsing large manifests. One after another, and always on the
//! same thread, because an allocator keeps the memory of every thread that ever needed much.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc,
    thread,
};

use tokio::sync::oneshot;

type Work = Box<dyn FnOnce() + Send>;

/// The thread. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct LargeWork(mpsc::Sender<Work>);

impl LargeWork {
    /// Starts the thread.
    pub(super) fn start() -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel::<Work>();
        thread::Builder::new().name("large manifests".to_owned()).spawn(move || {
            for work in receiver {
                // A panic concerns only its own request, which is answered with 500.
                let _ = catch_unwind(AssertUnwindSafe(work));
            }
        })?;
        Ok(Self(sender))
    }

    /// Does the work after all earlier work, also if nothing waits for it any more.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let (sender, done) = oneshot::channel();
        let work: Work = Box::new(move || drop(sender.send(work())));
        self.0.send(work).map_err(|_| io::Error::other("the thread for large manifests has ended"))?;
        done.await.map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_affects_only_its_own_work() {
        let thread = LargeWork::start().unwrap();
        let failed = thread.run(|| assert_eq!(1, 2, "a panic on purpose")).await;
        assert!(failed.is_err());
        assert_eq!(thread.run(|| 7).await.unwrap(), 7);
    }
}
