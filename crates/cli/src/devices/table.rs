//! What is known, as people read it.

use std::fmt::Write;

use olmcast::device::{Memory, TrustState};

use crate::{console::in_column, naming::fingerprint};

/// Prints whom a device knows.
pub(crate) fn print(memory: &Memory) {
    print!("{}", table(memory));
    print_closed(memory);
}

/// Prints which rooms are closed, if there are any.
pub(crate) fn print_closed(memory: &Memory) {
    print!("{}", closed(memory));
}

/// The devices, those that were decided about first.
fn table(memory: &Memory) -> String {
    let mut devices: Vec<_> = memory.trust().iter().collect();
    if devices.is_empty() {
        return "no device is known yet\n".to_owned();
    }
    let order = |state| match state {
        TrustState::Verified => 0,
        TrustState::Pinned => 1,
        _ => 2,
    };
    devices.sort_by_cached_key(|known| (order(known.state), known.name.clone(), known.device));
    let names: Vec<_> = devices.iter().map(|known| in_column(&known.name)).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(4);
    let mut table = format!("{:<11}  {:<width$}  {:<8}  FINGERPRINT\n", "STATE", "NAME", "DEVICE");
    for (known, name) in devices.iter().zip(&names) {
        let (device, state) = (known.device, known.state.to_string());
        // Writing to a String cannot fail.
        let _ = writeln!(
            table,
            "{state:<11}  {name:<width$}  {}  {}",
            device.short(),
            fingerprint(&device)
        );
    }
    table
}

/// The rooms that are closed, and what to do about it.
fn closed(memory: &Memory) -> String {
    let rooms: Vec<_> = memory.doors().closed().collect();
    if rooms.is_empty() {
        return String::new();
    }
    let mut text =
        "\nclosed since somebody was removed; only who was admitted before is let in:\n".to_owned();
    for room in rooms {
        let _ = writeln!(text, "  room {room}");
    }
    text.push_str(
        "to let others in, make a new room and give its link to them: olmcast room new\n\
         or let in whoever has the link, also who was removed, with a new device:\n\
         olmcast devices reopen ROOM\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use olmcast::device::Identity;

    use super::*;

    #[test]
    fn what_is_known_is_a_table_that_names_cannot_disturb() {
        let mut ours = Identity::generate();
        assert_eq!(table(ours.memory()), "no device is known yet\n");
        let devices = [(); 3].map(|()| Identity::generate());
        let keys = |at: usize| (devices[at].device(), devices[at].curve25519());
        ours.memory_mut().decide(|trust| {
            trust.block(keys(0).0);
            trust.pin(keys(1).0, keys(1).1, "Bob\n\x1b[2J");
            trust.verify(keys(2).0, keys(2).1, "Ada Lovelace");
        });
        let text = table(ours.memory());
        let rows: Vec<_> = text.lines().collect();
        assert_eq!(rows.len(), 4, "{text}");
        let row = |state: &str, name: &str, at: usize| {
            let device = keys(at).0;
            format!("{state:<11}  {name:<14}  {}  {}", device.short(), fingerprint(&device))
        };
        assert_eq!(rows[1], row("verified", "«Ada Lovelace»", 2));
        assert_eq!(rows[2], row("seen before", "«Bob[2J»", 1));
        assert_eq!(rows[3], row("blocked", "", 0));
        assert_eq!(closed(ours.memory()), "");
    }
}
