//! Scalar subqueries on a unique key.
//!
//! The engine refuses a correlated subquery unless an aggregate makes it one
//! row. `(SELECT n.spec.x FROM nodes n WHERE n.name = p.spec.nodeName)` has one
//! row at most anyway, so `max(n.spec.x)` is the same value.

use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr,
    Ident, Query, Select, SelectItem, SetExpr, TableFactor, Value, visit_expressions,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::Rewriter;
use crate::TableShape;

impl Rewriter<'_> {
    /// Makes the one column of a rewritten subquery an aggregate, when the
    /// subquery reads one row at most by a key of its table.
    pub(super) fn single(&self, query: &mut Query) {
        let plain = query.order_by.is_none() && query.limit_clause.is_none();
        let SetExpr::Select(select) = &mut *query.body else {
            return;
        };
        if !plain || query.with.is_some() || !self.is_by_key(select) {
            return;
        }
        if let [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] =
            select.projection.as_mut_slice()
            && is_plain(expr)
            && let Some(mut max) = max()
        {
            let argument = std::mem::replace(expr, Expr::value(Value::Null));
            if let FunctionArguments::List(list) = &mut max.args {
                list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))];
            }
            *expr = Expr::Function(max);
        }
    }

    fn is_by_key(&self, select: &Select) -> bool {
        let plain = select.distinct.is_none()
            && select.having.is_none()
            && select.qualify.is_none()
            && matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if keys.is_empty());
        let [from] = select.from.as_slice() else {
            return false;
        };
        let TableFactor::Table {
            name,
            alias: Some(alias),
            ..
        } = &from.relation
        else {
            return false;
        };
        let alias = &alias.name.value;
        let parts: Vec<&str> = name
            .0
            .iter()
            .filter_map(|part| part.as_ident().map(|ident| ident.value.as_str()))
            .collect();
        // A subquery of the condition may know another table by the same alias.
        let read = self.tables.iter().rev().find(|table| {
            table.alias == *alias && parts == [&table.shape.schema, &table.shape.table]
        });
        let Some(table) = read else {
            return false;
        };
        let mut keys = Vec::new();
        if let Some(condition) = &select.selection {
            self.equal_columns(condition, alias, &mut keys);
        }
        plain && from.joins.is_empty() && is_unique(&table.shape, &keys)
    }

    /// The columns of `alias` that must each equal one text for the condition to be true.
    fn equal_columns<'e>(&self, condition: &'e Expr, alias: &str, found: &mut Vec<&'e str>) {
        match condition {
            Expr::Nested(inner) => self.equal_columns(inner, alias, found),
            Expr::BinaryOp {
                left,
                op: BinaryOperator::And,
                right,
            } => {
                self.equal_columns(left, alias, found);
                self.equal_columns(right, alias, found);
            }
            Expr::BinaryOp {
                left,
                op: BinaryOperator::Eq,
                right,
            } => {
                for (own, other) in [(left, right), (right, left)] {
                    if let Some((of, column)) = column(own)
                        && of == alias
                        && self.is_one_text(other, alias)
                    {
                        found.push(column);
                    }
                }
            }
            _ => {}
        }
    }

    /// Whether it is one text for all rows of `alias`. Another type would make
    /// the comparison one of that type, in which different texts can be equal.
    fn is_one_text(&self, expr: &Expr, alias: &str) -> bool {
        if let Expr::Value(value) = expr {
            return matches!(value.value, Value::SingleQuotedString(_));
        }
        let Some((of, column)) = column(expr).filter(|(of, _)| *of != alias) else {
            return false;
        };
        // Of several tables with that alias, each must agree.
        let mut uses = self
            .tables
            .iter()
            .filter(|table| table.alias == of)
            .peekable();
        uses.peek().is_some()
            && uses.all(|table| match table.paths.get(column) {
                Some(path) => self.names.is_text(&table.shape, path),
                None => ["namespace", "name", "uid", "owner_uid"].contains(&column),
            })
    }
}

fn is_unique(shape: &TableShape, keys: &[&str]) -> bool {
    let Some(namespaced) = shape.keyed_by_name else {
        return false;
    };
    let has = |key| keys.contains(&key);
    has("uid") || has("name") && (!namespaced || has("namespace"))
}

/// Table and name of a column.
fn column(expr: &Expr) -> Option<(&str, &str)> {
    match expr {
        Expr::CompoundIdentifier(idents) => match idents.as_slice() {
            [Ident { value: of, .. }, Ident { value: name, .. }] => Some((of, name)),
            _ => None,
        },
        Expr::Nested(inner) => column(inner),
        _ => None,
    }
}

/// Whether there is neither a function nor a subquery in it: functions may be aggregates.
fn is_plain(expr: &Expr) -> bool {
    let found = visit_expressions(expr, |part| match part {
        Expr::Function(_) | Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    found.is_continue()
}

fn max() -> Option<Function> {
    let mut parser = Parser::new(&PostgreSqlDialect {})
        .try_with_sql("max(1)")
        .ok()?;
    match parser.parse_expr() {
        Ok(Expr::Function(max)) => Some(max),
        _ => None,
    }
}
