//! Resolves names and turns paths on tables into plain columns.
//!
//! # Contract
//!
//! In the query that comes out
//!
//! - every table has an alias, and every column of a table is written
//!   `"alias"."column"`, quoted, whichever subquery it stands in;
//! - a path is such a column, named by [`crate::TableShape`]'s canonical name;
//! - `*` over tables is spelled out;
//! - an ORDER BY that decides which or in which order rows are answered is
//!   total: the output columns follow the author's keys.
//!
//! Expressions and clauses that are not known here are refused, never passed
//! on unread: an unread part could hold a name that nobody resolved.

mod access;
mod expr;
mod from;
mod function;
mod output;
mod query;
mod scope;
mod select;
mod set_apart;
mod single;
mod unnest;
mod wildcard;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sqlparser::ast::{Ident, Query};
use sqlparser::tokenizer::Span;

use crate::protect::MARK;
use crate::unnested::{Element, Unnested, table_name};
use crate::{Names, Path, StatementError, TableShape};
pub(crate) use access::steps;
pub(crate) use from::unresolved;
use output::Output;
use scope::{Derived, Scope};

/// One table reference of a statement and what is read through it.
#[derive(Clone, Debug)]
pub struct TableUse {
    /// The table.
    pub shape: Arc<TableShape>,
    /// The name that the query knows it by.
    pub alias: String,
    /// Declared columns that are read.
    pub columns: BTreeSet<String>,
    /// Virtual columns that are read, by name, and the path that each stands for.
    pub paths: BTreeMap<String, Path>,
    /// Its lists whose elements stand beside its rows, in their order.
    pub unnested: Vec<Unnested>,
    /// Columns about those elements that are read, by name.
    pub elements: BTreeMap<String, Element>,
}

impl TableUse {
    fn new(shape: Arc<TableShape>, alias: String) -> Self {
        Self {
            shape,
            alias,
            columns: BTreeSet::new(),
            paths: BTreeMap::new(),
            unnested: Vec::new(),
            elements: BTreeMap::new(),
        }
    }

    /// The name that the query has for the table with its lists.
    pub fn name(&self) -> String {
        table_name(&self.shape, &self.unnested)
    }
}

/// A query of plain columns, and what it reads.
#[derive(Clone, Debug)]
pub struct Rewritten {
    /// The query.
    pub query: Box<Query>,
    /// Every table reference, in the order in which they were met.
    pub tables: Vec<TableUse>,
    /// The names of the output columns.
    pub output: Vec<String>,
    /// How many parameters there are: the highest `$n`.
    pub parameters: usize,
    /// Whether the outermost query has an ORDER BY.
    pub ordered: bool,
    /// Whether some LIMIT or OFFSET chooses among rows that nothing orders.
    pub arbitrary_limit: bool,
}

/// See [`crate::Statement::rewrite`].
pub(crate) fn rewrite(query: &Query, names: &dyn Names) -> Result<Rewritten, StatementError> {
    let mut query = Box::new(query.clone());
    let mut rewriter = Rewriter {
        names,
        scopes: Vec::new(),
        ctes: Vec::new(),
        tables: Vec::new(),
        parameters: 0,
        arbitrary_limit: false,
        set_apart: 0,
        depth: 0,
    };
    let output = rewriter.query(&mut query, true)?;
    Ok(Rewritten {
        ordered: query.order_by.is_some(),
        query,
        tables: rewriter.tables,
        output: output.into_iter().map(|column| column.name).collect(),
        parameters: rewriter.parameters,
        arbitrary_limit: rewriter.arbitrary_limit,
    })
}

struct Rewriter<'a> {
    names: &'a dyn Names,
    /// What columns may come from, outermost first.
    scopes: Vec<Scope>,
    /// Named subqueries in reach, outermost first.
    ctes: Vec<Derived>,
    tables: Vec<TableUse>,
    parameters: usize,
    arbitrary_limit: bool,
    /// Subqueries of ANY and ALL so far.
    set_apart: usize,
    depth: usize,
}

/// Whether the author quoted the name.
pub(crate) fn is_quoted(ident: &Ident) -> bool {
    ident.quote_style.is_some_and(|quote| quote != MARK)
}

/// The name as it is looked up: names that were not quoted are in lower case.
pub(crate) fn folded(ident: &Ident) -> String {
    if is_quoted(ident) {
        ident.value.clone()
    } else {
        ident.value.to_lowercase()
    }
}

/// A quoted name, so that the engine takes it as it is.
fn quoted(name: impl Into<String>, span: Span) -> Ident {
    Ident {
        value: name.into(),
        quote_style: Some('"'),
        span,
    }
}

/// Folds the case of the name and quotes it.
fn settle(ident: &mut Ident) {
    *ident = quoted(folded(ident), ident.span);
}

/// An error at `span` for something that has no place in a query here.
fn unsupported<T>(span: Span, what: &str) -> Result<T, StatementError> {
    Err(StatementError::new(
        span,
        format!("{what} is not supported"),
    ))
}

#[cfg(test)]
mod tests;
