//! Compares spans of time by their length.
//!
//! # Why
//!
//! The engine turns the difference of two times into an interval before it
//! compares it with one, and intervals are compared months first, then days, then
//! the rest: 31 times 24 hours would be less than one day.
//!
//! # Contract
//!
//! After [`by_length`] no comparison has an interval as a side. A literal of days
//! and less is a duration; one of months has no length and is refused.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchemaRef, Result, ScalarValue, plan_err};
use datafusion::logical_expr::expr::{Between, BinaryExpr, InList};
use datafusion::logical_expr::{Cast, Expr, ExprSchemable, LogicalPlan, Operator, cast, lit};

use crate::planner::{inputs, recompute, rewrite_expressions};

const LENGTH: DataType = DataType::Duration(TimeUnit::Microsecond);
const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Makes every comparison of intervals one of durations.
pub(crate) fn by_length(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|node| {
        let schemas = inputs(&node);
        rewrite_expressions(node, |expr| compared(expr, &schemas))
    })?;
    recompute(plan.data)
}

fn compared(mut expr: Expr, schemas: &[DFSchemaRef]) -> Result<Transformed<Expr>> {
    let sides: Vec<&mut Expr> = match &mut expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(*op) => {
            vec![left, right]
        }
        Expr::Between(Between {
            expr, low, high, ..
        }) => vec![expr, low, high],
        Expr::InList(InList { expr, list, .. }) => {
            std::iter::once(&mut **expr).chain(list).collect()
        }
        _ => return Ok(Transformed::no(expr)),
    };
    if !sides.iter().any(|side| is_interval(side, schemas)) {
        return Ok(Transformed::no(expr));
    }
    for side in sides {
        let taken = std::mem::replace(side, lit(false));
        *side = length(taken, schemas)?;
    }
    Ok(Transformed::yes(expr))
}

fn compares(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(
        op,
        Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom
    )
}

fn is_interval(expr: &Expr, schemas: &[DFSchemaRef]) -> bool {
    schemas
        .iter()
        .any(|schema| matches!(expr.get_type(schema.as_ref()), Ok(DataType::Interval(_))))
}

/// The side of a comparison as a duration.
fn length(expr: Expr, schemas: &[DFSchemaRef]) -> Result<Expr> {
    match expr {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(value), metadata) => {
            let micros = match value {
                Some(value) if value.months != 0 => {
                    return plan_err!(
                        "months and years have no fixed length; compare with days, as in interval '30 days'"
                    );
                }
                Some(value) => i64::from(value.days)
                    .checked_mul(MICROS_PER_DAY)
                    .and_then(|days| days.checked_add(value.nanoseconds / 1000)),
                None => None,
            };
            Ok(Expr::Literal(
                ScalarValue::DurationMicrosecond(micros),
                metadata,
            ))
        }
        Expr::Literal(value, _) if value.is_null() => {
            Ok(lit(ScalarValue::DurationMicrosecond(None)))
        }
        Expr::Cast(Cast { expr, field })
            if matches!(field.data_type(), DataType::Interval(_))
                && !is_interval(&expr, schemas) =>
        {
            Ok(cast(*expr, LENGTH))
        }
        other if is_interval(&other, schemas) => {
            plan_err!(
                "an interval that is computed cannot be compared; compare the times, or write it as one literal"
            )
        }
        other => Ok(cast(other, LENGTH)),
    }
}
