//! Subqueries of ANY and ALL.
//!
//! The engine compares the left side with the subquery's column by name. Where
//! a table of the left side and one of the subquery have the same name, it
//! would compare the inner column with itself; the subquery then gets a name
//! of its own.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, Query, SetExpr, Spanned, TableFactor, TableWithJoins, visit_expressions,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::Rewriter;
use crate::StatementError;

/// Whether a rewritten expression names a table that the query reads under the same name.
pub(super) fn shares_a_name(left: &Expr, query: &Query) -> bool {
    let SetExpr::Select(select) = &*query.body else {
        return true;
    };
    let names: Vec<&str> = select.from.iter().flat_map(names).collect();
    let found = visit_expressions(left, |part| match part {
        Expr::CompoundIdentifier(idents)
            if idents.first().is_some_and(|of| names.contains(&&*of.value)) =>
        {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

fn names(tables: &TableWithJoins) -> Vec<&str> {
    let factors =
        std::iter::once(&tables.relation).chain(tables.joins.iter().map(|join| &join.relation));
    factors.flat_map(names_of).collect()
}

fn names_of(factor: &TableFactor) -> Vec<&str> {
    match factor {
        TableFactor::Table {
            alias: Some(alias), ..
        }
        | TableFactor::Derived {
            alias: Some(alias), ..
        } => vec![&alias.name.value],
        TableFactor::Table { name, .. } => {
            let last = name.0.last().and_then(|part| part.as_ident());
            last.map(|ident| ident.value.as_str()).into_iter().collect()
        }
        TableFactor::NestedJoin {
            table_with_joins, ..
        } => names(table_with_joins),
        _ => Vec::new(),
    }
}

impl Rewriter<'_> {
    /// Puts `SELECT * FROM (...) AS "any n"` around the query.
    pub(super) fn set_apart(&mut self, query: &mut Box<Query>) -> Result<(), StatementError> {
        self.set_apart += 1;
        let around = format!("SELECT * FROM (SELECT 1) AS \"any {}\"", self.set_apart);
        let mut around = Parser::new(&PostgreSqlDialect {})
            .try_with_sql(&around)
            .and_then(|mut parser| parser.parse_query())
            .map_err(|error| StatementError::new(query.span(), error.to_string()))?;
        if let SetExpr::Select(select) = &mut *around.body
            && let Some(from) = select.from.first_mut()
            && let TableFactor::Derived { subquery, .. } = &mut from.relation
        {
            std::mem::swap(subquery, query);
        }
        *query = around;
        Ok(())
    }
}
