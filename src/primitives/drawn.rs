use rand::RngExt;

/// The thread's generator, from which vodozemac draws its keys, keeps what it gave out until it makes
/// its next 256 bytes, and nothing else would wipe that. To be called after keys were drawn.
pub(crate) fn overwrite_drawn() {
    rand::rng().fill(&mut [0_u8; 512]);
}
