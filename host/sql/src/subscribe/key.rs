//! The columns by which the rows of an answer are told apart.

use std::sync::Arc;

use datafusion::common::JoinType;
use datafusion::logical_expr::{Aggregate, Distinct, Expr, LogicalPlan, Projection, TableScan};

use crate::planner::kind_source;

/// Sets of columns that are looked at, at most: joins multiply them.
const MOST: usize = 8;

/// Columns of a node of which no two rows have the same values.
type Key = Vec<usize>;

/// The key of an answer, by position of its columns; none if there is no such columns. The empty key
/// is that of an answer with one row.
pub(super) fn key(plan: &LogicalPlan) -> Option<Key> {
    keys(plan).into_iter().min_by_key(Vec::len)
}

/// Those of equal length in the order in which they are preferred.
pub(super) fn keys(plan: &LogicalPlan) -> Vec<Key> {
    match plan {
        LogicalPlan::TableScan(scan) => of_scan(scan),
        LogicalPlan::SubqueryAlias(alias) => keys(&alias.input),
        LogicalPlan::Filter(filter) => keys(&filter.input),
        LogicalPlan::Sort(sort) => keys(&sort.input),
        LogicalPlan::Limit(limit) => keys(&limit.input),
        // Its columns are behind those of its input.
        LogicalPlan::Window(window) => keys(&window.input),
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let mut found = keys(input);
            found.push((0..input.schema().fields().len()).collect());
            found
        }
        LogicalPlan::Projection(projection) => of_projection(projection),
        LogicalPlan::Aggregate(aggregate) => of_aggregate(aggregate),
        LogicalPlan::Join(join) => match join.join_type {
            JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => keys(&join.left),
            JoinType::RightSemi | JoinType::RightAnti => keys(&join.right),
            JoinType::RightMark => Vec::new(),
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {
                let behind = join.left.schema().fields().len();
                pairs(&keys(&join.left), &keys(&join.right), behind)
            }
        },
        _ => Vec::new(),
    }
}

/// A pair of rows is known by both.
fn pairs(left: &[Key], right: &[Key], behind: usize) -> Vec<Key> {
    let pairs = left.iter().flat_map(|left| {
        right.iter().map(move |right| {
            let right = right.iter().map(|at| at + behind);
            left.iter().copied().chain(right).collect()
        })
    });
    pairs.take(MOST).collect()
}

/// An object is known by its uid, or by its name: no two have them at the same time.
fn of_scan(scan: &TableScan) -> Vec<Key> {
    let Some(source) = kind_source(&scan.source) else {
        return Vec::new();
    };
    // With elements there are many rows for an object.
    if !source.lists.is_empty() {
        return Vec::new();
    }
    let at = |name: &str| {
        let mut fields = scan.projected_schema.fields().iter();
        fields.position(|field| field.name() == name)
    };
    let name = match source.table.info.def.namespaced {
        true => at("namespace").zip(at("name")).map(|(a, b)| vec![a, b]),
        false => at("name").map(|name| vec![name]),
    };
    at("uid")
        .map(|uid| vec![uid])
        .into_iter()
        .chain(name)
        .collect()
}

fn of_projection(projection: &Projection) -> Vec<Key> {
    let input = projection.input.schema();
    // For each column, that of the input that it is.
    let is: Vec<Option<usize>> = projection
        .expr
        .iter()
        .map(|expr| input.maybe_index_of_column(plain(expr)?))
        .collect();
    let shown = |of: &usize| is.iter().position(|from| *from == Some(*of));
    keys(&projection.input)
        .iter()
        .filter_map(|key| key.iter().map(shown).collect())
        .collect()
}

fn of_aggregate(aggregate: &Aggregate) -> Vec<Key> {
    let groups = &aggregate.group_expr;
    // One group may come from many sets.
    if groups.iter().any(|e| matches!(e, Expr::GroupingSet(_))) {
        return Vec::new();
    }
    vec![(0..groups.len()).collect()]
}

/// The column that an expression is, under whatever name.
fn plain(expr: &Expr) -> Option<&datafusion::common::Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) => plain(&alias.expr),
        _ => None,
    }
}

/// The names of the columns of a key.
pub(super) fn names(plan: &LogicalPlan, key: &[usize]) -> Vec<String> {
    let fields = plan.schema().fields();
    let field = |at: &usize| fields.get(*at).map(Arc::clone);
    let fields = key.iter().filter_map(field);
    fields.map(|field| field.name().clone()).collect()
}
