use std::collections::VecDeque;

use tokio::{
    sync::{broadcast, mpsc, watch},
    time::sleep,
};

use super::{
    ClientEvent, RoomView,
    calls::Call,
    connection::{CommandError, Connection, ConnectionEvent, ConnectionHandle},
    traffic::Meter,
    vault::Keeper,
};
use crate::{
    clock,
    endpoint::{Ended, Endpoint, Event, Output, Recipient},
    primitives::DeviceId,
    protocol::{Envelope, service::Payload},
};

/// Messages that may wait for room in the connection: a key for each of some thousand holders. When
/// the service is away for longer, they are dropped; the endpoint sends again what matters.
const UNSENT: usize = 4096;

/// The task that owns the endpoint and its connection: the only place where messages, commands
/// and time meet.
pub(super) struct Driver {
    pub(super) endpoint: Endpoint,
    pub(super) connection: Connection,
    pub(super) handle: ConnectionHandle,
    pub(super) calls: mpsc::UnboundedReceiver<Call>,
    pub(super) events: broadcast::Sender<ClientEvent>,
    pub(super) room: watch::Sender<RoomView>,
    /// What the connection has no room for yet, in its order.
    pub(super) unsent: VecDeque<(Recipient, Payload)>,
    pub(super) meter: Meter,
    pub(super) keeper: Keeper,
    /// How many decisions of the user the room's offers were judged by.
    pub(super) decisions: u64,
    /// Told whenever there is a connection; when it is dropped, the client has ended.
    pub(super) up: watch::Sender<()>,
}

impl Driver {
    /// Runs until every handle of the client is gone, or the connection ended for good.
    pub(super) async fn run(mut self) {
        loop {
            let now = clock::now();
            if self.endpoint.poll_timeout().is_some_and(|at| at <= now) {
                // At once, not in the `select!`: messages that never cease would put it off.
                self.endpoint.handle_timeout(now);
                self.flush();
            }
            let wait = self.endpoint.poll_timeout().map_or(super::IDLE, clock::until);
            tokio::select! {
                call = self.calls.recv() => match call {
                    Some(call) => call(&mut self.endpoint, clock::now()),
                    None => break,
                },
                event = self.connection.next() => match event {
                    Some(event) => self.handle(event),
                    None => break,
                },
                () = self.handle.has_room(), if !self.unsent.is_empty() => {}
                () = sleep(wait) => {}
            }
            self.flush();
        }
        self.endpoint.persist();
        self.flush();
        self.connection.close().await;
        self.keeper.finish().await;
    }

    fn handle(&mut self, event: ConnectionEvent) {
        match event {
            ConnectionEvent::Up => {
                self.up.send_replace(());
                self.tell(ClientEvent::ServiceUp);
            }
            ConnectionEvent::Down { reason } => self.tell(ClientEvent::ServiceDown(reason)),
            ConnectionEvent::Entered { roster, state, .. } => {
                // Whoever left while we were away: the service did not tell us when.
                let before: Vec<_> = self.room.borrow().present().collect();
                for device in before.into_iter().filter(|device| !roster.contains(device)) {
                    self.presence(device, false);
                }
                for device in roster {
                    self.presence(device, true);
                }
                self.room.send_modify(RoomView::unmark_all);
                for state in state {
                    self.take_from(state.device, &state.bytes);
                    self.room.send_modify(|room| room.mark(state.device, state.stream, true));
                }
                self.endpoint.handle_reconnect(clock::now());
                self.tell(ClientEvent::Entered);
            }
            ConnectionEvent::Mail { from, bytes } => self.take_from(from, &bytes),
            ConnectionEvent::Broadcast { from, bytes, .. } => self.take_from(from, &bytes),
            ConnectionEvent::State { device, stream, bytes, .. } => {
                self.take_from(device, &bytes);
                self.room.send_modify(|room| room.mark(device, stream, true));
            }
            ConnectionEvent::StateCleared { device, stream, bytes, .. } => {
                if let Some(bytes) = bytes {
                    self.take_from(device, &bytes);
                }
                self.room.send_modify(|room| room.mark(device, stream, false));
            }
            ConnectionEvent::Present { device, .. } => self.presence(device, true),
            ConnectionEvent::Gone { device, .. } => self.presence(device, false),
            ConnectionEvent::SendRefused { to, code } => {
                tracing::debug!(to = %to.short(), %code, "the service refused a message");
            }
            ConnectionEvent::RoomRefused { code, .. } => {
                self.tell(ClientEvent::ServiceRefused(code));
            }
            ConnectionEvent::StateRefused { code, .. } => {
                self.tell(ClientEvent::ServiceRefused(code));
            }
        }
    }

    fn presence(&mut self, device: DeviceId, present: bool) {
        let now = clock::now();
        let mut changed = false;
        self.room.send_if_modified(|room| {
            changed =
                if present { room.present.insert(device) } else { room.present.remove(&device) };
            changed
        });
        if !changed {
            return;
        }
        if present {
            self.endpoint.handle_peer_back(device, now);
        } else {
            self.endpoint.handle_peer_gone(device, now);
        }
    }

    /// A message of whom the service names. Members cannot make us work in others' names then;
    /// the service could, but it can also keep the messages.
    fn take_from(&mut self, from: DeviceId, bytes: &[u8]) {
        if Envelope::sender_of(bytes) == Some(from) {
            self.take(bytes);
        } else {
            tracing::debug!(from = %from.short(), "a message in another's name");
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        if let Err(error) = self.endpoint.handle_message(bytes, clock::now()) {
            tracing::debug!(%error, "a message was not taken");
        }
        // What an offer says must be known before its place in the room is marked.
        self.flush();
    }

    /// Carries out what the endpoint wants done.
    fn flush(&mut self) {
        while let Some((to, bytes)) = self.unsent.pop_front() {
            if let Err(bytes) = self.give(to, bytes) {
                self.unsent.push_front((to, bytes));
                break;
            }
        }
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Send { to, bytes } => {
                    self.meter.count(bytes.len());
                    self.send(to, bytes.into());
                }
                Output::Persist { sealed } => self.keeper.write(sealed),
                Output::Event(event) => {
                    self.note(&event);
                    self.tell(ClientEvent::Stream(event));
                }
            }
        }
        if self.decisions != self.endpoint.memory().decisions() {
            self.judge_offers();
        }
    }

    /// Looks again what speaks against those who offer streams.
    fn judge_offers(&mut self) {
        self.decisions = self.endpoint.memory().decisions();
        self.room.send_if_modified(|room| room.judge(|offer| self.endpoint.distrust(offer)));
    }

    fn send(&mut self, to: Recipient, bytes: Payload) {
        let unsent = if self.unsent.is_empty() { self.give(to, bytes).err() } else { Some(bytes) };
        let Some(bytes) = unsent else { return };
        // Nobody repeats offers and ends: without its end, a dead stream would stay on offer.
        let is_state = matches!(to, Recipient::RoomState(..) | Recipient::EndRoomState(..));
        if is_state || self.unsent.len() < UNSENT {
            self.unsent.push_back((to, bytes));
        } else {
            tracing::debug!("too many messages wait for the key service; one is dropped");
        }
    }

    /// Gives a message to the connection, or gives it back if there is no room.
    fn give(&self, to: Recipient, bytes: Payload) -> Result<(), Payload> {
        let message = bytes.clone();
        let given = match to {
            Recipient::Device(device) => self.handle.send(device, message),
            Recipient::Room(room) => self.handle.broadcast(room, message),
            Recipient::RoomState(room, stream) => self.handle.set_state(room, stream, message),
            Recipient::EndRoomState(room, stream) => self.handle.clear_state(room, stream, message),
        };
        match given {
            Err(CommandError::Full) => return Err(bytes),
            // The protocol tolerates loss.
            Err(error) => tracing::warn!(%error, "a message could not be sent"),
            Ok(()) => {}
        }
        Ok(())
    }

    fn note(&self, event: &Event) {
        match event {
            Event::Offered(offer) => self.room.send_modify(|room| room.note((**offer).clone())),
            Event::Distrusted { stream, distrust, .. } => {
                self.room.send_modify(|room| room.warn(*stream, *distrust));
            }
            // It is offered still, and the user may yet trust it.
            Event::Ended { reason: Ended::Distrusted, .. } => {}
            Event::Ended { stream, .. } => self.room.send_modify(|room| {
                room.offers.shift_remove(stream);
            }),
            _ => {}
        }
    }

    fn tell(&self, event: ClientEvent) {
        // Nobody has to listen.
        let _ = self.events.send(event);
    }
}
