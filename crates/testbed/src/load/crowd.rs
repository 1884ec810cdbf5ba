use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use olmcast::primitives::{DeviceId, Invite};
use tokio::{
    sync::{Barrier, Semaphore},
    task::JoinSet,
    time::Instant,
};

use crate::harness::{
    device::{Device, Socket},
    times::Times,
};

/// Devices in a room.
const ROOM: usize = 50;

/// Devices that dial from one address: each address has some 28,000 ports.
const PER_ADDRESS: usize = 4000;

/// Devices, each with its connection while there is one.
pub(crate) struct Crowd {
    devices: Vec<Arc<Device>>,
    sockets: Vec<Socket>,
}

/// The address that the n-th device dials from.
pub(crate) fn source(number: usize) -> Ipv4Addr {
    let block = u8::try_from(number / PER_ADDRESS + 1).unwrap_or(u8::MAX);
    Ipv4Addr::new(127, 0, block, 1)
}

impl Crowd {
    pub(crate) fn gather(count: usize) -> Self {
        let devices = (0..count).map(|number| Arc::new(Device::from(source(number)))).collect();
        Self { devices, sockets: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.devices.len()
    }

    pub(crate) fn devices(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter().map(|device| &**device)
    }

    /// Who comes first.
    pub(crate) fn first(&self) -> DeviceId {
        self.devices.first().map_or(DeviceId::from_bytes([0; 32]), |device| device.id())
    }

    /// Has everybody connect and enter a room, so many at a time. Returns how long each took.
    pub(crate) async fn come(
        &mut self,
        service: SocketAddr,
        at_once: usize,
    ) -> anyhow::Result<Times> {
        let rooms = (0..self.len().div_ceil(ROOM))
            .map(|_| Ok(Arc::new(Invite::generate(service.to_string())?)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let (all, turns) = (Barrier::new(self.len()), Semaphore::new(at_once));
        let start = Arc::new((all, turns));
        let mut coming = JoinSet::new();
        for (number, device) in self.devices.iter().enumerate() {
            let (device, start) = (Arc::clone(device), Arc::clone(&start));
            let invite = Arc::clone(rooms.get(number / ROOM).context("there is no such room")?);
            coming.spawn(async move {
                let (all, turns) = &*start;
                all.wait().await;
                let _turn = turns.acquire().await?;
                let start = Instant::now();
                let mut socket = device.connect(service).await?;
                socket.enter(&device, &invite).await?;
                Ok::<_, anyhow::Error>((number, socket, start.elapsed()))
            });
        }
        let (mut times, mut sockets) = (Times::default(), Vec::with_capacity(self.len()));
        while let Some(come) = coming.join_next().await {
            let (number, socket, time) = come?.context("a device was not let in")?;
            times.add(time);
            sockets.push((number, socket));
        }
        sockets.sort_by_key(|(number, _)| *number);
        self.sockets = sockets.into_iter().map(|(_, socket)| socket).collect();
        // The news of who came reaches everybody before something else is measured.
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok(times)
    }

    /// Everybody with whom it exchanges mail: devices are neighbours two by two, and share a room.
    pub(crate) fn take_sockets(&mut self) -> Vec<(DeviceId, Socket)> {
        let neighbour = |number: usize| {
            // Of an odd number, the last one writes to itself.
            let pair = self.devices.get(number ^ 1).or_else(|| self.devices.get(number));
            pair.map(|device| device.id())
        };
        let sockets = std::mem::take(&mut self.sockets).into_iter().enumerate();
        sockets.filter_map(|(number, socket)| Some((neighbour(number)?, socket))).collect()
    }

    pub(crate) fn give_back(&mut self, sockets: Vec<Socket>) {
        self.sockets = sockets;
    }

    /// Hangs up.
    pub(crate) fn leave(&mut self) {
        self.sockets.clear();
    }
}
