use std::{net::SocketAddr, time::Duration};

/// What became of claims.
#[derive(Default)]
pub(super) struct Claims {
    pub(super) per_second: f64,
    pub(super) duplicated: u64,
}

pub(super) async fn perform(
    _service: SocketAddr,
    _claimers: usize,
    _duration: Duration,
) -> anyhow::Result<Claims> {
    Ok(Claims::default())
}
