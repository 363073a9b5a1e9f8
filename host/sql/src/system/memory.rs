//! `kybern.memory`: what holds memory, by account of the budget and part.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use kybern_table::{KindKey, Snapshot};

use super::{SystemSource, TEXT, counts, text};
use crate::catalog::Table;
use crate::{HostFacts, MemoryFact};

pub(super) fn fields() -> Vec<(&'static str, DataType)> {
    vec![
        ("account", TEXT),
        ("part", TEXT),
        ("table_schema", TEXT),
        ("table_name", TEXT),
        ("index_name", TEXT),
        ("bytes", DataType::Int64),
        ("rows", DataType::Int64),
        ("dead_bytes", DataType::Int64),
    ]
}

pub(super) fn columns(
    source: &SystemSource,
    tables: &[&Arc<Table>],
    snapshot: &Snapshot,
    host: Option<&dyn HostFacts>,
) -> Vec<ArrayRef> {
    let names = source.names(tables, snapshot);
    let facts = host.map(HostFacts::memory).unwrap_or_default();
    let rows: Vec<(Option<&[String; 2]>, MemoryFact)> = facts
        .into_iter()
        .filter_map(|fact| {
            Some(match &fact.table {
                None => (None, fact),
                Some(table) => (Some(names.get(table)?), fact),
            })
        })
        .collect();
    let told = |table: &Option<KindKey>| table.as_ref().is_none_or(|table| source.sees_all(table));
    let count = |value: fn(&MemoryFact) -> Option<u64>| {
        counts(
            rows.iter()
                .map(move |(_, f)| value(f).filter(|_| told(&f.table))),
        )
    };
    let name = |at: fn(&[String; 2]) -> &String| {
        text(
            rows.iter()
                .map(move |(name, _)| name.map(|n| at(n).clone())),
        )
    };
    vec![
        text(rows.iter().map(|(_, f)| Some(f.account.to_owned()))),
        text(rows.iter().map(|(_, f)| Some(f.part.to_owned()))),
        name(|[schema, _]| schema),
        name(|[_, table]| table),
        text(rows.iter().map(|(_, f)| f.index.clone())),
        count(|f| Some(f.bytes)),
        count(|f| f.rows),
        count(|f| f.dead_bytes),
    ]
}
