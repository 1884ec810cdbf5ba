/// A hash (FNV-1a) over all that happened: kinds, nodes, times and lengths, but no bytes of a
/// message, since keys differ from run to run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trace(u64);

impl Trace {
    pub(super) const fn new() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }

    pub(super) fn add(&mut self, kind: &str, numbers: &[u64]) {
        let numbers = numbers.iter().flat_map(|number| number.to_be_bytes());
        for byte in kind.bytes().chain([0]).chain(numbers) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }

    pub(super) const fn value(self) -> u64 {
        self.0
    }
}
