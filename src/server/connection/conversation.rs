use futures_util::future::BoxFuture;
use tracing::{debug, trace};

use super::{End, Share, Wire};
use crate::{
    primitives::{DeviceId, DoorKey, RoomId},
    protocol::service::{ClientFrame, FrameError, RefusalCode, ServerFrame, Subject},
    server::{
        addresses::{Address, Addresses},
        hub::{Hub, refusal},
        metrics::Metrics,
        rate::{Rate, Verdict, is_for_room},
        store::{NewMail, StoreError},
    },
};

/// Mail that was handed to the store: its number, and what becomes of it.
pub(super) type UnderWay = BoxFuture<'static, (u64, Result<(), StoreError>)>;

/// What is known of the device on the other side.
pub(super) struct Conversation<'a> {
    pub(super) hub: &'a Hub,
    pub(super) metrics: &'a Metrics,
    pub(super) device: DeviceId,
    pub(super) nonce: [u8; 32],
    pub(super) rate: Rate,
    pub(super) addresses: &'a Addresses,
    pub(super) address: Address,
    pub(super) share: Share,
}

impl Conversation<'_> {
    /// Does what a frame asks for. The answer to mail comes when it is durable; it is returned, so
    /// that the next frames need not wait for it.
    pub(super) async fn answer(
        &mut self,
        wire: &mut Wire,
        bytes: &[u8],
    ) -> Result<Option<UnderWay>, End> {
        let frame = match ClientFrame::decode(bytes) {
            Ok(frame) => frame,
            // Whole and readable, only larger than is taken: no reason to hang up.
            Err(FrameError::TooLarge) => {
                let code = RefusalCode::TooLarge;
                self.refuse(wire, Subject::Connection, false, code).await?;
                return Ok(None);
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
        if self.rate.count(&frame, bytes.len()) == Verdict::TooFast
            || (is_for_room(&frame) && !self.addresses.room_frame(self.address))
        {
            wire.read_slower(bytes.len());
            // These two cannot be refused.
            if !matches!(frame, ClientFrame::Ack { .. } | ClientFrame::Leave { .. }) {
                self.refuse(wire, subject, is_mail, RefusalCode::RateLimited).await?;
                return Ok(None);
            }
        }
        match self.handle(frame).await {
            Ok(Some(under_way)) => Ok(Some(under_way)),
            Ok(None) => {
                self.metrics.frame(false, None);
                Ok(None)
            }
            Err(code) => {
                if code == RefusalCode::RateLimited {
                    wire.read_slower(bytes.len());
                }
                self.refuse(wire, subject, is_mail, code).await.map(|()| None)
            }
        }
    }

    async fn handle(&mut self, frame: ClientFrame) -> Result<Option<UnderWay>, RefusalCode> {
        let device = self.device;
        match frame {
            ClientFrame::Enter { room, door, signature } => {
                if !DoorKey::opens(&door, &room, &self.nonce, &device, &signature) {
                    return Err(RefusalCode::WrongDoor);
                }
                let entering = self.share.entering(room, self.addresses, self.address)?;
                self.hub.enter(room, device).await?;
                self.share.entered(room, entering);
                debug!(device = device.short(), room = short(&room), "entered");
            }
            ClientFrame::Send { request, to, bytes } => {
                let size = bytes.len();
                let stranger = self.hub.is_stranger(&device, &to);
                if !self.addresses.mail(self.address, stranger, size) {
                    return Err(RefusalCode::RateLimited);
                }
                let mail = NewMail { from: device, to, stranger, bytes };
                let durable = self.hub.send(mail).await?;
                trace!(from = device.short(), to = to.short(), size, "mail");
                let answer = async move { (request, durable.await) };
                return Ok(Some(Box::pin(answer)));
            }
            ClientFrame::Leave { room } => {
                self.hub.leave(room, device).await?;
                self.share.left(&room);
            }
            ClientFrame::Ack { sequence } => self.hub.ack(&device, sequence).await?,
            ClientFrame::Broadcast { room, bytes } => self.hub.broadcast(room, device, bytes)?,
            ClientFrame::SetState { room, stream, bytes } => {
                let size = bytes.len();
                let (addresses, address) = (self.addresses, self.address);
                let said = (room, stream);
                let more = self.share.saying(said, size, addresses, address)?;
                self.hub.set_state(room, device, stream, bytes).await?;
                self.share.said(said, size, more);
                debug!(device = device.short(), room = short(&room), size, "state set");
            }
            ClientFrame::ClearState { room, stream, bytes } => {
                self.hub.clear_state(room, device, stream, bytes).await?;
                self.share.cleared((room, stream));
                debug!(device = device.short(), room = short(&room), "state cleared");
            }
            ClientFrame::Authenticate { .. } => return Err(RefusalCode::Malformed),
        }
        Ok(None)
    }

    /// Says what became of mail.
    pub(super) async fn settle(
        &self,
        wire: &mut Wire,
        (request, outcome): (u64, Result<(), StoreError>),
    ) -> Result<(), End> {
        match outcome {
            Ok(()) => {
                self.metrics.frame(true, None);
                wire.send(&ServerFrame::Accepted { request }).await
            }
            Err(error) => self.refuse(wire, Subject::Request(request), true, refusal(&error)).await,
        }
    }

    /// Says no. If the service cannot go on, it hangs up instead: then the device keeps what was
    /// not confirmed, and sends it again.
    async fn refuse(
        &self,
        wire: &mut Wire,
        subject: Subject,
        is_mail: bool,
        code: RefusalCode,
    ) -> Result<(), End> {
        self.metrics.frame(is_mail, Some(code));
        debug!(device = self.device.short(), ?code, "refused");
        if code == RefusalCode::ShuttingDown {
            return Err(End::Refused(code));
        }
        wire.send(&ServerFrame::Refused { subject, code }).await
    }
}

/// Enough of a room's id for a log.
fn short(room: &RoomId) -> String {
    room.to_string().chars().take(8).collect()
}
