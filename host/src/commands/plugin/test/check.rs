//! One check and its verdict.

use crate::terminal::say;

/// One check.
pub(super) struct Check {
    /// What is checked.
    pub(super) name: String,
    /// What came of it.
    pub(super) verdict: Verdict,
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is so.
    Passed,
    /// What came of it was written down as what is to come.
    Updated,
    /// It is not so; why.
    Failed(String),
}

impl Check {
    /// It is so, or it is not and this is why.
    pub(super) fn of(name: impl Into<String>, result: Result<(), String>) -> Self {
        Self {
            name: name.into(),
            verdict: result.map_or_else(Verdict::Failed, |()| Verdict::Passed),
        }
    }

    /// Whether it is not so.
    pub(super) fn failed(&self) -> bool {
        matches!(self.verdict, Verdict::Failed(_))
    }

    /// Prints its line.
    pub(super) fn told(self) -> Self {
        let verdict = match &self.verdict {
            Verdict::Passed => "ok",
            Verdict::Updated => "updated",
            Verdict::Failed(_) => "FAILED",
        };
        say!("test {} ... {verdict}", self.name);
        self
    }
}
