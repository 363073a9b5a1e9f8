//! The key of a pass: which registration, which CR.

use kybern_table::{KindKey, Row};
use std::fmt;
use std::sync::Arc;

/// One CR of one registration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct CrKey {
    pub(crate) plugin: Arc<str>,
    pub(crate) table: KindKey,
    /// Empty for a cluster-scoped CR.
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
}

impl CrKey {
    pub(crate) fn of(plugin: &Arc<str>, table: &KindKey, row: &Row) -> Self {
        Self {
            plugin: Arc::clone(plugin),
            table: table.clone(),
            namespace: row.namespace().unwrap_or_default().into(),
            name: row.name().into(),
        }
    }

    /// The key under which `Index::Name` finds the CR.
    pub(crate) fn index_name(&self) -> String {
        name_key(&self.namespace, &self.name)
    }
}

/// `namespace/name`, or just the name for a cluster-scoped object.
pub(crate) fn name_key(namespace: &str, name: &str) -> String {
    if namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}/{name}")
    }
}

impl fmt::Display for CrKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} for {}",
            self.table.kind,
            self.index_name(),
            self.plugin
        )
    }
}
