//! The host under faults between it and the API server, compared with a run without any.
//!
//! An operator goes through [`operator::STEPS`], each waited for. A fault may change when something is
//! written, and how often it is tried; it may not change what [`oracle`] compares.
//!
//! AppService in Rust goes through each fault at each write, one at a time; operators in YAML through
//! several in one life ([`bundles`]), unless `KYBERN_FAULTS` is `all`.

mod bundles;
mod crash;
mod lease;
mod microservice;
mod operator;
mod oracle;
mod patches;
pub(crate) mod steps;
mod watches;
pub(crate) mod world;
mod writes;
