//! A bad network between a client and the relay: packets are delayed, and some are lost.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    task::JoinSet,
};

const DELAY: Duration = Duration::from_millis(10);

/// Passes one WHIP or WHEP request on to the relay, and then the media of that session. Stops
/// when dropped.
pub(crate) struct LossyNetwork {
    pub(crate) address: SocketAddr,
    dropped: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl LossyNetwork {
    /// Drops one in `one_in` of the media packets that come from the relay.
    pub(crate) async fn new(relay: SocketAddr, one_in: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let dropped = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&dropped);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut upstream = TcpStream::connect(relay).await.unwrap();
            let mut request = Vec::new();
            let mut chunk = [0; 4096];
            // The offer ends the request; the relay closes after its answer.
            while !complete(&request) {
                let read = client.read(&mut chunk).await.unwrap();
                request.extend_from_slice(&chunk[..read]);
            }
            upstream.write_all(&request).await.unwrap();
            let mut answer = String::new();
            upstream.read_to_string(&mut answer).await.unwrap();

            let toward_client = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
            let port = toward_client.local_addr().unwrap().port();
            let media = candidate(&answer);
            // Ephemeral ports have five digits each, so the length of the answer stays.
            let answer = answer.replace(&media.port().to_string(), &port.to_string());
            client.write_all(answer.as_bytes()).await.unwrap();
            client.shutdown().await.unwrap();
            forward(toward_client, media, one_in, &counter).await;
        });
        Self { address, dropped, _tasks: tasks }
    }

    pub(crate) fn dropped(&self) -> usize {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Whether a request with a body has come in full.
fn complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

/// Where the answer says that the relay takes media.
fn candidate(answer: &str) -> SocketAddr {
    let line = answer.lines().find(|line| line.starts_with("a=candidate:")).unwrap();
    let words: Vec<&str> = line.split(' ').collect();
    format!("{}:{}", words[4], words[5]).parse().unwrap()
}

async fn forward(
    toward_client: Arc<UdpSocket>,
    media: SocketAddr,
    one_in: u64,
    dropped: &AtomicUsize,
) {
    let toward_relay = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    toward_relay.connect(media).await.unwrap();
    let (mut up, mut down) = (vec![0; 2_048], vec![0; 2_048]);
    let mut client = None;
    let mut state = 88_172_645_463_325_252_u64;
    let mut delayed = JoinSet::new();
    loop {
        while delayed.try_join_next().is_some() {}
        tokio::select! {
            received = toward_client.recv_from(&mut up) => {
                let (length, from) = received.unwrap();
                client = Some(from);
                let (packet, to) = (up[..length].to_vec(), Arc::clone(&toward_relay));
                delayed.spawn(async move {
                    tokio::time::sleep(DELAY).await;
                    let _ = to.send(&packet).await;
                });
            }
            received = toward_relay.recv(&mut down) => {
                let length = received.unwrap();
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                // RTP and RTCP have version 2 in front; ICE and DTLS pass.
                if down[0] >> 6 == 2 && state.is_multiple_of(one_in) {
                    dropped.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                let Some(client) = client else { continue };
                let (packet, to) = (down[..length].to_vec(), Arc::clone(&toward_client));
                delayed.spawn(async move {
                    tokio::time::sleep(DELAY).await;
                    let _ = to.send_to(&packet, client).await;
                });
            }
        }
    }
}
