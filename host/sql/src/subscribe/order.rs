//! Whether an answer depends on the order in which rows are read.
//!
//! # Why
//!
//! Who resumes is told what differs from the answer of then, which is made again of the rows of then.
//! They are not read in the order of then: numbers of rows that are equal in an order, texts put one
//! behind the other, and sums of floating-point numbers may be others than those that were told.

use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Aggregate, Cast, Distinct, Expr, ExprSchemable, LogicalPlan, Sort};

use super::key::keys;

/// Aggregates that have one result whatever the order.
const COMMUTE: [&str; 8] = [
    "bit_and", "bit_or", "bit_xor", "bool_and", "bool_or", "count", "max", "min",
];
/// Those that have, of whole numbers.
const COMMUTE_WHOLE: [&str; 2] = ["avg", "sum"];

/// Whether it may; false is certain.
pub(super) fn matters(plan: &LogicalPlan) -> bool {
    let mut found = false;
    let walked = plan.apply_with_subqueries(|node| {
        found |= match node {
            LogicalPlan::Window(_) | LogicalPlan::Distinct(Distinct::On(_)) => true,
            LogicalPlan::Limit(limit) => !is_sorted(&limit.input),
            LogicalPlan::Sort(sort) => sort.fetch.is_some() && !is_total(sort),
            LogicalPlan::TableScan(scan) => scan.fetch.is_some(),
            LogicalPlan::Aggregate(aggregate) => !commutes(aggregate)?,
            _ => false,
        };
        Ok(TreeNodeRecursion::Continue)
    });
    found || walked.is_err()
}

/// Whether the rows have one order only.
fn is_sorted(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Sort(sort) => is_total(sort),
        LogicalPlan::Projection(projection) => is_sorted(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_sorted(&alias.input),
        _ => false,
    }
}

/// Whether no two rows are equal in the order.
fn is_total(sort: &Sort) -> bool {
    let schema = sort.input.schema();
    let by = sort.expr.iter().filter_map(|by| match &by.expr {
        Expr::Column(column) => schema.maybe_index_of_column(column),
        _ => None,
    });
    let by: Vec<usize> = by.collect();
    let mut keys = keys(&sort.input).into_iter();
    keys.any(|key| key.iter().all(|column| by.contains(column)))
}

fn commutes(aggregate: &Aggregate) -> Result<bool> {
    let schema = aggregate.input.schema();
    let mut all = true;
    for expr in &aggregate.aggr_expr {
        expr.apply(|part| {
            if let Expr::AggregateFunction(AggregateFunction { func, params }) = part {
                let is_whole = |arg: &Expr| {
                    let arg = match arg {
                        Expr::Cast(Cast { expr, .. }) => expr,
                        other => other,
                    };
                    arg.get_type(schema).is_ok_and(|of| of.is_integer())
                };
                let name = func.name();
                all &= COMMUTE.contains(&name)
                    || COMMUTE_WHOLE.contains(&name) && params.args.iter().all(is_whole);
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    Ok(all)
}
