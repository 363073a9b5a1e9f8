//! Which kinds are watched: those that registrations need, and those that the host itself needs.

use super::controller::Controller;
use super::given;
use super::known::{Known, deleting};
use super::next::Schemas;
use super::revisions::Revisions;
use crate::kinds::{crd_table, plugin_table};
use crate::rights::sources;
use crate::wiring::watches::{Part, Wanted};
use kybern_interface::{Gvk, Registration};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl Controller {
    /// Follows the objects that settings come from.
    pub(super) fn follow_values(&self, registrations: &[Arc<Registration>]) {
        let mut wanted: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
        for registration in registrations.iter().filter(|of| !deleting(of)) {
            for (at, keys) in given::named(&registration.spec) {
                wanted.entry(at).or_default().extend(keys);
            }
        }
        self.values.follow(wanted);
    }

    /// Watches what the registrations need, and what the host itself needs.
    pub(super) async fn watch_wanted(
        &self,
        registrations: &[Arc<Registration>],
        known: &BTreeMap<String, Known>,
        revisions: &Revisions,
    ) -> Schemas {
        let served = self.kinds.served();
        let mut wanted = vec![Wanted::all(plugin_table()), Wanted::all(crd_table())];
        for registration in registrations {
            let sources = sources(registration);
            let sources = sources.iter().filter_map(|of| of.config_map.as_ref());
            if let Some(found) = served.get(&Gvk::new("", "v1", "ConfigMap")) {
                wanted.extend(sources.map(|of| Wanted {
                    def: crate::kinds::table(found),
                    part: Part::namespace(&of.namespace),
                }));
            }
            let known = known.get(registration.name());
            if let Some(Ok(prepared)) = known.map(|k| &k.prepared)
                && let Ok(tables) = prepared.wanted(&served)
            {
                wanted.extend(tables);
            }
            for (_, prepared) in revisions.loaded(registration.name()) {
                wanted.extend(prepared.wanted(&served).unwrap_or_default());
            }
            // What runs may see more than what is to come: it must not see less than it may.
            if let Some(known) = known.filter(|k| k.running.is_some()) {
                wanted.extend(known.needs.iter().cloned());
            }
            // What has to be released must be seen, even if the plugin cannot be loaded.
            let released = super::removal::tables(registration, &served);
            wanted.extend(released.into_iter().map(Wanted::all));
        }
        let mut schemas = Schemas::Settled;
        let versions: BTreeSet<(&str, &str)> = wanted
            .iter()
            .map(|wanted| (&*wanted.def.key.group, &*wanted.def.key.version))
            .collect();
        for (group, version) in versions {
            if self.kinds.wants_types(group, version) {
                self.kinds.learn_types(&self.cluster, group, version).await;
                self.sense.set_catalog(self.kinds.catalog());
                if self.kinds.wants_types(group, version) {
                    schemas = Schemas::Missing;
                }
            }
        }
        self.watches.set(wanted).await;
        schemas
    }
}
