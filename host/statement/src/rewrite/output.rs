//! What a query gives: the names of its columns, and which of them are JSON of a table's objects.
//!
//! # Why
//!
//! A path may enter a column of a subquery where the column is the JSON of some
//! place in a table's objects, whatever it is called by then. It becomes a call
//! of a function on the text, which reads it as the table would.

use std::sync::Arc;

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Value,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::Rewriter;
use crate::{Found, Path, Segment, TableShape};

/// The columns of a query.
pub(super) type Output = Vec<Column>;

/// One column.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub name: String,
    /// Where it is JSON that paths may enter.
    pub json: Option<Json>,
}

/// JSON of a table's objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Json {
    /// Where it is; none if it comes from several places.
    at: Option<(Arc<TableShape>, Path)>,
}

impl Column {
    pub(super) fn named(name: impl Into<String>) -> Self {
        let name = name.into();
        Self { name, json: None }
    }
}

/// The column of that name.
pub(super) fn find<'o>(output: &'o [Column], name: &str) -> Option<&'o Column> {
    output.iter().find(|column| column.name == name)
}

impl Json {
    pub(super) fn at(shape: &Arc<TableShape>, path: &Path) -> Self {
        let at = Some((Arc::clone(shape), path.clone()));
        Self { at }
    }

    fn below(&self, steps: &[Segment]) -> Self {
        let at = self.at.as_ref();
        let at = at.map(|(shape, path)| (Arc::clone(shape), path.join(steps)));
        Self { at }
    }
}

/// A value inside of a column.
pub(super) struct Inside {
    pub expr: Expr,
    pub json: Json,
    pub is_text: bool,
}

impl Rewriter<'_> {
    /// The columns of a set operation, which are called as on its left side.
    pub(super) fn together(&self, left: Output, right: &[Column]) -> Output {
        let both = left.into_iter().zip(right);
        both.map(|(left, right)| Column {
            json: match (left.json, &right.json) {
                (Some(one), Some(other)) if one == *other => Some(one),
                (Some(one), Some(other)) if !self.is_scalar(&one) && !self.is_scalar(other) => {
                    Some(Json { at: None })
                }
                _ => None,
            },
            name: left.name,
        })
        .collect()
    }

    /// Whether the schema says that it is no JSON.
    fn is_scalar(&self, json: &Json) -> bool {
        let at = json.at.as_ref();
        at.is_some_and(|(shape, path)| self.names.found(shape, path) == Found::Scalar)
    }

    /// The value at a path in a column of JSON; none if the schema says that it is no JSON.
    pub(super) fn inside(&self, idents: Vec<Ident>, json: &Json, path: &Path) -> Option<Inside> {
        if self.is_scalar(json) {
            return None;
        }
        let json = json.below(path.segments());
        let at = json.at.as_ref().map(|(shape, path)| (&**shape, path));
        let name = self.names.inside(at);
        let is_text = at.is_none_or(|(shape, path)| self.names.is_text(shape, path));
        let path = Expr::value(Value::SingleQuotedString(path.to_string()));
        let expr = call(name, [Expr::CompoundIdentifier(idents), path])?;
        Some(Inside {
            expr,
            json,
            is_text,
        })
    }
}

fn call(name: &str, arguments: [Expr; 2]) -> Option<Expr> {
    let mut parser = Parser::new(&PostgreSqlDialect {})
        .try_with_sql(&format!("\"{name}\"()"))
        .ok()?;
    let Ok(Expr::Function(mut function)) = parser.parse_expr() else {
        return None;
    };
    fill(&mut function, arguments);
    Some(Expr::Function(function))
}

fn fill(function: &mut Function, arguments: [Expr; 2]) {
    if let FunctionArguments::List(list) = &mut function.args {
        let arguments = arguments.into_iter().map(FunctionArgExpr::Expr);
        list.args = arguments.map(FunctionArg::Unnamed).collect();
    }
}
