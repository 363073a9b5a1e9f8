//! Small readings of tables that several rooms need.

use kybern_table::{Index, KindKey, Row, Snapshot, SnapshotTooOld};
use serde_json::Value;

/// All objects of a table; none if there is no such table.
pub(crate) fn objects(snapshot: &Snapshot, key: &KindKey) -> Result<Vec<Value>, SnapshotTooOld> {
    Ok(rows(snapshot, key)?.iter().map(Row::value).collect())
}

/// All rows of a table.
pub(crate) fn rows(snapshot: &Snapshot, key: &KindKey) -> Result<Vec<Row>, SnapshotTooOld> {
    let Some(table) = snapshot.table(key) else {
        return Ok(Vec::new());
    };
    let mut rows = Vec::with_capacity(table.count());
    for chunk in table.scan()? {
        rows.extend(chunk.rows()?);
    }
    Ok(rows)
}

/// One row by name.
pub(crate) fn row(
    snapshot: &Snapshot,
    key: &KindKey,
    namespace: &str,
    name: &str,
) -> Result<Option<Row>, SnapshotTooOld> {
    let lookup = if namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}/{name}")
    };
    let Some(table) = snapshot.table(key) else {
        return Ok(None);
    };
    Ok(table.lookup(&Index::Name, &lookup)?.into_iter().next())
}
