use std::{net::IpAddr, sync::Arc, time::Duration};

use anyhow::{Context, bail, ensure};
use olmcast::{
    client::{Client, Publication, Subscription},
    endpoint::{Event, Publish},
    media::{FrameDecryptor, FrameEncryptor},
    primitives::{Codec, Invite},
    rtc::EncryptedSender,
};
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::{
    media::{MediaFile, Studio},
    network::Network,
    peer::Peer,
    publisher::Publisher,
    report::{Outcome, Report},
    signalling::{Refused, VideoRoom},
    subscriber::Subscriber,
};
use crate::live::room;

/// The layers of a simulcast, from the highest on.
const RIDS: [&str; 3] = ["h", "m", "l"];
/// Until the round trips are measured, without which nothing is sent again, nothing is lost.
const WARM_UP: Duration = Duration::from_millis(1_500);
/// For what is still on its way when the publisher stops, and is asked for again.
const DRAIN: Duration = Duration::from_millis(800);
/// For a layer, beyond the time in which it is watched: far less than from one key frame to the
/// next, so that it only comes if its publisher was asked for one; with loss that takes some tries.
const SWITCH: Duration = Duration::from_millis(400);
const LOSSY_SWITCH: Duration = Duration::from_secs(8);
/// For a key.
const PATIENCE: Duration = Duration::from_secs(10);
/// The plugin's "this room wants end-to-end encryption".
const E2EE_REQUIRED: u64 = 433;

/// Where Janus is, and how long to look.
pub(super) struct Stage {
    pub(super) janus: String,
    pub(super) address: IpAddr,
    pub(super) invite: Invite,
    pub(super) duration: Duration,
}

/// One codec, as one encoding or as the layers of a simulcast, with so much loss on either way.
#[derive(Clone, Copy)]
pub(super) struct Case {
    pub(super) codec: Codec,
    pub(super) layers: usize,
    pub(super) loss_pct: u32,
}

/// A codec as Janus and `--codec` spell it.
pub(super) fn spelled(codec: Codec) -> String {
    codec.to_string().to_lowercase().replace('.', "")
}

impl Case {
    /// All of them.
    pub(super) fn all(losses: &[u32]) -> Vec<Self> {
        let single = Codec::ALL.map(|codec| (codec, 1));
        let simulcast = [(Codec::Vp8, RIDS.len()), (Codec::H264, RIDS.len())];
        let kinds = single.into_iter().chain(simulcast);
        let cases = kinds.flat_map(|(codec, layers)| {
            losses.iter().map(move |&loss_pct| Self { codec, layers, loss_pct })
        });
        cases.collect()
    }

    /// As `--case` takes it.
    pub(super) fn name(&self) -> String {
        let layers = if self.layers > 1 { format!("x{}", self.layers) } else { String::new() };
        format!("{}{layers}-{}", spelled(self.codec), self.loss_pct)
    }

    /// What is sent: a file for each layer, from the highest on.
    pub(super) fn files(self, studio: &mut Studio) -> anyhow::Result<Vec<Arc<MediaFile>>> {
        (0..self.layers).map(|layer| studio.file(self.codec, layer)).collect()
    }

    pub(super) async fn run(
        self,
        stage: &Stage,
        files: Vec<Arc<MediaFile>>,
    ) -> anyhow::Result<Report> {
        let keys = Keys::exchange(stage, self).await?;
        let room = Room::create(stage, self.codec).await?;
        let published = room.publish(self, keys.encryptor, &files).await;
        let (peer, network, way_up, senders) = published.context("publishing")?;
        let subscribed = room.subscribe(way_up.feed, keys.decryptor, &files).await;
        let (viewer, mut way_down) = subscribed.context("subscribing")?;

        let layers = senders.into_iter().zip(files.iter().cloned()).collect();
        let publisher = Publisher::start(layers);
        sleep(WARM_UP).await;
        network.lose(self.loss_pct);
        way_down.network.lose(self.loss_pct);
        let switches_failed = self.watch(stage, &mut way_down, &viewer).await?;
        publisher.stop();
        // What is asked for again has to come: only then it is known what was lost.
        network.lose(0);
        way_down.network.lose(0);
        sleep(DRAIN).await;
        let sent = publisher.sent();
        let dropped = network.dropped() + way_down.network.dropped();
        let broken_for = viewer.seen().broken_for();
        let seen = viewer.end().await?;
        publisher.end().await.context("the publisher")?;
        drop((peer, way_down.peer));
        for videoroom in [way_up.videoroom, way_down.videoroom, room.videoroom] {
            videoroom.end().await?;
        }
        keys.subscription.leave().await?;
        keys.publication.end().await?;
        Ok(Report::new(self, Outcome { sent, dropped, seen, broken_for, switches_failed }))
    }

    /// Lets time pass; of a simulcast, each layer is asked for in turn. Says how often another
    /// one came.
    async fn watch(
        self,
        stage: &Stage,
        way_down: &mut WayDown,
        viewer: &Subscriber,
    ) -> anyhow::Result<u64> {
        if self.layers == 1 {
            sleep(stage.duration).await;
            return Ok(0);
        }
        let mut failed = 0;
        // For Janus, 0 is the lowest.
        let turns: Vec<_> = (0..self.layers).rev().chain([self.layers - 1]).collect();
        let each = stage.duration / u32::try_from(turns.len())?;
        for substream in turns {
            let switch =
                json!({ "request": "configure", "mid": way_down.mid, "substream": substream });
            way_down.videoroom.ask(switch, None).await?;
            sleep(each).await;
            let wanted = self.layers - 1 - substream;
            let patience = if self.loss_pct == 0 { SWITCH } else { LOSSY_SWITCH };
            failed += u64::from(timeout(patience, viewer.sees(wanted)).await.is_err());
        }
        Ok(failed)
    }
}

/// A stream of the real key service, its publisher and one subscriber.
struct Keys {
    publication: Publication,
    subscription: Subscription,
    encryptor: FrameEncryptor,
    decryptor: FrameDecryptor,
    _clients: [Client; 2],
}

impl Keys {
    /// Returns when the subscriber has the key.
    async fn exchange(stage: &Stage, case: Case) -> anyhow::Result<Self> {
        let clients = [room::connect(&stage.invite).await?, room::connect(&stage.invite).await?];
        let publish = Publish::new(case.name()).track(case.codec).with_invite();
        let publication = clients[0].publish(publish).await?;
        let encryptor = publication.encryptors().next().context("a stream without a track")?;
        let mut subscription = clients[1].subscribe(&case.name()).await?;
        let key = async {
            while !matches!(subscription.event().await?, Event::KeyReceived { .. }) {}
            anyhow::Ok(())
        };
        timeout(PATIENCE, key).await.context("no key")??;
        let decryptor = subscription.decryptors().await?.pop().context("no track")?;
        Ok(Self { publication, subscription, encryptor, decryptor, _clients: clients })
    }
}

/// A room of the VideoRoom plugin that wants end-to-end encryption.
struct Room<'a> {
    stage: &'a Stage,
    videoroom: VideoRoom,
    id: u64,
}

/// What a publisher is to Janus.
struct WayUp {
    videoroom: VideoRoom,
    feed: u64,
}

/// What a subscriber is to Janus.
struct WayDown {
    peer: Peer,
    network: Network,
    videoroom: VideoRoom,
    /// Of its only track.
    mid: String,
}

impl<'a> Room<'a> {
    async fn create(stage: &'a Stage, codec: Codec) -> anyhow::Result<Self> {
        let videoroom = VideoRoom::attach(&stage.janus).await?;
        let id = u64::from(rand::random::<u32>());
        let kind = if codec.is_video() { "videocodec" } else { "audiocodec" };
        let create = json!({
            "request": "create",
            "room": id,
            "publishers": 1,
            "require_e2ee": true,
            "bitrate": 4_000_000,
            kind: spelled(codec),
        });
        videoroom.ask(create, None).await?;
        Ok(Self { stage, videoroom, id })
    }

    async fn publish(
        &self,
        case: Case,
        encryptor: FrameEncryptor,
        files: &[Arc<MediaFile>],
    ) -> anyhow::Result<(Peer, Network, WayUp, Vec<EncryptedSender>)> {
        let mut peer = Peer::new(self.stage.address).await?;
        let connection = &*peer.connection;
        let senders = if files.len() > 1 {
            let rids = RIDS.get(..files.len()).context("too many layers")?;
            EncryptedSender::add_simulcast(connection, "media", encryptor, rids).await?
        } else {
            vec![EncryptedSender::add(connection, "media", encryptor).await?]
        };
        let mut network = Network::new(self.stage.address).await?;
        let offer = peer.offer().await?;
        let videoroom = VideoRoom::attach(&self.stage.janus).await?;
        let join = json!({ "request": "join", "ptype": "publisher", "room": self.id });
        let joined = videoroom.ask(join, None).await?;
        let feed = joined.data["id"].as_u64().context("Janus names no feed")?;
        let described = network.for_janus(&offer)?;
        let published =
            videoroom.ask(json!({ "request": "publish" }), Some(("offer", &described, true)));
        let published = published.await?;
        let answer = published.sdp.context("no answer")?;
        if case.layers > 1 {
            let accepted = published.data.pointer("/streams/0/simulcast");
            tracing::debug!("simulcast: {accepted:?}");
        }
        network.start(&offer, &answer)?;
        peer.accept(&network.for_client(&answer)?).await?;
        peer.connected().await?;
        videoroom.up().await?;
        Ok((peer, network, WayUp { videoroom, feed }, senders))
    }

    async fn subscribe(
        &self,
        feed: u64,
        decryptor: FrameDecryptor,
        files: &[Arc<MediaFile>],
    ) -> anyhow::Result<(Subscriber, WayDown)> {
        let mut peer = Peer::new(self.stage.address).await?;
        let mut network = Network::new(self.stage.address).await?;
        let videoroom = VideoRoom::attach(&self.stage.janus).await?;
        let join = json!({
            "request": "join",
            "ptype": "subscriber",
            "room": self.id,
            "streams": [{ "feed": feed }],
        });
        let joined = videoroom.ask(join, None).await?;
        let mid = joined.data.pointer("/streams/0/mid").and_then(|mid| mid.as_str());
        let mid = mid.context("Janus offers no track")?.to_owned();
        let offer = joined.sdp.context("no offer")?;
        let answer = peer.answer(&network.for_client(&offer)?).await?;
        network.start(&answer, &offer)?;
        let described = network.for_janus(&answer)?;
        videoroom.ask(json!({ "request": "start" }), Some(("answer", &described, true))).await?;
        peer.connected().await?;
        videoroom.up().await?;
        let (_, no_more) = tokio::sync::mpsc::channel(1);
        let tracks = std::mem::replace(&mut peer.tracks, no_more);
        let viewer = Subscriber::start(tracks, decryptor, files.to_vec());
        Ok((viewer, WayDown { peer, network, videoroom, mid }))
    }
}

/// That a publisher who does not say that its media is encrypted is refused: its code.
pub(super) async fn refusal(stage: &Stage) -> anyhow::Result<u64> {
    let room = Room::create(stage, Codec::Vp8).await?;
    let secret = olmcast::primitives::Secret::fill(|bytes| bytes.fill(1));
    let encryptor = FrameEncryptor::from_secret(Codec::Vp8, Default::default(), &secret)?;
    let mut peer = Peer::new(stage.address).await?;
    let _sender = EncryptedSender::add(&*peer.connection, "media", encryptor).await?;
    let offer = peer.offer().await?;
    let videoroom = VideoRoom::attach(&stage.janus).await?;
    let join = json!({ "request": "join", "ptype": "publisher", "room": room.id });
    videoroom.ask(join, None).await?;
    let publish = videoroom.ask(json!({ "request": "publish" }), Some(("offer", &offer, false)));
    let refused = match publish.await {
        Ok(_) => bail!("Janus takes a publisher who does not say that it encrypts"),
        Err(error) => error.downcast::<Refused>()?,
    };
    drop(peer);
    videoroom.end().await?;
    room.videoroom.end().await?;
    ensure!(refused.code == E2EE_REQUIRED, "{refused}");
    Ok(refused.code)
}
