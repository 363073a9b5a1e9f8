//! The engine over a real table store and an API server in memory.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests say what is wrong by panicking"
)]

mod ahead;
mod api;
mod breaker;
mod clock;
mod deletion;
mod effects;
mod ending;
mod failures;
mod faults;
mod flat;
mod holding;
mod level;
mod lifecycle;
mod own_writes;
mod ownership;
mod patching;
mod record;
mod revisions;
mod seeing;
mod spans;
mod subresource;
mod swap;
mod told;
mod trouble;
mod world;
