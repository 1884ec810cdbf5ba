//! What a simulation cannot show: the key service, the sockets and the clocks are real.
//!
//! A command starts the service on a free port of the loopback interface, and connects publishers
//! and subscribers to it, all in this process. There is no WebRTC: frames go in memory from the
//! publisher's encryptor to each subscriber's decryptor, a few milliseconds later.

pub(crate) mod churn;
pub(crate) mod joins;
pub(crate) mod restart;

mod camera;
mod process;
pub(crate) mod room;
mod viewer;

use std::{process::ExitCode, time::Duration};

use serde::Serialize;

use crate::report::Percentiles;

/// What users put up with: later than this, a stream counts as not working.
const BOUND: Duration = Duration::from_secs(2);

/// How long the subscribers took to see their first frame.
#[derive(Serialize)]
struct FirstFrames {
    subscribers: usize,
    /// Subscribers that saw none at all in the time they had.
    failed: usize,
    first_frame_ms: Percentiles,
}

impl FirstFrames {
    /// `times` of those who saw one.
    fn new(subscribers: usize, mut times: Vec<Duration>) -> Self {
        let failed = subscribers.saturating_sub(times.len());
        Self { subscribers, failed, first_frame_ms: Percentiles::of(&mut times) }
    }

    /// Prints it, and says whether it is within the bound.
    fn print(&self, json: bool, from: &str) -> anyhow::Result<ExitCode> {
        let Percentiles { p50, p99, max } = self.first_frame_ms;
        if json {
            println!("{}", serde_json::to_string(self)?);
        } else {
            println!("{from} to the first frame, {} subscribers:", self.subscribers);
            println!("  p50 {p50} ms   p99 {p99} ms   max {max} ms   failed {}", self.failed);
        }
        let kept = self.failed == 0 && u128::from(p99) <= BOUND.as_millis();
        if !kept {
            eprintln!("not kept: everybody sees a frame, 99 of 100 within {BOUND:?}");
        }
        Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Runs a command's future on all cores.
pub(crate) fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(future);
    // What still runs has nothing more to say.
    runtime.shutdown_background();
    result
}
