use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::primitives::DeviceId;

/// For how long a count is believed.
const COUNTED: Duration = Duration::from_secs(1);
/// For how long it is believed that there is no room.
const FULL: Duration = Duration::from_millis(100);
/// After how long without news a device is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(10);

/// What this node knows about recipients since a moment ago. Reads may be answered by a replica
/// that is behind, and this is how one notices.
#[derive(Default)]
pub(super) struct Recents(Mutex<HashMap<DeviceId, Recent>>);

struct Recent {
    news: Instant,
    /// The newest mail that is known to be stored.
    newest: u64,
    /// Up to where mail is acknowledged.
    acked: u64,
    /// Room for mail from anybody, and from strangers.
    room: [Option<Room>; 2],
}

/// How much room there was, less what was submitted here since.
#[derive(Clone, Copy)]
struct Room {
    counted: Instant,
    left: usize,
}

/// Whether there is room for one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowed {
    Yes,
    No,
    /// One has to count.
    Unknown,
}

/// For whom there must be room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Anybody,
    Strangers,
}

impl Recents {
    fn lock(&self) -> MutexGuard<'_, HashMap<DeviceId, Recent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, device: &DeviceId, change: impl FnOnce(&mut Recent) -> T) -> T {
        let (mut recents, news) = (self.lock(), Instant::now());
        let recent =
            recents.entry(*device).or_insert(Recent { news, newest: 0, acked: 0, room: [None; 2] });
        recent.news = news;
        change(recent)
    }

    /// Mail is stored.
    pub(super) fn stored(&self, device: &DeviceId, sequence: u64) {
        self.with(device, |recent| recent.newest = recent.newest.max(sequence));
    }

    /// Mail is acknowledged, which makes room.
    pub(super) fn acked(&self, device: &DeviceId, sequence: u64) {
        self.with(device, |recent| {
            recent.acked = recent.acked.max(sequence);
            recent.room = [None; 2];
        });
    }

    /// Up to where mail must be there, and up to where it must not.
    pub(super) fn bounds(&self, device: &DeviceId) -> (u64, u64) {
        self.lock().get(device).map_or((0, 0), |recent| (recent.newest, recent.acked))
    }

    /// What was thought to be stored is gone: it was too old, or another node acknowledged it.
    pub(super) fn missing(&self, device: &DeviceId, sequence: u64) {
        self.with(device, |recent| {
            if recent.newest == sequence {
                recent.newest = 0;
            }
        });
    }

    /// Takes a place, if it is known that there is one.
    pub(super) fn take_place(&self, device: &DeviceId, lane: Lane) -> Allowed {
        self.with(device, |recent| {
            let Some(room) = &mut recent.room[lane as usize] else { return Allowed::Unknown };
            let since = room.counted.elapsed();
            if room.left == 0 {
                return if since < FULL { Allowed::No } else { Allowed::Unknown };
            }
            if since > COUNTED {
                return Allowed::Unknown;
            }
            room.left -= 1;
            Allowed::Yes
        })
    }

    /// A place was not needed after all.
    pub(super) fn give_back(&self, device: &DeviceId, lane: Lane) {
        self.with(device, |recent| {
            if let Some(room) = &mut recent.room[lane as usize] {
                room.left += 1;
            }
        });
    }

    /// Places were counted.
    pub(super) fn counted(&self, device: &DeviceId, lane: Lane, left: usize) {
        let room = Room { counted: Instant::now(), left };
        self.with(device, |recent| recent.room[lane as usize] = Some(room));
    }

    /// Forgets whom there was no news about for a while.
    pub(super) fn forget(&self) {
        self.lock().retain(|_, recent| recent.news.elapsed() < FORGOTTEN);
    }
}
