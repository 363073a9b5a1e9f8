//! An API server in memory, as far as the engine needs one: names, uids, server-side apply by
//! field, finalizers, ownership by the garbage collector's rules.
//!
//! *Limits.* No admission, no defaults, no controllers: a Deployment never gets Pods.

mod apply;
mod fields;
mod objects;

pub(crate) use apply::{MemoryApply, Step};
