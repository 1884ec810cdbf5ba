use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use async_nats::jetstream::message::PublishMessage;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::{sync::oneshot, time::sleep};
use tracing::{debug, warn};

use super::{
    Shared,
    connection::{Connection, NotStored, unavailable, within},
    reads::Found,
    recent::{Allowed, Lane},
    spawn,
};
use crate::{
    primitives::DeviceId,
    protocol::service::RefusalCode,
    server::store::{Durable, NewMail, StoreError, StoredMail},
};

/// Between reads that lack what is known to be stored, until it is believed to be gone.
const BEHIND: [Duration; 6] = {
    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }
    [ms(5), ms(10), ms(20), ms(50), ms(100), ms(300)]
};
/// How long acks of one device are gathered: each is a purge.
const ACKS: Duration = Duration::from_millis(20);
/// After which a purge is tried again (when it fails again, a later ack will do), and after which
/// all servers know who listens.
const AGAIN: Duration = Duration::from_secs(1);

/// How often every bell rings in the life of mail, in how many parts, and the shortest pause
/// between two of these.
const REMINDERS: u32 = 4;
const PARTS: u8 = 16;
const SHORTEST: Duration = Duration::from_millis(100);

/// What one node tells the others: who has mail, and which it is at least.
#[derive(Serialize, Deserialize)]
struct WakeUp {
    node: [u8; 16],
    device: DeviceId,
    sequence: u64,
}

impl Shared {
    pub(super) async fn submit(self: &Arc<Self>, mail: NewMail) -> Result<Durable, StoreError> {
        if mail.bytes.len() > self.limits.mail_payload {
            return Err(StoreError::Refused(RefusalCode::TooLarge));
        }
        self.nats.check()?;
        let NewMail { from, to, stranger, bytes } = mail;
        let lanes: &'static [Lane] =
            if stranger { &[Lane::Anybody, Lane::Strangers] } else { &[Lane::Anybody] };
        for (index, lane) in lanes.iter().enumerate() {
            if let Err(error) = self.find_room(&to, *lane).await {
                self.give_back(&to, &lanes[..index]);
                return Err(error);
            }
        }
        let (subject, full) = if stranger {
            (self.layout.mail_from_strangers(&to), RefusalCode::MailboxFull)
        } else {
            (self.layout.mail_from(&to, &from), RefusalCode::QuotaExceeded)
        };
        let mut message = BytesMut::with_capacity(DeviceId::LENGTH + bytes.len());
        message.put_slice(from.as_bytes());
        message.put_slice(&bytes);
        let message = PublishMessage::build().payload(message.freeze());
        let refused = move |error| match error {
            NotStored::SubjectFull => StoreError::Refused(full),
            NotStored::StreamFull => StoreError::Refused(RefusalCode::MailboxFull),
            other => other.into_unavailable(),
        };
        let acknowledged = match self.nats.send(subject, message).await {
            Ok(acknowledged) => acknowledged,
            Err(error) => {
                self.give_back(&to, lanes);
                return Err(refused(error));
            }
        };
        let (done, durable) = oneshot::channel();
        let shared = self.clone();
        spawn(&self.under_way, async move {
            let stored = Connection::stored(acknowledged).await.map_err(refused);
            match stored {
                Ok(sequence) => shared.wake(to, sequence).await,
                Err(_) => shared.give_back(&to, lanes),
            }
            // Nobody may wait for it.
            let _ = done.send(stored.map(drop));
        });
        let ended = |_| Err(unavailable("the store was closed"));
        Ok(durable.map(move |done| done.unwrap_or_else(ended)).boxed())
    }

    /// Takes a place in a mailbox; see the module on how exactly these are counted.
    async fn find_room(&self, to: &DeviceId, lane: Lane) -> Result<(), StoreError> {
        let full = StoreError::Refused(RefusalCode::MailboxFull);
        match self.recents.take_place(to, lane) {
            Allowed::Yes => return Ok(()),
            Allowed::No => return Err(full),
            Allowed::Unknown => {}
        }
        let stream = self.layout.mail_stream(to);
        let (subject, at_most) = match lane {
            Lane::Anybody => (self.layout.all_mail(to), self.limits.mailbox_count),
            Lane::Strangers => (self.layout.mail_from_strangers(to), self.limits.stranger_lane),
        };
        let left = |held: u64| at_most.saturating_sub(usize::try_from(held).unwrap_or(usize::MAX));
        let held = self.nats.read(&stream, &subject, 1, 1).await?;
        let mut places = left(held.found.len() as u64 + held.pending);
        if places == 0 {
            // A replica that is behind does not know of the last acks.
            places = left(self.nats.count(&stream, &subject).await?);
        }
        self.recents.counted(to, lane, places);
        match self.recents.take_place(to, lane) {
            Allowed::Yes => Ok(()),
            Allowed::No | Allowed::Unknown => Err(full),
        }
    }

    fn give_back(&self, to: &DeviceId, lanes: &[Lane]) {
        lanes.iter().for_each(|lane| self.recents.give_back(to, *lane));
    }

    /// Wakes a recipient, wherever it is connected.
    async fn wake(&self, device: DeviceId, sequence: u64) {
        self.recents.stored(&device, sequence);
        self.bells.ring(&device);
        let Ok(message) = postcard::to_stdvec(&WakeUp { node: self.node, device, sequence }) else {
            return;
        };
        let subject = self.layout.between_nodes("mail");
        if let Err(error) = within(self.nats.client.publish(subject, message.into())).await {
            // All bells ring when the connection is back.
            debug!(%error, "a wake-up was lost");
        }
    }

    /// Rings every bell some times in the life of mail: a wake-up may be lost between two servers,
    /// of which nobody hears. A few at a time.
    pub(super) async fn remind(shared: Weak<Self>) {
        let Some(every) = shared.upgrade().map(|shared| shared.limits.mail_ttl / REMINDERS) else {
            return;
        };
        // At first there is nothing to remind of.
        sleep(every).await;
        loop {
            for part in 0..PARTS {
                sleep((every / u32::from(PARTS)).max(SHORTEST)).await;
                let Some(shared) = shared.upgrade() else { return };
                shared.bells.ring_part(part, PARTS);
            }
        }
    }

    /// Rings for what other nodes have stored, for as long as it is polled.
    pub(super) async fn listen(
        self: &Arc<Self>,
    ) -> Result<impl Future<Output = ()> + use<>, StoreError> {
        let subject = self.layout.between_nodes("mail");
        let heard = within(self.nats.client.subscribe(subject)).await?;
        let mut heard = heard.map_err(unavailable)?;
        let (mut connected, shared) = (self.nats.connected.clone(), Arc::downgrade(self));
        Ok(async move {
            loop {
                let message = tokio::select! {
                    message = heard.next() => message,
                    changed = connected.changed() => {
                        let Some(shared) = shared.upgrade() else { return };
                        // Wake-ups may have been lost, and may be until all servers know that
                        // this one listens at another place now.
                        shared.recents.doubt();
                        shared.bells.ring_all();
                        if changed.is_err() { return }
                        let bells = shared.bells.clone();
                        spawn(&shared.under_way, async move {
                            sleep(AGAIN).await;
                            bells.ring_all();
                        });
                        continue;
                    }
                };
                let (Some(message), Some(shared)) = (message, shared.upgrade()) else { return };
                match postcard::from_bytes::<WakeUp>(&message.payload) {
                    Ok(woken) if woken.node != shared.node => {
                        shared.recents.stored(&woken.device, woken.sequence);
                        shared.bells.ring(&woken.device);
                    }
                    Ok(_) => {}
                    Err(error) => warn!(%error, "a wake-up could not be read"),
                }
            }
        })
    }

    /// Rings a bell some more times, when a read may have been behind what was stored. Whoever
    /// stored it has rung already, and does so no more.
    fn ring_again(self: &Arc<Self>, device: DeviceId) {
        if !self.recents.ring_again(&device) {
            return;
        }
        let shared = Arc::downgrade(self);
        spawn(&self.listening, async move {
            while let Some(pause) =
                shared.upgrade().and_then(|shared| shared.recents.next_ring(&device))
            {
                sleep(pause).await;
                let Some(shared) = shared.upgrade() else { return };
                shared.bells.ring(&device);
            }
        });
    }

    pub(super) async fn mail_after(
        self: &Arc<Self>,
        device: &DeviceId,
        sequence: u64,
        at_most: usize,
    ) -> Result<Vec<StoredMail>, StoreError> {
        let (stream, subject) = (self.layout.mail_stream(device), self.layout.all_mail(device));
        let (newest, acked, unknown) = self.recents.bounds(device);
        if unknown {
            // Any answer has to be believed, be it of a replica that is behind.
            self.ring_again(*device);
        }
        let after = sequence.max(acked);
        let mut pauses = BEHIND.into_iter();
        loop {
            let (mut mail, mut last) = (Vec::new(), after);
            while mail.len() < at_most {
                let left = at_most - mail.len();
                let batch = self.nats.read(&stream, &subject, last.saturating_add(1), left).await?;
                let Some(end) = batch.found.last() else { break };
                last = end.sequence;
                mail.extend(batch.found.into_iter().filter_map(stored_mail));
                if batch.pending == 0 {
                    break;
                }
            }
            if mail.len() >= at_most || last >= newest {
                return Ok(mail);
            }
            let Some(pause) = pauses.next() else {
                // It is gone, or this replica is far behind.
                self.recents.missing(device, newest);
                self.ring_again(*device);
                return Ok(mail);
            };
            sleep(pause).await;
        }
    }

    pub(super) fn ack(self: &Arc<Self>, device: &DeviceId, sequence: u64) {
        self.recents.acked(device, sequence);
        let (shared, device) = (self.clone(), *device);
        if !self.acks.add(device, sequence) {
            return;
        }
        spawn(&self.under_way, async move {
            loop {
                sleep(ACKS).await;
                let sequence = shared.acks.get(&device);
                if shared.purge(&device, sequence).await.is_err() {
                    sleep(AGAIN).await;
                    if let Err(error) = shared.purge(&device, sequence).await {
                        warn!(%error, "an ack was lost; its mail will be delivered again");
                    }
                }
                if shared.acks.finish(&device, sequence) {
                    // What was counted before is out of date.
                    shared.recents.acked(&device, sequence);
                    return;
                }
            }
        });
    }

    async fn purge(&self, device: &DeviceId, sequence: u64) -> Result<(), StoreError> {
        let stream = self.layout.mail_stream(device);
        let first = sequence.saturating_add(1);
        self.nats.purge(&stream, self.layout.all_mail(device), Some(first)).await
    }
}

fn stored_mail(found: Found) -> Option<StoredMail> {
    let Found { sequence, bytes } = found;
    let from = DeviceId::from_bytes(*bytes.first_chunk()?);
    let bytes: Bytes = bytes.slice(DeviceId::LENGTH..);
    Some(StoredMail { sequence, from, bytes: bytes.into() })
}
