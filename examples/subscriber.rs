//! Face 3, subscribing: waits for the stream called "camera", and for its key.
//!
//!     cargo run --example subscriber -- 'LINK'
//!
//! A second argument is how many frames to receive.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{env::args, error::Error};

use olmcast::{client::Client, device::Identity, primitives::Invite, rtc::connect_subscriber};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let link = args().nth(1).ok_or("usage: subscriber LINK [FRAMES]")?;
    let frames: usize = args().nth(2).map_or(Ok(usize::MAX), |frames| frames.parse())?;

    // 1. Into the room, and wait until the publisher has given us the key.
    let invite: Invite = link.parse()?;
    let client = Client::connect(&invite, Identity::generate()).await?.with_name("example");
    let subscription = client.subscribe("camera").await?;

    // 2. Receive the media. The decryptors are given new keys behind our back.
    let media = &subscription.offer().content.media;
    let (_connection, mut receivers) =
        connect_subscriber(media, subscription.decryptors().await?).await?;
    let receiver = receivers.first_mut().ok_or("no track")?;

    // 3. Frames as they left the publisher's encoder, for your decoder.
    let mut received = 0;
    while received < frames {
        let Some(frame) = receiver.next().await else { break };
        received += 1;
        let what = if frame.key_frame { "key frame" } else { "frame" };
        println!("{what} of {} bytes at {}", frame.data.len(), frame.rtp_timestamp);
    }
    println!("{received} frames; {} could not be opened", receiver.stats().undecryptable);
    subscription.leave().await?;
    Ok(())
}
