//! Following a plan: writes, prune, finalizer; and what is remembered when all of it went through.

use crate::act::{Acted, Actor};
use crate::effects::{self, Stand};
use crate::finalizer;
use crate::finding::{Finding, Retry};
use crate::key::name_key;
use crate::memory::{Memory, Settled};
use crate::outcomes::Identity;
use crate::owner::{inventory, provably_ours};
use crate::pass::{Context, Outcome};
use crate::patch::PatchTask;
use crate::patched::{self, Patched};
use crate::planning::{self, Planned, Unplanned};
use crate::prune;
use crate::record::Record;
use crate::remember::{Edit, Recalled, Restated};
use crate::report::{ApplyReason, Ending, Verdict};
use crate::shared::Shared;
use crate::subresource;
use crate::traits::ObjectRef;
use crate::trigger::Slot;
use crate::undo::{self, Stubborn, Way};
use kybern_interface::{Children, Deletion, Plan, names};
use kybern_table::{Columns, Index, Keys, KindKey, ScanRead};

/// Passes in a row that may change the state at once; after that they come more and more slowly.
const MAX_RESTATES: u32 = 16;

/// Does what the plan says.
#[expect(clippy::too_many_arguments, reason = "the whole of a pass's facts")]
pub(crate) async fn follow(
    shared: &Shared,
    cx: &Context,
    actor: &Actor<'_>,
    memory: &mut Memory,
    plan: &Plan,
    recalled: &Recalled,
    forced: bool,
    now: Settled,
) -> Outcome {
    let active = cx.active();
    let planned = planning::plan(
        plan,
        &shared.deps,
        active,
        &cx.owner,
        &cx.row,
        &cx.snapshot,
        memory,
        &recalled.record,
        forced,
    );
    let planned = match planned {
        Ok(planned) => planned,
        Err(Unplanned::TooOld(expired)) => {
            return Outcome::of(Finding::not_ready(expired.to_string()));
        }
        Err(Unplanned::Offences(offences)) => {
            actor.metrics.lock().refused += 1;
            return Outcome::of(Finding::of_offences(&offences));
        }
    };
    if !planned.unwatched.is_empty() {
        let words: Vec<String> = planned.unwatched.iter().map(KindKey::to_string).collect();
        let message = format!("waiting for tables of {}", words.join(", "));
        shared.await_tables(&cx.key, planned.unwatched);
        return Outcome::of(Finding::not_ready(message));
    }
    let mut outcome = Outcome::of(Finding::succeeded());
    outcome.steps = planned.steps();
    outcome.status = planned.checked.status.clone();
    outcome.events = planned.checked.events.clone();
    outcome.requeue_ms = plan.requeue_after_ms;
    outcome.decided = true;
    let drifted = outcome
        .steps
        .iter()
        .filter(|step| matches!(step.verdict, Verdict::Apply(ApplyReason::Drift(_))))
        .count();
    actor.metrics.lock().drifted += u64::try_from(drifted).unwrap_or(u64::MAX);

    if !cx.row.deleting()
        && planned.outlasts()
        && let Some(patch) = finalizer::add(&cx.object, &active.finalizer())
        && let Err(error) = actor.patch_as_host(&cx.owner.object(), patch).await
    {
        outcome.finding = Finding::of_write(&cx.owner.object(), &error);
        return outcome;
    }

    let mut listed = patched::with(&recalled.record.patches, &planned.patches);
    match remember(cx, actor, memory, recalled, &planned, &listed).await {
        Ok(restated) => outcome.restated = restated,
        Err(finding) => {
            outcome.finding = finding;
            return outcome;
        }
    }

    let acted = actor
        .run(&planned.tasks, &planned.patches, &planned.checked.deletes)
        .await;
    watch_names(shared, cx, &planned, &acted);
    let complete = acted.complete();
    // A write whose answer had no object leaves nothing to compare with later.
    let known =
        acted.children.len() >= planned.tasks.len() && acted.patched.len() >= planned.patches.len();
    outcome.finding = Finding::of_acted(&acted, &cx.owner);
    for (target, _) in &acted.problems {
        // What was remembered of a child in trouble may not hold any more.
        match crate::owner::find(&cx.snapshot, target) {
            Ok(Some(row)) => {
                memory.children.remove(row.uid().as_ref());
            }
            Ok(None) => {}
            Err(_) => memory.children.clear(),
        }
    }
    if complete && planned.checked.children == Children::Complete {
        memory.children = acted.children;
    } else {
        memory.children.extend(acted.children);
    }
    if !complete {
        return outcome;
    }
    if let Err(finding) = subresource::run(actor, &planned.checked.subresources).await {
        outcome.finding = finding;
        return outcome;
    }
    if let Err(finding) = clear(actor, &planned).await {
        outcome.finding = finding;
        return outcome;
    }
    if planned.held > 0 {
        outcome.finding = Finding::held(format!(
            "{} of {} children are no longer planned; nothing was pruned: set the annotation {}={} to go ahead",
            planned.held,
            planned.children,
            names::CONFIRM_PRUNE,
            planned.held,
        ));
        return outcome;
    }
    memory.patched = acted.patched;
    if let Err(finding) = patched(cx, actor, memory, &planned, &mut listed).await {
        outcome.finding = finding;
        return outcome;
    }
    let known_outcomes = &recalled.record.outcomes;
    let stand = effects::start(shared, cx, memory, &planned.checked.effects, known_outcomes);
    if let Err(finding) = let_go(shared, cx, actor, plan, &planned, &listed, &stand).await {
        outcome.finding = finding;
        return outcome;
    }
    if outcome.finding.is_ready()
        && let Some(finding) = stand.finding()
    {
        outcome.finding = finding;
    }
    if outcome.restated == Restated::Yes {
        if memory.restates >= MAX_RESTATES {
            outcome.finding = unsettled();
        }
    } else if known && !stand.blocked {
        settle(shared, cx, memory, now);
    }
    outcome
}

/// Makes the record say what the plan says: its state, which effects it goes on to know, and what
/// is patched.
async fn remember(
    cx: &Context,
    actor: &Actor<'_>,
    memory: &Memory,
    recalled: &Recalled,
    planned: &Planned,
    listed: &[Patched],
) -> Result<Restated, Finding> {
    let state = planned.checked.state.as_ref();
    let known = &recalled.record;
    if state.is_none() && known.outcomes.is_empty() && known.patches == listed {
        return Ok(Restated::No);
    }
    let tasks = planned.checked.effects.iter();
    let named: Vec<Identity> = tasks.map(|task| task.identity.clone()).collect();
    let edit = Edit {
        state,
        named: &named,
        patches: listed,
    };
    let ledger = memory.ledger.clone();
    ledger.remember(actor, cx.leaving(), recalled, &edit).await
}

/// What a plan depends on should come to rest.
fn unsettled() -> Finding {
    Finding::waiting(
        "StateUnsettled",
        "each plan sets another state, so that there is always one more to make: setState has to come to the same state again",
        Retry::Poll,
    )
}

/// Prunes and orphans what the plan does not name.
async fn clear(actor: &Actor<'_>, planned: &Planned) -> Result<(), Finding> {
    for (target, child, verdict) in &planned.leftovers {
        let result = match verdict {
            Verdict::Prune => actor.prune(target, child).await,
            Verdict::Orphan => actor.orphan(target, child).await,
            _ => Ok(()),
        };
        result.map_err(|error| Finding::of_write(target, &error))?;
    }
    Ok(())
}

/// Takes back the patches that are no longer planned, and records what is left.
async fn patched(
    cx: &Context,
    actor: &Actor<'_>,
    memory: &mut Memory,
    planned: &Planned,
    listed: &mut Vec<Patched>,
) -> Result<(), Finding> {
    let stubborn = if cx.row.deleting() {
        Stubborn::HandedOver
    } else {
        Stubborn::Fails
    };
    let finalizer = cx.active().finalizer();
    let held = cx.row.deleting().then_some(finalizer.as_str());
    for patched in &planned.undo {
        let undone = undo::undo(actor, patched, Way::Undo(stubborn)).await;
        let told = |error| Finding::of_undo(&patched.target(), &error, held);
        undone.map_err(told)?;
    }
    let came = memory
        .patched
        .iter()
        .map(|baseline| baseline.patched.clone());
    let left = patched::replaced(&patched::without(listed, &planned.undo), came);
    if left == *listed {
        return Ok(());
    }
    listed.clone_from(&left);
    let ledger = memory.ledger.clone();
    let edit = |record: &mut Record| record.patches = left;
    ledger.note(actor, cx.leaving(), edit).await
}

/// Removes our finalizer when nothing needs it any more.
async fn let_go(
    shared: &Shared,
    cx: &Context,
    actor: &Actor<'_>,
    plan: &Plan,
    planned: &Planned,
    listed: &[Patched],
    stand: &Stand,
) -> Result<(), Finding> {
    let active = cx.active();
    let finalizer = active.finalizer();
    if cx.row.deleting()
        && let Some(why) = stand.holds()
    {
        // The outcome is the next trigger, or the time when it is tried again.
        return Err(Finding::waiting("Deleting", why, Retry::OnChange));
    }
    if cx.row.deleting() && effects::under_way(shared, actor, cx) {
        let why = "waiting for effects that are under way";
        return Err(Finding::waiting("Deleting", why, Retry::OnChange));
    }
    if cx.row.deleting()
        && let Deletion::InProgress(why) = &plan.deletion
    {
        return Err(Finding::waiting("Deleting", why, Retry::Poll));
    }
    let needed = planned.out_of_reach() || !listed.is_empty();
    if !finalizer::has(&cx.object, &finalizer) || (!cx.row.deleting() && needed) {
        return Ok(());
    }
    let reader = &shared.deps.reader;
    let (children, current) = reader.read(|snapshot| {
        let children = inventory(snapshot, active, &cx.owner)?;
        let named = children
            .into_iter()
            .map(|child| (crate::owner::child_ref(snapshot, &child), child));
        let current = crate::owner::find(snapshot, &cx.owner.object())?;
        Ok((named.collect::<Vec<_>>(), current))
    });
    let left: Vec<String> = children
        .into_iter()
        .filter(|(_, child)| {
            !cx.owner.reaches(child.row.namespace().unwrap_or_default())
                && provably_ours(&child.row, &cx.owner)
                && (child.row.deleting()
                    || !matches!(prune::verdict(child, &cx.owner), Verdict::Kept))
        })
        .map(|(name, _)| name.to_string())
        .collect();
    if !left.is_empty() {
        if !cx.row.deleting() {
            return Ok(());
        }
        let message = format!("waiting for {} to be gone", left.join(", "));
        return Err(Finding::waiting("Deleting", message, Retry::Poll));
    }
    // The CR may have changed since the pass began; the patch names the state that it is for.
    let current = current
        .filter(|row| row.uid() == cx.owner.uid)
        .map_or_else(|| cx.object.clone(), |row| row.value());
    let Some(patch) = finalizer::remove(&current, &finalizer) else {
        return Ok(());
    };
    match actor.patch_as_host(&cx.owner.object(), patch).await {
        Ok(_) if cx.row.deleting() => Err(Finding::quiet(Ending::Gone)),
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Err(Finding::quiet(Ending::Gone)),
        Err(error) => Err(Finding::of_write(&cx.owner.object(), &error)),
    }
}

/// Remembers that this pass fully succeeded, and on what.
fn settle(shared: &Shared, cx: &Context, memory: &mut Memory, mut now: Settled) {
    let reader = &shared.deps.reader;
    now.extras = reader
        .read(|snapshot| inventory(snapshot, cx.active(), &cx.owner))
        .into_iter()
        .map(|child| child.row.uid().into_owned())
        .filter(|uid| !memory.children.contains_key(uid))
        .collect();
    memory.settled = Some(now);
    memory.resynced = Some(cx.row.annotation(names::FORCE_RESYNC));
}

/// A child that cannot have its name yet is looked at again when that name changes hands, and one
/// whose namespace is not there when that comes; what is patched, when its fields change.
fn watch_names(shared: &Shared, cx: &Context, planned: &Planned, acted: &Acted) {
    let (stuck, patched): (Vec<&PatchTask>, Vec<&PatchTask>) =
        planned.patches.iter().partition(|task| {
            let mut problems = acted.problems.iter();
            problems.any(|(target, _)| *target == task.intent.target)
        });
    let read = |task: &&PatchTask| task.intent.read();
    let patched = patched.iter().map(read).collect();
    let sequence = cx.snapshot.sequence();
    shared.listen(&cx.key, Slot::Patched, patched, sequence);
    let is_patch = |name: &ObjectRef| stuck.iter().any(|task| task.intent.target == *name);
    let reads = acted
        .problems
        .iter()
        .filter(|(target, _)| !is_patch(target))
        .flat_map(|(target, problem)| {
            let name = ScanRead {
                table: crate::active::table_of(&target.gvk),
                // That it comes or goes always counts; of its changes, only whose it is.
                columns: columns(&["owners", "labels"]),
                keys: named(name_key(&target.namespace, &target.name)),
            };
            let namespace = problem.lacks_namespace().then(|| ScanRead {
                table: KindKey::new("", "v1", "Namespace"),
                columns: columns(&[]),
                keys: named(target.namespace.clone()),
            });
            [Some(name), namespace].into_iter().flatten()
        })
        .chain(stuck.iter().map(read))
        .collect();
    shared.listen(&cx.key, Slot::Names, reads, sequence);
}

fn columns(names: &[&str]) -> Columns {
    Columns::Named(names.iter().map(|name| (*name).to_owned()).collect())
}

fn named(name: String) -> Keys {
    Keys::Of {
        index: Index::Name,
        values: vec![name],
    }
}
