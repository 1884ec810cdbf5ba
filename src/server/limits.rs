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
    /// Devices that the directory does not know yet, in a minute from one address; 0 for no such
    /// limit.
    pub new_devices_per_address: u32,
    /// Such devices that may come at once from one address.
    pub new_devices_burst: u32,
    /// Rooms that the devices of one address may be in at a time, each device counted; 0 for no such
    /// limit.
    pub rooms_per_address: usize,
    /// Bytes of room state that the devices of one address may have, as in `state_bytes`; 0 for no
    /// such limit.
    pub state_bytes_per_address: usize,
    /// Frames in a second that the devices of one address may have copied to whole rooms; 0 for no
    /// such limit. A new connection brings no fresh allowance of these.
    pub room_rate_per_address: u32,
    /// Such frames that may come at once.
    pub room_burst_per_address: u32,
    /// Bytes of mail in a second from one address, each message with 160 for its keeping; 0 for no
    /// such limit. What one address can have waiting is `mail_burst_per_address` and this for
    /// `mail_ttl`: keep that well below `store_bytes`, or one address can refuse mail for all.
    pub mail_rate_per_address: u32,
    /// Bytes of mail that may come at once from one address.
    pub mail_burst_per_address: u32,
    /// Bytes of mail in a second from one address to devices that the sender shares no room with,
    /// or to itself; 0 for no such limit. With its burst, and for `mail_ttl`, it is to
    /// `stranger_bytes` what `mail_rate_per_address` is to `store_bytes`.
    pub stranger_rate_per_address: u32,
    /// Bytes of such mail that may come at once from one address.
    pub stranger_burst_per_address: u32,
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
    /// How long the directory keeps the keys of a device that uploads nothing. A client uploads
    /// its keys again every ten minutes as long as it is connected.
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
    /// Rooms at a time. Four times as many acquaintances that left are remembered, the latest.
    pub rooms: usize,
    /// Rooms that one device may be in at a time.
    pub rooms_per_device: usize,
    /// Devices in one room.
    pub room_members: usize,
    /// Streams that one device may have in one room's state.
    pub streams_per_device: usize,
    /// Bytes of one room state or one broadcast. Both are copied to a whole room, so they are
    /// held smaller than mail.
    pub room_payload: usize,
    /// Bytes of one room's state, where each stream counts 160 besides its own.
    pub room_state_bytes: usize,
    /// Bytes of all rooms' state together.
    pub state_bytes: usize,
    /// Bytes of one message of mail.
    pub mail_payload: usize,
    /// Messages that wait for one recipient.
    pub mailbox_count: usize,
    /// Bytes that wait for one recipient. On NATS they are not counted:
    /// [`mailbox_count`](Self::mailbox_count) and [`mail_payload`](Self::mail_payload) bound them.
    pub mailbox_bytes: usize,
    /// Messages from one sender that wait for one recipient.
    pub sender_quota: usize,
    /// Messages that wait for one recipient from all the senders it shares no room with, and from
    /// itself.
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
            new_devices_per_address: 2,
            new_devices_burst: 200,
            rooms_per_address: 8192,
            state_bytes_per_address: 16 << 20,
            room_rate_per_address: 500,
            room_burst_per_address: 4000,
            mail_rate_per_address: 1 << 20,
            mail_burst_per_address: 32 << 20,
            stranger_rate_per_address: 32 << 10,
            stranger_burst_per_address: 1 << 20,
            request_body: 64 * 1024,
            request_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(5),
            directory_devices: 100_000,
            one_time_keys: 100,
            device_ttl: Duration::from_hours(7 * 24),
            upload_rate: 1,
            upload_burst: 20,
            claim_rate: 5,
            claim_burst: 50,
            claim_target_rate: 1,
            claim_target_burst: 20,
            rooms: 65_536,
            rooms_per_device: 64,
            room_members: 1024,
            streams_per_device: 16,
            room_payload: 8 * 1024,
            room_state_bytes: 2 << 20,
            state_bytes: 128 << 20,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_address_can_have_waiting_is_well_below_what_all_can() {
        let limits = Limits::default();
        let most =
            |rate: u32, burst: u32| u64::from(burst) + u64::from(rate) * limits.mail_ttl.as_secs();
        let all = most(limits.mail_rate_per_address, limits.mail_burst_per_address);
        assert!(all * 5 <= limits.store_bytes as u64, "{all}");
        let strange = most(limits.stranger_rate_per_address, limits.stranger_burst_per_address);
        assert!(strange * 5 <= limits.stranger_bytes as u64, "{strange}");
    }
}
