//! What the last pass over a CR did and why: read by `explain`, conditions and tests.

use crate::cause::Started;
use crate::metrics::PassResult;
use crate::traits::ObjectRef;
use kybern_interface::Plan;
use kybern_table::Sequence;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// How a pass ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Same answers, same CR, no drift: nothing was called or written.
    Unchanged,
    /// Everything the plan wants is so.
    Succeeded,
    /// The sense hook said that there is nothing to do.
    Skipped,
    /// The CR is paused.
    Paused,
    /// Something outside is not there yet.
    Waiting {
        /// CamelCase.
        reason: String,
        /// For people.
        message: String,
    },
    /// The pass, or a part of it, failed.
    Failed {
        /// CamelCase.
        reason: String,
        /// For people.
        message: String,
    },
    /// The CR, its namespace or this replica's lead is gone.
    Gone,
}

impl Ending {
    /// One word, as metrics have it.
    pub fn name(&self) -> &'static str {
        PassResult::of(self).name()
    }

    /// Reason and message, of a pass that failed or waits.
    pub fn why(&self) -> Option<(&str, &str)> {
        match self {
            Self::Waiting { reason, message } | Self::Failed { reason, message } => {
                Some((reason, message))
            }
            Self::Unchanged | Self::Succeeded | Self::Skipped | Self::Paused | Self::Gone => None,
        }
    }
}

/// One query's answer, without its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerSummary {
    /// The query's name.
    pub name: String,
    /// Equal for equal rows.
    pub fingerprint: u128,
    /// How many rows.
    pub rows: usize,
}

/// What is to be done with one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It does not exist: POST.
    Create,
    /// It exists and is not as intended.
    Apply(ApplyReason),
    /// It is as intended.
    Converged,
    /// It exists and is left alone (created once, children unchanged, being deleted).
    Kept,
    /// It exists without a controller and is taken over.
    Adopt,
    /// It is somebody else's.
    NotOurs {
        /// Whose, for people.
        whose: String,
    },
    /// It, or the object that has its name, is being deleted.
    WaitingForDeletion,
    /// The plan no longer names it: it is deleted.
    Prune,
    /// The plan no longer names it: it loses its owner and stays.
    Orphan,
    /// Too many would be pruned at once.
    Held,
    /// The plan deletes it explicitly.
    Delete,
    /// The plan patches it, and it is not so.
    Patch,
    /// The plan patches it, and it is not there.
    Absent,
    /// The plan no longer patches it: the patch is taken back.
    Undo,
    /// The plan evicts it.
    Evict,
    /// It shall have this many replicas.
    Scale(u32),
}

impl Verdict {
    /// One word, for tables.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Apply(_) => "apply",
            Self::Converged => "converged",
            Self::Kept => "kept",
            Self::Adopt => "adopt",
            Self::NotOurs { .. } => "not_ours",
            Self::WaitingForDeletion => "waiting_for_deletion",
            Self::Prune => "prune",
            Self::Orphan => "orphan",
            Self::Held => "held",
            Self::Delete => "delete",
            Self::Patch => "patch",
            Self::Absent => "absent",
            Self::Undo => "undo",
            Self::Evict => "evict",
            Self::Scale(_) => "scale",
        }
    }

    /// What the word leaves out: why it is applied, whose it is, how many replicas.
    pub fn detail(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::Apply(why) => why.name().into(),
            Self::NotOurs { whose } => whose.into(),
            Self::Scale(replicas) => replicas.to_string().into(),
            _ => return None,
        })
    }

    /// What is left of it once it is done; none if nothing is wanted there any more.
    fn done(&self) -> Option<Self> {
        match self {
            Self::Create | Self::Apply(_) | Self::Adopt | Self::Patch | Self::Converged => {
                Some(Self::Converged)
            }
            Self::Prune | Self::Orphan | Self::Delete | Self::Undo | Self::Evict => None,
            Self::Kept
            | Self::NotOurs { .. }
            | Self::WaitingForDeletion
            | Self::Held
            | Self::Absent
            | Self::Scale(_) => Some(self.clone()),
        }
    }
}

/// Why an existing object is applied again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApplyReason {
    /// The intent is another than the one last applied.
    Intent,
    /// Owned fields have other values than after the last apply; the paths that differ, if known.
    Drift(Vec<String>),
    /// After a restart: these paths of the intent are not ours on the live object.
    NotCovered(Vec<String>),
    /// A former operator's field manager has fields of it (`formerFieldManagers`).
    Former,
    /// The CR asks for it (`kybern.dev/force-resync`).
    Forced,
}

impl ApplyReason {
    fn name(&self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Drift(_) => "drift",
            Self::NotCovered(_) => "not_covered",
            Self::Former => "former",
            Self::Forced => "forced",
        }
    }
}

/// One line of a diff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Which object.
    pub target: ObjectRef,
    /// Its wave.
    pub wave: i32,
    /// What is to be done.
    pub verdict: Verdict,
}

/// What a plan wants after a pass that found these steps and did them.
pub(crate) fn done(steps: &Arc<[Step]>) -> Arc<[Step]> {
    let is_done = |step: &Step| step.verdict.done().as_ref() == Some(&step.verdict);
    if steps.iter().all(is_done) {
        return Arc::clone(steps);
    }
    let done = steps.iter().filter_map(|step| {
        Some(Step {
            verdict: step.verdict.done()?,
            ..step.clone()
        })
    });
    done.collect()
}

/// What the last pass over a CR did.
#[derive(Debug, Clone, PartialEq)]
pub struct PassReport {
    /// The registration.
    pub plugin: String,
    /// Digest of the revision that decided.
    pub digest: String,
    /// The CR.
    pub object: ObjectRef,
    /// The snapshot that it saw.
    pub sequence: Sequence,
    /// When it ended, RFC 3339.
    pub at: String,
    /// What made it due.
    pub started: Started,
    /// How urgent it was: `live`, `retry`, `resync` or `startup`.
    pub priority: &'static str,
    /// From when it was due until it started.
    pub waited: Duration,
    /// How long it took.
    pub took: Duration,
    /// How it ended.
    pub ending: Ending,
    /// The answers that it decided on.
    pub answers: Vec<AnswerSummary>,
    /// What it found to do.
    pub steps: Arc<[Step]>,
    /// What the last plan wants: its steps, those that are done by now as [`Verdict::Converged`].
    pub wanted: Arc<[Step]>,
    /// Writes that were accepted: `create Deployment ns/web`.
    pub writes: Vec<String>,
    /// When the next pass is due at the latest.
    pub next: Option<Duration>,
    /// Failed passes in a row.
    pub failures: u32,
}

/// What a pass would do now.
#[derive(Debug, Clone)]
pub struct DryPass {
    /// The CR.
    pub object: serde_json::Value,
    /// The queries' answers, with rows.
    pub answers: Vec<crate::traits::Answer>,
    /// What the plugin decided; none if it did not come to that.
    pub plan: Option<Plan>,
    /// What is wrong with the plan.
    pub offences: Vec<String>,
    /// What would be done.
    pub steps: Vec<Step>,
    /// How its effects stand, for people.
    pub effects: Vec<String>,
    /// How it would end without any write failing.
    pub ending: Ending,
    /// Whether the status would be written.
    pub status_changes: bool,
    /// Whether what the plugin remembers would be written.
    pub state_changes: bool,
}
