//! What the service counts, in the words of Prometheus. No device, room or address is in it.

use std::{fmt, sync::atomic::AtomicU64};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::{Registry, Unit},
};

use crate::protocol::service::RefusalCode;

/// How something went; every value is one of a few.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Status {
    status: u16,
}

type Results = Family<Outcome, Counter<u64, AtomicU64>>;

/// What the service counts.
pub(super) struct Metrics {
    /// Devices that are connected.
    pub(super) connections: Gauge,
    /// Sockets that are not, or not yet, a device's.
    pub(super) sockets: Gauge,
    /// Seconds until a batch was durable. Made here, filled by the store.
    pub(super) commits: Histogram,
    turned_away: Results,
    frames: Results,
    mail: Results,
    claims: Results,
    requests: Family<Status, Counter>,
    registry: Registry,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("olmcast");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "What this service was built from", build);
        let metrics = Self {
            connections: Gauge::default(),
            sockets: Gauge::default(),
            // From 0.25 ms to 8 s.
            commits: Histogram::new(exponential_buckets(0.000_25, 2.0, 16)),
            turned_away: Results::default(),
            frames: Results::default(),
            mail: Results::default(),
            claims: Results::default(),
            requests: Family::default(),
            registry: Registry::default(),
        };
        registry.register("connections", "Devices connected", metrics.connections.clone());
        registry.register(
            "unauthenticated_sockets",
            "Sockets that are not, or not yet, a device's",
            metrics.sockets.clone(),
        );
        registry.register(
            "turned_away_sockets",
            "Sockets and devices that were above a limit, by limit",
            metrics.turned_away.clone(),
        );
        registry.register("frames", "Frames of devices, by outcome", metrics.frames.clone());
        registry.register("mail", "Messages handed in, by outcome", metrics.mail.clone());
        registry.register("claims", "Keys claimed, by what went out", metrics.claims.clone());
        registry.register("http_requests", "Requests, by status", metrics.requests.clone());
        registry.register_with_unit(
            "store_commit",
            "How long it took until a batch was durable",
            Unit::Seconds,
            metrics.commits.clone(),
        );
        Self { registry, ..metrics }
    }

    /// A socket or device was above this limit.
    pub(super) fn turned_away(&self, limit: &'static str) {
        self.turned_away.get_or_create(&Outcome { result: limit }).inc();
    }

    /// A device's frame was carried out or refused.
    pub(super) fn frame(&self, is_mail: bool, refused: Option<RefusalCode>) {
        let result = Outcome { result: refused.map_or("accepted", label) };
        self.frames.get_or_create(&result).inc();
        if is_mail {
            self.mail.get_or_create(&result).inc();
        }
    }

    /// A key was claimed; what went out.
    pub(super) fn claim(&self, went_out: &'static str) {
        self.claims.get_or_create(&Outcome { result: went_out }).inc();
    }

    /// A request was answered.
    pub(super) fn request(&self, status: u16) {
        self.requests.get_or_create(&Status { status }).inc();
    }

    /// All of it, as a monitoring system reads it.
    pub(super) fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn label(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::Malformed => "malformed",
        RefusalCode::UnsupportedVersion => "unsupported_version",
        RefusalCode::TooLarge => "too_large",
        RefusalCode::NotAuthenticated => "not_authenticated",
        RefusalCode::WrongSignature => "wrong_signature",
        RefusalCode::WrongServerName => "wrong_server_name",
        RefusalCode::WrongDoor => "wrong_door",
        RefusalCode::NotInRoom => "not_in_room",
        RefusalCode::RoomFull => "room_full",
        RefusalCode::MailboxFull => "mailbox_full",
        RefusalCode::QuotaExceeded => "quota_exceeded",
        RefusalCode::RateLimited => "rate_limited",
        RefusalCode::Busy => "busy",
        RefusalCode::Replaced => "replaced",
        RefusalCode::Silent => "silent",
        RefusalCode::ShuttingDown => "shutting_down",
        RefusalCode::Unavailable => "unavailable",
    }
}
