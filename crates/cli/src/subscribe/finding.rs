//! Which of the streams that bear a label is taken.

use std::{collections::BTreeSet, time::Duration};

use olmcast::{
    client::{Client, ClientError, RoomView},
    device::TrustState,
    endpoint::Offer,
    primitives::DeviceId,
};
use tokio::{sync::watch, time::sleep};

use super::Arguments;
use crate::naming::called;

/// How often it is looked whether a publisher was verified meanwhile.
const LOOK: Duration = Duration::from_secs(1);

/// Waits for a stream that is wanted.
pub(super) async fn find(arguments: &Arguments, client: &Client) -> Result<Offer, ClientError> {
    if !arguments.verified {
        return client.find(&arguments.stream, arguments.publisher).await;
    }
    let mut told = BTreeSet::new();
    let mut room = client.room();
    loop {
        let known = client.known_devices().await?;
        let verified = known.iter().filter(|known| known.state == TrustState::Verified);
        let verified: BTreeSet<_> = verified.map(|known| known.device).collect();
        {
            let room = room.borrow_and_update();
            let of_label = room.offers().filter(|offer| {
                let publisher = offer.stream.publisher;
                offer.content.label == arguments.stream
                    && arguments.publisher.is_none_or(|wanted| wanted == publisher)
            });
            let (taken, others): (Vec<_>, Vec<_>) =
                of_label.partition(|offer| verified.contains(&offer.stream.publisher));
            if let Some(newest) = taken.into_iter().max_by_key(|offer| offer.content.started) {
                return Ok(newest.clone());
            }
            for offer in others {
                let publisher = offer.stream.publisher;
                if told.insert(publisher) {
                    eprintln!(
                        "{} offers it, who is not verified; verify each other with: verify {}",
                        called(&offer.content.name, &publisher),
                        publisher,
                    );
                }
            }
        }
        tokio::select! {
            changed = room.changed() => changed.map_err(|_| ClientError::Ended)?,
            () = sleep(LOOK) => {}
        }
    }
}

/// Resolves when the stream's label is to be had elsewhere: its publisher is gone and somebody
/// else has it, or the publisher itself began a newer one.
pub(super) async fn offered_anew(
    mut room: watch::Receiver<RoomView>,
    ours: &Offer,
    publisher: Option<DeviceId>,
) {
    let label = &ours.content.label;
    let anew = |room: &RoomView| {
        room.newest(label, publisher).is_some_and(|newest| {
            let same_publisher = newest.stream.publisher == ours.stream.publisher;
            let newer = same_publisher && newest.content.started > ours.content.started;
            newest.stream != ours.stream && (newer || !room.is_offered(ours.stream))
        })
    };
    if room.wait_for(anew).await.is_err() {
        // That the client has ended, others notice.
        std::future::pending::<()>().await;
    }
    eprintln!("the stream is offered anew; changing to it");
}
