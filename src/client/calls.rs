use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::ClientError;
use crate::{endpoint::Endpoint, primitives::Timestamp};

/// Calls that may wait, besides those of handles that were dropped.
const WAITING: usize = 256;

/// Something to do with the endpoint, on the driver's task.
pub(super) type Call = Box<dyn FnOnce(&mut Endpoint, Timestamp) + Send>;

/// The way to the endpoint: calls are carried out in the order in which they were given.
///
/// The queue itself has no bound, so that a handle's drop, which cannot wait, always finds a
/// place: each handle is dropped once. Whoever can wait does so for one of [`WAITING`] permits.
#[derive(Clone)]
pub(super) struct Calls {
    queue: mpsc::UnboundedSender<Call>,
    permits: Arc<Semaphore>,
}

impl Calls {
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Call>) {
        let (queue, calls) = mpsc::unbounded_channel();
        (Self { queue, permits: Arc::new(Semaphore::new(WAITING)) }, calls)
    }

    /// The same, but it does not keep the client alive.
    pub(super) fn downgrade(&self) -> WeakCalls {
        WeakCalls { queue: self.queue.downgrade(), permits: Arc::clone(&self.permits) }
    }

    /// Runs something on the endpoint.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Endpoint, Timestamp) -> T + Send + 'static,
    ) -> Result<T, ClientError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let (answer, answered) = oneshot::channel();
        let call: Call = Box::new(move |endpoint, now| {
            drop(permit);
            // Nobody waits any more if the caller's future was dropped.
            let _ = answer.send(call(endpoint, now));
        });
        self.queue.send(call).map_err(|_| ClientError::Ended)?;
        answered.await.map_err(|_| ClientError::Ended)
    }

    /// The same without waiting, for handles that are dropped.
    pub(super) fn cast(&self, call: impl FnOnce(&mut Endpoint, Timestamp) + Send + 'static) {
        // If the client has ended, so has everything that it held.
        let _ = self.queue.send(Box::new(call));
    }
}

/// A way to the endpoint for as long as somebody else has one.
#[derive(Clone)]
pub(super) struct WeakCalls {
    queue: mpsc::WeakUnboundedSender<Call>,
    permits: Arc<Semaphore>,
}

impl WeakCalls {
    pub(super) fn upgrade(&self) -> Option<Calls> {
        Some(Calls { queue: self.queue.upgrade()?, permits: Arc::clone(&self.permits) })
    }
}
