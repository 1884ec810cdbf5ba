//! Writes what a running client has to remember, on a thread of its own: the driver waits for no
//! disk.

use std::{
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::sync::{broadcast, watch};

use super::{Store, VaultError};
use crate::{client::ClientEvent, device::SealError};

/// A write that failed is tried again after this long, doubling.
const RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_secs(30);

/// Keeps the vault of a client. When it is dropped, the last state is written and the vault is
/// free.
pub(in crate::client) struct Keeper {
    shared: Option<Arc<Shared>>,
    thread: Option<JoinHandle<()>>,
}

/// Tells what is on disk.
#[derive(Clone)]
pub(in crate::client) struct Kept(Option<Arc<Shared>>);

struct Shared {
    path: PathBuf,
    state: Mutex<State>,
    /// There is something to do.
    wake: Condvar,
    progress: watch::Sender<Progress>,
}

#[derive(Default)]
struct State {
    /// How many states were handed over; the newest is what is written next.
    handed: u64,
    next: Option<Vec<u8>>,
    is_over: bool,
}

#[derive(Default)]
struct Progress {
    written: u64,
    failed: Option<(u64, VaultError)>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keeper {
    /// For a vault that is kept nowhere, it does nothing.
    pub(in crate::client) fn new(
        store: Option<Store>,
        events: broadcast::WeakSender<ClientEvent>,
    ) -> Result<Self, VaultError> {
        let Some(store) = store else { return Ok(Self { shared: None, thread: None }) };
        let path = store.path().to_owned();
        let (state, wake) = (Mutex::default(), Condvar::new());
        let progress = watch::channel(Progress::default()).0;
        let shared = Arc::new(Shared { path, state, wake, progress });
        let work = Work { shared: Arc::clone(&shared), store, events };
        let thread = thread::Builder::new().name("olmcast vault".into());
        let thread = thread.spawn(move || work.run());
        let thread = Some(thread.map_err(VaultError::io("start a thread for", &shared.path))?);
        Ok(Self { shared: Some(shared), thread })
    }

    /// Hands over what is to be written, instead of what was not written yet.
    pub(in crate::client) fn write(&self, sealed: Vec<u8>) {
        let Some(shared) = &self.shared else { return };
        let mut state = shared.state();
        state.handed += 1;
        state.next = Some(sealed);
        shared.wake.notify_one();
    }

    pub(in crate::client) fn kept(&self) -> Kept {
        Kept(self.shared.clone())
    }

    /// Waits until the last state is written and the vault is free.
    pub(in crate::client) async fn finish(mut self) {
        if let Some(thread) = self.end() {
            // On a thread that may wait. If the runtime ends meanwhile, that is waited for.
            let _ = tokio::task::spawn_blocking(|| thread.join()).await;
        }
    }

    fn end(&mut self) -> Option<JoinHandle<()>> {
        if let Some(shared) = &self.shared {
            shared.state().is_over = true;
            shared.wake.notify_one();
        }
        self.thread.take()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(thread) = self.end() {
            // A runtime that ends drops its tasks; this one's last write must not be lost with it.
            let _ = thread.join();
        }
    }
}

impl Kept {
    /// Whether there is anything to keep.
    pub(in crate::client) fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// What could not even be handed over.
    pub(in crate::client) fn refused(&self, error: SealError) -> VaultError {
        let path = self.0.as_ref().map(|shared| shared.path.clone()).unwrap_or_default();
        VaultError::Seal { path, error }
    }

    /// Waits until all that was handed over so far is on disk.
    pub(in crate::client) async fn wait(&self) -> Result<(), VaultError> {
        let Some(shared) = &self.0 else { return Ok(()) };
        let mut progress = shared.progress.subscribe();
        let handed = shared.state().handed;
        let done = progress.wait_for(|progress| {
            let failed = progress.failed.as_ref().is_some_and(|(number, _)| *number >= handed);
            failed || progress.written >= handed
        });
        // Its sender is in what is shared.
        let Ok(progress) = done.await else { return Ok(()) };
        match &progress.failed {
            Some((_, error)) if progress.written < handed => Err(error.clone()),
            _ => Ok(()),
        }
    }
}

/// What the thread has.
struct Work {
    shared: Arc<Shared>,
    store: Store,
    events: broadcast::WeakSender<ClientEvent>,
}

impl Work {
    fn run(self) {
        let mut retry = RETRY;
        while let Some((number, sealed)) = self.next() {
            match self.store.write(&sealed) {
                Ok(()) => {
                    retry = RETRY;
                    self.shared.progress.send_modify(|progress| {
                        *progress = Progress { written: number, failed: None };
                    });
                }
                Err(error) => {
                    self.failed(number, error);
                    if !self.put_off(sealed, retry) {
                        break;
                    }
                    retry = (retry * 2).min(MAX_RETRY);
                }
            }
        }
    }

    /// Waits for something to write; `None` if there is nothing more.
    fn next(&self) -> Option<(u64, Vec<u8>)> {
        let state = self.shared.state();
        let idle = |state: &mut State| state.next.is_none() && !state.is_over;
        let mut state =
            self.shared.wake.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner);
        Some((state.handed, state.next.take()?))
    }

    /// Waits a while, or until there is something newer. False if that was the last try.
    fn put_off(&self, sealed: Vec<u8>, wait: Duration) -> bool {
        let state = self.shared.state();
        let was_last = state.is_over && state.next.is_none();
        let idle = |state: &mut State| state.next.is_none() && !state.is_over;
        let waited = self.shared.wake.wait_timeout_while(state, wait, idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.next.get_or_insert(sealed);
        !was_last
    }

    fn failed(&self, number: u64, error: VaultError) {
        tracing::error!(%error, "the vault cannot be written");
        let mut is_news = false;
        self.shared.progress.send_modify(|progress| {
            is_news = progress.failed.is_none();
            progress.failed = Some((number, error.clone()));
        });
        // Nobody has to listen.
        if is_news && let Some(events) = self.events.upgrade() {
            let _ = events.send(ClientEvent::VaultFailed(error));
        }
    }
}
