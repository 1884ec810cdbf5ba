//! What the demo showed.

use std::{fmt, time::Duration};

use anyhow::Context;
use olmcast::{
    endpoint::RotationCause,
    primitives::{Codec, Timestamp},
};
use serde::Serialize;

use super::{
    PublisherLog,
    evidence::Evidence,
    locked,
    viewer::{Opened, Viewer},
};
use crate::publish::Media;

/// The result of a demo: its JSON form is part of the command's interface.
#[derive(Serialize)]
pub(crate) struct Report {
    media: Sent,
    subscribers: Subscribers,
    cutover_ms: CutOver,
    relay: AtRelay,
}

#[derive(Serialize)]
struct Sent {
    video_frames: usize,
    audio_frames: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "UPPERCASE")]
struct Subscribers {
    a: Watched,
    b: Leaver,
    c: Joiner,
}

#[derive(Serialize)]
struct Watched {
    video_opened: usize,
    audio_opened: usize,
    /// Opened frames that are not the file's own bytes.
    mismatched: usize,
    undecryptable: u64,
    /// The longest time without a picture that is the file's own, from when it asked for the
    /// stream until it was to see no more.
    longest_gap_ms: u64,
}

#[derive(Serialize)]
struct Leaver {
    #[serde(flatten)]
    watched: Watched,
    #[serde(flatten)]
    after: AfterCutOver,
}

#[derive(Serialize)]
struct Joiner {
    #[serde(flatten)]
    watched: Watched,
    first_frame_ms: Option<u64>,
    frames_before_join: usize,
    opened_before_join: usize,
    #[serde(flatten)]
    after: AfterCutOver,
}

#[derive(Serialize)]
struct AfterCutOver {
    frames_after_cutover: usize,
    opened_after_cutover: usize,
}

#[derive(Serialize)]
struct CutOver {
    leave: u64,
    kick: u64,
}

#[derive(Serialize)]
struct AtRelay {
    packets: usize,
    plaintext_matches: usize,
}

impl Report {
    /// `viewers` are A, B and C; `removed` is when B left and C was kicked, `end` when all ended.
    pub(crate) fn new(
        media: &Media,
        log: &PublisherLog,
        evidence: &Evidence,
        viewers: [&Viewer; 3],
        removed: [Timestamp; 2],
        end: Timestamp,
    ) -> anyhow::Result<Self> {
        let [a, b, c] = viewers;
        let cut_over = |cause: RotationCause, removed: Timestamp| {
            log.rotations
                .iter()
                .find(|(why, _, at)| *why == cause && *at >= removed)
                .map(|&(_, position, at)| (position, at))
                .with_context(|| format!("no new key was made after the {cause:?}"))
        };
        let (leave, left) = cut_over(RotationCause::Leave, removed[0])?;
        let (kick, kicked) = cut_over(RotationCause::Kick, removed[1])?;
        let after = |viewer, position, at| {
            let (frames, opened) = evidence.try_all(viewer, |frame| frame.is_after(position, at));
            AfterCutOver { frames_after_cutover: frames, opened_after_cutover: opened }
        };
        let first = locked(&c.log).first.context("C was given no key")?;
        let before = evidence.try_all(c, |frame| frame.is_before(first, c.asked));
        let first_frame = {
            let log = locked(&c.log);
            log.opened.iter().find(|frame| frame.codec.is_video()).map(|frame| frame.at)
        };
        let count = |codec| log.played.keys().filter(|(played, _)| *played == codec).count();
        Ok(Self {
            media: Sent { video_frames: count(Codec::Vp8), audio_frames: count(Codec::Opus) },
            subscribers: Subscribers {
                a: watched(media, log, a, end),
                b: Leaver {
                    watched: watched(media, log, b, removed[0]),
                    after: after(b, leave, left),
                },
                c: Joiner {
                    watched: watched(media, log, c, removed[1]),
                    first_frame_ms: first_frame.map(|at| millis(at.since(c.asked))),
                    frames_before_join: before.0,
                    opened_before_join: before.1,
                    after: after(c, kick, kicked),
                },
            },
            cutover_ms: CutOver {
                leave: millis(left.since(removed[0])),
                kick: millis(kicked.since(removed[1])),
            },
            relay: AtRelay {
                packets: evidence.packets,
                plaintext_matches: evidence.plaintext_matches(media),
            },
        })
    }

    /// The promises, and whether each was kept.
    fn promises(&self) -> Vec<(String, bool)> {
        let Subscribers { a, b, c } = &self.subscribers;
        let (leave, kick) = (self.cutover_ms.leave, self.cutover_ms.kick);
        let mismatched = a.mismatched + b.watched.mismatched + c.watched.mismatched;
        let refused = |who: &str, after: &AfterCutOver| {
            let AfterCutOver { frames_after_cutover: frames, opened_after_cutover: opened } = after;
            (format!("{who} opens {opened} of {frames} frames"), *frames > 0 && *opened == 0)
        };
        let (before, opened) = (c.frames_before_join, c.opened_before_join);
        vec![
            (
                format!("A sees a picture at least every second ({} ms)", a.longest_gap_ms),
                a.video_opened > 0 && a.longest_gap_ms <= 1000,
            ),
            (
                format!("every opened frame is the file's own ({mismatched} are not)"),
                mismatched == 0,
            ),
            refused("after it left, B", &b.after),
            refused("after it was kicked, C", &c.after),
            (
                format!("from before it joined, C opens {opened} of {before} frames"),
                before > 0 && opened == 0,
            ),
            ("C saw pictures while it was there".to_owned(), c.watched.video_opened > 0),
            (format!("the key changed {leave} ms after B left (2000 at most)"), leave <= 2000),
            (format!("the key changed {kick} ms after C was kicked (1000 at most)"), kick <= 1000),
            (
                format!(
                    "in {} packets, the relay saw {} runs of plain media",
                    self.relay.packets, self.relay.plaintext_matches
                ),
                self.relay.packets > 0 && self.relay.plaintext_matches == 0,
            ),
        ]
    }

    /// Those that were not kept.
    pub(crate) fn broken_promises(&self) -> Vec<String> {
        self.promises().into_iter().filter(|(_, kept)| !kept).map(|(text, _)| text).collect()
    }
}

fn watched(media: &Media, publisher: &PublisherLog, viewer: &Viewer, until: Timestamp) -> Watched {
    let log = locked(&viewer.log);
    let is_genuine = |frame: &Opened| {
        let played = publisher.played.get(&(frame.codec, frame.rtp_timestamp));
        let file = match frame.codec {
            Codec::Vp8 => media.video.as_ref().map(|file| &file.frames),
            _ => media.audio.as_ref().map(|file| &file.packets),
        };
        played.zip(file).is_some_and(|(played, file)| file[played.index] == frame.data)
    };
    let opened = |codec| log.opened.iter().filter(|frame| frame.codec == codec).count();
    let pictures = log.opened.iter().filter(|frame| frame.codec.is_video() && is_genuine(frame));
    let times = pictures.map(|frame| frame.at).filter(|at| *at < until).chain([until]);
    let mut longest = Duration::ZERO;
    times.fold(viewer.asked, |before, at| {
        longest = longest.max(at.since(before));
        at
    });
    Watched {
        video_opened: opened(Codec::Vp8),
        audio_opened: opened(Codec::Opus),
        mismatched: log.opened.iter().filter(|frame| !is_genuine(frame)).count(),
        undecryptable: log.undecryptable,
        longest_gap_ms: millis(longest),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Subscribers { a, b, c } = &self.subscribers;
        writeln!(
            f,
            "\nThe publisher sent {} pictures and {} audio packets.\n",
            self.media.video_frames, self.media.audio_frames
        )?;
        writeln!(
            f,
            "   {:>8} {:>8} {:>10} {:>12} {:>13}  ",
            "pictures", "audio", "not equal", "not opened", "longest gap"
        )?;
        let rows = [
            ("A", a, "stayed"),
            ("B", &b.watched, "left at 6 s"),
            ("C", &c.watched, "joined at 3 s, kicked at 9 s"),
        ];
        for (name, row, what) in rows {
            writeln!(
                f,
                "{name}  {:>8} {:>8} {:>10} {:>12} {:>10} ms  {what}",
                row.video_opened,
                row.audio_opened,
                row.mismatched,
                row.undecryptable,
                row.longest_gap_ms,
            )?;
        }
        writeln!(f)?;
        if let Some(first) = c.first_frame_ms {
            writeln!(f, "C saw its first picture {first} ms after it asked for the stream.\n")?;
        }
        for (text, kept) in self.promises() {
            writeln!(f, "{}  {text}", if kept { "kept  " } else { "BROKEN" })?;
        }
        Ok(())
    }
}
