//! Tests of the whole: what crates may know, and the built host against a real API server.
//!
//! `cargo xtask test -p kybern-suite` builds what they need first.

mod architecture;
mod cluster;
