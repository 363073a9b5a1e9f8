//! What changed in the tables since the last sync, as far as the controller cares.

use kybern_table::{Sequence, Snapshot, TableState};

/// Which of the controller's own tables changed.
pub(super) struct Changes {
    /// Whether one of them changed.
    pub(super) plugins: bool,
    /// Whether one of them changed.
    pub(super) crds: bool,
    /// Whether one of them changed.
    pub(super) config_maps: bool,
}

impl Changes {
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
                Self {
                    plugins: plugin,
                    crds: any("apiextensions.k8s.io", "CustomResourceDefinition"),
                    config_maps: any("", "ConfigMap"),
                }
            }
            Err(_) => Self {
                plugins: true,
                crds: true,
                config_maps: true,
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
