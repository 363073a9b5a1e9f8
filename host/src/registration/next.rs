//! When the controller syncs again.

use super::problem::{Again, Problem};
use super::report::Outcome;

/// Whether the schemas of all wanted kinds are known.
#[derive(PartialEq)]
pub(super) enum Schemas {
    /// They are, or are taken not to be published.
    Settled,
    /// Some are not published yet.
    Missing,
}

/// When a sync must be tried again.
#[derive(PartialEq)]
pub(super) enum Next {
    /// When something changes.
    OnChange,
    /// Soon: a write failed or a removal goes on.
    Soon,
    /// After a while: something outside stands in the way.
    Later,
    /// When more kinds are served.
    Unserved,
}

impl Next {
    /// The same, or what this outcome asks for if nothing did before.
    pub(super) fn or(self, outcome: &Outcome) -> Self {
        if self != Self::OnChange {
            return self;
        }
        let Some(problem) = outcome.problem() else {
            return self;
        };
        match (problem, outcome) {
            (
                Problem {
                    reason: "KindNotServed" | "InstallingCRD" | "KindUnknown",
                    ..
                },
                _,
            ) => Self::Unserved,
            (
                Problem {
                    again: Again::After(_),
                    ..
                },
                Outcome::Broken(_),
            ) => Self::Later,
            // A release is a task of its own.
            _ => self,
        }
    }
}
