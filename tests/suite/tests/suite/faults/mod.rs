//! The host under faults between it and the API server, compared with a run without any.
//!
//! AppService goes through [`steps`], each waited for. A fault may change when something is
//! written, and how often it is tried; it may not change what [`oracle`] compares.

mod crash;
mod lease;
mod oracle;
mod patches;
pub(crate) mod steps;
mod watches;
pub(crate) mod world;
mod writes;
