//! What the key service remembers.
//!
//! Mail: at least once, one increasing sequence per device, a cumulative ack, and the sender is
//! refused when there is no room. Rooms: who is there, and what they publish; all of it is
//! asserted again by the devices when a service comes back with an empty memory.
//!
//! The one backend is `memory`; time is an argument, and no method waits.

pub(super) mod memory;
