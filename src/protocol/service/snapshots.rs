//! Every message, byte by byte: a change here is a change of the language, and of [`VERSION`].

use super::*;

const DEVICE: DeviceId = DeviceId::from_bytes([0xD0; 32]);
const ROOM: RoomId = RoomId::from_bytes([0xA0; 32]);
const STREAM: StreamId = StreamId::from_bytes([0x50; 16]);
const SIGNATURE: Signature = Signature::from_bytes([0x51; 64]);

/// Hexadecimal, with runs of one byte written `byte*count`.
fn hex(bytes: &[u8]) -> String {
    let runs = bytes.chunk_by(|a, b| a == b).map(|run| match run.len() {
        1..=3 => vec![format!("{:02x}", run[0]); run.len()].join(" "),
        many => format!("{:02x}*{many}", run[0]),
    });
    runs.collect::<Vec<_>>().join(" ")
}

#[test]
fn what_a_device_says() {
    let bytes = || Payload::from(b"\x01\x02\x03");
    for (frame, expected) in [
        (
            ClientFrame::Authenticate {
                device: DEVICE,
                server: "h:1".to_owned(),
                signature: SIGNATURE,
            },
            "01 00 d0*32 03 68 3a 31 51*64",
        ),
        (
            ClientFrame::Enter { room: ROOM, door: [0xD1; 32], signature: SIGNATURE },
            "01 01 a0*32 d1*32 51*64",
        ),
        (ClientFrame::Leave { room: ROOM }, "01 02 a0*32"),
        (
            ClientFrame::Send { request: 300, to: DEVICE, bytes: bytes() },
            "01 03 ac 02 d0*32 03 01 02 03",
        ),
        (ClientFrame::Ack { sequence: 5 }, "01 04 05"),
        (ClientFrame::Broadcast { room: ROOM, bytes: bytes() }, "01 05 a0*32 03 01 02 03"),
        (
            ClientFrame::SetState { room: ROOM, stream: STREAM, bytes: bytes() },
            "01 06 a0*32 50*16 03 01 02 03",
        ),
        (
            ClientFrame::ClearState { room: ROOM, stream: STREAM, bytes: bytes() },
            "01 07 a0*32 50*16 03 01 02 03",
        ),
    ] {
        let encoded = frame.encode().unwrap();
        assert_eq!(hex(&encoded), expected, "{frame:?}");
        assert_eq!(ClientFrame::decode(&encoded), Ok(frame));
    }
}

#[test]
fn what_the_service_says() {
    let bytes = || Payload::from(b"\x01\x02\x03");
    let refused = |subject, code| ServerFrame::Refused { subject, code };
    let state = vec![RoomState { device: DEVICE, stream: STREAM, bytes: bytes() }];
    let cleared =
        |bytes| ServerFrame::StateCleared { room: ROOM, device: DEVICE, stream: STREAM, bytes };
    for (frame, expected) in [
        (ServerFrame::Challenge { nonce: [7; 32] }, "01 00 07*32"),
        (ServerFrame::Welcome { instance: [8; 16] }, "01 01 08*16"),
        (refused(Subject::Connection, RefusalCode::Malformed), "01 02 00 00"),
        (refused(Subject::Request(9), RefusalCode::MailboxFull), "01 02 01 09 09"),
        (refused(Subject::Room(ROOM), RefusalCode::WrongDoor), "01 02 02 a0*32 06"),
        (
            refused(Subject::Stream { room: ROOM, stream: STREAM }, RefusalCode::ShuttingDown),
            "01 02 03 a0*32 50*16 0f",
        ),
        (
            ServerFrame::Entered { room: ROOM, roster: vec![DEVICE], state },
            "01 03 a0*32 01 d0*32 01 d0*32 50*16 03 01 02 03",
        ),
        (ServerFrame::Accepted { request: 1 }, "01 04 01"),
        (
            ServerFrame::Mail { sequence: 5, from: DEVICE, bytes: bytes() },
            "01 05 05 d0*32 03 01 02 03",
        ),
        (
            ServerFrame::Broadcast { room: ROOM, from: DEVICE, bytes: bytes() },
            "01 06 a0*32 d0*32 03 01 02 03",
        ),
        (
            ServerFrame::State { room: ROOM, device: DEVICE, stream: STREAM, bytes: bytes() },
            "01 07 a0*32 d0*32 50*16 03 01 02 03",
        ),
        (cleared(Some(bytes())), "01 08 a0*32 d0*32 50*16 01 03 01 02 03"),
        (cleared(None), "01 08 a0*32 d0*32 50*16 00"),
        (ServerFrame::Present { room: ROOM, device: DEVICE }, "01 09 a0*32 d0*32"),
        (ServerFrame::Gone { room: ROOM, device: DEVICE }, "01 0a a0*32 d0*32"),
    ] {
        let encoded = frame.encode().unwrap();
        assert_eq!(hex(&encoded), expected, "{frame:?}");
        assert_eq!(ServerFrame::decode(&encoded), Ok(frame));
    }
}

#[test]
fn what_a_device_signs_names_the_server_and_the_nonce() {
    let mut signed = Vec::new();
    Authentication { server: "h:1", nonce: &[7; 32] }.sign_with(|form| {
        signed = form.to_bytes();
        SIGNATURE
    });
    let expected = format!(
        "00 00 00 10 {} 00 00 00 15 {} 00*11 2b 00 00 00 03 68 3a 31 00 00 00 20 07*32",
        hex(b"olmcast/1 signed"),
        hex(b"ServiceAuthentication"),
    );
    assert_eq!(hex(&signed), expected);
}

#[test]
fn a_frame_with_bytes_behind_it_or_missing_is_malformed() {
    let whole = ClientFrame::Send { request: 1, to: DEVICE, bytes: Payload::from(b"abc") };
    let whole = whole.encode().unwrap();
    for length in 2..whole.len() {
        assert_eq!(ClientFrame::decode(&whole[..length]), Err(FrameError::Malformed), "{length}");
    }
    let longer = [whole.as_slice(), &[0]].concat();
    assert_eq!(ClientFrame::decode(&longer), Err(FrameError::Malformed));
    assert_eq!(ClientFrame::decode(&[]), Err(FrameError::Malformed));
    assert_eq!(ClientFrame::decode(&[VERSION, 8]), Err(FrameError::Malformed), "unknown kind");
    assert_eq!(ServerFrame::decode(&[VERSION, 11]), Err(FrameError::Malformed), "unknown kind");
}

#[test]
fn another_version_is_named_before_anything_else_is_read() {
    for version in [0, 2, 255] {
        let error = Err(FrameError::UnsupportedVersion(version));
        assert_eq!(ClientFrame::decode(&[version]), error);
        assert_eq!(ClientFrame::decode(&vec![version; MAX_FRAME + 1]), error);
    }
}

#[test]
fn a_payload_of_64_kib_passes_and_one_byte_more_does_not() {
    let frame =
        |size| ClientFrame::Send { request: u64::MAX, to: DEVICE, bytes: vec![0; size].into() };
    let largest = frame(MAX_PAYLOAD).encode().unwrap();
    assert!(ClientFrame::decode(&largest).is_ok());
    assert_eq!(frame(MAX_PAYLOAD + 1).encode(), Err(FrameError::TooLarge));

    // What a foreign encoder could send: too large a payload in a frame below the frame limit.
    let forged = postcard::to_extend(&frame(MAX_PAYLOAD + 1), vec![VERSION]).unwrap();
    assert!(forged.len() < MAX_FRAME);
    assert_eq!(ClientFrame::decode(&forged), Err(FrameError::TooLarge));
    assert_eq!(ServerFrame::decode(&[VERSION; MAX_FRAME + 1]), Err(FrameError::TooLarge));
}

#[test]
fn debug_shows_no_content() {
    let frame = ClientFrame::Broadcast { room: ROOM, bytes: Payload::from(b"content") };
    assert!(format!("{frame:?}").ends_with("bytes: Payload(7 bytes) }"));
}
