use std::fmt;

use olmcast::primitives::Position;

use crate::simulator::{Ms, NodeId};

/// Something that must not happen, when and at which node it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) at: Ms,
    pub(crate) node: NodeId,
    pub(crate) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A (stream, track, KID, CTR) was used a second time.
    NonceRepeated,
    /// Somebody who left opened a frame that was encrypted this long after it, when others had
    /// shown already that it was shut out, or after the deadline.
    LeaverOpened { kick: bool, after: Ms },
    /// Somebody opened a frame that was encrypted this long before it was let in.
    JoinerOpenedPast { before: Ms },
    /// Somebody could be reached and was without a key for more than 10 s.
    Stalled,
    /// A generation, or at a publisher a step, after a later one.
    PositionFell { from: Position, to: Position },
    /// A frame did not open although its key had been given.
    FrameLost(String),
}

/// The kinds of violations, as the report counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    NonceRepeated,
    LeaverOpened,
    JoinerOpenedPast,
    Stalled,
    PositionFell,
    FrameLost,
}

impl What {
    pub(crate) const fn defect(&self) -> Defect {
        match self {
            Self::NonceRepeated => Defect::NonceRepeated,
            Self::LeaverOpened { .. } => Defect::LeaverOpened,
            Self::JoinerOpenedPast { .. } => Defect::JoinerOpenedPast,
            Self::Stalled => Defect::Stalled,
            Self::PositionFell { .. } => Defect::PositionFell,
            Self::FrameLost(_) => Defect::FrameLost,
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |position: &Position| (position.generation.0, position.step.get());
        match self {
            Self::NonceRepeated => f.write_str("a nonce was used twice"),
            Self::LeaverOpened { kick, after } => {
                let left = if *kick { "was kicked" } else { "left" };
                write!(f, "opened a frame that was encrypted {after} ms after it {left}")
            }
            Self::JoinerOpenedPast { before } => {
                write!(f, "opened a frame that was encrypted {before} ms before it was let in")
            }
            Self::Stalled => f.write_str("could be reached and had no key for 10 s"),
            Self::PositionFell { from, to } => {
                write!(f, "went from {:?} back to {:?}", number(from), number(to))
            }
            Self::FrameLost(error) => write!(f, "had the key and did not open a frame: {error}"),
        }
    }
}
