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
const FORGOTTEN: Duration = Duration::from_secs(30);
/// After which pauses a recipient is rung again whose last read may have been behind. Each is up to
/// twice as long, another one for each device: a replica is behind for all of them at a time.
const LATER: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];

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
    /// Whether its mail was read here, and wake-ups have been heard since.
    read: bool,
    /// How often it was rung again since a read that may have been behind, until that is over.
    rung: Option<usize>,
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
        let new = Recent { news, newest: 0, acked: 0, read: false, rung: None, room: [None; 2] };
        let recent = recents.entry(*device).or_insert(new);
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

    /// Mail is about to be read: up to where it must be there, up to where it must not, and whether
    /// there may be more of which nobody tells any more.
    pub(super) fn bounds(&self, device: &DeviceId) -> (u64, u64, bool) {
        self.with(device, |recent| {
            let unknown = !recent.read;
            recent.read = true;
            (recent.newest, recent.acked, unknown)
        })
    }

    /// Wake-ups may have been lost, of any device.
    pub(super) fn doubt(&self) {
        self.lock().values_mut().for_each(|recent| recent.read = false);
    }

    /// A read may have been behind: the device is to be rung again. True if nobody does so yet.
    pub(super) fn ring_again(&self, device: &DeviceId) -> bool {
        self.with(device, |recent| recent.rung.replace(0).is_none())
    }

    /// After which pause the device is to be rung again, if it is.
    pub(super) fn next_ring(&self, device: &DeviceId) -> Option<Duration> {
        self.with(device, |recent| {
            let pause = recent.rung.and_then(|rung| LATER.get(rung));
            recent.rung = pause.and(recent.rung).map(|rung| rung + 1);
            pause.map(|pause| *pause + *pause * u32::from(device.as_bytes()[1]) / 256)
        })
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
        let mut recents = self.lock();
        recents.retain(|_, recent| recent.rung.is_some() || recent.news.elapsed() < FORGOTTEN);
    }
}
