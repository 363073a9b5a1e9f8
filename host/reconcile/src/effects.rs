//! The effects of a plan: what is checked of them, and which of them a pass has run.
//!
//! # Contract
//! An effect runs while its CR lives, or, in the phase `finalize`, while it is being deleted, and
//! after everything else of its plan is done. It runs if no success is known for this input that is
//! young enough. One attempt of an effect runs at a time, and a finalizing one only when no other
//! of its CR runs.

use crate::act::Actor;
use crate::check::{Checker, Fault, depth_over, short};
use crate::finding::Finding;
use crate::intent::hash_of;
use crate::jobs::{Added, Job};
use crate::memory::Memory;
use crate::outcomes::{Identity, Outcomes, Past, Standing};
use crate::pass::Context;
use crate::report::Ending;
use crate::shared::Shared;
use crate::status::{Health, HealthKind};
use kybern_interface::{EffectPhase, RunEffect};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Bytes of a key.
const KEY: usize = 253;
/// Shortest time after which a success can be too old.
const AGE_FLOOR: Duration = Duration::from_secs(1);

/// One effect of a plan.
#[derive(Clone, PartialEq)]
pub(crate) struct EffectTask {
    pub(crate) identity: Identity,
    pub(crate) input: Value,
    /// A success that is older does not count.
    pub(crate) max_age: Option<Duration>,
    /// Time for one run.
    pub(crate) time: Option<Duration>,
    pub(crate) phase: EffectPhase,
}

impl std::fmt::Debug for EffectTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EffectTask {self}")
    }
}

impl std::fmt::Display for EffectTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.identity.name, self.identity.key)
    }
}

impl EffectTask {
    pub(crate) fn of(effect: &RunEffect) -> Self {
        Self {
            identity: Identity {
                name: effect.name.clone(),
                key: effect.key.clone(),
                input: hash_of(&effect.input, &[]),
            },
            input: effect.input.clone(),
            max_age: effect
                .max_age_ms
                .map(|ms| Duration::from_millis(ms).max(AGE_FLOOR)),
            time: effect.timeout_ms.map(Duration::from_millis),
            phase: effect.phase,
        }
    }
}

impl Checker<'_> {
    /// An effect, beside those before it.
    pub(crate) fn effect(
        &mut self,
        at: usize,
        effect: &RunEffect,
        task: &EffectTask,
        before: &[EffectTask],
    ) {
        if !self.active.keeps_state() {
            let message = format!(
                "action {at}: effect: its outcome is kept, and no grant allows to keep state (grants.state)"
            );
            self.offend(Fault::NotGranted, message);
        }
        let manifest = &self.active.manifest;
        if !manifest.effects.iter().any(|ask| ask.name == effect.name) {
            let name = short(&effect.name);
            self.invalid(format!("action {at}: the manifest names no effect {name}"));
        }
        let key = &effect.key;
        if key.is_empty() || key.len() > KEY || key.chars().any(char::is_control) {
            self.invalid(format!(
                "action {at}: an effect's key is a text of 1 to {KEY} bytes without control characters, not {}",
                short(key)
            ));
        }
        if effect.timeout_ms == Some(0) {
            self.invalid(format!("action {at}: timeoutMs leaves the effect no time"));
        }
        self.input(at, &effect.input);
        if before
            .iter()
            .any(|other| other.identity.is_of(&task.identity))
        {
            self.invalid(format!(
                "action {at}: effect {} is named twice with the key {}",
                short(&effect.name),
                short(key)
            ));
        }
        // One above the bound says it.
        if before.len() == self.limits.effects {
            let most = self.limits.effects;
            self.invalid(format!("action {at}: a plan has at most {most} effects"));
        }
    }

    fn input(&mut self, at: usize, input: &Value) {
        let (depth, most) = (self.limits.depth, self.limits.effect_bytes);
        if depth_over(input, depth) {
            let message = format!("action {at}: the input of an effect nests deeper than {depth}");
            return self.invalid(message);
        }
        let bytes = input.to_string().len();
        if bytes > most {
            self.invalid(format!(
                "action {at}: the input of an effect has {bytes} bytes; at most {most} are taken"
            ));
        }
    }
}

/// How the effects stand that are a pass's matter.
#[derive(Debug, Default)]
pub(crate) struct Stand {
    /// Run, or are about to, for the first time.
    pending: Vec<String>,
    /// Failed, and are tried again.
    failing: Vec<String>,
    /// Failed for good.
    failed: Vec<String>,
    /// One cannot begin until another of its name has ended: the next pass plans it again.
    pub(crate) blocked: bool,
}

impl Stand {
    /// What the conditions say; none if all effects succeeded.
    pub(crate) fn finding(&self) -> Option<Finding> {
        let health = if !self.failed.is_empty() {
            let text = self.failed.join("; ");
            Health::new(HealthKind::Stalled, "EffectFailed", text)
        } else if !self.failing.is_empty() {
            let text = self.failing.join("; ");
            Health::new(HealthKind::Reconciling, "EffectFailed", text)
        } else if !self.pending.is_empty() {
            let text = format!("waiting for {}", self.pending.join(", "));
            Health::new(HealthKind::Reconciling, "EffectPending", text)
        } else {
            return None;
        };
        // The pass itself has nothing left to do, so what the plugin says of Ready holds.
        Some(Finding {
            health: Some(health.after_success()),
            ..Finding::quiet(Ending::Succeeded)
        })
    }

    /// What a deletion waits for; none if it waits for no effect.
    pub(crate) fn holds(&self) -> Option<String> {
        let texts = [&self.failed, &self.failing, &self.pending];
        let all: Vec<&str> = texts.into_iter().flatten().map(String::as_str).collect();
        (!all.is_empty()).then(|| format!("waiting for {}", all.join("; ")))
    }
}

/// Has those run that are to run now, and says how all of them stand.
pub(crate) fn start(
    shared: &Shared,
    cx: &Context,
    memory: &mut Memory,
    tasks: &[EffectTask],
    outcomes: &Outcomes,
) -> Stand {
    let mut jobs = shared.jobs.lock();
    if tasks.is_empty() {
        jobs.forget(&cx.key, &[]);
        memory.effect_at = None;
        return Stand::default();
    }
    let phase = phase(cx);
    let tasks = tasks.iter().filter(|task| task.phase == phase);
    let identities: Vec<&Identity> = tasks.clone().map(|task| &task.identity).collect();
    jobs.forget(&cx.key, &identities);
    // What was begun for the living CR ends before anything is undone.
    let clear = phase == EffectPhase::Normal || !jobs.runs_normal(&cx.key);
    let (under, now) = (&cx.registered.stamp, shared.deps.clock.now());
    let mut stand = Stand::default();
    let mut next: Option<Duration> = None;
    let mut at = |wait: Duration| next = Some(next.map_or(wait, |before| before.min(wait)));
    for task in tasks {
        match outcomes.standing(&task.identity, task.max_age, under, now) {
            Standing::Done { old_in } => old_in.into_iter().for_each(&mut at),
            Standing::Later(wait, reason) => {
                at(wait);
                stand.failing.push(failure(task, &reason));
            }
            Standing::Failed(reason) => stand.failed.push(failure(task, &reason)),
            Standing::Due(past) => {
                match past {
                    Past::None => stand.pending.push(format!("effect {task}")),
                    Past::Success => {}
                    Past::Failure(reason) => stand.failing.push(failure(task, &reason)),
                }
                if clear {
                    stand.blocked |= jobs.add(job(cx, memory, task)) == Added::Taken;
                }
            }
        }
    }
    drop(jobs);
    shared.wake.notify_one();
    memory.effect_at = next.map(|wait| Instant::now() + wait);
    stand
}

/// How the effects of a plan stand, for people.
pub(crate) fn told(
    shared: &Shared,
    cx: &Context,
    tasks: &[EffectTask],
    outcomes: &Outcomes,
) -> Vec<String> {
    let (phase, now) = (phase(cx), shared.deps.clock.now());
    let under = &cx.registered.stamp;
    let told = |task: &EffectTask| {
        if task.phase != phase {
            return format!("effect {task}: not in this phase");
        }
        match outcomes.standing(&task.identity, task.max_age, under, now) {
            Standing::Done { .. } => format!("effect {task}: has succeeded"),
            Standing::Due(_) => format!("effect {task}: would run, or runs"),
            Standing::Later(wait, reason) => {
                let seconds = wait.as_secs();
                format!("effect {task}: would run again in {seconds} s: {reason}")
            }
            Standing::Failed(reason) => {
                format!("effect {task}: failed, and does not run again as it is: {reason}")
            }
        }
    };
    tasks.iter().map(told).collect()
}

/// Which effects are the pass's matter.
fn phase(cx: &Context) -> EffectPhase {
    if cx.row.deleting() {
        EffectPhase::Finalize
    } else {
        EffectPhase::Normal
    }
}

fn failure(task: &EffectTask, reason: &str) -> String {
    format!("effect {task}: {reason}")
}

fn job(cx: &Context, memory: &Memory, task: &EffectTask) -> Job {
    Job {
        key: cx.key.clone(),
        registered: Arc::clone(&cx.registered),
        owner: cx.owner.clone(),
        ledger: memory.ledger.clone(),
        task: task.clone(),
        cancel: CancellationToken::new(),
    }
}

/// Whether an effect of the CR is under way, so that it is not let go of yet.
pub(crate) fn under_way(shared: &Shared, actor: &Actor<'_>, cx: &Context) -> bool {
    actor.active.keeps_state() && shared.jobs.lock().runs(&cx.key)
}
