//! Why a registration cannot run, in words that a condition shows.

use kybern_sense::Inadmissible;
use std::time::Duration;

/// When the host looks again by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// When the `Plugin` object, a CRD or another registration changes.
    OnChange,
    /// After a while: something outside may have changed.
    After(Duration),
}

/// Why a registration cannot run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// CamelCase, the condition's reason.
    pub(crate) reason: &'static str,
    /// What is wrong and what to do.
    pub(crate) message: String,
    /// When the host looks again.
    pub(crate) again: Again,
}

impl Problem {
    /// Only a change can help.
    pub(crate) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            again: Again::OnChange,
        }
    }

    /// It may go away by itself.
    pub(crate) fn passing(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            again: Again::After(Duration::from_secs(5)),
        }
    }
}

impl From<Inadmissible> for Problem {
    fn from(why: Inadmissible) -> Self {
        let reason = match why {
            Inadmissible::Query(_) => "InvalidQuery",
            Inadmissible::Manifest(_) => "InvalidManifest",
        };
        Self::new(reason, why.to_string())
    }
}

/// What a component that cannot be loaded is told.
pub(super) fn of_load(error: &kybern_plugin::LoadError) -> Problem {
    use kybern_plugin::LoadError;
    let reason = match error {
        LoadError::TooLarge { .. } => "SourceTooLarge",
        LoadError::NotAComponent { .. } => "NotAComponent",
        LoadError::Manifest { .. } => "InvalidManifest",
        LoadError::World { .. } => "WrongWorld",
        LoadError::Imports { .. } => "ImportsRefused",
        LoadError::NoDecide | LoadError::NoAct | LoadError::Interface { .. } => "WrongInterface",
        LoadError::Compile { .. } => "CompileFailed",
        LoadError::Probe(_) => "ProbeFailed",
    };
    let mut message = error.to_string();
    if let Some(source) = std::error::Error::source(error) {
        message = format!("{message}: {source}");
    }
    Problem::new(reason, message)
}
