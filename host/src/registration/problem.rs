//! Why a registration cannot run, in words that a condition shows.

use super::condition::shortened;
use kybern_sense::Inadmissible;
use std::time::Duration;

/// When the host looks again by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// When the `Plugin` object, a CRD or another registration changes.
    OnChange,
    /// After a while: something outside may have changed.
    After(Duration),
    /// The same, and each time after a longer while: it costs somebody else something.
    Growing,
}

/// The first pause of what is looked at less and less often.
const FIRST: Duration = Duration::from_secs(5);
/// Its longest pause.
const LAST: Duration = Duration::from_secs(300);

impl Again {
    /// How long to wait after so many failures in a row; none = until something changes.
    pub(crate) fn pause(self, failures: u32) -> Option<Duration> {
        match self {
            Self::OnChange => None,
            Self::After(pause) => Some(pause),
            Self::Growing => {
                let growth = 2_u32.saturating_pow(failures.saturating_sub(1));
                Some(FIRST.saturating_mul(growth).min(LAST))
            }
        }
    }
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
            message: shortened(message.into()),
            again: Again::OnChange,
        }
    }

    /// It may go away by itself.
    pub(crate) fn passing(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: shortened(message.into()),
            again: Again::After(Duration::from_secs(5)),
        }
    }

    /// It may go away by itself, far away.
    pub(crate) fn far(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: shortened(message.into()),
            again: Again::Growing,
        }
    }

    /// The component is on its way: whoever fetches it says when it is here.
    pub(crate) fn fetching() -> Self {
        Self::new("Fetching", "the component is being fetched")
    }

    /// The component is here and is being compiled: whoever does it says when it is done.
    pub(crate) fn compiling() -> Self {
        Self::new("Compiling", "the component is being compiled")
    }

    /// Whether it only waits for the component.
    pub(crate) fn is_under_way(&self) -> bool {
        matches!(self.reason, "Fetching" | "Compiling")
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
        LoadError::TooDear(_) => "CompileLimit",
        LoadError::NotCompiled { .. } => "NotCompiled",
        LoadError::Probe(_) => "ProbeFailed",
        LoadError::Section { .. } | LoadError::Bundle { .. } => "InvalidBundle",
        LoadError::Describe(_) => "DescribeFailed",
    };
    let mut message = error.to_string();
    if let Some(source) = std::error::Error::source(error) {
        message = format!("{message}: {source}");
    }
    match error {
        // It takes the host's processor each time.
        LoadError::NotCompiled { .. } => Problem::far(reason, message),
        _ => Problem::new(reason, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_far_is_asked_less_and_less_often() {
        let pauses = (1..9).map(|failures| Again::Growing.pause(failures).unwrap().as_secs());
        assert_eq!(
            pauses.collect::<Vec<_>>(),
            [5, 10, 20, 40, 80, 160, 300, 300]
        );
        assert_eq!(Again::OnChange.pause(3), None);
        let five = Duration::from_secs(5);
        assert_eq!(Again::After(five).pause(9), Some(five));
    }
}
