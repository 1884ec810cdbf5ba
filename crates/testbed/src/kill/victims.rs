use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Context;
use rand::RngExt;
use tokio::task::block_in_place;

use crate::harness::{
    service::{Grants, Service},
    store::Ground,
};

/// How long it may be tried to start a service.
const PATIENCE: Duration = Duration::from_secs(60);

/// What can be killed: services, and NATS servers if there are any.
pub(super) struct Victims {
    services: Vec<Service>,
    ground: Ground,
    /// The NATS server that is dead at the moment.
    dead: Option<usize>,
}

impl Victims {
    /// Starts two services on NATS, and one on a store of its own.
    pub(super) fn start(ground: Ground) -> anyhow::Result<Self> {
        let count = if matches!(ground, Ground::Nats(_)) { 2 } else { 1 };
        let services = (0..count).map(|_| Service::start(&ground, Grants::Anything));
        Ok(Self { services: services.collect::<anyhow::Result<_>>()?, ground, dead: None })
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.services.iter().map(|service| service.address).collect()
    }

    /// Kills one, and says which service must work again. A service is started again at once, a
    /// NATS server only with [`heal`](Self::heal): the others must do without it.
    pub(super) fn strike(&mut self, round: u64) -> anyhow::Result<SocketAddr> {
        let which = rand::rng().random_range(0..self.services.len());
        let service = self.services.get_mut(which).context("no service")?;
        if let Ground::Nats(cluster) = &mut self.ground
            && round.is_multiple_of(2)
        {
            let server = rand::rng().random_range(0..cluster.size());
            block_in_place(|| cluster.kill(server));
            self.dead = Some(server);
            return Ok(service.address);
        }
        block_in_place(|| {
            service.process.kill();
            *service = start_again(service.address, &self.ground)?;
            Ok(service.address)
        })
    }

    /// Makes everything whole again.
    pub(super) fn heal(&mut self) -> anyhow::Result<()> {
        if let (Some(server), Ground::Nats(cluster)) = (self.dead.take(), &mut self.ground) {
            block_in_place(|| {
                cluster.restart(server)?;
                cluster.wait_until_healthy()
            })?;
        }
        for service in &mut self.services {
            service.process.check_alive()?;
        }
        Ok(())
    }
}

/// Starts a service as whoever watches over it would: again and again, if its store is not back.
fn start_again(address: SocketAddr, ground: &Ground) -> anyhow::Result<Service> {
    let end = Instant::now() + PATIENCE;
    loop {
        match Service::start_at(address, ground, Grants::Anything) {
            Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(100)),
            started => return started,
        }
    }
}
