//! With real servers. They are started by the tests; see `servers` on where they come from.

mod conformance;
mod nodes;
mod outages;
pub(super) mod servers;
mod starts;
