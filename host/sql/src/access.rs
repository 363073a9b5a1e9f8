//! Which tables a statement may name, and which of their rows exist for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use kybern_table::KindKey;

/// Which rows of a granted table exist.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RowScope {
    /// All.
    All,
    /// Those in these namespaces.
    Namespaces(Vec<String>),
    /// Those with all of these labels.
    Labels {
        /// Only those in the namespace that [`AccessSet::in_namespace`] set.
        own_namespace: bool,
        /// Label keys and their values.
        match_labels: BTreeMap<String, String>,
    },
    /// Those in the namespace that [`AccessSet::in_namespace`] set; none before it is set.
    OwnNamespace,
}

impl RowScope {
    /// Whether it depends on the namespace that the asker is bound to.
    pub(crate) fn is_bound(&self) -> bool {
        match self {
            Self::OwnNamespace => true,
            Self::Labels { own_namespace, .. } => *own_namespace,
            Self::All | Self::Namespaces(_) => false,
        }
    }
}

/// A table that may be read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TableAccess {
    /// The table.
    pub table: KindKey,
    /// Which of its rows.
    pub scope: RowScope,
}

/// What the asker of a statement may read. A table that is not in it does not
/// exist: not in FROM, not in information_schema, not in errors or suggestions.
///
/// Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessSet {
    grants: Grants,
    namespace: Option<Arc<str>>,
}

/// The part of an access set that plans depend on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Grants {
    All,
    Of(Arc<BTreeMap<KindKey, RowScope>>),
}

impl Grants {
    /// The rows of a table that exist; `None` when the table does not.
    pub(crate) fn scope(&self, table: &KindKey) -> Option<&RowScope> {
        match self {
            Self::All => Some(&RowScope::All),
            Self::Of(tables) => tables.get(table),
        }
    }
}

impl AccessSet {
    /// Everything.
    pub fn all() -> Self {
        Self {
            grants: Grants::All,
            namespace: None,
        }
    }

    /// These tables only. Of two entries for one table the later one counts.
    pub fn of(tables: Vec<TableAccess>) -> Self {
        let tables = tables
            .into_iter()
            .map(|access| (access.table, access.scope))
            .collect();
        Self {
            grants: Grants::Of(Arc::new(tables)),
            namespace: None,
        }
    }

    /// The same set, bound to the namespace that [`RowScope::OwnNamespace`] means.
    /// An empty name binds it to none.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Self {
        let namespace = (!namespace.is_empty()).then(|| Arc::from(namespace));
        Self {
            grants: self.grants.clone(),
            namespace,
        }
    }

    /// Whether what may be read depends on the namespace that [`AccessSet::in_namespace`] set.
    pub fn is_bound(&self) -> bool {
        match &self.grants {
            Grants::All => false,
            Grants::Of(tables) => tables.values().any(RowScope::is_bound),
        }
    }

    pub(crate) fn grants(&self) -> &Grants {
        &self.grants
    }

    pub(crate) fn namespace(&self) -> Option<&Arc<str>> {
        self.namespace.as_ref()
    }
}
