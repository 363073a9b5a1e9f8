//! Counters and gauges of the engine, as plain numbers for the host to export.
//!
//! # Limits
//! Whatever is counted by name is counted by registration, and there by words of the host's own:
//! results, stages, verbs, reasons. Nothing is counted by object.

use crate::histogram::Histogram;
use crate::report::Ending;
use crate::stage::Stage;
use crate::why::Turn;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Everything countable about the engine, at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics {
    /// Per registration.
    pub plugins: BTreeMap<String, PluginMetrics>,
    /// CRs that are due, by priority: live, retry, resync, start-up.
    pub queued: [usize; 4],
    /// How long the first of them has waited, by priority.
    pub oldest: [Duration; 4],
    /// CRs that are due later.
    pub delayed: usize,
    /// Passes under way.
    pub running: usize,
    /// Effects under way, and those that wait for their turn.
    pub effects: [usize; 2],
    /// CRs that are slowed down because something changes with every pass.
    pub slowed: usize,
    /// Passes that were not started because nothing had changed but what a pass had written itself.
    pub spared: u64,
    /// Keys held by the trigger index.
    pub trigger_keys: usize,
    /// CRs whose last pass is remembered.
    pub remembered: usize,
    /// CRs whose answers were asked for together with those of others and wait for their pass.
    pub answered_ahead: usize,
    /// Plugins whose breaker is open: they fail whatever they are asked.
    pub failing: BTreeSet<Arc<str>>,
    /// How often the change log was too short, so that everything was looked at again.
    pub change_log_overruns: u64,
}

impl Metrics {
    /// The names of the priorities, in the order of the gauges.
    pub const PRIORITIES: [&'static str; 4] = ["live", "retry", "resync", "startup"];
}

/// How a pass ended, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PassResult {
    /// Nothing had changed.
    Unchanged,
    /// Everything the plan wants is so.
    Succeeded,
    /// The sense hook said that there is nothing to do.
    Skipped,
    /// The CR is paused.
    Paused,
    /// Something is not there yet.
    Waiting,
    /// It, or a part of it, failed.
    Failed,
    /// The CR, its namespace or this replica's lead is gone.
    Gone,
    /// A table that every pass of the registration needs cannot be read yet.
    NotReady,
}

impl PassResult {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Unchanged,
        Self::Succeeded,
        Self::Skipped,
        Self::Paused,
        Self::Waiting,
        Self::Failed,
        Self::Gone,
        Self::NotReady,
    ];

    /// For labels and spans.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Succeeded => "succeeded",
            Self::Skipped => "skipped",
            Self::Paused => "paused",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
            Self::Gone => "gone",
            Self::NotReady => "not_ready",
        }
    }

    /// The word for an ending.
    pub(crate) fn of(ending: &Ending) -> Self {
        match ending {
            Ending::Unchanged => Self::Unchanged,
            Ending::Succeeded => Self::Succeeded,
            Ending::Skipped => Self::Skipped,
            Ending::Paused => Self::Paused,
            Ending::Waiting { .. } => Self::Waiting,
            Ending::Failed { .. } => Self::Failed,
            Ending::Gone => Self::Gone,
        }
    }
}

/// What makes a CR due again after a pass that did not find everything as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Again {
    /// At once, because an object had changed meanwhile.
    Conflict,
    /// After a backoff, because it failed.
    Backoff,
    /// After the time that the API server asked for.
    Throttled,
    /// After a while, because something is not there yet.
    Waiting,
}

impl Again {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Conflict,
        Self::Backoff,
        Self::Throttled,
        Self::Waiting,
    ];

    /// For labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::Backoff => "backoff",
            Self::Throttled => "throttled",
            Self::Waiting => "waiting",
        }
    }
}

/// How an effect ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EffectResult {
    /// It succeeded.
    Succeeded,
    /// The act hook returned an error.
    Failed,
    /// It ran out of its time.
    TimedOut,
    /// The act hook did not return.
    Crashed,
    /// It was ended because its CR, its registration or this replica's lead went.
    Cancelled,
}

impl EffectResult {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Succeeded,
        Self::Failed,
        Self::TimedOut,
        Self::Crashed,
        Self::Cancelled,
    ];

    /// For labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Crashed => "crashed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Counters of one registration.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PluginMetrics {
    /// How long passes took, by result; those that ended.
    pub passes: BTreeMap<PassResult, Histogram>,
    /// How long stages of passes took.
    pub stages: BTreeMap<Stage, Histogram>,
    /// How long effects took, by result.
    pub effects: BTreeMap<EffectResult, Histogram>,
    /// From when a pass was due until it started, by priority as in [`Metrics::PRIORITIES`].
    pub waited: [Histogram; 4],
    /// Passes that failed or wait, by reason.
    pub reasons: BTreeMap<String, u64>,
    /// What made CRs due again.
    pub again: BTreeMap<Again, u64>,
    /// Answers of the API server that asked to wait (429, Retry-After).
    pub throttled: u64,
    /// Calls of decide.
    pub decides: u64,
    /// Plans refused whole.
    pub refused: u64,
    /// Children applied because of drift.
    pub drifted: u64,
    /// How often a CR began to be slowed down because something changes with every pass.
    pub slowed: u64,
    /// How often its breaker opened.
    pub trips: u64,
    /// Writes, by verb and class of the answer: `2xx`, `4xx`, `5xx`, `lost` or `fenced`.
    pub writes: BTreeMap<(&'static str, &'static str), u64>,
}

/// Reasons that are counted by name; no more are known than a third of that.
const MAX_REASONS: usize = 128;

impl PluginMetrics {
    /// Passes with this result.
    pub fn ended(&self, result: PassResult) -> u64 {
        self.passes.get(&result).map_or(0, Histogram::count)
    }

    /// All passes.
    pub fn all_passes(&self) -> u64 {
        self.passes.values().map(Histogram::count).sum()
    }

    /// The time of all passes together.
    pub fn pass_time(&self) -> Duration {
        self.passes.values().map(Histogram::sum).sum()
    }

    pub(crate) fn began(&mut self, turn: Turn) {
        if let Some(waited) = self.waited.get_mut(turn.priority.index()) {
            waited.observe(turn.waited);
        }
    }

    pub(crate) fn passed(&mut self, result: PassResult, took: Duration) {
        self.passes.entry(result).or_default().observe(took);
    }

    pub(crate) fn stage(&mut self, stage: Stage, took: Duration) {
        self.stages.entry(stage).or_default().observe(took);
    }

    pub(crate) fn effect(&mut self, result: EffectResult, took: Duration) {
        self.effects.entry(result).or_default().observe(took);
    }

    pub(crate) fn due_again(&mut self, again: Again) {
        *self.again.entry(again).or_default() += 1;
    }

    /// Counts why a pass failed or waits.
    pub(crate) fn reason(&mut self, ending: &Ending) {
        let (Ending::Failed { reason, .. } | Ending::Waiting { reason, .. }) = ending else {
            return;
        };
        if let Some(count) = self.reasons.get_mut(reason) {
            *count += 1;
        } else if self.reasons.len() < MAX_REASONS {
            self.reasons.insert(reason.clone(), 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::why::Priority;

    #[test]
    fn priorities_have_their_names() {
        assert_eq!(Priority::ALL.map(Priority::name), Metrics::PRIORITIES);
        assert_eq!(Priority::ALL.map(Priority::index), [0, 1, 2, 3]);
    }

    #[test]
    fn reasons_are_counted_by_name_up_to_a_bound() {
        let mut metrics = PluginMetrics::default();
        for n in 0..300 {
            let reason = format!("R{}", n % 200);
            let message = String::new();
            metrics.reason(&Ending::Failed { reason, message });
        }
        metrics.reason(&Ending::Succeeded);
        assert_eq!(metrics.reasons.len(), MAX_REASONS);
        assert_eq!(metrics.reasons["R0"], 2);
    }
}
