//! VP9 (its bitstream specification, §6.2 and §7.2): nothing stays clear. SFUs read the payload
//! descriptor of RFC 9628, which is made from the frame before it is encrypted.

/// Whether the frame, or the first of a superframe, needs none before it.
pub(super) fn is_key_frame(frame: &[u8]) -> bool {
    frame.first().and_then(|&first| after_frame_type(first)).is_some_and(|(is_key, _)| is_key)
}

/// Whether it is a key frame, and its profile; nothing for what only repeats an earlier frame.
fn after_frame_type(first: u8) -> Option<(bool, u8)> {
    // frame_marker (2 bits), profile_low_bit, profile_high_bit.
    if first >> 6 != 0b10 {
        return None;
    }
    let profile = first >> 5 & 1 | first >> 3 & 2;
    // Profile 3 has a reserved bit more; then show_existing_frame and frame_type.
    let rest = if profile == 3 { first << 5 } else { first << 4 };
    (rest & 0x80 == 0).then_some((rest & 0x40 == 0, profile))
}

/// Width and height of a key frame.
pub(super) fn dimensions(frame: &[u8]) -> Option<(u16, u16)> {
    const SYNC_CODE: u32 = 0x49_83_42;
    const RGB: u32 = 7;
    let (true, profile) = after_frame_type(*frame.first()?)? else { return None };
    // Behind frame_type: show_frame, error_resilient_mode.
    let mut at = if profile == 3 { 9 } else { 8 };
    let mut bits = |count: usize| {
        let value = (at..at + count).try_fold(0, |value, bit| {
            Some(value << 1 | u32::from(frame.get(bit / 8)? >> (7 - bit % 8) & 1))
        });
        at += count;
        value
    };
    if bits(24)? != SYNC_CODE {
        return None;
    }
    if profile >= 2 {
        bits(1)?; // ten_or_twelve_bit
    }
    match (bits(3)?, profile) {
        (RGB, 1 | 3) => bits(1)?,       // reserved_zero
        (RGB, _) => return None,        // not in these profiles
        (_, 1 | 3) => bits(1 + 2 + 1)?, // color_range, subsampling_x and _y, reserved_zero
        _ => bits(1)?,                  // color_range
    };
    let (width, height) = (bits(16)?, bits(16)?);
    // 65,536 is one more than the payload descriptor can say.
    Some((u16::try_from(width + 1).ok()?, u16::try_from(height + 1).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_of_a_key_frame_is_read() {
        // Made by libvpx: 320×180, profile 0.
        let key = [0x82, 0x49, 0x83, 0x42, 0x00, 0x13, 0xf0, 0x0b, 0x36];
        assert!(is_key_frame(&key));
        assert_eq!(dimensions(&key), Some((320, 180)));
        for length in 0..key.len() {
            assert_eq!(dimensions(&key[..length]), None, "{length}");
        }
        // An inter frame, one that shows an earlier one, and what is no VP9.
        for first in [0x86, 0x88, 0x02, 0xC2] {
            assert!(!is_key_frame(&[first]));
            let mut other = key;
            other[0] = first;
            assert_eq!(dimensions(&other), None);
        }
        // Profile 3 shifts everything by one bit.
        assert!(is_key_frame(&[0xB0]) && !is_key_frame(&[0xB2]) && !is_key_frame(&[0xB4]));
    }
}
