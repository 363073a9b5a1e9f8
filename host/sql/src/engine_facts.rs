//! What the engine that runs passes says about itself, for system tables.
//!
//! # Contract
//! Names, counts, times and words of the host's own; texts of conditions. Never the content of an
//! object, nor what effects take and give.

use std::sync::Arc;

use kybern_table::KindKey;

/// Microseconds since 1970.
pub type Micros = i64;

/// Tells what `kybern.passes`, `.queue`, `.desired`, `.drift`, `.effects` and `.plugins` show.
/// Asked anew by each scan of them.
pub trait EngineFacts: Send + Sync {
    /// The last pass of each CR.
    fn passes(&self) -> Told<PassFact>;

    /// Each CR with something to do.
    fn queue(&self) -> Told<QueueFact>;

    /// Each object that the last plan of a CR wants.
    fn desired(&self) -> Told<DesiredFact>;

    /// Each of them that is now not as it is wanted.
    fn drift(&self) -> Told<DriftFact>;

    /// Each effect that a plan names.
    fn effects(&self) -> Told<EffectFact>;

    /// Each registration.
    fn plugins(&self) -> Told<PluginFact>;
}

/// Facts that are made while they are read.
pub struct Told<T> {
    /// The facts; none where it took some time to find none.
    pub facts: Box<dyn Iterator<Item = Option<T>> + Send>,
    /// Bytes that the iterator holds, about: they are charged to the statement.
    pub bytes: usize,
}

/// A CR of a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrFact {
    /// The registration.
    pub plugin: Arc<str>,
    /// The CR's kind.
    pub kind: KindKey,
    /// Empty for a cluster-scoped CR.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

/// An object that a CR is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectFact {
    /// Its kind.
    pub kind: KindKey,
    /// Empty for a cluster-scoped object.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What made a pass due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriggerFact {
    /// In a sentence.
    pub text: String,
    /// In one word: `start`, `resource`, `child`, `answer`, `retry` ...
    pub kind: &'static str,
    /// The row that changed, if it was one.
    pub row: Option<ObjectFact>,
}

/// The last pass of a CR.
#[derive(Clone, Debug, PartialEq)]
pub struct PassFact {
    /// Whose.
    pub cr: CrFact,
    /// When it ended.
    pub at: Option<Micros>,
    /// What made it due.
    pub trigger: TriggerFact,
    /// `live`, `retry`, `resync` or `startup`.
    pub priority: &'static str,
    /// From when it was due until it started.
    pub waited_ms: f64,
    /// How long it took.
    pub took_ms: f64,
    /// `unchanged`, `succeeded`, `waiting`, `failed` ...
    pub ending: &'static str,
    /// Why it failed or waits, in one word.
    pub reason: Option<String>,
    /// The same for people.
    pub message: Option<String>,
    /// Queries that it asked.
    pub answers: u64,
    /// Objects that it looked at.
    pub steps: u64,
    /// Writes that were accepted.
    pub writes: u64,
    /// Passes in a row that failed.
    pub failures: u64,
    /// When the next pass is due at the latest.
    pub next: Option<Micros>,
}

/// A CR with something to do.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueFact {
    /// Which.
    pub cr: CrFact,
    /// `running`, `ready`, `delayed` or `held`.
    pub state: &'static str,
    /// `live`, `retry`, `resync` or `startup`.
    pub priority: &'static str,
    /// What makes it due.
    pub trigger: Option<TriggerFact>,
    /// Until it is due; nothing while it runs.
    pub due_ms: Option<f64>,
    /// Since it was due, of what is ready.
    pub waited_ms: Option<f64>,
    /// Passes in a row that failed.
    pub attempts: u64,
}

/// An object that a CR's last plan wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredFact {
    /// The CR.
    pub cr: CrFact,
    /// The object.
    pub object: ObjectFact,
    /// The plan's wave.
    pub wave: i64,
    /// `converged`, or what a pass that did not do all found to be done: `create`, `apply` ...
    pub verdict: &'static str,
    /// What the word leaves out.
    pub detail: Option<String>,
}

/// An object that is not as a CR's last plan wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriftFact {
    /// The CR.
    pub cr: CrFact,
    /// The object.
    pub object: ObjectFact,
    /// `missing`, `changed` or `not_applied`.
    pub state: &'static str,
    /// The paths that differ, if a pass has found them.
    pub paths: Option<String>,
}

/// An effect that a CR's plan names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectFact {
    /// The CR.
    pub cr: CrFact,
    /// Its name.
    pub effect: String,
    /// Its key.
    pub key: String,
    /// `normal` or `finalize`, of one that runs or waits.
    pub phase: Option<&'static str>,
    /// `waiting`, `running`, `succeeded`, `retrying` or `failed`.
    pub state: &'static str,
    /// Attempts since it last succeeded.
    pub attempt: Option<u64>,
    /// When the last one ended.
    pub at: Option<Micros>,
    /// Why that one failed.
    pub error: Option<String>,
    /// When it is made again.
    pub next: Option<Micros>,
}

/// A registration.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginFact {
    /// Its name.
    pub plugin: String,
    /// The component that passes run with.
    pub digest: Option<String>,
    /// The version that its manifest says.
    pub version: Option<String>,
    /// The kinds that it is in charge of.
    pub kinds: String,
    /// Whether passes are run for it.
    pub running: bool,
    /// Its condition Ready: `True`, `False` or `Unknown`.
    pub ready: Option<String>,
    /// Why, in one word.
    pub reason: Option<String>,
    /// The same for people.
    pub message: Option<String>,
    /// CRs that have had a pass.
    pub crs: u64,
    /// Of these, whose last pass failed.
    pub failing: u64,
    /// Passes since the host started.
    pub passes: u64,
    /// Of these, that failed.
    pub failed_passes: u64,
    /// Calls of the decide hook.
    pub decides: u64,
    /// Plans that were refused whole.
    pub refused_plans: u64,
    /// Children that were applied because of drift.
    pub drifted: u64,
    /// Writes that the API server was asked for.
    pub writes: u64,
    /// The revision on trial.
    pub trial: Option<TrialFact>,
    /// What its component took; none before its first call.
    pub meter: Option<MeterFact>,
}

/// A revision that is tried before it decides for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialFact {
    /// `Canary` or `Shadow`.
    pub mode: &'static str,
    /// The component on trial.
    pub digest: String,
    /// How it does, in one word; none before anything is known.
    pub verdict: Option<String>,
    /// CRs that it decided or planned for.
    pub tried: Option<u64>,
    /// Of these, that failed by its fault.
    pub failed: Option<u64>,
    /// CRs whose plan is another than that of the revision that decides.
    pub differed: Option<u64>,
}

/// What the calls of a plugin's hooks took, since the host started.
#[derive(Clone, Debug, PartialEq)]
pub struct MeterFact {
    /// Calls that ended.
    pub calls: u64,
    /// Of these, that trapped or ran out of a limit.
    pub traps: u64,
    /// CPU time of all of them, in milliseconds.
    pub cpu_ms: f64,
    /// Largest memory of one call.
    pub peak_memory_bytes: u64,
    /// Rows of answers that they read.
    pub rows_read: u64,
}
