//! `kybern.kinds`: what is served, and what of it can be read.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use kybern_table::{Snapshot, TableState};

use super::{SystemSource, TEXT, counts, flags, text};
use crate::catalog::Table;

/// Why a kind cannot be named in FROM.
pub(crate) const NO_LIST: &str = "the API server does not list this kind";
/// Why the rows of a kind do not follow its changes.
pub(super) const NO_WATCH: &str =
    "the API server does not watch this kind; it is listed for each statement";

pub(super) fn fields() -> Vec<(&'static str, DataType)> {
    vec![
        ("table_schema", TEXT),
        ("table_name", TEXT),
        ("api_group", TEXT),
        ("version", TEXT),
        ("kind", TEXT),
        ("namespaced", DataType::Boolean),
        ("preferred", DataType::Boolean),
        ("listable", DataType::Boolean),
        ("watchable", DataType::Boolean),
        ("state", TEXT),
        ("reason", TEXT),
        ("rows", DataType::Int64),
    ]
}

pub(super) fn columns(
    source: &SystemSource,
    tables: &[&Arc<Table>],
    snapshot: &Snapshot,
) -> Vec<ArrayRef> {
    let views: Vec<_> = tables
        .iter()
        .map(|table| snapshot.table(table.key()))
        .collect();
    let states: Vec<(&str, Option<String>)> = tables
        .iter()
        .zip(&views)
        .map(|(table, view)| state(table, view.as_ref().map(|view| view.state())))
        .collect();
    let rows = tables.iter().zip(&views).map(|(table, view)| {
        let view = view.as_ref().filter(|_| source.sees_all(table.key()))?;
        u64::try_from(view.count()).ok()
    });
    vec![
        text(tables.iter().map(|t| Some(t.schema.clone()))),
        text(tables.iter().map(|t| Some(t.info.def.plural.clone()))),
        text(tables.iter().map(|t| Some(t.key().group.to_string()))),
        text(tables.iter().map(|t| Some(t.key().version.to_string()))),
        text(tables.iter().map(|t| Some(t.key().kind.to_string()))),
        flags(tables.iter().map(|t| t.info.def.namespaced)),
        flags(tables.iter().map(|t| t.info.preferred)),
        flags(tables.iter().map(|t| t.info.listable)),
        flags(tables.iter().map(|t| t.info.watchable)),
        text(states.iter().map(|(state, _)| Some((*state).to_owned()))),
        text(states.iter().map(|(_, reason)| reason.clone())),
        counts(rows),
    ]
}

fn state(table: &Table, state: Option<TableState>) -> (&'static str, Option<String>) {
    match state {
        Some(TableState::Failed(reason)) => ("failed", Some(reason.to_string())),
        Some(TableState::Loading) => ("loading", None),
        Some(TableState::Ready { .. }) if !table.info.watchable => {
            ("ready", Some(NO_WATCH.to_owned()))
        }
        Some(TableState::Ready { .. }) => ("ready", None),
        None if !table.info.listable => ("unreadable", Some(NO_LIST.to_owned())),
        None if !table.info.watchable => ("not watched", Some(NO_WATCH.to_owned())),
        None => ("not watched", None),
    }
}
