use std::{
    sync::Arc,
    time::{Duration, Instant},
};

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
/// How often it does what is to be done in the stream, in looks.
const CHORES: u32 = 2;

impl Rooms {
    /// Keeps the node alive, and stream and truth the same, for as long as it is polled.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks: u32 = 0;
        loop {
            ticks.tick().await;
            if self.shared.nats.check().is_err() {
                // Nobody can be heard, so nobody is gone.
                self.lock().mirror.pardon(Instant::now());
                continue;
            }
            if looks.is_multiple_of(ALIVE) {
                let _ = self.tell_nodes(What::Alive).await;
            }
            {
                let mut known = self.lock();
                let changes = known.mirror.expire(Instant::now());
                known.tell(changes);
            }
            if looks.is_multiple_of(CHORES)
                && let Err(error) = self.chores().await
            {
                debug!(?error, "rooms are tidied up later");
            }
            looks = looks.wrapping_add(1);
        }
    }

    async fn chores(&self) -> Result<(), NotStored> {
        self.say_what_is_true().await?;
        let chores = self.lock().mirror.chores(Instant::now());
        if !chores.bury.is_empty() {
            // Whoever is first does it for all.
            sleep(pause_of(&self.shared.node)).await;
        }
        for (room, device, revision) in chores.bury {
            if self.lock().mirror.place(room, device).is_some() {
                continue;
            }
            match self.write(Key::Presence(room, device), Value::Gone, Some(revision)).await {
                Ok(_) | Err(NotStored::Changed) => {}
                Err(error) => return Err(error),
            }
        }
        let stream = self.shared.layout.rooms_stream();
        for revision in chores.delete {
            // By its sequence: if something newer was said, that stays.
            self.shared.nats.delete(&stream, revision).await.map_err(NotStored::Unavailable)?;
        }
        Ok(())
    }

    /// Says again what this node said and nobody knows any more, and takes back what is over.
    async fn say_what_is_true(&self) -> Result<(), NotStored> {
        let (missing, over): (Vec<_>, Vec<_>) = {
            let mut known = self.lock();
            let known = &mut *known;
            let own = self.shared.node;
            let places: Vec<_> = known.own.places().collect();
            let mut missing = Vec::new();
            for (room, device) in places {
                match known.mirror.place(room, device) {
                    Some((node, _)) if node == own => {}
                    // It has gone over to another node.
                    Some(_) => known.own.leave(room, device),
                    None => missing.push((room, device, known.mirror.revision(room, device))),
                }
            }
            let mine = known.mirror.own_places();
            let over = mine.filter(|&(room, device, _)| !known.own.is_here(room, device));
            (missing, over.collect())
        };
        for (room, device, revision) in over {
            match self.write(Key::Presence(room, device), Value::Gone, Some(revision)).await {
                Ok(_) | Err(NotStored::Changed) => {}
                Err(error) => return Err(error),
            }
        }
        for (room, device, revision) in missing {
            self.say_again(room, device, revision).await?;
        }
        Ok(())
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
