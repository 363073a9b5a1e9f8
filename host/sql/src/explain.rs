//! EXPLAIN: the lane, what is read and how it is found.

use std::fmt::{self, Write as _};

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;
use kybern_table::{Columns, Keys, Snapshot, SnapshotTooOld, TableView};

use crate::bind::Values;
use crate::lane::Lane;
use crate::lookup::{Lookup, lookups};
use crate::planner::kind_source;
use crate::{Param, Prepared, many};

/// How many rows the answer will have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Estimate {
    Exact(usize),
    About(usize),
    Unknown,
    /// The asker may not see all of a table, and so is not told how much there is of it.
    Untold,
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(rows) => writeln!(f, "estimated rows: {rows}"),
            Self::About(rows) => writeln!(f, "estimated rows: about {rows}"),
            Self::Unknown => writeln!(f, "estimated rows: unknown"),
            Self::Untold => Ok(()),
        }
    }
}

/// Whether a grant lets the asker see a part of a table only.
pub(crate) fn sees_parts(prepared: &Prepared) -> bool {
    let namespace = prepared.namespace.as_deref();
    let mut parts = false;
    let walked = prepared.planned.plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(source) = kind_source(&scan.source)
        {
            parts |= !source.scope_filters(namespace).is_empty();
        }
        Ok(TreeNodeRecursion::Continue)
    });
    parts || walked.is_err()
}

/// The text of EXPLAIN; `complete` if no parameter is missing. Nothing is run.
pub(crate) fn explain(
    prepared: &Prepared,
    values: Values<'_>,
    snapshot: &Snapshot,
    estimate: &Estimate,
    complete: bool,
) -> String {
    let planned = &prepared.planned;
    let mut text = String::new();
    let lane = match planned.lane {
        Lane::KeyLookup(_) => "1, key look-up",
        Lane::General => "3, general",
    };
    let _ = writeln!(text, "lane: {lane}");
    if planned.parameters > 0 {
        let _ = writeln!(text, "{}", many::explained(prepared));
    }
    let _ = write!(text, "{estimate}");
    if planned.arbitrary_limit {
        text.push_str("note: LIMIT without ORDER BY chooses arbitrary rows\n");
    }
    let namespace = prepared.namespace.as_deref();
    let mut partners = Vec::new().into_iter();
    if complete {
        let namespace = prepared.namespace.as_ref();
        let known = planned.reads.partners(values, namespace, snapshot, None);
        // Where they cannot be read, the statement is not answered either.
        partners = known.unwrap_or_default().into_iter();
    }
    let walked = planned.plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(source) = kind_source(&scan.source)
        {
            let _ = writeln!(text, "scan {}:", source.table.full_name());
            let mut filters = source.scope_filters(namespace);
            if !filters.is_empty() {
                let shown: Vec<String> = filters.iter().map(ToString::to_string).collect();
                let _ = writeln!(text, "  granted rows: {}", shown.join(" AND "));
            }
            filters.extend(
                scan.filters
                    .iter()
                    .filter_map(|f| values.substitute(f.clone()).ok())
                    .map(|f| f.data),
            );
            let view = snapshot.table(source.table.key());
            let told = *estimate != Estimate::Untold;
            let partner = partners.next().flatten();
            let from = if partner.is_some() {
                ", which the join gives"
            } else {
                ""
            };
            let own = || lookups(&source, &filters).into_iter();
            let lookup = partner.or_else(|| {
                own().find(|lookup| {
                    view.as_ref()
                        .is_some_and(|view| view.has_index(&lookup.index))
                })
            });
            let _ = match &lookup {
                Some(lookup) => {
                    writeln!(
                        text,
                        "  index: {} = {}{from}",
                        lookup.index,
                        list(&lookup.keys)
                    )
                }
                None => writeln!(text, "  index: none, the whole table is read"),
            };
            if let Some(view) = view.filter(|_| told) {
                let _ = writeln!(text, "  rows: {}", rows(&view, lookup.as_ref()));
            }
            if !source.lists.is_empty() {
                let lists: Vec<&str> = source.lists.iter().map(|list| &*list.name).collect();
                let _ = writeln!(text, "  elements: {}", lists.join(", "));
            }
            let columns: Vec<String> = source
                .columns
                .iter()
                .filter(|column| column.is_virtual)
                .map(|column| {
                    format!(
                        "{} {}",
                        column.name,
                        crate::param::type_name(&column.data_type())
                    )
                })
                .collect();
            if !columns.is_empty() {
                let _ = writeln!(text, "  virtual columns: {}", columns.join(", "));
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(walked.is_ok(), "the walk itself cannot fail");
    text.push_str("read set:\n");
    let namespace = prepared.namespace.as_ref();
    let reads = &planned.reads;
    // A snapshot without the tables has no rows that say which others matter.
    let read_set = reads
        .at(values, namespace, snapshot)
        .unwrap_or_else(|_| reads.any(values, namespace));
    for read in read_set.scans {
        let columns = match &read.columns {
            Columns::All => "everything".to_owned(),
            Columns::Named(names) if names.is_empty() => "which rows there are".to_owned(),
            Columns::Named(names) => names.iter().cloned().collect::<Vec<_>>().join(", "),
        };
        let keys = match &read.keys {
            Keys::All => "the whole table".to_owned(),
            Keys::Of { index, values } => format!("{index} = {}", list(values)),
        };
        let _ = writeln!(text, "  {}: {keys}; columns: {columns}", read.table);
    }
    let _ = writeln!(
        text,
        "plan:\n{}",
        indent(&renumbered(&planned.plan.display_indent().to_string()))
    );
    text
}

/// How many rows are read.
fn rows(view: &TableView, lookup: Option<&Lookup>) -> String {
    let all = view.count();
    let found = |lookup: &Lookup| -> Result<usize, SnapshotTooOld> {
        let each = |key: &String| view.lookup(&lookup.index, key).map(|rows| rows.len());
        lookup.keys.iter().map(each).sum()
    };
    match lookup.map(found) {
        Some(Ok(found)) => format!("{found} of {all}"),
        Some(Err(_)) => format!("some of {all}"),
        None => all.to_string(),
    }
}

/// At most eight keys.
fn list(keys: &[String]) -> String {
    let shown: Vec<String> = keys.iter().take(8).map(|key| format!("'{key}'")).collect();
    let more = keys.len().saturating_sub(shown.len());
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("[{}]{more}", shown.join(", "))
}

/// The plan with the names that the engine made numbered from 1: it counts on from statement to
/// statement.
fn renumbered(plan: &str) -> String {
    let mut known: Vec<&str> = Vec::new();
    let mut text = String::new();
    let mut rest = plan;
    let made = ["__correlated_sq_", "__scalar_sq_"];
    let first = |text: &str| {
        made.iter()
            .filter_map(|name| Some(text.find(name)? + name.len()))
            .min()
    };
    while let Some(at) = first(rest) {
        let (before, behind) = rest.split_at(at);
        let end = behind.find(|c: char| !c.is_ascii_digit());
        let (number, next) = behind.split_at(end.unwrap_or(behind.len()));
        let place = known.iter().position(|seen| *seen == number);
        let place = place.unwrap_or_else(|| {
            known.push(number);
            known.len() - 1
        });
        let _ = write!(text, "{before}{}", place + 1);
        rest = next;
    }
    text + rest
}

fn indent(text: &str) -> String {
    text.lines()
        .map(|line| format!("  {line}\n"))
        .collect::<String>()
        .trim_end()
        .to_owned()
}

/// Null for each parameter that was not given.
pub(crate) fn padded(params: &[Param], count: usize) -> Vec<Param> {
    let missing = count.saturating_sub(params.len());
    params
        .iter()
        .cloned()
        .chain(std::iter::repeat_n(Param::Null, missing))
        .collect()
}
