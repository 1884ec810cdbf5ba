//! Checking Ed25519 signatures (RFC 8032), strictly.

use super::Signature;

/// Whether the owner of a public key signed a message. A key of small order is refused: it has
/// signatures that fit any message, and no owner. So is a signature that begins with such a point,
/// which only gives its maker's key away.
///
/// AWS-LC takes three quarters of the time that vodozemac takes, and a publisher does this for each
/// join; but it would take both.
#[cfg(feature = "aws-lc")]
pub(super) fn verify(public: &[u8; 32], message: &[u8], signature: &Signature) -> bool {
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

    let (key, signature) = (UnparsedPublicKey::new(&ED25519, public), signature.as_bytes());
    !is_of_small_order(public)
        && signature.first_chunk().is_some_and(|point| !is_of_small_order(point))
        && key.verify(message, signature).is_ok()
}

#[cfg(not(feature = "aws-lc"))]
pub(super) fn verify(public: &[u8; 32], message: &[u8], signature: &Signature) -> bool {
    let Ok(key) = vodozemac::Ed25519PublicKey::from_slice(public) else { return false };
    vodozemac::Ed25519Signature::from_slice(signature.as_bytes())
        .is_ok_and(|signature| key.verify(message, &signature).is_ok())
}

/// The points of order 1, 2, 4 and 8 by their `y`, which an encoding consists of but for its top
/// bit; those that are not reduced as well.
#[cfg(feature = "aws-lc")]
fn is_of_small_order(point: &[u8; 32]) -> bool {
    const fn y(first: u8, between: u8, last: u8) -> [u8; 32] {
        let mut y = [between; 32];
        y[0] = first;
        y[31] = last;
        y
    }
    #[rustfmt::skip]
    const SMALL_ORDER: [[u8; 32]; 7] = [
        y(0, 0, 0), y(1, 0, 0), y(0xec, 0xff, 0x7f), y(0xed, 0xff, 0x7f), y(0xee, 0xff, 0x7f),
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
            0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
            0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
    ];
    let mut y = *point;
    y[31] &= 0x7f;
    SMALL_ORDER.contains(&y)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest, Sha512};
    use vodozemac::{Ed25519PublicKey, Ed25519SecretKey, Ed25519Signature};

    use super::*;

    /// What vodozemac says, which is strict.
    fn expected(public: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        let Ok(key) = Ed25519PublicKey::from_slice(public) else { return false };
        Ed25519Signature::from_slice(signature)
            .is_ok_and(|signature| key.verify(message, &signature).is_ok())
    }

    /// The order of the group (RFC 8032 §5.1).
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];

    /// `number + ORDER`, or minus it, and whether that is too large, or below 0.
    fn shifted(number: [u8; 32], by: i16) -> ([u8; 32], bool) {
        let mut carry = 0;
        let mut sum = number;
        for (byte, order) in sum.iter_mut().zip(ORDER) {
            let digit = i16::from(*byte) + by * i16::from(order) + carry;
            *byte = u8::try_from(digit & 0xff).unwrap();
            carry = digit >> 8;
        }
        (sum, carry != 0)
    }

    /// Encodings at the edges of the field, among them all of small order.
    fn edges() -> Vec<[u8; 32]> {
        let points = [
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        ];
        let of_hex = |hex: &str| {
            std::array::from_fn(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
        };
        let mut edges: Vec<[u8; 32]> = points.map(of_hex).to_vec();
        for (between, last) in [(0, 0), (0xff, 0x7f)] {
            for first in (0..20).chain(0xe0..=0xff) {
                let mut point = [between; 32];
                (point[0], point[31]) = (first, last);
                edges.push(point);
            }
        }
        let other_half = edges.clone().into_iter().map(|mut point| {
            point[31] |= 0x80;
            point
        });
        edges.extend(other_half);
        edges
    }

    #[test]
    fn it_says_what_vodozemac_says_at_the_edges() {
        // A signature that fits any message under the neutral element: R = S · B.
        let seed = [7; 32];
        let mut scalar: [u8; 32] = Sha512::digest(seed)[..32].try_into().unwrap();
        scalar[0] &= 248;
        scalar[31] = scalar[31] & 127 | 64;
        while let (less, false) = shifted(scalar, -1) {
            scalar = less;
        }
        let secret = Ed25519SecretKey::from_slice(&seed);
        let public = *secret.public_key().as_bytes();
        let any = [public, scalar].concat().try_into().unwrap();
        let good = secret.sign(b"message").to_bytes();

        let edges = edges();
        for key in &edges {
            for point in &edges {
                // S = 0: under a key of small order only such points are left to compare.
                let signature = [*point, [0; 32]].concat().try_into().unwrap();
                let says = verify(key, b"message", &Signature::from_bytes(signature));
                assert_eq!(says, expected(key, b"message", &signature), "{key:02x?} {point:02x?}");
            }
            for signature in [any, good] {
                assert!(!verify(key, b"message", &Signature::from_bytes(signature)), "{key:02x?}");
            }
        }
        assert!(verify(&public, b"message", &Signature::from_bytes(good)));
    }

    #[test]
    fn a_signature_that_begins_with_the_neutral_element_is_refused() {
        // The base point is the public key of the scalar 1: S = SHA-512(R ‖ A ‖ M) mod the order.
        let mut base_point = [0x66; 32];
        base_point[0] = 0x58;
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let hash = Sha512::digest([&neutral[..], &base_point, b"message"].concat());
        let bits = hash.iter().rev().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
        let mut scalar = [0_u8; 32];
        for bit in bits {
            // Below 2^254 after doubling.
            let mut carry = bit;
            for byte in &mut scalar {
                (*byte, carry) = (*byte << 1 | carry, *byte >> 7);
            }
            if let (less, false) = shifted(scalar, -1) {
                scalar = less;
            }
        }
        let signature = [neutral, scalar].concat().try_into().unwrap();
        assert!(!expected(&base_point, b"message", &signature));
        assert!(!verify(&base_point, b"message", &Signature::from_bytes(signature)));
    }

    #[test]
    fn a_scalar_that_is_not_reduced_is_refused() {
        let secret = Ed25519SecretKey::new();
        let public = *secret.public_key().as_bytes();
        let mut signature = secret.sign(b"message").to_bytes();
        let (scalar, too_large) = shifted(*signature.last_chunk().unwrap(), 1);
        assert!(!too_large);
        signature[32..].copy_from_slice(&scalar);
        assert!(!verify(&public, b"message", &Signature::from_bytes(signature)));
    }

    proptest! {
        #[test]
        fn it_says_what_vodozemac_says(
            seed in any::<[u8; 32]>(),
            message in prop::collection::vec(any::<u8>(), 0..100),
            flips in prop::collection::vec((0_usize..96, 0_u8..8), 0..3),
        ) {
            let secret = Ed25519SecretKey::from_slice(&seed);
            let mut public = *secret.public_key().as_bytes();
            let mut signature = secret.sign(&message).to_bytes();
            for &(at, bit) in &flips {
                match at.checked_sub(32) {
                    None => public[at] ^= 1 << bit,
                    Some(at) => signature[at] ^= 1 << bit,
                }
            }
            let says = verify(&public, &message, &Signature::from_bytes(signature));
            prop_assert_eq!(says, expected(&public, &message, &signature));
            prop_assert_eq!(says, flips.is_empty() || flips.len() == 2 && flips[0] == flips[1]);
        }
    }
}
