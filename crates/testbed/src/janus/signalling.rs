use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context, bail};
use serde_json::{Value, json};

/// How long Janus may take for anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// A handle of the VideoRoom plugin, in a session of its own, over HTTP with long polls.
///
/// What Janus sends while nobody waits for an answer is dropped with the session.
pub(super) struct VideoRoom {
    http: reqwest::Client,
    session: String,
    handle: String,
    /// Whether Janus has said that media can flow.
    up: AtomicBool,
}

/// What Janus refused, with the plugin's code.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) code: u64,
    reason: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Janus refuses ({}): {}", self.code, self.reason)
    }
}

impl std::error::Error for Refused {}

/// The plugin's answer, and the SDP that came with it.
pub(super) struct Answer {
    pub(super) data: Value,
    pub(super) sdp: Option<String>,
}

impl VideoRoom {
    /// `url` is that of the HTTP API.
    pub(super) async fn attach(url: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(PATIENCE).build()?;
        let id = |answer: &Value| {
            answer.pointer("/data/id").and_then(Value::as_u64).context("Janus names no id")
        };
        let created = post(&http, url, json!({ "janus": "create" })).await?;
        let session = format!("{url}/{}", id(&created)?);
        let attach = json!({ "janus": "attach", "plugin": "janus.plugin.videoroom" });
        let attached = post(&http, &session, attach).await?;
        let handle = format!("{session}/{}", id(&attached)?);
        Ok(Self { http, session, handle, up: AtomicBool::new(false) })
    }

    /// Asks the plugin. The description goes with the flag that says that its media is encrypted
    /// end to end, or without.
    pub(super) async fn ask(
        &self,
        body: Value,
        description: Option<(&str, &str, bool)>,
    ) -> anyhow::Result<Answer> {
        let transaction = format!("{:016x}", rand::random::<u64>());
        let mut message = json!({ "janus": "message", "transaction": transaction, "body": body });
        if let Some((kind, sdp, e2ee)) = description {
            message["jsep"] = json!({ "type": kind, "sdp": sdp, "trickle": false });
            if e2ee {
                message["jsep"]["e2ee"] = json!(true);
            }
        }
        let answer = post(&self.http, &self.handle, message).await?;
        if answer["janus"] != "ack" {
            return read(answer);
        }
        let answered = async {
            loop {
                let event = self.event().await?;
                if event["transaction"] == transaction.as_str() {
                    return read(event);
                }
            }
        };
        let answered = tokio::time::timeout(PATIENCE, answered).await;
        answered.with_context(|| format!("Janus does not answer {body}"))?
    }

    /// Returns when Janus says that media can flow: it connects a little later than its peer, and
    /// a publisher is no feed before.
    pub(super) async fn up(&self) -> anyhow::Result<()> {
        let up = async {
            while !self.up.load(Ordering::Relaxed) {
                self.event().await?;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(PATIENCE, up).await.context("Janus does not connect")?
    }

    async fn event(&self) -> anyhow::Result<Value> {
        let event = self.http.get(format!("{}?maxev=1", self.session)).send().await?;
        let event: Value = serde_json::from_str(&event.text().await?)?;
        tracing::debug!("{event}");
        if event["janus"] == "webrtcup" {
            self.up.store(true, Ordering::Relaxed);
        }
        Ok(event)
    }

    /// Ends the session, and with it the connection to Janus.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        post(&self.http, &self.session, json!({ "janus": "destroy" })).await?;
        Ok(())
    }
}

async fn post(http: &reqwest::Client, url: &str, mut message: Value) -> anyhow::Result<Value> {
    if message["transaction"].is_null() {
        message["transaction"] = json!("one");
    }
    let answer = http.post(url).body(message.to_string()).send().await;
    let answer = answer.with_context(|| format!("no Janus at {url}"))?;
    let answer: Value = serde_json::from_str(&answer.text().await?)?;
    if answer["janus"] == "error" {
        bail!("Janus: {}", answer["error"]);
    }
    Ok(answer)
}

fn read(answer: Value) -> anyhow::Result<Answer> {
    let data = answer.pointer("/plugindata/data").cloned().unwrap_or_default();
    if let Some(code) = data["error_code"].as_u64() {
        let reason = data["error"].as_str().unwrap_or_default().to_owned();
        return Err(Refused { code, reason }.into());
    }
    let sdp = answer.pointer("/jsep/sdp").and_then(Value::as_str).map(str::to_owned);
    Ok(Answer { data, sdp })
}
