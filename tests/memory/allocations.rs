use std::time::Duration;

use allocation_counter::measure;
use olmcast::{
    media::{self, FrameDecryptor, FrameEncryptor},
    primitives::{Codec, Position, Timestamp},
    sframe::Header,
};

use super::{BACKENDS, Frames, LARGEST, ROOM, SUITES, decryptor, encryptor, room::Room};

const CODECS: [Codec; 2] = [Codec::Vp8, Codec::Opus];

/// A track's two ends, and buffers that have grown.
struct Track {
    codec: Codec,
    encryptor: FrameEncryptor,
    decryptor: FrameDecryptor,
    wire: Vec<u8>,
    frame: Vec<u8>,
    frames: Frames,
}

impl Track {
    /// Warmed up: it has carried one frame of the largest size each way.
    fn new(codec: Codec, encryptor: FrameEncryptor, decryptor: FrameDecryptor) -> Self {
        let (frames, wire, frame) = (Frames::new(), Vec::new(), Vec::new());
        let mut track = Self { codec, encryptor, decryptor, wire, frame, frames };
        let largest = track.frames.largest().to_vec();
        track.encryptor.encrypt_into(&largest, &mut track.wire).unwrap();
        let now = Timestamp::default();
        track.decryptor.decrypt_into(&track.wire, now, &mut track.frame).unwrap();
        assert_eq!(track.frame, largest);
        track
    }

    /// One frame, from buffer to buffer.
    fn apart(&mut self) {
        let frame = self.frames.next();
        self.encryptor.encrypt_into(frame, &mut self.wire).unwrap();
        assert_ne!(&self.wire[..frame.len()], frame);
        let now = Timestamp::default();
        self.decryptor.decrypt_into(&self.wire, now, &mut self.frame).unwrap();
        assert_eq!(self.frame, frame);
    }

    /// One frame, in a single buffer.
    fn in_place(&mut self, buffer: &mut Vec<u8>) {
        let frame = self.frames.next();
        buffer.clear();
        buffer.extend_from_slice(frame);
        self.encryptor.encrypt_in_place(buffer).unwrap();
        assert_ne!(&buffer[..frame.len()], frame);
        self.decryptor.decrypt_in_place(buffer, Timestamp::default()).unwrap();
        assert_eq!(buffer, frame);
    }

    /// Where the key of the last frame was, as its header says.
    fn position(&self) -> Position {
        let clear = media::clear_length(self.codec, &self.wire).unwrap();
        let (header, _) = Header::parse(&self.wire[clear..]).unwrap();
        media::position(header.key_id).unwrap()
    }
}

fn allocations(run: impl FnOnce()) -> u64 {
    measure(run).count_total
}

fn frames_only() -> impl Iterator<Item = (String, Track)> {
    let kinds = CODECS.into_iter().flat_map(|codec| SUITES.map(|suite| (codec, suite)));
    kinds.flat_map(|(codec, suite)| {
        BACKENDS.map(|backend| {
            let backend = backend();
            let ends = (
                encryptor(codec, suite, backend, 0x1234),
                decryptor(codec, suite, backend, 0x1234),
            );
            (format!("{codec}, {suite:?}, {backend:?}"), Track::new(codec, ends.0, ends.1))
        })
    })
}

#[test]
fn a_thousand_frames_of_mixed_sizes_allocate_nothing() {
    for (name, mut track) in frames_only() {
        assert_eq!(allocations(|| (0..1000).for_each(|_| track.apart())), 0, "{name}");
    }
}

#[test]
fn a_thousand_frames_in_place_allocate_nothing() {
    for (name, mut track) in frames_only() {
        let mut buffer = Vec::with_capacity(LARGEST + ROOM);
        let run = || (0..1000).for_each(|_| track.in_place(&mut buffer));
        assert_eq!(allocations(run), 0, "{name}");
    }
}

#[test]
fn what_is_refused_allocates_nothing() {
    for (name, mut track) in frames_only() {
        track.apart();
        let (replayed, now) = (track.wire.clone(), Timestamp::default());
        track.apart();
        let mut forged = track.wire.clone();
        *forged.last_mut().unwrap() ^= 1;
        let mut other_key = track.wire.clone();
        let clear = media::clear_length(track.codec, &other_key).unwrap();
        other_key[clear + 1] ^= 1;
        for wire in [&replayed[..], &forged, &other_key, &replayed[..12], b"", b"plain"] {
            let refused = allocations(|| {
                let (decryptor, frame) = (&mut track.decryptor, &mut track.frame);
                assert!(decryptor.decrypt_into(wire, now, frame).is_err());
            });
            assert_eq!(refused, 0, "{name}, {} bytes", wire.len());
        }
    }
}

#[test]
fn a_frame_in_a_vector_of_its_own_costs_that_vector_and_nothing_else() {
    for (name, mut track) in frames_only() {
        for _ in 0..100 {
            let frame = track.frames.next();
            let (mut wire, mut opened) = (Vec::new(), Vec::new());
            let encrypted = allocations(|| wire = track.encryptor.encrypt(frame).unwrap());
            let now = Timestamp::default();
            let decrypted = allocations(|| opened = track.decryptor.decrypt(&wire, now).unwrap());
            assert_eq!(opened, frame);
            assert_eq!(decrypted, 1, "{name}, {} bytes", frame.len());
            assert_eq!(encrypted, 1, "{name}, {} bytes", frame.len());
        }
    }
}

/// A video and an audio track of one stream, and the subscriber that receives them.
fn stream() -> (Room, usize, [Track; 2]) {
    let mut room = Room::new(&CODECS);
    let subscriber = room.join();
    let tracks = [0, 1].map(|track| {
        let ends = (room.encryptor(track), room.decryptor(subscriber, track));
        Track::new(CODECS[track], ends.0, ends.1)
    });
    (room, subscriber, tracks)
}

/// The very next frames are under the new key and allocate nothing, and so do many more.
fn assert_free(tracks: &mut [Track; 2], position: Position) {
    for track in tracks {
        assert!(track.position() < position, "frames before the change");
        assert_eq!(allocations(|| track.apart()), 0, "the first frame at {position}");
        assert_eq!(track.position(), position);
        assert_eq!(allocations(|| (0..1000).for_each(|_| track.apart())), 0);
        let mut buffer = Vec::with_capacity(LARGEST + ROOM);
        assert_eq!(allocations(|| (0..1000).for_each(|_| track.in_place(&mut buffer))), 0);
    }
}

#[test]
fn frames_of_a_stream_allocate_nothing() {
    let (room, _, mut tracks) = stream();
    for track in &mut tracks {
        assert_eq!(track.position(), room.position());
        assert_eq!(allocations(|| (0..1000).for_each(|_| track.apart())), 0);
        let mut buffer = Vec::with_capacity(LARGEST + ROOM);
        assert_eq!(allocations(|| (0..1000).for_each(|_| track.in_place(&mut buffer))), 0);
    }
}

#[test]
fn the_first_frames_after_a_join_allocate_nothing() {
    let (mut room, subscriber, mut tracks) = stream();
    let before = room.position();
    room.join();
    let position = room.position();
    assert_eq!(room.seen_by(subscriber), position, "the beacon arrived");
    assert_eq!(position.generation, before.generation);
    assert_free(&mut tracks, position);
}

#[test]
fn the_first_frames_after_a_step_by_time_allocate_nothing() {
    let (mut room, subscriber, mut tracks) = stream();
    let before = room.position();
    let started = room.now;
    let position = room.run_to_next_position(subscriber);
    assert_eq!(position.generation, before.generation);
    assert!(room.now.since(started) > Duration::from_secs(50));
    assert_free(&mut tracks, position);
}

#[test]
fn the_first_frames_after_a_leave_allocate_nothing() {
    let (mut room, subscriber, mut tracks) = stream();
    let leaver = room.join();
    let before = room.position();
    room.leave(leaver);
    let position = room.run_to_next_position(subscriber);
    assert!(position.generation > before.generation);
    assert_free(&mut tracks, position);
}
