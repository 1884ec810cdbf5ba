//! Which streams are live, and how much room is left.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::name::{SessionId, StreamName};
use crate::refusal::Refusal;
use crate::stream::{Stream, StreamStats};

/// Ended streams whose counters are still known.
const REMEMBERED: usize = 64;

pub(crate) struct Registry {
    max_streams: usize,
    max_subscribers: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// `None` while the publisher's offer is being answered.
    streams: HashMap<StreamName, Option<Arc<Stream>>>,
    subscribers: usize,
    ended: VecDeque<(StreamName, StreamStats)>,
}

impl Registry {
    pub(crate) fn new(max_streams: usize, max_subscribers: usize) -> Self {
        Self { max_streams, max_subscribers, inner: Mutex::default() }
    }

    /// Takes a name for a publisher that is being answered.
    pub(crate) fn reserve(self: &Arc<Self>, name: &StreamName) -> Result<Place, Refusal> {
        let mut inner = self.lock();
        if inner.streams.contains_key(name) {
            return Err(Refusal::Taken(name.clone()));
        }
        if inner.streams.len() >= self.max_streams {
            return Err(Refusal::Full);
        }
        inner.streams.insert(name.clone(), None);
        Ok(Place { registry: Arc::clone(self), name: name.clone(), stream: None })
    }

    /// Takes room for a subscriber.
    pub(crate) fn seat(self: &Arc<Self>) -> Result<Seat, Refusal> {
        let mut inner = self.lock();
        if inner.subscribers >= self.max_subscribers {
            return Err(Refusal::Full);
        }
        inner.subscribers += 1;
        Ok(Seat(Arc::clone(self)))
    }

    pub(crate) fn stream(&self, name: &StreamName) -> Option<Arc<Stream>> {
        self.lock().streams.get(name)?.clone()
    }

    /// Ends the stream if `session` is its publisher's. The name is free when this returns.
    pub(crate) fn end(&self, name: &StreamName, session: SessionId) -> Result<(), Refusal> {
        let mut inner = self.lock();
        match inner.streams.get(name) {
            Some(Some(stream)) if stream.is_published_by(session) => {
                stream.ended.cancel();
                inner.remove(name);
                Ok(())
            }
            _ => Err(Refusal::UnknownSession),
        }
    }

    /// Counters of a live stream, or of one that ended lately.
    pub(crate) fn stats(&self, name: &StreamName) -> Option<StreamStats> {
        let inner = self.lock();
        if let Some(Some(stream)) = inner.streams.get(name) {
            return Some(stream.stats());
        }
        inner.ended.iter().rev().find(|(ended, _)| ended == name).map(|(_, stats)| *stats)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn remove(&mut self, name: &StreamName) {
        if let Some(Some(stream)) = self.streams.remove(name) {
            if self.ended.len() == REMEMBERED {
                self.ended.pop_front();
            }
            self.ended.push_back((name.clone(), stream.stats()));
        }
    }
}

/// A publisher's place. Dropping it ends the stream and frees the name.
pub(crate) struct Place {
    registry: Arc<Registry>,
    name: StreamName,
    stream: Option<Arc<Stream>>,
}

impl Place {
    /// Makes the stream known to subscribers.
    pub(crate) fn open(&mut self, stream: Arc<Stream>) {
        self.registry.lock().streams.insert(self.name.clone(), Some(Arc::clone(&stream)));
        self.stream = Some(stream);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.registry.lock();
        if let Some(stream) = &self.stream {
            stream.ended.cancel();
        }
        // After a DELETE the name may already belong to the next publisher.
        let ours = match (inner.streams.get(&self.name), &self.stream) {
            (Some(Some(live)), Some(stream)) => Arc::ptr_eq(live, stream),
            (Some(None), None) => true,
            _ => false,
        };
        if ours {
            inner.remove(&self.name);
        }
    }
}

/// A subscriber's seat. Dropping it makes room.
pub(crate) struct Seat(Arc<Registry>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.lock().subscribers -= 1;
    }
}
