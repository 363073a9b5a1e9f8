//! Why a pass is due, and how urgently.

use crate::cause::{Causes, StartedBy};
use crate::seen::Seen;
use std::time::Duration;

/// How urgent a pass is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) enum Priority {
    #[default]
    Live,
    Retry,
    Resync,
    StartUp,
}

impl Priority {
    pub(crate) const ALL: [Self; 4] = [Self::Live, Self::Retry, Self::Resync, Self::StartUp];

    /// Its place in [`Self::ALL`].
    pub(crate) fn index(self) -> usize {
        match self {
            Self::Live => 0,
            Self::Retry => 1,
            Self::Resync => 2,
            Self::StartUp => 3,
        }
    }

    /// For metrics and logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Retry => "retry",
            Self::Resync => "resync",
            Self::StartUp => "startup",
        }
    }

    /// How long passes of this priority are held back at most because the API server asks for less.
    pub(crate) fn longest_gate(self) -> Duration {
        match self {
            Self::Live => Duration::from_secs(1),
            Self::Retry | Self::Resync | Self::StartUp => Duration::from_secs(30),
        }
    }
}

/// What a trigger does to a delay that holds its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum OnHold {
    /// It waits with the key.
    #[default]
    Waits,
    /// What the key failed at may be over: it runs at once.
    Ends,
    /// The CR, its plugin or its settings are others: it runs at once, and failures count anew.
    Forgets,
}

/// How a key came to its turn; the queue says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Turn {
    pub(crate) priority: Priority,
    /// From when it was due until its pass started.
    pub(crate) waited: Duration,
}

/// Why a pass is due, as far as it changes when it starts and what it may skip.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Why {
    /// The plugin's own timer is due: decide must be called.
    pub(crate) timer: bool,
    /// What it does to a hold.
    pub(crate) on_hold: OnHold,
    /// Whether the key's breaker is open; the queue says it.
    pub(crate) slowed: bool,
    /// How its turn came.
    pub(crate) turn: Turn,
    /// What it is.
    pub(crate) causes: Causes,
    /// Whether it is of children alone.
    pub(crate) seen: Seen,
}

impl Why {
    /// One trigger.
    pub(crate) fn of(by: StartedBy, on_hold: OnHold) -> Self {
        Self {
            timer: matches!(by, StartedBy::Timer),
            on_hold,
            slowed: false,
            turn: Turn::default(),
            causes: Causes::of(by),
            seen: Seen::More,
        }
    }

    /// Adds what came later.
    pub(crate) fn merge(&mut self, later: Self) {
        self.timer |= later.timer;
        self.on_hold = self.on_hold.max(later.on_hold);
        self.causes.merge(later.causes);
        self.seen.merge(later.seen);
    }
}
