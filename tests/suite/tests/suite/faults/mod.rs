//! The host under faults between it and the API server, compared with a run without any.
//!
//! AppService goes through [`steps`], each waited for. A fault may change when something is
//! written, and how often it is tried; it may not change what [`oracle`] compares.

mod crash;
mod oracle;
mod patches;
mod steps;
mod watches;
mod world;
mod writes;
