use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use olmcast::protocol::directory::CLAIM_PATH;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{SOURCE, Tally};
use crate::harness::{
    device::{Device, connect_from},
    directory::{Answer, Directory, Signed},
};

/// Requests at a time.
const AT_ONCE: usize = 32;
/// Bytes of what is too large.
const LARGE: usize = 64 << 20;
/// Brackets of what is too deep, in a body that is not too large.
const DEEP: usize = 30_000;

/// Sends requests and frames that no honest client sends.
pub(super) async fn attack(service: SocketAddr, tally: &Tally) {
    let mut sending = JoinSet::new();
    for number in 0..AT_ONCE {
        let tally = tally.clone();
        sending.spawn(async move {
            loop {
                let sent = match number % 6 {
                    0 => post(service, &tally).await,
                    1 => post_chunked(service, &tally).await,
                    2 => post_signed(service, "too deep", DEEP, &tally).await,
                    3 => post_signed(service, "too large", 8 * DEEP, &tally).await,
                    4 => frame(service, 200_000, &tally).await,
                    _ => frame(service, 3 << 20, &tally).await,
                };
                if sent.is_err() {
                    tally.count("cut off without an answer");
                }
                sleep(Duration::from_millis(20)).await;
            }
        });
    }
    while sending.join_next().await.is_some() {}
}

fn head(service: SocketAddr, length: &str) -> String {
    format!(
        "POST /v1/keys/upload HTTP/1.1\r\nHost: {service}\r\nContent-Type: application/json\r\n\
         {length}\r\n\r\n"
    )
}

/// A body whose length the head tells.
async fn post(service: SocketAddr, tally: &Tally) -> anyhow::Result<()> {
    let stream = connect_from(SOURCE.into(), service).await?;
    let (mut read, mut write) = stream.into_split();
    let head = head(service, &format!("Content-Length: {LARGE}"));
    let body = tokio::spawn(async move {
        write.write_all(head.as_bytes()).await?;
        let chunk = vec![b' '; 16 * 1024];
        for _ in 0..LARGE / chunk.len() {
            write.write_all(&chunk).await?;
        }
        Ok::<_, anyhow::Error>(())
    });
    let status = status(&mut read).await;
    body.abort();
    tally.count(format!("announced too large: {}", status?));
    Ok(())
}

/// Brackets that are properly signed.
async fn post_signed(
    service: SocketAddr,
    name: &str,
    length: usize,
    tally: &Tally,
) -> anyhow::Result<()> {
    let mut directory = Directory::open(SOURCE.into(), service).await?;
    let signed = Signed::anything(&Device::from(SOURCE), service, CLAIM_PATH, vec![b'['; length])?;
    tally.count(match directory.claim(signed).await? {
        Answer::Done(_) => format!("{name}: taken"),
        Answer::Refused(code) => format!("{name}: {code:?}"),
    });
    Ok(())
}

/// A body without an end.
async fn post_chunked(service: SocketAddr, tally: &Tally) -> anyhow::Result<()> {
    let stream = connect_from(SOURCE.into(), service).await?;
    let (mut read, mut write) = stream.into_split();
    let head = head(service, "Transfer-Encoding: chunked");
    let body = tokio::spawn(async move {
        write.write_all(head.as_bytes()).await?;
        let chunk = [b"4000\r\n".as_slice(), &[b'['; 0x4000], b"\r\n"].concat();
        loop {
            write.write_all(&chunk).await?;
        }
        #[allow(unreachable_code, reason = "it names the error's type")]
        Ok::<_, anyhow::Error>(())
    });
    let status = status(&mut read).await;
    body.abort();
    tally.count(format!("without an end: {}", status?));
    Ok(())
}

/// The status of an HTTP answer.
async fn status(read: &mut (impl AsyncReadExt + Unpin)) -> anyhow::Result<String> {
    let mut answer = [0; 12];
    timeout(Duration::from_secs(15), read.read_exact(&mut answer)).await.context("no answer")??;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A frame that is too large, from a device that was let in.
async fn frame(service: SocketAddr, length: usize, tally: &Tally) -> anyhow::Result<()> {
    let device = Device::from(SOURCE);
    let mut socket = device.connect(service).await?;
    let sent = socket.send_bytes(vec![1; length]).await;
    let answer = match sent {
        Ok(()) => timeout(Duration::from_secs(15), socket.next()).await.context("no answer")?,
        Err(error) => Err(error),
    };
    tally.count(match answer {
        Ok(olmcast::protocol::service::ServerFrame::Refused { code, .. }) => {
            format!("frame of {length} bytes: {code:?}")
        }
        Ok(_) => format!("frame of {length} bytes: answered"),
        Err(_) => format!("frame of {length} bytes: hung up"),
    });
    Ok(())
}
