//! The part of an input that says what happens.

/// After its end it says 0.
pub(super) struct Script<'a>(pub(super) &'a [u8]);

impl Script<'_> {
    pub(super) fn next(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// A place in the bytes or at their end, counted from the start or from the end.
    pub(super) fn place(&mut self, bytes: &[u8]) -> usize {
        match usize::from(self.next()) {
            from_start @ 0..128 => from_start.min(bytes.len()),
            from_end => bytes.len().saturating_sub(255 - from_end),
        }
    }

    /// Alters `bytes` in one place, as something that mutates what it does not understand would.
    pub(super) fn alter(&mut self, bytes: &mut Vec<u8>) {
        let (how, at) = (self.next(), self.place(bytes));
        match how % 6 {
            0 => {
                let change = self.next();
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= change;
                }
            }
            1 => bytes.truncate(at),
            2 => bytes.insert(at, self.next()),
            3 => {
                let end = self.place(bytes);
                bytes.drain(at.min(end)..at.max(end));
            }
            4 => {
                let (byte, count) = (self.next(), self.next());
                bytes.splice(at..at, [byte].repeat(usize::from(count)));
            }
            _ => {
                let end = &mut bytes[at..];
                end.rotate_left(usize::from(self.next()) % end.len().max(1));
            }
        }
    }
}
