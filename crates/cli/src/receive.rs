//! The media of a subscription, from the relay.

use std::future::pending;

use olmcast::{
    client::Subscription,
    media::FrameDecryptor,
    primitives::Codec,
    rtc::{
        ConnectError, Connection, ConnectionState, EncryptedReceiver, ReceivedFrame, ReceiverStats,
        connect_subscriber,
    },
};

/// A media connection, with a receiver for each track.
pub(crate) struct Reception {
    pub(crate) connection: Connection,
    /// The first track of each kind, with its codec.
    video: Option<(Codec, EncryptedReceiver)>,
    audio: Option<(Codec, EncryptedReceiver)>,
}

impl Reception {
    /// Connects to where the publisher says that the media is.
    pub(crate) async fn connect(subscription: &Subscription) -> anyhow::Result<Self> {
        let decryptors = subscription.decryptors().await?;
        Ok(Self::connect_to(&subscription.offer().content.media, decryptors).await?)
    }

    /// Connects to a WHEP address.
    pub(crate) async fn connect_to(
        media: &str,
        decryptors: Vec<FrameDecryptor>,
    ) -> Result<Self, ConnectError> {
        let codecs: Vec<_> = decryptors.iter().map(|decryptor| decryptor.codec()).collect();
        let (connection, receivers) = connect_subscriber(media, decryptors).await?;
        let mut reception = Self { connection, video: None, audio: None };
        for (codec, receiver) in codecs.into_iter().zip(receivers) {
            let place = if codec.is_video() { &mut reception.video } else { &mut reception.audio };
            place.get_or_insert((codec, receiver));
        }
        Ok(reception)
    }

    /// The next frame of any track; `None` once the connection is over.
    pub(crate) async fn next(&mut self) -> Option<(Codec, ReceivedFrame)> {
        let mut state = self.connection.state();
        tokio::select! {
            biased;
            frame = next_of(&mut self.video) => Some(frame),
            frame = next_of(&mut self.audio) => Some(frame),
            _ = state.wait_for(|state: &ConnectionState| state.is_over()) => None,
        }
    }

    /// The counters of video and audio.
    pub(crate) fn stats(&self) -> [ReceiverStats; 2] {
        [&self.video, &self.audio]
            .map(|track| track.as_ref().map(|(_, receiver)| receiver.stats()).unwrap_or_default())
    }
}

async fn next_of(track: &mut Option<(Codec, EncryptedReceiver)>) -> (Codec, ReceivedFrame) {
    match track {
        Some((codec, receiver)) => match receiver.next().await {
            Some(frame) => (*codec, frame),
            // That it has ended, the connection's state tells as well.
            None => pending().await,
        },
        None => pending().await,
    }
}
