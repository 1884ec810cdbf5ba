use anyhow::Context;
use tokio::runtime::{Builder, Runtime};

/// A device's tasks on a thread of their own, as if it were a process that can be killed: from
/// one moment to the next nothing of it runs any more. Nobody is told, but its sockets close.
pub(super) struct Process(Option<Runtime>);

impl Process {
    pub(super) fn start() -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Ok(Self(Some(runtime.context("cannot start one more thread")?)))
    }

    pub(super) async fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let runtime = self.0.as_ref().context("it was killed")?;
        runtime.spawn(future).await.context("it was killed")
    }

    pub(super) fn kill(self) {}
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
