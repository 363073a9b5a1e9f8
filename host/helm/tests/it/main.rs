//! The engine as it is shipped: what it renders, what follows from what, and what ends it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at what it did not expect"
)]

mod engine;
mod limits;
mod purity;
mod rendering;
