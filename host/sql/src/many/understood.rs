//! What a join of many sets may contain: lists of what is known to give the same rows for each.

use std::fmt;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError};
use datafusion::logical_expr::expr::{AggregateFunction, Placeholder};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, Volatility,
};

use super::sets::type_of;
use crate::now::NOW;

/// Why a statement is answered one by one, as the end of a sentence about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal(String);

impl Refusal {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<DataFusionError> for Refusal {
    fn from(error: DataFusionError) -> Self {
        let error = error.strip_backtrace();
        Self(format!("the join cannot be planned: {error}"))
    }
}

impl From<arrow::error::ArrowError> for Refusal {
    fn from(error: arrow::error::ArrowError) -> Self {
        DataFusionError::from(error).into()
    }
}

/// That a node is of a kind that the rewrite does not know.
pub(super) fn unknown(node: &LogicalPlan) -> Refusal {
    Refusal::new(match node {
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => "it has an ORDER BY",
        LogicalPlan::Sort(_) | LogicalPlan::Limit(_) => "it has a LIMIT",
        LogicalPlan::Window(_) => "it has a window function",
        LogicalPlan::Union(_) => "it has a set operation",
        LogicalPlan::Distinct(_) => "it has a DISTINCT ON",
        LogicalPlan::Unnest(_) => "it has an UNNEST",
        LogicalPlan::Values(_) => "it has VALUES",
        other => return Refusal::new(format!("its plan has a {}", other.display())),
    })
}

/// A condition of the form `expression = $i`: the parameter and the expression.
pub(super) fn key<'e>(
    condition: &'e Expr,
    schema: &DFSchema,
) -> Option<(&'e Placeholder, &'e Expr)> {
    let Expr::BinaryExpr(BinaryExpr {
        left,
        op: Operator::Eq,
        right,
    }) = condition
    else {
        return None;
    };
    let (parameter, of) = match (left.as_ref(), right.as_ref()) {
        (Expr::Placeholder(parameter), of) | (of, Expr::Placeholder(parameter)) => (parameter, of),
        _ => return None,
    };
    let is_key = parameter.id != NOW
        && !of.column_refs().is_empty()
        && of.get_type(schema).ok()? == type_of(parameter)
        && is_exact(&type_of(parameter))
        && expression(of).is_ok();
    is_key.then_some((parameter, of))
}

/// Whether values of the type are the same in a comparison, a join and a group.
fn is_exact(of: &DataType) -> bool {
    of.is_integer()
        || matches!(
            of,
            DataType::Utf8
                | DataType::LargeUtf8
                | DataType::Utf8View
                | DataType::Boolean
                | DataType::Timestamp(..)
        )
}

/// That the expressions take their values from their own row alone.
pub(super) fn expressions<'e>(exprs: impl IntoIterator<Item = &'e Expr>) -> Result<(), Refusal> {
    exprs.into_iter().try_for_each(expression)
}

fn expression(expr: &Expr) -> Result<(), Refusal> {
    let mut refusal = None;
    expr.apply(|part| {
        refusal = part_of_expression(part).err();
        Ok(match refusal {
            Some(_) => TreeNodeRecursion::Stop,
            None => TreeNodeRecursion::Continue,
        })
    })?;
    refusal.map_or(Ok(()), Err)
}

fn part_of_expression(part: &Expr) -> Result<(), Refusal> {
    match part {
        Expr::Placeholder(now) if now.id == NOW => Ok(()),
        Expr::Placeholder(parameter) => Err(Refusal::new(format!(
            "{} stands elsewhere than in column = {0}",
            parameter.id
        ))),
        Expr::ScalarFunction(call) if call.func.signature().volatility != Volatility::Immutable => {
            Err(Refusal::new(format!("it calls {}", call.func.name())))
        }
        Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) => {
            Err(Refusal::new("it has a subquery that is no join"))
        }
        Expr::Alias(_)
        | Expr::Column(_)
        | Expr::Literal(..)
        | Expr::BinaryExpr(_)
        | Expr::Like(_)
        | Expr::Not(_)
        | Expr::IsNotNull(_)
        | Expr::IsNull(_)
        | Expr::IsTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotTrue(_)
        | Expr::IsNotFalse(_)
        | Expr::IsNotUnknown(_)
        | Expr::Negative(_)
        | Expr::Between(_)
        | Expr::Case(_)
        | Expr::Cast(_)
        | Expr::TryCast(_)
        | Expr::ScalarFunction(_)
        | Expr::InList(_) => Ok(()),
        other => Err(Refusal::new(format!("it has a {}", other.variant_name()))),
    }
}

/// That a grouping expression puts rows in the same groups beside others.
pub(super) fn group(expr: &Expr, schema: &DFSchema) -> Result<(), Refusal> {
    expression(expr)?;
    match expr.get_type(schema)?.is_floating() {
        true => Err(Refusal::new("it groups by a number with a fraction")),
        false => Ok(()),
    }
}

/// The call of an aggregate whose value does not depend on the order of its rows.
pub(super) fn aggregate<'e>(
    expr: &'e Expr,
    schema: &DFSchema,
) -> Result<&'e AggregateFunction, Refusal> {
    let call = match expr {
        Expr::Alias(alias) => return aggregate(&alias.expr, schema),
        Expr::AggregateFunction(call) => call,
        other => {
            return Err(Refusal::new(format!(
                "it aggregates a {}",
                other.variant_name()
            )));
        }
    };
    let (name, params) = (call.func.name(), &call.params);
    expressions(params.args.iter().chain(params.filter.as_deref()))?;
    let plain = params.order_by.is_empty() && params.null_treatment.is_none();
    let inexact = params
        .args
        .iter()
        .any(|arg| arg.get_type(schema).map_or(true, |of| of.is_floating()));
    match name {
        "count" | "bool_and" | "bool_or" if plain => Ok(call),
        "min" | "max" | "sum" if plain && !inexact => Ok(call),
        "min" | "max" | "sum" if plain => Err(Refusal::new(format!(
            "{name} of numbers with a fraction depends on the order of rows"
        ))),
        _ => Err(Refusal::new(format!("{name} depends on the order of rows"))),
    }
}
