//! The stages of a pass: each is timed, and a span of its own inside that of its pass.
//!
//! # Contract
//! One span `pass` at level info for each pass, one span at level debug for each stage that it comes
//! to. Spans hold names, causes in one word and results; never what objects or answers contain.

use crate::counters::OfPlugin;
use crate::key::CrKey;
use crate::why::Why;
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument, Span, debug_span, info_span};

/// A stage of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The queries are answered, the sense hook included.
    Sense,
    /// The plugin decides.
    Decide,
    /// The plan is checked, compared and followed.
    Write,
    /// The status is compared and written.
    Status,
}

impl Stage {
    /// For labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sense => "sense",
            Self::Decide => "decide",
            Self::Write => "write",
            Self::Status => "status",
        }
    }

    fn span(self) -> Span {
        match self {
            Self::Sense => debug_span!("sense"),
            Self::Decide => debug_span!("decide"),
            Self::Write => debug_span!("write"),
            Self::Status => debug_span!("status"),
        }
    }

    /// Does the work of this stage.
    pub(crate) async fn of<F: Future>(self, counts: &OfPlugin, work: F) -> F::Output {
        let began = Instant::now();
        let output = work.instrument(self.span()).await;
        counts.lock().stage(self, began.elapsed());
        output
    }
}

/// The span of a pass; its result is recorded when it ends.
pub(crate) fn pass_span(key: &CrKey, why: &Why) -> Span {
    info_span!(
        "pass",
        plugin = &*key.plugin,
        kind = &*key.table.kind,
        namespace = &*key.namespace,
        name = &*key.name,
        cause = why.causes.kind(),
        priority = why.turn.priority.name(),
        result = Empty,
    )
}
