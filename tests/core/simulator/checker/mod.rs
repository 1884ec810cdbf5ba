//! Watches a run, and holds what it sees against what must hold in every run.
//!
//! It takes observations only: times, positions, and whether a hoard opens a frame. What an
//! endpoint says of itself is never taken for proof; that a key was given or somebody left are
//! the two things that only the publisher can know.

mod delivery;
mod liveness;
mod nonces;
mod positions;
mod secrecy;
mod violation;

use std::rc::Rc;

use olmcast::primitives::Position;

use self::{
    delivery::Delivery, liveness::Liveness, nonces::Nonces, positions::Positions, secrecy::Secrecy,
};
pub(crate) use self::{
    secrecy::{Cutover, KICK_LIMIT, LEAVE_LIMIT, Opener},
    violation::{Defect, Violation, What},
};
use super::{Ms, NodeId, frames::Frame};

#[derive(Default)]
pub(crate) struct Checker {
    nonces: Nonces,
    positions: Positions,
    secrecy: Secrecy,
    delivery: Delivery,
    liveness: Liveness,
    violations: Vec<Violation>,
}

impl Checker {
    /// A frame was encrypted, to be sent or as a probe.
    pub(crate) fn encrypted(&mut self, frame: &Rc<Frame>) {
        let repeated = self.nonces.encrypted(frame);
        self.note(frame.at, frame.publisher, repeated.then_some(What::NonceRepeated));
        self.moved(frame.at, frame.publisher, frame.publisher, frame.position);
        self.secrecy.encrypted(frame);
    }

    /// A frame was not encrypted, since somebody who left could have read it.
    pub(crate) fn paused(&mut self, at: Ms, publisher: NodeId) {
        self.secrecy.paused(at, publisher);
    }

    /// A publisher or a subscriber says or shows where a publisher's stream is.
    pub(crate) fn moved(&mut self, at: Ms, node: NodeId, publisher: NodeId, position: Position) {
        let fell = self.positions.moved(node, publisher, position);
        self.note(at, node, fell);
    }

    /// How many frames a publisher has encrypted.
    pub(crate) fn encrypted_by(&self, publisher: NodeId) -> usize {
        self.secrecy.encrypted_by(publisher)
    }

    /// A publisher gives a device its key. `encrypted`: how many frames it had encrypted before,
    /// all of them at an earlier step then.
    pub(crate) fn joined(
        &mut self,
        at: Ms,
        publisher: NodeId,
        node: NodeId,
        encrypted: usize,
        opener: Opener,
    ) {
        self.secrecy.joined(at, publisher, node, encrypted, opener, &mut self.violations);
    }

    /// A publisher says that a device holds its key no more.
    pub(crate) fn left(
        &mut self,
        at: Ms,
        publisher: NodeId,
        node: NodeId,
        kick: bool,
        opener: Opener,
    ) {
        self.secrecy.left(at, publisher, node, kick, opener);
    }

    /// Time passed: tries what is due to be tried.
    pub(crate) fn look(&mut self, now: Ms) {
        self.secrecy.look(now, &mut self.violations);
    }

    /// A new generation is in use: tries a few of those who left long ago.
    pub(crate) fn sample_leavers(&mut self, now: Ms) {
        self.secrecy.sample(now, 2, &mut self.violations);
    }

    /// A subscriber was given the key of a generation.
    pub(crate) fn key_received(
        &mut self,
        at: Ms,
        node: NodeId,
        publisher: NodeId,
        position: Position,
    ) {
        self.delivery.key_received(at, node, publisher, position);
    }

    /// A subscriber was told of a new step.
    pub(crate) fn advanced(&mut self, at: Ms, node: NodeId, publisher: NodeId, position: Position) {
        self.delivery.advanced(at, node, publisher, position);
    }

    /// A subscriber begins anew, with nothing.
    pub(crate) fn subscribed(&mut self, node: NodeId, publisher: NodeId) {
        self.delivery.forget(node, publisher);
    }

    /// A frame was opened by a subscriber.
    pub(crate) fn opened(&mut self, at: Ms, node: NodeId) {
        self.liveness.served(at, node);
    }

    /// A frame was not opened by a subscriber, which gave it up if that is `final`.
    pub(crate) fn not_opened(&mut self, at: Ms, node: NodeId, frame: &Frame, error: &str) {
        let lost = self.delivery.should_open(at, node, frame);
        self.note(at, node, lost.then(|| What::FrameLost(error.to_owned())));
    }

    /// A subscriber wants the stream. `excused`: it cannot be reached, or wants it no more.
    pub(crate) fn waits(&mut self, at: Ms, node: NodeId, excused: bool) {
        let stalled = self.liveness.waits(at, node, excused);
        self.note(at, node, stalled.then_some(What::Stalled));
    }

    /// The end of the run: everything that was not tried yet is.
    pub(crate) fn finish(&mut self, now: Ms) -> (Vec<Violation>, Vec<Cutover>, Ms) {
        self.secrecy.finish(now, &mut self.violations);
        let cutovers = self.secrecy.take_cutovers();
        (std::mem::take(&mut self.violations), cutovers, self.liveness.longest())
    }

    fn note(&mut self, at: Ms, node: NodeId, what: Option<What>) {
        self.violations.extend(what.map(|what| Violation { at, node, what }));
    }
}
