//! The sandbox against guests that mean harm, and against files that are no plugins.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod act;
mod arrow;
mod cache;
mod evil;
mod floods;
mod guest;
mod loading;
mod others;
mod rows;
mod text;
