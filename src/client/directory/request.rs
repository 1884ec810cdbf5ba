use std::{sync::atomic::Ordering, time::Duration};

use reqwest::{Method, Response, StatusCode, header::AUTHORIZATION, redirect::Policy};
use serde::de::DeserializeOwned;
use tokio::time::sleep;

use super::{DirectoryError, Inner};
use crate::{
    client::Trust,
    clock,
    primitives::{Timestamp, Transport},
    protocol::directory::{
        Authorization, DirectoryErrorCode as Code, DirectoryRefusal, DirectoryRequest,
    },
};

/// How often a request is tried, and how long is waited in between: doubled, and spread by a fifth.
const TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// How long one try may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer that is read.
const LONGEST: usize = 64 * 1024;
/// The service's words are cut to so many characters.
const LONGEST_MESSAGE: usize = 500;

/// With these, the service says in a word that it has no time for this address now.
const SOON: [StatusCode; 2] = [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT];

/// A request.
#[derive(Debug)]
pub(super) enum Ask<'a> {
    Get(&'a str),
    /// Signed.
    Post(&'a str, Vec<u8>),
}

/// What came of one try.
enum Tried {
    Answer(Vec<u8>),
    Refusal(DirectoryRefusal),
    /// It may help to try again.
    Lost(String),
}

impl Inner {
    /// Asks until there is an answer, with a nonce of its own each time: an answer may have been
    /// lost on the way back. That is safe: keys that are uploaded twice are passed over by their
    /// numbers, and a key that is claimed in vain is only one less.
    pub(super) async fn ask<T: DeserializeOwned>(&self, ask: Ask<'_>) -> Result<T, DirectoryError> {
        let (mut tries, mut pause, mut corrected) = (1, FIRST_PAUSE, false);
        loop {
            let lost = match self.once(&ask).await? {
                Tried::Answer(body) => {
                    return serde_json::from_slice(&body).map_err(|_| DirectoryError::Unreadable);
                }
                Tried::Refusal(refusal) => match (refusal.error, refusal.server_time) {
                    // Once: the service could otherwise go on like this for ever.
                    (Code::ClockSkew, Some(time)) if !corrected => {
                        self.set_clock(Timestamp::from_unix_millis(time));
                        corrected = true;
                        continue;
                    }
                    (Code::Unavailable, _) if tries < TRIES => refusal.message,
                    _ => return Err(refused(refusal)),
                },
                Tried::Lost(reason) if tries < TRIES => reason,
                Tried::Lost(reason) => return Err(DirectoryError::Unreachable(reason)),
            };
            tracing::debug!(service = %self.service, lost, "asking the directory again");
            sleep(pause.mul_f64(rand::random_range(0.8..1.2))).await;
            (tries, pause) = (tries + 1, pause * 2);
        }
    }

    async fn once(&self, ask: &Ask<'_>) -> Result<Tried, DirectoryError> {
        let (path, method) = match ask {
            Ask::Get(path) => (path, Method::GET),
            Ask::Post(path, _) => (path, Method::POST),
        };
        let scheme = match self.service.transport() {
            Transport::Tls => "https",
            Transport::Plain => "http",
        };
        let url = format!("{scheme}://{}{path}", self.service.host());
        let mut request = self.http()?.request(method, url);
        if let Ask::Post(path, body) = ask {
            let authorization = self.authorize("POST", path, body)?;
            request = request.header(AUTHORIZATION, authorization.to_string()).body(body.clone());
        }
        match request.send().await {
            Ok(response) => read(response).await,
            Err(error) => Ok(Tried::Lost(causes(&error))),
        }
    }

    fn authorize(
        &self,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> Result<Authorization, DirectoryError> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|_| DirectoryError::Randomness)?;
        let ahead = self.ahead.load(Ordering::Relaxed);
        let now = clock::now().unix_millis().saturating_add_signed(ahead);
        let (time, server) = (Timestamp::from_unix_millis(now), self.service.host());
        let request = DirectoryRequest { method, path, server, time, nonce: &nonce, body };
        let signature = request.sign_with(|form| self.signer.sign(form));
        let (device, server) = (self.signer.device(), server.to_owned());
        Ok(Authorization { device, server, time, nonce, signature })
    }

    /// Only what is signed for this service is signed by its clock.
    fn set_clock(&self, theirs: Timestamp) {
        let ours = clock::now().unix_millis();
        let ahead = i128::from(theirs.unix_millis()) - i128::from(ours);
        self.ahead.store(i64::try_from(ahead).unwrap_or(0), Ordering::Relaxed);
        tracing::info!(service = %self.service, ahead, "the service's clock differs from ours");
    }

    /// Made when it is first needed.
    fn http(&self) -> Result<&reqwest::Client, DirectoryError> {
        if let Some(http) = self.http.get() {
            return Ok(http);
        }
        let (trust, tls_only) = match self.service.transport() {
            Transport::Tls => (self.trust.clone(), true),
            // So that it needs no certificates.
            Transport::Plain => (Trust::nobody(), false),
        };
        let trust = trust.client_config().map_err(|e| DirectoryError::Trust(e.to_string()))?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured((*trust).clone())
            .https_only(tls_only)
            // A request is signed for one path of one service.
            .redirect(Policy::none())
            // Like the connection of the device itself.
            .no_proxy()
            .timeout(TIMEOUT)
            .build()
            .map_err(|error| DirectoryError::Trust(causes(&error)))?;
        Ok(self.http.get_or_init(|| http))
    }
}

async fn read(mut response: Response) -> Result<Tried, DirectoryError> {
    let (status, mut body) = (response.status(), Vec::new());
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > LONGEST => {
                return Err(DirectoryError::Unreadable);
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(error) => return Ok(Tried::Lost(causes(&error))),
        }
    }
    if status == StatusCode::OK {
        return Ok(Tried::Answer(body));
    }
    match serde_json::from_slice(&body) {
        Ok(refusal) => Ok(Tried::Refusal(refusal)),
        // Something in between, perhaps, that will find its way again.
        Err(_) if status.is_server_error() || SOON.contains(&status) => {
            Ok(Tried::Lost(format!("HTTP {}", status.as_u16())))
        }
        Err(_) => Err(DirectoryError::NoDirectory(status.as_u16())),
    }
}

fn refused(refusal: DirectoryRefusal) -> DirectoryError {
    let message = refusal.message.chars().take(LONGEST_MESSAGE).collect();
    DirectoryError::Refused { code: refusal.error, message }
}

/// An error and what led to it. The address is left out: whoever asked knows it.
fn causes(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text = cause.to_string();
        next = cause.source();
    }
    if text.is_empty() { error.to_string() } else { text }
}
