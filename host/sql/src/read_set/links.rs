//! Which scans of a plan know each other's rows: found once, when a statement is planned.

use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, JoinType, NullEquality};
use datafusion::logical_expr::{Distinct, Expr, Join, LogicalPlan, TableScan};

use super::Scan;
use crate::planner::kind_source;

/// The scans of a plan, subqueries included, and how joins link them.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    pub(super) scans: Vec<Scan>,
    pub(super) links: Vec<Link>,
}

/// Rows of `to` matter only if their column has a value that the column of `from` has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub from: End,
    pub to: End,
}

/// A column of a scan, by the scan's place in [`Reads::scans`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub scan: usize,
    pub column: String,
}

impl Reads {
    /// Of an optimised plan.
    pub(crate) fn of(plan: &LogicalPlan) -> Self {
        let mut reads = Self::default();
        let mut places = Vec::new();
        let mut joins = Vec::new();
        let walked = plan.apply_with_subqueries(|node| {
            match node {
                LogicalPlan::TableScan(scan) => {
                    if let Some(source) = kind_source(&scan.source) {
                        places.push(std::ptr::from_ref(scan));
                        let (scan, source) = (scan.clone(), Arc::clone(&source));
                        reads.scans.push(Scan { scan, source });
                    }
                }
                LogicalPlan::Join(join) => joins.extend(equalities(join)),
                _ => {}
            }
            Ok(TreeNodeRecursion::Continue)
        });
        debug_assert!(walked.is_ok(), "the walk itself cannot fail");
        let end = |(scan, column): Origin| {
            let scan = places.iter().position(|place| *place == scan)?;
            Some(End { scan, column })
        };
        reads.links = joins
            .into_iter()
            .filter_map(|(from, to)| {
                let (from, to) = (end(from)?, end(to)?);
                Some(Link { from, to })
            })
            .collect();
        reads
    }
}

/// A scan of the plan, and one of its columns.
type Origin = (*const TableScan, String);

/// From whose values to whose rows the equalities of a join lead.
fn equalities(join: &Join) -> Vec<(Origin, Origin)> {
    // Where NULLs are equal, or one NULL decides for all rows, values alone do not tell.
    if join.null_equality != NullEquality::NullEqualsNothing || join.null_aware {
        return Vec::new();
    }
    let (drops_left, drops_right) = drops(join.join_type);
    let mut found = Vec::new();
    for (left, right) in &join.on {
        let (Expr::Column(left), Expr::Column(right)) = (left, right) else {
            continue;
        };
        let (Some(left), Some(right)) = (origin(&join.left, left), origin(&join.right, right))
        else {
            continue;
        };
        if drops_right {
            found.push((left.clone(), right.clone()));
        }
        if drops_left {
            found.push((right, left));
        }
    }
    found
}

/// Whether rows of the left, and of the right side that find no partner leave no trace.
fn drops(join: JoinType) -> (bool, bool) {
    match join {
        JoinType::Inner | JoinType::LeftSemi | JoinType::RightSemi => (true, true),
        JoinType::Left | JoinType::LeftAnti | JoinType::LeftMark => (false, true),
        JoinType::Right | JoinType::RightAnti | JoinType::RightMark => (true, false),
        JoinType::Full => (false, false),
    }
}

/// The scan that a column comes from, if between the two each row goes its own way: what happens to
/// rows with one value of the column does not depend on rows with another.
fn origin(plan: &LogicalPlan, column: &Column) -> Option<Origin> {
    match plan {
        LogicalPlan::TableScan(scan) if scan.fetch.is_none() => {
            Some((std::ptr::from_ref(scan), column.name.clone()))
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let at = alias.schema.maybe_index_of_column(column)?;
            let (qualifier, field) = alias.input.schema().qualified_field(at);
            origin(&alias.input, &Column::from((qualifier, field)))
        }
        LogicalPlan::Projection(projection) => {
            let at = projection.schema.maybe_index_of_column(column)?;
            origin(&projection.input, plain(projection.expr.get(at)?)?)
        }
        LogicalPlan::Aggregate(aggregate) => {
            let at = aggregate.schema.maybe_index_of_column(column)?;
            origin(&aggregate.input, plain(aggregate.group_expr.get(at)?)?)
        }
        LogicalPlan::Join(join) => [&join.left, &join.right]
            .into_iter()
            .find(|side| side.schema().maybe_index_of_column(column).is_some())
            .and_then(|side| origin(side, column)),
        LogicalPlan::Filter(filter) => origin(&filter.input, column),
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => origin(&sort.input, column),
        LogicalPlan::Distinct(Distinct::All(input)) => origin(input, column),
        _ => None,
    }
}

/// The column that an expression is, under whatever name.
fn plain(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) => plain(&alias.expr),
        _ => None,
    }
}
