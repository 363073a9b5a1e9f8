//! One pass over one CR: sense, decide, check, diff, act, status.
//!
//! A pass sees one snapshot. It may be stale, or end anywhere: the next one starts from what is
//! there then.

use crate::act::Actor;
use crate::active::{Active, Primary};
use crate::ahead;
use crate::breaker::Called;
use crate::expand;
use crate::finalizer;
use crate::finding::{Finding, Retry};
use crate::follow;
use crate::intent::remove_path;
use crate::key::CrKey;
use crate::memory::{Memory, Settled};
use crate::owner::Owner;
use crate::record::Record;
use crate::remember::{Leaving, Recalled, Restated};
use crate::report::{AnswerSummary, Ending, Step};
use crate::revision::Registered;
use crate::sensing::{self, Asking, Next};
use crate::shared::Shared;
use crate::stage::Stage;
use crate::status::{Health, HealthKind};
use crate::traits::{Answer, SenseRequest};
use crate::trial;
use crate::trigger::Slot;
use crate::why::Why;
use kybern_interface::{Plan, Query, Situation, Trigger};
use kybern_table::{Index, KindKey, Row, ScanRead, Snapshot, TableState};
use serde_json::Value;
use std::sync::Arc;

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

    /// The same CR on the same snapshot, for another revision.
    pub(crate) fn of(&self, registered: Arc<Registered>) -> Self {
        Self {
            registered,
            primary: self.primary.clone(),
            key: self.key.clone(),
            snapshot: self.snapshot.clone(),
            row: self.row.clone(),
            object: self.object.clone(),
            owner: self.owner.clone(),
            now: self.now.clone(),
        }
    }

    /// Whether the CR is being deleted.
    pub(crate) fn leaving(&self) -> Leaving {
        if self.row.deleting() {
            Leaving::Yes
        } else {
            Leaving::No
        }
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
    /// Whether the plan changed what the next one sees as its state.
    pub(crate) restated: Restated,
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
            restated: Restated::No,
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
    locate_on(shared, key, shared.deps.reader.snapshot())
}

/// Finds the CR of a pass on this snapshot.
pub(crate) fn locate_on(shared: &Shared, key: &CrKey, snapshot: Snapshot) -> Located {
    let Some(registered) = shared.registered(&key.plugin) else {
        return Located::Gone;
    };
    let Some(primary) = registered.active.primary(&key.table).cloned() else {
        return Located::Gone;
    };
    let mut tables = vec![key.table.clone()];
    tables.extend(registered.child_tables(&snapshot));
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
    let rows = match snapshot.table(&key.table) {
        Some(view) => view.lookup(&Index::Name, &key.index_name()),
        None => Ok(Vec::new()),
    };
    let row = match rows {
        Ok(rows) => rows.into_iter().next(),
        Err(expired) => return Located::NotReady(expired.to_string(), Vec::new()),
    };
    let Some(row) = row.filter(|row| registered.active.in_charge(&primary, row)) else {
        return Located::Gone;
    };
    let owner = Owner::of(&registered.active, &primary, key, &row);
    let registered = registered.of(&row);
    Located::Found(Box::new(Context {
        object: row.value(),
        now: now(shared),
        registered,
        primary,
        key: key.clone(),
        snapshot,
        row,
        owner,
    }))
}

/// In whole seconds, as Kubernetes writes times in conditions.
pub(crate) fn now(shared: &Shared) -> String {
    let now = shared.deps.clock.now();
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A pass up to the point where its status is written. `answers`: those that it has already.
pub(crate) async fn run(
    shared: &Shared,
    cx: &Context,
    actor: &Actor<'_>,
    memory: &mut Memory,
    why: &Why,
    answers: Option<Vec<Answer>>,
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
            shared.jobs.lock().forget(&cx.key, &[]);
            return Outcome::of(Finding::quiet(Ending::Gone));
        }
    } else if let Some(why) = sensing::paused(&cx.row, active) {
        // What has not begun waits with the rest.
        shared.jobs.lock().forget(&cx.key, &[]);
        let mut finding = Finding::quiet(Ending::Paused);
        finding.health = Some(Health::new(HealthKind::Paused, "Paused", why));
        return Outcome::of(finding);
    } else if let Some(why) = sensing::pinned_elsewhere(&cx.row, active) {
        // Whoever brings it may not have looked yet.
        let looked = sensing::pin(&cx.row).is_some_and(|pin| active.missing.contains(&pin));
        return Outcome::of(match looked {
            true => Finding::unknown_revision(why),
            false => Finding::not_ready(why),
        });
    }

    let answers = match answers {
        Some(answers) => answers,
        None => match Stage::Sense.of(&actor.metrics, sense(shared, cx)).await {
            Ok(answers) => answers,
            Err(finding) => return Outcome::of(finding),
        },
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
        outcomes: memory.ledger.news(),
        extras: std::collections::BTreeSet::new(),
    };
    let skip = !forced
        && !why.timer
        && !memory.statements
        && why.slowed == memory.slowed
        && sensing::unchanged(&now, memory, &cx.snapshot, active, &cx.owner, &cx.object);
    if skip {
        let mut outcome = Outcome::of(Finding::quiet(Ending::Unchanged));
        outcome.answers = summaries;
        return outcome;
    }
    memory.settled = None;
    memory.effect_at = None;

    let decided = decide(shared, cx, actor, memory, &answers);
    let mut outcome = match Stage::Decide.of(&actor.metrics, decided).await {
        Ok((plan, recalled)) => {
            let followed = follow::follow(shared, cx, actor, memory, &plan, &recalled, forced, now);
            let outcome = Stage::Write.of(&actor.metrics, followed).await;
            trial::compare(shared, cx, &answers, &recalled.record, &plan).await;
            outcome
        }
        Err(finding) => Outcome::of(finding),
    };
    outcome.answers = summaries;
    outcome
}

/// The answers of all queries, their read sets installed.
pub(crate) async fn sense(shared: &Shared, cx: &Context) -> Result<Vec<Answer>, Finding> {
    let mut answers = Vec::new();
    let asked = match ahead::together(shared, cx).await {
        Some(together) => {
            answers = together;
            Ok(())
        }
        None => rounds(shared, cx, &mut answers).await,
    };
    // Also where a later round ended the pass: another answer may end it otherwise.
    if asked.is_ok() || !answers.is_empty() {
        let reads = ahead::reads(&answers);
        shared.listen(&cx.key, Slot::Answers, reads, cx.snapshot.sequence());
    }
    asked.map(|()| answers)
}

/// What a CR asks without a sense hook.
pub(crate) fn queries(cx: &Context) -> Vec<Query> {
    sensing::static_queries(cx.active(), &cx.object)
}

/// The answers of all queries.
pub(crate) async fn ask(shared: &Shared, cx: &Context) -> Result<Vec<Answer>, Finding> {
    let mut answers = Vec::new();
    rounds(shared, cx, &mut answers).await?;
    Ok(answers)
}

/// Asks the sense hook until it has said all queries, and answers them, all on one snapshot.
async fn rounds(shared: &Shared, cx: &Context, answers: &mut Vec<Answer>) -> Result<(), Finding> {
    let active = cx.active();
    let mut asking = Asking::new(queries(cx));
    // The hook is called so often at most, for `asking` counts its rounds.
    loop {
        if !active.has_sense {
            break;
        }
        let trigger = Trigger {
            resource: cx.primary.gvk.clone(),
            object: plain(&cx.object),
            settings: active.settings.clone(),
            now: cx.now.clone(),
            queries: answers.iter().map(|answer| answer.name.clone()).collect(),
        };
        let sensing = shared.deps.decide.sense(active, trigger, answers).await;
        let next = sensing.and_then(|sensing| asking.next(sensing));
        match next.map_err(|error| Finding::of_decide(&error))? {
            Next::Skip => {
                let quiet = Finding::quiet(Ending::Skipped);
                let called = Called::Returned;
                return Err(Finding { called, ..quiet });
            }
            Next::Answer => break,
            Next::AnswerAndAsk => answer(shared, cx, asking.take(), answers).await?,
        }
    }
    answer(shared, cx, asking.take(), answers).await
}

/// Answers more queries of the pass.
async fn answer(
    shared: &Shared,
    cx: &Context,
    queries: &[Query],
    answers: &mut Vec<Answer>,
) -> Result<(), Finding> {
    let request = SenseRequest {
        active: cx.active(),
        object: &cx.object,
        queries,
        snapshot: &cx.snapshot,
    };
    let sensed = shared.deps.sense.sense(request).await;
    answers.extend(sensed.map_err(|error| Finding::of_sense(&error))?.answers);
    Ok(())
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
    memory: &mut Memory,
    answers: &[Answer],
) -> Result<(Plan, Recalled), Finding> {
    let recalled = memory.ledger.recall(actor, cx).await?;
    actor.metrics.lock().decides += 1;
    let (plan, reads) = ask_plan(shared, cx, answers, &recalled.record).await?;
    memory.statements = reads.is_some();
    let reads = reads.unwrap_or_default();
    shared.listen(&cx.key, Slot::Statements, reads, cx.snapshot.sequence());
    Ok((plan, recalled))
}

/// The plugin's plan without statements, and what those that it had were read from.
pub(crate) async fn ask_plan(
    shared: &Shared,
    cx: &Context,
    answers: &[Answer],
    record: &Record,
) -> Result<(Plan, Option<Vec<ScanRead>>), Finding> {
    let active = cx.active();
    let situation = Situation {
        resource: cx.primary.gvk.clone(),
        object: plain(&cx.object),
        queries: answers.iter().map(|answer| answer.name.clone()).collect(),
        outcomes: record.outcomes.visible(),
        state: record.state.clone(),
        settings: active.settings.clone(),
        now: cx.now.clone(),
    };
    let plan = shared.deps.decide.decide(active, situation, answers).await;
    let plan = plan.map_err(|error| Finding::of_decide(&error))?;
    expand::expand(shared, cx, plan).await
}
