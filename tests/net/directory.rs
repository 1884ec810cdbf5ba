//! The directory of public keys, asked as anybody might ask it.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};

use olmcast::{
    device::Identity,
    endpoint::Endpoint,
    primitives::{DeviceId, Signature, Timestamp},
    protocol::{
        DeviceKeys, FallbackKey, KeysUpload, OneTimeKey,
        directory::{
            Authorization, CLAIM_PATH, ClaimedKey, DirectoryErrorCode as Code, DirectoryRefusal,
            DirectoryRequest, KeysClaim, KeysClaimed, KeysFound, KeysUploaded, UPLOAD_PATH,
        },
    },
    server::{Limits, Server},
};
use reqwest::{StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use crate::fixture::*;

/// A device that publishes keys, and signs whatever is wanted.
pub(crate) struct Publisher {
    endpoint: Endpoint,
}

impl Publisher {
    pub(crate) fn new() -> Self {
        Self { endpoint: Endpoint::new(Identity::generate()).unwrap() }
    }

    pub(crate) fn id(&self) -> DeviceId {
        self.endpoint.device()
    }

    /// All that it publishes, with so many new one-time keys.
    pub(crate) fn keys(&mut self, one_time_keys: usize) -> KeysUpload {
        let upload = self.endpoint.keys_upload(one_time_keys, now());
        self.endpoint.keys_uploaded(&upload);
        upload
    }

    /// A request, signed for the server.
    fn request(&self, server: &Server, path: &'static str, body: &impl Serialize) -> Signed {
        self.raw_request(server, path, serde_json::to_vec(body).unwrap())
    }

    fn raw_request(&self, server: &Server, path: &'static str, body: Vec<u8>) -> Signed {
        self.request_at(&server.local_addr().to_string(), path, body, now())
    }

    fn request_at(
        &self,
        server: &str,
        path: &'static str,
        body: Vec<u8>,
        time: Timestamp,
    ) -> Signed {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).unwrap();
        let signer = self.endpoint.signer();
        let signature =
            DirectoryRequest { method: "POST", path, server, time, nonce: &nonce, body: &body }
                .sign_with(|form| signer.sign(form));
        let device = self.id();
        let header = Authorization { device, server: server.to_owned(), time, nonce, signature };
        Signed { path, header, body }
    }

    pub(crate) async fn upload(&mut self, server: &Server, one_time_keys: usize) -> u64 {
        let keys = self.keys(one_time_keys);
        let uploaded: KeysUploaded =
            self.request(server, UPLOAD_PATH, &keys).send(server).await.ok();
        uploaded.one_time_keys
    }

    async fn claim(&self, server: &Server, device: DeviceId) -> Answer {
        self.request(server, CLAIM_PATH, &KeysClaim { device }).send(server).await
    }
}

#[derive(Clone)]
struct Signed {
    path: &'static str,
    header: Authorization,
    body: Vec<u8>,
}

impl Signed {
    async fn send(&self, server: &Server) -> Answer {
        self.send_with(server, &[self.header.to_string()]).await
    }

    async fn send_with(&self, server: &Server, headers: &[String]) -> Answer {
        let url = format!("http://{}{}", server.local_addr(), self.path);
        let mut request = http().post(url).body(self.body.clone());
        for header in headers {
            request = request.header(header::AUTHORIZATION, header);
        }
        Answer::of(request.send().await.unwrap()).await
    }
}

/// What came back.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: header::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        Self { status, headers, body: response.bytes().await.unwrap().to_vec() }
    }

    fn ok<T: DeserializeOwned>(&self) -> T {
        assert_eq!(self.status, StatusCode::OK, "{}", String::from_utf8_lossy(&self.body));
        serde_json::from_slice(&self.body).unwrap()
    }

    fn refusal(&self) -> DirectoryRefusal {
        assert_ne!(self.status, StatusCode::OK);
        let refusal: DirectoryRefusal = serde_json::from_slice(&self.body).unwrap();
        assert!(!refusal.message.is_empty());
        refusal
    }

    #[track_caller]
    fn expect(&self, status: u16, code: Code) {
        assert_eq!((self.status.as_u16(), self.refusal().error), (status, code));
    }
}

fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

pub(crate) fn now() -> Timestamp {
    SystemTime::now().into()
}

async fn get(server: &Server, path: &str) -> Answer {
    let url = format!("http://{}{path}", server.local_addr());
    Answer::of(http().get(url).send().await.unwrap()).await
}

async fn query(server: &Server, device: DeviceId) -> Answer {
    get(server, &format!("/v1/keys/{device}")).await
}

/// One-time keys that are left of a device.
pub(crate) async fn left(server: &Server, device: DeviceId) -> u64 {
    query(server, device).await.ok::<KeysFound>().one_time_keys
}

#[tokio::test]
async fn what_is_uploaded_is_found_and_claimed_with_its_signatures() {
    let server = serve(Limits::default()).await;
    let (mut alice, bob) = (Publisher::new(), Publisher::new());
    assert_eq!(alice.upload(&server, 2).await, 2);
    let found: KeysFound = query(&server, alice.id()).await.ok();
    assert_eq!(found.device_keys.verify(), Ok(()));
    assert_eq!((found.device_keys.device, found.one_time_keys), (alice.id(), 2));
    assert!(found.fallback_key);
    let mut numbers = HashSet::new();
    for _ in 0..2 {
        let claimed: KeysClaimed = bob.claim(&server, alice.id()).await.ok();
        assert_eq!(claimed.verify(&alice.id()), Ok(()));
        let ClaimedKey::OneTimeKey(key) = claimed.key else { panic!("{claimed:?}") };
        assert!(numbers.insert(key.number));
    }
    let claimed: KeysClaimed = bob.claim(&server, alice.id()).await.ok();
    assert_eq!(claimed.verify(&alice.id()), Ok(()));
    assert!(matches!(claimed.key, ClaimedKey::FallbackKey(_)));
}

#[tokio::test]
async fn a_replayed_request_is_refused_and_changes_nothing() {
    let server = serve(Limits::default()).await;
    let (mut alice, bob) = (Publisher::new(), Publisher::new());
    let keys = alice.keys(3);
    let upload = alice.request(&server, UPLOAD_PATH, &keys);
    upload.send(&server).await.ok::<KeysUploaded>();
    upload.send(&server).await.expect(409, Code::Replayed);
    let claim = bob.request(&server, CLAIM_PATH, &KeysClaim { device: alice.id() });
    claim.send(&server).await.ok::<KeysClaimed>();
    claim.send(&server).await.expect(409, Code::Replayed);
    assert_eq!(left(&server, alice.id()).await, 2);
}

#[tokio::test]
async fn a_request_that_was_altered_is_refused() {
    let server = serve(Limits::default()).await;
    let (mut alice, mut bob) = (Publisher::new(), Publisher::new());
    let (port, keys) = (server.local_addr().port(), alice.keys(1));
    bob.upload(&server, 5).await;
    let good = alice.request(&server, UPLOAD_PATH, &keys);
    let body = String::from_utf8(good.body.clone()).unwrap();
    let with = |change: &dyn Fn(&mut Signed)| {
        let mut altered = good.clone();
        change(&mut altered);
        altered
    };
    for (what, altered) in [
        ("a space in the body", with(&|r| r.body = format!("{body} ").into_bytes())),
        ("another body", with(&|r| r.body = b"{}".to_vec())),
        ("path", with(&|r| r.path = "/v1/keys/upload?")),
        ("device", with(&|r| r.header.device = bob.id())),
        ("weak device", with(&|r| r.header.device = DeviceId::from_bytes([0; 32]))),
        ("server", with(&|r| r.header.server = format!("localhost:{port}"))),
        ("time", with(&|r| r.header.time = r.header.time + Duration::from_millis(1))),
        ("nonce", with(&|r| r.header.nonce[0] ^= 1)),
        ("signature", with(&|r| r.header.signature = Signature::from_bytes([1; 64]))),
    ] {
        let answer = altered.send(&server).await;
        assert_eq!(answer.refusal().error, Code::WrongSignature, "{what}");
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(answer.headers[header::WWW_AUTHENTICATE], "Olmcast");
    }
    // To another place that takes the same body.
    let claim = KeysClaim { device: bob.id() };
    let elsewhere = Signed { path: CLAIM_PATH, ..alice.request(&server, UPLOAD_PATH, &claim) };
    elsewhere.send(&server).await.expect(401, Code::WrongSignature);
    assert_eq!(left(&server, bob.id()).await, 5);
    query(&server, alice.id()).await.expect(404, Code::UnknownDevice);
    good.send(&server).await.ok::<KeysUploaded>();
}

#[tokio::test]
async fn a_request_for_another_service_is_refused() {
    let server = serve(Limits::default()).await;
    let mut alice = Publisher::new();
    let body = serde_json::to_vec(&alice.keys(1)).unwrap();
    for name in ["keys.example.org:443", "127.0.0.1:1", "127.0.0.1"] {
        let request = alice.request_at(name, UPLOAD_PATH, body.clone(), now());
        request.send(&server).await.expect(421, Code::WrongServerName);
    }
    query(&server, alice.id()).await.expect(404, Code::UnknownDevice);
}

#[tokio::test]
async fn a_request_that_is_an_hour_off_is_refused_with_the_services_time() {
    let server = serve(Limits::default()).await;
    let (mut alice, name) = (Publisher::new(), server.local_addr().to_string());
    let body = serde_json::to_vec(&alice.keys(1)).unwrap();
    let at = |time| alice.request_at(&name, UPLOAD_PATH, body.clone(), time);
    let seconds = Duration::from_secs;
    for time in [
        now() - seconds(3600),
        now() + seconds(3600),
        now() - seconds(65),
        now() + seconds(65),
        Timestamp::default(),
        Timestamp::from_unix_millis(u64::MAX),
    ] {
        let answer = at(time).send(&server).await;
        answer.expect(401, Code::ClockSkew);
        let theirs = Timestamp::from_unix_millis(answer.refusal().server_time.unwrap());
        assert!(theirs.since(now()).max(now().since(theirs)) < seconds(30));
    }
    query(&server, alice.id()).await.expect(404, Code::UnknownDevice);
    for time in [now() - seconds(50), now() + seconds(50)] {
        at(time).send(&server).await.ok::<KeysUploaded>();
    }
}

#[tokio::test]
async fn a_header_that_cannot_be_read_is_refused() {
    let server = serve(Limits::default()).await;
    let mut alice = Publisher::new();
    let keys = alice.keys(1);
    let good = alice.request(&server, UPLOAD_PATH, &keys);
    let text = good.header.to_string();
    for headers in [
        vec![],
        vec!["Basic dXNlcjpwYXNz".to_owned()],
        vec![text.to_lowercase()],
        vec![format!("{text}, more=1")],
        vec![text.clone(), text.clone()],
        vec![format!("Olmcast {}", "a".repeat(4000))],
    ] {
        let answer = good.send_with(&server, &headers).await;
        answer.expect(401, Code::MalformedAuthorization);
    }
    good.send(&server).await.ok::<KeysUploaded>();
}

#[tokio::test]
async fn unknown_and_exhausted_answer_alike() {
    let server = serve(Limits::default()).await;
    let (mut alice, bob) = (Publisher::new(), Publisher::new());
    let mut keys = alice.keys(1);
    keys.fallback_key = None;
    alice.request(&server, UPLOAD_PATH, &keys).send(&server).await.ok::<KeysUploaded>();
    bob.claim(&server, alice.id()).await.ok::<KeysClaimed>();

    let exhausted = bob.claim(&server, alice.id()).await;
    let unknown = bob.claim(&server, Publisher::new().id()).await;
    exhausted.expect(404, Code::NoKey);
    assert_eq!(exhausted.status, unknown.status);
    assert_eq!(exhausted.body, unknown.body);
    let without_date = |answer: &Answer| {
        let mut headers = answer.headers.clone();
        headers.remove(header::DATE);
        headers
    };
    assert_eq!(without_date(&exhausted), without_date(&unknown));
}

#[tokio::test]
async fn unknown_and_exhausted_answer_alike_when_too_much_is_claimed_of_them() {
    let server = serve(limits(|l| l.claim_target_burst = 1)).await;
    let (mut alice, bob) = (Publisher::new(), Publisher::new());
    let mut keys = alice.keys(0);
    keys.fallback_key = None;
    alice.request(&server, UPLOAD_PATH, &keys).send(&server).await.ok::<KeysUploaded>();
    let stranger = Publisher::new().id();
    for _ in 0..3 {
        let (known, unknown) =
            (bob.claim(&server, alice.id()).await, bob.claim(&server, stranger).await);
        known.expect(404, Code::NoKey);
        assert_eq!((known.status, known.body), (unknown.status, unknown.body));
    }
}

#[tokio::test]
async fn an_upload_with_a_forged_key_is_refused_whole() {
    let server = serve(Limits::default()).await;
    let (mut alice, mut mallory) = (Publisher::new(), Publisher::new());
    let good = alice.keys(3);
    let others = mallory.keys(1);
    let forged = Signature::from_bytes([1; 64]);
    let keys = good.device_keys.clone().unwrap();
    let (one, fallback) = (good.one_time_keys[1], good.fallback_key.unwrap());
    let with_one = |key: OneTimeKey| {
        let mut upload = good.clone();
        upload.one_time_keys[1] = key;
        upload
    };
    for upload in [
        with_one(OneTimeKey { signature: forged, ..one }),
        with_one(OneTimeKey { number: one.number + 100, ..one }),
        with_one(OneTimeKey { key: others.one_time_keys[0].key, ..one }),
        with_one(others.one_time_keys[0]),
        KeysUpload {
            fallback_key: Some(FallbackKey { signature: forged, ..fallback }),
            ..good.clone()
        },
        KeysUpload { fallback_key: others.fallback_key, ..good.clone() },
        KeysUpload {
            device_keys: Some(DeviceKeys { curve25519: one.key, ..keys.clone() }),
            ..good.clone()
        },
        KeysUpload { device_keys: others.device_keys.clone(), ..good.clone() },
        // All of it honest, but another's.
        others,
    ] {
        let request = alice.request(&server, UPLOAD_PATH, &upload);
        request.send(&server).await.expect(400, Code::WrongKeySignature);
    }
    for device in [alice.id(), mallory.id()] {
        query(&server, device).await.expect(404, Code::UnknownDevice);
    }
    alice.request(&server, UPLOAD_PATH, &good).send(&server).await.ok::<KeysUploaded>();
}

#[tokio::test]
async fn keys_before_the_device_keys_and_too_many_keys_are_refused() {
    let server = serve(limits(|l| l.one_time_keys = 5)).await;
    let mut alice = Publisher::new();
    let mut keys = alice.keys(5);
    let device_keys = keys.device_keys.take();
    let upload = alice.request(&server, UPLOAD_PATH, &keys);
    upload.send(&server).await.expect(409, Code::DeviceKeysMissing);
    keys.device_keys = device_keys;
    alice.request(&server, UPLOAD_PATH, &keys).send(&server).await.ok::<KeysUploaded>();
    for more in [1, 6] {
        let keys = alice.keys(more);
        let upload = alice.request(&server, UPLOAD_PATH, &keys);
        upload.send(&server).await.expect(403, Code::QuotaExceeded);
    }
    assert_eq!(left(&server, alice.id()).await, 5);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused() {
    let server = serve(Limits::default()).await;
    let mut alice = Publisher::new();
    let text = serde_json::to_string(&alice.keys(1)).unwrap();
    let point = text.split_once("curve25519\":\"").unwrap().1[..43].to_owned();
    let deep = |open: &str, close: &str| open.repeat(10_000) + &close.repeat(10_000);
    for body in [
        String::new(),
        "{".to_owned(),
        "null".to_owned(),
        format!("{text}{text}"),
        "{\"one_time_keys\":1}".to_owned(),
        "{\"one_time_keys\":[{\"number\":-1}]}".to_owned(),
        // A key of low order, though a signature would fit.
        text.replace(&point, &"A".repeat(43)),
        deep("[", "]"),
        format!("{{\"one_time_keys\":{}}}", deep("[", "]")),
        format!("{{\"later\":{}}}", deep("[", "]")),
        format!("{{\"later\":{}0{}}}", "{\"a\":".repeat(9_000), "}".repeat(9_000)),
    ] {
        let request = alice.raw_request(&server, UPLOAD_PATH, body.into_bytes());
        // Not a matter of rates here.
        let mut answer = request.send(&server).await;
        while answer.status == StatusCode::TOO_MANY_REQUESTS {
            tokio::time::sleep(Duration::from_millis(200)).await;
            answer = request.send(&server).await;
        }
        answer.expect(400, Code::Malformed);
    }
    query(&server, alice.id()).await.expect(404, Code::UnknownDevice);
    for path in ["/v1/keys/short", "/v1/keys/%00"] {
        get(&server, path).await.expect(400, Code::Malformed);
    }
    let later = text.replacen('{', "{\"later\":[[1],{\"a\":{}}],", 1);
    let request = alice.raw_request(&server, UPLOAD_PATH, later.into_bytes());
    request.send(&server).await.ok::<KeysUploaded>();
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let server = serve(limits(|l| l.request_body = 2000)).await;
    let alice = Publisher::new();
    let body = |length: usize| format!("{{}}{}", " ".repeat(length - 2)).into_bytes();
    let request = |length| alice.raw_request(&server, UPLOAD_PATH, body(length));
    request(2000).send(&server).await.expect(409, Code::DeviceKeysMissing);
    request(2001).send(&server).await.expect(413, Code::BodyTooLarge);
    // Without saying so at first.
    let large = request(2001);
    let head = format!(
        "POST {UPLOAD_PATH} HTTP/1.1\r\nhost: a\r\nauthorization: {}\r\n\
         transfer-encoding: chunked\r\n\r\n",
        large.header
    );
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    for chunk in large.body.chunks(500) {
        let chunk = [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat();
        stream.write_all(&chunk).await.unwrap();
    }
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn a_device_that_asks_too_often_is_told_when_to_come_again() {
    let server = serve(limits(|l| {
        (l.upload_burst, l.claim_burst) = (3, 2);
    }))
    .await;
    let (mut alice, bob) = (Publisher::new(), Publisher::new());
    // What others send in its name does not count.
    let mut forged = alice.request(&server, UPLOAD_PATH, &KeysUpload::default());
    forged.header.signature = Signature::from_bytes([1; 64]);
    for _ in 0..10 {
        forged.send(&server).await.expect(401, Code::WrongSignature);
    }
    for _ in 0..3 {
        alice.upload(&server, 1).await;
    }
    let keys = alice.keys(1);
    let answer = alice.request(&server, UPLOAD_PATH, &keys).send(&server).await;
    answer.expect(429, Code::RateLimited);
    assert_eq!(answer.headers[header::RETRY_AFTER], "1");
    for _ in 0..2 {
        bob.claim(&server, alice.id()).await.ok::<KeysClaimed>();
    }
    let answer = bob.claim(&server, alice.id()).await;
    answer.expect(429, Code::RateLimited);
    assert!(answer.headers.contains_key(header::RETRY_AFTER));
    // Others are not concerned, and claims are not uploads.
    Publisher::new().upload(&server, 1).await;
    alice.claim(&server, alice.id()).await.ok::<KeysClaimed>();
}

#[tokio::test]
async fn one_address_cannot_fill_the_directory_with_devices_of_its_own() {
    let server = serve(limits(|l| {
        (l.new_devices_per_address, l.new_devices_burst) = (1, 2);
    }))
    .await;
    let mut known = Publisher::new();
    known.upload(&server, 1).await;
    // Without device keys nothing is kept, so nothing counts.
    let keys = Publisher::new().keys(1);
    for _ in 0..3 {
        let nobody = Publisher::new();
        let upload = KeysUpload::default();
        let answer = nobody.request(&server, UPLOAD_PATH, &upload).send(&server).await;
        answer.expect(409, Code::DeviceKeysMissing);
        // Nor what another has signed.
        let answer = nobody.request(&server, UPLOAD_PATH, &keys).send(&server).await;
        answer.expect(400, Code::WrongKeySignature);
    }
    Publisher::new().upload(&server, 1).await;
    let mut third = Publisher::new();
    let keys = third.keys(1);
    let answer = third.request(&server, UPLOAD_PATH, &keys).send(&server).await;
    answer.expect(429, Code::RateLimited);
    assert_eq!(answer.headers[header::RETRY_AFTER], "60");
    query(&server, third.id()).await.expect(404, Code::UnknownDevice);
    // Whoever is known goes on, and so do other addresses.
    assert_eq!(known.upload(&server, 1).await, 2);
    let elsewhere = reqwest::Client::builder().no_proxy();
    let elsewhere =
        elsewhere.local_address(std::net::IpAddr::from([127, 0, 0, 2])).build().unwrap();
    let signed = third.request(&server, UPLOAD_PATH, &keys);
    let url = format!("http://{}{UPLOAD_PATH}", server.local_addr());
    let request = elsewhere.post(url).header(header::AUTHORIZATION, signed.header.to_string());
    let answer = Answer::of(request.body(signed.body).send().await.unwrap()).await;
    answer.ok::<KeysUploaded>();
}

#[tokio::test]
async fn nobody_can_use_up_all_one_time_keys_of_a_device() {
    let server = serve(limits(|l| l.claim_target_burst = 3)).await;
    let mut alice = Publisher::new();
    alice.upload(&server, 50).await;
    let (mut one_time, mut fallback) = (0, 0);
    let mut last = None;
    for _ in 0..20 {
        let claimer = Publisher::new();
        let request = claimer.request(&server, CLAIM_PATH, &KeysClaim { device: alice.id() });
        let claimed: KeysClaimed = request.send(&server).await.ok();
        assert_eq!(claimed.verify(&alice.id()), Ok(()));
        match claimed.key {
            ClaimedKey::OneTimeKey(_) => one_time += 1,
            ClaimedKey::FallbackKey(_) => {
                fallback += 1;
                last = Some(request);
            }
        }
    }
    // One more each second that this takes.
    assert!((3..10).contains(&one_time) && fallback > 10, "{one_time} {fallback}");
    assert_eq!(left(&server, alice.id()).await, 50 - one_time);
    last.unwrap().send(&server).await.expect(409, Code::Replayed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_claimers_at_once_get_each_key_once() {
    let server = serve(limits(|l| {
        (l.claim_target_burst, l.one_time_keys) = (1000, 100);
        // All of them have one address here.
        (l.request_rate, l.accept_rate, l.sockets_per_address) = (0, 0, 0);
    }))
    .await;
    let mut alice = Publisher::new();
    alice.upload(&server, 100).await;
    let (device, http) = (alice.id(), http());
    let mut claimers = JoinSet::new();
    for _ in 0..500 {
        let claimer = Publisher::new();
        let request = claimer.request(&server, CLAIM_PATH, &KeysClaim { device });
        let url = format!("http://{}{CLAIM_PATH}", server.local_addr());
        let request = http
            .post(url)
            .header(header::AUTHORIZATION, request.header.to_string())
            .body(request.body);
        claimers.spawn(async move { Answer::of(request.send().await.unwrap()).await });
    }
    let (mut numbers, mut fallbacks) = (HashSet::new(), 0);
    while let Some(answer) = claimers.join_next().await {
        match answer.unwrap().ok::<KeysClaimed>().key {
            ClaimedKey::OneTimeKey(key) => assert!(numbers.insert(key.number), "{key:?} twice"),
            ClaimedKey::FallbackKey(_) => fallbacks += 1,
        }
    }
    assert_eq!((numbers.len(), fallbacks), (100, 400));
    assert_eq!(left(&server, device).await, 0);
}

#[tokio::test]
async fn the_document_is_served_and_each_of_its_routes_is_there() {
    let server = serve(Limits::default()).await;
    let answer = get(&server, "/v1/openapi.json").await;
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json");
    let document: serde_json::Value = answer.ok();
    let mut routes = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let path = path.replace("{device}", &Publisher::new().id().to_string());
            let url = format!("http://{}{path}", server.local_addr());
            let method = method.to_uppercase().parse().unwrap();
            let answer = Answer::of(http().request(method, url).send().await.unwrap()).await;
            // Whatever it is: the directory says it, and not the router.
            assert_ne!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
            assert!(serde_json::from_slice::<serde_json::Value>(&answer.body).is_ok(), "{path}");
            routes += 1;
        }
    }
    assert_eq!(routes, 4);
}
