//! `kybern.watches`: how each table is kept up to date.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use kybern_table::Snapshot;

use super::kinds::NO_WATCH;
use super::{SystemSource, TEXT, counts, flags, numbers, text};
use crate::catalog::Table;
use crate::{HostFacts, WatchFact};

pub(super) fn fields() -> Vec<(&'static str, DataType)> {
    vec![
        ("table_schema", TEXT),
        ("table_name", TEXT),
        ("kind", TEXT),
        ("scope", TEXT),
        ("state", TEXT),
        ("live", DataType::Boolean),
        ("silence_seconds", DataType::Float64),
        ("lists", DataType::Int64),
        ("interruptions", DataType::Int64),
        ("reason", TEXT),
        ("changes", DataType::Int64),
        ("resource_version", DataType::Int64),
        ("rows", DataType::Int64),
    ]
}

pub(super) fn columns(
    source: &SystemSource,
    tables: &[&Arc<Table>],
    snapshot: &Snapshot,
    host: Option<&dyn HostFacts>,
) -> Vec<ArrayRef> {
    let names = source.names(tables, snapshot);
    let mut facts = host.map(HostFacts::watches).unwrap_or_default();
    // What cannot be watched is here too, so that nobody takes it for live.
    for table in tables {
        let info = &table.info;
        let known = facts.iter().any(|fact| fact.table == *table.key());
        if info.listable && !info.watchable && !known {
            facts.push(listed(table));
        }
    }
    let mut rows: Vec<(&[String; 2], WatchFact)> = facts
        .into_iter()
        .filter_map(|fact| Some((names.get(&fact.table)?, fact)))
        .collect();
    rows.sort_by(|a, b| (a.0, &a.1.table).cmp(&(b.0, &b.1.table)));
    let changes = rows
        .iter()
        .map(|(_, f)| source.sees_all(&f.table).then_some(f.changes));
    let counted = rows.iter().map(|(_, fact)| {
        let view = snapshot.table(&fact.table);
        let view = view.filter(|_| source.sees_all(&fact.table))?;
        u64::try_from(view.count()).ok()
    });
    vec![
        text(rows.iter().map(|([schema, _], _)| Some(schema.clone()))),
        text(rows.iter().map(|([_, name], _)| Some(name.clone()))),
        text(rows.iter().map(|(_, f)| Some(f.table.to_string()))),
        text(rows.iter().map(|(_, f)| Some(f.scope.clone()))),
        text(rows.iter().map(|(_, f)| Some(f.state.to_owned()))),
        flags(rows.iter().map(|(_, f)| f.live)),
        numbers(rows.iter().map(|(_, f)| f.silence_seconds)),
        counts(rows.iter().map(|(_, f)| Some(f.lists))),
        counts(rows.iter().map(|(_, f)| Some(f.interruptions))),
        text(rows.iter().map(|(_, f)| f.reason.clone())),
        counts(changes),
        counts(rows.iter().map(|(_, f)| f.resource_version)),
        counts(counted),
    ]
}

fn listed(table: &Table) -> WatchFact {
    WatchFact {
        table: table.key().clone(),
        scope: "what a statement asks for".to_owned(),
        state: "listed",
        live: false,
        silence_seconds: None,
        lists: 0,
        interruptions: 0,
        reason: Some(NO_WATCH.to_owned()),
        changes: 0,
        resource_version: None,
    }
}
