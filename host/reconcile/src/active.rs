//! A registration as the engine runs it: resolved kinds, parsed limits, one digest.

use crate::revision::Revision;
use crate::trial::TrialRules;
use kybern_interface::{Gvk, Manifest, Registration, Selector};
use kybern_table::{KindKey, Row};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// What the engine must know about a served kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindFacts {
    /// The plural, as in paths.
    pub plural: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Whether `/status` is served.
    pub has_status: bool,
}

/// A kind that a registration is in charge of.
#[derive(Debug, Clone, PartialEq)]
pub struct Primary {
    /// Group, version, kind.
    pub gvk: Gvk,
    /// What is served.
    pub facts: KindFacts,
    /// Only the CRs that it selects; none = all.
    pub selector: Option<Selector>,
}

impl Primary {
    /// Its table.
    pub fn table(&self) -> KindKey {
        table_of(&self.gvk)
    }

    /// Whether the registration is in charge of this object.
    pub fn selects(&self, row: &Row) -> bool {
        self.selector.as_ref().is_none_or(|selector| {
            selector
                .match_labels
                .iter()
                .all(|(key, value)| row.label(key).as_ref() == Some(value))
        })
    }
}

/// How much of a CR's children one pass may prune.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxPrune {
    /// Share of the children, in percent.
    pub percent: u32,
    /// This many always go.
    pub free: usize,
}

impl Default for MaxPrune {
    fn default() -> Self {
        Self {
            percent: 50,
            free: 3,
        }
    }
}

/// Limits of a registration, parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassLimits {
    /// Passes at once.
    pub concurrency: usize,
    /// How much one pass may prune.
    pub max_prune: MaxPrune,
    /// Time of one effect.
    pub effect_time: Duration,
}

impl Default for PassLimits {
    fn default() -> Self {
        Self {
            concurrency: 8,
            max_prune: MaxPrune::default(),
            effect_time: Duration::from_secs(30),
        }
    }
}

impl PassLimits {
    /// What a registration's `limits` say about passes; the defaults where it says nothing or
    /// nonsense. The time of effects is read by who reads durations.
    pub fn of(limits: &kybern_interface::Limits) -> Self {
        let default = Self::default();
        let concurrency = limits
            .concurrency
            .and_then(|n| usize::try_from(n).ok())
            .filter(|n| *n > 0)
            .unwrap_or(default.concurrency);
        let percent = limits
            .max_prune
            .as_deref()
            .and_then(|text| text.strip_suffix('%'))
            .and_then(|text| text.trim().parse::<u32>().ok())
            .map_or(default.max_prune.percent, |p| p.min(100));
        Self {
            concurrency,
            max_prune: MaxPrune {
                percent,
                ..default.max_prune
            },
            ..default
        }
    }
}

/// A registration as the engine runs it.
#[derive(Debug, Clone)]
pub struct Active {
    /// The `Plugin` object.
    pub registration: Arc<Registration>,
    /// `sha256:...` of the component that decides.
    pub digest: String,
    /// Its manifest.
    pub manifest: Arc<Manifest>,
    /// The kinds that it is in charge of, as served now.
    pub primaries: Vec<Primary>,
    /// Settings with defaults and references filled in.
    pub settings: Value,
    /// Limits.
    pub limits: PassLimits,
    /// Whether the component has a sense hook.
    pub has_sense: bool,
    /// Other revisions, for CRs that name them and on trial.
    pub revisions: Vec<Revision>,
    /// Digests that CRs name and that were looked for in vain.
    pub missing: BTreeSet<String>,
    /// Which of them is on trial.
    pub trial: Option<TrialRules>,
}

impl Active {
    /// The registration's name.
    pub fn name(&self) -> &str {
        self.registration.name()
    }

    /// Field manager of the children.
    pub fn manager(&self) -> String {
        self.registration.field_manager()
    }

    /// Field manager of the status.
    pub fn status_manager(&self) -> String {
        kybern_interface::names::status_manager(&self.manager())
    }

    /// Whether its plans may set state.
    pub fn keeps_state(&self) -> bool {
        self.registration.spec.grants.state
    }

    /// Whether its CRs may have records.
    pub fn keeps_records(&self) -> bool {
        self.registration.keeps_records()
    }

    /// Field manager of the patches of the CR with this uid.
    pub fn patch_manager(&self, uid: &str) -> String {
        kybern_interface::names::patch_manager(self.name(), uid)
    }

    /// The finalizer that it puts on its CRs.
    pub fn finalizer(&self) -> String {
        kybern_interface::names::cleanup_finalizer(self.name())
    }

    /// Whether a CR is this registration's business: it is selected, or it is being deleted and
    /// waits for our finalizer, whatever its labels say by now.
    pub(crate) fn in_charge(&self, primary: &Primary, row: &Row) -> bool {
        primary.selects(row) || (row.deleting() && row.finalizers().contains(&self.finalizer()))
    }

    /// The primary kind with this table.
    pub fn primary(&self, table: &KindKey) -> Option<&Primary> {
        self.primaries.iter().find(|primary| {
            primary.gvk.kind == *table.kind
                && primary.gvk.group == *table.group
                && primary.gvk.version == *table.version
        })
    }
}

/// The table of a kind.
pub fn table_of(gvk: &Gvk) -> KindKey {
    KindKey {
        group: gvk.group.as_str().into(),
        version: gvk.version.as_str().into(),
        kind: gvk.kind.as_str().into(),
    }
}

/// The kind of a table.
pub fn kind_of(table: &KindKey) -> Gvk {
    Gvk::new(&*table.group, &*table.version, &*table.kind)
}
