//! Whoever asks under a name that is somebody else's: what the user was shown is what is admitted, and
//! nobody is ever verified under a name that nobody compared.

use olmcast::{
    device::{Distrust, Identity, TrustState},
    endpoint::{Admission, EndpointError, Event, Publish},
    primitives::{DeviceId, RoomKeys, StreamRef},
    protocol::Kind,
};

use crate::{
    hostile::subscribe_of,
    network::Network,
    tools::{encode, signed},
    trust::{decides, joins, leaves, named, publishing, reads, requests, state},
};

/// A device with tools of its own asks, and says this of itself.
fn asks(
    net: &mut Network,
    keys: &RoomKeys,
    stream: StreamRef,
    who: &Identity,
    sequence: u64,
    says: [&str; 2],
) {
    let mut subscribe = subscribe_of(who, stream, sequence);
    [subscribe.name, subscribe.claim] = says.map(str::to_owned);
    let payload = serde_json::to_vec(&subscribe).unwrap();
    let to = Some(stream.publisher);
    let bytes = signed(&who.signer(), keys, to, Kind::Subscribe, &payload);
    net.deliver(stream.publisher, &encode(&bytes));
    net.run(500);
}

fn is_holder(net: &mut Network, stream: StreamRef, device: DeviceId) -> bool {
    let holders = net.endpoint(stream.publisher).holders(stream.stream);
    holders.iter().any(|holder| holder.device == device)
}

/// As what a device is known to the publisher.
fn known_as(net: &mut Network, stream: StreamRef, device: DeviceId) -> (String, TrustState) {
    let trust = net.endpoint(stream.publisher).memory().trust();
    let known = trust.get(&device).unwrap();
    (known.name.clone(), known.state)
}

/// Ada is in, and Mallory verified.
fn ada_and_mallory(admission: Admission) -> (Network, StreamRef, RoomKeys, DeviceId, Identity) {
    let (mut net, stream, keys) = publishing(Admission::InsecureOpen);
    let ada = joins(&mut net, &keys, stream, "Ada");
    let mallory = Identity::generate();
    let (device, key) = (mallory.device(), mallory.curve25519());
    decides(&mut net, stream, |publisher, now| {
        publisher.mark_verified(device, key, "Mallory", now);
        publisher.set_admission(stream.stream, admission, now).unwrap();
    });
    net.run(2000);
    (net, stream, keys, ada, mallory)
}

#[test]
fn whoever_is_verified_and_admitted_under_a_known_name_is_not_verified_under_that_name() {
    for admission in [Admission::Invite, Admission::Ask, Admission::Verified] {
        let (mut net, stream, keys, ada, mallory) = ada_and_mallory(admission);
        let taken = Some(Distrust::NameTaken(ada));
        let is_ada_known = state(&mut net, stream, ada) != TrustState::Unknown;
        assert!(is_ada_known);
        asks(&mut net, &keys, stream, &mallory, 1, ["Ada", ""]);
        assert_eq!(requests(&net, stream, mallory.device()), [taken]);
        net.admit(stream, mallory.device()).unwrap();
        net.run(500);
        let as_before = ("Mallory".to_owned(), TrustState::Verified);
        assert_eq!(known_as(&mut net, stream, mallory.device()), as_before);
        assert!(is_holder(&mut net, stream, mallory.device()));
        // As such it begins anew as often as it must.
        asks(&mut net, &keys, stream, &mallory, 2, ["Ada", ""]);
        assert!(is_holder(&mut net, stream, mallory.device()));
        assert_eq!(leaves(&net, stream, mallory.device()), []);
        assert_eq!(requests(&net, stream, mallory.device()), [taken]);
    }
}

#[test]
fn whoever_is_let_in_because_a_name_became_free_is_not_bound_to_it() {
    let (mut net, stream, keys, ada, mallory) = ada_and_mallory(Admission::Invite);
    asks(&mut net, &keys, stream, &mallory, 1, ["Ada", ""]);
    decides(&mut net, stream, |publisher, now| assert!(publisher.forget(ada, now)));
    net.run(500);
    assert!(is_holder(&mut net, stream, mallory.device()));
    let as_before = ("Mallory".to_owned(), TrustState::Verified);
    assert_eq!(known_as(&mut net, stream, mallory.device()), as_before);
}

#[test]
fn whoever_comes_with_another_key_does_not_get_another_name_with_it() {
    let (mut net, stream, keys, ada, mallory) = ada_and_mallory(Admission::Invite);
    let mut account = subscribe_of(&mallory, stream, 1);
    account.curve25519 = Identity::generate().curve25519();
    account.name = "Ada".to_owned();
    let payload = serde_json::to_vec(&account).unwrap();
    let to = Some(stream.publisher);
    let bytes = signed(&mallory.signer(), &keys, to, Kind::Subscribe, &payload);
    net.deliver(stream.publisher, &encode(&bytes));
    assert_eq!(requests(&net, stream, mallory.device()), [Some(Distrust::KeyChanged)]);
    net.admit(stream, mallory.device()).unwrap();
    let pinned = ("Mallory".to_owned(), TrustState::Pinned);
    assert_eq!(known_as(&mut net, stream, mallory.device()), pinned, "only the key was shown");
    let trust = net.endpoint(stream.publisher).memory().trust();
    assert_eq!(trust.get(&ada).unwrap().name, "Ada");
}

#[test]
fn of_two_who_ask_under_one_name_the_second_is_warned_of_once_the_first_is_known() {
    for is_admitted in [true, false] {
        let (mut net, stream, keys) = publishing(Admission::Ask);
        let first = named(&mut net, &keys, "Ada");
        let second = named(&mut net, &keys, "AdA");
        net.subscribe(second, stream);
        net.run(500);
        assert_eq!(requests(&net, stream, second), [None]);
        if is_admitted {
            net.subscribe(first, stream);
            net.run(500);
            net.admit(stream, first).unwrap();
        } else {
            // It is known by a stream of its own.
            let hers = net.publish(first, &keys, Publish::new("screen").with_invite());
            net.subscribe(stream.publisher, hers);
            net.run(500);
            assert!(reads(&mut net, stream.publisher, hers));
        }
        let taken = Some(Distrust::NameTaken(first));
        let asking = net.endpoint(stream.publisher).asking(stream.stream);
        assert_eq!(
            asking.iter().map(|a| (a.device, a.distrust)).collect::<Vec<_>>(),
            [(second, taken)]
        );
        assert_eq!(requests(&net, stream, second), [None, taken]);
        net.admit(stream, second).unwrap();
        net.run(500);
        assert!(reads(&mut net, second, stream), "the user was warned");
    }
}

#[test]
fn another_stream_hears_of_a_name_that_is_taken_as_well() {
    let (mut net, stream, keys) = publishing(Admission::Ask);
    let other = net.publish(stream.publisher, &keys, Publish::new("screen").with_invite());
    let [first, second] = ["Ada", "Ada"].map(|name| named(&mut net, &keys, name));
    net.subscribe(second, stream);
    net.run(500);
    net.subscribe(first, other);
    net.run(500);
    assert_eq!(requests(&net, stream, second), [None, Some(Distrust::NameTaken(first))]);
}

/// The names and claims under which somebody was put to the user.
fn shown(net: &Network, stream: StreamRef, who: DeviceId) -> Vec<[String; 2]> {
    let request = |event: &Event| match event {
        Event::JoinRequest { device, name, claim, .. } if *device == who => {
            Some([name.clone(), claim.clone()])
        }
        _ => None,
    };
    net.events(stream.publisher).filter_map(request).collect()
}

#[test]
fn whoever_changes_what_it_says_while_it_asks_is_put_to_the_user_anew() {
    let (mut net, stream, keys) = publishing(Admission::Ask);
    let mallory = Identity::generate();
    let said = [["Mallory", "a"], ["Mallory", "a"], ["Boss", "a"], ["Boss", "b"]];
    for (sequence, says) in (1..).zip(said) {
        asks(&mut net, &keys, stream, &mallory, sequence, says);
        net.run(5000);
    }
    let expected = [["Mallory", "a"], ["Boss", "a"], ["Boss", "b"]].map(|s| s.map(str::to_owned));
    assert_eq!(shown(&net, stream, mallory.device()), expected);
    // The answer to what it said first admits nobody.
    let asked = |event: &Event| match event {
        Event::JoinRequest { request, .. } => Some(*request),
        _ => None,
    };
    let asked: Vec<_> = net.events(stream.publisher).filter_map(asked).collect();
    let [first, second, last] = asked[..] else { panic!("{asked:?}") };
    let now = net.time();
    let publisher = net.endpoint(stream.publisher);
    for old in [0, first, second] {
        let admitted = publisher.admit(stream.stream, mallory.device(), old, now);
        assert_eq!(admitted, Err(EndpointError::AskedAnew));
    }
    assert_eq!(publisher.asking(stream.stream)[0].request, last);
    assert_eq!(publisher.holders(stream.stream), []);
    assert_eq!(publisher.admit(stream.stream, mallory.device(), last, now), Ok(()));
    let name = publisher.holders(stream.stream)[0].name.clone();
    assert_eq!(name, "Boss");
}
