//! `str0m` instead of webrtc-rs: frames are encrypted before its writer and decrypted behind its
//! `MediaData`, with nothing else between.

mod peer;

use std::{collections::HashSet, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context;
use olmcast::{
    client::{Client, Subscription},
    endpoint::{Event, Publish},
    media::{FrameDecryptor, FrameEncryptor},
    primitives::Codec,
    rtc::connect_subscriber,
};
use olmcast_relay::{Relay, RelayConfig};
use serde::Serialize;
use str0m::{
    Event as PeerEvent,
    media::{Direction, MediaTime},
};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{
    harness::{block_on, store::StoreKind},
    janus::ivf_frames,
    live::room::{Room, connect},
};
use peer::Peer;

/// What `olmcast demo` plays: VP8, 20 frames a second.
const VIDEO: &[u8] = include_bytes!("../../../cli/media/video.ivf");
const FRAME: Duration = Duration::from_millis(50);
const TICKS: u64 = 4_500;
/// How long a key or a connection takes at most.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends real frames from str0m to str0m and to webrtc-rs, through the relay, end-to-end encrypted.
///
/// One publisher and two subscribers, with keys from a real key service. The publisher and one of
/// the subscribers are made with str0m, the other one with olmcast's own receiver on webrtc-rs.
/// Fails if a frame that arrives is not opened, or is another than was sent.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Arguments {
    /// How long frames are sent
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// What became of a subscriber's frames.
#[derive(Default, Serialize)]
struct Seen {
    received: u64,
    opened: u64,
    mismatched: u64,
}

#[derive(Serialize)]
struct Report {
    sent: u64,
    str0m: Seen,
    webrtc_rs: Seen,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let report = block_on(perform(Duration::from_secs(arguments.seconds)))?;
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("str0m sent {} frames", report.sent);
        for (name, seen) in [("str0m", &report.str0m), ("webrtc-rs", &report.webrtc_rs)] {
            let Seen { received, opened, mismatched } = seen;
            println!("{name} received {received}, opened {opened}, {mismatched} of them wrong");
        }
    }
    let is_well = |seen: &Seen| {
        seen.opened == seen.received && seen.mismatched == 0 && 2 * seen.opened > report.sent
    };
    let all = is_well(&report.str0m) && is_well(&report.webrtc_rs);
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn perform(length: Duration) -> anyhow::Result<Report> {
    let frames = Arc::new(ivf_frames(VIDEO)?);
    let relay = Relay::bind(RelayConfig::default()).await?;
    let (whip, whep) =
        ["whip", "whep"].map(|kind| format!("http://{}/{kind}/camera", relay.local_addr())).into();
    let room = Room::open(3, StoreKind::Memory).await?;
    let publisher = connect(&room.invite).await?;
    let publish = Publish::new("camera").track(Codec::Vp8).with_invite();
    let publication = publisher.publish(publish).await?;
    let encryptor = publication.encryptors().next().context("no track")?;
    let sender = Peer::connect(&whip, Direction::SendOnly).await?;

    let mut viewers = JoinSet::new();
    for is_str0m in [true, false] {
        let client = connect(&room.invite).await?;
        let (mut subscription, decryptor) = with_key(&client).await?;
        let (frames, whep) = (Arc::clone(&frames), whep.clone());
        viewers.spawn(async move {
            let seen = if is_str0m {
                receive_with_str0m(&whep, decryptor, &frames, length).await
            } else {
                receive_with_webrtc(&whep, decryptor, &frames, length).await
            };
            // Leaving tells the publisher, which changes keys: not before the last frame.
            let _ = (&mut subscription, client);
            seen.map(|seen| (is_str0m, seen))
        });
    }
    let sent = send(sender, encryptor, &frames, length + Duration::from_secs(1)).await?;
    let (mut with_str0m, mut with_webrtc) = (Seen::default(), Seen::default());
    while let Some(viewer) = viewers.join_next().await {
        let (is_str0m, seen) = viewer??;
        *(if is_str0m { &mut with_str0m } else { &mut with_webrtc }) = seen;
    }
    relay.shutdown().await;
    Ok(Report { sent, str0m: with_str0m, webrtc_rs: with_webrtc })
}

/// Subscribes and waits for the key.
async fn with_key(client: &Client) -> anyhow::Result<(Subscription, FrameDecryptor)> {
    let mut subscription = client.subscribe("camera").await?;
    let decryptor = subscription.decryptors().await?.pop().context("no track")?;
    let key = async {
        while !matches!(subscription.event().await?, Event::KeyReceived { .. }) {}
        anyhow::Ok(())
    };
    timeout(PATIENCE, key).await.context("no key came")??;
    Ok((subscription, decryptor))
}

/// Plays the file in a loop, and begins it anew when a key frame is asked for.
async fn send(
    mut peer: Peer,
    mut encryptor: FrameEncryptor,
    frames: &[Vec<u8>],
    length: Duration,
) -> anyhow::Result<u64> {
    let (start, mut sent, mut next) = (Instant::now(), 0, 0);
    for number in 0.. {
        let due = start + FRAME * number;
        while let Some(event) = peer.event(due).await? {
            if matches!(event, PeerEvent::KeyframeRequest(_)) {
                next = 0;
            }
        }
        if due > start + length {
            break;
        }
        if peer.is_connected() {
            let wire = encryptor.encrypt(&frames[next % frames.len()])?;
            peer.write(MediaTime::from_90khz(u64::from(number) * TICKS), wire)?;
            next += 1;
            sent += 1;
        }
    }
    Ok(sent)
}

async fn receive_with_str0m(
    whep: &str,
    mut decryptor: FrameDecryptor,
    frames: &[Vec<u8>],
    length: Duration,
) -> anyhow::Result<Seen> {
    let genuine: HashSet<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    let mut peer = Peer::connect(whep, Direction::RecvOnly).await?;
    let (end, mut seen, mut plain) = (Instant::now() + length, Seen::default(), Vec::new());
    while let Some(event) = peer.event(end).await? {
        match event {
            PeerEvent::Connected => peer.ask_for_key_frame()?,
            PeerEvent::MediaData(frame) => {
                seen.received += 1;
                if decryptor.decrypt_into(&frame.data, Client::now(), &mut plain).is_ok() {
                    seen.opened += 1;
                    seen.mismatched += u64::from(!genuine.contains(&*plain));
                }
            }
            _ => {}
        }
    }
    Ok(seen)
}

async fn receive_with_webrtc(
    whep: &str,
    decryptor: FrameDecryptor,
    frames: &[Vec<u8>],
    length: Duration,
) -> anyhow::Result<Seen> {
    let genuine: HashSet<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    let (connection, mut receivers) = connect_subscriber(whep, [decryptor]).await?;
    let mut receiver = receivers.pop().context("no track")?;
    let mut mismatched = 0;
    let receive = async {
        while let Some(frame) = receiver.next().await {
            mismatched += u64::from(!genuine.contains(&*frame.data));
        }
    };
    // It goes on until the time is over.
    let _ = timeout(length, receive).await;
    let stats = receiver.stats();
    connection.close().await;
    Ok(Seen { received: stats.received, opened: stats.opened, mismatched })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_go_from_str0m_to_str0m_and_to_webrtc_rs() {
        let report = block_on(perform(Duration::from_secs(3))).unwrap();
        for seen in [&report.str0m, &report.webrtc_rs] {
            assert!(seen.opened > 20, "{} of {}", seen.opened, report.sent);
            assert_eq!((seen.received, seen.mismatched), (seen.opened, 0));
        }
    }
}
