//! Does what a statement asks for many objects: one request for each, its outcome for each.
//!
//! # Contract
//!
//! * Each request carries the uid and the resourceVersion of the object that the statement read. If
//!   the object is another one by now, nothing is changed; if it has another version, the request is
//!   repeated on that version where nothing that the statement read of the object has changed, and
//!   is a conflict where something has.
//! * Every object has an outcome, whatever happens: an answer that was lost is looked for, what was
//!   not begun before a stop is told as not tried.
//!
//! # Limits
//! [`AT_ONCE`] requests under way, [`TRIES`] for each object.

pub(crate) mod difference;
mod one;
mod outcome;

use futures::StreamExt;
use futures::stream;
use kybern_kube::{AlwaysLeader, Cluster, Resource, Writes};
use kybern_sql::{Assignment, FieldPath, Propagation};
pub(crate) use outcome::{Done, Outcome, Refusal};
use serde_json::Value;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The field manager of what statements write.
pub(crate) const MANAGER: &str = "kybern/sql";
/// Requests under way.
const AT_ONCE: usize = 16;
/// How often an object is tried.
const TRIES: usize = 4;

/// What is to become of one object.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    /// Its kind.
    pub(crate) resource: Resource,
    /// None for a cluster-scoped one.
    pub(crate) namespace: Option<String>,
    /// Empty for a new one that the API server is to name.
    pub(crate) name: String,
    /// What becomes of it.
    pub(crate) work: Work,
}

impl Item {
    /// Whether its values are not for terminals and logs.
    pub(crate) fn is_secret(&self) -> bool {
        self.resource.group.is_empty() && self.resource.kind == "Secret"
    }
}

/// What becomes of an object.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    /// Fields are set.
    Edit {
        /// The object that the statement read.
        before: Value,
        /// The fields.
        assignments: Vec<Assignment>,
        /// Where they are set, if not in the object itself.
        subresource: Option<&'static str>,
        /// What the statement read of it; none where that is anything.
        reads: Option<Arc<[FieldPath]>>,
    },
    /// It is deleted.
    Delete {
        /// The object that the statement read.
        before: Value,
        /// What becomes of what it owns.
        propagation: Propagation,
        /// What the statement read of it; none where that is anything.
        reads: Option<Arc<[FieldPath]>>,
    },
    /// It is created.
    Create {
        /// The object.
        object: Value,
        /// One that is there already is no error.
        do_nothing: bool,
    },
    /// It is applied.
    Apply {
        /// The object.
        object: Value,
        /// Fields of other managers are taken.
        force: bool,
    },
}

/// How it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Really.
    Real,
    /// The API server says what would become of the objects.
    DryRun,
}

/// Does it all; outcomes in the order of the items. `seen` is told how many are done. After `stop`
/// nothing new is begun, and what is under way is waited for.
pub(crate) async fn run(
    cluster: &Cluster,
    items: &[Item],
    effect: Effect,
    stop: &CancellationToken,
    seen: impl Fn(usize),
) -> Vec<Outcome> {
    let writes = Writes::new(cluster.clone(), Arc::new(AlwaysLeader));
    let mut done = 0;
    let outcomes = stream::iter(items).map(|item| {
        let writes = &writes;
        async move {
            if stop.is_cancelled() {
                return Outcome::refused(item, Refusal::NotTried);
            }
            one::run(writes, item, effect, stop).await
        }
    });
    let outcomes = outcomes.buffered(AT_ONCE).inspect(|_| {
        done += 1;
        seen(done);
    });
    outcomes.collect().await
}
