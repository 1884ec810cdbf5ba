use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};

use crate::{primitives::DeviceId, server::Limits};

/// Devices that are counted at a time. A device is forgotten when its allowance is whole again, so
/// it would take more checked signatures in a second than a machine has time for.
const MOST: usize = 1 << 16;
/// With fewer, nobody looks whom to forget.
const FEW: usize = 1 << 10;

/// How often each device may ask, and be asked for.
pub(super) struct Rates {
    pub(super) uploads: PerDevice,
    pub(super) claims: PerDevice,
    /// One-time keys of a device, claimed by all others together.
    pub(super) targets: PerDevice,
}

impl Rates {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            uploads: PerDevice::new(limits.upload_rate, limits.upload_burst),
            claims: PerDevice::new(limits.claim_rate, limits.claim_burst),
            targets: PerDevice::new(limits.claim_target_rate, limits.claim_target_burst),
        }
    }
}

/// A rate for each device, in memory that has a bound.
pub(super) struct PerDevice {
    limiter: DefaultKeyedRateLimiter<DeviceId>,
    clock: DefaultClock,
    /// With so many devices, those with a whole allowance are forgotten.
    prune_at: AtomicUsize,
}

impl PerDevice {
    fn new(rate: u32, burst: u32) -> Self {
        let at_least_one = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(rate)).allow_burst(at_least_one(burst));
        let (limiter, clock) = (RateLimiter::keyed(quota), DefaultClock::default());
        Self { limiter, clock, prune_at: AtomicUsize::new(FEW) }
    }

    /// Counts one, or says how long to wait.
    pub(super) fn count(&self, device: &DeviceId) -> Result<(), Duration> {
        if self.limiter.len() >= self.prune_at.load(Ordering::Relaxed) {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
            let left = self.limiter.len();
            // Twice as many, so that looking at all of them is rare.
            self.prune_at.store((2 * left).clamp(FEW, MOST), Ordering::Relaxed);
            if left >= MOST {
                return Err(Duration::from_secs(1));
            }
        }
        self.limiter.check_key(device).map_err(|until| until.wait_time_from(self.clock.now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(number: usize) -> DeviceId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        DeviceId::from_bytes(bytes)
    }

    #[test]
    fn each_device_has_its_own_allowance_and_is_told_how_long_to_wait() {
        let rate = PerDevice::new(1, 2);
        for _ in 0..2 {
            assert_eq!(rate.count(&device(1)), Ok(()));
        }
        let wait = rate.count(&device(1)).unwrap_err();
        assert!(wait > Duration::from_millis(500) && wait <= Duration::from_secs(1), "{wait:?}");
        assert_eq!(rate.count(&device(2)), Ok(()));
    }

    #[test]
    fn devices_with_a_whole_allowance_are_forgotten() {
        let fast = PerDevice::new(1_000_000, 1);
        for number in 0..10 * FEW {
            assert_eq!(fast.count(&device(number)), Ok(()));
        }
        assert!(fast.limiter.len() <= 2 * FEW, "{}", fast.limiter.len());
    }

    #[test]
    fn the_number_of_devices_has_a_bound() {
        // Nobody's allowance is whole again before the test is over.
        let slow = PerDevice::new(1, 1000);
        for number in 0..MOST + 100 {
            for _ in 0..60 {
                let _ = slow.count(&device(number));
            }
        }
        assert_eq!(slow.limiter.len(), MOST);
        assert!(slow.count(&device(MOST + 100)).is_err());
    }
}
