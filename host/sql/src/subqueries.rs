//! Refuses subqueries that the engine would answer wrongly.
//!
//! * `x NOT IN (SELECT ...)` is NULL where a NULL is involved. The engine knows
//!   that of a condition that must hold by itself, not beside OR, inside of
//!   another expression, or when the subquery names a column around it.
//! * `EXISTS (SELECT count(*) ...)` is always true; the engine takes the
//!   aggregate away.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::expr::{BinaryExpr, Exists, InSubquery};
use datafusion::logical_expr::{Expr, LogicalPlan, Operator};

/// Fails for the first such subquery of a plan that is not optimised yet.
pub(crate) fn check(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        match node {
            LogicalPlan::Filter(filter) => condition(&filter.predicate, Place::default())?,
            LogicalPlan::Join(join) => {
                if let Some(filter) = &join.filter {
                    condition(filter, Place::default())?;
                }
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// Where a part of a condition stands.
#[derive(Clone, Copy, Default)]
struct Place {
    /// Below an odd number of NOT.
    negated: bool,
    /// The condition can hold though this part does not.
    optional: bool,
}

fn condition(expr: &Expr, place: Place) -> Result<()> {
    match expr {
        Expr::Alias(alias) => condition(&alias.expr, place),
        Expr::Not(inner) => {
            let negated = !place.negated;
            condition(inner, Place { negated, ..place })
        }
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: op @ (Operator::And | Operator::Or),
            right,
        }) => {
            // NOT turns one into the other.
            let optional = place.optional || (*op == Operator::Or) != place.negated;
            let place = Place { optional, ..place };
            condition(left, place)?;
            condition(right, place)
        }
        Expr::InSubquery(found) => in_subquery(found, place),
        Expr::IsTrue(inner) | Expr::IsNotTrue(inner) if inner_is_positive(inner) => Ok(()),
        Expr::Exists(found) => exists(found),
        other => {
            other.apply(|part| match part {
                Expr::InSubquery(_) => plan_err!(
                    "IN (SELECT ...) is a condition of its own only; write EXISTS (SELECT 1 ... WHERE x = y)"
                ),
                Expr::Exists(found) => exists(found).map(|()| TreeNodeRecursion::Continue),
                _ => Ok(TreeNodeRecursion::Continue),
            })?;
            Ok(())
        }
    }
}

fn inner_is_positive(expr: &Expr) -> bool {
    matches!(expr, Expr::InSubquery(InSubquery { negated: false, .. }))
}

fn in_subquery(found: &InSubquery, place: Place) -> Result<()> {
    if found.negated == place.negated {
        return Ok(());
    }
    let cure = "write NOT EXISTS (SELECT 1 ... WHERE x = y)";
    if place.optional {
        return plan_err!("NOT IN (SELECT ...) beside OR is not supported; {cure}");
    }
    if !found.subquery.outer_ref_columns.is_empty() {
        return plan_err!(
            "NOT IN (SELECT ...) of a subquery that names an outer column is not supported; {cure}"
        );
    }
    Ok(())
}

fn exists(found: &Exists) -> Result<()> {
    let mut plan = &*found.subquery.subquery;
    loop {
        plan = match plan {
            LogicalPlan::Projection(node) => &node.input,
            LogicalPlan::SubqueryAlias(node) => &node.input,
            LogicalPlan::Sort(node) => &node.input,
            LogicalPlan::Aggregate(node) if node.group_expr.is_empty() => {
                return plan_err!(
                    "EXISTS of an aggregate without GROUP BY is always true; write EXISTS (SELECT 1 ...)"
                );
            }
            _ => return Ok(()),
        };
    }
}
