//! How long the benches measure.

use std::time::Duration;

use criterion::Criterion;

/// Short enough that all of them take two minutes, and as the command line says.
pub(crate) fn criterion() -> Criterion {
    Criterion::default()
        .without_plots()
        .sample_size(50)
        .nresamples(5000)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(700))
        .configure_from_args()
}
