//! Values that a scan's partner has at a snapshot.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::AsArray;
use datafusion::common::{Column, Result, ScalarValue};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::expr_rewriter::unnormalize_col;
use datafusion::logical_expr::{Expr, lit};

use super::links::{End, Link};
use super::{Known, Moment};
use crate::bind::view;
use crate::scan::RowScan;
use crate::source::BoundSource;

/// More values than this are not worth to be kept: then all rows count.
const MOST: usize = 1024;

/// Adds to each scan without keys the values of a partner that has some, until nothing is left to
/// be learnt: deployments know their replica sets, and those know their pods. Partners that do not
/// fit are not asked, nor those that know what they know from the one that asks: two scans that know
/// each other's rows would both miss a row that is new to both.
pub(super) fn narrow(
    known: &mut [Known<'_>],
    links: &[Link],
    at: Moment<'_>,
    fits: impl Fn(&Known<'_>) -> bool,
) -> Result<()> {
    let mut left: Vec<&Link> = links.iter().collect();
    let mut told: Vec<(usize, usize)> = Vec::new();
    while let Some(next) = left.iter().position(|link| is_due(known, link)) {
        let Link { from, to } = left.swap_remove(next);
        if !known.get(from.scan).is_some_and(&fits) || knows(&told, to.scan, from.scan) {
            continue;
        }
        let scan = to.scan;
        if let Some(filter) = filter(known, from, to, at)?
            && let Some(to) = known.get_mut(scan)
        {
            to.filters.push(filter);
            told.push((from.scan, scan));
        }
    }
    Ok(())
}

/// Whether what the second scan knows comes from the first, of these tellings.
fn knows(told: &[(usize, usize)], first: usize, second: usize) -> bool {
    let mut reached = vec![first];
    while let Some(scan) = reached.pop() {
        if scan == second {
            return true;
        }
        // There are no circles in what was told.
        reached.extend(
            told.iter()
                .filter(|(from, _)| *from == scan)
                .map(|(_, to)| to),
        );
    }
    false
}

/// Whether one end has keys and the other has none. A namespace is no key to speak of: each row of
/// it would count.
fn is_due(known: &[Known<'_>], link: &Link) -> bool {
    let has_keys = |end: &End| known.get(end.scan).and_then(Known::lookup);
    let vague = |end: &End| {
        has_keys(end).is_none_or(|lookup| lookup.index == kybern_table::Index::Namespace)
    };
    link.from.scan != link.to.scan && has_keys(&link.from).is_some() && vague(&link.to)
}

/// That the column has one of the partner's values.
fn filter(known: &[Known<'_>], from: &End, to: &End, at: Moment<'_>) -> Result<Option<Expr>> {
    let Some(partner) = known.get(from.scan) else {
        return Ok(None);
    };
    let Some(values) = partner.values(&from.column, at)? else {
        return Ok(None);
    };
    let values = values
        .into_iter()
        .map(|value| lit(ScalarValue::Utf8View(Some(value))))
        .collect();
    let column = Expr::Column(Column::new_unqualified(&to.column));
    Ok(Some(column.in_list(values, false)))
}

impl Known<'_> {
    /// The values of a text column in the rows that are known to matter; none if they are too many.
    fn values(&self, column: &str, at: Moment<'_>) -> Result<Option<BTreeSet<String>>> {
        let source = &self.read.source;
        let Some(position) = source.columns.iter().position(|c| c.name == column) else {
            return Ok(None);
        };
        let bound = BoundSource {
            source: Arc::clone(source),
            view: view(at.snapshot, source)?,
            namespace: at.namespace.cloned(),
            past: None,
        };
        let filters: Vec<Expr> = self.filters.iter().cloned().map(unnormalize_col).collect();
        let props = ExecutionProps::new();
        let scan = RowScan::new(&bound, Some(&[position]), &filters, None, &props)?;
        let mut values = BTreeSet::new();
        for batch in Arc::new(scan).batches()? {
            at.end.map_or(Ok(()), |end| end.check())?;
            let batch = batch?;
            let Some(texts) = batch.column(0).as_string_view_opt() else {
                return Ok(None);
            };
            values.extend(texts.iter().flatten().map(str::to_owned));
            if values.len() > MOST {
                return Ok(None);
            }
        }
        Ok(Some(values))
    }
}
