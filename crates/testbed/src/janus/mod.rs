//! Media through a real SFU: a publisher and a subscriber of this library, and between them the
//! VideoRoom of a Janus that runs already, with the keys of a real key service.

mod case;
mod media;
mod network;
mod peer;
mod publisher;
mod report;
mod signalling;
mod subscriber;

use std::{net::IpAddr, process::ExitCode, sync::Arc, time::Duration};

use anyhow::ensure;
use serde_json::json;
use tokio::task::JoinSet;

pub(crate) use self::media::ivf_frames;
use self::{
    case::{Case, Stage},
    media::Studio,
    report::Report,
};
use crate::{
    harness::{block_on, store::StoreKind},
    live::room::Room,
};

/// Losses in per cent, of a full run and of a short one.
const LOSSES: [u32; 3] = [0, 2, 10];
const SHORT_LOSSES: [u32; 2] = [0, 10];

/// Sends every codec through the SFU Janus, with loss, and compares what arrives.
///
/// A publisher encrypts and sends files that ffmpeg makes; Janus relays them in a VideoRoom that
/// wants end-to-end encryption; a subscriber decrypts, and every frame must be equal to one that
/// was sent. Of a simulcast, each of the three layers is asked for in turn. On both ways each
/// packet takes 20 ms, and a share of them is lost, in both directions.
///
/// Fails if a frame does not open or differs, if too few arrive, or if a loss is not recovered.
/// `scripts/testbed-janus` starts a Janus for it in a network of its own.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Arguments {
    /// HTTP API of Janus
    #[arg(long, default_value = "http://127.0.0.1:8088/janus")]
    janus: String,
    /// Address for media, on both sides. Janus takes none of the loopback interface
    #[arg(long, default_value = "10.77.0.1")]
    address: IpAddr,
    /// Only these codecs: vp8, vp9, h264, av1, opus
    #[arg(long, value_delimiter = ',')]
    codec: Vec<String>,
    /// Only these cases: codec, x3 for simulcast, and loss, as in vp8x3-10
    #[arg(long, value_delimiter = ',')]
    case: Vec<String>,
    /// Seconds of a case
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Cases at a time. Their results come as they end
    #[arg(long, default_value_t = 1)]
    at_once: usize,
    /// Three seconds a case, and fewer losses
    #[arg(long)]
    short: bool,
    /// Print one JSON object for each case
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    block_on(perform(arguments))
}

async fn perform(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let few = arguments.short && arguments.case.is_empty();
    let losses: &[u32] = if few { &SHORT_LOSSES } else { &LOSSES };
    let mut cases = Case::all(losses);
    let any = |wanted: &[String], name: &str| wanted.is_empty() || wanted.iter().any(|w| w == name);
    for codec in &arguments.codec {
        ensure!(cases.iter().any(|case| case::spelled(case.codec) == *codec), "no codec {codec}");
    }
    for name in &arguments.case {
        ensure!(cases.iter().any(|case| case.name() == *name), "no case {name}");
    }
    cases.retain(|case| any(&arguments.codec, &case::spelled(case.codec)));
    cases.retain(|case| any(&arguments.case, &case.name()));

    // Two devices for each case, one after the other.
    let room = Room::open(2 * cases.len(), StoreKind::Memory).await?;
    let seconds = if arguments.short { 3.0 } else { arguments.seconds };
    let stage = Arc::new(Stage {
        janus: arguments.janus.clone(),
        address: arguments.address,
        invite: room.invite.clone(),
        duration: Duration::try_from_secs_f64(seconds)?,
    });
    let mut studio = Studio::open()?;
    let code = case::refusal(&stage).await?;
    if arguments.json {
        println!("{}", json!({ "case": "publisher-without-e2ee", "refused_with": code }));
    } else {
        println!("a publisher without e2ee is refused with code {code}");
        Report::print_head();
    }
    let mut kept = true;
    let (mut running, mut waiting) = (JoinSet::new(), cases.into_iter());
    loop {
        while running.len() < arguments.at_once.max(1)
            && let Some(case) = waiting.next()
        {
            let (stage, files) = (Arc::clone(&stage), case.files(&mut studio));
            running.spawn(async move {
                let report = async { case.run(&stage, files?).await };
                (case.name(), report.await)
            });
        }
        let Some(done) = running.join_next().await else { break };
        let (name, report) = done?;
        match report {
            Ok(report) => {
                report.print(arguments.json)?;
                kept &= report.broken().is_empty();
                for broken in report.broken() {
                    eprintln!("{name}: not kept: {broken}");
                }
            }
            Err(error) => {
                kept = false;
                eprintln!("{name}: failed: {error:#}");
            }
        }
    }
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
