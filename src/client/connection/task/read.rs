use std::{ops::ControlFlow, time::Instant};

use futures_util::{StreamExt, stream::SplitStream};
use tokio::time::timeout;
use tracing::debug;

use super::{
    super::{ConnectionEvent, Delivered, DownReason, dial::Socket, link::binary},
    Events, Finished, Task,
};
use crate::protocol::service::{IDLE_TIMEOUT, RefusalCode, ServerFrame, Subject};

/// What has arrived so far, so that mail which comes again is recognised.
#[derive(Default)]
pub(super) struct Arrived(Delivered);

impl Arrived {
    /// True for mail that is new.
    fn note(&mut self, instance: [u8; 16], sequence: u64) -> bool {
        if self.0.instance != instance {
            self.0 = Delivered { instance, sequence: 0 };
        }
        let new = sequence > self.0.sequence;
        self.0.sequence = self.0.sequence.max(sequence);
        new
    }
}

impl Task {
    /// Reads until the connection ends or nobody wants to know any more.
    pub(super) async fn read(
        &self,
        mut stream: SplitStream<Socket>,
        instance: [u8; 16],
        events: &Events,
        arrived: &mut Arrived,
    ) -> ControlFlow<Finished, DownReason> {
        loop {
            // Room for the event first: what cannot be handed on is left with the service.
            let Ok(permit) = events.reserve().await else { return ControlFlow::Break(Finished) };
            let bytes = match timeout(IDLE_TIMEOUT, stream.next()).await {
                Err(_) => return ControlFlow::Continue(DownReason::Silent),
                Ok(None) => return ControlFlow::Continue(DownReason::Lost),
                Ok(Some(message)) => match binary(message) {
                    Ok(Some(bytes)) => bytes,
                    Ok(None) => continue,
                    Err(reason) => return ControlFlow::Continue(reason),
                },
            };
            let frame = match ServerFrame::decode(&bytes) {
                Ok(frame) => frame,
                Err(error) => return ControlFlow::Continue(DownReason::Frame(error)),
            };
            if let ServerFrame::Refused { subject: Subject::Connection, code } = frame {
                return ControlFlow::Continue(DownReason::Refused(code));
            }
            let mut delivered = None;
            if let ServerFrame::Mail { sequence, .. } = frame {
                if !arrived.note(instance, sequence) {
                    continue;
                }
                delivered = Some(Delivered { instance, sequence });
            }
            if let Some(event) = self.event(frame) {
                permit.send((event, delivered));
            }
        }
    }

    /// What a frame means to the consumer.
    fn event(&self, frame: ServerFrame) -> Option<ConnectionEvent> {
        Some(match frame {
            ServerFrame::Challenge { .. } | ServerFrame::Welcome { .. } => return None,
            ServerFrame::Accepted { request } => {
                self.standing().done(request);
                return None;
            }
            ServerFrame::Refused { subject, code } => return self.refused(subject, code),
            ServerFrame::Entered { room, roster, state } => {
                self.standing().entered(room);
                ConnectionEvent::Entered { room, roster, state }
            }
            ServerFrame::Mail { from, bytes, .. } => ConnectionEvent::Mail { from, bytes },
            ServerFrame::Broadcast { room, from, bytes } => {
                ConnectionEvent::Broadcast { room, from, bytes }
            }
            ServerFrame::State { room, device, stream, bytes } => {
                ConnectionEvent::State { room, device, stream, bytes }
            }
            ServerFrame::StateCleared { room, device, stream, bytes } => {
                ConnectionEvent::StateCleared { room, device, stream, bytes }
            }
            ServerFrame::Present { room, device } => ConnectionEvent::Present { room, device },
            ServerFrame::Gone { room, device } => ConnectionEvent::Gone { room, device },
        })
    }

    fn refused(&self, subject: Subject, code: RefusalCode) -> Option<ConnectionEvent> {
        debug!(device = self.signer.device().short(), ?code, "the service refused something");
        // What may be otherwise in a moment is no news to the consumer; it is tried again.
        let passes = matches!(code, RefusalCode::RateLimited | RefusalCode::Unavailable);
        match subject {
            Subject::Request(request) if passes => {
                self.standing().slow_down(request, Instant::now());
                self.slowed.notify_one();
                None
            }
            // In a room that was entered, it was a broadcast, which may be lost.
            Subject::Room(room) if passes && self.standing().is_in(&room) => None,
            Subject::Room(_) | Subject::Stream { .. } if passes => {
                self.standing().say_again(Instant::now());
                self.slowed.notify_one();
                None
            }
            // Its room is about to be entered once more.
            Subject::Stream { .. }
                if code == RefusalCode::NotInRoom && self.standing().is_to_be_said_again() =>
            {
                None
            }
            Subject::Request(request) => {
                let to = self.standing().done(request)?;
                Some(ConnectionEvent::SendRefused { to, code })
            }
            Subject::Room(room) => Some(ConnectionEvent::RoomRefused { room, code }),
            Subject::Stream { room, stream } => {
                Some(ConnectionEvent::StateRefused { room, stream, code })
            }
            Subject::Connection => None,
        }
    }
}
