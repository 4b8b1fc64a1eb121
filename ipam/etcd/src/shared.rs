//! The runtime that gRPC needs, and what runs on it for the life of a store.

use std::sync::{Arc, mpsc};
use std::{io, mem};

use tokio::runtime::{Builder, Runtime};

use crate::pool::Pool;

/// What the store and its watches share; it goes with the last of them.
pub(crate) struct Shared {
    pub(crate) pool: Arc<Pool>,
    runtime: Option<Runtime>,
}

impl Shared {
    /// Starts to attend the members. Nothing is waited for.
    pub(crate) fn start(pool: Pool) -> io::Result<Self> {
        let pool = Arc::new(pool);
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("etcd")
            .enable_io()
            .enable_time()
            .build()?;
        for nth in 0..pool.endpoints.len() {
            let pool = Arc::clone(&pool);
            runtime.spawn(async move { pool.attend(nth).await });
        }
        Ok(Self {
            pool,
            runtime: Some(runtime),
        })
    }

    /// Runs it there and waits for it. On the caller's own thread its sockets would be made in
    /// whichever network namespace that thread is in.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.spawn(async move {
            // The caller waits below.
            let _ = sender.send(task.await);
        });
        receiver.recv().expect("no task of ours panics")
    }

    /// Runs it there.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let runtime = self.runtime.as_ref().expect("it goes with the value");
        runtime.spawn(task);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(runtime) = mem::take(&mut self.runtime) {
            // Waiting for its threads would panic where a runtime of the caller's drops this.
            runtime.shutdown_background();
        }
    }
}
