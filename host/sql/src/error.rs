//! Why a statement was not answered.

use datafusion::error::DataFusionError;
use kybern_statement::StatementError;
use kybern_table::KindKey;

/// A statement that was not answered.
#[derive(Debug, thiserror::Error)]
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
    /// The statement ran into one of [`crate::SqlLimits`]. Trying again rarely helps.
    #[error("{message}")]
    Limit {
        /// Which one, and what to do.
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
            DataFusionError::Internal(message) => Self::Internal {
                message: first_line(message),
            },
            root => Self::Plan {
                message: first_line(&root.strip_backtrace()),
            },
        }
    }

    /// From the executor.
    pub(crate) fn execution(error: &DataFusionError) -> Self {
        match error.find_root() {
            DataFusionError::ResourcesExhausted(message) => Self::Limit {
                message: format!(
                    "the statement needs more memory than it may have: {}; read fewer rows or columns",
                    first_line(message)
                ),
            },
            DataFusionError::Internal(message) => Self::Internal {
                message: first_line(message),
            },
            root => Self::Execution {
                message: first_line(&root.strip_backtrace()),
            },
        }
    }
}

/// Messages of the engine may go on with advice for its developers.
fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().trim().to_owned()
}
