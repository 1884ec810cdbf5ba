use futures_util::FutureExt;
use olmcast::{
    client::{Client, ClientError, ClientEvent},
    device::Identity,
    endpoint::{Ended, Endpoint, Event, Publish},
    primitives::{Codec, DeviceId, Invite, StreamId, StreamRef},
    protocol::service::{ClientFrame, Payload, RoomState, ServerFrame},
    server::Limits,
    sframe::EncryptError,
};
use tokio::{net::TcpListener, task::coop::unconstrained, time::timeout};

use crate::{fake_service::FakeService, fixture::*};

async fn client(invite: &Invite) -> Client {
    Client::connect(invite, Identity::generate()).await.unwrap()
}

fn camera() -> Publish {
    Publish::new("camera").track(Codec::Opus).with_invite()
}

/// Another device's endpoint, and its offer of a stream.
fn offering(invite: &Invite, label: &str) -> (DeviceId, StreamId, Payload) {
    let mut endpoint = Endpoint::new(Identity::generate()).unwrap();
    endpoint.enter(invite.room_keys());
    let publish = Publish::new(label).track(Codec::Opus).with_invite();
    let stream = endpoint.publish(invite.room(), publish, Client::now()).unwrap();
    let offer = endpoint.offer(stream).unwrap();
    (endpoint.device(), stream, offer.as_slice().into())
}

#[tokio::test]
async fn a_message_in_anothers_name_is_not_taken() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let invite = Invite::generate(listener.local_addr().unwrap().to_string()).unwrap();
    let connecting = tokio::spawn({
        let invite = invite.clone();
        async move { client(&invite).await }
    });
    let room = invite.room();
    let mut service = FakeService::accept(&listener, [1; 16]).await;
    service.say(&ServerFrame::Entered { room, roster: vec![], state: vec![] }).await;
    let client = connecting.await.unwrap();
    let mut events = client.events();
    let (camera, screen) = (offering(&invite, "camera"), offering(&invite, "screen"));
    // One's offer in the other's name, then one that is right.
    let (from, stream, bytes) = (screen.0, camera.1, camera.2);
    service.say(&ServerFrame::Mail { sequence: 1, from, bytes: bytes.clone() }).await;
    service.say(&ServerFrame::Broadcast { room, from, bytes: bytes.clone() }).await;
    let state = |bytes| ServerFrame::State { room, device: from, stream, bytes };
    service.say(&state(bytes.clone())).await;
    let cleared = Some(bytes.clone());
    service.say(&ServerFrame::StateCleared { room, device: from, stream, bytes: cleared }).await;
    let kept = vec![RoomState { device: from, stream, bytes }];
    service.say(&ServerFrame::Entered { room, roster: vec![], state: kept }).await;
    let (device, stream, bytes) = screen;
    service.say(&ServerFrame::State { room, device, stream, bytes }).await;
    let first = async {
        loop {
            if let ClientEvent::Stream(Event::Offered(offer)) = events.recv().await.unwrap() {
                return offer;
            }
        }
    };
    let first = timeout(PATIENCE, first).await.expect("no offer was taken");
    assert_eq!((first.stream.publisher, &*first.content.label), (device, "screen"));
}

/// Waits until a client is told that a stream is over.
async fn told_of_the_end(client: &Client, stream: StreamRef) {
    let mut events = client.events();
    let ended = Event::Ended { stream, reason: Ended::ByPublisher };
    let told =
        async { while events.recv().await.unwrap() != ClientEvent::Stream(ended.clone()) {} };
    timeout(PATIENCE, told).await.expect("nobody was told");
}

#[tokio::test]
async fn dropping_a_publication_ends_it_however_busy_its_client_is() {
    let server = serve(Limits::default()).await;
    let invite = invite(&server);
    let (a, b) = (client(&invite).await, client(&invite).await);
    let publication = a.publish(camera()).await.unwrap();
    let stream = publication.stream();
    b.find("camera", None).await.unwrap();
    // More calls than may wait, while nothing else of this thread runs.
    let mut calls: Vec<_> =
        (0..300).map(|_| Box::pin(unconstrained(publication.position()))).collect();
    assert!(calls.iter_mut().all(|call| call.now_or_never().is_none()));
    drop(calls);
    drop(publication);
    told_of_the_end(&b, stream).await;
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_taken_back() {
    let server = serve(Limits::default()).await;
    let invite = invite(&server);
    let (a, b) = (client(&invite).await, client(&invite).await);
    let publication = a.publish(camera()).await.unwrap();
    let offer = b.find("camera", None).await.unwrap();
    // Both calls are given, and their answers never fetched.
    assert!(Box::pin(unconstrained(b.subscribe_to(offer))).now_or_never().is_none());
    let screen = Publish::new("screen").track(Codec::Opus).with_invite();
    assert!(Box::pin(unconstrained(b.publish(screen))).now_or_never().is_none());
    let mut events = a.events();
    let over = async {
        let (mut offered, mut ended) = (false, false);
        while !(offered && ended) {
            match events.recv().await.unwrap() {
                ClientEvent::Stream(Event::Offered(_)) => offered = true,
                ClientEvent::Stream(Event::Ended { .. }) => ended = true,
                _ => {}
            }
        }
    };
    timeout(PATIENCE, over).await.expect("a stream without an owner is on offer");
    // It asked and left at once: it is not given a key, or leaves with it.
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(publication.holders().await.unwrap(), []);
}

#[tokio::test]
async fn an_end_is_not_lost_when_the_service_reads_too_slowly() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let invite = Invite::generate(listener.local_addr().unwrap().to_string()).unwrap();
    let serving = tokio::spawn({
        let room = invite.room();
        async move {
            let mut service = FakeService::accept(&listener, [1; 16]).await;
            assert!(matches!(service.hear().await, ClientFrame::Enter { .. }));
            service.say(&ServerFrame::Entered { room, roster: vec![], state: vec![] }).await;
            service
        }
    });
    let a = client(&invite).await;
    let mut service = serving.await.unwrap();
    // Far more than the socket and all queues hold, and nobody reads.
    let mut publications = Vec::new();
    for _ in 0..1500 {
        publications.push(a.publish(camera().media("m".repeat(20_000))).await.unwrap());
    }
    let last = publications.last().unwrap().stream().stream;
    drop(publications);
    let (mut offered, mut ended) = (0, 0);
    loop {
        match service.hear().await {
            ClientFrame::SetState { .. } => offered += 1,
            ClientFrame::ClearState { stream, .. } => {
                ended += 1;
                if stream == last {
                    break;
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((offered, ended), (1500, 1500));
}

#[tokio::test]
async fn a_stream_that_ends_without_a_service_is_over_at_once_and_not_on_offer_later() {
    let server = serve(Limits::default()).await;
    let (address, invite) = (server.local_addr(), invite(&server));
    let (a, b) = (client(&invite).await, client(&invite).await);
    let publication = a.publish(camera()).await.unwrap();
    let stream = publication.stream();
    let mut encryptor = publication.encryptors().next().unwrap();
    let (mut events, mut room) = (b.events(), b.room());
    let subscription = b.subscribe("camera").await.unwrap();
    drop(server);
    assert_eq!(publication.end().await, Ok(()));
    assert_eq!(encryptor.encrypt(b"frame"), Err(EncryptError::Paused));
    let server = serve_at(address, Limits::default()).await;
    let back = async {
        while events.recv().await.unwrap() != ClientEvent::Entered {}
        room.wait_for(|room| room.present().any(|device| device == a.device())).await.unwrap();
    };
    timeout(PATIENCE, back).await.expect("not back");
    tokio::time::sleep(A_WHILE).await;
    assert!(!b.room().borrow().is_offered(stream));
    assert_eq!(subscription.leave().await, Ok(()), "over already, and left all the same");
    server.shutdown().await;
}

#[tokio::test]
async fn the_end_of_a_stream_whose_client_has_ended_is_an_error() {
    let server = serve(Limits::default()).await;
    let invite = invite(&server);
    let identity = Identity::generate();
    let elsewhere = identity.signer();
    let a = Client::connect(&invite, identity).await.unwrap();
    let b = client(&invite).await;
    let publication = a.publish(camera()).await.unwrap();
    let mut encryptor = publication.encryptors().next().unwrap();
    let subscribed = b.publish(Publish::new("screen").track(Codec::Opus).with_invite()).await;
    let subscription = a.subscribe("screen").await.unwrap();
    let mut events = a.events();
    let rooms = vec![(invite.room(), invite.door_key().unwrap())];
    let _replacing =
        olmcast::client::connection::Connection::open(invite.service(), elsewhere, rooms);
    let closed = async { while events.recv().await.is_ok() {} };
    timeout(PATIENCE, closed).await.expect("its events do not say that it has ended");
    assert!(a.events().recv().await.is_err());
    assert_eq!(publication.end().await, Err(ClientError::Ended));
    assert_eq!(subscription.leave().await, Err(ClientError::Ended));
    assert_eq!(encryptor.encrypt(b"frame"), Err(EncryptError::Paused));
    drop(subscribed);
}

#[tokio::test]
async fn what_a_client_sends_is_counted() {
    let server = serve(Limits::default()).await;
    let invite = invite(&server);
    let (a, b) = (client(&invite).await, client(&invite).await);
    assert_eq!(a.traffic().messages, 0);
    let publication = a.publish(camera()).await.unwrap();
    let subscription = b.subscribe("camera").await.unwrap();
    subscription.decryptors().await.unwrap();
    // The offer, the step and the key; the question and the receipt.
    assert_eq!((a.traffic().messages, b.traffic().messages), (3, 2));
    assert!(a.traffic().bytes > b.traffic().bytes && b.traffic().bytes > 200);
    publication.end().await.unwrap();
    assert_eq!(a.traffic().messages, 4);
}
