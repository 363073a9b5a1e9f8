//! Why a statement was not answered.

use datafusion::error::DataFusionError;
use kybern_statement::StatementError;
use kybern_table::{KindKey, SnapshotTooOld};

/// A statement that was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SqlError {
    /// The statement is not one that this host answers. Trying again does not help.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The engine cannot plan the statement. Trying again does not help.
    #[error("the statement cannot be planned: {message}")]
    Plan {
        /// What is wrong.
        message: String,
    },
    /// The parameters do not fit the statement. Trying again does not help.
    #[error("{message}")]
    Params {
        /// Which one, and why.
        message: String,
    },
    /// A table cannot be read now. Trying again helps once it is loaded.
    #[error("table {name} cannot be read: {reason}")]
    NotReady {
        /// The table.
        table: KindKey,
        /// Its SQL name.
        name: String,
        /// Why.
        reason: String,
    },
    /// The snapshot that the statement reads was held for too long. Trying again,
    /// on a newer one, helps.
    #[error("{0}: ask again on a newer snapshot")]
    Expired(SnapshotTooOld),
    /// The statement ran into one of [`crate::SqlLimits`]. Trying again rarely helps.
    #[error("{message}")]
    Limit {
        /// Which one, and what to do.
        message: String,
    },
    /// The host took its memory back. Trying again helps once less is held.
    #[error("{message}")]
    Cancelled {
        /// Why, and what to do.
        message: String,
    },
    /// A value could not be computed, as with a division by zero or a text that
    /// is no number. Trying again helps only once the data changes.
    #[error("the statement failed: {message}")]
    Execution {
        /// Why.
        message: String,
    },
    /// A fault of this host.
    #[error("internal error: {message}")]
    Internal {
        /// What happened.
        message: String,
    },
}

impl SqlError {
    /// The error for people, with the place in the statement where it is known.
    pub fn render(&self, sql: &str) -> String {
        match self {
            Self::Statement(error) => error.render(sql),
            other => format!("error: {other}\n"),
        }
    }

    /// From the planner.
    pub(crate) fn planning(error: &DataFusionError) -> Self {
        match error.find_root() {
            DataFusionError::Internal(_) => Self::Internal {
                message: plain(error),
            },
            _ => Self::Plan {
                message: with_cure(plain(error)),
            },
        }
    }

    /// From the executor.
    pub(crate) fn execution(error: &DataFusionError) -> Self {
        let message = plain(error);
        match error.find_root() {
            DataFusionError::External(cause) if let Some(expired) = cause.downcast_ref() => {
                Self::Expired(*expired)
            }
            DataFusionError::ResourcesExhausted(_) => Self::Limit {
                message: format!(
                    "the statement needs more memory than it may have: {message}; read fewer rows or columns"
                ),
            },
            DataFusionError::Internal(_) => Self::Internal { message },
            _ => Self::Execution { message },
        }
    }
}

/// What the engine says, without its own words for who says it and the advice
/// for its developers that may follow.
fn plain(error: &DataFusionError) -> String {
    let text = error.find_root().strip_backtrace();
    let mut message = text.lines().next().unwrap_or_default();
    let said_by = [
        "Error during planning: ",
        "This feature is not implemented: ",
        "Resources exhausted: ",
        "Execution error: ",
        "Arrow error: ",
        "Internal error: ",
        "External error: ",
        "While expanding wildcard, ",
        "Cast error: ",
    ];
    while let Some(rest) = said_by
        .iter()
        .find_map(|prefix| message.strip_prefix(prefix))
    {
        message = rest;
    }
    let message = message.split(", errors: ").next().unwrap_or(message);
    let message = message.trim_end_matches('.');
    message.chars().take(400).collect()
}

/// What to write instead, for the errors that people meet.
fn with_cure(message: String) -> String {
    let cure = if message.contains("Correlated scalar subquery must be aggregated") {
        "; aggregate it, as with max(...), or join the table"
    } else if message.starts_with("Invalid function") {
        "; functions that give another result each time or make much out of little are left out"
    } else if message.starts_with("Cannot coerce arithmetic expression") {
        "; cast the text, as in spec.size::bigint"
    } else {
        ""
    };
    message + cure
}
