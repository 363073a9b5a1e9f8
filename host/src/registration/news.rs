//! What changed in the tables since the last sync, as far as the controller cares.

use kybern_table::{Sequence, Snapshot, TableState};
use std::collections::BTreeSet;

/// Which of the controller's own tables changed.
pub(super) struct Changes {
    /// Whether one of them changed.
    pub(super) plugins: bool,
    /// Whether one of them changed.
    pub(super) crds: bool,
    /// The API groups of those.
    pub(super) groups: BTreeSet<String>,
    /// ConfigMaps that changed, as (namespace, name); none = which is not known.
    pub(super) config_maps: Option<BTreeSet<(String, String)>>,
}

impl Changes {
    /// Whether this ConfigMap changed, as far as is known.
    pub(super) fn concern(&self, at: &(String, String)) -> bool {
        self.config_maps.as_ref().is_none_or(|all| all.contains(at))
    }

    pub(super) fn between(since: Sequence, snapshot: &Snapshot) -> Self {
        match snapshot.changes_since(since) {
            Ok(changes) => {
                let any = |group: &str, kind: &str| {
                    changes
                        .iter()
                        .any(|c| &*c.table.group == group && &*c.table.kind == kind)
                };
                let plugin = changes.iter().any(|c| {
                    &*c.table.kind == "Plugin" && &*c.table.group == kybern_interface::names::GROUP
                });
                let config_maps = changes
                    .iter()
                    .filter(|c| &*c.table.kind == "ConfigMap" && c.table.group.is_empty())
                    .filter_map(|c| c.new.as_ref().or(c.old.as_ref()))
                    .map(|row| {
                        let namespace = row.namespace().unwrap_or_default();
                        (namespace.to_owned(), row.name().to_owned())
                    })
                    .collect();
                let groups = changes
                    .iter()
                    .filter(|c| &*c.table.kind == "CustomResourceDefinition")
                    .filter_map(|c| c.new.as_ref().or(c.old.as_ref()))
                    .filter_map(|row| {
                        row.name()
                            .split_once('.')
                            .map(|(_, group)| group.to_owned())
                    })
                    .collect();
                Self {
                    groups,
                    plugins: plugin,
                    crds: any("apiextensions.k8s.io", "CustomResourceDefinition"),
                    config_maps: Some(config_maps),
                }
            }
            Err(_) => Self {
                groups: BTreeSet::new(),
                plugins: true,
                crds: true,
                config_maps: None,
            },
        }
    }
}

/// What triggered the last sync, to see whether another is due.
#[derive(Default, PartialEq)]
pub(super) struct Seen {
    tables: Vec<(String, String)>,
}

/// The state of every table, as text that changes when it matters.
pub(super) fn states(snapshot: &Snapshot) -> Seen {
    Seen {
        tables: snapshot
            .tables()
            .map(|table| {
                let state = match table.state() {
                    TableState::Ready { .. } => "ready".to_owned(),
                    TableState::Loading => "loading".to_owned(),
                    TableState::Failed(reason) => reason.to_string(),
                };
                (table.def().key.to_string(), state)
            })
            .collect(),
    }
}
