use std::time::Duration;

use tokio::time::sleep;
use tracing::{debug, trace};

use super::{End, Wire};
use crate::{
    primitives::{DeviceId, DoorKey, RoomId, Signature},
    protocol::service::{ClientFrame, FrameError, RefusalCode, ServerFrame, Subject},
    server::{
        hub::Hub,
        metrics::Metrics,
        rate::{Rate, Verdict},
    },
};

/// What is known of the device on the other side.
pub(super) struct Conversation<'a> {
    pub(super) hub: &'a Hub,
    pub(super) metrics: &'a Metrics,
    pub(super) device: DeviceId,
    pub(super) nonce: [u8; 32],
    pub(super) rate: Rate,
}

impl Conversation<'_> {
    /// Does what a frame asks for and answers it.
    pub(super) async fn answer(&self, wire: &mut Wire, bytes: &[u8]) -> Result<(), End> {
        let frame = match ClientFrame::decode(bytes) {
            Ok(frame) => frame,
            // Whole and readable, only larger than is taken: no reason to hang up.
            Err(FrameError::TooLarge) => {
                return self.refuse(wire, Subject::Connection, false, RefusalCode::TooLarge).await;
            }
            Err(error) => return Err(error.into()),
        };
        let subject = match &frame {
            // Said twice: the device of a connection does not change.
            ClientFrame::Authenticate { .. } => return Err(End::Refused(RefusalCode::Malformed)),
            ClientFrame::Ack { .. } => Subject::Connection,
            ClientFrame::Send { request, .. } => Subject::Request(*request),
            ClientFrame::Enter { room, .. }
            | ClientFrame::Leave { room }
            | ClientFrame::Broadcast { room, .. } => Subject::Room(*room),
            ClientFrame::SetState { room, stream, .. }
            | ClientFrame::ClearState { room, stream, .. } => {
                Subject::Stream { room: *room, stream: *stream }
            }
        };
        let is_mail = matches!(frame, ClientFrame::Send { .. });
        if self.rate.count(&frame, bytes.len()) == Verdict::TooFast {
            if !matches!(frame, ClientFrame::Ack { .. } | ClientFrame::Leave { .. }) {
                return self.refuse(wire, subject, is_mail, RefusalCode::RateLimited).await;
            }
            // These two cannot be refused, so whoever sends too many waits.
            sleep(Duration::from_millis(20)).await;
        }
        match self.handle(frame) {
            Ok(answers) => {
                self.metrics.frame(is_mail, None);
                wire.send_all(&answers).await
            }
            Err(code) => self.refuse(wire, subject, is_mail, code).await,
        }
    }

    fn handle(&self, frame: ClientFrame) -> Result<Vec<ServerFrame>, RefusalCode> {
        let device = self.device;
        match frame {
            ClientFrame::Enter { room, door, signature } => {
                return self.enter(room, &door, &signature);
            }
            ClientFrame::Send { request, to, bytes } => {
                let size = bytes.len();
                self.hub.send(device, to, bytes)?;
                trace!(from = device.short(), to = to.short(), size, "mail");
                return Ok(vec![ServerFrame::Accepted { request }]);
            }
            ClientFrame::Leave { room } => self.hub.leave(room, device),
            ClientFrame::Ack { sequence } => self.hub.ack(&device, sequence),
            ClientFrame::Broadcast { room, bytes } => self.hub.broadcast(room, device, bytes)?,
            ClientFrame::SetState { room, stream, bytes } => {
                let size = bytes.len();
                self.hub.set_state(room, device, stream, bytes)?;
                debug!(device = device.short(), room = short(&room), size, "state set");
            }
            ClientFrame::ClearState { room, stream, bytes } => {
                self.hub.clear_state(room, device, stream, bytes)?;
                debug!(device = device.short(), room = short(&room), "state cleared");
            }
            ClientFrame::Authenticate { .. } => return Err(RefusalCode::Malformed),
        }
        Ok(Vec::new())
    }

    fn enter(
        &self,
        room: RoomId,
        door: &[u8; 32],
        signature: &Signature,
    ) -> Result<Vec<ServerFrame>, RefusalCode> {
        if !DoorKey::opens(door, &room, &self.nonce, &self.device, signature) {
            return Err(RefusalCode::WrongDoor);
        }
        let answers = self.hub.enter(room, self.device)?;
        debug!(device = self.device.short(), room = short(&room), "entered");
        Ok(answers)
    }

    async fn refuse(
        &self,
        wire: &mut Wire,
        subject: Subject,
        is_mail: bool,
        code: RefusalCode,
    ) -> Result<(), End> {
        self.metrics.frame(is_mail, Some(code));
        debug!(device = self.device.short(), ?code, "refused");
        wire.send(&ServerFrame::Refused { subject, code }).await
    }
}

/// Enough of a room's id for a log.
fn short(room: &RoomId) -> String {
    room.to_string().chars().take(8).collect()
}
