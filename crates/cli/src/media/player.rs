use std::{future::pending, time::Duration};

use olmcast::{
    media,
    primitives::{Codec, Timestamp},
    rtc::{EncryptedSender, SendError},
};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{AudioFile, VideoFile};

/// Requests that come sooner after the last jump are answered by it already.
const JUMP_INTERVAL: Duration = Duration::from_millis(300);

/// A frame that was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Played {
    pub(crate) codec: Codec,
    pub(crate) rtp_timestamp: u32,
    /// Which of the file's frames it is.
    pub(crate) index: usize,
    pub(crate) at: Timestamp,
}

/// One file that is played over and over.
struct Track<'a> {
    sender: &'a mut EncryptedSender,
    frames: &'a [Vec<u8>],
    key_frames: Vec<usize>,
    codec: Codec,
    ticks: u32,
    next: usize,
    jump: bool,
    jumped: Option<Instant>,
}

impl<'a> Track<'a> {
    fn new(
        sender: &'a mut EncryptedSender,
        codec: Codec,
        frames: &'a [Vec<u8>],
        ticks: u32,
    ) -> Self {
        let key_frames =
            (0..frames.len()).filter(|&i| media::is_key_frame(codec, &frames[i])).collect();
        Self { sender, frames, key_frames, codec, ticks, next: 0, jump: false, jumped: None }
    }

    /// Sends the next frame: the file's next key frame if one was asked for. What an encoder
    /// would do at once, a file can only do by jumping.
    async fn send(&mut self, count: u32, now: Timestamp) -> Result<Option<Played>, SendError> {
        if std::mem::take(&mut self.jump) {
            let later = self.key_frames.iter().copied().find(|&index| index >= self.next);
            self.next = later.or(self.key_frames.first().copied()).unwrap_or(self.next);
            self.jumped = Some(Instant::now());
        }
        let index = self.next;
        self.next = (self.next + 1) % self.frames.len();
        let rtp_timestamp = count.wrapping_mul(self.ticks);
        match self.sender.send(&self.frames[index], rtp_timestamp).await {
            Ok(()) => Ok(Some(Played { codec: self.codec, rtp_timestamp, index, at: now })),
            Err(SendError::Encrypt(error)) => {
                tracing::warn!(%error, "a frame was dropped");
                // What follows could not be decoded without it.
                self.jump = true;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn key_frame_asked(&mut self) -> bool {
        let answered = self.jumped.is_some_and(|at| at.elapsed() < JUMP_INTERVAL);
        self.jump |= !answered;
        !answered
    }
}

/// Plays the files over and over, in real time, until a sender fails.
pub(crate) async fn play(
    video: Option<(&mut EncryptedSender, &VideoFile)>,
    audio: Option<(&mut EncryptedSender, &AudioFile)>,
    now: impl Fn() -> Timestamp,
    mut told: impl FnMut(Progress),
) -> Result<(), SendError> {
    let ticks = |codec: Codec, interval: Duration| {
        (f64::from(codec.clock_rate()) * interval.as_secs_f64()).round() as u32
    };
    let clock = |every: Option<Duration>| {
        let mut clock = interval(every.unwrap_or(Duration::from_secs(3600)));
        clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
        clock
    };
    let mut video_clock = clock(video.as_ref().map(|(_, file)| file.interval));
    let mut audio_clock = clock(audio.as_ref().map(|(_, file)| file.interval));
    let requests = video.as_ref().map(|(sender, _)| sender.key_frame_requests());
    let mut video = video.map(|(sender, file)| {
        Track::new(sender, file.codec, &file.frames, ticks(file.codec, file.interval))
    });
    let mut audio = audio.map(|(sender, file)| {
        Track::new(sender, Codec::Opus, &file.packets, ticks(Codec::Opus, file.interval))
    });
    let (mut video_count, mut audio_count) = (0, 0);
    loop {
        let asked = async {
            match &requests {
                Some(requests) => requests.next().await,
                None => pending().await,
            }
        };
        tokio::select! {
            _ = video_clock.tick() => if let Some(track) = &mut video {
                if let Some(played) = track.send(video_count, now()).await? {
                    told(Progress::Played(played));
                }
                video_count = video_count.wrapping_add(1);
            },
            _ = audio_clock.tick() => if let Some(track) = &mut audio {
                if let Some(played) = track.send(audio_count, now()).await? {
                    told(Progress::Played(played));
                }
                audio_count = audio_count.wrapping_add(1);
            },
            () = asked => if let Some(track) = &mut video
                && track.key_frame_asked()
            {
                told(Progress::KeyFrameAsked);
            },
        }
    }
}

/// What the player tells while it plays.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Progress {
    Played(Played),
    KeyFrameAsked,
}
