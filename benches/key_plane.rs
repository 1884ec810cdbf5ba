//! What joins and leaves cost a publisher, by how many hold its key; and a new key its subscriber.
//!
//! ```text
//! join/N             one more subscriber than N: from its `Subscribe` to its `StreamKey` …
//! bare-join/N        … and what vodozemac does in there: a session, an Olm encryption, a step
//! join-of-20         the same for one of 20 that come together, and share the step
//! leave/N            one less than N: from its `Unsubscribe` until all others were sent the next
//!                    generation's key
//! bare-leave/N       N - 1 Olm encryptions of as many bytes, in sessions of the same state: each
//!                    has been answered, so each begins a new chain
//! ack, bare-ack      reading one confirmation; the Olm decryption in there
//! step, bare-step    moving to the next step
//! open, bare-open    a subscriber takes a `StreamKey` and confirms it
//! ```
//!
//! Bytes are printed first.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench"
)]

mod crowd;
mod settings;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{BatchSize, Bencher};
use crowd::Crowd;
use olmcast::{
    device::Identity,
    endpoint::{Endpoint, Output, Recipient},
    primitives::StreamRef,
    protocol::MAX_OLM_PLAINTEXT,
};
use vodozemac::{
    megolm::{GroupSession, InboundGroupSession, SessionConfig as MegolmConfig, SessionKey},
    olm::{Account, OlmMessage, Session, SessionConfig},
};

const HOLDERS: [usize; 4] = [50, 200, 1000, 10_000];
/// The length of a `StreamKey`'s plaintext.
const PLAINTEXT: usize = 343;

fn main() {
    print_bytes();
    let mut criterion = settings::criterion();
    for (holders, at_once) in HOLDERS.map(|holders| (holders, 1)).into_iter().chain([(200, 20)]) {
        // Criterion calls for each sample, and a crowd takes seconds to come together.
        let mut crowd = Crowd::of(holders);
        for (prefix, timed) in [("", Side::Ours), ("bare-", Side::Bare)] {
            let of = if at_once == 1 { String::new() } else { format!("-of-{at_once}") };
            let name = format!("{prefix}join{of}/{holders}");
            criterion.bench_function(&name, |b| join(b, &mut crowd, holders, at_once, timed));
        }
    }
    criterion.bench_function("ack", ack);
    criterion.bench_function("bare-ack", bare_ack);
    criterion.bench_function("step", step);
    criterion.bench_function("bare-step", bare_step);
    criterion.bench_function("open", open);
    criterion.bench_function("bare-open", bare_open);

    // Between two leaves all holders confirm, which takes several times as long.
    let mut criterion = criterion.sample_size(10).warm_up_time(Duration::from_millis(1));
    for holders in HOLDERS {
        criterion.bench_function(&format!("leave/{holders}"), |b| leave(b, holders));
        criterion.bench_function(&format!("bare-leave/{holders}"), |b| bare_leave(b, holders));
    }
    criterion.final_summary();
}

fn sent(outputs: &[Output]) -> (usize, usize) {
    let bytes = outputs.iter().filter_map(|output| match output {
        Output::Send { bytes, .. } => Some(bytes.len()),
        _ => None,
    });
    bytes.fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes))
}

fn print_bytes() {
    let mut crowd = Crowd::of(20);
    let newcomer = crowd.newcomer();
    let subscribe = newcomer.subscribe();
    crowd.endpoint.handle_message(&subscribe, crowd.now).unwrap();
    crowd.admit([newcomer]);
    let outputs = crowd.work();
    let (messages, bytes) = sent(&outputs);
    let key = outputs.iter().find_map(|output| match output {
        Output::Send { to: Recipient::Device(_), bytes } => Some(bytes.len()),
        _ => None,
    });
    let acks = crowd.confirm(&outputs);
    println!(
        "bytes of a join: Subscribe {}, StreamKey {}, Beacon {}, StreamKeyAck {}; the publisher \
         sends {messages} messages",
        subscribe.len(),
        key.unwrap_or_default(),
        bytes - key.unwrap_or_default(),
        acks[0].len(),
    );
    for ack in acks {
        crowd.endpoint.handle_message(&ack, crowd.now).unwrap();
    }
    let unsubscribe = crowd.take_one().unsubscribe();
    crowd.endpoint.handle_message(&unsubscribe, crowd.now).unwrap();
    let outputs = crowd.work();
    let (messages, bytes) = sent(&outputs);
    let acks = crowd.confirm(&outputs);
    println!(
        "bytes of a leave: Unsubscribe {}, for each holder that stays StreamKey {}, StreamKeyAck {}",
        unsubscribe.len(),
        bytes / messages,
        acks[0].len(),
    );
}

/// Which side of a comparison is timed. Both run, in turn, so that both find the processor's caches
/// as a publisher of so many holders leaves them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Ours,
    Bare,
}

/// The time per join of so many at once.
fn join(b: &mut Bencher, crowd: &mut Crowd, holders: usize, at_once: usize, timed: Side) {
    let (account, mut group) = (Account::new(), GroupSession::new(MegolmConfig::default()));
    b.iter_custom(|count| {
        let mut time = Duration::ZERO;
        for _ in 0..count {
            if crowd.is_old() || crowd.len() > holders + holders.max(1000) / 5 {
                *crowd = Crowd::of(holders);
            }
            let newcomers: Vec<_> = (0..at_once).map(|_| crowd.newcomer()).collect();
            let questions: Vec<_> = newcomers.iter().map(|newcomer| newcomer.subscribe()).collect();
            let start = Instant::now();
            for question in &questions {
                crowd.endpoint.handle_message(question, crowd.now).unwrap();
            }
            let outputs = black_box(crowd.work());
            let ours = start.elapsed();
            crowd.admit(newcomers);
            for ack in crowd.confirm(&outputs) {
                crowd.endpoint.handle_message(&ack, crowd.now).unwrap();
            }
            crowd.drain();

            let bare = bare_join(&account, &mut group, at_once);
            time += if timed == Side::Ours { ours } else { bare };
        }
        time / u32::try_from(at_once).unwrap()
    });
}

fn bare_join(account: &Account, group: &mut GroupSession, at_once: usize) -> Duration {
    let theirs: Vec<_> = (0..at_once)
        .map(|_| {
            let mut account = Account::new();
            (account.generate_one_time_keys(1).created[0], account.curve25519_key())
        })
        .collect();
    let start = Instant::now();
    black_box(group.encrypt([0; 100]));
    black_box(group.session_key());
    for (one_time_key, curve) in theirs {
        let config = SessionConfig::default();
        let mut olm = account.create_outbound_session(config, curve, one_time_key).unwrap();
        black_box(olm.encrypt([0; PLAINTEXT]).unwrap());
    }
    start.elapsed()
}

fn leave(b: &mut Bencher, holders: usize) {
    let mut crowd = Crowd::of(holders);
    b.iter_custom(|count| {
        let mut time = Duration::ZERO;
        for _ in 0..count {
            if crowd.is_old() {
                crowd = Crowd::of(holders);
            }
            let leaver = crowd.take_one();
            let unsubscribe = leaver.unsubscribe();
            let start = Instant::now();
            crowd.endpoint.handle_message(&unsubscribe, crowd.now).unwrap();
            let outputs = black_box(crowd.work());
            time += start.elapsed();
            for ack in crowd.confirm(&outputs) {
                crowd.endpoint.handle_message(&ack, crowd.now).unwrap();
            }
            crowd.drain();
            let newcomer = crowd.newcomer();
            crowd.endpoint.handle_message(&newcomer.subscribe(), crowd.now).unwrap();
            crowd.admit([newcomer]);
            crowd.settle();
        }
        time
    });
}

/// Two ends of an Olm session, of which the first has just been answered.
fn answered() -> (Session, Session) {
    let (ours, mut theirs) = (Account::new(), Account::new());
    let one_time_key = theirs.generate_one_time_keys(1).created[0];
    let (config, curve) = (SessionConfig::default(), theirs.curve25519_key());
    let mut ours_olm = ours.create_outbound_session(config, curve, one_time_key).unwrap();
    let OlmMessage::PreKey(first) = ours_olm.encrypt("first").unwrap() else { panic!() };
    let created = theirs.create_inbound_session(config, ours.curve25519_key(), &first).unwrap();
    let mut theirs_olm = created.session;
    ours_olm.decrypt(&theirs_olm.encrypt("answer").unwrap()).unwrap();
    (ours_olm, theirs_olm)
}

fn bare_leave(b: &mut Bencher, holders: usize) {
    let mut sessions: Vec<_> = (1..holders).map(|_| answered()).collect();
    let plaintext = vec![7; PLAINTEXT];
    b.iter_custom(|count| {
        let mut time = Duration::ZERO;
        for _ in 0..count {
            let start = Instant::now();
            let sent: Vec<_> =
                sessions.iter_mut().map(|(olm, _)| olm.encrypt(&plaintext).unwrap()).collect();
            time += start.elapsed();
            for ((ours, theirs), message) in sessions.iter_mut().zip(sent) {
                theirs.decrypt(&message).unwrap();
                ours.decrypt(&theirs.encrypt("answer").unwrap()).unwrap();
            }
        }
        time
    });
}

fn ack(b: &mut Bencher) {
    let mut crowd = Crowd::of(200);
    b.iter_custom(|count| {
        let (mut time, mut left) = (Duration::ZERO, count);
        while left > 0 {
            if crowd.is_old() {
                crowd = Crowd::of(200);
            }
            let unsubscribe = crowd.take_one().unsubscribe();
            crowd.endpoint.handle_message(&unsubscribe, crowd.now).unwrap();
            let outputs = crowd.work();
            let acks = crowd.confirm(&outputs);
            let timed = acks.len().min(usize::try_from(left).unwrap());
            let start = Instant::now();
            for ack in &acks[..timed] {
                crowd.endpoint.handle_message(ack, crowd.now).unwrap();
                black_box(crowd.endpoint.poll_timeout());
            }
            time += start.elapsed();
            left -= timed as u64;
            for ack in &acks[timed..] {
                crowd.endpoint.handle_message(ack, crowd.now).unwrap();
            }
            crowd.drain();
            let newcomer = crowd.newcomer();
            crowd.endpoint.handle_message(&newcomer.subscribe(), crowd.now).unwrap();
            crowd.admit([newcomer]);
            crowd.settle();
        }
        time
    });
}

fn bare_ack(b: &mut Bencher) {
    let (mut ours, mut theirs) = answered();
    b.iter_batched(
        || {
            theirs.decrypt(&ours.encrypt([7; PLAINTEXT]).unwrap()).unwrap();
            (ours.pickle(), theirs.encrypt([7; 43]).unwrap())
        },
        |(ours, message)| Session::from_pickle(ours).decrypt(black_box(&message)).unwrap(),
        BatchSize::SmallInput,
    );
}

fn step(b: &mut Bencher) {
    let mut crowd = Crowd::of(0);
    b.iter_custom(|count| {
        let mut time = Duration::ZERO;
        for _ in 0..count {
            if crowd.is_old() {
                crowd = Crowd::of(0);
            }
            // The periodic one.
            crowd.now = crowd.endpoint.poll_timeout().unwrap();
            let start = Instant::now();
            crowd.endpoint.handle_timeout(crowd.now);
            time += start.elapsed();
            crowd.drain();
        }
        time
    });
}

fn bare_step(b: &mut Bencher) {
    let mut group = GroupSession::new(MegolmConfig::default());
    b.iter(|| {
        black_box(group.encrypt([0; 100]));
        black_box(group.session_key())
    });
}

/// A subscriber that is given a new generation's key again and again.
fn open(b: &mut Bencher) {
    let mut crowd = Crowd::of(0);
    let start = crowd.now;
    let mut subscriber = subscriber(&mut crowd);
    b.iter_custom(|count| {
        let mut time = Duration::ZERO;
        for _ in 0..count {
            if crowd.now.since(start) > Duration::from_secs(45) {
                crowd = Crowd::of(0);
                subscriber = self::subscriber(&mut crowd);
            }
            // Somebody comes and goes.
            let other = crowd.newcomer();
            crowd.endpoint.handle_message(&other.subscribe(), crowd.now).unwrap();
            crowd.work();
            crowd.endpoint.handle_message(&other.unsubscribe(), crowd.now).unwrap();
            let keys = to(&crowd.work(), &subscriber);
            assert_eq!(keys.len(), 1);
            let began = Instant::now();
            subscriber.handle_message(&keys[0], crowd.now).unwrap();
            time += began.elapsed();
            answer(&mut subscriber, &mut crowd);
            crowd.drain();
        }
        time
    });
}

fn subscriber(crowd: &mut Crowd) -> Endpoint {
    let mut subscriber = Endpoint::with_seed(Identity::generate(), [2; 32]);
    subscriber.enter(crowd.newcomer().room_keys());
    let offer = crowd.endpoint.offer(crowd.stream).unwrap();
    subscriber.subscribe(&offer, "", crowd.now).unwrap();
    let stream = StreamRef { publisher: crowd.endpoint.device(), stream: crowd.stream };
    let track = crowd.endpoint.tracks(crowd.stream)[0].id;
    // Keys are made for the tracks that somebody decrypts.
    drop(subscriber.decryptor(stream, track));
    answer(&mut subscriber, crowd);
    let keys = to(&crowd.work(), &subscriber);
    subscriber.handle_message(&keys[0], crowd.now).unwrap();
    answer(&mut subscriber, crowd);
    subscriber
}

fn to(outputs: &[Output], subscriber: &Endpoint) -> Vec<Vec<u8>> {
    let device = Recipient::Device(subscriber.device());
    let sent = outputs.iter().filter_map(|output| match output {
        Output::Send { to, bytes } if *to == device => Some(bytes.clone()),
        _ => None,
    });
    sent.collect()
}

fn answer(subscriber: &mut Endpoint, crowd: &mut Crowd) {
    while let Some(output) = subscriber.poll_output() {
        if let Output::Send { bytes, .. } = output {
            crowd.endpoint.handle_message(&bytes, crowd.now).unwrap();
        }
    }
}

fn bare_open(b: &mut Bencher) {
    let (mut ours, mut theirs) = answered();
    let key = GroupSession::new(MegolmConfig::default()).session_key().to_bytes();
    let mut plaintext = vec![7; PLAINTEXT];
    plaintext[..key.len()].copy_from_slice(&key);
    b.iter_custom(|count| {
        let mut time = Duration::ZERO;
        for _ in 0..count {
            let message = ours.encrypt(&plaintext).unwrap();
            let start = Instant::now();
            let plaintext = theirs.decrypt(&message).unwrap();
            let key = SessionKey::from_bytes(&plaintext[..key.len()]).unwrap();
            black_box(InboundGroupSession::new(&key, MegolmConfig::default()));
            let ack = black_box(theirs.encrypt([7; 43]).unwrap());
            time += start.elapsed();
            ours.decrypt(&ack).unwrap();
        }
        time
    });
}

const _: () = assert!(PLAINTEXT < MAX_OLM_PLAINTEXT);
