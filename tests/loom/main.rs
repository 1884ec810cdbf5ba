//! What threads can do to one another on the frame path, model-checked by loom: every order in
//! which their steps can come, and every value that a load may return under the memory model.
//!
//! The production files are compiled in as they are, with loom's locks and atomics instead of
//! those of `std`. Nothing is bounded unless a model says so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "figures are to be seen")]

mod media;
mod sframe;

/// What the production files name as `crate::primitives`.
mod primitives {
    pub(crate) use olmcast::primitives::{Position, Timestamp};
}

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Runs a model in every way there is. `least` is a floor for how many those are: a model that
/// ran far fewer would have stopped checking.
fn check(name: &str, least: usize, model: impl Fn() + Send + Sync + 'static) {
    check_bounded(name, None, least, model);
}

/// Likewise, in every way with at most so many preemptions.
fn check_bounded(
    name: &str,
    preemptions: Option<usize>,
    least: usize,
    model: impl Fn() + Send + Sync + 'static,
) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let runs = runs.load(Ordering::Relaxed);
    eprintln!("{name}: {runs} executions");
    assert!(runs >= least, "{name}: only {runs} executions");
}
