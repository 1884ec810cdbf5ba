use tokio::{
    sync::{broadcast, mpsc, watch},
    time::sleep,
};

use super::{
    ClientEvent, RoomView,
    connection::{CommandError, Connection, ConnectionEvent, ConnectionHandle},
};
use crate::{
    clock,
    endpoint::{Endpoint, Event, Output, Recipient},
    primitives::{DeviceId, Timestamp},
};

/// Something to do with the endpoint, on the driver's task.
pub(super) type Call = Box<dyn FnOnce(&mut Endpoint, Timestamp) + Send>;

/// The task that owns the endpoint and its connection: the only place where messages, commands
/// and time meet.
pub(super) struct Driver {
    pub(super) endpoint: Endpoint,
    pub(super) connection: Connection,
    pub(super) handle: ConnectionHandle,
    pub(super) calls: mpsc::Receiver<Call>,
    pub(super) events: broadcast::Sender<ClientEvent>,
    pub(super) room: watch::Sender<RoomView>,
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
                () = sleep(wait) => {}
            }
            self.flush();
        }
        self.flush();
        self.connection.close().await;
    }

    fn handle(&mut self, event: ConnectionEvent) {
        match event {
            ConnectionEvent::Up => self.tell(ClientEvent::ServiceUp),
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
                self.room.send_modify(|room| {
                    room.offers.values_mut().for_each(|(_, kept)| *kept = false);
                });
                for state in state {
                    self.take(&state.bytes);
                    self.room.send_modify(|room| room.mark(state.device, state.stream, true));
                }
                self.tell(ClientEvent::Entered);
            }
            ConnectionEvent::Mail { bytes, .. } | ConnectionEvent::Broadcast { bytes, .. } => {
                self.take(&bytes);
            }
            ConnectionEvent::State { device, stream, bytes, .. } => {
                self.take(&bytes);
                self.room.send_modify(|room| room.mark(device, stream, true));
            }
            ConnectionEvent::StateCleared { device, stream, bytes, .. } => {
                if let Some(bytes) = bytes {
                    self.take(&bytes);
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

    fn take(&mut self, bytes: &[u8]) {
        if let Err(error) = self.endpoint.handle_message(bytes, clock::now()) {
            tracing::debug!(%error, "a message was not taken");
        }
        // What an offer says must be known before its place in the room is marked.
        self.flush();
    }

    /// Carries out what the endpoint wants done.
    fn flush(&mut self) {
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Send { to, bytes } => {
                    // The protocol tolerates loss: what matters is sent again.
                    if let Err(error) = self.send(to, bytes) {
                        tracing::warn!(%error, "a message could not be sent");
                    }
                }
                Output::Event(event) => {
                    self.note(&event);
                    self.tell(ClientEvent::Stream(event));
                }
            }
        }
    }

    fn send(&self, to: Recipient, bytes: Vec<u8>) -> Result<(), CommandError> {
        match to {
            Recipient::Device(device) => self.handle.send(device, bytes),
            Recipient::Room(room) => self.handle.broadcast(room, bytes),
            Recipient::RoomState(room, stream) => self.handle.set_state(room, stream, bytes),
            Recipient::EndRoomState(room, stream) => self.handle.clear_state(room, stream, bytes),
        }
    }

    fn note(&self, event: &Event) {
        match event {
            Event::Offered(offer) => self.room.send_modify(|room| room.note((**offer).clone())),
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
