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

/// A session description of these media sections.
fn sdp(sections: &[&str]) -> String {
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n".to_owned() + &sections.concat()
}

const VIDEO: &str = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\n\
                     a=msid:a b\r\na=rtpmap:96 VP8/90000\r\na=sendrecv\r\n\
                     a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
                     a=extmap:2 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n";
const AUDIO: &str = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 0.0.0.0\r\n\
                     a=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n";
const DATA: &str = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n";

async fn check(relay: &Relay, cases: &[(&str, String, u16, &str)]) {
    for (path, body, status, reason) in cases {
        let response = post(relay.local_addr(), path, body.clone()).await;
        assert_eq!(response.status(), *status, "{path}, expected: {reason}");
        assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8", "{reason}");
        let text = response.text().await.unwrap();
        assert!(text.contains(reason), "{path}: {text}");
    }
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
        ("/whip/new", String::new(), 400, "the body is empty"),
        ("/whep/taken", " \r\n".into(), 400, "the body is empty"),
        ("/whip/new", offer.clone(), 400, "must send"),
        ("/whep/taken", sending.clone(), 400, "must receive"),
        ("/whip/new", h265, 400, "does not offer VP8 or VP9 or H264 or AV1"),
        ("/whip/a.b", sending.clone(), 400, "stream id"),
        ("/whep/a.b", offer.clone(), 400, "stream id"),
        ("/whip/new", "x".repeat(100_000), 413, "limit of 65536 bytes"),
        ("/whep/taken", "x".repeat(100_000), 413, "limit of 65536 bytes"),
        ("/whip", sending.clone(), 404, "/whip/{stream}"),
        ("/whep/", offer.clone(), 404, "/whep/{stream}"),
    ];
    check(&relay, &cases).await;

    for content_type in ["application/json", "text/plain; charset=application/sdp", "", "\u{e9}"] {
        let request = reqwest::Client::new().post(format!("http://{at}/whip/new"));
        let request = request.header("content-type", content_type).body(sending.clone());
        let refused = request.send().await.unwrap();
        assert_eq!(refused.status(), 415, "{content_type}");
        assert!(refused.text().await.unwrap().contains("application/sdp"));
    }
    let request = reqwest::Client::new().post(format!("http://{at}/whip/new"));
    assert_eq!(request.body(vec![0xff]).send().await.unwrap().status(), 415);
    let request = reqwest::Client::new().post(format!("http://{at}/whip/new"));
    let request = request.header("content-type", "application/sdp; x=y").body(vec![0xff]);
    assert_eq!(request.send().await.unwrap().status(), 400, "no UTF-8");

    for session in ["0123".to_owned(), format!("{:032x}", 7)] {
        for path in ["/whip/taken", "/whep/taken", "/whip/nobody", "/whep/nobody"] {
            assert_eq!(delete(at, &format!("{path}/{session}")).await, 404, "{path}");
        }
    }
    assert_eq!(delete(at, &format!("/whip/a.b/{:032x}", 7)).await, 400);
    let health = reqwest::get(format!("http://{at}/healthz")).await.unwrap();
    assert_eq!(health.text().await.unwrap(), "ok\n");
    assert!(relay.stats("new").is_none(), "a refused publisher leaves nothing behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_of_what_is_not_forwarded_is_answered_with_what_is_wrong() {
    let relay = relay().await;
    let _publisher = Publisher::connect(relay.local_addr(), "taken").await;
    let layers = |rids: &str| sdp(&[VIDEO, rids]);
    let receiving = VIDEO.replace("sendrecv", "recvonly");
    let cases = [
        ("/whip/new", sdp(&[]), 400, "neither an audio nor a video section"),
        ("/whip/new", sdp(&[VIDEO, DATA]), 400, "application is not forwarded"),
        ("/whip/new", sdp(&[VIDEO, AUDIO]), 400, "does not offer opus"),
        ("/whip/new", sdp(&[VIDEO, VIDEO]), 422, "more than one video track"),
        ("/whep/taken", sdp(&[&receiving, &receiving]), 422, "more than one video track"),
        (
            "/whip/new",
            layers("a=rid:a send\r\na=rid:b send\r\na=rid:c send\r\na=rid:d send\r\n"),
            422,
            "more than 3 simulcast layers",
        ),
        ("/whip/new", layers("a=rid:a send\r\na=rid:a send\r\n"), 400, "rid a occurs twice"),
        ("/whip/new", layers("a=rid:a recv\r\n"), 400, "rid a is not to send"),
        ("/whip/new", layers("a=ssrc-group:SIM 1 2\r\n"), 400, "use rids"),
        ("/whep/taken", layers("a=rid:a send\r\n"), 400, "only a publisher's video may have rids"),
        // Well-formed for the relay, but nothing to connect to.
        ("/whip/new", sdp(&[VIDEO]), 400, "bad SDP offer"),
        ("/whep/taken", sdp(&[&receiving]), 400, "bad SDP offer"),
    ];
    check(&relay, &cases).await;
    assert_eq!(relay.stats("taken").unwrap().subscribers, 0);
    assert!(relay.stats("new").is_none(), "a refused publisher leaves nothing behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_method_is_answered_with_those_that_are_right() {
    let relay = relay().await;
    let session = format!("{:032x}", 7);
    let cases = [
        ("GET", "/whip/camera".to_owned(), "POST"),
        ("DELETE", "/whep/camera".to_owned(), "POST"),
        ("PATCH", format!("/whip/camera/{session}"), "DELETE"),
        ("POST", format!("/whep/camera/{session}"), "DELETE"),
        ("GET", format!("/whep/camera/{session}/layer"), "POST"),
        ("POST", "/healthz".to_owned(), "GET,HEAD"),
    ];
    for (method, path, allowed) in cases {
        let url = format!("http://{}{path}", relay.local_addr());
        let method: reqwest::Method = method.parse().unwrap();
        let response = reqwest::Client::new().request(method, url).send().await.unwrap();
        assert_eq!(response.status(), 405, "{path}");
        assert_eq!(response.headers()["allow"], allowed, "{path}");
        assert!(response.text().await.unwrap().contains("Allow"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_relay_refuses_more_publishers() {
    let config = RelayConfig { max_streams: 1, ..Default::default() };
    let relay = Relay::bind(config).await.unwrap();
    let _publisher = Publisher::connect(relay.local_addr(), "one").await;
    let sending = offer().await.replace("a=recvonly", "a=sendonly");
    let response = post(relay.local_addr(), "/whip/two", sending).await;
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "5");
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
