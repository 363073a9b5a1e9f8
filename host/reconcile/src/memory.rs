//! What the engine remembers of a CR between passes. Losing it costs a look, never a wrong write.

use crate::fields::{self, FieldSet};
use crate::intent::{Intent, named};
use crate::patch;
use crate::ready::{self, Readiness};
use crate::remember::Ledger;
use crate::seen::Seen;
use crate::shape::Shape;
use kybern_interface::{ApplyMode, names};
use kybern_table::{Row, Sequence};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use tokio::time::Instant;

/// A child as it was when it was last as intended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Baseline {
    /// Hash of the intent.
    pub(crate) hash: String,
    /// The owned paths.
    shape: Shape,
    /// Fingerprint of the values there.
    values: u128,
    /// The state of the object that was looked at last.
    pub(crate) resource_version: u64,
    /// Whether it was ready then.
    pub(crate) readiness: Readiness,
    /// Whether drift is reverted.
    managed: bool,
}

impl Baseline {
    /// The baseline of an object that is as intended now. Paths that the manager does not have are
    /// those that the API server dropped or renamed; their values count as they are.
    pub(crate) fn of(intent: &Intent, live: &Value, manager: &str) -> Self {
        let entry = fields::owned_by(live, manager, "").unwrap_or_default();
        let shape = entry.cover(&intent.owned(), live).shape;
        Self::covering(intent, live, &shape)
    }

    /// The same, where it is known which of the manager's paths the intent has.
    pub(crate) fn covering(intent: &Intent, live: &Value, shape: &FieldSet) -> Self {
        let shape = Shape::of(shape);
        Self {
            hash: intent.hash.clone(),
            values: shape.values(live),
            shape,
            resource_version: resource_version(live),
            readiness: ready::readiness(live),
            managed: intent.mode == ApplyMode::Managed,
        }
    }

    /// Whether a later state of the object still has the same values at the owned paths.
    pub(crate) fn holds(&self, live: &Value) -> bool {
        if !self.managed {
            return true;
        }
        let marked = live
            .pointer("/metadata/annotations")
            .and_then(|annotations| annotations.get(names::INTENT))
            .and_then(Value::as_str)
            == Some(self.hash.as_str());
        marked && self.shape.values(live) == self.values
    }

    /// Owned leaf paths whose value is another than the intent's: a hint for people, since a
    /// normalised value differs too.
    pub(crate) fn suspects(&self, intent: &Intent, live: &Value) -> Vec<String> {
        let wanted = intent.owned();
        let mut out = Vec::new();
        differing(&wanted, live, "", &mut out);
        out.truncate(8);
        out
    }

    /// Whether the object may be passed over without a plan; remembers the state that it saw.
    pub(crate) fn settled(&mut self, row: &Row) -> bool {
        if row.deleting() {
            return false;
        }
        if row.resource_version() == self.resource_version && self.resource_version != 0 {
            return true;
        }
        let live = row.value();
        if !self.holds(&live) || ready::readiness(&live) != self.readiness {
            return false;
        }
        self.resource_version = row.resource_version();
        true
    }
}

/// `metadata.resourceVersion`; 0 where there is none.
pub(crate) fn resource_version(object: &Value) -> u64 {
    object
        .pointer("/metadata/resourceVersion")
        .and_then(Value::as_str)
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

fn differing(wanted: &Value, live: &Value, at: &str, out: &mut Vec<String>) {
    match wanted {
        Value::Object(object) => {
            for (name, inner) in object {
                let path = if at.is_empty() {
                    name.clone()
                } else {
                    format!("{at}.{name}")
                };
                match live.get(name) {
                    Some(value) => differing(inner, value, &path, out),
                    None => out.push(path),
                }
            }
        }
        Value::Array(items) => {
            let same_length = live.as_array().is_some_and(|l| l.len() == items.len());
            if !same_length {
                out.push(at.to_owned());
                return;
            }
            for (index, item) in items.iter().enumerate() {
                if let Some(value) = live.get(index) {
                    differing(item, value, &format!("{at}[{index}]"), out);
                }
            }
        }
        other if other != live => out.push(at.to_owned()),
        _ => {}
    }
}

/// The status as it was last written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StatusBaseline {
    /// Fingerprint of what was sent.
    pub(crate) sent: u128,
    shape: Shape,
    values: u128,
    /// The state of the CR that was looked at last.
    resource_version: u64,
}

impl StatusBaseline {
    /// The baseline of a status that is as wanted now.
    pub(crate) fn of(sent: u128, wanted: &Value, live: &Value, manager: &str) -> Self {
        let entry = fields::owned_by(live, manager, "status").unwrap_or_default();
        let shape = Shape::of(&entry.cover(&named(wanted.clone()), live).shape);
        Self {
            sent,
            values: shape.values(live),
            shape,
            resource_version: resource_version(live),
        }
    }

    /// Whether the CR still has the same values there; remembers the state that it saw.
    pub(crate) fn settled(&mut self, version: u64, live: &Value) -> bool {
        if version == self.resource_version && version != 0 {
            return true;
        }
        let holds = self.holds(live);
        if holds {
            self.resource_version = version;
        }
        holds
    }

    /// Whether the CR still has the same values there.
    pub(crate) fn holds(&self, live: &Value) -> bool {
        self.shape.values(live) == self.values
    }
}

/// What the last pass that fully succeeded decided on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settled {
    /// The component.
    pub(crate) digest: String,
    /// Fingerprint of the settings and grants.
    pub(crate) registration: u128,
    /// Fingerprint of what a pass may depend on in the CR.
    pub(crate) object: u128,
    /// Name and fingerprint of each answer.
    pub(crate) answers: Vec<(String, u128)>,
    /// How many outcomes of effects there had been.
    pub(crate) outcomes: u64,
    /// Uids that are in the inventory though the plan does not name them.
    pub(crate) extras: BTreeSet<String>,
}

impl Memory {
    /// Whether the last pass succeeded and left every child in the state that was seen: another one
    /// would find nothing that it does not know.
    pub(crate) fn knows(&self, seen: &Seen) -> bool {
        let (Some(settled), Seen::Children(children)) = (&self.settled, seen) else {
            return false;
        };
        children.iter().all(
            |(uid, version)| match (self.children.get(&**uid), version) {
                (Some(child), Some(version)) => *version != 0 && child.resource_version == *version,
                (None, None) => !settled.extras.contains(&**uid),
                _ => false,
            },
        )
    }
}

/// What the engine remembers of a CR.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    /// The CR's uid: another uid is another CR.
    pub(crate) uid: String,
    /// What the tables had come to when the last pass ended.
    pub(crate) ended: Sequence,
    /// The last pass, if it fully succeeded.
    pub(crate) settled: Option<Settled>,
    /// Whether the last plan had statements: what they ask for may have changed though no answer has.
    pub(crate) statements: bool,
    /// Children that were as intended, by uid.
    pub(crate) children: HashMap<String, Baseline>,
    /// Patched objects as they were when the last pass ended.
    pub(crate) patched: Vec<patch::Baseline>,
    /// The status as last written.
    pub(crate) status: Option<StatusBaseline>,
    /// The record.
    pub(crate) ledger: Ledger,
    /// Passes in a row that changed the state.
    pub(crate) restates: u32,
    /// Fingerprints of the last plan's Events; none before the first plan.
    pub(crate) events: Option<Vec<u128>>,
    /// Reason and message of the last warning.
    pub(crate) warned: Option<(String, String)>,
    /// Whether the CR was slowed down at the last pass.
    pub(crate) slowed: bool,
    /// Failed passes in a row.
    pub(crate) failures: u32,
    /// Waiting passes in a row.
    pub(crate) waits: u32,
    /// Conflicts in a row.
    pub(crate) conflicts: u32,
    /// Writes of the status in a row whose conditions were dropped.
    pub(crate) dropped: u32,
    /// The value of `kybern.dev/force-resync` that was honoured; none before the first pass.
    pub(crate) resynced: Option<Option<String>>,
    /// When the plugin's own timer is due.
    pub(crate) requeue_at: Option<Instant>,
    /// When an effect is to run again.
    pub(crate) effect_at: Option<Instant>,
}
