use std::time::Duration;

use anyhow::{Context, ensure};
use olmcast::{
    client::Client,
    device::Identity,
    primitives::Invite,
    server::{Limits, Server, ServerConfig},
};
use tokio::{
    task::{JoinSet, block_in_place},
    time::Instant,
};

use crate::harness::{
    check_open_files,
    store::{Ground, StoreKind},
};

/// Devices that connect at a time.
const AT_ONCE: usize = 32;

/// A key service, and a room at it.
pub(crate) struct Room {
    pub(crate) invite: Invite,
    _server: Server,
    /// Goes after the server.
    _ground: Ground,
}

impl Room {
    /// For this many devices.
    pub(crate) async fn open(devices: usize, store: StoreKind) -> anyhow::Result<Self> {
        ensure!(devices > 1, "--subscribers must be at least 1");
        // A device has a socket, and so has the service for it.
        check_open_files(2 * devices + 256)?;
        let ground = block_in_place(|| Ground::prepare(store, 1))?;
        let mut config = ServerConfig::new(([127, 0, 0, 1], 0).into());
        let defaults = Limits::default();
        config.limits.connections = defaults.connections.max(devices);
        config.limits.room_members = defaults.room_members.max(devices);
        config.store = ground.config();
        // All devices are at one address.
        config.limits.connections_per_address = 0;
        config.limits.sockets_per_address = 0;
        config.limits.accept_rate = 0;
        config.limits.new_devices_per_address = 0;
        config.limits.rooms_per_address = 0;
        config.limits.state_bytes_per_address = 0;
        config.limits.room_rate_per_address = 0;
        config.limits.mail_rate_per_address = 0;
        config.limits.stranger_rate_per_address = 0;
        let server = Server::bind(config).await?;
        let invite = Invite::generate(server.local_addr().to_string())?;
        eprintln!("key service on {}, its store is {}", server.local_addr(), store.name());
        Ok(Self { invite, _server: server, _ground: ground })
    }

    /// Connects many devices.
    pub(crate) async fn connect(&self, count: usize) -> anyhow::Result<Vec<Client>> {
        let (mut connecting, mut clients) = (JoinSet::new(), Vec::with_capacity(count));
        let (start, mut told) = (Instant::now(), Instant::now());
        while clients.len() < count {
            while connecting.len() < AT_ONCE && clients.len() + connecting.len() < count {
                let invite = self.invite.clone();
                connecting.spawn(async move { connect(&invite).await });
            }
            let client = connecting.join_next().await.context("nobody connects")??;
            clients.push(client.context("a device could not connect")?);
            if told.elapsed() > Duration::from_secs(2) {
                told = Instant::now();
                eprintln!("{} of {count} devices connected", clients.len());
            }
        }
        eprintln!("{count} devices connected in {:.1} s", start.elapsed().as_secs_f64());
        Ok(clients)
    }
}

/// Connects one device.
pub(crate) async fn connect(invite: &Invite) -> anyhow::Result<Client> {
    Ok(Client::connect(invite, Identity::generate()).await?)
}
