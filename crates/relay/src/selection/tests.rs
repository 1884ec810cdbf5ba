use std::collections::{HashMap, VecDeque};

use proptest::prelude::*;

use super::*;

const FRAME: Duration = Duration::from_millis(40);

/// A packet as it was sent: by which layer, and what of its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    layer: usize,
    sequence: u16,
    timestamp: u32,
    opens_key_frame: bool,
}

/// What a subscriber got: the packet, with the numbers that it had then.
#[derive(Debug, Clone, Copy)]
struct Output {
    sample: Sample,
    sequence: u16,
    timestamp: u32,
}

/// A publisher, a selection and a clock.
struct World {
    selection: Selection,
    now: Instant,
    start: Instant,
    /// What the clock of each layer shows at the start.
    clocks: Vec<u32>,
    sequences: Vec<u16>,
    ssrcs: Vec<u32>,
    outputs: Vec<Output>,
    requests: Vec<(usize, Duration)>,
}

impl World {
    fn new(clocks: &[u32]) -> Self {
        let now = Instant::now();
        Self {
            selection: Selection::new(clocks.len()),
            now,
            start: now,
            clocks: clocks.to_vec(),
            // Close to the wrap, and far from each other.
            sequences: (0..clocks.len()).map(|layer| 65_530 - 20_000 * layer as u16).collect(),
            ssrcs: (0..clocks.len() as u32).collect(),
            outputs: Vec::new(),
            requests: Vec::new(),
        }
    }

    fn timestamp(&self, layer: usize) -> u32 {
        let elapsed = (self.now - self.start).as_millis() * TICKS_PER_MS;
        self.clocks[layer].wrapping_add(elapsed as u32)
    }

    /// The packets of one frame, not delivered yet.
    fn frame(&mut self, layer: usize, packets: usize, key: bool) -> Vec<Sample> {
        let timestamp = self.timestamp(layer);
        let next = |sequence: &mut u16| {
            *sequence = sequence.wrapping_add(1);
            *sequence
        };
        let samples = (0..packets).map(|index| Sample {
            layer,
            sequence: next(&mut self.sequences[layer]),
            timestamp,
            opens_key_frame: key && index == 0,
        });
        samples.collect()
    }

    fn deliver(&mut self, sample: Sample) -> Verdict {
        let mut header = rtp::Header {
            ssrc: self.ssrcs[sample.layer],
            sequence_number: sample.sequence,
            timestamp: sample.timestamp,
            ..Default::default()
        };
        let (layer, key) = (sample.layer, sample.opens_key_frame);
        let verdict = self.selection.handle_packet(self.now, layer, key, &mut header);
        if verdict.forward {
            let (sequence, timestamp) = (header.sequence_number, header.timestamp);
            self.outputs.push(Output { sample, sequence, timestamp });
        } else {
            assert_eq!(header.sequence_number, sample.sequence, "rewritten for nothing");
        }
        let since = self.now - self.start;
        self.requests.extend(verdict.request.map(|layer| (layer, since)));
        verdict
    }

    fn send(&mut self, layer: usize, key: bool) -> bool {
        let samples = self.frame(layer, 2, key);
        samples.into_iter().map(|sample| self.deliver(sample)).all(|verdict| verdict.forward)
    }

    /// A frame of each of `layers`, then the time to the next.
    fn tick(&mut self, layers: &[usize], key: bool) {
        for layer in layers {
            self.send(*layer, key);
        }
        self.now += FRAME;
    }

    fn ticks(&mut self, layers: &[usize], time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.tick(layers, false);
        }
    }

    /// The layers that were forwarded, in order, each once for as long as it lasted.
    fn layers(&self) -> Vec<usize> {
        let mut layers: Vec<usize> = self.outputs.iter().map(|out| out.sample.layer).collect();
        layers.dedup();
        layers
    }

    fn assert_continuous(&self) {
        for pair in self.outputs.windows(2) {
            let (one, two) = (&pair[0], &pair[1]);
            assert_eq!(two.sequence, one.sequence.wrapping_add(1), "{one:?} {two:?}");
            let same_frame = (one.sample.layer, one.sample.timestamp)
                == (two.sample.layer, two.sample.timestamp);
            let step = distance(one.timestamp, two.timestamp);
            assert!(if same_frame { step == 0 } else { step > 0 }, "{one:?} {two:?}");
            if one.sample.layer != two.sample.layer {
                assert!(two.sample.opens_key_frame, "{one:?} {two:?}");
            }
        }
    }
}

#[test]
fn the_highest_layer_is_forwarded_from_its_first_key_frame_on() {
    let mut world = World::new(&[0, 0, 0]);
    // The lowest comes first; it is not what is waited for.
    world.send(2, true);
    world.tick(&[1, 0], false);
    assert!(world.outputs.is_empty());
    assert_eq!(world.requests, [(0, Duration::ZERO)]);
    world.tick(&[2, 1, 0], true);
    world.ticks(&[2, 1, 0], FRAME * 3);
    assert_eq!(world.layers(), [0]);
    assert_eq!(world.outputs.len(), 8);
    // Nothing is rewritten before the first switch.
    assert!(world.outputs.iter().all(|out| out.sequence == out.sample.sequence));
    assert!(world.outputs.iter().all(|out| out.timestamp == out.sample.timestamp));
}

#[test]
fn a_lower_layer_does_not_wait_long_for_higher_ones() {
    let mut world = World::new(&[0, 0]);
    world.tick(&[1], true);
    assert!(world.outputs.is_empty());
    world.ticks(&[1], SETTLE);
    world.tick(&[1], true);
    assert_eq!(world.layers(), [1]);
    // One that was never here before is not one that returns: it need not prove itself.
    world.tick(&[1, 0], false);
    world.tick(&[1, 0], true);
    assert_eq!(world.layers(), [1, 0]);
    world.assert_continuous();
}

#[test]
fn a_switch_waits_for_a_key_frame_which_is_asked_for_until_it_comes() {
    let mut world = World::new(&[0, 0, 0]);
    world.tick(&[0, 1, 2], true);
    world.requests.clear();
    world.selection.choose(Some(1));
    assert_eq!(world.selection.awaited(), 0);
    let asked_from = world.now - world.start;
    world.ticks(&[0, 1, 2], Duration::from_millis(1_200));
    assert_eq!(world.layers(), [0], "the old layer goes on");
    assert_eq!(world.selection.awaited(), 1);
    let asked: Vec<_> =
        world.requests.iter().map(|(layer, at)| (*layer, *at - asked_from)).collect();
    let ms = Duration::from_millis;
    assert_eq!(asked, [(1, ms(0)), (1, ms(520)), (1, ms(1_040))]);

    world.tick(&[0, 1, 2], true);
    world.ticks(&[0, 1, 2], Duration::from_secs(2));
    assert_eq!(world.layers(), [0, 1]);
    assert_eq!(world.requests.len(), 3, "what has come is not asked for");
    world.assert_continuous();

    world.selection.choose(None);
    world.ticks(&[0, 1, 2], FRAME);
    world.tick(&[0, 1, 2], true);
    assert_eq!(world.layers(), [0, 1, 0]);
    world.assert_continuous();
}

#[test]
fn layers_that_share_a_clock_keep_their_timestamps() {
    let mut world = World::new(&[5, 5]);
    world.tick(&[0, 1], true);
    world.selection.choose(Some(1));
    // Layer 0 has sent its packets of this moment already.
    world.tick(&[0, 1], true);
    world.selection.choose(Some(0));
    // Layer 1 has not.
    world.tick(&[0, 1], true);
    world.tick(&[0, 1], false);
    assert_eq!(world.layers(), [0, 1, 0]);
    world.assert_continuous();
    let shifts = world.outputs.iter().map(|out| out.timestamp - out.sample.timestamp);
    assert_eq!(shifts.collect::<Vec<_>>(), [0, 0, 0, 0, 1, 1, 0, 0, 0, 0]);
}

#[test]
fn frames_that_are_shown_later_than_those_sent_after_them_keep_their_timestamps() {
    let mut world = World::new(&[0, 0]);
    world.tick(&[0, 1], true);
    let shown_second = world.frame(0, 1, false)[0];
    let shown_first =
        Sample { sequence: shown_second.sequence.wrapping_add(1), timestamp: 9, ..shown_second };
    world.deliver(shown_second);
    world.deliver(shown_first);
    world.selection.choose(Some(1));
    // The other layer's frame of the moment that was shown second.
    assert!(world.send(1, true));
    let timestamps: Vec<_> = world.outputs[2..].iter().map(|out| out.timestamp).collect();
    let moment = shown_second.timestamp;
    assert_eq!(timestamps, [moment, 9, moment + 1, moment + 1]);
}

#[test]
fn layers_with_clocks_of_their_own_are_put_on_one() {
    let mut world = World::new(&[7, 3_000_000_000]);
    world.tick(&[0, 1], true);
    for chosen in [1, 0, 1, 0] {
        world.selection.choose(Some(chosen));
        world.now += Duration::from_millis(13);
        world.tick(&[0, 1], true);
        world.ticks(&[0, 1], Duration::from_secs(1));
    }
    assert_eq!(world.layers(), [0, 1, 0, 1, 0]);
    world.assert_continuous();
    for out in &world.outputs {
        let real = distance(world.clocks[out.sample.layer], out.sample.timestamp) + 7;
        let off = (out.timestamp as i32 - real).abs();
        assert!(off <= 1, "{off} ticks off: {out:?}");
    }
}

#[test]
fn a_layer_that_falls_silent_is_left_and_taken_back_when_it_lasts() {
    let mut world = World::new(&[0, 0, 0]);
    world.tick(&[0, 1, 2], true);
    world.requests.clear();
    let silent_from = world.now;
    while world.requests.is_empty() && world.now - silent_from < SILENCE * 2 {
        world.tick(&[1, 2], false);
    }
    assert_eq!(world.requests[0].0, 1);
    assert!((world.now - silent_from).abs_diff(SILENCE) <= FRAME);
    world.tick(&[1, 2], true);
    world.tick(&[1, 2], false);
    assert_eq!(world.layers(), [0, 1]);

    // It returns for a moment, and then for good.
    world.tick(&[0, 1, 2], true);
    world.ticks(&[0, 1, 2], STEADY / 2);
    world.ticks(&[1, 2], SILENCE + FRAME);
    world.tick(&[0, 1, 2], true);
    world.ticks(&[0, 1, 2], STEADY - FRAME * 2);
    world.tick(&[0, 1, 2], true);
    assert_eq!(world.layers(), [0, 1], "it has not proved itself");
    world.tick(&[0, 1, 2], true);
    assert_eq!(world.layers(), [0, 1, 0]);
    world.assert_continuous();
}

#[test]
fn a_choice_is_a_ceiling_and_what_is_nearest_below_or_else_above_stands_in() {
    let mut world = World::new(&[0, 0, 0]);
    world.selection.choose(Some(1));
    world.tick(&[0, 1, 2], true);
    world.ticks(&[0, 2], SILENCE);
    world.tick(&[0, 2], true);
    assert_eq!(world.layers(), [1, 2]);
    world.ticks(&[0], SILENCE);
    world.tick(&[0], true);
    assert_eq!(world.layers(), [1, 2, 0]);
    // The lowest returns: it is below the ceiling, where nothing has to prove itself.
    world.tick(&[0, 2], false);
    world.tick(&[0, 2], true);
    assert_eq!(world.layers(), [1, 2, 0, 2]);
    world.assert_continuous();
}

#[test]
fn a_key_frame_whose_first_packet_comes_late_is_not_switched_to() {
    let mut world = World::new(&[0, 0]);
    world.tick(&[0, 1], true);
    world.selection.choose(Some(1));
    let key_frame = world.frame(1, 3, true);
    assert!(!world.deliver(key_frame[1]).forward);
    assert!(!world.deliver(key_frame[0]).forward);
    assert!(!world.deliver(key_frame[2]).forward);
    world.tick(&[0, 1], false);
    assert_eq!(world.layers(), [0]);
}

#[test]
fn packets_that_were_late_before_a_switch_still_arrive_and_those_of_before_do_not() {
    let mut world = World::new(&[0, 0]);
    world.tick(&[0, 1], true);
    let skipped = world.frame(1, 1, false);
    let old = world.frame(0, 4, false);
    world.deliver(old[0]);
    world.deliver(old[2]);
    world.selection.choose(Some(1));
    world.now += FRAME;
    assert!(world.send(1, true));
    let last = world.outputs[world.outputs.len() - 2..].to_vec();
    assert!(world.deliver(old[1]).forward, "it was before the switch");
    assert!(!world.deliver(old[3]).forward, "its number was given away");
    assert!(!world.deliver(skipped[0]).forward, "it was not part of the stream");
    let numbers: Vec<_> = world.outputs[2..].iter().map(|out| out.sequence).collect();
    let first = world.outputs[0].sequence;
    let expected = [2, 4, 5, 6, 3].map(|step: u16| first.wrapping_add(step));
    assert_eq!(numbers, expected);
    assert!(last.iter().all(|out| out.sample.layer == 1));

    // After 40,000 packets numbers that were once late look late again.
    world.now += LATE;
    let again = Sample { sequence: old[1].sequence, ..world.frame(0, 1, false)[0] };
    assert!(!world.deliver(again).forward);
}

#[test]
fn a_layer_whose_numbers_begin_anew_goes_on_at_its_next_key_frame() {
    for (wait, ssrc, step) in [(FRAME, 77, 30_000), (SILENCE, 0, 40_000), (FRAME, 77, 40_000)] {
        let mut world = World::new(&[0, 0]);
        world.tick(&[0, 1], true);
        world.requests.clear();
        world.now += wait;
        world.ssrcs[0] = ssrc;
        world.sequences[0] = world.sequences[0].wrapping_add(step);
        world.clocks[0] = 123_456_789;
        assert!(!world.send(0, false));
        assert_eq!(world.requests.len(), 1);
        assert!(world.send(0, true));
        world.tick(&[0], false);
        world.assert_continuous();
        assert_eq!(world.outputs.len(), 6);
    }
}

#[test]
fn a_layer_that_does_not_exist_changes_nothing() {
    let mut world = World::new(&[0]);
    let mut header = rtp::Header::default();
    let verdict = world.selection.handle_packet(world.now, 3, true, &mut header);
    assert_eq!(verdict, Verdict::default());
    world.selection.choose(Some(9));
    world.tick(&[0], true);
    assert_eq!(world.outputs.len(), 2);
}

#[derive(Debug, Clone)]
enum Step {
    Frame { layer: usize, packets: usize, key: bool },
    Choose(Option<usize>),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (0..3usize, 1..5usize, prop::bool::weighted(0.2))
            .prop_map(|(layer, packets, key)| Step::Frame { layer, packets, key }),
        1 => prop::option::of(0..3usize).prop_map(Step::Choose),
        5 => (1..60u64).prop_map(Step::Wait),
        1 => (1_000..4_000u64).prop_map(Step::Wait),
    ]
}

/// What happens to a packet on its way: so many others overtake it; `None`: it is lost.
fn fate() -> impl Strategy<Value = Option<u8>> {
    prop_oneof![8 => Just(Some(0)), 1 => (1..9u8).prop_map(Some), 1 => Just(None)]
}

fn clocks() -> impl Strategy<Value = [u32; 3]> {
    prop_oneof![any::<u32>().prop_map(|clock| [clock; 3]), any::<[u32; 3]>()]
}

fn play(world: &mut World, steps: &[Step], mut fates: impl FnMut() -> Option<u8>) {
    let mut held: VecDeque<(u8, Sample)> = VecDeque::new();
    for step in steps {
        match step {
            Step::Frame { layer, packets, key } => {
                for sample in world.frame(*layer, *packets, *key) {
                    match fates() {
                        None => {}
                        Some(0) => drop(world.deliver(sample)),
                        Some(by) => held.push_back((by, sample)),
                    }
                    for (by, _) in &mut held {
                        *by = by.saturating_sub(1);
                    }
                    while let Some((0, sample)) = held.front().copied() {
                        held.pop_front();
                        world.deliver(sample);
                    }
                }
                // Two frames of a layer have two timestamps.
                world.now += Duration::from_millis(1);
            }
            Step::Choose(layer) => world.selection.choose(*layer),
            Step::Wait(ms) => world.now += Duration::from_millis(*ms),
        }
    }
}

proptest! {
    #[test]
    fn whatever_is_sent_and_chosen_the_stream_is_continuous(
        clocks in clocks(),
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut world = World::new(&clocks);
        play(&mut world, &steps, || Some(0));
        world.assert_continuous();
    }

    #[test]
    fn whatever_is_lost_or_late_a_number_means_one_packet_and_a_timestamp_one_frame(
        clocks in clocks(),
        steps in prop::collection::vec(step(), 1..200),
        fates in prop::collection::vec(fate(), 50),
    ) {
        let mut world = World::new(&clocks);
        let mut fates = fates.iter().cycle();
        play(&mut world, &steps, || fates.next().copied().flatten());

        let (mut packets, mut frames) = (HashMap::new(), HashMap::new());
        let mut newest: Option<Output> = None;
        for out in &world.outputs {
            let packet = (out.sample.layer, out.sample.sequence);
            let frame = (out.sample.layer, out.sample.timestamp);
            prop_assert_eq!(packets.insert(out.sequence, packet), None);
            prop_assert_eq!(*frames.entry(out.timestamp).or_insert(frame), frame);
            let Some(last) = newest.filter(|last| !is_newer(out.sequence, last.sequence)) else {
                if let Some(last) = newest {
                    let steps = out.sequence.wrapping_sub(last.sequence);
                    if last.sample.layer == out.sample.layer {
                        // Only what was lost on the way is missing.
                        let sent = out.sample.sequence.wrapping_sub(last.sample.sequence);
                        prop_assert!(steps == sent || out.sample.opens_key_frame && steps == 1);
                    } else {
                        prop_assert!(out.sample.opens_key_frame && steps == 1, "{last:?} {out:?}");
                    }
                }
                newest = Some(*out);
                continue;
            };
            prop_assert!(distance(last.timestamp, out.timestamp) <= 0);
        }
    }
}
