//! The two sides of a stream under any interleaving of what may happen to them. What is looked at
//! after each of them is said by the fuzzing targets that play it.

use proptest::prelude::*;

use crate::fuzz_corpora::targets::{messages, plane};

/// One message of the script that `messages` reads.
fn message(route: u8, body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    body.resize(body.len().next_multiple_of(4), b' ');
    [&[route, u8::try_from(body.len() / 4).unwrap()], &body[..]].concat()
}

/// From a publisher with tools of its own: a key, right in most of its fields.
fn key() -> impl Strategy<Value = Vec<u8>> {
    let wrong = prop_oneof![3 => Just(0_u8), 1 => any::<u8>()];
    (any::<u8>(), wrong, any::<u8>(), 0_u8..12)
        .prop_map(|(session, wrong, id, generation)| vec![4, session, wrong, id, generation, id])
        .prop_map(|body| message(6, &body))
}

fn renewed() -> impl Strategy<Value = Vec<u8>> {
    (0_u8..16, any::<u8>(), 0_u8..12)
        .prop_map(|(back, step, generation)| [3, back << 4, back << 4, step, 0, generation, 0])
        .prop_map(|body| message(6, &body))
}

fn withheld() -> impl Strategy<Value = Vec<u8>> {
    let codes = ["not_admitted", "blocked", "closed", "removed", "ended", "busy"];
    let after = prop_oneof![4 => (0_u32..40_000).prop_map(Some), 1 => Just(None)];
    (prop::sample::select(codes.to_vec()), after, any::<bool>()).prop_map(|(code, after, ours)| {
        let mut body = vec![0b1_0001, 4];
        body.extend(b"{\"stream\":\xF6,\"answers\":{\"one_time_key\":");
        body.push(if ours { 0xF7 } else { 0xF8 });
        let after = after.map_or("null".to_owned(), |after| after.to_string());
        body.extend(format!("}},\"code\":\"{code}\",\"retry_after_ms\":{after}}}").bytes());
        message(0, &body)
    })
}

fn beacon() -> impl Strategy<Value = Vec<u8>> {
    (any::<u8>(), 0_u8..3, 0_u8..12)
        .prop_map(|(session, wrong, generation)| message(8, &[session, wrong, generation]))
}

fn time() -> impl Strategy<Value = Vec<u8>> {
    any::<u8>().prop_map(|time| message(10, &[time]))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_subscription_only_goes_forwards_whatever_its_publisher_answers_and_when(
        said in prop::collection::vec(
            prop_oneof![4 => key(), 1 => renewed(), 1 => withheld(), 2 => beacon(), 3 => time()],
            1..9,
        ),
    ) {
        // Without a key at first the rest would say nothing.
        let first = message(6, &[4, 0, 0, 1, 0, 0]);
        messages::run(&[first, said.concat()].concat());
    }

    #[test]
    fn a_stream_keeps_its_promises_whatever_its_network_and_its_subscribers_do(
        operations in prop::collection::vec((0_u8..16, any::<u8>()), 1..60),
        is_calm_at_the_end: bool,
    ) {
        let mut input = vec![u8::from(is_calm_at_the_end)];
        // They are there at first, so that there is something to lose.
        input.extend([0, 0, 0, 1, 0, 2, 9, 60]);
        input.extend(operations.into_iter().flat_map(|(operation, argument)| [operation, argument]));
        plane::run(&input);
    }
}
