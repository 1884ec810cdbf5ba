use std::{
    ops::ControlFlow,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use futures_util::{SinkExt, stream::SplitSink};
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, sleep_until, timeout},
};
use tokio_tungstenite::tungstenite::Message;

use super::{
    super::{Delivered, DownReason, command::Command, dial::Socket, standing::Speaker},
    Finished, LAST, Task,
};
use crate::protocol::service::ClientFrame;

/// How long the service may take to make room for one frame.
const WRITE: Duration = Duration::from_secs(10);

impl Task {
    /// Says what stands, and then carries out commands until the connection ends.
    pub(super) async fn write(
        &self,
        mut sink: SplitSink<Socket, Message>,
        instance: [u8; 16],
        speaker: &Speaker,
        commands: &mut mpsc::Receiver<Command>,
        acks: &mut watch::Receiver<Delivered>,
    ) -> ControlFlow<Finished, DownReason> {
        let lost = ControlFlow::Continue(DownReason::Lost);
        let mut frames = self.standing().say_all(speaker, Instant::now());
        // What was handed out before this connection but acked too late.
        acks.mark_changed();
        loop {
            for frame in frames.drain(..) {
                // Every payload was checked when it was given.
                let Ok(bytes) = frame.encode() else { continue };
                let written = sink.send(Message::Binary(bytes.into()));
                if !matches!(timeout(WRITE, written).await, Ok(Ok(()))) {
                    return lost;
                }
            }
            let (has_room, again) = {
                let standing = self.standing();
                (standing.has_room(), standing.next_again())
            };
            let never = Instant::now() + LAST;
            tokio::select! {
                command = commands.recv(), if has_room => match command {
                    None | Some(Command::Close) => {
                        self.closing.store(true, Ordering::Relaxed);
                        let _ = timeout(WRITE, sink.close()).await;
                        // The reading half sees the service hang up; leaving before that could
                        // reset the connection while our last words are still under way.
                        sleep(LAST).await;
                        return ControlFlow::Break(Finished);
                    }
                    Some(command) => {
                        let taken = self.standing().take(command, Some(speaker), Instant::now());
                        frames.extend(taken);
                    }
                },
                changed = acks.changed() => {
                    if changed.is_err() {
                        return ControlFlow::Break(Finished);
                    }
                    let delivered = *acks.borrow_and_update();
                    if delivered.instance == instance {
                        frames.push(ClientFrame::Ack { sequence: delivered.sequence });
                    }
                }
                () = self.slowed.notified() => {}
                () = sleep_until(again.unwrap_or(never).into()) => {
                    frames = self.standing().again(speaker, Instant::now());
                }
            }
        }
    }
}
