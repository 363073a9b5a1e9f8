//! Which kinds are watched: those that registrations need, and those that the host itself needs.

use super::controller::Controller;
use super::known::Known;
use super::next::Schemas;
use crate::kinds::{crd_table, plugin_table};
use kybern_interface::{Gvk, Registration};
use kybern_table::{KindKey, TableDef};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Controller {
    /// Watches what the registrations need, and what the host itself needs.
    pub(super) async fn watch_wanted(
        &self,
        registrations: &[Arc<Registration>],
        known: &BTreeMap<String, Known>,
    ) -> Schemas {
        let served = self.kinds.served();
        let mut wanted: BTreeMap<KindKey, TableDef> = BTreeMap::new();
        let mut want = |def: TableDef| {
            wanted.entry(def.key.clone()).or_insert(def);
        };
        want(plugin_table());
        want(crd_table());
        for registration in registrations {
            if registration.spec.source.config_map.is_some()
                && let Some(found) = served.get(&Gvk::new("", "v1", "ConfigMap"))
            {
                want(crate::kinds::table(found));
            }
            if let Some(Ok(prepared)) = known.get(registration.name()).map(|k| &k.prepared)
                && let Ok(tables) = prepared.tables(&served)
            {
                tables.into_iter().for_each(&mut want);
            }
            // What has to be released must be seen, even if the plugin cannot be loaded.
            for def in super::removal::tables(registration, &served) {
                want(def);
            }
        }
        let mut schemas = Schemas::Settled;
        for def in wanted.values() {
            if self.kinds.wants_types(&def.key.group, &def.key.version) {
                self.kinds
                    .learn_types(&self.cluster, &def.key.group, &def.key.version)
                    .await;
                self.sense.set_catalog(self.kinds.catalog());
                if self.kinds.wants_types(&def.key.group, &def.key.version) {
                    schemas = Schemas::Missing;
                }
            }
        }
        self.watches.set(wanted.into_values().collect()).await;
        schemas
    }
}
