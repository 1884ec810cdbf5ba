use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

use crate::primitives::DeviceId;

/// Where a store rings when there is mail for a device that is connected to this node.
#[derive(Clone, Default)]
pub(super) struct Doorbells(Arc<Mutex<HashMap<DeviceId, Arc<Notify>>>>);

impl Doorbells {
    /// Hangs up a bell for a device, in the place of an earlier one.
    pub(super) fn hang(&self, device: DeviceId) -> Arc<Notify> {
        let bell = Arc::new(Notify::new());
        // Mail may have come while the device was away.
        bell.notify_one();
        self.lock().insert(device, bell.clone());
        bell
    }

    /// Takes a bell away, unless another one hangs there by now.
    pub(super) fn take(&self, device: &DeviceId, bell: &Arc<Notify>) {
        let mut bells = self.lock();
        if bells.get(device).is_some_and(|other| Arc::ptr_eq(other, bell)) {
            bells.remove(device);
        }
    }

    /// Says that there may be mail.
    pub(super) fn ring(&self, device: &DeviceId) {
        if let Some(bell) = self.lock().get(device) {
            bell.notify_one();
        }
    }

    /// Says that there may be mail for anybody.
    #[cfg_attr(not(feature = "nats"), allow(dead_code, reason = "one node loses no wake-ups"))]
    pub(super) fn ring_all(&self) {
        self.ring_part(0, 1);
    }

    /// The same for one of so many parts of all devices.
    #[cfg_attr(not(feature = "nats"), allow(dead_code, reason = "one node loses no wake-ups"))]
    pub(super) fn ring_part(&self, part: u8, of: u8) {
        for (device, bell) in self.lock().iter() {
            if device.as_bytes()[0] % of == part {
                bell.notify_one();
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<DeviceId, Arc<Notify>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
