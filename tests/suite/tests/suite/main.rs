//! Tests of the whole: what crates may know, and the built host against a real API server.
//!
//! `cargo xtask test -p kybern-suite` builds what they need first.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test stops at what it did not expect, its helpers too"
)]

mod architecture;
mod cluster;
mod compile;

mod account;
mod asking;
mod author;
mod bad_input;
mod bounds;
mod budget;
mod bundle;
mod charts;
mod children;
mod cli;
mod declarative;
mod effects;
mod faults;
mod frozen;
mod given;
mod handover;
mod heavy;
mod helm;
mod lag;
mod leader;
mod lifecycle;
mod memory;
mod metrics;
mod operating;
mod overload;
mod ownership;
mod part;
mod patching;
mod promises;
mod proxy;
mod quiet;
mod record;
mod registration;
mod reload;
mod revision;
mod sandbox;
mod scale;
mod scene;
mod schema;
mod secrets;
mod shutdown;
mod snapshot;
mod sources;
mod sql;
mod status;
mod subscribe;
mod swap;
mod takeover;
mod uninstall;
mod wasi;
mod watching;
