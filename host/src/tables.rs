//! Small readings of tables that several rooms need.

use kybern_table::{Index, KindKey, Row, Snapshot};
use serde_json::Value;

/// All objects of a table; none if there is no such table.
pub(crate) fn objects(snapshot: &Snapshot, key: &KindKey) -> Vec<Value> {
    rows(snapshot, key).iter().map(Row::value).collect()
}

/// All rows of a table.
pub(crate) fn rows(snapshot: &Snapshot, key: &KindKey) -> Vec<Row> {
    let Some(table) = snapshot.table(key) else {
        return Vec::new();
    };
    table
        .scan()
        .iter()
        .flat_map(|chunk| (0..chunk.len()).filter_map(|row| chunk.row(row)))
        .collect()
}

/// One row by name.
pub(crate) fn row(snapshot: &Snapshot, key: &KindKey, namespace: &str, name: &str) -> Option<Row> {
    let lookup = if namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}/{name}")
    };
    snapshot
        .table(key)?
        .lookup(&Index::Name, &lookup)
        .into_iter()
        .next()
}
