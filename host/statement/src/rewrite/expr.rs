//! Walks expressions; every kind that is let through is named here.

use sqlparser::ast::{BinaryOperator, CaseWhen, CastKind, Expr, OrderByExpr, Spanned, Value};
use sqlparser::tokenizer::Span;

use super::access::access;
use super::{Rewriter, unsupported};
use crate::bounds::MAX_OPERATORS;
use crate::{MAX_DEPTH, StatementError};

/// How deep this walk goes: the parser's own bound does not count postfix operators.
const MAX_WALK: usize = 4 * MAX_DEPTH;

impl Rewriter<'_> {
    pub(super) fn exprs<'e>(
        &mut self,
        exprs: impl IntoIterator<Item = &'e mut Expr>,
    ) -> Result<(), StatementError> {
        exprs.into_iter().try_for_each(|expr| self.expr(expr))
    }

    pub(super) fn expr(&mut self, expr: &mut Expr) -> Result<(), StatementError> {
        self.depth += 1;
        let walked = if self.depth > MAX_WALK {
            Err(StatementError::new(
                expr.span(),
                "the expression nests too deep",
            ))
        } else {
            self.expr_inner(expr)
        };
        self.depth -= 1;
        walked
    }

    fn expr_inner(&mut self, expr: &mut Expr) -> Result<(), StatementError> {
        if let Some(access) = access(expr)? {
            *expr = self.replace(&access)?.expr;
            return Ok(());
        }
        match expr {
            Expr::Value(value) => self.value(&value.value, value.span),
            Expr::TypedString(_) => Ok(()),
            Expr::Interval(interval) => self.expr(&mut interval.value),
            Expr::Nested(inner)
            | Expr::IsFalse(inner)
            | Expr::IsNotFalse(inner)
            | Expr::IsTrue(inner)
            | Expr::IsNotTrue(inner)
            | Expr::IsNull(inner)
            | Expr::IsNotNull(inner)
            | Expr::IsUnknown(inner)
            | Expr::IsNotUnknown(inner)
            | Expr::UnaryOp { expr: inner, .. }
            | Expr::Extract { expr: inner, .. }
            | Expr::Ceil { expr: inner, .. }
            | Expr::Floor { expr: inner, .. } => self.expr(inner),
            Expr::IsDistinctFrom(left, right)
            | Expr::IsNotDistinctFrom(left, right)
            | Expr::AtTimeZone {
                timestamp: left,
                time_zone: right,
            }
            | Expr::Position {
                expr: left,
                r#in: right,
            }
            | Expr::Like {
                expr: left,
                pattern: right,
                any: false,
                ..
            }
            | Expr::ILike {
                expr: left,
                pattern: right,
                any: false,
                ..
            }
            | Expr::SimilarTo {
                expr: left,
                pattern: right,
                ..
            } => {
                self.expr(left)?;
                self.expr(right)
            }
            Expr::BinaryOp { .. } => self.chain(expr),
            Expr::InList { expr, list, .. } => {
                self.expr(expr)?;
                self.exprs(list)
            }
            Expr::InSubquery { expr, subquery, .. } => {
                self.expr(expr)?;
                self.query(subquery, false).map(drop)
            }
            Expr::Exists { subquery, .. } | Expr::Subquery(subquery) => {
                self.query(subquery, false).map(drop)
            }
            Expr::AnyOp { left, right, .. } | Expr::AllOp { left, right, .. } => {
                self.expr(left)?;
                self.expr(right)
            }
            Expr::Between {
                expr, low, high, ..
            } => self.exprs([&mut **expr, low, high]),
            Expr::Cast {
                kind,
                expr,
                format: None,
                ..
            } => self.cast(kind, expr),
            Expr::Substring {
                expr,
                substring_from,
                substring_for,
                ..
            } => {
                self.expr(expr)?;
                self.exprs(
                    substring_from
                        .iter_mut()
                        .chain(substring_for)
                        .map(|e| &mut **e),
                )
            }
            Expr::Trim {
                expr,
                trim_what,
                trim_characters,
                ..
            } => {
                self.expr(expr)?;
                self.exprs(trim_what.iter_mut().map(|e| &mut **e))?;
                self.exprs(trim_characters.iter_mut().flatten())
            }
            Expr::Overlay {
                expr,
                overlay_what,
                overlay_from,
                overlay_for,
            } => {
                self.exprs([&mut **expr, overlay_what, overlay_from])?;
                self.exprs(overlay_for.iter_mut().map(|e| &mut **e))
            }
            Expr::Case {
                operand,
                conditions,
                else_result,
                ..
            } => {
                self.exprs(operand.iter_mut().map(|e| &mut **e))?;
                for CaseWhen { condition, result } in conditions {
                    self.exprs([condition, result])?;
                }
                self.exprs(else_result.iter_mut().map(|e| &mut **e))
            }
            Expr::Function(function) => self.function(function),
            Expr::GroupingSets(sets) | Expr::Cube(sets) | Expr::Rollup(sets) => {
                self.exprs(sets.iter_mut().flatten())
            }
            Expr::Tuple(items) => self.exprs(items),
            Expr::Array(array) => self.exprs(&mut array.elem),
            other => unsupported(other.span(), &format!("the expression {other}")),
        }
    }

    /// Walks `a AND b AND c ...` without going one deeper for each operator.
    fn chain(&mut self, expr: &mut Expr) -> Result<(), StatementError> {
        let mut current = expr;
        for _ in 0..=MAX_OPERATORS {
            if access(current)?.is_some() {
                return self.expr(current);
            }
            match current {
                Expr::BinaryOp { left, right, op } => {
                    if let BinaryOperator::Custom(name) = op {
                        return unsupported(right.span(), &format!("the operator {name}"));
                    }
                    self.expr(right)?;
                    current = left;
                }
                _ => return self.expr(current),
            }
        }
        Err(StatementError::new(
            current.span(),
            "the expression is too long",
        ))
    }

    /// A path of unknown type may hold anything: what cannot be cast is NULL,
    /// like every other mismatch of a path.
    fn cast(&mut self, kind: &mut CastKind, expr: &mut Expr) -> Result<(), StatementError> {
        let Some(access) = access(expr)? else {
            return self.expr(expr);
        };
        let replaced = self.replace(&access)?;
        *expr = replaced.expr;
        if replaced.untyped {
            *kind = CastKind::TryCast;
        }
        Ok(())
    }

    fn value(&mut self, value: &Value, span: Span) -> Result<(), StatementError> {
        let Value::Placeholder(name) = value else {
            return Ok(());
        };
        let number = name.strip_prefix('$').and_then(|n| n.parse::<usize>().ok());
        match number {
            Some(number @ 1..=1000) => {
                self.parameters = self.parameters.max(number);
                Ok(())
            }
            _ => Err(StatementError::new(span, format!("{name} is no parameter"))
                .cure("parameters are $1, $2, ... up to $1000")),
        }
    }

    pub(super) fn order_by_expr(&mut self, order: &mut OrderByExpr) -> Result<(), StatementError> {
        if order.with_fill.is_some() {
            return unsupported(order.expr.span(), "WITH FILL");
        }
        self.expr(&mut order.expr)
    }
}
