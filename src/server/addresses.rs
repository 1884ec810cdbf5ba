//! What one address may take up, so that somebody with many identities does not take everybody's
//! place.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::Limits;

/// Every so many looks, addresses are forgotten whose allowance is whole again, so no more than this
/// many are remembered for nothing.
const FORGET_EVERY: u32 = 1024;

/// What a message costs the store besides its payload.
const KEEPING: usize = 160;

/// What counts as one address: an IPv4 address, or the /64 that one IPv6 customer has at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Address(IpAddr);

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        Self(match ip.to_canonical() {
            IpAddr::V4(ip) => ip.into(),
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        })
    }
}

/// The limits per address, and who is at which.
pub(super) struct Addresses {
    sockets: Counts,
    devices: Counts,
    rooms: Counts,
    state: Counts,
    accepts: Rates,
    requests: Rates,
    new_devices: Rates,
    frames: Rates,
    mail: Rates,
    strangers: Rates,
}

/// Why a socket is closed as soon as it was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// Too many at a time.
    Sockets,
    /// Too many in too short a time.
    Rate,
}

impl Addresses {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            sockets: Counts::new(limits.sockets_per_address),
            devices: Counts::new(limits.connections_per_address),
            rooms: Counts::new(limits.rooms_per_address),
            state: Counts::new(limits.state_bytes_per_address),
            accepts: Rates::per_second(limits.accept_rate, limits.accept_burst),
            requests: Rates::per_second(limits.request_rate, limits.request_burst),
            new_devices: Rates::per_minute(
                limits.new_devices_per_address,
                limits.new_devices_burst,
            ),
            frames: Rates::per_second(limits.room_rate_per_address, limits.room_burst_per_address),
            mail: Rates::per_second(limits.mail_rate_per_address, limits.mail_burst_per_address),
            strangers: Rates::per_second(
                limits.stranger_rate_per_address,
                limits.stranger_burst_per_address,
            ),
        }
    }

    /// A new socket.
    pub(super) fn accept(&self, address: Address) -> Result<Held, Over> {
        if !self.accepts.allow(address) {
            return Err(Over::Rate);
        }
        self.sockets.hold(address, 1).ok_or(Over::Sockets)
    }

    /// A socket has become a device's.
    pub(super) fn connect(&self, address: Address) -> Option<Held> {
        self.devices.hold(address, 1)
    }

    /// Whether another device could connect from there.
    pub(super) fn may_connect(&self, address: Address) -> bool {
        self.devices.has_room(address)
    }

    /// Whether a request may be answered.
    pub(super) fn request(&self, address: Address) -> bool {
        self.requests.allow(address)
    }

    /// Whether the directory may take up a device that it does not know.
    pub(super) fn new_device(&self, address: Address) -> bool {
        self.new_devices.allow(address)
    }

    /// Whether a frame may be copied to a whole room.
    pub(super) fn room_frame(&self, address: Address) -> bool {
        self.frames.allow(address)
    }

    /// A device enters a room.
    pub(super) fn room(&self, address: Address) -> Option<Held> {
        self.rooms.hold(address, 1)
    }

    /// A device says so many bytes in a room, for those who come later.
    pub(super) fn state(&self, address: Address, bytes: usize) -> Option<Held> {
        self.state.hold(address, bytes)
    }

    /// Whether a message of so many bytes may be taken over.
    pub(super) fn mail(&self, address: Address, stranger: bool, bytes: usize) -> bool {
        let bytes = bytes.saturating_add(KEEPING);
        (!stranger || self.strangers.allow_many(address, bytes))
            && self.mail.allow_many(address, bytes)
    }
}

/// How many each address has. Those that have none are not kept.
struct Counts {
    /// None for no limit.
    at_most: Option<usize>,
    held: Arc<Book>,
}

type Book = Mutex<HashMap<Address, usize>>;

impl Counts {
    fn new(at_most: usize) -> Self {
        Self { at_most: (at_most > 0).then_some(at_most), held: Arc::default() }
    }

    fn hold(&self, address: Address, number: usize) -> Option<Held> {
        let Some(at_most) = self.at_most else { return Some(Held(None)) };
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.get(&address).copied().unwrap_or(0);
        if number > at_most.saturating_sub(count) {
            return None;
        }
        held.insert(address, count + number);
        drop(held);
        Some(Held(Some((self.held.clone(), address, number))))
    }

    fn has_room(&self, address: Address) -> bool {
        let Some(at_most) = self.at_most else { return true };
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(&address).is_none_or(|count| *count < at_most)
    }
}

/// One of an address's places, or some of its bytes, until it is dropped.
#[derive(Debug)]
pub(super) struct Held(Option<(Arc<Book>, Address, usize)>);

impl Held {
    /// Takes up what is of the same address.
    pub(super) fn add(&mut self, mut more: Self) {
        if let (Some((.., number)), Some((.., more))) = (&mut self.0, more.0.take()) {
            *number += more;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some((held, address, number)) = &self.0 else { return };
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(address) {
            *count -= number;
            if *count == 0 {
                held.remove(address);
            }
        }
    }
}

/// How fast each address goes.
struct Rates {
    /// None for no limit.
    limiter: Option<DefaultKeyedRateLimiter<Address>>,
    burst: NonZeroU32,
    looks: AtomicU32,
}

impl Rates {
    fn per_second(rate: u32, burst: u32) -> Self {
        Self::new(NonZeroU32::new(rate).map(Quota::per_second), burst)
    }

    fn per_minute(rate: u32, burst: u32) -> Self {
        Self::new(NonZeroU32::new(rate).map(Quota::per_minute), burst)
    }

    fn new(quota: Option<Quota>, burst: u32) -> Self {
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        let limiter = quota.map(|quota| RateLimiter::keyed(quota.allow_burst(burst)));
        Self { limiter, burst, looks: AtomicU32::new(0) }
    }

    fn allow(&self, address: Address) -> bool {
        self.allow_many(address, 1)
    }

    /// What is more than a whole allowance takes just that, so that it is not refused for ever.
    fn allow_many(&self, address: Address, number: usize) -> bool {
        let Some(limiter) = &self.limiter else { return true };
        let number = u32::try_from(number).ok().and_then(NonZeroU32::new);
        let number = number.unwrap_or(NonZeroU32::MAX).min(self.burst);
        if self.looks.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1 {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
        matches!(limiter.check_key_n(&address, number), Ok(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn an_address_is_an_ipv4_address_or_the_64_of_an_ipv6_one() {
        assert_eq!(address("::ffff:10.0.0.1"), address("10.0.0.1"));
        assert_ne!(address("10.0.0.1"), address("10.0.0.2"));
        assert_eq!(address("2001:db8:1:2::1"), address("2001:db8:1:2:ffff::9"));
        assert_ne!(address("2001:db8:1:2::1"), address("2001:db8:1:3::1"));
    }

    #[test]
    fn an_address_that_is_at_its_limit_takes_nothing_from_another() {
        let limits = Limits {
            sockets_per_address: 2,
            connections_per_address: 1,
            accept_rate: 0,
            ..Limits::default()
        };
        let addresses = Addresses::new(&limits);
        let (a, b) = (address("10.0.0.1"), address("10.0.0.2"));
        let first = addresses.accept(a).unwrap();
        let _second = addresses.accept(a).unwrap();
        assert_eq!(addresses.accept(a).unwrap_err(), Over::Sockets);
        let _other = addresses.accept(b).unwrap();
        drop(first);
        let _third = addresses.accept(a).unwrap();

        let device = addresses.connect(a).unwrap();
        assert!(!addresses.may_connect(a) && addresses.connect(a).is_none());
        assert!(addresses.may_connect(b));
        drop(device);
        assert!(addresses.may_connect(a));
        assert!(addresses.devices.held.lock().unwrap().is_empty(), "nobody is kept for nothing");
    }

    #[test]
    fn too_many_sockets_in_too_short_a_time_are_refused_to_one_address_only() {
        let limits = Limits {
            accept_rate: 1,
            accept_burst: 3,
            request_rate: 1,
            request_burst: 1,
            ..Limits::default()
        };
        let addresses = Addresses::new(&limits);
        let (a, b) = (address("2001:db8::1"), address("2001:db8:0:1::1"));
        for _ in 0..3 {
            addresses.accept(a).unwrap();
        }
        assert_eq!(addresses.accept(a).unwrap_err(), Over::Rate);
        addresses.accept(b).unwrap();
        assert!(addresses.request(a) && !addresses.request(a) && addresses.request(b));
    }

    #[test]
    fn mail_from_one_address_is_counted_in_bytes_and_to_strangers_twice() {
        let limits = Limits {
            mail_rate_per_address: 1,
            mail_burst_per_address: 1000,
            stranger_rate_per_address: 1,
            stranger_burst_per_address: 400,
            ..Limits::default()
        };
        let addresses = Addresses::new(&limits);
        let (a, b) = (address("10.0.0.1"), address("10.0.0.2"));
        assert!(addresses.mail(a, true, 40) && addresses.mail(a, true, 40));
        assert!(!addresses.mail(a, true, 0), "400 bytes");
        assert!(addresses.mail(a, false, 440), "1000 bytes");
        assert!(!addresses.mail(a, false, 0));
        assert!(addresses.mail(b, false, 1 << 30), "more than ever may come, after long silence");
        assert!(!addresses.mail(b, true, 0));
    }

    #[test]
    fn what_the_devices_of_one_address_say_in_rooms_is_counted_together() {
        let limits =
            Limits { state_bytes_per_address: 100, rooms_per_address: 1, ..Limits::default() };
        let addresses = Addresses::new(&limits);
        let (a, b) = (address("10.0.0.1"), address("10.0.0.2"));
        let (first, _second) = (addresses.state(a, 60).unwrap(), addresses.state(a, 40).unwrap());
        assert!(addresses.state(a, 1).is_none() && addresses.state(b, 100).is_some());
        drop(first);
        assert!(addresses.state(a, 61).is_none() && addresses.state(a, 60).is_some());
        let room = addresses.room(a);
        assert!(room.is_some() && addresses.room(a).is_none() && addresses.room(b).is_some());
    }

    #[test]
    fn new_devices_are_counted_by_the_minute() {
        let limits = Limits {
            new_devices_per_address: 60,
            new_devices_burst: 1,
            room_rate_per_address: 1,
            room_burst_per_address: 1,
            ..Limits::default()
        };
        let addresses = Addresses::new(&limits);
        let (a, b) = (address("10.0.0.1"), address("10.0.0.2"));
        assert!(addresses.new_device(a) && !addresses.new_device(a) && addresses.new_device(b));
        assert!(addresses.room_frame(a) && !addresses.room_frame(a) && addresses.room_frame(b));
        std::thread::sleep(std::time::Duration::from_millis(1100));
        assert!(addresses.new_device(a));
    }

    #[test]
    fn nought_is_no_limit() {
        let limits = Limits {
            new_devices_per_address: 0,
            rooms_per_address: 0,
            state_bytes_per_address: 0,
            room_rate_per_address: 0,
            mail_rate_per_address: 0,
            stranger_rate_per_address: 0,
            sockets_per_address: 0,
            connections_per_address: 0,
            accept_rate: 0,
            request_rate: 0,
            ..Limits::default()
        };
        let addresses = Addresses::new(&limits);
        let a = address("10.0.0.1");
        let held: Vec<_> = (0..5000).map(|_| addresses.accept(a).unwrap()).collect();
        assert!((0..5000).all(|_| addresses.request(a) && addresses.connect(a).is_some()));
        assert!((0..5000).all(|_| addresses.room_frame(a) && addresses.new_device(a)));
        assert!((0..5000).all(|_| addresses.mail(a, true, 1 << 20)));
        assert!(addresses.room(a).is_some() && addresses.state(a, 1 << 40).is_some());
        assert_eq!(held.len(), 5000);
    }

    #[test]
    fn addresses_that_came_once_are_forgotten() {
        let limits = Limits { accept_rate: 1000, accept_burst: 1, ..Limits::default() };
        let addresses = Addresses::new(&limits);
        for number in 0..20 * FORGET_EVERY {
            let _ = addresses.accept(Address(IpAddr::V4(number.into())));
            if number % FORGET_EVERY == 0 {
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        }
        let kept = addresses.accepts.limiter.as_ref().unwrap().len();
        assert!(kept <= 2 * FORGET_EVERY as usize, "{kept} are remembered");
    }
}
