use std::{
    future::Future,
    sync::{Arc, Weak},
    time::Instant,
};

use futures_util::StreamExt;
use tracing::warn;

use super::{
    Rooms,
    entry::{Told, What},
};
use crate::server::store::{
    StoreError,
    nats::connection::{unavailable, within},
};

impl Rooms {
    /// Listens to what other nodes say without storing it, for as long as it is polled.
    pub(super) async fn listen(
        self: Arc<Self>,
    ) -> Result<impl Future<Output = ()> + use<>, StoreError> {
        let (nats, layout) = (&self.shared.nats, &self.shared.layout);
        let heard = within(nats.client.subscribe(layout.between_nodes("rooms"))).await?;
        let mut heard = heard.map_err(unavailable)?;
        Ok(async move {
            while let Some(message) = heard.next().await {
                match postcard::from_bytes(&message.payload) {
                    Ok(Told { node, .. }) if node == self.shared.node => {}
                    Ok(told) => self.heard(told),
                    Err(error) => warn!(%error, "another node could not be understood"),
                }
            }
        })
    }

    fn heard(&self, Told { node, what }: Told) {
        let now = Instant::now();
        let mut known = self.lock();
        match what {
            What::Alive => {
                if known.mirror.heard(node, now) {
                    self.read_again.notify_one();
                }
            }
            What::Bye => {
                known.mirror.bye(&node);
                let changes = known.mirror.expire(now);
                known.tell(changes);
            }
            What::Broadcast(room, from, bytes) => {
                let events = known.events.as_ref().and_then(Weak::upgrade);
                drop(known);
                if let Some(events) = events {
                    events.broadcast(room, from, bytes);
                }
            }
            What::Attached(device, at) => {
                let events = known.events.as_ref().and_then(Weak::upgrade);
                drop(known);
                if let Some(events) = events {
                    events.attached_elsewhere(device, at);
                }
            }
        }
    }
}
