//! Compares text with booleans, as other types are: text that is neither `true`
//! nor `false` is NULL there, and a literal that is neither is an error.

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, cast, try_cast};
use kybern_statement::ast::BinaryOperator;

#[derive(Debug)]
pub(crate) struct Truth;

impl ExprPlanner for Truth {
    fn plan_binary_op(
        &self,
        mut expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
        if matches!(expr.op, Eq | NotEq | Lt | LtEq | Gt | GtEq) {
            let of = |side: &Expr| side.get_type(schema).unwrap_or(DataType::Null);
            match (of(&expr.left), of(&expr.right)) {
                (DataType::Boolean, right) if is_text(&right) => expr.right = boolean(expr.right),
                (left, DataType::Boolean) if is_text(&left) => expr.left = boolean(expr.left),
                _ => {}
            }
        }
        Ok(PlannerResult::Original(expr))
    }
}

fn is_text(of: &DataType) -> bool {
    matches!(
        of,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

fn boolean(expr: Expr) -> Expr {
    match expr {
        Expr::Literal(..) => cast(expr, DataType::Boolean),
        _ => try_cast(expr, DataType::Boolean),
    }
}
