//! Triggers: which CRs a change of a row concerns.
//!
//! Three ways: the row is a CR itself, it belongs to a CR (controller uid, inventory label), or the
//! last answers of a CR were read from it. Every one is a look-up, before and after the change, so
//! that the cost follows the number of CRs that are concerned.

use crate::cause::StartedBy;
use crate::delta::Delta;
use crate::key::CrKey;
use crate::reads::{self, Reads};
use crate::seen::Seen;
use crate::why::OnHold;
use kybern_interface::names;
use kybern_table::{Reader, Row, RowChange, ScanRead, Sequence};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Which of a CR's read sets is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    /// What the answers were read from.
    Answers,
    /// Names that children of the CR cannot have yet.
    Names,
    /// Objects that the CR patches.
    Patched,
    /// What the statements of the plan were read from.
    Statements,
}

#[derive(Debug, Default)]
struct Known {
    uid: String,
    part_of: String,
    answers: Vec<ScanRead>,
    names: Vec<ScanRead>,
    patched: Vec<ScanRead>,
    statements: Vec<ScanRead>,
}

/// Why a change concerns a CR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Concern {
    pub(crate) on_hold: OnHold,
    pub(crate) by: StartedBy,
    /// What of it a pass may know already.
    pub(crate) seen: Seen,
}

impl Concern {
    /// One that no pass knows already.
    pub(crate) fn new(on_hold: OnHold, by: StartedBy) -> Self {
        let seen = Seen::More;
        Self { on_hold, by, seen }
    }
}

/// The CRs that a change concerns.
pub(crate) type Concerned = BTreeMap<CrKey, Concern>;

/// Notes that a change concerns a CR: the first reason, and what any of them does to a hold.
fn concern(out: &mut Concerned, key: &CrKey, make: impl FnOnce() -> Concern) {
    match out.get_mut(key) {
        Some(before) => {
            let Concern { on_hold, seen, .. } = make();
            before.on_hold = before.on_hold.max(on_hold);
            before.seen.merge(seen);
        }
        None => {
            out.insert(key.clone(), make());
        }
    }
}

/// The trigger index.
#[derive(Debug, Default)]
pub(crate) struct Triggers {
    answers: Reads,
    statements: Reads,
    names: Reads,
    patched: Reads,
    known: HashMap<CrKey, Known>,
    by_uid: HashMap<String, BTreeSet<CrKey>>,
    by_part_of: HashMap<String, CrKey>,
}

impl Triggers {
    /// Remembers under which uid and label a CR's children are found. The label follows from the
    /// uid and is asked for only when that is new.
    pub(crate) fn know(&mut self, key: &CrKey, uid: &str, part_of: impl FnOnce() -> String) {
        if self.known.get(key).is_some_and(|known| known.uid == uid) {
            return;
        }
        let known = self.known.entry(key.clone()).or_default();
        let part_of = part_of();
        let old_uid = std::mem::replace(&mut known.uid, uid.to_owned());
        let old_label = std::mem::replace(&mut known.part_of, part_of.clone());
        self.unlink(key, &old_uid, &old_label);
        self.by_uid
            .entry(uid.to_owned())
            .or_default()
            .insert(key.clone());
        self.by_part_of.insert(part_of, key.clone());
    }

    fn unlink(&mut self, key: &CrKey, uid: &str, part_of: &str) {
        if let Some(keys) = self.by_uid.get_mut(uid) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_uid.remove(uid);
            }
        }
        self.by_part_of.remove(part_of);
    }

    /// Forgets a CR.
    pub(crate) fn forget(&mut self, key: &CrKey) {
        self.install(key, Slot::Answers, &[]);
        self.install(key, Slot::Names, &[]);
        self.install(key, Slot::Patched, &[]);
        self.install(key, Slot::Statements, &[]);
        if let Some(known) = self.known.remove(key) {
            self.unlink(key, &known.uid, &known.part_of);
        }
    }

    /// Forgets a registration.
    pub(crate) fn forget_plugin(&mut self, plugin: &str) {
        let keys: Vec<CrKey> = self
            .known
            .keys()
            .filter(|key| &*key.plugin == plugin)
            .cloned()
            .collect();
        for key in keys {
            self.forget(&key);
        }
    }

    /// Replaces a CR's read set; says whether it is another than before, in which case changes
    /// since the snapshot that it was read on have to be looked at again.
    pub(crate) fn install(&mut self, key: &CrKey, slot: Slot, reads: &[ScanRead]) -> bool {
        if reads.is_empty() && !self.known.contains_key(key) {
            return false;
        }
        let known = self.known.entry(key.clone()).or_default();
        let (place, index) = match slot {
            Slot::Answers => (&mut known.answers, &mut self.answers),
            Slot::Names => (&mut known.names, &mut self.names),
            Slot::Patched => (&mut known.patched, &mut self.patched),
            Slot::Statements => (&mut known.statements, &mut self.statements),
        };
        if *place == reads {
            return false;
        }
        for read in place.iter() {
            index.drop(key, read);
        }
        for read in reads {
            index.add(key, read);
        }
        *place = reads.to_vec();
        true
    }

    /// The CRs that a change concerns, their own changes apart.
    pub(crate) fn concerned(&self, delta: &Delta<'_>, out: &mut Concerned) {
        let change = delta.change;
        let version = change.new.as_ref().map(Row::resource_version);
        let child = || Concern {
            on_hold: OnHold::Waits,
            by: StartedBy::Child(delta.name()),
            seen: Seen::child(&change.uid, version),
        };
        for row in change.old.iter().chain(&change.new) {
            let owners = row
                .owner_uid()
                .and_then(|uid| self.by_uid.get(uid.as_ref()));
            for key in owners.into_iter().flatten() {
                concern(out, key, child);
            }
            if !self.by_part_of.is_empty()
                && let Some(key) = row
                    .label(names::PART_OF)
                    .and_then(|label| self.by_part_of.get(&label))
            {
                concern(out, key, child);
            }
        }
        for reads in [&self.answers, &self.statements] {
            reads.concerned(delta, |key, matched| {
                let by = || StartedBy::Answer(delta.name(), Arc::clone(matched));
                concern(out, key, || Concern::new(OnHold::Waits, by()));
            });
        }
        self.patched.concerned(delta, |key, _| {
            let by = || StartedBy::Patched(delta.name());
            concern(out, key, || Concern::new(OnHold::Waits, by()));
        });
        // A name that changes hands may be all that a CR failed at.
        self.names.concerned(delta, |key, _| {
            let by = || StartedBy::Name(delta.name());
            concern(out, key, || Concern::new(OnHold::Ends, by()));
        });
    }

    /// How many CRs have a read set or children to listen for.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }
}

/// Why a change since then concerns a CR that has just got these reads in a slot, if one does.
pub(crate) fn missed_since(
    reader: &Reader,
    since: Sequence,
    reads: &[ScanRead],
    slot: Slot,
) -> Option<Concern> {
    match reader.snapshot().changes_since(since) {
        Ok(changes) => changes
            .iter()
            .find_map(|change| missed(reads, slot, change)),
        Err(_) => Some(Concern::new(OnHold::Waits, StartedBy::LogLost)),
    }
}

fn missed(reads: &[ScanRead], slot: Slot, change: &RowChange) -> Option<Concern> {
    let delta = Delta::of(change);
    let matched = reads.iter().find_map(|read| reads::matched(read, &delta))?;
    Some(match slot {
        Slot::Answers | Slot::Statements => {
            let by = StartedBy::Answer(delta.name(), Arc::new(matched));
            Concern::new(OnHold::Waits, by)
        }
        Slot::Names => Concern::new(OnHold::Ends, StartedBy::Name(delta.name())),
        Slot::Patched => Concern::new(OnHold::Waits, StartedBy::Patched(delta.name())),
    })
}

/// What a change of a CR's own row does to a delay that holds the CR; none if its passes do not
/// depend on it, as on its status.
pub(crate) fn own_change(delta: &Delta<'_>) -> Option<OnHold> {
    let (Some(old), Some(new)) = (&delta.change.old, &delta.change.new) else {
        return Some(OnHold::Forgets);
    };
    let differs = |path: &str| delta.at_differs(old, new, path);
    let user = old.uid() != new.uid()
        || old.generation() != new.generation()
        || old.deleting() != new.deleting()
        || old.labels() != new.labels();
    if user {
        return Some(OnHold::Forgets);
    }
    if differs("metadata.annotations") {
        // Programs keep notes in annotations; those of ours are people's requests.
        return Some(if requests(old) == requests(new) {
            OnHold::Waits
        } else {
            OnHold::Forgets
        });
    }
    if new.generation().is_some() {
        return (old.finalizers() != new.finalizers()).then_some(OnHold::Waits);
    }
    // A kind without generations: anything may matter.
    Some(if delta.body_differs(old, new) {
        OnHold::Forgets
    } else {
        OnHold::Waits
    })
}

/// What people ask of the host on a CR.
const REQUESTS: [&str; 5] = [
    names::PAUSED,
    names::RECONCILE_AT,
    names::FORCE_RESYNC,
    names::PLUGIN_REVISION,
    names::CONFIRM_PRUNE,
];

fn requests(row: &Row) -> [Option<String>; 5] {
    REQUESTS.map(|name| row.annotation(name))
}

#[cfg(test)]
#[path = "trigger_tests.rs"]
mod tests;
