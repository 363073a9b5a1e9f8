//! One pass over one CR: sense, decide, check, diff, act, status.
//!
//! A pass sees one snapshot. It may be stale, or end anywhere: the next one starts from what is
//! there then.

use crate::act::{Acted, Actor};
use crate::active::{Active, Primary};
use crate::engine::Shared;
use crate::finalizer;
use crate::finding::{Finding, Retry};
use crate::intent::remove_path;
use crate::key::{CrKey, name_key};
use crate::memory::{Memory, Settled};
use crate::owner::{Owner, child_tables, inventory, provably_ours};
use crate::planning::{self, Planned};
use crate::prune;
use crate::queue::Why;
use crate::report::{AnswerSummary, Ending, Step, Verdict};
use crate::sensing;
use crate::status::{Health, HealthKind};
use crate::traits::{Answer, SenseRequest};
use crate::trigger::Slot;
use kybern_interface::{Deletion, Plan, Sensing, Situation, Trigger, names};
use kybern_table::{Columns, Index, Keys, KindKey, Row, ScanRead, Snapshot, TableState};
use serde_json::Value;
use std::sync::Arc;

/// A registration with what follows from it once.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) active: Active,
    /// Fingerprint of settings, grants and everything else that is registered.
    pub(crate) fingerprint: u128,
}

/// What a pass knows from the start.
pub(crate) struct Context {
    pub(crate) registered: Arc<Registered>,
    pub(crate) primary: Primary,
    pub(crate) key: CrKey,
    pub(crate) snapshot: Snapshot,
    pub(crate) row: Row,
    /// The CR as the table has it.
    pub(crate) object: Value,
    pub(crate) owner: Owner,
    /// RFC 3339.
    pub(crate) now: String,
}

impl Context {
    pub(crate) fn active(&self) -> &Active {
        &self.registered.active
    }
}

/// What came of a pass before its status is written.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) finding: Finding,
    /// The plugin's status, if it decided and gave one.
    pub(crate) status: Option<Value>,
    /// The plugin's own delay, if it gave one.
    pub(crate) requeue_ms: Option<u64>,
    pub(crate) answers: Vec<AnswerSummary>,
    pub(crate) steps: Vec<Step>,
    /// The plugin's Events.
    pub(crate) events: Vec<(kybern_interface::EventType, String, String)>,
    /// Whether decide returned a plan that was accepted.
    pub(crate) decided: bool,
}

impl Outcome {
    pub(crate) fn of(finding: Finding) -> Self {
        Self {
            finding,
            status: None,
            requeue_ms: None,
            answers: Vec::new(),
            steps: Vec::new(),
            events: Vec::new(),
            decided: false,
        }
    }
}

/// Where the CR of a pass is.
pub(crate) enum Located {
    /// Here it is.
    Found(Box<Context>),
    /// It does not exist, or is not this registration's.
    Gone,
    /// These tables cannot be read yet.
    NotReady(String, Vec<KindKey>),
}

/// Finds the CR of a pass on a new snapshot.
pub(crate) fn locate(shared: &Shared, key: &CrKey) -> Located {
    let Some(registered) = shared.registered(&key.plugin) else {
        return Located::Gone;
    };
    let Some(primary) = registered.active.primary(&key.table).cloned() else {
        return Located::Gone;
    };
    let snapshot = shared.deps.reader.snapshot();
    let mut tables = vec![key.table.clone()];
    tables.extend(child_tables(&snapshot, &registered.active));
    let mut missing: Vec<(KindKey, String)> = Vec::new();
    for table in tables {
        match snapshot.table(&table).map(|view| view.state()) {
            Some(TableState::Ready { .. }) => {}
            Some(TableState::Loading) => missing.push((table, "is still loading".to_owned())),
            Some(TableState::Failed(why)) => {
                missing.push((table, format!("cannot be read: {why}")))
            }
            None => missing.push((table, "is not watched yet".to_owned())),
        }
    }
    if !missing.is_empty() {
        let words: Vec<String> = missing
            .iter()
            .map(|(table, why)| format!("{table} {why}"))
            .collect();
        let tables = missing.into_iter().map(|(table, _)| table).collect();
        return Located::NotReady(words.join("; "), tables);
    }
    let row = snapshot.table(&key.table).and_then(|view| {
        view.lookup(&Index::Name, &key.index_name())
            .into_iter()
            .next()
    });
    let Some(row) = row.filter(|row| primary.selects(row)) else {
        return Located::Gone;
    };
    let owner = Owner::of(&registered.active, &primary, key, &row);
    Located::Found(Box::new(Context {
        object: row.value(),
        now: shared.deps.clock.now().to_string(),
        registered,
        primary,
        key: key.clone(),
        snapshot,
        row,
        owner,
    }))
}

/// A pass up to the point where its status is written.
pub(crate) async fn run(
    shared: &Shared,
    cx: &Context,
    actor: &Actor<'_>,
    memory: &mut Memory,
    why: Why,
) -> Outcome {
    let active = cx.active();
    if memory.uid != cx.owner.uid {
        *memory = Memory {
            uid: cx.owner.uid.clone(),
            ..Memory::default()
        };
    }
    let forced = sensing::forced(&cx.row, memory);
    if let Some(other) = shared.rival(&cx.key, &cx.row) {
        let mut finding = Finding::failed(
            "ClaimedTwice",
            format!(
                "registrations {} and {other} are both in charge of it: give them selectors that differ",
                active.name()
            ),
            true,
            Retry::OnChange,
        );
        // One of the two says so.
        if *other < *cx.key.plugin {
            finding.health = None;
        }
        return Outcome::of(finding);
    }
    let held = finalizer::has(&cx.object, &active.finalizer());
    if cx.row.deleting() {
        if !held {
            return Outcome::of(Finding::quiet(Ending::Gone));
        }
    } else if let Some(why) = sensing::paused(&cx.row, active) {
        let mut finding = Finding::quiet(Ending::Paused);
        finding.health = Some(Health::new(HealthKind::Paused, "Paused", why));
        return Outcome::of(finding);
    }

    let answers = match sense(shared, cx).await {
        Ok(answers) => answers,
        Err(finding) => return Outcome::of(finding),
    };
    let summaries: Vec<AnswerSummary> = answers
        .iter()
        .map(|answer| AnswerSummary {
            name: answer.name.clone(),
            fingerprint: answer.fingerprint,
            rows: answer.rows,
        })
        .collect();
    let now = Settled {
        digest: active.digest.clone(),
        registration: cx.registered.fingerprint,
        object: sensing::object_fingerprint(&cx.row, &cx.object),
        answers: sensing::fingerprints(&answers),
        extras: std::collections::BTreeSet::new(),
    };
    let skip = !forced
        && !why.timer
        && sensing::unchanged(&now, memory, &cx.snapshot, active, &cx.owner, &cx.object);
    if skip {
        let mut outcome = Outcome::of(Finding::quiet(Ending::Unchanged));
        outcome.answers = summaries;
        return outcome;
    }
    memory.settled = None;

    let mut outcome = match decide(shared, cx, actor, &answers).await {
        Ok(plan) => follow(shared, cx, actor, memory, &plan, forced, now).await,
        Err(finding) => Outcome::of(finding),
    };
    outcome.answers = summaries;
    outcome
}

/// The answers of all queries, their read sets installed.
pub(crate) async fn sense(shared: &Shared, cx: &Context) -> Result<Vec<Answer>, Finding> {
    let answers = ask(shared, cx).await?;
    let reads: Vec<ScanRead> = answers
        .iter()
        .flat_map(|answer| answer.read_set.scans.iter().cloned())
        .collect();
    shared.listen(&cx.key, Slot::Answers, reads, cx.snapshot.sequence());
    Ok(answers)
}

/// The answers of all queries.
pub(crate) async fn ask(shared: &Shared, cx: &Context) -> Result<Vec<Answer>, Finding> {
    let active = cx.active();
    let object = plain(&cx.object);
    let mut queries = sensing::static_queries(active, &object);
    if active.has_sense {
        let trigger = Trigger {
            resource: cx.primary.gvk.clone(),
            object: object.clone(),
            settings: active.settings.clone(),
            now: cx.now.clone(),
        };
        let sensing = shared.deps.decide.sense(active, trigger).await;
        match sensing.map_err(|error| Finding::of_decide(&error))? {
            Sensing::Skip => return Err(Finding::quiet(Ending::Skipped)),
            Sensing::Queries(dynamic) => {
                queries =
                    sensing::join(queries, dynamic).map_err(|error| Finding::of_decide(&error))?;
            }
        }
    }
    let request = SenseRequest {
        active,
        object: &object,
        queries: &queries,
        snapshot: &cx.snapshot,
    };
    shared
        .deps
        .sense
        .sense(request)
        .await
        .map(|sensed| sensed.answers)
        .map_err(|error| Finding::of_sense(&error))
}

/// The CR as plugins see it.
fn plain(object: &Value) -> Value {
    let mut object = object.clone();
    remove_path(
        &mut object,
        &["metadata", "managedFields"].map(str::to_owned),
    );
    object
}

async fn decide(
    shared: &Shared,
    cx: &Context,
    actor: &Actor<'_>,
    answers: &[Answer],
) -> Result<Plan, Finding> {
    actor.metrics.lock().decides += 1;
    ask_plan(shared, cx, answers).await
}

/// The plugin's plan.
pub(crate) async fn ask_plan(
    shared: &Shared,
    cx: &Context,
    answers: &[Answer],
) -> Result<Plan, Finding> {
    let active = cx.active();
    let situation = Situation {
        resource: cx.primary.gvk.clone(),
        object: plain(&cx.object),
        queries: answers.iter().map(|answer| answer.name.clone()).collect(),
        outcomes: Vec::new(),
        state: Value::Null,
        settings: active.settings.clone(),
        now: cx.now.clone(),
    };
    let plan = shared.deps.decide.decide(active, situation, answers).await;
    plan.map_err(|error| Finding::of_decide(&error))
}

/// Does what the plan says.
async fn follow(
    shared: &Shared,
    cx: &Context,
    actor: &Actor<'_>,
    memory: &mut Memory,
    plan: &Plan,
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
        forced,
    );
    let planned = match planned {
        Ok(planned) => planned,
        Err(offences) => {
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
        .filter(|step| {
            matches!(
                step.verdict,
                Verdict::Apply(crate::report::ApplyReason::Drift(_))
            )
        })
        .count();
    actor.metrics.lock().drifted += u64::try_from(drifted).unwrap_or(u64::MAX);

    if !cx.row.deleting()
        && planned.out_of_reach()
        && let Some(patch) = finalizer::add(&cx.object, &active.finalizer())
        && let Err(error) = actor.patch(&cx.owner.object(), patch).await
    {
        outcome.finding = Finding::of_write(&cx.owner.object(), &error);
        return outcome;
    }

    let acted = actor.run(&planned.tasks, &planned.checked.deletes).await;
    watch_names(shared, cx, &acted);
    let complete = acted.complete();
    outcome.finding = Finding::of_acted(&acted);
    for (target, _) in &acted.problems {
        // What was remembered of a child in trouble may not hold any more.
        if let Some(row) = crate::owner::find(&cx.snapshot, target) {
            memory.children.remove(row.uid().as_ref());
        }
    }
    if complete && planned.checked.children == kybern_interface::Children::Complete {
        memory.children = acted.children;
    } else {
        memory.children.extend(acted.children);
    }
    if !complete {
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
    if let Err(finding) = let_go(shared, cx, actor, plan, &planned).await {
        outcome.finding = finding;
        return outcome;
    }
    settle(shared, cx, memory, now);
    outcome
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

/// Removes our finalizer when nothing needs it any more.
async fn let_go(
    shared: &Shared,
    cx: &Context,
    actor: &Actor<'_>,
    plan: &Plan,
    planned: &Planned,
) -> Result<(), Finding> {
    let active = cx.active();
    let finalizer = active.finalizer();
    if cx.row.deleting()
        && let Deletion::InProgress(why) = &plan.deletion
    {
        return Err(Finding::waiting("Deleting", why, Retry::Poll));
    }
    if !finalizer::has(&cx.object, &finalizer) || (!cx.row.deleting() && planned.out_of_reach()) {
        return Ok(());
    }
    let snapshot = shared.deps.reader.snapshot();
    let left: Vec<String> = inventory(&snapshot, active, &cx.owner)
        .into_iter()
        .filter(|child| {
            !cx.owner.reaches(child.row.namespace().unwrap_or_default())
                && provably_ours(&child.row, &cx.owner)
                && (child.row.deleting()
                    || !matches!(prune::verdict(child, &cx.owner), Verdict::Kept))
        })
        .map(|child| crate::owner::child_ref(&snapshot, &child).to_string())
        .collect();
    if !left.is_empty() {
        if !cx.row.deleting() {
            return Ok(());
        }
        let message = format!("waiting for {} to be gone", left.join(", "));
        return Err(Finding::waiting("Deleting", message, Retry::Poll));
    }
    // The CR may have changed since the pass began; the patch names the state that it is for.
    let current = crate::owner::find(&snapshot, &cx.owner.object())
        .filter(|row| row.uid() == cx.owner.uid)
        .map_or_else(|| cx.object.clone(), |row| row.value());
    let Some(patch) = finalizer::remove(&current, &finalizer) else {
        return Ok(());
    };
    match actor.patch(&cx.owner.object(), patch).await {
        Ok(_) if cx.row.deleting() => Err(Finding::quiet(Ending::Gone)),
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Err(Finding::quiet(Ending::Gone)),
        Err(error) => Err(Finding::of_write(&cx.owner.object(), &error)),
    }
}

/// Remembers that this pass fully succeeded, and on what.
fn settle(shared: &Shared, cx: &Context, memory: &mut Memory, mut now: Settled) {
    let snapshot = shared.deps.reader.snapshot();
    now.extras = inventory(&snapshot, cx.active(), &cx.owner)
        .into_iter()
        .map(|child| child.row.uid().into_owned())
        .filter(|uid| !memory.children.contains_key(uid))
        .collect();
    memory.settled = Some(now);
    memory.resynced = Some(cx.row.annotation(names::FORCE_RESYNC));
}

/// A child that cannot have its name yet is looked at again when that name changes hands.
fn watch_names(shared: &Shared, cx: &Context, acted: &Acted) {
    let reads = acted
        .problems
        .iter()
        .map(|(target, _)| ScanRead {
            table: crate::active::table_of(&target.gvk),
            // That it comes or goes always counts; of its changes, only whose it is.
            columns: Columns::Named(["owners", "labels"].map(str::to_owned).into()),
            keys: Keys::Of {
                index: Index::Name,
                values: vec![name_key(&target.namespace, &target.name)],
            },
        })
        .collect();
    shared.listen(&cx.key, Slot::Names, reads, cx.snapshot.sequence());
}
