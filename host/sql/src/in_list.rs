//! Keeps IN lists as they are written through DataFusion's optimiser.
//!
//! # Why
//!
//! Its simplifier merges two lists on one expression by comparing their items
//! as text: `a IN ($1) AND a IN ('x')` has no item in common and becomes false
//! whatever `$1` is; NULL items, and a NULL `a`, are forgotten. So where a plan
//! has two lists or more, each is put on an expression of its own while the
//! optimiser runs. OR chains are written as lists first, as it would do.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::expr::{InList, ScalarFunction};
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility, lit,
};

use crate::planner::each_expression;

/// Gives every list an expression of its own, if there are two.
pub(crate) fn hide(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut lists: u64 = 0;
    let hidden = each_expression(plan.clone(), |expr| {
        Ok(match chain(expr) {
            Transformed {
                data: Expr::InList(list),
                ..
            } => {
                lists += 1;
                Transformed::yes(Expr::InList(own(list, lists)))
            }
            other => other,
        })
    })?;
    Ok(if lists > 1 { hidden } else { plan })
}

/// Undoes [`hide`].
pub(crate) fn reveal(plan: LogicalPlan) -> Result<LogicalPlan> {
    each_expression(plan, |expr| {
        Ok(match hidden(&expr) {
            Some(inner) => Transformed::yes(inner.clone()),
            None => Transformed::no(expr),
        })
    })
}

/// The list on an expression that equals no other.
fn own(list: InList, number: u64) -> InList {
    let inner = hidden(&list.expr).unwrap_or(&list.expr).clone();
    let function = ScalarUDF::from(Same::new());
    let expr = Expr::ScalarFunction(ScalarFunction::new_udf(
        function.into(),
        vec![inner, lit(number)],
    ));
    InList {
        expr: Box::new(expr),
        ..list
    }
}

fn hidden(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::ScalarFunction(call) if call.func.name() == Same::NAME => call.args.first(),
        _ => None,
    }
}

/// `a = 1 OR a IN (2, 3)` as one list.
fn chain(expr: Expr) -> Transformed<Expr> {
    let Expr::BinaryExpr(BinaryExpr {
        left,
        op: Operator::Or,
        right,
    }) = &expr
    else {
        return Transformed::no(expr);
    };
    match (list(left), list(right)) {
        (Some((one, mut items)), Some((other, more))) if one == other => {
            items.extend(more);
            Transformed::yes(Expr::InList(InList::new(
                Box::new(one.clone()),
                items,
                false,
            )))
        }
        _ => Transformed::no(expr),
    }
}

/// What must be one of which items.
fn list(expr: &Expr) -> Option<(&Expr, Vec<Expr>)> {
    match expr {
        Expr::InList(InList {
            expr,
            list,
            negated: false,
        }) => Some((hidden(expr).unwrap_or(expr), list.clone())),
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::Eq,
            right,
        }) => match (left.as_ref(), right.as_ref()) {
            (Expr::Literal(..), Expr::Literal(..)) => None,
            (expr, item @ Expr::Literal(..)) | (item @ Expr::Literal(..), expr) => {
                Some((expr, vec![item.clone()]))
            }
            _ => None,
        },
        _ => None,
    }
}

/// Its first argument; the second tells calls apart.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Same {
    signature: Signature,
}

impl Same {
    /// No statement can call it: it is not among the functions.
    const NAME: &'static str = "the same";

    fn new() -> Self {
        Self {
            signature: Signature::any(2, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for Same {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments.first() {
            Some(of) => Ok(of.clone()),
            None => internal_err!("{} takes arguments", Self::NAME),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.into_iter().next() {
            Some(value) => Ok(value),
            None => internal_err!("{} takes arguments", Self::NAME),
        }
    }
}
