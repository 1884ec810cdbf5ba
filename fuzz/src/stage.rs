//! Two endpoints that share a live stream, and devices with tools of their own around them: a
//! member that holds the stream's key too, a publisher that the subscriber has asked for a key,
//! and a stranger who lacks the invite.

mod forged;

use std::collections::VecDeque;

use olmcast::{
    device::Identity,
    endpoint::{
        Endpoint, Hoard, HolderState, MessageError, Output, Publish, Recipient, SubscriptionState,
    },
    primitives::{
        Codec, DeviceId, Generation, Invite, Position, RoomKeys, StreamId, StreamRef, Timestamp,
        TrackId,
    },
    protocol::{Carrier, Envelope, Kind, PublicKey, StreamOffer, Subscribe, TrackOffer},
};

use vodozemac::megolm::{GroupSession, SessionConfig};

pub(super) use forged::{Forged, Pair};

/// The most that a single message or moment may be answered with.
const MAX_OUTPUTS: usize = 12;
const MAX_MESSAGES: usize = 200;

/// Which of the two endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    Publisher,
    Subscriber,
}

pub(super) struct Stage {
    pub(super) now: u64,
    pub(super) keys: RoomKeys,
    pub(super) publisher: Endpoint,
    pub(super) subscriber: Endpoint,
    /// The stream that is live.
    pub(super) stream: StreamRef,
    pub(super) member: Forged,
    /// The member's session with the publisher.
    pub(super) held: Pair,
    pub(super) forger: Forged,
    /// The stream that the forger offers, the `Subscribe` that it got, and the session for it.
    pub(super) forged: StreamRef,
    pub(super) forged_offer: Vec<u8>,
    pub(super) asked: Subscribe,
    pub(super) answer: Pair,
    /// Has the invite, and has not asked yet.
    pub(super) newcomer: Forged,
    pub(super) stranger: Forged,
    pub(super) hoard: Hoard,
    /// The forger's Megolm sessions, some steps apart.
    pub(super) sessions: Vec<GroupSession>,
    /// Those that the subscriber took, each by its public key, and for which generation.
    pub(super) taken: Vec<(Vec<u8>, Generation)>,
    /// What the two endpoints told each other.
    pub(super) log: Vec<(To, Vec<u8>)>,
    /// Devices that the publisher sent something under Olm since this was last taken.
    pub(super) told: Vec<DeviceId>,
    /// Whether something was taken, or time has passed.
    pub(super) is_used: bool,
    to_others: Vec<(DeviceId, Vec<u8>)>,
}

/// All that a message without authority must not change.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Snapshot {
    pub(super) position: Option<Position>,
    pub(super) holders: Vec<HolderState>,
    pub(super) live: Option<SubscriptionState>,
    pub(super) forged: Option<SubscriptionState>,
    pub(super) hoarded: usize,
}

impl Snapshot {
    pub(super) fn devices(&self) -> Vec<DeviceId> {
        self.holders.iter().map(|holder| holder.device).collect()
    }
}

impl Stage {
    pub(super) fn new() -> Self {
        let keys = Invite::generate("service.test:1").unwrap().room_keys();
        let now = 1_800_000_000_000;
        let at = Timestamp::from_unix_millis(now);
        let mut publisher = Endpoint::with_seed(Identity::generate(), [1; 32]);
        let mut subscriber = Endpoint::with_seed(Identity::generate(), [2; 32]);
        publisher.enter(keys.clone());
        subscriber.enter(keys.clone());
        let publish = Publish::new("").track(Codec::Opus).with_invite();
        let stream = publisher.publish(keys.room(), publish, at).unwrap();
        let offer = publisher.offer(stream).unwrap();
        let stream = StreamRef { publisher: publisher.device(), stream };
        subscriber.subscribe(&offer, "", at).unwrap();
        let hoard = subscriber.hoard_keys();

        let (member, forger) = (Forged::new(Some(&keys)), Forged::new(Some(&keys)));
        let forged = StreamRef { publisher: forger.device, stream: StreamId::from_bytes([9; 16]) };
        let content = StreamOffer {
            name: String::new(),
            stream: forged.stream,
            label: String::new(),
            tracks: vec![TrackOffer { id: TrackId(0), codec: Codec::Opus, layers: 1 }],
            media: String::new(),
            curve25519: forger.curve25519(),
            started: Timestamp::default(),
            seq: 1,
        };
        let forged_offer = serde_json::to_vec(&content).unwrap();
        let signed = forger.sign(Kind::StreamOffer, keys.room(), None, &forged_offer);
        subscriber.subscribe(&signed, "", at).unwrap();

        let mut stage = Self {
            now,
            stream,
            member,
            held: Pair::default(),
            forged,
            forged_offer,
            asked: Subscribe {
                name: String::new(),
                stream: forged.stream,
                curve25519: forger.curve25519(),
                one_time_key: forger.curve25519(),
                sequence: 0,
                claim: String::new(),
            },
            forger,
            answer: Pair::default(),
            newcomer: Forged::new(Some(&keys)),
            stranger: Forged::new(None),
            keys,
            publisher,
            subscriber,
            hoard,
            sessions: (0..3).map(|_| GroupSession::new(SessionConfig::default())).collect(),
            taken: Vec::new(),
            log: Vec::new(),
            told: Vec::new(),
            is_used: false,
            to_others: Vec::new(),
        };
        stage.begin(&offer);
        stage
    }

    /// Everybody gets their key, but for the subscriber of the forger's stream.
    fn begin(&mut self, offer: &[u8]) {
        let Carrier::Signed(signed) = Envelope::decode(offer).unwrap().carrier else { panic!() };
        let offer: StreamOffer = serde_json::from_slice(&signed.payload).unwrap();
        let one_time_key = self.member.one_time_key();
        let subscribe = Subscribe {
            name: String::new(),
            stream: self.stream.stream,
            curve25519: self.member.curve25519(),
            one_time_key,
            sequence: self.now,
            claim: String::new(),
        };
        let payload = serde_json::to_vec(&subscribe).unwrap();
        let (room, publisher) = (self.keys.room(), self.stream.publisher);
        let signed = self.member.sign(Kind::Subscribe, room, Some(publisher), &payload);
        self.deliver(To::Publisher, &signed).unwrap();
        self.pass(1000);
        let to_others = std::mem::take(&mut self.to_others);
        let of = |device| {
            let bytes = to_others.iter().find(|(to, _)| *to == device);
            Envelope::decode(&bytes.unwrap().1).unwrap().carrier
        };
        let Carrier::Signed(asked) = of(self.forger.device) else { panic!() };
        self.asked = serde_json::from_slice(&asked.payload).unwrap();
        let (room, subscriber) = (self.keys.room(), self.subscriber.device());
        let asked = (self.asked.curve25519, self.asked.one_time_key);
        self.answer = self.forger.begin(room, self.forged, subscriber, asked);
        let Carrier::Olm(answer) = of(self.member.device) else { panic!() };
        self.held = self.member.receive(room, self.stream, offer.curve25519, &answer);
        self.told.clear();
        self.is_used = false;
        let before = self.snapshot();
        assert!(before.devices().len() == 2 && before.live.unwrap().position.is_some());
    }

    /// The one-time key of the member's own subscription.
    pub(super) fn member_key(&self) -> PublicKey {
        self.held.one_time_key.unwrap()
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            position: self.publisher.position(self.stream.stream),
            holders: self.publisher.holders(self.stream.stream),
            live: self.subscriber.subscription(self.stream),
            forged: self.subscriber.subscription(self.forged),
            hoarded: self.hoard.sessions(),
        }
    }

    pub(super) fn device(&self, of: To) -> DeviceId {
        match of {
            To::Publisher => self.publisher.device(),
            To::Subscriber => self.subscriber.device(),
        }
    }

    fn endpoint(&mut self, which: To) -> &mut Endpoint {
        match which {
            To::Publisher => &mut self.publisher,
            To::Subscriber => &mut self.subscriber,
        }
    }

    /// Hands over a message, and what follows from it between the two.
    pub(super) fn deliver(&mut self, to: To, bytes: &[u8]) -> Result<(), MessageError> {
        let now = Timestamp::from_unix_millis(self.now);
        let result = self.endpoint(to).handle_message(bytes, now);
        self.is_used |= result.is_ok();
        let mut queue = VecDeque::new();
        self.outputs(to, &mut queue);
        self.forward(queue);
        result
    }

    /// What follows goes back and forth.
    fn forward(&mut self, mut queue: VecDeque<(To, Vec<u8>)>) {
        let mut messages = 0;
        while let Some((to, bytes)) = queue.pop_front() {
            let now = Timestamp::from_unix_millis(self.now);
            let _ = self.endpoint(to).handle_message(&bytes, now);
            self.log.push((to, bytes));
            self.outputs(to, &mut queue);
            messages += 1;
            assert!(messages < MAX_MESSAGES, "they talk for ever");
        }
    }

    /// What an endpoint has to say goes where it belongs.
    fn outputs(&mut self, from: To, queue: &mut VecDeque<(To, Vec<u8>)>) {
        let mut outputs = 0;
        while let Some(output) = self.endpoint(from).poll_output() {
            outputs += 1;
            assert!(outputs <= MAX_OUTPUTS, "more than a message can be answered with");
            self.is_used = true;
            let Output::Send { to, bytes } = output else { continue };
            let Recipient::Device(device) = to else {
                let to = if from == To::Publisher { To::Subscriber } else { To::Publisher };
                queue.push_back((to, bytes));
                continue;
            };
            let is_olm = matches!(Envelope::decode(&bytes).unwrap().carrier, Carrier::Olm(_));
            if from == To::Publisher && is_olm {
                self.told.push(device);
            }
            if device == self.publisher.device() {
                queue.push_back((To::Publisher, bytes));
            } else if device == self.subscriber.device() {
                queue.push_back((To::Subscriber, bytes));
            } else {
                self.to_others.push((device, bytes));
            }
        }
    }

    /// Time passes, and everything is done when it is due.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        self.is_used = true;
        let mut rounds = 0;
        loop {
            let endpoints = [&self.publisher, &self.subscriber];
            let timers = endpoints.into_iter().filter_map(Endpoint::poll_timeout);
            let Some(at) = timers.min().map(Timestamp::unix_millis).filter(|at| *at <= end) else {
                break;
            };
            rounds = if at > self.now { 0 } else { rounds + 1 };
            assert!(rounds < 3, "a timer is due for ever");
            self.now = self.now.max(at);
            let now = Timestamp::from_unix_millis(self.now);
            for which in [To::Publisher, To::Subscriber] {
                if self.endpoint(which).poll_timeout().is_some_and(|at| at <= now) {
                    self.endpoint(which).handle_timeout(now);
                    let mut queue = VecDeque::new();
                    self.outputs(which, &mut queue);
                    self.forward(queue);
                }
            }
        }
        self.now = end;
    }

    /// The forged devices read what they were sent, to be able to answer it.
    pub(super) fn hear(&mut self) {
        for (to, bytes) in std::mem::take(&mut self.to_others) {
            match Envelope::decode(&bytes).unwrap().carrier {
                Carrier::Olm(carrier) if to == self.member.device => self.held.hear(&carrier),
                Carrier::Olm(carrier) if to == self.forger.device => self.answer.hear(&carrier),
                Carrier::Signed(signed)
                    if to == self.forger.device && signed.kind == Kind::Subscribe =>
                {
                    self.asked = serde_json::from_slice(&signed.payload).unwrap();
                    let asked = (self.asked.curve25519, self.asked.one_time_key);
                    let (room, device) = (self.keys.room(), self.subscriber.device());
                    self.answer = self.forger.begin(room, self.forged, device, asked);
                }
                _ => {}
            }
        }
    }
}
