//! What a subscriber's application does: it follows a label.

use olmcast::{
    endpoint::{Event, Offer},
    media::HoldQueue,
    primitives::StreamRef,
    protocol::WithheldCode,
};

use super::{
    NodeId,
    node::{Role, WatchedTrack, Watching},
    world::{Action, LABEL, World},
};

/// How long an application waits before it subscribes again after an end.
const AGAIN: u64 = 1_000;

impl World {
    pub(super) fn handle_subscriber_event(&mut self, id: NodeId, event: Event) {
        match event {
            Event::Offered(offer) => self.handle_offer(id, *offer),
            Event::KeyReceived { stream, position } => {
                if let Some(publisher) = self.name(stream.publisher) {
                    self.checker.key_received(self.now, id, publisher, position);
                    self.look_at_position(id, publisher, stream);
                }
            }
            Event::Advanced { stream, position } => {
                if let Some(publisher) = self.name(stream.publisher) {
                    self.checker.advanced(self.now, id, publisher, position);
                    self.look_at_position(id, publisher, stream);
                }
            }
            Event::Withheld { stream, code: WithheldCode::Closed, retrying: false }
                if self.is_stranger(id, stream) =>
            {
                // It came too late: after a kick only those may come who were there before.
                if let Some(subscriber) = self.nodes[id].subscriber() {
                    subscriber.wants = false;
                    subscriber.watching = None;
                }
            }
            Event::Withheld { stream, retrying: false, .. } | Event::Ended { stream, .. } => {
                let Some(subscriber) = self.nodes[id].subscriber() else { return };
                let is_ours = |watching: &mut Watching| watching.stream == stream;
                if subscriber.watching.take_if(is_ours).is_some() {
                    self.after(AGAIN, Action::Subscribe(id));
                }
            }
            _ => {}
        }
    }

    fn look_at_position(&mut self, id: NodeId, publisher: NodeId, stream: StreamRef) {
        let state = self.nodes[id].endpoint.subscription(stream);
        if let Some(position) = state.and_then(|state| state.position) {
            self.checker.moved(self.now, id, publisher, position);
        }
    }

    /// Whether a publisher that has kicked somebody never let this node in.
    fn is_stranger(&self, id: NodeId, stream: StreamRef) -> bool {
        let publisher = self.name(stream.publisher).map(|publisher| &self.nodes[publisher].role);
        matches!(publisher, Some(Role::Publisher(publisher))
            if publisher.kicked && !publisher.admitted.contains(&id))
    }

    fn handle_offer(&mut self, id: NodeId, offer: Offer) {
        let Some(subscriber) = self.nodes[id].subscriber() else { return };
        if offer.content.label != LABEL {
            return;
        }
        subscriber.offers.retain(|known| known.stream != offer.stream);
        subscriber.offers.push(offer);
        self.follow(id);
    }

    /// Watches what is offered; if that stream's publisher is gone and another one offers the same
    /// label, that one.
    pub(super) fn follow(&mut self, id: NodeId) {
        let Some((best, is_there)) = self.best_offer(id) else { return };
        let Role::Subscriber(subscriber) = &self.nodes[id].role else { return };
        if !subscriber.wants {
            return;
        }
        if let Some(stream) = subscriber.watching.as_ref().map(|watching| watching.stream) {
            if stream == best.stream || !is_there || self.is_there(id, stream) {
                return;
            }
            self.stop_watching(id, stream);
        }
        self.subscribe(id);
    }

    /// The last offer whose publisher is there, or the last of all.
    fn best_offer(&self, id: NodeId) -> Option<(Offer, bool)> {
        let Role::Subscriber(subscriber) = &self.nodes[id].role else { return None };
        let mut latest = subscriber.offers.iter().rev();
        let there = latest.find(|offer| self.is_there(id, offer.stream));
        Some((there.or(subscriber.offers.last())?.clone(), there.is_some()))
    }

    fn is_there(&self, id: NodeId, stream: StreamRef) -> bool {
        let publisher = self.name(stream.publisher);
        publisher.is_some_and(|publisher| self.nodes[id].present.contains(&publisher))
    }

    /// Subscribes to what is offered.
    pub(super) fn subscribe(&mut self, id: NodeId) {
        let now = self.now;
        let Some((offer, _)) = self.best_offer(id) else { return };
        let node = &mut self.nodes[id];
        let time = node.time(now);
        if !node.alive {
            return;
        }
        if node.starved_until > now {
            let until = node.starved_until;
            return self.at(until, Action::Subscribe(id));
        }
        let Some(subscriber) = node.subscriber() else { return };
        if !subscriber.wants || subscriber.watching.is_some() {
            return;
        }
        let bytes = offer.bytes.clone();
        let tracks = offer.content.tracks.clone();
        let Ok(stream) = node.endpoint.subscribe(&bytes, "somebody", time) else { return };
        let watched = tracks.iter().filter_map(|track| {
            let decryptor = node.endpoint.decryptor(stream, track.id)?;
            Some(WatchedTrack { id: track.id, decryptor, held: HoldQueue::new() })
        });
        let tracks = watched.collect();
        if let Some(subscriber) = node.subscriber() {
            subscriber.watching = Some(Watching { stream, tracks });
        }
        if let Some(publisher) = self.name(stream.publisher) {
            self.checker.subscribed(id, publisher);
        }
        self.trace.add(now, "subscribes", [id, id], &[]);
        self.flush(id, None);
    }

    /// A node's user leaves, with a word.
    pub(super) fn unsubscribe(&mut self, id: NodeId) {
        let Some(subscriber) = self.nodes[id].subscriber() else { return };
        subscriber.wants = false;
        if let Some(stream) = subscriber.watching.as_ref().map(|watching| watching.stream) {
            self.stop_watching(id, stream);
        }
    }

    fn stop_watching(&mut self, id: NodeId, stream: StreamRef) {
        let node = &mut self.nodes[id];
        let time = node.time(self.now);
        if let Some(subscriber) = node.subscriber() {
            subscriber.watching = None;
        }
        // It fails only if the stream has ended by itself.
        let _ = node.endpoint.unsubscribe(stream, time);
        self.flush(id, None);
    }
}
