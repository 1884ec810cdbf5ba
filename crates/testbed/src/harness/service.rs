use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::Context;
use olmcast::server::{Limits, Server, ServerConfig, StoreConfig};

use super::{
    free_port,
    process::Process,
    store::{Ground, nats_config},
};

/// A key service in a process of its own.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    pub(crate) process: Process,
}

/// What a service grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grants {
    /// What is usual.
    Default,
    /// Anything, so that it is the store which is measured.
    Anything,
}

impl Service {
    /// Starts one on a free port.
    pub(crate) fn start(ground: &Ground, grants: Grants) -> anyhow::Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        Self::start_at(address, ground, grants)
    }

    /// Starts one, perhaps in the place of one that was killed.
    pub(crate) fn start_at(
        address: SocketAddr,
        ground: &Ground,
        grants: Grants,
    ) -> anyhow::Result<Self> {
        let mut command = Process::testbed()?;
        command.arg("service").arg("--listen").arg(address.to_string());
        command.args(ground.arguments());
        if grants == Grants::Anything {
            command.arg("--unlimited");
        }
        // What it complains of while its store is being killed is to be expected.
        if std::env::var_os("RUST_LOG").is_none() {
            command.env("RUST_LOG", "error");
        }
        let (process, line, _) = Process::start_and_read_line(&mut command)?;
        let address = line.parse().context("the service did not say where it listens")?;
        Ok(Self { address, process })
    }
}

/// Runs a key service until standard input ends, and prints its address first.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    redb: Option<PathBuf>,
    #[arg(long)]
    nats: Vec<String>,
    #[arg(long, default_value_t = 1)]
    replicas: usize,
    #[arg(long)]
    unlimited: bool,
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<std::process::ExitCode> {
    crate::live::block_on(async {
        let mut config = ServerConfig::new(arguments.listen);
        if arguments.unlimited {
            lift(&mut config.limits);
        }
        config.store = match (arguments.redb, arguments.nats.is_empty()) {
            (Some(folder), _) => StoreConfig::Redb(folder),
            (None, true) => StoreConfig::Memory,
            (None, false) => StoreConfig::Nats(nats_config(arguments.nats, arguments.replicas)),
        };
        let server = Server::bind(config).await?;
        println!("{}", server.local_addr());
        // Whoever started this process holds the other end, and lets go when it ends, however.
        let mut nothing = [0];
        let mut stdin = tokio::io::stdin();
        while tokio::io::AsyncReadExt::read(&mut stdin, &mut nothing).await? > 0 {}
        Ok(std::process::ExitCode::SUCCESS)
    })
}

/// Lifts all limits that would make the service say no to an honest load. Zero is no limit at all,
/// where it is about an address.
pub(crate) fn lift(limits: &mut Limits) {
    const MANY: usize = 1 << 40;
    const FAST: u32 = 1 << 30;
    for many in [
        &mut limits.directory_devices,
        &mut limits.one_time_keys,
        &mut limits.mailbox_count,
        &mut limits.mailbox_bytes,
        &mut limits.sender_quota,
        &mut limits.stranger_lane,
        &mut limits.rooms,
        &mut limits.room_state_bytes,
        &mut limits.state_bytes,
    ] {
        *many = MANY;
    }
    for fast in [
        &mut limits.upload_rate,
        &mut limits.upload_burst,
        &mut limits.claim_rate,
        &mut limits.claim_burst,
        &mut limits.claim_target_rate,
        &mut limits.claim_target_burst,
        &mut limits.rate,
        &mut limits.rate_burst,
        &mut limits.room_rate,
        &mut limits.room_rate_burst,
    ] {
        *fast = FAST;
    }
    (limits.connections_per_address, limits.sockets_per_address) = (0, 0);
    (limits.accept_rate, limits.request_rate) = (0, 0);
    (limits.rooms_per_address, limits.state_bytes_per_address) = (0, 0);
    (limits.new_devices_per_address, limits.room_rate_per_address) = (0, 0);
    (limits.mail_rate_per_address, limits.stranger_rate_per_address) = (0, 0);
    (limits.connections, limits.sockets) = (1 << 20, 1 << 16);
    limits.room_members = 1 << 20;
    limits.request_body = 1 << 20;
    // NATS sets so much of the disk aside.
    (limits.store_bytes, limits.stranger_bytes) = (4 << 30, 4 << 30);
    limits.mail_ttl = Duration::from_hours(1);
}
