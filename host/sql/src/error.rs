//! Why a statement was not answered.

use datafusion::error::DataFusionError;
use kybern_statement::{StatementError, nearest};
use kybern_table::{KindKey, SnapshotTooOld};

use crate::functions::{is_left_out, is_window, names};

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
    /// A table about the host is not told here. Trying again helps where the reason says so.
    #[error("table {name} cannot be read: {reason}")]
    NotTold {
        /// Its SQL name.
        name: String,
        /// Why, and where to ask.
        reason: String,
    },
    /// The snapshot that the statement reads was held for too long. Trying again,
    /// on a newer one, helps.
    #[error("{0}: ask again on a newer snapshot")]
    Expired(SnapshotTooOld),
    /// The changes that are to be told next are not known any more. Subscribing anew, without RESUME,
    /// helps.
    #[error(
        "{why}: the changes since then are not known any more; subscribe again without RESUME, and put the new snapshot in the place of what was told"
    )]
    TooOld {
        /// What is too old.
        why: String,
    },
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
            DataFusionError::Internal(message) if !message.contains(MISSING) => Self::Internal {
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
        "Parser error: ",
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

/// A function that the grammar has a form of its own for, as it has for `ceil(x)`.
const MISSING: &str = "Unable to find expected '";

/// What to write instead, for the errors that people meet.
fn with_cure(message: String) -> String {
    if let Some(name) =
        between(&message, "Invalid function '", "'").or_else(|| between(&message, MISSING, "'"))
    {
        return no_function(name);
    }
    if let Some(name) = between(&message, "No field named ", ", did you")
        .or_else(|| message.strip_prefix("Schema error: No field named "))
    {
        return format!(
            "{name} cannot be named here: a subquery sees the query right around it only; \
             join its table inside, or write a join"
        );
    }
    if let Some(column) = between(&message, "column ", " must appear in the GROUP BY clause") {
        return format!("column {column} must be in GROUP BY or in an aggregate function");
    }
    if let Some(what) = message.strip_prefix("Physical plan does not support ") {
        return misplaced(what.trim_start_matches("logical expression ")).to_owned();
    }
    if message.contains("subquery can only be used in") {
        return "a subquery cannot stand here; \
                select it under a name in a subquery in FROM, and use the name"
            .to_owned();
    }
    let cure = CURES.iter().find(|(part, _)| message.contains(part));
    let cure = cure.map(|(_, cure)| *cure).unwrap_or_default();
    message + cure
}

/// Part of a message -> what to add.
const CURES: [(&str, &str); 7] = [
    (
        "Correlated scalar subquery must be aggregated",
        "; aggregate it, as with max(...), or join the table",
    ),
    (
        "subquery should only return one column",
        "; compare several columns with EXISTS (SELECT 1 ... WHERE a.x = b.x AND a.y = b.y)",
    ),
    (
        "Cannot coerce arithmetic expression",
        "; cast the text, as in spec.size::bigint",
    ),
    (
        "failed to match any signature",
        "; cast the argument, as in sum(spec.size::bigint)",
    ),
    ("Cannot infer common argument type", "; cast one side"),
    (
        "which would be ambiguous",
        "; give the column another name inside the subquery, as in c.name AS container",
    ),
    (
        "unnest() can only be applied to",
        "; write it in FROM, as in FROM pods p, UNNEST(p.spec.containers) AS c",
    ),
];

/// Of an expression that only some clauses may hold, where it may stand.
fn misplaced(what: &str) -> &'static str {
    if what.starts_with("Exists") || what.starts_with("InSubquery") {
        "EXISTS and IN (SELECT ...) stand in WHERE, HAVING and ON only, and have neither LIMIT nor \
         UNION where they name an outer column; as a value write (SELECT count(*) ...) > 0"
    } else if what.starts_with("ScalarSubquery") {
        "a subquery that names an outer column compares it with = only, and cannot stand inside an \
         aggregate; write a join with GROUP BY"
    } else if what.starts_with("WindowFunction") {
        "a window function cannot stand in WHERE; \
         select it under a name in a subquery in FROM, or write QUALIFY"
    } else {
        "a subquery in FROM that names an outer column is too complex; write a join with GROUP BY"
    }
}

fn no_function(name: &str) -> String {
    if is_window(name) {
        return format!("{name} needs a window: {name}(...) OVER (ORDER BY ...)");
    }
    let near = match is_left_out(name) {
        true => Vec::new(),
        false => nearest(name, names()),
    };
    let cure = match near.as_slice() {
        [] => {
            "functions that give another result each time or make much out of little are left out"
                .to_owned()
        }
        near => format!("did you mean {}?", near.join(" or ")),
    };
    format!("there is no function {name}; {cure}")
}

fn between<'a>(text: &'a str, before: &str, behind: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    Some(rest.split_once(behind)?.0)
}
