//! The proxy between a client and as much of an API server as it needs.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at what it did not expect, its helpers too"
)]

mod client;
mod requests;
mod server;
mod watches;
