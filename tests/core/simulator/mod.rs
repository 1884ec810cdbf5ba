//! A simulator: endpoints on a virtual clock, over a network that loses, repeats, delays and
//! reorders, whose nodes crash, vanish, starve and disagree about the time, under churn.
//!
//! Whatever is chosen follows from one seed, so that a seed replays a run exactly; keys are the
//! exception, since the Olm library draws its own. Nodes are therefore named by their number, in
//! the order of their coming, and never ordered by their device's id.
//!
//! [`run`] gives an [`Outcome`]: what the [`checker`] found, and figures. The command
//! `olmcast-testbed churn` is built from these same files.

#![allow(dead_code, unused_imports, reason = "the tests and the command each use a part")]

pub(crate) mod checker;
mod churn;
mod faults;
mod frames;
mod network;
mod node;
mod outcome;
mod scenario;
mod service;
mod subscribers;
mod trace;
mod traffic;
mod world;

pub(crate) use self::{
    checker::{Checker, Cutover, Opener, Violation, What},
    frames::Frame,
    outcome::Outcome,
    scenario::Scenario,
};

/// A device that runs, by the order of its coming. A restarted one has a new number.
pub(crate) type NodeId = usize;

/// Virtual time, in milliseconds since the run began.
pub(crate) type Ms = u64;

/// Simulates one run.
pub(crate) fn run(seed: u64, scenario: &Scenario) -> Outcome {
    world::World::new(seed, scenario.clone()).run()
}
