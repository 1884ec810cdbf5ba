use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use olmcast::protocol::service::{ClientFrame, Payload, ServerFrame};
use tokio::time::{Instant, sleep, timeout};

use super::ledger::Ledger;
use crate::harness::device::{Device, Socket};

/// Silence that means that nothing more waits at the service.
const SILENCE: Duration = Duration::from_millis(40);

/// A device that receives mail, whichever connection it comes over.
pub(super) struct Inbox {
    pub(super) device: Device,
    pub(super) number: usize,
    pub(super) ledger: Arc<Ledger>,
    instance: [u8; 16],
    /// The last mail of this instance.
    sequence: u64,
}

impl Inbox {
    pub(super) fn new(number: usize, ledger: &Arc<Ledger>) -> Self {
        let (device, ledger) = (Device::from([127, 0, 0, 1]), Arc::clone(ledger));
        Self { device, number, ledger, instance: [0; 16], sequence: 0 }
    }

    pub(super) async fn connect(&mut self, service: SocketAddr) -> anyhow::Result<Socket> {
        let socket = self.device.connect(service).await?;
        if socket.instance != self.instance {
            (self.instance, self.sequence) = (socket.instance, 0);
        }
        Ok(socket)
    }

    /// Takes mail in. As clients do, it passes over what it has seen, which it knows by the
    /// sequence number.
    pub(super) fn take(&mut self, sequence: u64, bytes: &Payload) -> anyhow::Result<()> {
        let number = bytes.first_chunk().map(|number| u64::from_be_bytes(*number));
        let number = number.context("mail that nobody sent")?;
        if sequence <= self.sequence {
            if !self.ledger.is_received(number) {
                let last = self.sequence;
                eprintln!("message {number} came as {sequence}, when {last} had come already");
            }
            return Ok(());
        }
        self.sequence = sequence;
        ensure!(self.ledger.receive(number, self.number), "mail {number} is for somebody else");
        Ok(())
    }

    pub(super) fn ack(&self) -> ClientFrame {
        ClientFrame::Ack { sequence: self.sequence }
    }

    /// Connects, takes in what is there, and acknowledges it.
    pub(super) async fn collect(&mut self, service: SocketAddr) -> anyhow::Result<()> {
        let mut socket = self.connect(service).await?;
        while let Ok(frame) = timeout(SILENCE, socket.next()).await {
            if let ServerFrame::Mail { sequence, bytes, .. } = frame? {
                self.take(sequence, &bytes)?;
                socket.send(&self.ack()).await?;
            }
        }
        Ok(())
    }

    /// Collects until everything has come that was accepted, or until the patience is over.
    pub(super) async fn collect_all(
        &mut self,
        service: SocketAddr,
        patience: Duration,
    ) -> anyhow::Result<()> {
        let end = Instant::now() + patience.min(Duration::from_secs(10));
        loop {
            self.collect(service).await?;
            if self.ledger.has_all(self.number) || Instant::now() > end {
                return Ok(());
            }
            sleep(SILENCE).await;
        }
    }
}
