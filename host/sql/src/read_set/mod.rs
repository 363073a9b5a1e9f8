//! What the answer of a planned statement depends on.
//!
//! # Contract
//!
//! While no row changes that the read set covers (by key, old or new, and in a
//! column that it names), the answer stays the same.

use std::collections::BTreeSet;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan};
use kybern_table::{Columns, Keys, ReadSet, ScanRead};

use crate::bind::Values;
use crate::lookup::lookups;
use crate::planner::kind_source;
use crate::source::KindSource;

/// The read set of an optimised plan, subqueries included.
pub(crate) fn read_set(plan: &LogicalPlan, values: Values<'_>, namespace: Option<&str>) -> ReadSet {
    let mut scans: Vec<ScanRead> = Vec::new();
    let walked = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(source) = kind_source(&scan.source)
        {
            let read = scan_read(scan, &source, values, namespace);
            if !scans.contains(&read) {
                scans.push(read);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(walked.is_ok(), "the walk itself cannot fail");
    ReadSet { scans }
}

fn scan_read(
    scan: &TableScan,
    source: &KindSource,
    values: Values<'_>,
    namespace: Option<&str>,
) -> ScanRead {
    let mut names: BTreeSet<String> = match &scan.projection {
        Some(projection) => projection
            .iter()
            .filter_map(|position| source.columns.get(*position))
            .map(|column| column.name.clone())
            .collect(),
        None => source
            .columns
            .iter()
            .map(|column| column.name.clone())
            .collect(),
    };
    for filter in &scan.filters {
        names.extend(
            filter
                .column_refs()
                .into_iter()
                .map(|column| column.name.clone()),
        );
    }
    names.extend(source.scope_columns());
    let canonical = names
        .iter()
        .filter_map(|name| source.column(name))
        .map(|column| column.canonical())
        .collect();
    ScanRead {
        table: source.table.key().clone(),
        columns: Columns::Named(canonical),
        keys: keys(scan, source, values, namespace),
    }
}

/// The best keys that the filters give, whether or not the store has an index.
fn keys(
    scan: &TableScan,
    source: &KindSource,
    values: Values<'_>,
    namespace: Option<&str>,
) -> Keys {
    let mut filters: Vec<Expr> = source.scope_filters(namespace);
    for filter in &scan.filters {
        // A value that is missing or does not fit gives no key: then all rows count.
        if let Ok(bound) = values.substitute(filter.clone()) {
            filters.push(bound.data);
        }
    }
    match lookups(source, &filters).into_iter().next() {
        Some(lookup) => Keys::Of {
            index: lookup.index,
            values: lookup.keys,
        },
        None => Keys::All,
    }
}
