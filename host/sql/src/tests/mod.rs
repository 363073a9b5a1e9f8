//! Behaviour of the engine over a small store.

mod access;
mod engine_tables;
mod fixture;
mod folding;
mod generated;
mod golden;
mod host;
mod lanes;
mod limits;
mod many;
mod read_sets;
mod snapshots;
mod statements;
mod subscribe;
