use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What was promised to devices, and what was kept.
#[derive(Default)]
pub(super) struct Ledger(Mutex<Book>);

#[derive(Default)]
struct Book {
    round: u64,
    letters: Vec<Letter>,
}

/// One message, by its sender's and recipient's word.
#[derive(Clone, Copy)]
struct Letter {
    /// The recipient.
    to: usize,
    /// In which round it was accepted, if it was.
    accepted: Option<u64>,
    received: bool,
}

/// A message that nobody got.
pub(super) struct Lost {
    number: usize,
    to: usize,
    round: u64,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, to, round } = self;
        write!(f, "message {number} to device {to}, which was accepted before kill {round}")
    }
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin_round(&self, round: u64) {
        self.lock().round = round;
    }

    /// A message is about to be handed in; returns its number.
    pub(super) fn write(&self, to: usize) -> u64 {
        let mut book = self.lock();
        book.letters.push(Letter { to, accepted: None, received: false });
        book.letters.len() as u64 - 1
    }

    pub(super) fn accept(&self, number: u64) {
        let mut book = self.lock();
        let round = book.round;
        if let Some(letter) = book.letter(number) {
            letter.accepted = Some(round);
        }
    }

    /// False if the message is not for this recipient, or never was.
    pub(super) fn receive(&self, number: u64, recipient: usize) -> bool {
        match self.lock().letter(number) {
            Some(letter) if letter.to == recipient => {
                letter.received = true;
                true
            }
            _ => false,
        }
    }

    pub(super) fn is_received(&self, number: u64) -> bool {
        self.lock().letter(number).is_some_and(|letter| letter.received)
    }

    pub(super) fn accepted(&self) -> u64 {
        self.lock().letters.iter().filter(|letter| letter.accepted.is_some()).count() as u64
    }

    /// Whether everything that was accepted for a recipient has come.
    pub(super) fn has_all(&self, recipient: usize) -> bool {
        let missing = |letter: &Letter| letter.accepted.is_some() && !letter.received;
        !self.lock().letters.iter().any(|letter| letter.to == recipient && missing(letter))
    }

    pub(super) fn lost(&self) -> Vec<Lost> {
        let book = self.lock();
        let lost = book.letters.iter().enumerate().filter(|(_, letter)| !letter.received);
        lost.filter_map(|(number, letter)| {
            Some(Lost { number, to: letter.to, round: letter.accepted? })
        })
        .collect()
    }

    /// For those who wait.
    pub(super) fn counts(&self) -> String {
        let book = self.lock();
        let count = |condition: fn(&Letter) -> bool| {
            book.letters.iter().filter(|letter| condition(letter)).count()
        };
        format!(
            "{} messages: {} accepted, {} received",
            book.letters.len(),
            count(|letter| letter.accepted.is_some()),
            count(|letter| letter.received),
        )
    }
}

impl Book {
    fn letter(&mut self, number: u64) -> Option<&mut Letter> {
        self.letters.get_mut(usize::try_from(number).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_accepted_and_did_not_come_is_lost_and_nothing_else() {
        let ledger = Ledger::default();
        let [came, refused, lost, unknown] = [0; 4].map(|to| ledger.write(to));
        for number in [came, lost] {
            ledger.accept(number);
        }
        assert!(ledger.receive(came, 0) && ledger.receive(unknown, 0));
        assert!(!ledger.receive(lost, 1), "it is not for this one");
        assert!(!ledger.receive(99, 0), "nobody wrote it");
        let missing: Vec<_> = ledger.lost().iter().map(|lost| lost.number as u64).collect();
        assert_eq!((missing, ledger.accepted()), (vec![lost], 2));
        assert!(!ledger.has_all(0) && ledger.has_all(1));
        assert_ne!(refused, lost);
    }
}
