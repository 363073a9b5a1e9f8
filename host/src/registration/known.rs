//! What the controller remembers of one registration between syncs.

use super::prepared::Prepared;
use super::problem::Problem;
use crate::wiring::watches::Wanted;
use kybern_interface::Registration;
use serde_json::Value;
use std::time::Duration;

/// What is remembered of one registration between syncs.
pub(super) struct Known {
    /// uid and generation that `prepared` was made for.
    pub(super) made_for: (String, i64),
    /// The plugin, or what is wrong.
    pub(super) prepared: Result<Prepared, Problem>,
    /// When a passing problem is looked at again, on the monotonic clock.
    pub(super) again: Option<Duration>,
    /// What the engine runs: generation, digest and whether each kind is served as before.
    pub(super) running: Option<String>,
    /// What of which kinds that needs: also while another version of it is being prepared.
    pub(super) needs: Vec<Wanted>,
    /// The ConfigMap that the component comes from.
    pub(super) source: Option<(String, String)>,
    /// What is wrong with the source now, while the last good version goes on.
    pub(super) degraded: Option<Problem>,
}

/// uid and generation.
pub(super) fn identity(registration: &Registration) -> (String, i64) {
    let uid = registration
        .metadata
        .get("uid")
        .and_then(Value::as_str)
        .unwrap_or_default();
    (uid.to_owned(), registration.generation())
}

/// Whether its deletion was asked for.
pub(super) fn deleting(registration: &Registration) -> bool {
    registration
        .metadata
        .get("deletionTimestamp")
        .is_some_and(|t| !t.is_null())
}
