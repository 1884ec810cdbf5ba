use std::{
    collections::{HashMap, VecDeque},
    time::Instant,
};

use crate::{
    primitives::DeviceId,
    protocol::service::{Payload, RefusalCode},
    server::Limits,
};

/// What a message costs the store besides its payload.
const OVERHEAD: usize = 160;

/// One message that waits for its recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) struct StoredMail {
    pub(in crate::server) sequence: u64,
    pub(in crate::server) from: DeviceId,
    pub(in crate::server) bytes: Payload,
    stranger: bool,
    expires: Instant,
}

impl StoredMail {
    fn cost(&self) -> usize {
        self.bytes.len() + OVERHEAD
    }
}

/// Who sends, and whether it shares a room with the recipient.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Sender {
    pub(in crate::server) device: DeviceId,
    pub(in crate::server) stranger: bool,
}

#[derive(Default)]
struct Mailbox {
    mail: VecDeque<StoredMail>,
    bytes: usize,
    strangers: usize,
    /// Messages per sender that is no stranger.
    senders: HashMap<DeviceId, usize>,
}

impl Mailbox {
    fn push(&mut self, mail: StoredMail) {
        self.bytes += mail.cost();
        if mail.stranger {
            self.strangers += 1;
        } else {
            *self.senders.entry(mail.from).or_default() += 1;
        }
        self.mail.push_back(mail);
    }

    /// Takes the oldest message out if it meets the condition. All leave from the front: acks
    /// are cumulative and everything lives equally long.
    fn pop_if(&mut self, condition: impl FnOnce(&StoredMail) -> bool) -> Option<StoredMail> {
        let mail = self.mail.pop_front_if(|mail| condition(mail))?;
        self.bytes -= mail.cost();
        if mail.stranger {
            self.strangers -= 1;
        } else if let Some(count) = self.senders.get_mut(&mail.from) {
            *count -= 1;
            if *count == 0 {
                self.senders.remove(&mail.from);
            }
        }
        Some(mail)
    }
}

/// All mailboxes.
pub(in crate::server) struct Mailboxes {
    boxes: HashMap<DeviceId, Mailbox>,
    /// One counter for all: a mailbox that was emptied and forgotten must not start over, since
    /// its owner recognises redelivered mail by the sequence.
    last_sequence: u64,
    bytes: usize,
    stranger_bytes: usize,
}

impl Mailboxes {
    pub(in crate::server) fn new() -> Self {
        Self { boxes: HashMap::new(), last_sequence: 0, bytes: 0, stranger_bytes: 0 }
    }

    /// Takes a message over, or refuses it and leaves everything as it is.
    pub(in crate::server) fn send(
        &mut self,
        sender: Sender,
        to: DeviceId,
        bytes: Payload,
        limits: &Limits,
        now: Instant,
    ) -> Result<u64, RefusalCode> {
        if bytes.len() > limits.mail_payload {
            return Err(RefusalCode::TooLarge);
        }
        let Sender { device: from, stranger } = sender;
        let sequence = self.last_sequence + 1;
        let mail = StoredMail { sequence, from, bytes, stranger, expires: now + limits.mail_ttl };
        let cost = mail.cost();
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
        self.last_sequence = sequence;
        self.bytes += cost;
        if stranger {
            self.stranger_bytes += cost;
        }
        self.boxes.entry(to).or_default().push(mail);
        Ok(sequence)
    }

    /// The oldest messages for a device behind a sequence number.
    pub(in crate::server) fn after(
        &self,
        device: &DeviceId,
        sequence: u64,
        at_most: usize,
    ) -> Vec<StoredMail> {
        let Some(mailbox) = self.boxes.get(device) else { return Vec::new() };
        let start = mailbox.mail.partition_point(|mail| mail.sequence <= sequence);
        mailbox.mail.range(start..).take(at_most).cloned().collect()
    }

    /// Forgets a device's mail up to and including a sequence number.
    pub(in crate::server) fn ack(&mut self, device: &DeviceId, sequence: u64) {
        let Some(mailbox) = self.boxes.get_mut(device) else { return };
        while let Some(mail) = mailbox.pop_if(|mail| mail.sequence <= sequence) {
            self.bytes -= mail.cost();
            if mail.stranger {
                self.stranger_bytes -= mail.cost();
            }
        }
        if mailbox.mail.is_empty() {
            self.boxes.remove(device);
        }
    }

    /// Forgets mail that nobody collected in time. Returns how much.
    pub(in crate::server) fn expire(&mut self, now: Instant) -> usize {
        let mut expired = 0;
        self.boxes.retain(|_, mailbox| {
            while let Some(mail) = mailbox.pop_if(|mail| mail.expires <= now) {
                self.bytes -= mail.cost();
                if mail.stranger {
                    self.stranger_bytes -= mail.cost();
                }
                expired += 1;
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

    fn known(device: u8) -> Sender {
        Sender { device: DeviceId::from_bytes([device; 32]), stranger: false }
    }

    fn stranger(device: u8) -> Sender {
        Sender { stranger: true, ..known(device) }
    }

    fn held(store: &Mailboxes) -> Vec<u64> {
        store.after(&TO, 0, usize::MAX).iter().map(|mail| mail.sequence).collect()
    }

    #[test]
    fn mail_stays_until_it_is_acked_and_an_emptied_mailbox_does_not_count_from_one_again() {
        let (mut store, limits, now) = (Mailboxes::new(), Limits::default(), Instant::now());
        let send = |store: &mut Mailboxes| {
            store.send(known(1), TO, Payload::from(b"m"), &limits, now).unwrap()
        };
        let sent = [send(&mut store), send(&mut store), send(&mut store)];
        assert_eq!(held(&store), sent);
        assert_eq!(store.after(&TO, sent[0], 1)[0].sequence, sent[1]);
        store.ack(&TO, sent[1]);
        assert_eq!(held(&store), [sent[2]]);
        store.ack(&TO, u64::MAX);
        assert_eq!((held(&store), store.bytes, store.boxes.len()), (vec![], 0, 0));
        assert!(send(&mut store) > sent[2]);
    }

    #[test]
    fn a_full_mailbox_refuses_the_sender_and_keeps_what_it_has() {
        let (mut store, now) = (Mailboxes::new(), Instant::now());
        let limits = Limits { mailbox_count: 3, ..Limits::default() };
        let mut send = |limits: &Limits| {
            store.send(known(1), TO, Payload::from(b"m"), limits, now).map(|_| ())
        };
        for _ in 0..3 {
            assert_eq!(send(&limits), Ok(()));
        }
        assert_eq!(send(&limits), Err(RefusalCode::MailboxFull));
        let limits = Limits { mailbox_bytes: 3 * (OVERHEAD + 1), ..Limits::default() };
        assert_eq!(send(&limits), Err(RefusalCode::MailboxFull));
        let limits = Limits { store_bytes: 3 * (OVERHEAD + 1), ..Limits::default() };
        assert_eq!(send(&limits), Err(RefusalCode::MailboxFull));
        assert_eq!(held(&store), [1, 2, 3]);
    }

    #[test]
    fn one_sender_cannot_use_up_another_ones_room() {
        let (mut store, now) = (Mailboxes::new(), Instant::now());
        let limits = Limits { sender_quota: 2, stranger_lane: 3, ..Limits::default() };
        let mut send =
            |sender| store.send(sender, TO, Payload::from(b"m"), &limits, now).map(|_| ());
        for sender in [known(1), known(1), stranger(2), stranger(3), stranger(3)] {
            assert_eq!(send(sender), Ok(()));
        }
        assert_eq!(send(known(1)), Err(RefusalCode::QuotaExceeded));
        // Strangers share one small lane, however many identities they make up.
        assert_eq!(send(stranger(4)), Err(RefusalCode::MailboxFull));
        assert_eq!(send(known(5)), Ok(()));
    }

    #[test]
    fn strangers_share_one_allowance_over_all_recipients() {
        let (mut store, now) = (Mailboxes::new(), Instant::now());
        let limits = Limits { stranger_bytes: 2 * (OVERHEAD + 1), ..Limits::default() };
        let mut send = |to: u8, sender| {
            let to = DeviceId::from_bytes([to; 32]);
            store.send(sender, to, Payload::from(b"m"), &limits, now).map(|_| ())
        };
        assert_eq!((send(1, stranger(9)), send(2, stranger(9))), (Ok(()), Ok(())));
        assert_eq!(send(3, stranger(9)), Err(RefusalCode::MailboxFull));
        assert_eq!(send(3, known(8)), Ok(()));
    }

    #[test]
    fn mail_that_nobody_collects_expires_and_frees_its_room() {
        let (mut store, limits, now) = (Mailboxes::new(), Limits::default(), Instant::now());
        let later = now + Duration::from_secs(30);
        for (sender, at) in [(stranger(1), now), (known(2), later)] {
            store.send(sender, TO, Payload::from(b"m"), &limits, at).unwrap();
        }
        assert_eq!(store.expire(now + limits.mail_ttl - Duration::from_millis(1)), 0);
        assert_eq!(store.expire(now + limits.mail_ttl), 1);
        assert_eq!((held(&store), store.stranger_bytes), (vec![2], 0));
        assert_eq!(store.expire(later + limits.mail_ttl), 1);
        assert_eq!((store.bytes, store.boxes.len()), (0, 0));
    }

    #[test]
    fn a_message_above_the_limit_is_too_large() {
        let (mut store, limits) = (Mailboxes::new(), Limits::default());
        let bytes = Payload::from(vec![0; limits.mail_payload + 1]);
        let sent = store.send(known(1), TO, bytes, &limits, Instant::now());
        assert_eq!(sent, Err(RefusalCode::TooLarge));
    }
}
