//! Opus in OGG (RFC 7845).

use std::{
    io::{self, Cursor, Write},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use ogg::{PacketReader, PacketWriteEndInfo, PacketWriter};

use super::{
    found::{Found, Wanted},
    timeline::Timeline,
};

/// Any number will do: there is one stream in the file.
const SERIAL: u32 = 1;
/// A packet of the usual length, in samples.
const USUAL: u64 = 960;
/// Samples in a second, whatever the encoder's rate was.
const CLOCK: u32 = 48_000;

/// An Opus file, read whole.
pub(crate) struct AudioFile {
    /// Its packets, without the two headers.
    pub(crate) packets: Vec<Vec<u8>>,
    /// From one packet to the next.
    pub(crate) interval: Duration,
}

impl AudioFile {
    /// Reads an OGG file.
    pub(crate) fn parse(bytes: &[u8]) -> anyhow::Result<Self> {
        Found::of(bytes, Wanted::Audio)?;
        let mut reader = PacketReader::new(Cursor::new(bytes));
        let (mut packets, mut others) = (Vec::new(), None);
        let mut stream = None;
        while let Some(packet) = reader.read_packet().context("it is damaged or cut short")? {
            if stream.is_none() && packet.data.starts_with(b"OpusHead") {
                check_head(&packet.data)?;
                stream = Some(packet.stream_serial());
            }
            if stream == Some(packet.stream_serial()) {
                packets.push(packet.data);
            } else {
                others = others.or(other_codec(&packet.data));
            }
        }
        if stream.is_none() {
            bail!(
                "it holds {}, not Opus; encode it anew: \
                 ffmpeg -i FILE -vn -c:a libopus -frame_duration 20 audio.ogg",
                others.unwrap_or("nothing that is known here")
            );
        }
        packets.drain(..packets.len().min(2));
        packets.retain(|packet| !packet.is_empty());
        let first = packets.first().context("it holds no packet")?;
        let interval = duration(first).context("its packets are damaged")?;
        ensure!(
            packets.iter().all(|packet| duration(packet) == Some(interval)),
            "its packets are of different lengths; encode it anew: \
             ffmpeg -i FILE -vn -c:a libopus -frame_duration 20 audio.ogg"
        );
        Ok(Self { packets, interval })
    }
}

/// Refuses what WebRTC has no name for (RFC 7845 §5.1, RFC 7587 §4.1).
fn check_head(head: &[u8]) -> anyhow::Result<()> {
    let channels = *head.get(9).context("its header is cut short")?;
    ensure!(
        (1..=2).contains(&channels),
        "it has {channels} channels; make two of them: \
         ffmpeg -i FILE -vn -ac 2 -c:a libopus -frame_duration 20 audio.ogg"
    );
    Ok(())
}

/// What else OGG is used for, by the first packet of a stream.
fn other_codec(packet: &[u8]) -> Option<&'static str> {
    let names: [(&[u8], _); 4] = [
        (b"\x01vorbis", "Vorbis"),
        (b"\x80theora", "Theora"),
        (b"\x7FFLAC", "FLAC"),
        (b"Speex   ", "Speex"),
    ];
    names.into_iter().find(|(start, _)| packet.starts_with(start)).map(|(_, name)| name)
}

/// How long a packet plays (RFC 6716 §3.1).
fn duration(packet: &[u8]) -> Option<Duration> {
    let toc = *packet.first()?;
    let config = toc >> 3;
    let frame = match config {
        0..=11 => [10_000, 20_000, 40_000, 60_000][usize::from(config % 4)],
        12..=15 => [10_000, 20_000][usize::from(config % 2)],
        _ => [2_500, 5_000, 10_000, 20_000][usize::from(config % 4)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u64::from(packet.get(1)? & 0x3F),
    };
    Some(Duration::from_micros(frame * frames))
}

/// Writes Opus packets with their RTP timestamps as OGG.
pub(crate) struct OggOpusWriter<W: Write> {
    writer: PacketWriter<'static, W>,
    timeline: Timeline,
    /// The last packet has to be marked as such, so one is held back, with its place.
    held: Option<(Vec<u8>, u64)>,
    packets: u32,
}

impl<W: Write> OggOpusWriter<W> {
    pub(crate) fn new(file: W) -> Self {
        let (writer, timeline) = (PacketWriter::new(file), Timeline::new(CLOCK));
        Self { writer, timeline, held: None, packets: 0 }
    }

    pub(crate) fn write(&mut self, packet: &[u8], rtp_timestamp: u32) -> io::Result<()> {
        if self.packets == 0 {
            self.write_headers(packet)?;
        }
        let place = self.timeline.place(rtp_timestamp, Instant::now());
        if let Some((held, _)) = self.held.replace((packet.to_vec(), place)) {
            // It ends where this one begins.
            let each = PacketWriteEndInfo::NormalPacket;
            self.writer.write_packet(held, SERIAL, each, place)?;
        }
        self.packets += 1;
        Ok(())
    }

    fn write_headers(&mut self, packet: &[u8]) -> io::Result<()> {
        let channels = if packet.first().is_some_and(|toc| toc & 4 != 0) { 2 } else { 1 };
        let mut head = b"OpusHead\x01".to_vec();
        head.push(channels);
        head.extend(0_u16.to_le_bytes());
        head.extend(CLOCK.to_le_bytes());
        head.extend([0, 0, 0]);
        let mut tags = b"OpusTags".to_vec();
        tags.extend(7_u32.to_le_bytes());
        tags.extend(b"olmcast");
        tags.extend(0_u32.to_le_bytes());
        for header in [head, tags] {
            self.writer.write_packet(header, SERIAL, PacketWriteEndInfo::EndPage, 0)?;
        }
        Ok(())
    }

    /// Writes the last packet, and says how many there are.
    pub(crate) fn finish(mut self) -> io::Result<u32> {
        if let Some((held, place)) = self.held.take() {
            let end = PacketWriteEndInfo::EndStream;
            self.writer.write_packet(held, SERIAL, end, place + USUAL)?;
            self.writer.inner_mut().flush()?;
        }
        Ok(self.packets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let mut bytes = Vec::new();
        let mut writer = OggOpusWriter::new(&mut bytes);
        let packets: Vec<_> = (0..5_u8).map(|i| vec![0x78, i, i]).collect();
        for (index, packet) in packets.iter().enumerate() {
            writer.write(packet, 7000 + 960 * index as u32).unwrap();
        }
        assert_eq!(writer.finish().unwrap(), 5);
        let file = AudioFile::parse(&bytes).unwrap();
        assert_eq!((file.packets, file.interval), (packets, Duration::from_millis(20)));
    }

    #[test]
    fn what_is_no_opus_file_is_refused() {
        for bytes in [&b""[..], b"DKIF", b"OggS and more of it that is long enough for it all"] {
            assert!(AudioFile::parse(bytes).is_err());
        }
    }
}
