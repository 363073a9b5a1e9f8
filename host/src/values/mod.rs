//! Values of Secrets and ConfigMaps that registrations name, kept up to date.
//!
//! *Why.* Settings may come from them, and a change has to be noticed. They are no rows: what a Secret
//! holds is in no table, and so in no answer, no `kybern sql`, no explanation.
//!
//! # Contract
//! One narrow watch for each object (`metadata.name=...` in its namespace), shared by all who name it,
//! for as long as somebody does: get, list and watch of that name are all that it needs. Only the
//! keys that are named are kept. [`Hidden`] is printed by nothing.
//!
//! # Limits
//! So many objects, so many bytes under one key, and so many that are listed at once, as
//! [`ValuesConfig`] says: also after the API server was away, when all are looked for anew.

mod follow;
mod hidden;
mod metrics;
mod object;

pub(crate) use follow::Values;
pub(crate) use hidden::Hidden;
pub(crate) use metrics::register;
pub(crate) use object::{Got, Kind, ObjectAt, Seen, among, once};

/// Bounds of what is followed.
#[derive(Debug, Clone)]
pub(crate) struct ValuesConfig {
    /// Objects at once; further ones are not followed, which is said.
    pub(crate) objects: usize,
    /// Bytes under one key.
    pub(crate) value_bytes: usize,
    /// Objects that are listed, or whose watches open, at once; others wait.
    pub(crate) openings: usize,
}

impl Default for ValuesConfig {
    fn default() -> Self {
        Self {
            objects: 512,
            value_bytes: 256 << 10,
            openings: 16,
        }
    }
}
