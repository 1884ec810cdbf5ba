use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::debug;

use super::{
    Rooms,
    entry::{Key, Node, Value, What},
};
use crate::{
    primitives::{DeviceId, RoomId},
    server::store::nats::connection::NotStored,
};

/// How often a node looks who is gone.
const LOOK: Duration = Duration::from_millis(500);
/// How often it says that it is there, in looks.
const ALIVE: u32 = 4;
/// How late a look may be before it says nothing about the others: it is this node that was away.
const LATE: Duration = Duration::from_secs(2);
/// How often a node does what is to be done in the stream, how much of each kind in one round, how
/// much of that at once, and the pause before the next round if there is more.
const CHORES: Duration = Duration::from_secs(1);
const ROUND: usize = 512;
const AT_ONCE: usize = 32;
const MORE: Duration = Duration::from_millis(200);

/// Where a device was said to be, and the revision that says so.
type Said = (RoomId, DeviceId, u64);

impl Rooms {
    /// Says that the node is there and looks which others are, for as long as it is polled. Nothing
    /// else is done here: while this waits, others take all who are connected here for gone.
    pub(super) async fn keep_alive(self: Arc<Self>) {
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looked = Instant::now();
        for look in (0..ALIVE).cycle() {
            ticks.tick().await;
            let connected = self.shared.nats.check().is_ok();
            if connected && look == 0 {
                let _ = self.tell_nodes(What::Alive).await;
            }
            let mut known = self.lock();
            let now = Instant::now();
            if !connected || now.saturating_duration_since(looked) > LATE {
                // Nobody can be heard, or what they said is still to be read: so nobody is gone.
                known.mirror.pardon(now);
            } else {
                let changes = known.mirror.expire(now);
                known.tell(changes);
            }
            looked = now;
        }
    }

    /// Keeps stream and truth the same, for as long as it is polled.
    pub(super) async fn tidy(self: Arc<Self>) {
        loop {
            let pause = match self.chores().await {
                Ok(true) => MORE,
                Ok(false) => CHORES,
                Err(error) => {
                    debug!(?error, "rooms are tidied up later");
                    CHORES
                }
            };
            sleep(pause).await;
        }
    }

    /// One round. True if there may be more to do at once.
    async fn chores(&self) -> Result<bool, NotStored> {
        self.shared.nats.check().map_err(NotStored::Unavailable)?;
        let (missing, over) = self.untrue();
        let chores = self.lock().mirror.chores(Instant::now(), ROUND);
        let most = missing.len().max(over.len()).max(chores.bury.len()).max(chores.delete.len());
        self.say_gone(over).await?;
        let missing = stream::iter(missing).map(Ok);
        let said = missing.try_for_each_concurrent(AT_ONCE, |(room, device, revision)| {
            self.say_again(room, device, revision)
        });
        said.await?;
        if !chores.bury.is_empty() {
            // Whoever is first does it for all.
            sleep(pause_of(&self.shared.node)).await;
        }
        let mut bury = chores.bury;
        bury.retain(|&(room, device, _)| self.lock().mirror.place(room, device).is_none());
        self.say_gone(bury).await?;
        let stream = &self.shared.layout.rooms_stream();
        let delete = stream::iter(chores.delete).map(Ok);
        let deleted = delete.try_for_each_concurrent(AT_ONCE, async |(key, revision)| {
            // By its sequence: if something newer was said, that stays.
            self.shared.nats.delete(stream, revision).await.map_err(NotStored::Unavailable)?;
            self.lock().mirror.forget(key, revision);
            Ok(())
        });
        deleted.await?;
        Ok(most >= ROUND)
    }

    /// What this node said and nobody knows any more, and what it said and is over.
    fn untrue(&self) -> (Vec<Said>, Vec<Said>) {
        let mut known = self.lock();
        let known = &mut *known;
        let own = self.shared.node;
        let places: Vec<_> = known.own.places().collect();
        let mut missing = Vec::new();
        for (room, device) in places {
            match known.mirror.place(room, device) {
                Some((node, _)) if node == own => {}
                Some(_) => known.own.went_over(room, device),
                None if missing.len() < ROUND => {
                    missing.push((room, device, known.mirror.revision(room, device)));
                }
                None => {}
            }
        }
        let mine = known.mirror.own_places();
        let over = mine.filter(|&(room, device, _)| !known.own.is_here(room, device));
        (missing, over.take(ROUND).collect())
    }

    /// Says that devices are gone, unless something newer was said.
    async fn say_gone(&self, gone: Vec<Said>) -> Result<(), NotStored> {
        let gone = stream::iter(gone).map(Ok);
        let said =
            gone.try_for_each_concurrent(AT_ONCE, async |(room, device, revision)| {
                match self.write(Key::Presence(room, device), Value::Gone, Some(revision)).await {
                    Ok(_) | Err(NotStored::Changed) => Ok(()),
                    Err(error) => Err(error),
                }
            });
        said.await
    }

    async fn say_again(
        &self,
        room: RoomId,
        device: DeviceId,
        revision: u64,
    ) -> Result<(), NotStored> {
        let key = Key::Presence(room, device);
        // Whatever is newer counts: the device may just have gone over to another node. What was
        // heard of last may be deleted by now, too.
        let mut said = self.write(key, Value::Present, Some(revision)).await;
        if matches!(said, Err(NotStored::Changed)) && revision != 0 {
            said = self.write(key, Value::Present, Some(0)).await;
        }
        match said {
            Ok(_) => {}
            Err(NotStored::Changed) => return Ok(()),
            Err(error) => return Err(error),
        }
        let state = self.lock().own.state(room, device);
        for (stream, bytes) in state {
            self.write(Key::State(room, device, stream), Value::Set(bytes), None).await?;
        }
        Ok(())
    }
}

/// Up to a quarter of a second, another one for each node.
fn pause_of(node: &Node) -> Duration {
    Duration::from_millis(u64::from(node[0]))
}
