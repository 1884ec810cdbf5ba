use std::{
    ops::ControlFlow,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use tokio::{
    sync::{Notify, mpsc, watch},
    time::sleep_until,
};
use tracing::info;

mod read;
mod write;

use super::{
    ConnectionEvent, Delivered, DownReason,
    command::Command,
    link::{Link, dial},
    standing::{Speaker, Standing},
};
use crate::{
    client::Trust,
    device::Signer,
    primitives::{DoorKey, RoomId, ServiceAddress},
};
use read::Arrived;

/// Back-off between attempts: doubled from the first to the last, and spread by a fifth.
const FIRST: Duration = Duration::from_millis(200);
const LAST: Duration = Duration::from_secs(3);

/// A connection that lasted this long was a good one: the back-off begins anew.
const GOOD: Duration = Duration::from_secs(5);

type Events = mpsc::Sender<(ConnectionEvent, Option<Delivered>)>;

/// Everything ends: the consumer has gone, or asked for it.
#[derive(Debug)]
struct Finished;

/// The task behind a connection.
pub(super) struct Task {
    service: ServiceAddress,
    trust: Trust,
    signer: Signer,
    standing: Mutex<Standing>,
    /// Wakes the writing half when the reading half was told to slow down.
    slowed: Notify,
    closing: AtomicBool,
}

impl Task {
    pub(super) fn new(
        service: ServiceAddress,
        trust: Trust,
        signer: Signer,
        rooms: Vec<(RoomId, DoorKey)>,
    ) -> Self {
        let standing = Mutex::new(Standing::new(rooms));
        let (slowed, closing) = (Notify::new(), AtomicBool::new(false));
        Self { service, trust, signer, standing, slowed, closing }
    }

    /// Never held across an await, and every change under it is whole.
    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn run(
        self,
        mut commands: mpsc::Receiver<Command>,
        events: Events,
        mut acks: watch::Receiver<Delivered>,
    ) {
        let (mut pause, mut arrived, mut told) = (FIRST, Arrived::default(), None);
        loop {
            // Commands keep being taken while dialling, so that their queue does not fill up.
            let dialled = tokio::select! {
                dialled = dial(&self.service, &self.trust, &self.signer) => dialled,
                Finished = self.absorb(&mut commands) => return,
            };
            let reason = match dialled {
                Ok(link) => {
                    info!(service = %self.service, device = self.signer.device().short(), "connected");
                    let since = Instant::now();
                    if events.send((ConnectionEvent::Up, None)).await.is_err() {
                        return;
                    }
                    told = None;
                    let ended =
                        self.converse(link, &mut commands, &events, &mut acks, &mut arrived).await;
                    let ControlFlow::Continue(reason) = ended else { return };
                    if since.elapsed() >= GOOD {
                        pause = FIRST;
                    }
                    reason
                }
                Err(reason) => reason,
            };
            info!(service = %self.service, device = self.signer.device().short(), %reason, "not connected");
            let last = reason.is_final();
            if told.as_ref() != Some(&reason) {
                told = Some(reason.clone());
                if events.send((ConnectionEvent::Down { reason }, None)).await.is_err() {
                    return;
                }
            }
            if last {
                return;
            }
            let until = Instant::now() + pause.mul_f64(rand::random_range(0.8..1.2));
            pause = (pause * 2).min(LAST);
            tokio::select! {
                () = sleep_until(until.into()) => {}
                Finished = self.absorb(&mut commands) => return,
            }
        }
    }

    /// Takes commands over while there is no connection, until it is asked to close.
    async fn absorb(&self, commands: &mut mpsc::Receiver<Command>) -> Finished {
        loop {
            if !self.standing().has_room() {
                // The queue fills up, and the handle says so.
                sleep_until((Instant::now() + LAST).into()).await;
                self.standing().forget(Instant::now());
                continue;
            }
            match commands.recv().await {
                None | Some(Command::Close) => return Finished,
                Some(command) => self.standing().take(command, None, Instant::now()),
            };
        }
    }

    /// Reads and writes until the connection ends. Both go on at the same time, so that two
    /// sides with full buffers do not wait for each other.
    async fn converse(
        &self,
        link: Link,
        commands: &mut mpsc::Receiver<Command>,
        events: &Events,
        acks: &mut watch::Receiver<Delivered>,
        arrived: &mut Arrived,
    ) -> ControlFlow<Finished, DownReason> {
        let Link { socket, nonce, instance } = link;
        let speaker = Speaker { device: self.signer.device(), nonce };
        let (sink, stream) = socket.split();
        let ended = tokio::select! {
            ended = self.read(stream, instance, events, arrived) => ended,
            ended = self.write(sink, instance, &speaker, commands, acks) => ended,
        };
        match self.closing.load(Ordering::Relaxed) {
            true => ControlFlow::Break(Finished),
            false => ended,
        }
    }
}
