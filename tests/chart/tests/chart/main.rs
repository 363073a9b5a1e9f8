//! Tests of the Helm chart; they need helm alone, the last ones also a control plane.
//!
//! `cargo xtask test -p kybern-chart-tests`. What a value set renders is written anew with
//! `KYBERN_BLESS=1`, for a reviewer to read.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at what it did not expect, its helpers too"
)]

mod documented;
mod goldens;
mod helm;
mod install;
mod metrics;
mod published;
mod refused;
mod rules;
