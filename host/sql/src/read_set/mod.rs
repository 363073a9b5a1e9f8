//! What the answer of a planned statement depends on.
//!
//! # Contract
//!
//! While no row changes that the read set covers (by key, old or new, and in a
//! column that it names), the answer stays the same.
//!
//! # Keys
//!
//! Of a scan they come from constants and parameters in its own conditions, or
//! from a scan beside it: where a join drops the rows that find no partner, and
//! the partner's rows are known by keys themselves, only rows with the values
//! that the partner has *at this snapshot* matter. Those values are a part of
//! the partner's columns, so that a change of theirs is covered too.

mod links;
mod partner;

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::logical_expr::{Expr, TableScan};
use kybern_table::{Columns, Index, Keys, ReadSet, ScanRead, Snapshot};

use crate::access::RowScope;
use crate::bind::Values;
use crate::guard::End;
use crate::lookup::{Lookup, lookups};
use crate::source::KindSource;

pub(crate) use links::Reads;

/// A row that is looked up costs so many of those that are read in order. Tests take every look-up.
const DEARER: usize = if cfg!(test) { 0 } else { 16 };
/// Keys that are looked up whatever is in the table.
const FEW_KEYS: usize = 64;

/// One scan of a plan.
#[derive(Debug)]
struct Scan {
    scan: TableScan,
    source: Arc<KindSource>,
}

/// A scan, and the conditions that its rows must meet to matter.
struct Known<'r> {
    read: &'r Scan,
    filters: Vec<Expr>,
}

/// When partners are asked, and for whom.
#[derive(Clone, Copy)]
struct Moment<'a> {
    snapshot: &'a Snapshot,
    namespace: Option<&'a Arc<str>>,
    /// When it must end; none where nothing but the read set is asked for.
    end: Option<&'a End>,
}

impl Reads {
    /// What any answer depends on: no keys come from other scans.
    pub(crate) fn any(&self, values: Values<'_>, namespace: Option<&Arc<str>>) -> ReadSet {
        together(&self.known(values, namespace))
    }

    /// What the answer at this snapshot depends on.
    ///
    /// # Errors
    /// The snapshot has expired, or does not have the tables.
    pub(crate) fn at(
        &self,
        values: Values<'_>,
        namespace: Option<&Arc<str>>,
        snapshot: &Snapshot,
    ) -> Result<ReadSet> {
        let mut known = self.known(values, namespace);
        let at = Moment {
            snapshot,
            namespace,
            end: None,
        };
        partner::narrow(&mut known, &self.links, at, |_| true)?;
        Ok(together(&known))
    }

    /// For each scan, in the order of the plan, the keys that its partners give it at this snapshot,
    /// where reading by them is cheaper than reading the table.
    pub(crate) fn partners(
        &self,
        values: Values<'_>,
        namespace: Option<&Arc<str>>,
        snapshot: &Snapshot,
        end: Option<&End>,
    ) -> Result<Vec<Option<Lookup>>> {
        if self.links.is_empty() {
            return Ok(Vec::new());
        }
        let mut known = self.known(values, namespace);
        let before: Vec<usize> = known.iter().map(|known| known.filters.len()).collect();
        let indexed = |known: &Known<'_>| known.is_indexed(snapshot);
        let at = Moment {
            snapshot,
            namespace,
            end,
        };
        partner::narrow(&mut known, &self.links, at, indexed)?;
        let narrowed = known.iter().zip(before).map(|(known, before)| {
            let narrowed = known.filters.len() > before;
            narrowed.then(|| known.cheap(snapshot)).flatten()
        });
        Ok(narrowed.collect())
    }

    fn known(&self, values: Values<'_>, namespace: Option<&Arc<str>>) -> Vec<Known<'_>> {
        let scans = self.scans.iter();
        scans
            .map(|read| Known::new(read, values, namespace))
            .collect()
    }
}

/// Each read once.
fn together(known: &[Known<'_>]) -> ReadSet {
    let mut scans: Vec<ScanRead> = Vec::new();
    for known in known {
        let read = known.scan_read();
        if !scans.contains(&read) {
            scans.push(read);
        }
    }
    ReadSet { scans }
}

impl<'r> Known<'r> {
    fn new(read: &'r Scan, values: Values<'_>, namespace: Option<&Arc<str>>) -> Self {
        let mut filters = read.source.scope_filters(namespace.map(|name| &**name));
        for filter in &read.scan.filters {
            // A value that is missing or does not fit gives no key: then all rows count.
            if let Ok(bound) = values.substitute(filter.clone()) {
                filters.push(bound.data);
            }
        }
        Self { read, filters }
    }

    /// The best keys that the filters give, whether or not the store has an index.
    fn lookup(&self) -> Option<Lookup> {
        lookups(&self.read.source, &self.filters).into_iter().next()
    }

    /// Whether the store finds the rows without reading others. A namespace may be the whole table.
    fn is_indexed(&self, snapshot: &Snapshot) -> bool {
        let view = snapshot.table(self.read.source.table.key());
        let lookup = self.lookup();
        view.zip(lookup).is_some_and(|(view, lookup)| {
            lookup.index != Index::Namespace && view.has_index(&lookup.index)
        })
    }

    /// The keys, if they find few of the rows.
    fn cheap(&self, snapshot: &Snapshot) -> Option<Lookup> {
        let view = snapshot.table(self.read.source.table.key())?;
        let lookup = self
            .lookup()
            .filter(|lookup| view.has_index(&lookup.index))?;
        let cheap = match self.read.source.scope {
            RowScope::All => lookup.rows_about(&view).saturating_mul(DEARER) <= view.count(),
            // EXPLAIN tells the choice, and nothing about rows that do not exist for the asker.
            _ => lookup.keys.len() <= FEW_KEYS,
        };
        cheap.then_some(lookup)
    }

    fn scan_read(&self) -> ScanRead {
        let Scan { scan, source } = self.read;
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
        names.extend(source.list_columns());
        let canonical = names
            .iter()
            .filter_map(|name| source.column(name))
            .filter_map(|column| source.canonical(column))
            .collect();
        ScanRead {
            table: source.table.key().clone(),
            columns: Columns::Named(canonical),
            keys: match self.lookup() {
                Some(Lookup { index, keys }) => Keys::Of {
                    index,
                    values: keys,
                },
                None => Keys::All,
            },
        }
    }
}
