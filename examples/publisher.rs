//! Face 3, publishing: the key service carries the keys, any WHIP server the media.
//!
//! With `olmcast serve` and `olmcast relay` running, and a link from `olmcast room new`:
//!
//!     cargo run --example publisher -- 'LINK' crates/cli/media/video.ivf
//!
//! A third argument is the relay's address, a fourth how many frames to send.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{env::args, error::Error, fs::File, io::BufReader, time::Duration};

use olmcast::{
    client::Client,
    device::Identity,
    endpoint::Publish,
    primitives::{Codec, Invite},
    rtc::connect_publisher,
};
use rtc::media::io::ivf_reader::IVFReader;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let link = args().nth(1).ok_or("usage: publisher LINK FILE.ivf [RELAY] [FRAMES]")?;
    let file = args().nth(2).ok_or("which IVF file?")?;
    let relay = args().nth(3).unwrap_or_else(|| "http://127.0.0.1:7601".to_owned());
    let frames: u32 = args().nth(4).map_or(Ok(u32::MAX), |frames| frames.parse())?;

    // 1. Into the room.
    let invite: Invite = link.parse()?;
    let client = Client::connect(&invite, Identity::generate()).await?;

    // 2. Offer a stream. Whoever has the link is admitted, and knows where the media is; its
    //    name at the relay should be hard to guess, like any room's.
    let name = client.device().short();
    let camera = Publish::new("camera")
        .track(Codec::Vp8)
        .media(format!("{relay}/whep/{name}"))
        .with_invite();
    let publication = client.publish(camera).await?;

    // 3. Send frames. They are encrypted before they are packetized, whatever the key is then.
    let whip = format!("{relay}/whip/{name}");
    let (_connection, mut senders) = connect_publisher(&whip, publication.encryptors()).await?;
    let sender = senders.first_mut().ok_or("no track")?;
    println!("publishing");

    let mut clock = tokio::time::interval(Duration::from_millis(50));
    let (mut reader, _) = IVFReader::new(BufReader::new(File::open(&file)?))?;
    for count in 0..frames {
        clock.tick().await;
        let frame = match reader.parse_next_frame() {
            Ok((frame, _)) => frame,
            Err(_) => {
                // The file is over: play it again.
                (reader, _) = IVFReader::new(BufReader::new(File::open(&file)?))?;
                reader.parse_next_frame()?.0
            }
        };
        sender.send(&frame, count.wrapping_mul(4500)).await?;
    }
    publication.end().await?;
    Ok(())
}
