use std::fmt;

use tokio::sync::mpsc::{self, error::TrySendError};

use crate::{
    primitives::{DeviceId, DoorKey, RoomId, StreamId},
    protocol::service::{MAX_PAYLOAD, Payload},
};

/// Why a command was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Too many commands wait; the key service is away or slow.
    #[error("too many commands wait for the key service; try again in a moment")]
    Full,
    /// The connection was dropped or closed, or has given up.
    #[error("the connection has ended; open a new one")]
    Ended,
    /// More than a message may hold.
    #[error("a message has at most 65536 bytes; send less")]
    TooLarge,
}

/// What the task is asked to do.
pub(super) enum Command {
    Enter { room: RoomId, door: DoorKey },
    Leave { room: RoomId },
    Send { to: DeviceId, bytes: Payload },
    Broadcast { room: RoomId, bytes: Payload },
    SetState { room: RoomId, stream: StreamId, bytes: Payload },
    ClearState { room: RoomId, stream: StreamId, bytes: Payload },
    Close,
}

/// Gives commands to a connection; no call waits.
#[derive(Clone)]
pub struct ConnectionHandle(pub(super) mpsc::Sender<Command>);

impl fmt::Debug for ConnectionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionHandle").finish_non_exhaustive()
    }
}

impl ConnectionHandle {
    /// Mail for one device: sent again after a reconnect until the service has taken it over,
    /// for a minute at most. It may arrive twice.
    ///
    /// # Errors
    /// Every [`CommandError`].
    pub fn send(&self, to: DeviceId, bytes: impl Into<Payload>) -> Result<(), CommandError> {
        let bytes = checked(bytes)?;
        self.give(Command::Send { to, bytes })
    }

    /// For everybody else who is in the room now. Lost while there is no connection.
    ///
    /// # Errors
    /// Every [`CommandError`].
    pub fn broadcast(&self, room: RoomId, bytes: impl Into<Payload>) -> Result<(), CommandError> {
        let bytes = checked(bytes)?;
        self.give(Command::Broadcast { room, bytes })
    }

    /// Announces a stream to the room, now and after every reconnect, until it is cleared.
    ///
    /// # Errors
    /// Every [`CommandError`].
    pub fn set_state(
        &self,
        room: RoomId,
        stream: StreamId,
        bytes: impl Into<Payload>,
    ) -> Result<(), CommandError> {
        let bytes = checked(bytes)?;
        self.give(Command::SetState { room, stream, bytes })
    }

    /// Takes a stream back; `bytes` is the signed end, which the others get.
    ///
    /// # Errors
    /// Every [`CommandError`].
    pub fn clear_state(
        &self,
        room: RoomId,
        stream: StreamId,
        bytes: impl Into<Payload>,
    ) -> Result<(), CommandError> {
        let bytes = checked(bytes)?;
        self.give(Command::ClearState { room, stream, bytes })
    }

    /// Enters one more room, now and after every reconnect.
    ///
    /// # Errors
    /// [`CommandError::Full`] and [`CommandError::Ended`].
    pub fn enter(&self, room: RoomId, door: DoorKey) -> Result<(), CommandError> {
        self.give(Command::Enter { room, door })
    }

    /// Leaves a room, and forgets what was announced there.
    ///
    /// # Errors
    /// [`CommandError::Full`] and [`CommandError::Ended`].
    pub fn leave(&self, room: RoomId) -> Result<(), CommandError> {
        self.give(Command::Leave { room })
    }

    /// Waits until a command would be taken, or the connection has ended.
    pub(in crate::client) async fn has_room(&self) {
        // Whether it ended, the next command says.
        let _ = self.0.reserve().await;
    }

    fn give(&self, command: Command) -> Result<(), CommandError> {
        self.0.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => CommandError::Full,
            TrySendError::Closed(_) => CommandError::Ended,
        })
    }
}

fn checked(bytes: impl Into<Payload>) -> Result<Payload, CommandError> {
    let bytes = bytes.into();
    if bytes.len() > MAX_PAYLOAD { Err(CommandError::TooLarge) } else { Ok(bytes) }
}
