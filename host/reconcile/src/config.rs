//! The engine's bounds and intervals.

use std::time::Duration;

/// The engine's bounds and intervals; each can be configured by the host.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineConfig {
    /// Passes under way at once, over all registrations.
    pub passes: usize,
    /// Writes under way at once inside one wave of one pass.
    pub writes: usize,
    /// CRs of one registration whose answers are asked for together at most.
    pub together: usize,
    /// First delay after a failed pass; doubles with each failure.
    pub backoff_base: Duration,
    /// Longest delay after a failed pass.
    pub backoff_cap: Duration,
    /// How often a CR is looked at again though nothing happened.
    pub resync: Duration,
    /// Effects under way at once, over all registrations.
    pub effects: usize,
    /// Effects under way at once of one registration.
    pub effects_of_one: usize,
    /// First delay after an effect that failed; doubles with each failure up to `backoff_cap`.
    pub effect_backoff: Duration,
    /// How long shutdown waits for effects under way before it drops them.
    pub effect_grace: Duration,
    /// How long shutdown waits for passes under way before it drops them.
    pub grace: Duration,
    /// Bounds of a plan.
    pub plan: PlanLimits,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            passes: 64,
            writes: 8,
            together: 256,
            backoff_base: Duration::from_millis(5),
            backoff_cap: Duration::from_secs(300),
            resync: Duration::from_secs(36_000),
            effects: 32,
            effects_of_one: 8,
            effect_backoff: Duration::from_secs(1),
            // Less than from losing the lead to another replica having it.
            effect_grace: Duration::from_secs(2),
            grace: Duration::from_secs(30),
            plan: PlanLimits::default(),
        }
    }
}

/// Bounds of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanLimits {
    /// Actions of one plan.
    pub actions: usize,
    /// Bytes of one object as JSON; etcd takes 1.5 MiB.
    pub object_bytes: usize,
    /// Bytes of a status as JSON.
    pub status_bytes: usize,
    /// Bytes of a state as JSON; a record takes 512 KiB.
    pub state_bytes: usize,
    /// Effects of one plan.
    pub effects: usize,
    /// Bytes of an effect's input, and of its outcome, as JSON.
    pub effect_bytes: usize,
    /// Depth of one object.
    pub depth: usize,
    /// Characters of a message of an Event.
    pub message_chars: usize,
}

impl Default for PlanLimits {
    fn default() -> Self {
        Self {
            actions: 1_000,
            object_bytes: 1_048_576,
            status_bytes: 262_144,
            state_bytes: 262_144,
            effects: 64,
            effect_bytes: 65_536,
            depth: 64,
            message_chars: 1_024,
        }
    }
}
