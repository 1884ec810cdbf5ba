use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context;
use olmcast::{
    client::{Client, ClientEvent, Publication},
    endpoint::{Event, Hoard, LeaveReason, Offer, Publish},
    primitives::DeviceId,
};
use rand::{RngExt, rngs::StdRng};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    task::JoinSet,
    time::{Instant, sleep},
};

use super::tally::{Sent, Tally, Was, Way};
use crate::{
    harness::store::StoreKind,
    live::{
        camera::{CODEC, Camera, Frame, Medium},
        process::Process,
        room::{self, Room},
        viewer::Viewer,
    },
};

/// How long everything takes to become quiet: deadlines of rotations, retries.
const QUIET: Duration = Duration::from_secs(3);
/// How long the publisher may take to notice that somebody was cut off, which is 5 s.
const NOTICED: Duration = Duration::from_secs(15);

/// A device.
struct Device {
    client: Client,
    hoard: Hoard,
    /// Of those that will be cut off.
    process: Option<Process>,
}

/// A device that watches.
struct Present {
    device: Device,
    viewer: Viewer,
}

/// A stream, and the devices that come and go.
pub(super) struct Stage {
    rng: StdRng,
    publisher: Client,
    publication: Publication,
    offer: Offer,
    medium: Medium,
    camera: Camera,
    waiting: Vec<Device>,
    present: Vec<Present>,
    /// Who left stays connected.
    left: Vec<Device>,
    tally: Tally,
    gone: Gone,
    _room: Room,
}

impl Stage {
    /// Connects the devices and has each join and leave once, before it begins to hoard keys.
    pub(super) async fn set(
        devices: usize,
        store: StoreKind,
        mut rng: StdRng,
    ) -> anyhow::Result<Self> {
        let room = Room::open(devices + 1, store).await?;
        let publisher = room::connect(&room.invite).await?;
        let gone = Gone::watch(publisher.events());
        let publish = Publish::new("camera").track(CODEC).with_invite();
        let publication = publisher.publish(publish).await?;
        let cut_off = (0..devices).filter(|_| rng.random_ratio(1, 3)).count();
        let mut clients: Vec<_> = room
            .connect(devices - cut_off)
            .await?
            .into_iter()
            .map(|client| (client, None))
            .collect();
        eprintln!("{cut_off} more, to be cut off, on threads of their own");
        for _ in 0..cut_off {
            let (process, invite) = (Process::start()?, room.invite.clone());
            let client = process.run(async move { room::connect(&invite).await }).await??;
            clients.insert(rng.random_range(0..=clients.len()), (client, Some(process)));
        }
        let offer = clients.first().context("nobody is there")?.0.find("camera", None).await?;
        let mut admitting = JoinSet::new();
        for (client, process) in clients {
            let offer = offer.clone();
            admitting.spawn(async move {
                client.subscribe_to(offer).await?.leave().await?;
                let hoard = client.hoard_keys().await?;
                Ok::<_, anyhow::Error>(Device { client, hoard, process })
            });
        }
        let mut waiting = Vec::new();
        while let Some(device) = admitting.join_next().await {
            waiting.push(device?.context("a device was not admitted")?);
        }
        sleep(QUIET).await;
        let medium = Medium::new();
        let camera = Camera::start(&publication, &medium, true)?;
        let (present, left, tally) = (Vec::new(), Vec::new(), Tally::default());
        Ok(Self {
            rng,
            publisher,
            publication,
            offer,
            medium,
            camera,
            waiting,
            present,
            left,
            tally,
            gone,
            _room: room,
        })
    }

    /// Joins so many, and says what each of them had all clients send together.
    pub(super) async fn join_and_measure(
        &mut self,
        count: usize,
        pace: Duration,
    ) -> anyhow::Result<Sent> {
        let before = self.sent();
        for _ in 0..count {
            self.join()?;
            sleep(pace).await;
        }
        sleep(QUIET).await;
        Ok(self.sent() - before)
    }

    /// The next one joins.
    pub(super) fn join(&mut self) -> anyhow::Result<()> {
        let device = self.waiting.pop().context("nobody is left to join")?;
        let viewer = Viewer::start(device.client.clone(), self.offer.clone(), self.medium.clone());
        self.present.push(Present { device, viewer });
        Ok(())
    }

    /// Somebody leaves.
    pub(super) async fn leave(&mut self) -> anyhow::Result<()> {
        if self.present.is_empty() {
            return Ok(());
        }
        let Present { mut device, viewer } =
            self.present.swap_remove(self.rng.random_range(0..self.present.len()));
        let (id, asked) = (device.client.device(), viewer.asked);
        let mut watched = viewer.stop().await?;
        let subscription = watched.subscription.take();
        let left = Instant::now();
        let way = if let Some(process) = device.process.take() {
            self.tally.cut_off(device.client.traffic());
            process.kill();
            drop(subscription);
            Way::CutOff
        } else if self.rng.random_bool(0.5) {
            self.publication.kick(id).await?;
            // It would leave now, but the publisher was faster.
            drop(subscription);
            Way::Kicked
        } else {
            // Without one, it still waits for its first key, and gives up.
            if let Some(subscription) = subscription {
                subscription.leave().await?;
            }
            Way::Unsubscribed
        };
        let hoard = device.hoard.clone();
        self.tally.note(
            Was { device: id, hoard, asked, first: watched.first, way, until: left, left },
            &watched,
        );
        if way != Way::CutOff {
            self.left.push(device);
        }
        Ok(())
    }

    /// All that clients were given to send.
    pub(super) fn sent(&self) -> Sent {
        let present = self.present.iter().map(|present| &present.device);
        let devices = self.waiting.iter().chain(present).chain(&self.left);
        let clients = devices.map(|device| &device.client).chain([&self.publisher]);
        clients.fold(self.tally.by_cut_off, |sent, client| sent + client.traffic())
    }

    pub(super) fn status(&self) -> String {
        format!("{} watch, {} have left", self.present.len(), self.tally.was.len())
    }

    /// Waits until all who left are shut out, and gives what is to be judged. Those who are still
    /// there stop watching.
    pub(super) async fn finish(mut self) -> anyhow::Result<(Tally, Vec<Arc<Frame>>)> {
        eprintln!("waiting for the publisher to notice who was cut off");
        let end = Instant::now() + NOTICED;
        while Instant::now() < end && !self.gone.all_noticed(&self.tally) {
            sleep(Duration::from_millis(100)).await;
        }
        sleep(QUIET).await;
        self.tally.sent_in_all = self.sent();
        for Present { device, viewer } in std::mem::take(&mut self.present) {
            let asked = viewer.asked;
            let watched = viewer.stop().await?;
            let (first, left) = (watched.first, Instant::now());
            let (way, hoard) = (Way::Stayed, device.hoard);
            let device = device.client.device();
            self.tally.note(Was { device, hoard, asked, first, way, until: left, left }, &watched);
        }
        self.gone.correct(&mut self.tally)?;
        Ok((self.tally, self.camera.stop()))
    }
}

/// When the publisher took a device for gone.
struct Gone(Arc<Mutex<HashMap<DeviceId, Instant>>>);

impl Gone {
    fn watch(mut events: broadcast::Receiver<ClientEvent>) -> Self {
        let gone: Arc<Mutex<HashMap<_, _>>> = Arc::default();
        let noted = Arc::clone(&gone);
        tokio::spawn(async move {
            loop {
                match events.recv().await {
                    Ok(ClientEvent::Stream(Event::HolderLeft { device, reason, .. })) => {
                        if reason != LeaveReason::Unsubscribed {
                            let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
                            noted.insert(device, Instant::now());
                        }
                    }
                    Ok(_) => {}
                    Err(RecvError::Lagged(events)) => tracing::warn!(events, "events missed"),
                    Err(RecvError::Closed) => return,
                }
            }
        });
        Self(gone)
    }

    fn when(&self, device: DeviceId) -> Option<Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&device).copied()
    }

    fn all_noticed(&self, tally: &Tally) -> bool {
        tally.was.iter().all(|was| was.way != Way::CutOff || self.when(was.device).is_some())
    }

    /// Of who was cut off, only the publisher can say when it knew.
    fn correct(&self, tally: &mut Tally) -> anyhow::Result<()> {
        for was in tally.was.iter_mut().filter(|was| was.way == Way::CutOff) {
            was.left = self.when(was.device).context("somebody who was cut off is still there")?;
        }
        Ok(())
    }
}
