//! Tests on the real node: `cargo xtask node test [FILTER]`.
//!
//! Each test installs its own release, in its own namespace and class; only
//! the definitions of Plugin and AppService are shared.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test stops at what it did not expect, its helpers too"
)]

mod a_fresh_node;
mod failover;
mod image;
mod memory;
mod rbac;
mod scene;
mod smoke;
mod status;
mod uninstall;
mod upgrade;
