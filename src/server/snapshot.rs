use super::rooms::Entry;
use crate::{
    primitives::RoomId,
    protocol::service::{MAX_FRAME, RoomState, ServerFrame},
};

/// Encoded size of a member, and of a state besides its payload; rounded up.
const MEMBER: usize = 34;
const STATE: usize = 64;

/// A room as the frames that tell of it: one `Entered` with as much as fits, and the rest behind
/// it as if it had come one by one.
pub(super) fn entered(room: RoomId, entry: Entry) -> Vec<ServerFrame> {
    let mut left = MAX_FRAME - 128;
    let mut fits = |size: usize| {
        let fits = size <= left;
        left = if fits { left - size } else { 0 };
        fits
    };
    let (mut roster, mut state, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    for device in entry.roster {
        if fits(MEMBER) {
            roster.push(device);
        } else {
            rest.push(ServerFrame::Present { room, device });
        }
    }
    for RoomState { device, stream, bytes } in entry.state {
        if fits(STATE + bytes.len()) {
            state.push(RoomState { device, stream, bytes });
        } else {
            rest.push(ServerFrame::State { room, device, stream, bytes });
        }
    }
    rest.insert(0, ServerFrame::Entered { room, roster, state });
    rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::{DeviceId, StreamId};

    #[test]
    fn a_large_room_is_told_of_whole_in_frames_that_can_be_encoded() {
        let room = RoomId::from_bytes([1; 32]);
        let device = |n: u16| {
            let mut bytes = [0; 32];
            bytes[..2].copy_from_slice(&n.to_be_bytes());
            DeviceId::from_bytes(bytes)
        };
        let state = |n: u16| RoomState {
            device: device(n),
            stream: StreamId::from_bytes([2; 16]),
            bytes: vec![0; 1000].into(),
        };
        for members in [0, 1, 50, 1000, 3000] {
            let roster = (0..members).map(device).collect();
            let frames = entered(room, Entry { roster, state: (0..members).map(state).collect() });
            let (mut seen, mut states) = (0, 0);
            for (n, frame) in frames.iter().enumerate() {
                assert!(frame.encode().is_ok(), "{members} members, frame {n}");
                match frame {
                    ServerFrame::Entered { roster, state, .. } if n == 0 => {
                        seen += roster.len();
                        states += state.len();
                    }
                    ServerFrame::Present { .. } => seen += 1,
                    ServerFrame::State { .. } => states += 1,
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!((seen, states), (usize::from(members), usize::from(members)));
        }
    }
}
