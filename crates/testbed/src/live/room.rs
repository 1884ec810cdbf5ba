use std::{fs, time::Duration};

use anyhow::{Context, bail, ensure};
use olmcast::{
    client::Client,
    device::Identity,
    primitives::Invite,
    server::{Limits, Server, ServerConfig},
};
use tokio::{task::JoinSet, time::Instant};

/// Devices that connect at a time.
const AT_ONCE: usize = 32;

/// A key service, and a room at it.
pub(crate) struct Room {
    pub(crate) invite: Invite,
    _server: Server,
}

impl Room {
    /// For this many devices.
    pub(crate) async fn open(devices: usize) -> anyhow::Result<Self> {
        check_open_files(devices)?;
        let mut config = ServerConfig::new(([127, 0, 0, 1], 0).into());
        let defaults = Limits::default();
        config.limits.connections = defaults.connections.max(devices);
        config.limits.room_members = defaults.room_members.max(devices);
        // All devices are at one address.
        config.limits.connections_per_address = 0;
        config.limits.sockets_per_address = 0;
        config.limits.accept_rate = 0;
        let server = Server::bind(config).await?;
        let invite = Invite::generate(server.local_addr().to_string())?;
        eprintln!("key service on {}", server.local_addr());
        Ok(Self { invite, _server: server })
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

/// A device has a socket, and so has the service for it. That too few may be open shows only as
/// connections that fail, so it is said before.
fn check_open_files(devices: usize) -> anyhow::Result<()> {
    ensure!(devices > 1, "--subscribers must be at least 1");
    let needed = 2 * devices + 256;
    let Ok(limits) = fs::read_to_string("/proc/self/limits") else { return Ok(()) };
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3)?.parse::<usize>().ok());
    match soft {
        Some(soft) if soft < needed => bail!(
            "{devices} devices and their service need some {needed} open files, but only {soft} \
             are allowed here; run `ulimit -n {needed}` in this shell and try again"
        ),
        _ => Ok(()),
    }
}
