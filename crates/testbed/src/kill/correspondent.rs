use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::bail;
use olmcast::{
    primitives::{DeviceId, Invite},
    protocol::service::{ClientFrame, ServerFrame, Subject},
};
use rand::{RngExt, seq::IndexedRandom};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, sleep},
};

use super::{inbox::Inbox, ledger::Ledger};

/// Messages that it has in flight at most.
const WINDOW: usize = 8;
/// Between two messages, if there is room in the window.
const PACE: Duration = Duration::from_millis(2);
/// Bytes of a message.
const BYTES: usize = 256;

/// A device that writes to others, and reads, for as long as the experiment goes on.
pub(super) struct Correspondent {
    inbox: Inbox,
    /// Half of them share a room; the others are strangers to each other.
    room: Option<Arc<Invite>>,
    services: Vec<SocketAddr>,
    /// Numbers in the ledger, and names.
    recipients: Vec<(usize, DeviceId)>,
}

impl Correspondent {
    /// Some that write to each other.
    pub(super) fn some(count: usize, services: &[SocketAddr], ledger: &Arc<Ledger>) -> Vec<Self> {
        let room = services.first().and_then(|service| Invite::generate(service.to_string()).ok());
        let room = room.map(Arc::new);
        let mut all: Vec<_> = (0..count)
            .map(|number| Self {
                inbox: Inbox::new(number, ledger),
                room: room.clone().filter(|_| number < count / 2),
                services: services.to_vec(),
                recipients: Vec::new(),
            })
            .collect();
        let names: Vec<_> =
            all.iter().map(|one| (one.inbox.number, one.inbox.device.id())).collect();
        for correspondent in &mut all {
            correspondent.writes_to(&names);
        }
        all
    }

    pub(super) fn writes_to(&mut self, others: &[(usize, DeviceId)]) {
        self.recipients.extend(others.iter().filter(|(number, _)| *number != self.inbox.number));
    }

    /// Writes and reads until it shall not go on and all that it sent was answered.
    pub(super) async fn run(mut self, going: watch::Receiver<bool>) -> Inbox {
        loop {
            let Some(&service) = self.services.choose(&mut rand::rng()) else { break };
            match self.converse(service, going.clone()).await {
                Ok(()) => break,
                Err(error) => tracing::debug!("a device was cut off: {error:#}"),
            }
            sleep(Duration::from_millis(5)).await;
        }
        self.inbox
    }

    async fn converse(
        &mut self,
        service: SocketAddr,
        mut going: watch::Receiver<bool>,
    ) -> anyhow::Result<()> {
        let mut socket = self.inbox.connect(service).await?;
        if let Some(room) = &self.room {
            // Mail may come before the answer.
            socket.knock(&self.inbox.device, room).await?;
        }
        // What was in flight over an earlier connection is nobody's promise.
        let (mut in_flight, mut next) = (HashMap::new(), 0);
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let goes = *going.borrow();
            if !goes && in_flight.is_empty() {
                return Ok(());
            }
            tokio::select! {
                frame = socket.next() => match frame? {
                    ServerFrame::Accepted { request } => {
                        if let Some(number) = in_flight.remove(&request) {
                            self.inbox.ledger.accept(number);
                        }
                    }
                    ServerFrame::Refused { subject: Subject::Request(request), .. } => {
                        in_flight.remove(&request);
                    }
                    ServerFrame::Refused { subject, code } => bail!("{subject:?}: {code}"),
                    ServerFrame::Mail { sequence, bytes, .. } => {
                        self.inbox.take(sequence, &bytes)?;
                        // What is not acknowledged comes again after a kill.
                        if rand::rng().random_ratio(1, 4) {
                            socket.send(&self.inbox.ack()).await?;
                        }
                    }
                    _ => {}
                },
                _ = pace.tick(), if goes && in_flight.len() < WINDOW => {
                    let Some(&(number, to)) = self.recipients.choose(&mut rand::rng()) else {
                        bail!("nobody to write to");
                    };
                    let letter = self.inbox.ledger.write(number);
                    let mut bytes = vec![0; BYTES];
                    for (place, byte) in bytes.iter_mut().zip(letter.to_be_bytes()) {
                        *place = byte;
                    }
                    in_flight.insert(next, letter);
                    socket.send(&ClientFrame::Send { request: next, to, bytes: bytes.into() }).await?;
                    next += 1;
                }
                _ = going.changed() => {}
            }
        }
    }
}
