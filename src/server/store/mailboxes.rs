use std::collections::{HashMap, VecDeque};

use crate::{
    primitives::{DeviceId, Timestamp},
    protocol::service::RefusalCode,
    server::{
        Limits,
        store::{NewMail, StoredMail},
    },
};

/// What a message costs the store besides its payload.
const OVERHEAD: usize = 160;

/// One message that waits for its recipient.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) to: DeviceId,
    pub(super) mail: StoredMail,
    pub(super) stranger: bool,
    pub(super) expires: Timestamp,
}

impl Waiting {
    fn cost(&self) -> usize {
        self.mail.bytes.len() + OVERHEAD
    }
}

#[derive(Default)]
struct Mailbox {
    mail: VecDeque<Waiting>,
    bytes: usize,
    strangers: usize,
    /// Messages per sender that is no stranger.
    senders: HashMap<DeviceId, usize>,
}

impl Mailbox {
    fn push(&mut self, waiting: Waiting) {
        self.bytes += waiting.cost();
        if waiting.stranger {
            self.strangers += 1;
        } else {
            *self.senders.entry(waiting.mail.from).or_default() += 1;
        }
        self.mail.push_back(waiting);
    }

    /// Takes the oldest message out if it meets the condition. All leave from the front: acks
    /// are cumulative and everything lives equally long.
    fn pop_if(&mut self, condition: impl FnOnce(&Waiting) -> bool) -> Option<Waiting> {
        let waiting = self.mail.pop_front_if(|waiting| condition(waiting))?;
        self.bytes -= waiting.cost();
        if waiting.stranger {
            self.strangers -= 1;
        } else if let Some(count) = self.senders.get_mut(&waiting.mail.from) {
            *count -= 1;
            if *count == 0 {
                self.senders.remove(&waiting.mail.from);
            }
        }
        Some(waiting)
    }
}

/// All mailboxes of one node, with their limits: what the backends `memory` and `redb` share.
///
/// Mail is here from the moment it is taken over, since it counts; its recipient sees it once it is
/// durable.
#[derive(Default)]
pub(super) struct Mailboxes {
    boxes: HashMap<DeviceId, Mailbox>,
    /// One counter for all: a mailbox that was emptied and forgotten must not start over, since
    /// its owner recognises redelivered mail by the sequence.
    last_sequence: u64,
    durable: u64,
    bytes: usize,
    stranger_bytes: usize,
}

impl Mailboxes {
    /// What a store that is opened again still has, in the order of its sequence numbers.
    pub(super) fn restore(last_sequence: u64, mail: impl IntoIterator<Item = Waiting>) -> Self {
        let mut all = Self { last_sequence, durable: last_sequence, ..Self::default() };
        mail.into_iter().for_each(|waiting| all.push(waiting));
        all
    }

    /// Takes a message over, or refuses it and leaves everything as it is.
    pub(super) fn send(
        &mut self,
        NewMail { from, to, stranger, bytes }: NewMail,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<Waiting, RefusalCode> {
        if bytes.len() > limits.mail_payload {
            return Err(RefusalCode::TooLarge);
        }
        let mail = StoredMail { sequence: self.last_sequence + 1, from, bytes };
        let waiting = Waiting { to, mail, stranger, expires: now + limits.mail_ttl };
        let cost = waiting.cost();
        if self.bytes + cost > limits.store_bytes
            || (stranger && self.stranger_bytes + cost > limits.stranger_bytes)
        {
            return Err(RefusalCode::MailboxFull);
        }
        let (count, held, strangers, own) = self.boxes.get(&to).map_or((0, 0, 0, 0), |mailbox| {
            let own = mailbox.senders.get(&from).copied().unwrap_or(0);
            (mailbox.mail.len(), mailbox.bytes, mailbox.strangers, own)
        });
        if !stranger && own >= limits.sender_quota {
            return Err(RefusalCode::QuotaExceeded);
        }
        if count >= limits.mailbox_count
            || held + cost > limits.mailbox_bytes
            || (stranger && strangers >= limits.stranger_lane)
        {
            return Err(RefusalCode::MailboxFull);
        }
        self.last_sequence += 1;
        self.push(waiting.clone());
        Ok(waiting)
    }

    fn push(&mut self, waiting: Waiting) {
        self.bytes += waiting.cost();
        if waiting.stranger {
            self.stranger_bytes += waiting.cost();
        }
        self.boxes.entry(waiting.to).or_default().push(waiting);
    }

    /// Shows the recipients everything up to this sequence number.
    pub(super) fn durable_up_to(&mut self, sequence: u64) {
        self.durable = self.durable.max(sequence);
    }

    /// The oldest messages for a device behind a sequence number.
    pub(super) fn after(
        &self,
        device: &DeviceId,
        sequence: u64,
        at_most: usize,
    ) -> Vec<StoredMail> {
        let Some(mailbox) = self.boxes.get(device) else { return Vec::new() };
        let start = mailbox.mail.partition_point(|waiting| waiting.mail.sequence <= sequence);
        let durable = |waiting: &&Waiting| waiting.mail.sequence <= self.durable;
        let found = mailbox.mail.range(start..).take_while(durable).take(at_most);
        found.map(|waiting| waiting.mail.clone()).collect()
    }

    /// Forgets a device's mail up to and including a sequence number. Returns the sequence numbers.
    pub(super) fn ack(&mut self, device: &DeviceId, sequence: u64) -> Vec<u64> {
        // What it has not been shown it cannot have received.
        let sequence = sequence.min(self.durable);
        let Some(mailbox) = self.boxes.get_mut(device) else { return Vec::new() };
        let mut acked = Vec::new();
        while let Some(waiting) = mailbox.pop_if(|waiting| waiting.mail.sequence <= sequence) {
            self.bytes -= waiting.cost();
            if waiting.stranger {
                self.stranger_bytes -= waiting.cost();
            }
            acked.push(waiting.mail.sequence);
        }
        if mailbox.mail.is_empty() {
            self.boxes.remove(device);
        }
        acked
    }

    /// Forgets mail that nobody collected in time. Returns the sequence numbers.
    pub(super) fn expire(&mut self, now: Timestamp) -> Vec<u64> {
        let (mut expired, durable) = (Vec::new(), self.durable);
        let over = |waiting: &Waiting| waiting.expires <= now && waiting.mail.sequence <= durable;
        self.boxes.retain(|_, mailbox| {
            while let Some(waiting) = mailbox.pop_if(over) {
                self.bytes -= waiting.cost();
                if waiting.stranger {
                    self.stranger_bytes -= waiting.cost();
                }
                expired.push(waiting.mail.sequence);
            }
            !mailbox.mail.is_empty()
        });
        expired
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TO: DeviceId = DeviceId::from_bytes([0; 32]);
    const NOW: Timestamp = Timestamp::from_unix_millis(1_000_000);

    fn known(device: u8) -> NewMail {
        let from = DeviceId::from_bytes([device; 32]);
        NewMail { from, to: TO, stranger: false, bytes: b"m".into() }
    }

    fn stranger(device: u8) -> NewMail {
        NewMail { stranger: true, ..known(device) }
    }

    fn send(store: &mut Mailboxes, mail: NewMail, limits: &Limits) -> Result<u64, RefusalCode> {
        let sequence = store.send(mail, limits, NOW)?.mail.sequence;
        store.durable_up_to(sequence);
        Ok(sequence)
    }

    fn held(store: &Mailboxes) -> Vec<u64> {
        store.after(&TO, 0, usize::MAX).iter().map(|mail| mail.sequence).collect()
    }

    #[test]
    fn mail_stays_until_it_is_acked_and_an_emptied_mailbox_does_not_count_from_one_again() {
        let (mut store, limits) = (Mailboxes::default(), Limits::default());
        let sent = [1, 2, 3].map(|n| send(&mut store, known(n), &limits).unwrap());
        assert_eq!(held(&store), sent);
        assert_eq!(store.after(&TO, sent[0], 1)[0].sequence, sent[1]);
        assert_eq!(store.ack(&TO, sent[1]), sent[..2]);
        assert_eq!(held(&store), [sent[2]]);
        store.ack(&TO, u64::MAX);
        assert_eq!((held(&store), store.bytes, store.boxes.len()), (vec![], 0, 0));
        assert!(send(&mut store, known(1), &limits).unwrap() > sent[2]);
    }

    #[test]
    fn mail_that_is_not_durable_yet_counts_but_is_neither_shown_nor_acked_nor_expired() {
        let (mut store, limits) = (Mailboxes::default(), Limits::default());
        let first = send(&mut store, known(1), &limits).unwrap();
        let second = store.send(known(1), &limits, NOW).unwrap().mail.sequence;
        assert_eq!(held(&store), [first]);
        assert_eq!(store.ack(&TO, u64::MAX), [first]);
        assert_eq!(store.expire(NOW + limits.mail_ttl), [0; 0]);
        assert!(store.bytes > 0);
        store.durable_up_to(second);
        assert_eq!(held(&store), [second]);
    }

    #[test]
    fn a_store_that_is_opened_again_has_its_mail_and_goes_on_counting() {
        let limits = Limits::default();
        let mut before = Mailboxes::default();
        let kept = before.send(stranger(1), &limits, NOW).unwrap();
        let mut store = Mailboxes::restore(7, [kept.clone()]);
        assert_eq!(held(&store), [kept.mail.sequence]);
        assert_eq!((store.bytes, store.stranger_bytes), (before.bytes, before.stranger_bytes));
        assert_eq!(send(&mut store, known(2), &limits), Ok(8));
    }

    #[test]
    fn a_full_mailbox_refuses_the_sender_and_keeps_what_it_has() {
        let mut store = Mailboxes::default();
        let limits = Limits { mailbox_count: 3, ..Limits::default() };
        for sequence in 1..=3 {
            assert_eq!(send(&mut store, known(1), &limits), Ok(sequence));
        }
        let full = Err(RefusalCode::MailboxFull);
        assert_eq!(send(&mut store, known(1), &limits), full);
        let limits = Limits { mailbox_bytes: 3 * (OVERHEAD + 1), ..Limits::default() };
        assert_eq!(send(&mut store, known(1), &limits), full);
        let limits = Limits { store_bytes: 3 * (OVERHEAD + 1), ..Limits::default() };
        assert_eq!(send(&mut store, known(1), &limits), full);
        assert_eq!(held(&store), [1, 2, 3]);
    }

    #[test]
    fn one_sender_cannot_use_up_another_ones_room() {
        let mut store = Mailboxes::default();
        let limits = Limits { sender_quota: 2, stranger_lane: 3, ..Limits::default() };
        for mail in [known(1), known(1), stranger(2), stranger(3), stranger(3)] {
            assert!(send(&mut store, mail, &limits).is_ok());
        }
        assert_eq!(send(&mut store, known(1), &limits), Err(RefusalCode::QuotaExceeded));
        // Strangers share one small lane, however many identities they make up.
        assert_eq!(send(&mut store, stranger(4), &limits), Err(RefusalCode::MailboxFull));
        assert_eq!(send(&mut store, known(5), &limits), Ok(6));
    }

    #[test]
    fn strangers_share_one_allowance_over_all_recipients() {
        let mut store = Mailboxes::default();
        let limits = Limits { stranger_bytes: 2 * (OVERHEAD + 1), ..Limits::default() };
        let mut send = |to: u8, mail| {
            let to = DeviceId::from_bytes([to; 32]);
            send(&mut store, NewMail { to, ..mail }, &limits)
        };
        assert_eq!((send(1, stranger(9)), send(2, stranger(9))), (Ok(1), Ok(2)));
        assert_eq!(send(3, stranger(9)), Err(RefusalCode::MailboxFull));
        assert_eq!(send(3, known(8)), Ok(3));
    }

    #[test]
    fn mail_that_nobody_collects_expires_and_frees_its_room() {
        let (mut store, limits) = (Mailboxes::default(), Limits::default());
        let later = NOW + Duration::from_secs(30);
        for (mail, at) in [(stranger(1), NOW), (known(2), later)] {
            let sent = store.send(mail, &limits, at).unwrap();
            store.durable_up_to(sent.mail.sequence);
        }
        assert_eq!(store.expire(NOW + limits.mail_ttl - Duration::from_millis(1)), [0; 0]);
        assert_eq!(store.expire(NOW + limits.mail_ttl), [1]);
        assert_eq!((held(&store), store.stranger_bytes), (vec![2], 0));
        assert_eq!(store.expire(later + limits.mail_ttl), [2]);
        assert_eq!((store.bytes, store.boxes.len()), (0, 0));
    }

    #[test]
    fn a_message_above_the_limit_is_too_large() {
        let (mut store, limits) = (Mailboxes::default(), Limits::default());
        let bytes = vec![0; limits.mail_payload + 1].into();
        let sent = send(&mut store, NewMail { bytes, ..known(1) }, &limits);
        assert_eq!(sent, Err(RefusalCode::TooLarge));
    }
}
