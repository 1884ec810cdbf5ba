use std::net::SocketAddr;

use anyhow::{Context, ensure};
use reqwest::header;
use str0m::{
    Candidate, Event, Input, Output, Rtc,
    change::SdpAnswer,
    media::{Direction, KeyframeRequestKind, MediaKind, MediaTime, Mid},
    net::{Protocol, Receive},
};
use tokio::{
    net::UdpSocket,
    time::{Instant, sleep_until},
};

/// A str0m connection with one video track, to a WHIP or WHEP endpoint on this machine.
pub(super) struct Peer {
    rtc: Rtc,
    mid: Mid,
    socket: UdpSocket,
    address: SocketAddr,
    buffer: Vec<u8>,
}

impl Peer {
    pub(super) async fn connect(url: &str, direction: Direction) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        let address = socket.local_addr()?;
        let config = Rtc::builder().clear_codecs().enable_vp8(true);
        let mut rtc = config.build(Instant::now().into_std());
        rtc.add_local_candidate(Candidate::host(address, "udp")?);
        let mut change = rtc.sdp_api();
        let mid = change.add_media(MediaKind::Video, direction, None, None, None);
        let (offer, pending) = change.apply().context("nothing to offer")?;
        let request = reqwest::Client::new().post(url);
        let request = request.header(header::CONTENT_TYPE, "application/sdp");
        let answer = request.body(offer.to_sdp_string()).send().await?;
        let (status, answer) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "the relay refused ({status}): {answer}");
        rtc.sdp_api().accept_answer(pending, SdpAnswer::from_sdp_string(&answer)?)?;
        Ok(Self { rtc, mid, socket, address, buffer: vec![0; 2000] })
    }

    /// The next event, or `None` once it is `until`. Carries packets meanwhile.
    pub(super) async fn event(&mut self, until: Instant) -> anyhow::Result<Option<Event>> {
        loop {
            let timeout = match self.rtc.poll_output()? {
                Output::Event(event) => return Ok(Some(event)),
                Output::Transmit(packet) => {
                    self.socket.send_to(&packet.contents, packet.destination).await?;
                    continue;
                }
                Output::Timeout(timeout) => Instant::from_std(timeout),
            };
            if Instant::now() >= until {
                return Ok(None);
            }
            let input = tokio::select! {
                received = self.socket.recv_from(&mut self.buffer) => {
                    let (length, source) = received?;
                    let (proto, destination) = (Protocol::Udp, self.address);
                    // Anybody may send anything to this port.
                    let Ok(contents) = self.buffer[..length].try_into() else { continue };
                    let packet = Receive { proto, source, destination, contents };
                    Input::Receive(Instant::now().into_std(), packet)
                }
                () = sleep_until(timeout.min(until)) => Input::Timeout(Instant::now().into_std()),
            };
            self.rtc.handle_input(input)?;
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.rtc.is_connected()
    }

    /// Sends an encrypted frame.
    pub(super) fn write(&mut self, time: MediaTime, wire: Vec<u8>) -> anyhow::Result<()> {
        let writer = self.rtc.writer(self.mid).context("the track may not send")?;
        let payload = writer.payload_params().next().context("no codec was agreed on")?.pt();
        Ok(writer.write(payload, Instant::now().into_std(), time, wire)?)
    }

    pub(super) fn ask_for_key_frame(&mut self) -> anyhow::Result<()> {
        let mut writer = self.rtc.writer(self.mid).context("no such track")?;
        Ok(writer.request_keyframe(None, KeyframeRequestKind::Pli)?)
    }
}
