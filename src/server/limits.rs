use std::time::Duration;

use crate::protocol::service::{IDLE_TIMEOUT, MAX_PAYLOAD};

/// What one key service grants. The defaults suit rooms of some hundred members on one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Devices connected at a time.
    pub connections: usize,
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
    /// Bytes that wait for one recipient.
    pub mailbox_bytes: usize,
    /// Messages from one sender that wait for one recipient.
    pub sender_quota: usize,
    /// Messages that wait for one recipient from all the senders it shares no room with.
    pub stranger_lane: usize,
    /// Bytes from strangers that wait for all recipients together.
    pub stranger_bytes: usize,
    /// Bytes that wait for all recipients together.
    pub store_bytes: usize,
    /// Devices in the directory.
    pub devices: usize,
    /// One-time keys that the directory keeps of one device.
    pub one_time_keys: usize,
    /// How long mail is kept for a recipient who does not collect it.
    pub mail_ttl: Duration,
    /// How long a device's room state outlives its presence.
    pub state_grace: Duration,
    /// How long a device that left still counts as an acquaintance of the room's members.
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
    pub handshake_timeout: Duration,
    /// How often the service pings.
    pub ping_interval: Duration,
    /// How long a connection may be silent.
    pub idle_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
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
            devices: 1 << 20,
            one_time_keys: 100,
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
