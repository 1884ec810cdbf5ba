//! What is in the file. Everything is read and written through these tables; the layout has a
//! version, and a file of another one is refused.

use redb::TableDefinition;

/// Version of everything below.
pub(super) const LAYOUT: u64 = 1;

/// Numbers: [`LAYOUT_KEY`], and the last sequence number of mail that was given out.
pub(super) const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
pub(super) const LAYOUT_KEY: &str = "layout";
pub(super) const SEQUENCE_KEY: &str = "mail sequence";

/// What sequence numbers are counted within; drawn when the file was made. One row.
pub(super) const INSTANCE: TableDefinition<'_, (), [u8; 16]> = TableDefinition::new("instance");

/// Mail by its sequence number, in postcard.
pub(super) const MAIL: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("mail");

/// Devices, in postcard.
pub(super) const DEVICES: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("devices");
/// Devices by when they last uploaded something (Unix milliseconds).
pub(super) const REFRESHED: TableDefinition<'_, (u64, [u8; 32]), ()> =
    TableDefinition::new("devices by time");

/// One-time keys by device and number, in postcard.
pub(super) const ONE_TIME_KEYS: TableDefinition<'_, ([u8; 32], u64), &[u8]> =
    TableDefinition::new("one-time keys");

/// Requests that were carried out, by when they are too old to be accepted again. A request always
/// has the same time, and in this order new ones stand side by side.
pub(super) const REQUESTS: TableDefinition<'_, (u64, [u8; 32]), ()> =
    TableDefinition::new("requests");
