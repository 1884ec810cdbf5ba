//! What people call devices. A name is a claim until it is bound to keys in the trust store.

use sha2::{Digest, Sha256};
use unicode_security::confusable_detection::skeleton;

use crate::protocol::Subscribe;

/// The longest name of a device, in bytes.
pub const MAX_NAME: usize = Subscribe::MAX_NAME;

/// A name as it may be shown and kept: on one line, from left to right as it is written, and not
/// too long. Whoever chose it must not choose what else stands on the screen.
pub(crate) fn tidy(name: &str) -> String {
    let is_plain = |c: &char| !c.is_control() && !is_line_or_direction(*c);
    let mut plain: String = name.chars().filter(is_plain).collect();
    plain.truncate(plain.floor_char_boundary(MAX_NAME));
    // Of just its length: thousands are kept.
    plain.trim().to_owned()
}

/// Separators of lines and paragraphs, and what changes the direction of writing
/// (Unicode Standard Annex #9, §2).
fn is_line_or_direction(c: char) -> bool {
    matches!(
        c,
        '\u{2028}' | '\u{2029}' | '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
    )
}

/// What a name looks like to people: without what no reader sees, with one letter for those that
/// look alike (Unicode Technical Standard #39, §4), and without regard to case. The start of
/// a SHA-256 hash of that, since thousands are kept, and whoever finds two of one hash gets no more
/// than a question about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Look([u8; 8]);

impl Look {
    fn of(name: &str) -> Option<Self> {
        let look: String = skeleton(name).collect();
        let look = look.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
        let hash: [u8; 32] = Sha256::digest(&look).into();
        (!look.is_empty()).then(|| Self(std::array::from_fn(|at| hash[at])))
    }
}

/// How a name may be read. There are two ways to disregard case, since letters look alike in one
/// case only: `PauI` with a capital i is `Paul`, and `IAN` is `ian`. Names that have one look in
/// common look alike. A name in which there is nothing to see has none.
pub(crate) fn looks(name: &str) -> impl Iterator<Item = Look> {
    let name = tidy(name);
    let (as_written, in_lower_case) = (Look::of(&name), Look::of(&name.to_lowercase()));
    let other = in_lower_case.filter(|look| as_written != Some(*look));
    as_written.into_iter().chain(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look_alike(a: &str, b: &str) -> bool {
        let looks_of_b: Vec<_> = looks(b).collect();
        looks(a).any(|look| looks_of_b.contains(&look))
    }

    #[test]
    fn names_that_people_would_take_for_one_another_look_alike() {
        for (known, other) in [
            ("Alice", "Alice"),
            ("Alice", "alice"),
            ("Alice", "ALICE"),
            ("Alice", "  Alice\t"),
            ("Alice", "Аliсе"),         // Cyrillic А, с and е
            ("alice", "аlice"),         // Cyrillic а
            ("Alice", "ΑIice"),         // Greek Alpha, and a capital i
            ("Alice", "Al\u{200b}ice"), // a space of no width
            ("Alice", "\u{202e}Alice"), // a change of direction
            ("Alice", "\u{feff}Alice"), // a byte order mark
            ("Alice", "Ａｌｉｃｅ"),    // as wide as Chinese
            ("Alice", "𝐀𝐥𝐢𝐜𝐞"),         // mathematical
            ("Alice", "A1ice"),         // the digit
            ("Paul", "PauI"),           // a capital i
            ("paul", "PauI"),
            ("Ian", "ian"),
            ("Ian", "lan"),
            ("IAN", "ian"),
            ("Zoë", "Zoe\u{308}"), // composed or not
            ("Zoë", "ZOË"),
            ("Anna Maria", "Anna\u{a0}\u{2003}Maria"),
            ("morn", "rnorn"), // m and rn
        ] {
            assert!(look_alike(known, other), "{known} {other}");
            assert!(look_alike(other, known), "{other} {known}");
        }
    }

    #[test]
    fn other_names_do_not() {
        for (known, other) in [
            ("Alice", "Bob"),
            ("Alice", "Alic"),
            ("Alice", "Alice 2"),
            ("Anna Maria", "AnnaMaria"),
            ("Zoe", "Zoë"),
            ("张伟", "张偉"),
            ("Иван", "Иванова"),
        ] {
            assert!(!look_alike(known, other), "{known} {other}");
        }
    }

    #[test]
    fn a_name_in_which_there_is_nothing_to_see_looks_like_none() {
        for nothing in ["", " ", "\u{200b}\u{200d}", "\u{202e}", "\n\t", "\u{a0}", "\u{3164}"] {
            assert_eq!(looks(nothing).count(), 0, "{nothing:?}");
        }
    }

    #[test]
    fn what_is_shown_is_one_line_of_bounded_length() {
        assert_eq!(tidy("  Alice \n"), "Alice");
        assert_eq!(tidy("Ali\u{1b}[2Jce\r\n\u{2028}x"), "Ali[2Jcex");
        assert_eq!(tidy("\u{202e}ecilA\u{2069}"), "ecilA");
        assert_eq!(tidy("👩‍👩‍👧 Müller-Lüdenscheid"), "👩‍👩‍👧 Müller-Lüdenscheid");
        assert_eq!(tidy(&"ü".repeat(100)), "ü".repeat(64));
        assert_eq!(tidy(&format!("{} x", "a".repeat(127))), "a".repeat(127));
    }
}
