use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, bail};
use olmcast::{
    primitives::DeviceId,
    protocol::service::{ClientFrame, ServerFrame},
};
use rand::RngExt;
use tokio::{
    sync::Barrier,
    task::JoinSet,
    time::{Instant, interval_at, sleep_until},
};

use super::crowd::Crowd;
use crate::harness::{device::Socket, times::Times};

/// Bytes of the smallest message: who sent it, its number, and when.
pub(crate) const LEAST: usize = 24;

/// How long mail may still take after the last was sent.
const GRACE: Duration = Duration::from_secs(20);

/// Messages between two acks: the service can also remove what it is told of late.
const ACK_EVERY: u64 = 16;

/// How fast a device sends.
#[derive(Clone, Copy)]
pub(crate) enum Pace {
    /// One message in this time.
    Every(Duration),
    /// As fast as possible, with so many unaccepted.
    Window(usize),
}

/// What became of mail.
#[derive(Default)]
pub(crate) struct Exchange {
    pub(crate) accepted: u64,
    pub(crate) received: u64,
    pub(crate) per_second: f64,
    pub(crate) times: Times,
}

impl Exchange {
    pub(crate) fn lost(&self) -> u64 {
        self.accepted.saturating_sub(self.received)
    }
}

/// What devices tell each other about their sending.
struct Sent {
    /// By sender.
    accepted: Vec<AtomicU64>,
    /// Devices that have messages in flight, or will.
    busy: AtomicUsize,
}

/// One device while it exchanges mail.
struct Correspondent {
    number: usize,
    neighbour: DeviceId,
    socket: Socket,
    sends: bool,
    pace: Pace,
    bytes: usize,
    begun: Instant,
    until: Instant,
    sent: Arc<Sent>,
    over: bool,
    /// The messages that have come, by sender; each counts once.
    seen: std::collections::HashMap<u64, Vec<bool>>,
    in_flight: usize,
    next: u64,
    unacked: u64,
    received: u64,
    in_time: u64,
    times: Times,
}

/// Has the first `senders` devices of the crowd send to their neighbours.
pub(crate) async fn exchange(
    crowd: &mut Crowd,
    senders: usize,
    pace: Pace,
    bytes: usize,
    duration: Duration,
) -> anyhow::Result<Exchange> {
    let sockets = crowd.take_sockets();
    let all = Arc::new(Barrier::new(sockets.len()));
    let accepted = sockets.iter().map(|_| AtomicU64::new(0)).collect();
    let sent = Arc::new(Sent { accepted, busy: AtomicUsize::new(sockets.len()) });
    let begun = Instant::now() + Duration::from_millis(200);
    let mut running = JoinSet::new();
    for (number, (neighbour, socket)) in sockets.into_iter().enumerate() {
        let correspondent = Correspondent {
            number,
            neighbour,
            socket,
            sends: number < senders,
            pace,
            bytes,
            begun,
            until: begun + duration,
            sent: Arc::clone(&sent),
            over: false,
            seen: Default::default(),
            in_flight: 0,
            next: 0,
            unacked: 0,
            received: 0,
            in_time: 0,
            times: Times::default(),
        };
        let all = Arc::clone(&all);
        running.spawn(async move {
            all.wait().await;
            correspondent.run().await
        });
    }
    let (mut result, mut back, mut in_time) = (Exchange::default(), Vec::new(), 0);
    while let Some(done) = running.join_next().await {
        let done = done?.context("a device was cut off")?;
        result.received += done.received;
        in_time += done.in_time;
        result.times.merge(done.times);
        back.push((done.number, done.socket));
    }
    back.sort_by_key(|(number, _)| *number);
    crowd.give_back(back.into_iter().map(|(_, socket)| socket).collect());
    result.accepted = sent.accepted.iter().map(|accepted| accepted.load(Ordering::Acquire)).sum();
    result.per_second = in_time as f64 / duration.as_secs_f64();
    Ok(result)
}

impl Correspondent {
    async fn run(mut self) -> anyhow::Result<Self> {
        let every = match self.pace {
            Pace::Every(time) => time,
            Pace::Window(_) => Duration::from_secs(3600),
        };
        // At moments that are spread over the whole time.
        let mut ticks = interval_at(self.begun + every.mul_f64(rand::rng().random()), every);
        let mut looks = interval_at(self.begun, Duration::from_millis(100));
        sleep_until(self.begun).await;
        loop {
            let sending = self.sends && Instant::now() < self.until;
            if let Pace::Window(window) = self.pace
                && sending
                && self.in_flight <= window / 2
            {
                while self.in_flight < window {
                    self.say().await?;
                }
                self.socket.flush().await?;
            }
            if !sending && self.in_flight == 0 && !std::mem::replace(&mut self.over, true) {
                self.sent.busy.fetch_sub(1, Ordering::AcqRel);
            }
            tokio::select! {
                frame = self.socket.next() => self.hear(frame?).await?,
                _ = ticks.tick(), if sending && matches!(self.pace, Pace::Every(_)) => {
                    self.say().await?;
                    self.socket.flush().await?;
                }
                _ = looks.tick() => {
                    if self.is_over() {
                        self.ack().await?;
                        return Ok(self);
                    }
                }
            }
        }
    }

    /// Whether all have sent and all that was accepted has come. Who has nothing more to do stays
    /// until then, so that its connection is there for the next experiment.
    fn is_over(&self) -> bool {
        if Instant::now() > self.until + GRACE {
            return true;
        }
        // Nobody but the neighbour writes to this device, or itself if it has none.
        let writer =
            self.sent.accepted.get(self.number ^ 1).or_else(|| self.sent.accepted.get(self.number));
        let accepted = writer.map_or(0, |accepted| accepted.load(Ordering::Acquire));
        self.sent.busy.load(Ordering::Acquire) == 0 && self.received >= accepted
    }

    async fn say(&mut self) -> anyhow::Result<()> {
        let mut bytes = vec![0; self.bytes];
        let sent = u64::try_from(self.begun.elapsed().as_micros())?;
        let number = u64::try_from(self.number)?;
        for (place, value) in bytes.chunks_exact_mut(8).zip([number, self.next, sent]) {
            place.copy_from_slice(&value.to_be_bytes());
        }
        let (request, to, bytes) = (self.next, self.neighbour, bytes.into());
        self.next += 1;
        self.in_flight += 1;
        self.socket.feed(&ClientFrame::Send { request, to, bytes }).await
    }

    async fn hear(&mut self, frame: ServerFrame) -> anyhow::Result<()> {
        match frame {
            ServerFrame::Accepted { .. } => {
                self.in_flight = self.in_flight.saturating_sub(1);
                if let Some(accepted) = self.sent.accepted.get(self.number) {
                    accepted.fetch_add(1, Ordering::AcqRel);
                }
            }
            // A stranger's; it counts for nothing here.
            ServerFrame::Mail { sequence, from, .. } if from != self.neighbour => {
                self.unacked = sequence;
                self.ack().await?;
            }
            ServerFrame::Mail { sequence, bytes, .. } => {
                let now = Instant::now();
                let mut words = bytes.chunks_exact(8).map(|chunk| {
                    chunk.iter().fold(0_u64, |word, byte| word << 8 | u64::from(*byte))
                });
                let (sender, number, sent) = (words.next(), words.next(), words.next());
                let (Some(sender), Some(number), Some(sent)) = (sender, number, sent) else {
                    bail!("mail that nobody sent");
                };
                let seen = self.seen.entry(sender).or_default();
                let number = usize::try_from(number)?;
                if seen.len() <= number {
                    seen.resize(number + 1, false);
                }
                if let Some(seen) = seen.get_mut(number)
                    && !std::mem::replace(seen, true)
                {
                    self.received += 1;
                    self.in_time += u64::from(now < self.until);
                    if matches!(self.pace, Pace::Every(_)) {
                        let sent = self.begun + Duration::from_micros(sent);
                        self.times.add(now.saturating_duration_since(sent));
                    }
                }
                self.unacked = sequence;
                if matches!(self.pace, Pace::Every(_)) || self.received.is_multiple_of(ACK_EVERY) {
                    self.ack().await?;
                }
            }
            ServerFrame::Refused { subject, code } => bail!("refused: {subject:?}: {code}"),
            _ => {}
        }
        Ok(())
    }

    async fn ack(&mut self) -> anyhow::Result<()> {
        match std::mem::take(&mut self.unacked) {
            0 => Ok(()),
            sequence => self.socket.send(&ClientFrame::Ack { sequence }).await,
        }
    }
}
