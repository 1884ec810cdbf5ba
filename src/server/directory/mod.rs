//! The directory: signed public keys of devices, for anybody to look up, over HTTP.
//!
//! ```text
//! authorization  who asks, and that it was this very request     rates    how often they may
//! refusal        why not, in words and as a code                 routes   what can be asked
//! ```
//!
//! A request is checked in this order, and a check that fails says what is wrong: its header, the
//! name of the service that it was signed for, the clock, the size of its body, the signature, how
//! often this device asks, the body's form, the signatures of the keys in it, how many new devices
//! come from its address, and whether it was carried out before. So nothing is counted against a
//! device that it did not sign.

mod authorization;
mod rates;
mod refusal;
mod routes;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::{Router, body::Bytes};

use self::rates::Rates;
use super::{Limits, addresses::Addresses, metrics::Metrics, names::Names, store::Store};

/// What every request needs.
#[derive(Clone)]
pub(super) struct Directory {
    store: Arc<dyn Store>,
    names: Arc<Names>,
    metrics: Arc<Metrics>,
    addresses: Arc<Addresses>,
    rates: Arc<Rates>,
    one_time_keys: usize,
    document: Bytes,
}

/// The routes of the directory. Each request carries its [`Visitor`](super::http::Visitor), and
/// its body is as large as it may be.
pub(super) fn router(
    store: Arc<dyn Store>,
    names: Arc<Names>,
    metrics: Arc<Metrics>,
    addresses: Arc<Addresses>,
    limits: &Limits,
) -> Router {
    let rates = Arc::new(Rates::new(limits));
    let (router, document) = routes::documented().split_for_parts();
    // It consists of texts, numbers and lists alone.
    let document = Bytes::from(serde_json::to_vec(&document).unwrap_or_default());
    let one_time_keys = limits.one_time_keys;
    let directory = Directory { store, names, metrics, addresses, rates, one_time_keys, document };
    router.with_state(directory)
}
