//! Three layers come in, one goes out, and every subscriber may choose which.

use std::time::{Duration, Instant};

use olmcast_relay::Relay;
use reqwest::StatusCode;

use crate::client::{PATIENCE, Publisher, Subscriber};
use crate::layered::{Layered, Seen};
use crate::{eventually, relay};

/// A subscriber, and every packet that it got, in order.
struct Viewer {
    subscriber: Subscriber,
    seen: Vec<Seen>,
}

impl Viewer {
    async fn connect(relay: &Relay) -> Self {
        let subscriber = Subscriber::connect(relay.local_addr(), "camera").await;
        Self { subscriber, seen: Vec::new() }
    }

    /// Receives until a frame of `layer` starts, and some packets more.
    async fn wait_for(&mut self, layer: u8) -> Duration {
        let start = Instant::now();
        let mut more = 30;
        while more > 0 {
            assert!(start.elapsed() < PATIENCE, "layer {layer} does not come");
            let (_, packet) = self.subscriber.next().await;
            self.seen.push(Seen::new(&packet));
            if self.seen.last().unwrap().layer == layer {
                more -= 1;
            }
        }
        start.elapsed()
    }

    /// The layers seen, each once for as long as it lasted.
    fn layers(&self) -> Vec<u8> {
        let mut layers: Vec<u8> = self.seen.iter().map(|seen| seen.layer).collect();
        layers.dedup();
        layers
    }

    fn assert_continuous(&self) {
        assert!(self.seen[0].opens_key_frame, "{:?}", self.seen[0]);
        for pair in self.seen.windows(2) {
            let (one, two) = (pair[0], pair[1]);
            assert_eq!(two.sequence, one.sequence.wrapping_add(1), "{one:?} {two:?}");
            let step = two.timestamp.wrapping_sub(one.timestamp);
            // Half a second, for a machine that is busy; a layer's clock is hours from another's.
            assert!(step < 45_000 * 6, "{one:?} {two:?}");
            if one.layer != two.layer {
                assert!(two.opens_key_frame && step > 0, "{one:?} {two:?}");
            }
        }
    }

    async fn choose(&self, relay: &Relay, body: &str) -> (StatusCode, String) {
        choose(relay, &self.subscriber.location, "application/json", body).await
    }
}

async fn choose(
    relay: &Relay,
    location: &str,
    content_type: &str,
    body: &str,
) -> (StatusCode, String) {
    let url = format!("http://{}{location}/layer", relay.local_addr());
    let request = reqwest::Client::new().post(url).header("content-type", content_type);
    let response = request.body(body.to_owned()).send().await.unwrap();
    (response.status(), response.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_sees_the_highest_layer_and_then_the_one_that_it_chooses() {
    let relay = relay().await;
    let publisher = Layered::connect(relay.local_addr(), "camera", |offer| offer).await;
    let mut viewer = Viewer::connect(&relay).await;
    let link = viewer.subscriber.link.clone().expect("a link to the layers");
    let expected = format!(
        "<{}/layer>; rel=\"urn:ietf:params:whep:ext:core:layer\"",
        viewer.subscriber.location
    );
    assert_eq!(link, expected);

    viewer.wait_for(0).await;
    let (status, text) = viewer.choose(&relay, r#"{"mediaId":"0","encodingId":"l"}"#).await;
    assert_eq!(status, 200, "{text}");
    assert_eq!(text, r#"{"encodingId":"l","layers":["h","m","l"]}"#);
    viewer.wait_for(2).await;
    assert!(publisher.plis(2) > 0, "its key frame was asked for");
    assert_eq!(publisher.plis(1), 0, "nobody wants that layer");

    let mut other = Viewer::connect(&relay).await;
    other.wait_for(0).await;
    assert_eq!(viewer.choose(&relay, r#"{"encodingId":"m"}"#).await.0, 200);
    viewer.wait_for(1).await;
    assert_eq!(viewer.choose(&relay, "{}").await.0, 200);
    viewer.wait_for(0).await;
    other.wait_for(0).await;
    assert_eq!(viewer.layers(), [0, 2, 1, 0]);
    assert_eq!(other.layers(), [0], "everybody chooses for themselves");
    viewer.assert_continuous();
    other.assert_continuous();

    // Subscribers that lost packets need a key frame of the layer that they have, and the same one
    // will do.
    let before = [0, 1, 2].map(|layer| publisher.plis(layer));
    for _ in 0..10 {
        viewer.subscriber.send_pli().await;
        other.subscriber.send_pli().await;
    }
    let start = Instant::now();
    eventually("all requests reach the relay", async || {
        relay.stats("camera").unwrap().plis_received == 20
    })
    .await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    let asked = [0, 1, 2].map(|layer| publisher.plis(layer) - before[layer]);
    let most = 2 + start.elapsed().as_millis() as u32 / 500;
    assert!((1..=most).contains(&asked[0]), "{asked:?} in {:?}", start.elapsed());
    assert_eq!(asked[1..], [0, 0], "nobody has those layers");
    publisher.client.pc.close().await.unwrap();
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_layer_stops_the_next_lower_one_stands_in_until_it_lasts_again() {
    let relay = relay().await;
    let publisher = Layered::connect(relay.local_addr(), "camera", |offer| offer).await;
    let mut viewer = Viewer::connect(&relay).await;
    viewer.wait_for(0).await;
    publisher.silence(0, true);
    viewer.wait_for(1).await;
    publisher.silence(0, false);
    let back = viewer.wait_for(0).await;
    assert!(back > Duration::from_secs(3), "it has not proved itself after {back:?}");
    assert_eq!(viewer.layers(), [0, 1, 0]);
    viewer.assert_continuous();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_was_not_offered_is_ignored() {
    let relay = relay().await;
    let hide = |offer: String| {
        assert!(offer.contains("a=simulcast:send h;m;l"), "{offer}");
        offer.replace("a=rid:h send\r\n", "").replace("send h;m;l", "send m;l")
    };
    let publisher = Layered::connect(relay.local_addr(), "camera", hide).await;
    let mut viewer = Viewer::connect(&relay).await;
    viewer.wait_for(1).await;
    assert_eq!(viewer.layers(), [1]);
    let (status, text) = viewer.choose(&relay, r#"{"encodingId":"h"}"#).await;
    assert_eq!(status, 422);
    assert!(text.contains("m, l"), "{text}");
    let received = relay.recording("camera").unwrap().packets;
    assert!(received.iter().all(|packet| packet.payload[2] != 0 && packet.layer < 2));
    assert!(publisher.sent()[0] > 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_choice_that_cannot_be_obeyed_is_answered_with_status_and_reason() {
    let relay = relay().await;
    let at = relay.local_addr();
    let _layered = Layered::connect(at, "camera", |offer| offer).await;
    let viewer = Viewer::connect(&relay).await;
    let location = &viewer.subscriber.location;
    let unknown = format!("/whep/camera/{:032x}", 7);
    let json = "application/json";
    let cases = [
        (location.as_str(), json, r#"{"encodingId":"x"}"#, 422, "the stream has h, m, l"),
        (location, json, r#"{"mediaId":"9","encodingId":"h"}"#, 422, "not the mid"),
        (location, json, r#"{"spatialLayerId":1}"#, 400, "unknown field"),
        (location, json, "h", 400, "bad layer selection"),
        (location, "text/plain", "{}", 415, "application/json"),
        (&unknown, json, "{}", 404, "no such session"),
        ("/whep/camera/0123", json, "{}", 404, "no such session"),
        ("/whep/nobody/0123", json, "{}", 404, "no such session"),
        ("/whep/a.b/0123", json, "{}", 400, "stream id"),
    ];
    for (location, content_type, body, status, reason) in cases {
        let (answered, text) = choose(&relay, location, content_type, body).await;
        assert_eq!(answered, status, "{location} {body}: {text}");
        assert!(text.contains(reason), "{location} {body}: {text}");
    }
    let (status, _) = choose(&relay, location, json, &"x".repeat(100_000)).await;
    assert_eq!(status, 413);
    // No body at all is the automatic choice, and needs no type.
    let url = format!("http://{at}{location}/layer");
    assert_eq!(reqwest::Client::new().post(url).send().await.unwrap().status(), 200);

    let _plain = Publisher::connect(at, "plain").await;
    let plain = Subscriber::connect(at, "plain").await;
    assert_eq!(plain.link, None, "there is nothing to choose");
    let (status, text) = choose(&relay, &plain.location, json, r#"{"encodingId":"h"}"#).await;
    assert_eq!((status.as_u16(), text.contains("only one")), (422, true), "{text}");
}
