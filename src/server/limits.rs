use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::protocol::service::{IDLE_TIMEOUT, MAX_PAYLOAD};

/// What one key service grants. The defaults suit rooms of some hundred members on one machine.
///
/// What is *per address* holds for one IPv4 address, or for the /64 of an IPv6 one, which is what
/// one customer has at least. It keeps somebody with many identities from taking everybody's
/// place. Behind a proxy all devices have the same address: switch these limits off with 0 there,
/// and let the proxy keep its own.
///
/// As configuration, what is not given has its default, and times are written as `500ms`, `60s` or
/// `30days`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// Devices connected at a time.
    pub connections: usize,
    /// Devices connected from one address at a time; 0 for no such limit.
    pub connections_per_address: usize,
    /// Sockets that are not, or not yet, a device's: in a TLS handshake, asking the directory, or
    /// authenticating. More wait to be accepted.
    pub sockets: usize,
    /// Such sockets from one address, 0 for no such limit; more are closed at once.
    pub sockets_per_address: usize,
    /// New sockets in a second from one address, 0 for no such limit; more are closed at once.
    pub accept_rate: u32,
    /// New sockets that may come at once from one address.
    pub accept_burst: u32,
    /// Requests to the directory in a second from one address; 0 for no such limit.
    pub request_rate: u32,
    /// Requests to the directory that may come at once from one address.
    pub request_burst: u32,
    /// Bytes of one request's body.
    pub request_body: usize,
    /// How long one request may take, its body included.
    #[serde(with = "time")]
    pub request_timeout: Duration,
    /// How long a request's head may take to arrive. A socket that was asked something before may
    /// be idle for as long.
    #[serde(with = "time")]
    pub head_timeout: Duration,
    /// Devices whose keys the directory holds.
    pub directory_devices: usize,
    /// One-time keys that the directory holds for one device.
    pub one_time_keys: usize,
    /// How long the directory keeps the keys of a device that uploads nothing.
    #[serde(with = "time")]
    pub device_ttl: Duration,
    /// Uploads in a second by one device.
    pub upload_rate: u32,
    /// Uploads that may come at once.
    pub upload_burst: u32,
    /// Keys in a second that one device may claim.
    pub claim_rate: u32,
    /// Keys that it may claim at once.
    pub claim_burst: u32,
    /// One-time keys in a second that may be claimed of one device, by all others together.
    /// Beyond that its fallback key goes out, so that nobody can use all of them up.
    pub claim_target_rate: u32,
    /// One-time keys of one device that may be claimed at once.
    pub claim_target_burst: u32,
    /// Rooms that one device may be in at a time.
    pub rooms_per_device: usize,
    /// Devices in one room.
    pub room_members: usize,
    /// Streams that one device may have in one room's state.
    pub streams_per_device: usize,
    /// Bytes of one room state or one broadcast. Both are copied to a whole room, so they are
    /// held smaller than mail.
    pub room_payload: usize,
    /// Bytes of one message of mail.
    pub mail_payload: usize,
    /// Messages that wait for one recipient.
    pub mailbox_count: usize,
    /// Bytes that wait for one recipient. On NATS they are not counted:
    /// [`mailbox_count`](Self::mailbox_count) and [`mail_payload`](Self::mail_payload) bound them.
    pub mailbox_bytes: usize,
    /// Messages from one sender that wait for one recipient.
    pub sender_quota: usize,
    /// Messages that wait for one recipient from all the senders it shares no room with.
    pub stranger_lane: usize,
    /// Bytes from strangers that wait for all recipients together. On NATS they are not counted:
    /// [`store_bytes`](Self::store_bytes) bounds them, with all other mail.
    pub stranger_bytes: usize,
    /// Bytes that wait for all recipients together.
    pub store_bytes: usize,
    /// How long mail is kept for a recipient who does not collect it.
    #[serde(with = "time")]
    pub mail_ttl: Duration,
    /// How long a device's room state outlives its presence.
    #[serde(with = "time")]
    pub state_grace: Duration,
    /// How long a device that left still counts as an acquaintance of the room's members.
    #[serde(with = "time")]
    pub acquaintance: Duration,
    /// What one connection may send: units in a second, where a frame counts one unit and
    /// another for each KiB of it.
    pub rate: u32,
    /// Units that may come at once.
    pub rate_burst: u32,
    /// Frames in a second that one connection may have copied to a whole room.
    pub room_rate: u32,
    /// Such frames that may come at once.
    pub room_rate_burst: u32,
    /// How long a connection may take to authenticate.
    #[serde(with = "time")]
    pub handshake_timeout: Duration,
    /// How often the service pings.
    #[serde(with = "time")]
    pub ping_interval: Duration,
    /// How long a connection may be silent.
    #[serde(with = "time")]
    pub idle_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            connections_per_address: 1024,
            sockets: 4096,
            sockets_per_address: 64,
            accept_rate: 50,
            accept_burst: 500,
            request_rate: 50,
            request_burst: 200,
            request_body: 64 * 1024,
            request_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(5),
            directory_devices: 100_000,
            one_time_keys: 100,
            device_ttl: Duration::from_hours(30 * 24),
            upload_rate: 1,
            upload_burst: 20,
            claim_rate: 5,
            claim_burst: 50,
            claim_target_rate: 1,
            claim_target_burst: 20,
            rooms_per_device: 64,
            room_members: 1024,
            streams_per_device: 16,
            room_payload: 8 * 1024,
            mail_payload: MAX_PAYLOAD,
            mailbox_count: 4096,
            mailbox_bytes: 8 << 20,
            sender_quota: 128,
            stranger_lane: 16,
            stranger_bytes: 16 << 20,
            store_bytes: 512 << 20,
            mail_ttl: Duration::from_secs(60),
            state_grace: Duration::from_secs(5),
            acquaintance: Duration::from_secs(60),
            rate: 2000,
            rate_burst: 8000,
            room_rate: 50,
            room_rate_burst: 200,
            handshake_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(4),
            idle_timeout: IDLE_TIMEOUT,
        }
    }
}

/// Times as people write them.
mod time {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_duration(*time))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_duration(&text).map_err(|error| {
            D::Error::custom(format!("{text:?} is no time ({error}); write 500ms, 60s or 30days"))
        })
    }
}
