//! Planning: decide's plan, checked and compared with what is there.

use crate::act::Task;
use crate::active::{Active, table_of};
use crate::check::{self, Checked, Fault, Offence, Sub};
use crate::diff::{self, Managers};
use crate::effects::EffectTask;
use crate::engine::Deps;
use crate::memory::Memory;
use crate::owner::{Child, Owner, Ownership, child_ref, find, inventory, ownership};
use crate::patch::{self, PatchTask};
use crate::patched::{self, Patched};
use crate::prune;
use crate::record::Record;
use crate::report::{Step, Verdict};
use crate::subresource;
use crate::traits::{Kinds, ObjectRef};
use kybern_interface::{
    Action, Children, DeleteObject, Deletion, EffectPhase, Gvk, PatchObject, Plan, names,
};
use kybern_table::{KindKey, Row, Snapshot, SnapshotTooOld, TableState};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A plan that has passed its checks, and what is to be done for it.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) checked: Checked,
    pub(crate) tasks: Vec<Task>,
    /// Children that the plan does not name, with what happens to them.
    pub(crate) leftovers: Vec<(ObjectRef, Child, Verdict)>,
    /// Patches of objects that are not children.
    pub(crate) patches: Vec<PatchTask>,
    /// What has a patch that is not planned any more.
    pub(crate) undo: Vec<Patched>,
    /// All children there are.
    pub(crate) children: usize,
    /// Deletions that are held back.
    pub(crate) held: usize,
    /// Tables of intents that cannot be read: what exists is not known.
    pub(crate) unwatched: Vec<KindKey>,
}

impl Planned {
    /// What is to be done, for people.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = self
            .tasks
            .iter()
            .map(|task| Step {
                target: task.intent.target.clone(),
                wave: task.intent.wave,
                verdict: task.difference.verdict.clone(),
            })
            .collect();
        steps.extend(self.checked.deletes.iter().map(|(target, delete)| Step {
            target: target.clone(),
            wave: delete.wave,
            verdict: Verdict::Delete,
        }));
        steps.extend(self.patches.iter().map(|task| Step {
            target: task.intent.target.clone(),
            wave: task.intent.wave,
            verdict: task.verdict.clone(),
        }));
        steps.extend(self.undo.iter().map(|patched| Step {
            target: patched.target(),
            wave: i32::MAX,
            verdict: Verdict::Undo,
        }));
        steps.extend(self.checked.subresources.iter().map(|task| Step {
            target: task.target.clone(),
            wave: i32::MAX,
            verdict: match task.what {
                Sub::Evict { .. } => Verdict::Evict,
                Sub::Scale { replicas } => Verdict::Scale(replicas),
            },
        }));
        steps.extend(self.leftovers.iter().map(|(target, _, verdict)| Step {
            target: target.clone(),
            wave: i32::MAX,
            verdict: verdict.clone(),
        }));
        steps.sort_by(|a, b| (a.wave, &a.target).cmp(&(b.wave, &b.target)));
        steps
    }

    /// Whether the plan wants something that needs the host when the CR goes: a child that the
    /// garbage collector cannot reach, or an effect.
    pub(crate) fn out_of_reach(&self) -> bool {
        let finalizes = |task: &EffectTask| task.phase == EffectPhase::Finalize;
        self.tasks.iter().any(|task| !task.intent.reachable)
            || self.checked.effects.iter().any(finalizes)
    }

    /// Whether something is left behind if the CR just goes.
    pub(crate) fn outlasts(&self) -> bool {
        self.out_of_reach() || self.patches.iter().any(|task| task.patched.is_some())
    }
}

/// Why there is nothing to do for a plan.
#[derive(Debug)]
pub(crate) enum Unplanned {
    /// The plan breaks rules.
    Offences(Vec<Offence>),
    /// The pass took too long: what is there can no longer be read as it was.
    TooOld(SnapshotTooOld),
}

impl From<SnapshotTooOld> for Unplanned {
    fn from(expired: SnapshotTooOld) -> Unplanned {
        Unplanned::TooOld(expired)
    }
}

/// Checks a plan and compares it with the snapshot.
#[expect(clippy::too_many_arguments, reason = "the whole of a pass's facts")]
pub(crate) fn plan(
    plan: &Plan,
    deps: &Deps,
    active: &Active,
    owner: &Owner,
    cr: &Row,
    snapshot: &Snapshot,
    memory: &Memory,
    record: &Record,
    forced: bool,
) -> Result<Planned, Unplanned> {
    let deleting = cr.deleting();
    let kinds = &*deps.kinds;
    let plan = if deleting {
        &without_unserved(plan, kinds)
    } else {
        plan
    };
    let mut checked =
        check::check(plan, active, owner, kinds, &deps.config.plan).map_err(Unplanned::Offences)?;
    if deleting {
        checked.patches.clear();
    }
    checked.deletes = deletes(checked.deletes, owner, snapshot)?;
    checked.subresources = if deleting {
        Vec::new()
    } else {
        subresource::needed(&checked.subresources, snapshot)?
    };
    let mut unwatched: Vec<KindKey> = checked
        .intents
        .iter()
        .map(|intent| table_of(&intent.target.gvk))
        .chain(
            checked
                .patches
                .iter()
                .map(|intent| table_of(&intent.target.gvk)),
        )
        .filter(|table| {
            !snapshot
                .table(table)
                .is_some_and(|view| matches!(view.state(), TableState::Ready { .. }))
        })
        .collect();
    unwatched.sort();
    unwatched.dedup();
    let manager = active.manager();
    let whose = Managers {
        manager: &manager,
        former: &active.registration.spec.former_field_managers,
    };
    let tasks: Vec<Task> = checked
        .intents
        .iter()
        .filter(|intent| !deleting || intent.during_deletion)
        .map(|intent| {
            let row = find(snapshot, &intent.target)?;
            let remembered = row
                .as_ref()
                .and_then(|row| memory.children.get(row.uid().as_ref()));
            let live = row.as_ref().map(Row::value);
            let difference = diff::diff(intent, live.as_ref(), owner, &whose, remembered, forced);
            Ok(Task {
                intent: Arc::clone(intent),
                live,
                difference,
            })
        })
        .collect::<Result<_, SnapshotTooOld>>()?;

    let ours = active.patch_manager(&owner.uid);
    let patches = patch::tasks(&checked.patches, snapshot, owner, &ours, record, forced)?;

    let inventory = inventory(snapshot, active, owner)?;
    let children = inventory.len();
    let named: BTreeSet<(String, String, String, String)> = checked
        .intents
        .iter()
        .map(|intent| &intent.target)
        .chain(checked.deletes.iter().map(|(target, _)| target))
        .map(identity)
        .collect();
    let mut leftovers: Vec<(ObjectRef, Child, Verdict)> = Vec::new();
    let over =
        deleting && plan.deletion != Deletion::Done && plan.deletion != Deletion::NotDeleting;
    let prunes = if deleting {
        !over
    } else {
        checked.children == Children::Complete
    };
    let about: Vec<Patched> = patches.iter().filter_map(|t| t.patched.clone()).collect();
    let undo = if prunes {
        patched::without(&record.patches, &about)
    } else {
        Vec::new()
    };
    for child in inventory {
        let target = child_ref(snapshot, &child);
        let keep = if deleting {
            // What the garbage collector reaches is its business.
            owner.reaches(&target.namespace)
        } else {
            named.contains(&identity(&target))
        };
        if prunes && !keep {
            let verdict = prune::verdict(&child, owner);
            leftovers.push((target, child, verdict));
        }
    }
    let doomed = leftovers
        .iter()
        .filter(|(.., verdict)| *verdict == Verdict::Prune)
        .count();
    let confirmed = cr.annotation(names::CONFIRM_PRUNE);
    let allowed = deleting
        || prune::allowed(
            doomed,
            children,
            active.limits.max_prune,
            confirmed.as_deref(),
        );
    if !allowed {
        for (.., verdict) in &mut leftovers {
            if *verdict == Verdict::Prune {
                *verdict = Verdict::Held;
            }
        }
    }
    Ok(Planned {
        checked,
        tasks,
        leftovers,
        patches,
        undo,
        children,
        held: if allowed { 0 } else { doomed },
        unwatched,
    })
}

/// What is to be deleted of what the plan says. A grant of `delete` is for objects that no plan wants:
/// the children of another CR go when its own plan no longer names them.
fn deletes(
    planned: Vec<(ObjectRef, DeleteObject)>,
    owner: &Owner,
    snapshot: &Snapshot,
) -> Result<Vec<(ObjectRef, DeleteObject)>, Unplanned> {
    let mut deletes = Vec::new();
    let mut offences = Vec::new();
    for (target, delete) in planned {
        // What is gone, or another by now, needs no delete; what nobody watches may be there.
        let watched = snapshot.table(&table_of(&target.gvk)).is_some();
        let uid = delete.target.uid.as_deref();
        let there = find(snapshot, &target)?
            .filter(|row| Some(row.uid().as_ref()) == uid && !row.deleting());
        match there {
            Some(row) => match child_of_another(&row, owner) {
                Some(whose) => offences.push(Offence {
                    fault: Fault::NotGranted,
                    message: format!(
                        "delete of {target}: {whose}, whose own plan says whether it goes"
                    ),
                }),
                None => deletes.push((target, delete)),
            },
            None if !watched => deletes.push((target, delete)),
            None => {}
        }
    }
    if offences.is_empty() {
        Ok(deletes)
    } else {
        Err(Unplanned::Offences(offences))
    }
}

/// Whose child it is, if this host made it one of another CR.
fn child_of_another(row: &Row, owner: &Owner) -> Option<String> {
    row.annotation(names::INTENT)?;
    match ownership(&row.value(), owner) {
        Ownership::Foreign { whose } => Some(whose),
        _ => None,
    }
}

/// The plan without what a deletion leaves undone anyway and whose kind went: nothing waits for it
/// to come back.
fn without_unserved(plan: &Plan, kinds: &dyn Kinds) -> Plan {
    let runs = |action: &Action| {
        let gvk = match action {
            Action::Apply(apply) if !apply.during_deletion => {
                let [api_version, kind] = ["apiVersion", "kind"].map(|key| {
                    let text = apply.object.get(key).and_then(Value::as_str);
                    text.unwrap_or_default()
                });
                Gvk::from_api_version(api_version, kind)
            }
            Action::Patch(PatchObject { target, .. }) => {
                Gvk::new(&*target.group, &*target.version, &*target.kind)
            }
            _ => return true,
        };
        kinds.facts(&gvk).is_some()
    };
    let mut plan = plan.clone();
    plan.actions.retain(runs);
    plan
}

/// What makes an object one object, whatever version names it.
fn identity(target: &ObjectRef) -> (String, String, String, String) {
    (
        target.gvk.group.clone(),
        target.gvk.kind.clone(),
        target.namespace.clone(),
        target.name.clone(),
    )
}
