//! Statements that change objects: UPDATE, DELETE, INSERT and APPLY.
//!
//! # Why
//!
//! An engine that plans `UPDATE ... WHERE x IN (SELECT ...)` by itself may drop the condition, run
//! the statement while it only explains it, or ignore LIMIT. Here every such statement is *lowered*
//! to a SELECT of the rows that it is about, with the values that each is to get; that SELECT goes
//! the way of every other one, and whoever runs the statement writes what came out.
//!
//! # Contract
//!
//! ```text
//! [WITH ...] UPDATE t [[AS] a] SET path = value, ... [FROM ...] {WHERE ... | ALL ROWS} [RETURNING ...]
//! [WITH ...] DELETE FROM t [[AS] a] [USING ...] {WHERE ... | ALL ROWS}
//!            [PROPAGATION {BACKGROUND | FOREGROUND | ORPHAN}] [RETURNING ...]
//! [WITH ...] INSERT INTO t (path, ...) {VALUES ... | SELECT ...} [ON CONFLICT DO NOTHING] [RETURNING ...]
//!            APPLY [FORCE] {value, ... | VALUES ... | SELECT ...}
//! ```
//!
//! `DRY RUN` or `EXPLAIN` may stand before each. The rows of the lowered SELECT are the rows of
//! `SELECT ... FROM t, <FROM or USING> WHERE ...`, and nothing else decides about them.

mod clauses;
mod lower;
mod target;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use sqlparser::ast::{Expr, Query};
use sqlparser::tokenizer::Span;

use crate::guard::Statement;
use crate::rewrite::Rewritten;
use crate::{Names, Path, StatementError, TableShape};
pub use lower::{is_write, parse_write};
use target::Target;

/// What a statement does to its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Sets fields of objects that there are.
    Update,
    /// Deletes objects.
    Delete {
        /// What becomes of the objects that they own.
        propagation: Propagation,
    },
    /// Creates objects.
    Insert {
        /// An object that is there already is left as it is, and is no error.
        do_nothing: bool,
    },
    /// Applies objects: creates them, or makes the fields that they name as they say.
    Apply {
        /// Takes fields from other field managers.
        force: bool,
    },
}

/// What becomes of objects whose owner is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    /// They are deleted afterwards.
    #[default]
    Background,
    /// They are deleted before their owner is gone.
    Foreground,
    /// They stay.
    Orphan,
}

/// What is wanted of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To change objects.
    Write,
    /// To ask the API server what it would do.
    DryRun,
    /// To say how the rows are found. Nothing is sent to the API server.
    Explain {
        /// Whether to print all there is.
        verbose: bool,
    },
}

/// One statement that changes objects.
#[derive(Clone, Debug)]
pub struct Write {
    sql: String,
    verb: Verb,
    mode: Mode,
    /// The table, without its alias; none for APPLY.
    table: Option<Relation>,
    /// What is set, in the order of the values.
    targets: Vec<Expr>,
    rows: Statement,
    returning: Option<Statement>,
    /// Whether its author reads the resourceVersion or whole objects.
    reads_version: bool,
}

/// A table by name, as it was written.
#[derive(Clone, Debug)]
struct Relation {
    schema: Option<String>,
    table: String,
    /// What columns of it are called by: the alias, or the table's own name.
    called: String,
    span: Span,
}

/// A statement whose names are resolved.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// The table; none for APPLY.
    pub table: Option<Arc<TableShape>>,
    /// What is set, in the order of the value columns.
    pub targets: Vec<Path>,
    /// The SELECT of the rows: see [`Write::keys`] for its columns.
    pub rows: Rewritten,
}

/// The columns that say which object a row of UPDATE or DELETE is about, in this order; the values
/// follow them.
pub const KEYS: [&str; 4] = ["uid", "namespace", "name", "resource_version"];

impl Write {
    /// The text, as it came in.
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// What it does.
    pub fn verb(&self) -> Verb {
        self.verb
    }

    /// What is wanted of it.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The SELECT that RETURNING is: of the objects as they were answered.
    pub fn returning(&self) -> Option<&Statement> {
        self.returning.as_ref()
    }

    /// How many columns of the rows are keys of objects; values follow them.
    pub fn keys(&self) -> usize {
        match self.verb {
            Verb::Update | Verb::Delete { .. } => KEYS.len(),
            Verb::Insert { .. } | Verb::Apply { .. } => 0,
        }
    }

    /// Whether its author reads the resourceVersion or whole objects: any change of an object is
    /// then one of what the statement reads.
    pub fn reads_version(&self) -> bool {
        self.reads_version
    }

    /// The tables that it names, without a look at columns.
    pub fn tables(&self, names: &dyn Names) -> Result<Vec<Arc<TableShape>>, StatementError> {
        let mut tables = self.rows.tables(names)?;
        if let Some(table) = &self.table {
            let shape = target::table(table, names)?;
            if !tables.contains(&shape) {
                tables.push(shape);
            }
        }
        Ok(tables)
    }

    /// Resolves its names and turns paths into columns.
    pub fn lower(&self, names: &dyn Names) -> Result<Lowered, StatementError> {
        let table = self.table.as_ref();
        let shape = table.map(|table| target::table(table, names)).transpose()?;
        let mut targets: Vec<Target> = Vec::new();
        for expr in &self.targets {
            if let (Some(table), Some(shape)) = (table, &shape) {
                let found = target::target(expr, table, shape, self.verb)?;
                target::apart(&targets, &found)?;
                targets.push(found);
            }
        }
        let rows = self.rows.rewrite(names)?;
        let wanted = match self.verb {
            Verb::Apply { .. } => 1,
            _ => self.keys() + targets.len(),
        };
        if rows.output.len() != wanted {
            return Err(lower::width(self.verb, rows.output.len(), wanted));
        }
        Ok(Lowered {
            table: shape,
            targets: targets.into_iter().map(|target| target.path).collect(),
            rows,
        })
    }
}

/// The query of a lowered statement.
fn statement(sql: &str, query: Box<Query>) -> Statement {
    Statement::select(sql, query)
}
