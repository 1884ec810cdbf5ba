//! Two clients verify each other through a real service.

use olmcast::{
    client::{Client, ClientError, ClientEvent, Verification},
    device::Identity,
    endpoint::{Admission, CancelReason, Event, Publish, ShortAuthString, VerificationState},
    primitives::{Codec, DeviceId, Invite},
    protocol::WithheldCode,
    server::Limits,
};
use tokio::{join, sync::broadcast, time::timeout};

use crate::fixture::*;

async fn client(invite: &Invite, name: &str) -> Client {
    Client::connect(invite, Identity::generate().with_name(name)).await.unwrap()
}

/// Waits until somebody asks to be verified; who, and how it is called.
async fn request(events: &mut broadcast::Receiver<ClientEvent>) -> (DeviceId, String) {
    let asked = async {
        loop {
            if let ClientEvent::Stream(Event::Verification { device, name, state, .. }) =
                events.recv().await.unwrap()
                && state == VerificationState::Requested
            {
                return (device, name);
            }
        }
    };
    timeout(PATIENCE, asked).await.expect("nobody asked")
}

/// Waits for a state that meets the condition.
async fn until(
    verification: &mut Verification,
    mut condition: impl FnMut(&VerificationState) -> bool,
) -> VerificationState {
    let reached = async {
        loop {
            let state = verification.changed().await.unwrap();
            if condition(&state) {
                return state;
            }
            assert!(!state.is_over(), "{state:?}");
        }
    };
    timeout(PATIENCE, reached).await.expect("waited in vain")
}

async fn short(verification: &mut Verification) -> ShortAuthString {
    match until(verification, |state| matches!(state, VerificationState::Comparing(_))).await {
        VerificationState::Comparing(short) => short,
        other => panic!("{other:?}"),
    }
}

/// Both with a string before them: the first has asked.
async fn compare(a: &Client, b: &Client) -> (Verification, Verification) {
    let mut events = b.events();
    let mut ours = a.verify(b.device()).await.unwrap();
    assert_eq!(request(&mut events).await.0, a.device());
    let mut theirs = b.verify(a.device()).await.unwrap();
    let (one, other) = join!(short(&mut ours), short(&mut theirs));
    assert_eq!(one, other);
    (ours, theirs)
}

#[tokio::test]
async fn clients_that_were_verified_get_what_others_do_not() {
    let server = serve(Limits::default()).await;
    let invite = invite(&server);
    let (a, b, c) = join!(client(&invite, "Ada"), client(&invite, "Bob"), client(&invite, "Cyd"));
    let (mut ours, mut theirs) = compare(&a, &b).await;
    join!(async { ours.confirm().await.unwrap() }, async { theirs.confirm().await.unwrap() });
    let is_verified = |state: &VerificationState| *state == VerificationState::Verified;
    join!(until(&mut ours, is_verified), until(&mut theirs, is_verified));
    // The handles may go: it is done.
    drop((ours, theirs));

    let camera = Publish::new("camera").track(Codec::Opus).admission(Admission::Verified);
    let publication = a.publish(camera).await.unwrap();
    let subscription = timeout(PATIENCE, b.subscribe("camera")).await.unwrap().unwrap();
    let offer = c.find("camera", None).await.unwrap();
    let refused = timeout(PATIENCE, c.subscribe_to(offer)).await.unwrap();
    assert_eq!(refused.err(), Some(ClientError::Withheld(WithheldCode::NotVerified)));
    let holders = publication.holders().await.unwrap();
    assert_eq!(holders.iter().map(|h| h.device).collect::<Vec<_>>(), [b.device()]);
    let now = Client::now();
    let wire = publication.encryptors().next().unwrap().encrypt(b"a frame").unwrap();
    let decryptor = &mut subscription.decryptors().await.unwrap()[0];
    let mut frame = Vec::new();
    decryptor.decrypt_into(&wire, now, &mut frame).unwrap();
    assert_eq!(frame, b"a frame");
}

#[tokio::test]
async fn clients_that_start_at_once_are_asked_nothing() {
    let server = serve(Limits::default()).await;
    let invite = invite(&server);
    let (a, b) = join!(client(&invite, "Ada"), client(&invite, "Bob"));
    let (ours, theirs) = join!(a.verify(b.device()), b.verify(a.device()));
    let (mut ours, mut theirs) = (ours.unwrap(), theirs.unwrap());
    let (one, other) = join!(short(&mut ours), short(&mut theirs));
    assert_eq!(one, other);
    ours.reject().await.unwrap();
    let differ = VerificationState::Cancelled(CancelReason::NumbersDiffer);
    let is_over = |state: &VerificationState| *state == differ;
    join!(until(&mut ours, is_over), until(&mut theirs, is_over));
}

#[tokio::test]
async fn a_handle_that_is_dropped_cancels_and_only_its_own_verification() {
    let server = serve(Limits::default()).await;
    let invite = invite(&server);
    let (a, b) = join!(client(&invite, "Ada"), client(&invite, "Bob"));
    let (ours, mut theirs) = compare(&a, &b).await;
    drop(ours);
    let cancelled = VerificationState::Cancelled(CancelReason::User);
    until(&mut theirs, |state| *state == cancelled).await;
    assert_eq!(theirs.changed().await.unwrap(), cancelled, "it stays so");
    let (mut ours, mut again) = compare(&a, &b).await;
    drop(theirs);
    tokio::time::sleep(A_WHILE).await;
    ours.confirm().await.unwrap();
    again.confirm().await.unwrap();
    let is_verified = |state: &VerificationState| *state == VerificationState::Verified;
    join!(until(&mut ours, is_verified), until(&mut again, is_verified));
}

#[tokio::test]
async fn what_is_declined_ends_for_the_one_who_asked() {
    let server = serve(Limits::default()).await;
    let invite = invite(&server);
    let (a, b) = join!(client(&invite, "Ada"), client(&invite, "Bob"));
    let mut events = b.events();
    let mut ours = a.verify(b.device()).await.unwrap();
    assert_eq!(request(&mut events).await, (a.device(), "Ada".to_owned()));
    b.decline_verification(a.device()).await.unwrap();
    let declined = VerificationState::Cancelled(CancelReason::Declined);
    until(&mut ours, |state| *state == declined).await;
    assert!(b.decline_verification(a.device()).await.is_err());
}
