use std::fmt;

use vodozemac::sas::SasBytes;

use super::emoji::{Emoji, TABLE};

/// What both users see, and compare by another way than the one that is verified: by voice, or in
/// person. Seven emojis carry 42 bits, three numbers the first 39 of them; either will do.
#[derive(Clone, PartialEq, Eq)]
pub struct ShortAuthString(SasBytes);

impl ShortAuthString {
    pub(super) fn new(bytes: SasBytes) -> Self {
        Self(bytes)
    }

    /// Seven emojis, in this order.
    pub fn emojis(&self) -> [Emoji; 7] {
        // An index has six bits.
        self.0.emoji_indices().map(|index| TABLE[usize::from(index) % TABLE.len()])
    }

    /// Three numbers of four digits, in this order.
    pub fn numbers(&self) -> [u16; 3] {
        let (first, second, third) = self.0.decimals();
        [first, second, third]
    }
}

/// Who can foresee it, can be in between: it is for the two users.
impl fmt::Debug for ShortAuthString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShortAuthString").finish_non_exhaustive()
    }
}
