//! Reads one SQL statement, decides whether this host answers it, and turns
//! Kubernetes paths into plain columns.
//!
//! The steps, in order:
//!
//! 1. [`parse`] accepts exactly one `SELECT` or `EXPLAIN` of one (PostgreSQL
//!    dialect) and refuses everything else with a reason and a cure;
//! 2. [`Statement::rewrite`] resolves each name against [`Names`] and replaces
//!    every path on a table (`spec.template.spec.containers[0].image`,
//!    `labels['app']`, `spec->'a'->>'b'`) by one column named by its canonical
//!    [`Path`].
//!
//! Statements that change objects come in through [`parse_write`] alone, and what they read is such
//! a SELECT.
//!
//! What is left is SQL without paths and without `*` over tables, so that a
//! query engine treats paths like any other column.
//!
//! [`Quantity`] is here too, because it is the other grammar that the API
//! server and our SQL must read alike.
//!
//! # Limits
//!
//! A statement is at most [`MAX_SQL_BYTES`] long and nests at most
//! [`MAX_DEPTH`] deep.

mod bounds;
mod distinct;
mod error;
mod guard;
mod names;
mod nearest;
mod path;
mod protect;
mod quantity;
mod relations;
mod rewrite;
mod subscribe;
mod unnested;
mod write;

pub use error::{Position, Refused, StatementError};
pub use guard::{Kind, Statement, parse};
pub use names::{ColumnShape, Found, Names, Resolution, TableShape, ViewShape};
pub use nearest::nearest;
pub use path::{Path, Segment};
pub use quantity::{Quantity, QuantityError};
pub use rewrite::{Rewritten, TableUse};
/// The syntax tree that [`Rewritten`] holds.
pub use sqlparser::ast;
pub use subscribe::{Subscribe, subscribe};
pub use unnested::{Element, Unnested};
pub use write::{KEYS, Lowered, Mode, Propagation, Verb, Write, is_write, parse_write};

/// The longest statement that is read, in bytes.
pub const MAX_SQL_BYTES: usize = 64 * 1024;

/// How deep expressions and subqueries may nest.
pub const MAX_DEPTH: usize = 60;
