//! With real servers. They are started by the tests; see `servers` on where they come from.

mod conformance;
pub(super) mod servers;
