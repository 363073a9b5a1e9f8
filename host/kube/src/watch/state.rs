//! What the state machine remembers, in its states and between them.

use std::time::Duration;

use super::Patience;

#[derive(Clone, Debug)]
pub(super) enum State {
    /// Reading a list; `begun` once `ListBegin` was sent for it.
    Listing { how: How, begun: bool },
    /// Asking whether the API server still knows the history that the table is from, before the
    /// watch goes on after `from`.
    Probing { from: u64 },
    /// Asking whether the API server is as far back as its lists were.
    Doubting,
    /// Following events after `from`; `progressed` once this connection delivered one.
    Watching { from: u64, progressed: bool },
    /// Nothing is open.
    Waiting { then: Then },
}

#[derive(Clone, Debug)]
pub(super) enum How {
    Streaming,
    Paged {
        token: Option<String>,
        limit: Option<u32>,
    },
}

/// What is opened next.
#[derive(Clone, Debug)]
pub(super) enum Then {
    /// A list from its beginning.
    List,
    /// The rest of a list in pages.
    Page {
        token: Option<String>,
        limit: Option<u32>,
        begun: bool,
    },
    /// The watch, after a probe.
    Watch { from: u64 },
}

/// What outlives a state.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    /// Whether streaming lists may be asked for.
    pub(super) streaming: bool,
    /// Whether the table can be read: it holds a complete list and has not failed since.
    pub(super) readable: bool,
    /// How long it has been unreadable without any progress.
    pub(super) trouble: Trouble,
    /// Failures since a watch last made progress.
    pub(super) attempts: u32,
    /// Refusals since a streaming list last completed or an event came.
    pub(super) refusals: u32,
    /// Streaming lists in a row that fell silent.
    pub(super) silent_lists: u32,
    /// Watches in a row that ended without having said anything.
    pub(super) silent: u32,
    /// Continue tokens that expired since a list last completed.
    pub(super) expired_tokens: u32,
    /// The highest resourceVersion that the server vouched for.
    pub(super) highest: u64,
    /// Complete lists in a row that were older than that.
    pub(super) older_lists: u32,
    /// How often in a row it was refused to say whether they are another etcd's.
    pub(super) refused_doubts: u32,
    /// The reason of the last `Fail`, until a list begins.
    pub(super) failed: Option<String>,
}

/// What went wrong since the last progress of a list.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Trouble {
    /// Failures in a row.
    tries: u32,
    /// When the last progress was, or the first try.
    since: Duration,
}

/// Whether a table that cannot be read may still say that it is loading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    GoOn,
    GiveUp,
}

impl Trouble {
    /// An item or a bookmark came.
    pub(super) fn heard(&mut self, now: Duration) {
        self.since = now;
    }

    /// A page or a whole list came.
    pub(super) fn over(&mut self, now: Duration) {
        *self = Trouble {
            tries: 0,
            since: now,
        };
    }

    /// One more failure, after which nothing is tried for at least `pause`.
    pub(super) fn more(&mut self, now: Duration, pause: Duration, patience: &Patience) -> Verdict {
        self.tries = self.tries.saturating_add(1);
        let quiet = now.saturating_add(pause).saturating_sub(self.since);
        if self.tries >= patience.tries || quiet >= patience.time {
            Verdict::GiveUp
        } else {
            Verdict::GoOn
        }
    }
}
