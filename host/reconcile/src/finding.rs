//! What a pass found out: how it ends, what the CR's conditions say, and when to look again.

use crate::act::{Acted, Problem};
use crate::breaker::Called;
use crate::check::{Fault, Offence};
use crate::error::{Crash, DecideError, SenseError, WriteError};
use crate::owner::Owner;
use crate::ready::Readiness;
use crate::report::Ending;
use crate::status::{Health, HealthKind};
use crate::traits::ObjectRef;
use kybern_interface::HookError;
use std::time::Duration;

/// How long a pass that may not write waits.
const FENCED: Duration = Duration::from_secs(5);

/// When to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// When something changes.
    OnChange,
    /// After a delay that grows; counted as a failure.
    Backoff,
    /// After a delay that grows; not a failure.
    Poll,
    /// After this time at the earliest; counted as a failure.
    BackoffAtLeast(Duration),
    /// After this time; not a failure.
    PollAfter(Duration),
    /// At once, on a new snapshot.
    AtOnce,
}

/// What a pass found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) ending: Ending,
    /// What the conditions say; none writes no status.
    pub(crate) health: Option<Health>,
    pub(crate) retry: Retry,
    /// What it says about the plugin.
    pub(crate) called: Called,
}

impl Finding {
    /// Nothing to say and nothing to do.
    pub(crate) fn quiet(ending: Ending) -> Self {
        Self {
            ending,
            health: None,
            retry: Retry::OnChange,
            called: Called::No,
        }
    }

    /// Everything is as planned.
    pub(crate) fn succeeded() -> Self {
        Self {
            ending: Ending::Succeeded,
            health: Some(Health::new(
                HealthKind::Ready,
                "Reconciled",
                "everything is as planned",
            )),
            retry: Retry::OnChange,
            called: Called::No,
        }
    }

    /// Whether there is nothing better to say.
    pub(crate) fn is_ready(&self) -> bool {
        let health = self.health.as_ref();
        health.is_some_and(|health| health.kind == HealthKind::Ready)
    }

    /// It failed; a person has to act if `stalled`.
    pub(crate) fn failed(
        reason: &str,
        message: impl Into<String>,
        stalled: bool,
        retry: Retry,
    ) -> Self {
        let kind = if stalled {
            HealthKind::Stalled
        } else {
            HealthKind::Reconciling
        };
        let health = Health::new(kind, reason, message);
        Self {
            ending: Ending::Failed {
                reason: health.reason.clone(),
                message: health.message.clone(),
            },
            health: Some(health),
            retry,
            called: Called::No,
        }
    }

    /// Something is not there yet.
    pub(crate) fn waiting(reason: &str, message: impl Into<String>, retry: Retry) -> Self {
        let health = Health::new(HealthKind::Reconciling, reason, message);
        Self {
            ending: Ending::Waiting {
                reason: health.reason.clone(),
                message: health.message.clone(),
            },
            health: Some(health),
            retry,
            called: Called::No,
        }
    }

    /// Something of the host's is not there yet: not the CR's matter.
    pub(crate) fn not_ready(message: impl Into<String>) -> Self {
        let mut finding = Self::waiting("NotReady", message, Retry::Poll);
        finding.health = None;
        finding
    }

    /// A person has to confirm.
    pub(crate) fn held(message: impl Into<String>) -> Self {
        let health = Health::new(HealthKind::Stalled, "PruneHeld", message);
        Self {
            ending: Ending::Waiting {
                reason: health.reason.clone(),
                message: health.message.clone(),
            },
            health: Some(health),
            retry: Retry::OnChange,
            called: Called::No,
        }
    }

    /// The API server took a status and dropped its conditions.
    pub(crate) fn status_dropped(after: Duration) -> Self {
        let message = "the API server drops the conditions of the status";
        let mut finding = Self::waiting("StatusDropped", message, Retry::PollAfter(after));
        finding.health = None;
        finding
    }

    /// The CR names a revision that is not there. Whoever brings it registers anew.
    pub(crate) fn unknown_revision(message: impl Into<String>) -> Self {
        Self::failed("RevisionUnknown", message, true, Retry::OnChange)
    }

    /// A plan that contradicts itself.
    pub(crate) fn refused(message: String) -> Self {
        Self::of_offences(&[Offence {
            fault: Fault::Invalid,
            message,
        }])
    }

    /// Queries without answers.
    pub(crate) fn of_sense(error: &SenseError) -> Self {
        match error {
            SenseError::NotReady(message) => Self::not_ready(message),
            SenseError::Query { .. } => {
                Self::failed("QueryFailed", error.to_string(), true, Retry::Backoff)
            }
            SenseError::Limit { .. } => {
                Self::failed("QueryTooLarge", error.to_string(), false, Retry::Backoff)
            }
            SenseError::Internal(_) => {
                Self::failed("HostError", error.to_string(), false, Retry::Backoff)
            }
        }
    }

    /// A hook without a result.
    pub(crate) fn of_decide(error: &DecideError) -> Self {
        let called = match error {
            DecideError::Hook(HookError::Internal(_)) => Called::Failed,
            DecideError::Hook(_) => Called::Returned,
            DecideError::Crashed { kind, .. } if *kind == Crash::Busy => Called::No,
            DecideError::Crashed { .. } => Called::Failed,
        };
        let finding = Self::of_hook(error);
        Self { called, ..finding }
    }

    fn of_hook(error: &DecideError) -> Self {
        let after = |ms: Option<u64>| ms.map(Duration::from_millis);
        match error {
            DecideError::Hook(HookError::Invalid(message)) => {
                Self::failed("InvalidSpec", message, true, Retry::OnChange)
            }
            DecideError::Hook(HookError::Wait(failure)) => Self::waiting(
                "Waiting",
                &failure.message,
                after(failure.retry_after_ms).map_or(Retry::Poll, Retry::PollAfter),
            ),
            DecideError::Hook(HookError::Retry(failure)) => Self::failed(
                "PluginRetries",
                &failure.message,
                false,
                after(failure.retry_after_ms).map_or(Retry::Backoff, Retry::BackoffAtLeast),
            ),
            DecideError::Hook(HookError::Internal(message)) => {
                Self::failed("PluginFailed", message, false, Retry::Backoff)
            }
            DecideError::Crashed { kind, message } => {
                // A backtrace is for the log: its addresses change from build to build.
                let line = message.lines().next().unwrap_or_default();
                let reason = match kind {
                    Crash::Busy => {
                        return Self::not_ready("all guest instances are in use");
                    }
                    Crash::Trap => "PluginTrapped",
                    Crash::Time => "PluginOutOfTime",
                    Crash::Memory => "PluginOutOfMemory",
                    Crash::Output => "InvalidPlan",
                };
                Self::failed(reason, line, false, Retry::Backoff)
            }
        }
    }

    /// A plan that was refused whole.
    pub(crate) fn of_offences(offences: &[Offence]) -> Self {
        let reason = offences
            .first()
            .map_or("InvalidPlan", |offence| offence.fault.reason());
        let mut list: Vec<&str> = offences.iter().map(|o| o.message.as_str()).collect();
        let more = list.len().saturating_sub(10);
        list.truncate(10);
        let mut message = format!(
            "the plan was refused, nothing was written: {}",
            list.join("; ")
        );
        if more > 0 {
            message.push_str(&format!("; and {more} more"));
        }
        let finding = Self::failed(reason, message, true, Retry::Backoff);
        let called = Called::Failed;
        Self { called, ..finding }
    }

    /// A write of the pass itself (a finalizer, a deletion) that failed.
    pub(crate) fn of_write(target: &ObjectRef, error: &WriteError) -> Self {
        if matches!(error, WriteError::Fenced) {
            // Should this replica lead again, the CR is not forgotten.
            let mut finding = Self::quiet(Ending::Gone);
            finding.retry = Retry::PollAfter(FENCED);
            return finding;
        }
        if error.is_namespace_terminating() {
            return Self::quiet(Ending::Gone);
        }
        if error.is_conflict() || error.is_already_exists() {
            let mut finding = Self::waiting("Conflict", error.to_string(), Retry::AtOnce);
            finding.health = None;
            return finding;
        }
        if let Some(after) = error.retry_after() {
            let mut finding =
                Self::waiting("Throttled", error.to_string(), Retry::PollAfter(after));
            finding.health = None;
            return finding;
        }
        let reason = match error {
            WriteError::Lost(_) => "ApiServerUnreachable",
            WriteError::Refused(refusal) if refusal.code == 403 => "Forbidden",
            WriteError::Refused(refusal) if refusal.code == 422 || refusal.code == 400 => {
                "ChildRejected"
            }
            WriteError::Refused(_) | WriteError::Fenced => "WriteFailed",
        };
        Self::failed(reason, format!("{target}: {error}"), false, Retry::Backoff)
    }

    /// A patch that could not be taken back; `held` is the finalizer of a CR that waits for it.
    pub(crate) fn of_undo(target: &ObjectRef, error: &WriteError, held: Option<&str>) -> Self {
        let (what, cure) = if error.is_invalid() {
            (
                "is not valid without what was patched",
                "give it other values for that, or let the plan patch it again",
            )
        } else if error.is_forbidden() && !error.is_namespace_terminating() {
            (
                "keeps what was patched, which may not be taken back",
                "let who denies it allow it: a policy or webhook by its name, a missing right as `kybern rbac` prints it",
            )
        } else if error.is_not_found() {
            (
                "keeps what was patched, its kind is not served in a version that is known",
                "it is taken back when the kind is served again",
            )
        } else {
            return Self::of_write(target, error);
        };
        let mut message = format!("{target} {what}: {error}; {cure}");
        if let Some(finalizer) = held {
            let way_out = format!(
                "; this object waits for it, and goes with the values left as they are if you take its finalizer {finalizer} away"
            );
            message.push_str(&way_out);
        }
        Self::failed("PatchNotUndone", message, true, Retry::Backoff)
    }

    /// What came of the plan's writes.
    pub(crate) fn of_acted(acted: &Acted, owner: &Owner) -> Self {
        let failures: Vec<Self> = acted
            .problems
            .iter()
            .map(|(target, problem)| Self::of_problem(target, problem, &owner.namespace))
            .collect();
        if let Some(gravest) = failures.iter().max_by_key(|finding| finding.weight()) {
            // The same cause for several children is one message that names them.
            let alike: Vec<&str> = failures
                .iter()
                .filter(|finding| finding.reason() == gravest.reason())
                .map(Self::message)
                .collect();
            let mut finding = gravest.clone();
            if alike.len() > 1 {
                finding.set_message(alike.join("; "));
            }
            return finding;
        }
        if let Some(gate) = &acted.gate {
            return Self::waiting(
                "WaitingForReady",
                format!("the next wave waits for {gate} to be ready"),
                Retry::OnChange,
            );
        }
        let mut finding = Self::succeeded();
        let named = |wanted: Readiness| -> Vec<String> {
            acted
                .unready
                .iter()
                .filter(|(_, readiness)| *readiness == wanted)
                .map(|(target, _)| target.to_string())
                .collect()
        };
        let failed = named(Readiness::Failed);
        let progressing = named(Readiness::Progressing);
        let health = if !failed.is_empty() {
            Health::new(
                HealthKind::Stalled,
                "ChildFailed",
                format!("{} failed", failed.join(", ")),
            )
        } else if !progressing.is_empty() {
            Health::new(
                HealthKind::Reconciling,
                "Progressing",
                format!("waiting for {} to be ready", progressing.join(", ")),
            )
        } else {
            return finding;
        };
        finding.health = Some(health.after_success());
        finding
    }

    fn of_problem(target: &ObjectRef, problem: &Problem, home: &str) -> Self {
        match problem {
            Problem::NotOurs(whose) => Self::failed(
                "ChildConflict",
                format!(
                    "{target} is not ours: {whose}; delete or rename it, or let the plan adopt it"
                ),
                true,
                Retry::Backoff,
            ),
            Problem::Deleting => Self::waiting(
                "WaitingForDeletion",
                format!("{target} is still being deleted"),
                Retry::Poll,
            ),
            Problem::Absent => Self::waiting(
                "PatchTargetMissing",
                format!("{target} is not there; it is patched when it is"),
                Retry::OnChange,
            ),
            Problem::Owned(whose) => Self::failed(
                "PatchConflict",
                format!(
                    "{target} is not patched, other managers own what the plan wants to say ({whose}); let them give it up, or take it out of the plan"
                ),
                true,
                Retry::Backoff,
            ),
            Problem::Immutable(error) => Self::failed(
                "ImmutableField",
                format!(
                    "{target} cannot be changed in place: {error}; delete it to have it created again"
                ),
                true,
                Retry::Backoff,
            ),
            // The CR does not go with that namespace, and somebody may make it again.
            Problem::Failed(error)
                if error.is_namespace_terminating() && target.namespace != home =>
            {
                Self::waiting(
                    "NamespaceTerminating",
                    format!("{target}: its namespace is being deleted"),
                    Retry::Poll,
                )
            }
            Problem::Failed(error) => Self::of_write(target, error),
        }
    }

    /// Which of several findings a pass ends with. What nobody looks at again never hides
    /// what is to be tried again.
    fn weight(&self) -> u8 {
        match (&self.ending, self.retry) {
            (_, Retry::OnChange) => 0,
            // This replica may not write: nothing else that was found counts.
            (Ending::Gone, _) => 5,
            (Ending::Failed { .. }, _) => 4,
            (_, Retry::PollAfter(_)) => 3,
            (_, Retry::AtOnce) => 2,
            _ => 1,
        }
    }

    pub(crate) fn reason(&self) -> &str {
        match &self.ending {
            Ending::Failed { reason, .. } | Ending::Waiting { reason, .. } => reason,
            _ => "",
        }
    }

    pub(crate) fn message(&self) -> &str {
        match &self.ending {
            Ending::Failed { message, .. } | Ending::Waiting { message, .. } => message,
            _ => "",
        }
    }

    fn set_message(&mut self, text: String) {
        if let Some(health) = &mut self.health {
            *health = Health::new(health.kind, &health.reason, text.clone());
        }
        if let Ending::Failed { message, .. } | Ending::Waiting { message, .. } = &mut self.ending {
            *message = text;
        }
    }
}
