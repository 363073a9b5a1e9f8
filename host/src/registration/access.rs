//! What a registration's queries may see.

use super::check::{Use, used_kinds};
use crate::kinds::Served;
use kybern_interface::{Gvk, Manifest, PluginSpec, Scope};
use kybern_sql::{AccessSet, RowScope, TableAccess};
use kybern_table::KindKey;
use std::collections::BTreeMap;

fn key(gvk: &Gvk) -> KindKey {
    KindKey::new(&*gvk.group, &*gvk.version, &*gvk.kind)
}

/// The tables of its own kinds and of its read grants, each with the grant's scope.
pub(crate) fn of(spec: &PluginSpec, manifest: &Manifest, served: &Served) -> AccessSet {
    let mut tables = Vec::new();
    for resource in &spec.resources {
        let gvk = Gvk::new(&*resource.group, &*resource.version, &*resource.kind);
        tables.push(TableAccess {
            table: key(&gvk),
            scope: scope(&Scope::Own, namespaced(served, &gvk)),
        });
    }
    for (gvk, used) in used_kinds(spec, manifest) {
        if let Use::Read { scope: granted, .. } = used {
            let table = key(&gvk);
            if tables.iter().all(|t: &TableAccess| t.table != table) {
                tables.push(TableAccess {
                    table,
                    scope: scope(&granted, namespaced(served, &gvk)),
                });
            }
        }
    }
    AccessSet::of(tables)
}

fn namespaced(served: &Served, gvk: &Gvk) -> bool {
    served.get(gvk).is_none_or(|r| r.namespaced)
}

/// A grant's scope as the SQL engine takes it. Own, for a kind without namespaces, is all of it.
fn scope(granted: &Scope, namespaced: bool) -> RowScope {
    match granted {
        Scope::Cluster => RowScope::All,
        Scope::Own if namespaced => RowScope::OwnNamespace,
        Scope::Own => RowScope::All,
        Scope::Namespaces(names) => RowScope::Namespaces(names.clone()),
        Scope::Selector(selector) => RowScope::Labels {
            own_namespace: namespaced,
            match_labels: selector
                .match_labels
                .iter()
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect::<BTreeMap<_, _>>(),
        },
    }
}
