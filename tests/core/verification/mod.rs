//! Two devices that verify each other, on a virtual clock, over a carrier that may do as it likes.

mod agreement;
mod between;
mod consequences;
mod deviations;
mod ends;
mod foreign;
mod mutations;
mod names;
mod pesterers;
mod requests;

use std::collections::BTreeMap;

use olmcast::{
    device::{Identity, KnownDevice},
    endpoint::{
        CancelReason, Endpoint, Event, MessageError, Output, Recipient, ShortAuthString,
        VerificationState,
    },
    primitives::{DeviceId, Invite, RoomKeys, Timestamp},
    protocol::{Carrier, Envelope, Kind},
};

const LATENCY: u64 = 20;
const MINUTE: u64 = 60_000;

/// What the carrier makes of a message: when which bytes arrive, if any.
type Carry = Box<dyn FnMut(DeviceId, DeviceId, &[u8]) -> Vec<(u64, Vec<u8>)>>;

fn faithful() -> Carry {
    Box::new(|_, _, bytes| vec![(LATENCY, bytes.to_vec())])
}

struct Table {
    now: u64,
    invite: Invite,
    endpoints: BTreeMap<DeviceId, Endpoint>,
    /// By age, the id of the first being the smallest.
    devices: Vec<DeviceId>,
    states: Vec<(DeviceId, DeviceId, VerificationState)>,
    /// The same, with all that is shown.
    shown: Vec<(DeviceId, Event)>,
    /// What happened besides.
    events: Vec<(DeviceId, Event)>,
    errors: Vec<(DeviceId, MessageError)>,
    carry: Carry,
    /// All that was said: by whom, to whom, and what.
    log: Vec<(DeviceId, DeviceId, Vec<u8>)>,
    in_flight: BTreeMap<(u64, usize), (DeviceId, Vec<u8>)>,
    sent: usize,
}

impl Table {
    /// Devices with names of their own, sorted by their ids.
    fn of(names: &[&str]) -> Self {
        let invite = crate::network::invite();
        let mut identities: Vec<_> = names.iter().map(|_| Identity::generate()).collect();
        identities.sort_by_key(Identity::device);
        let mut table = Self {
            now: 1_800_000_000_000,
            invite,
            endpoints: BTreeMap::new(),
            devices: Vec::new(),
            states: Vec::new(),
            shown: Vec::new(),
            events: Vec::new(),
            errors: Vec::new(),
            carry: faithful(),
            log: Vec::new(),
            in_flight: BTreeMap::new(),
            sent: 0,
        };
        for (identity, name) in identities.into_iter().zip(names) {
            table.seat(identity.with_name(*name));
        }
        table
    }

    fn pair() -> Self {
        Self::of(&["Alice", "Bob"])
    }

    fn seat(&mut self, identity: Identity) -> DeviceId {
        let seed = u8::try_from(self.devices.len()).unwrap();
        let mut endpoint = Endpoint::with_seed(identity, [seed; 32]);
        endpoint.enter(self.invite.room_keys());
        let device = endpoint.device();
        self.endpoints.insert(device, endpoint);
        self.devices.push(device);
        device
    }

    fn keys(&self) -> RoomKeys {
        self.invite.room_keys()
    }

    fn a(&self) -> DeviceId {
        self.devices[0]
    }

    fn b(&self) -> DeviceId {
        self.devices[1]
    }

    fn time(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.now)
    }

    fn at(&mut self, device: DeviceId) -> &mut Endpoint {
        self.endpoints.get_mut(&device).unwrap()
    }

    fn state(&self, of: DeviceId, with: DeviceId) -> Option<VerificationState> {
        self.endpoints[&of].verification(with)
    }

    fn short(&self, of: DeviceId, with: DeviceId) -> Option<ShortAuthString> {
        match self.state(of, with) {
            Some(VerificationState::Comparing(short)) => Some(short),
            _ => None,
        }
    }

    /// What each side of the pair has come to.
    fn ends(&self) -> [Option<VerificationState>; 2] {
        let (a, b) = (self.a(), self.b());
        [self.state(a, b), self.state(b, a)]
    }

    /// Asserts that both sides failed, for this reason, and were told so. What was only asked for, and
    /// taken back, is not remembered.
    fn failed(&self, reason: CancelReason) {
        let failed = VerificationState::Cancelled(reason);
        let (a, b) = (self.a(), self.b());
        for (of, with) in [(a, b), (b, a)] {
            let told = self.states.iter().filter(|told| (told.0, told.1) == (of, with));
            let told: Vec<_> = told.map(|(_, _, state)| state).collect();
            assert_eq!(told.last(), Some(&&failed));
            let was_only_asked = told.iter().rev().nth(1) == Some(&&VerificationState::Requested);
            match self.state(of, with) {
                None => assert!(was_only_asked),
                state => assert_eq!(state, Some(failed.clone())),
            }
        }
    }

    fn verified(&self) {
        assert_eq!(self.ends(), [(); 2].map(|()| Some(VerificationState::Verified)));
    }

    /// Whom each device knows.
    fn trust(&self) -> Vec<Vec<KnownDevice>> {
        let known = |device| self.endpoints[device].memory().trust().iter().cloned().collect();
        self.devices.iter().map(known).collect()
    }

    fn verify(&mut self, who: DeviceId, whom: DeviceId) {
        let (room, now) = (self.invite.room(), self.time());
        self.at(who).verify(room, whom, now).unwrap();
        self.flush(who);
    }

    fn confirm(&mut self, who: DeviceId, whom: DeviceId) {
        let now = self.time();
        self.at(who).confirm_verification(whom, now).unwrap();
        self.flush(who);
    }

    fn reject(&mut self, who: DeviceId, whom: DeviceId) {
        let now = self.time();
        self.at(who).reject_verification(whom, now).unwrap();
        self.flush(who);
    }

    fn cancel(&mut self, who: DeviceId, whom: DeviceId) {
        let now = self.time();
        self.at(who).cancel_verification(whom, now).unwrap();
        self.flush(who);
    }

    /// The first asks, the second takes part: both see a string.
    fn compare(&mut self) {
        let (a, b) = (self.a(), self.b());
        self.verify(a, b);
        self.run(100);
        self.verify(b, a);
        self.run(200);
        assert!(self.short(a, b).is_some() && self.short(b, a).is_some(), "{:?}", self.ends());
    }

    /// What users do: take part in what is asked for, and confirm exactly if both see the same.
    fn use_it(&mut self) {
        let (a, b) = (self.a(), self.b());
        for (who, whom) in [(a, b), (b, a)] {
            if self.state(who, whom) == Some(VerificationState::Requested) {
                self.verify(who, whom);
            }
        }
        if let (Some(ours), Some(theirs)) = (self.short(a, b), self.short(b, a)) {
            for (who, whom) in [(a, b), (b, a)] {
                if ours == theirs { self.confirm(who, whom) } else { self.reject(who, whom) }
            }
        }
    }

    fn run(&mut self, ms: u64) {
        self.run_with(ms, |_| {});
    }

    /// Lets time pass; what the users do, they do after each thing that happens.
    fn run_with(&mut self, ms: u64, mut users: impl FnMut(&mut Self)) {
        let end = self.now + ms;
        let mut idle = 0;
        users(self);
        while let Some(at) = self.next().filter(|at| *at <= end) {
            idle = if at > self.now { 0 } else { idle + 1 };
            assert!(idle < 1000, "something is due for ever");
            self.now = self.now.max(at);
            while let Some(entry) = self.in_flight.first_entry().filter(|e| e.key().0 <= self.now) {
                let (to, bytes) = entry.remove();
                self.deliver(to, &bytes);
                users(self);
            }
            let now = self.time();
            for device in self.devices.clone() {
                if self.at(device).poll_timeout().is_some_and(|at| at <= now) {
                    self.at(device).handle_timeout(now);
                    self.flush(device);
                }
            }
            users(self);
        }
        self.now = end;
    }

    fn next(&self) -> Option<u64> {
        let timeouts = self.endpoints.values().filter_map(Endpoint::poll_timeout);
        let deliveries = self.in_flight.keys().next().map(|(at, _)| *at);
        timeouts.map(Timestamp::unix_millis).chain(deliveries).min()
    }

    fn deliver(&mut self, to: DeviceId, bytes: &[u8]) {
        let now = self.time();
        let Some(endpoint) = self.endpoints.get_mut(&to) else { return };
        if let Err(error) = endpoint.handle_message(bytes, now) {
            self.errors.push((to, error));
        }
        self.flush(to);
    }

    fn flush(&mut self, from: DeviceId) {
        while let Some(output) = self.at(from).poll_output() {
            match output {
                Output::Send { to: Recipient::Device(to), bytes } => {
                    for (delay, bytes) in (self.carry)(from, to, &bytes) {
                        self.sent += 1;
                        self.in_flight.insert((self.now + delay, self.sent), (to, bytes));
                    }
                    self.log.push((from, to, bytes));
                }
                Output::Event(event @ Event::Verification { .. }) => {
                    if let Event::Verification { device, state, .. } = event.clone() {
                        self.states.push((from, device, state));
                    }
                    self.shown.push((from, event));
                }
                Output::Event(event) => self.events.push((from, event)),
                _ => {}
            }
        }
    }
}

/// The kind of a signed message.
fn kind_of(bytes: &[u8]) -> Option<Kind> {
    match Envelope::decode(bytes).ok()?.carrier {
        Carrier::Signed(signed) => Some(signed.kind),
        _ => None,
    }
}

const KINDS: [Kind; 5] = [
    Kind::VerificationStart,
    Kind::VerificationAccept,
    Kind::VerificationKey,
    Kind::VerificationMac,
    Kind::VerificationDone,
];
