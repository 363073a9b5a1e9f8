//! A table as it was: rows that have changed since, in their former states.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::Result;
use kybern_table::{Row, TableView};

use super::too_old;

/// What was otherwise at an earlier sequence.
#[derive(Debug)]
pub(crate) struct Past {
    /// Rows that have changed since, or come; by uid, or by name where they have none.
    pub changed: HashSet<Arc<str>>,
    /// The former states of those that were there.
    pub rows: Vec<Row>,
}

impl Past {
    /// All rows of then, in no order.
    pub(super) fn rows(&self, view: &TableView) -> Result<Vec<Row>> {
        let mut rows = self.rows.clone();
        for chunk in view.scan().map_err(too_old)? {
            let live = chunk.rows().map_err(too_old)?;
            rows.extend(live.into_iter().filter(|row| !self.has(row)));
        }
        Ok(rows)
    }

    fn has(&self, row: &Row) -> bool {
        let uid = row.uid();
        if !uid.is_empty() {
            return self.changed.contains(&*uid);
        }
        match row.namespace() {
            Some(namespace) => {
                let name = format!("{namespace}/{}", row.name());
                self.changed.contains(&*name)
            }
            None => self.changed.contains(row.name()),
        }
    }
}
