//! Walks expressions; every kind that is let through is named here.

use sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, Expr, OrderByExpr, Query, SelectItem, SetExpr, Spanned,
    UnaryOperator, Value,
};
use sqlparser::tokenizer::Span;

use super::access::access;
use super::{Rewriter, set_apart, unsupported};
use crate::bounds::MAX_OPERATORS;
use crate::{MAX_DEPTH, StatementError, distinct};

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
        distinct::restore(expr);
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
            | Expr::UnaryOp {
                op: UnaryOperator::Plus | UnaryOperator::Minus | UnaryOperator::Not,
                expr: inner,
            }
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
                self.query(subquery, false)?;
                without_name(subquery);
                Ok(())
            }
            Expr::Exists { subquery, .. } => self.query(subquery, false).map(drop),
            Expr::Subquery(subquery) => {
                self.query(subquery, false)?;
                self.single(subquery);
                Ok(())
            }
            Expr::AnyOp { left, right, .. } | Expr::AllOp { left, right, .. } => {
                self.expr(left)?;
                match &mut **right {
                    Expr::Subquery(query) => {
                        self.query(query, false)?;
                        match set_apart::shares_a_name(left, query) {
                            true => self.set_apart(query),
                            false => Ok(()),
                        }
                    }
                    list => self.expr(list),
                }
            }
            // The engine would take the pattern for a regular expression.
            Expr::SimilarTo { expr, .. } => Err(StatementError::new(
                expr.span(),
                "SIMILAR TO is not supported",
            )
            .cure("write LIKE, or ~ with a regular expression")),
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
                Expr::BinaryOp { op, .. } if distinct::stands_in(op) => return self.expr(current),
                Expr::BinaryOp { left, right, op } => {
                    if !is_known(op) {
                        return unsupported(right.span(), &format!("the operator {op}"));
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

/// Takes the name of the one column away: nobody can say it, and to the engine it could be that of
/// another column of the subquery.
fn without_name(query: &mut Query) {
    if let SetExpr::Select(select) = &mut *query.body
        && let [item] = select.projection.as_mut_slice()
        && let SelectItem::ExprWithAlias { expr, .. } = item
        && matches!(expr, Expr::CompoundIdentifier(_))
    {
        *item = SelectItem::UnnamedExpr(expr.clone());
    }
}

/// Whether the engine computes this operator; paths' own operators are gone by now.
fn is_known(op: &BinaryOperator) -> bool {
    use BinaryOperator as Op;
    matches!(
        op,
        Op::Plus
            | Op::Minus
            | Op::Multiply
            | Op::Divide
            | Op::Modulo
            | Op::StringConcat
            | Op::Eq
            | Op::NotEq
            | Op::Gt
            | Op::GtEq
            | Op::Lt
            | Op::LtEq
            | Op::And
            | Op::Or
            | Op::BitwiseAnd
            | Op::BitwiseOr
            | Op::PGBitwiseXor
            | Op::PGBitwiseShiftLeft
            | Op::PGBitwiseShiftRight
            | Op::PGRegexMatch
            | Op::PGRegexIMatch
            | Op::PGRegexNotMatch
            | Op::PGRegexNotIMatch
            | Op::PGLikeMatch
            | Op::PGILikeMatch
            | Op::PGNotLikeMatch
            | Op::PGNotILikeMatch
    )
}
