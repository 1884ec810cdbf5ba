//! A device's connection to its key service.
//!
//! A task dials, authenticates, enters the rooms and keeps at it: when the connection is lost it
//! dials again, enters again, says again what this device publishes and sends again what was not
//! accepted. The consumer sees [`ConnectionEvent`]s and gives commands through a
//! [`ConnectionHandle`]; neither side ever waits for the other longer than a bounded queue is
//! full. Mail is acknowledged when [`Connection::next`] has handed it out, and mail that comes a
//! second time is not handed out again.
//!
//! ```no_run
//! # async fn run(identity: olmcast::device::Identity, invite: olmcast::primitives::Invite)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! use olmcast::client::connection::{Connection, ConnectionEvent};
//!
//! let rooms = vec![(invite.room(), invite.door_key()?)];
//! let mut connection = Connection::open(invite.service(), identity.signer(), rooms);
//! let commands = connection.handle();
//! while let Some(event) = connection.next().await {
//!     match event {
//!         ConnectionEvent::Mail { from, bytes } => commands.send(from, bytes)?,
//!         ConnectionEvent::Down { reason } => println!("{reason}"),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod command;
mod dial;
mod event;
mod link;
mod standing;
mod task;

use std::time::Duration;

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

pub use command::{CommandError, ConnectionHandle};
pub use event::{ConnectionEvent, DownReason};

use super::Trust;
use crate::{
    device::Signer,
    primitives::{DoorKey, RoomId, ServiceAddress},
};
use command::Command;
use task::Task;

/// Commands that wait for the task, and events that wait for the consumer.
const COMMANDS: usize = 1024;
const EVENTS: usize = 1024;

/// How long closing may take.
const CLOSE: Duration = Duration::from_secs(2);

/// Mail up to here was handed out. Sequences mean something only within an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Delivered {
    instance: [u8; 16],
    sequence: u64,
}

/// A connection that restores itself. Dropping it cuts the connection; see
/// [`Connection::close`].
#[derive(Debug)]
pub struct Connection {
    handle: ConnectionHandle,
    events: mpsc::Receiver<(ConnectionEvent, Option<Delivered>)>,
    delivered: watch::Sender<Delivered>,
    task: AbortOnDrop,
}

#[derive(Debug)]
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// Begins to connect to a key service, which the device will authenticate to by exactly the
    /// name it dials. Call it inside a tokio runtime. A service that cannot be reached is reported
    /// as [`ConnectionEvent::Down`], and tried again.
    pub fn open(service: &ServiceAddress, signer: Signer, rooms: Vec<(RoomId, DoorKey)>) -> Self {
        Self::open_with(service, &Trust::platform(), signer, rooms)
    }

    /// The same, with other certificates than the platform's.
    pub fn open_with(
        service: &ServiceAddress,
        trust: &Trust,
        signer: Signer,
        rooms: Vec<(RoomId, DoorKey)>,
    ) -> Self {
        let (commands, received) = mpsc::channel(COMMANDS);
        let (events_in, events) = mpsc::channel(EVENTS);
        let (delivered, acks) = watch::channel(Delivered::default());
        let task = Task::new(service.clone(), trust.clone(), signer, rooms);
        let task = tokio::spawn(task.run(received, events_in, acks));
        let handle = ConnectionHandle(commands);
        Self { handle, events, delivered, task: AbortOnDrop(task) }
    }

    /// Gives commands; may be cloned and outlive this connection, and then says so.
    pub fn handle(&self) -> ConnectionHandle {
        self.handle.clone()
    }

    /// What happened next. `None` after a [`Down`](ConnectionEvent::Down) that is
    /// [final](DownReason::is_final). Nothing is lost if the future is dropped.
    ///
    /// A consumer that stops asking stops the reading, too: after some ten seconds of that, the
    /// service takes the device for gone.
    pub async fn next(&mut self) -> Option<ConnectionEvent> {
        let (event, delivered) = self.events.recv().await?;
        if let Some(delivered) = delivered {
            self.delivered.send_replace(delivered);
        }
        Some(event)
    }

    /// Carries out the commands given so far, as far as the service can be reached, and hangs
    /// up. Takes two seconds at most. Mail that was not handed out stays with the service.
    pub async fn close(mut self) {
        let close = async {
            if self.handle.0.send(Command::Close).await.is_ok() {
                // Events that nobody wants any more must not keep the task from its end.
                while self.events.recv().await.is_some() {}
                let _ = (&mut self.task.0).await;
            }
        };
        let _ = timeout(CLOSE, close).await;
    }
}
