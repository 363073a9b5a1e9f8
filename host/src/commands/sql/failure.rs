//! Why a statement has no answer, and the exit code that tells it.

use crate::asking::HostError;
use kybern_sql::SqlError;

/// The statement itself is at fault.
const REFUSED: u8 = 2;
/// The cluster, a file or this program is.
const FAILED: u8 = 1;

/// A statement without an answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The engine says so.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// A running host was asked and did not answer.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A table could not be listed, or an answer not written.
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
    /// A command of the prompt that is none.
    #[error("{0}")]
    Usage(String),
    /// Some objects are not as a statement wanted them; the report says which.
    #[error("{0}")]
    Incomplete(String),
    /// Ctrl-C, or a question that was not answered with yes.
    #[error("cancelled")]
    Cancelled,
}

impl Failure {
    /// The exit code of a command that ends with this.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Sql(
                SqlError::NotReady { .. }
                | SqlError::NotTold { .. }
                | SqlError::Expired(_)
                | SqlError::TooOld { .. }
                | SqlError::Cancelled { .. }
                | SqlError::Internal { .. },
            )
            | Self::Other(_)
            | Self::Incomplete(_)
            | Self::Cancelled => FAILED,
            Self::Host(HostError::Refused { at_fault: true, .. }) => REFUSED,
            Self::Host(_) => FAILED,
            Self::Sql(_) | Self::Usage(_) => REFUSED,
        }
    }

    /// The same, for a statement that nobody wrote: a place in it says nothing.
    pub(crate) fn without_place(self) -> Self {
        match self {
            Self::Sql(SqlError::Statement(error)) => {
                let cure = error.cure.map(|cure| format!("; {cure}"));
                Self::Usage(error.message + &cure.unwrap_or_default())
            }
            other => other,
        }
    }

    /// The message for people, with the place in the script where it is known.
    pub(crate) fn render(&self, script: &str) -> String {
        match self {
            Self::Sql(error) => error.render(script),
            // The host has rendered it.
            Self::Host(HostError::Refused { text, .. }) => text.clone(),
            other => format!("error: {other}\n"),
        }
    }
}
