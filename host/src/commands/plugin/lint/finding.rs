//! One thing that lint has to say.

use serde::Serialize;
use std::fmt;

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Severity {
    /// It does not run, or not as it says.
    Error,
    /// It runs; somebody may regret it.
    Warning,
}

/// One thing that lint has to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// How much it matters.
    pub(super) severity: Severity,
    /// Its kind; stays the same between versions.
    pub(super) code: &'static str,
    /// Where: a path into the manifest, an import, a query.
    pub(super) place: String,
    /// What is wrong.
    pub(super) message: String,
    /// What to do about it.
    pub(super) cure: String,
}

impl Finding {
    /// It does not run, or not as it says.
    pub(super) fn error(
        code: &'static str,
        place: impl Into<String>,
        message: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Error,
            code,
            place: place.into(),
            message: message.into(),
            cure: cure.into(),
        }
    }

    /// It runs; somebody may regret it.
    pub(super) fn warning(
        code: &'static str,
        place: impl Into<String>,
        message: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, place, message, cure)
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        writeln!(
            f,
            "{severity}[{}]: {}: {}",
            self.code, self.place, self.message
        )?;
        writeln!(f, "  cure: {}", self.cure)
    }
}
