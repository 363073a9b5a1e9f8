//! Counters and gauges of the engine, as plain numbers for the host to export.

use std::collections::BTreeMap;
use std::time::Duration;

/// Everything countable about the engine, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Per registration.
    pub plugins: BTreeMap<String, PluginMetrics>,
    /// CRs that are due, by priority: live, retry, resync, start-up.
    pub queued: [usize; 4],
    /// CRs that are due later.
    pub delayed: usize,
    /// Passes under way.
    pub running: usize,
    /// CRs that are slowed down because something changes with every pass.
    pub slowed: usize,
    /// Passes that were not started because nothing had changed but what a pass had written itself.
    pub spared: u64,
    /// Keys held by the trigger index.
    pub trigger_keys: usize,
    /// CRs whose last pass is remembered.
    pub remembered: usize,
    /// How often the change log was too short, so that everything was looked at again.
    pub change_log_overruns: u64,
}

/// Counters of one registration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PluginMetrics {
    /// Passes that ended.
    pub passes: u64,
    /// Of these: nothing had changed.
    pub unchanged: u64,
    /// Of these: succeeded.
    pub succeeded: u64,
    /// Of these: waiting for something.
    pub waiting: u64,
    /// Of these: failed.
    pub failed: u64,
    /// Calls of decide.
    pub decides: u64,
    /// Plans refused whole.
    pub refused: u64,
    /// Children applied because of drift.
    pub drifted: u64,
    /// How often a CR began to be slowed down because something changes with every pass.
    pub slowed: u64,
    /// Writes accepted, by verb.
    pub writes: BTreeMap<&'static str, u64>,
    /// Writes refused, by verb.
    pub write_errors: BTreeMap<&'static str, u64>,
    /// Time of all passes together.
    pub pass_time: Duration,
}
