//! What the relay refuses, and how it says so.

use olmcast_relay::{Error, Relay, RelayConfig};

use crate::client::{Client, Publisher, delete, post, receive_only};
use crate::relay;

async fn offer() -> String {
    let mut client = Client::new().await;
    receive_only(&client).await;
    let offer = client.offer().await;
    client.pc.close().await.unwrap();
    offer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_served_is_answered_with_status_and_reason() {
    let relay = relay().await;
    let at = relay.local_addr();
    let offer = offer().await;
    let _publisher = Publisher::connect(at, "taken").await;

    let sending = offer.replace("a=recvonly", "a=sendonly");
    let h265 = sending.replace("VP8/90000", "H265/90000");
    let cases = [
        ("/whep/nobody", offer.clone(), 404, "no live publisher"),
        ("/whip/taken", sending.clone(), 409, "already has a live publisher"),
        ("/whip/new", "hello".into(), 400, "bad SDP"),
        ("/whip/new", String::new(), 400, "bad SDP"),
        ("/whip/new", offer.clone(), 400, "must send"),
        ("/whep/taken", sending.clone(), 400, "must receive"),
        ("/whip/new", h265, 400, "does not offer VP8 or VP9 or H264 or AV1"),
        ("/whip/a.b", sending.clone(), 400, "stream id"),
        ("/whip/new", "x".repeat(100_000), 413, "limit"),
    ];
    for (path, body, status, reason) in cases {
        let response = post(at, path, body).await;
        assert_eq!(response.status(), status, "{path}, expected: {reason}");
        let text = response.text().await.unwrap();
        assert!(text.contains(reason), "{path}: {text}");
    }

    let json = reqwest::Client::new().post(format!("http://{at}/whip/new"));
    let json = json.header("content-type", "application/json").body(sending).send().await.unwrap();
    assert_eq!(json.status(), 415);
    assert_eq!(delete(at, "/whip/taken/0123").await, 404);
    assert_eq!(delete(at, &format!("/whip/taken/{:032x}", 7)).await, 404);
    let health = reqwest::get(format!("http://{at}/healthz")).await.unwrap();
    assert_eq!(health.text().await.unwrap(), "ok\n");
    assert!(relay.stats("new").is_none(), "a refused publisher leaves nothing behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_relay_refuses_more_publishers() {
    let config = RelayConfig { max_streams: 1, ..Default::default() };
    let relay = Relay::bind(config).await.unwrap();
    let _publisher = Publisher::connect(relay.local_addr(), "one").await;
    let sending = offer().await.replace("a=recvonly", "a=sendonly");
    let response = post(relay.local_addr(), "/whip/two", sending).await;
    assert_eq!(response.status(), 503);
    assert!(response.text().await.unwrap().contains("full"));
}

#[tokio::test]
async fn an_address_that_cannot_be_used_is_an_error_at_start() {
    let wildcard = RelayConfig { listen: "0.0.0.0:0".parse().unwrap(), ..Default::default() };
    assert!(matches!(Relay::bind(wildcard).await, Err(Error::WildcardMedia(_))));
    let foreign = RelayConfig { media: Some("192.0.2.1".parse().unwrap()), ..Default::default() };
    assert!(matches!(Relay::bind(foreign).await, Err(Error::Media { .. })));
    let relay = relay().await;
    let taken = RelayConfig { listen: relay.local_addr(), ..Default::default() };
    assert!(matches!(Relay::bind(taken).await, Err(Error::Listen { .. })));
}
