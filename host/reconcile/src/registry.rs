//! The registrations, and who is in charge of a table's rows.
//!
//! Every change of every row asks who is in charge of it, so that is one look-up, made anew when a
//! registration comes or goes.

use crate::active::Primary;
use crate::key::CrKey;
use crate::revision::Registered;
use kybern_table::{KindKey, Row};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The registrations by name.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    plugins: BTreeMap<Arc<str>, Arc<Registered>>,
    charges: Arc<Charges>,
}

/// Who is in charge, by table.
#[derive(Debug, Default)]
pub(crate) struct Charges {
    tables: HashMap<KindKey, OfTable>,
}

#[derive(Debug, Default)]
struct OfTable {
    /// Registrations whose kind has this table.
    here: Vec<Charge>,
    /// Registrations of the kind, in any version.
    kind: Vec<Charge>,
}

/// One kind of one registration.
#[derive(Debug, Clone)]
pub(crate) struct Charge {
    pub(crate) plugin: Arc<str>,
    pub(crate) registered: Arc<Registered>,
    primary: usize,
}

impl Charge {
    fn primary(&self) -> Option<&Primary> {
        self.registered.active.primaries.get(self.primary)
    }

    /// Whether the row is the registration's business.
    pub(crate) fn covers(&self, row: &Row) -> bool {
        self.primary()
            .is_some_and(|primary| self.registered.active.in_charge(primary, row))
    }

    fn selects(&self, row: &Row) -> bool {
        self.primary().is_some_and(|primary| primary.selects(row))
    }
}

impl Registry {
    /// Adds a registration; the one that it replaces.
    pub(crate) fn insert(
        &mut self,
        name: Arc<str>,
        registered: Arc<Registered>,
    ) -> Option<Arc<Registered>> {
        let before = self.plugins.insert(name, registered);
        self.charges = Arc::new(Charges::of(&self.plugins));
        before
    }

    /// Takes a registration away.
    pub(crate) fn remove(&mut self, name: &str) -> Option<Arc<Registered>> {
        let before = self.plugins.remove(name);
        self.charges = Arc::new(Charges::of(&self.plugins));
        before
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Registered>> {
        self.plugins.get(name).cloned()
    }

    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        self.plugins.keys().cloned().collect()
    }

    /// The registrations, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Registered>)> {
        self.plugins.iter()
    }

    /// Who is in charge now.
    pub(crate) fn charges(&self) -> Arc<Charges> {
        Arc::clone(&self.charges)
    }
}

impl Charges {
    fn of(plugins: &BTreeMap<Arc<str>, Arc<Registered>>) -> Self {
        let all: Vec<(KindKey, Charge)> = plugins
            .iter()
            .flat_map(|(plugin, registered)| {
                let primaries = registered.active.primaries.iter().enumerate();
                primaries.map(move |(primary, kind)| {
                    let charge = Charge {
                        plugin: Arc::clone(plugin),
                        registered: Arc::clone(registered),
                        primary,
                    };
                    (kind.table(), charge)
                })
            })
            .collect();
        let mut tables: HashMap<KindKey, OfTable> = HashMap::new();
        for (table, charge) in &all {
            let of = tables.entry(table.clone()).or_default();
            // A registration that names a table twice means its first.
            if of
                .here
                .last()
                .is_none_or(|last| last.plugin != charge.plugin)
            {
                of.here.push(charge.clone());
            }
        }
        for (table, of) in &mut tables {
            let same = |other: &&(KindKey, Charge)| {
                other.0.group == table.group && other.0.kind == table.kind
            };
            of.kind = all.iter().filter(same).map(|(_, c)| c.clone()).collect();
        }
        Self { tables }
    }

    /// The registrations whose kind has this table.
    pub(crate) fn of_table(&self, table: &KindKey) -> &[Charge] {
        self.tables.get(table).map_or(&[], |of| &of.here)
    }

    /// Another registration that is in charge of the same CR.
    pub(crate) fn rival(&self, key: &CrKey, row: &Row) -> Option<Arc<str>> {
        let of = self.tables.get(&key.table)?;
        let other = |charge: &&Charge| charge.plugin != key.plugin && charge.selects(row);
        of.kind
            .iter()
            .find(other)
            .map(|charge| Arc::clone(&charge.plugin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::active::{Active, KindFacts, PassLimits};
    use kybern_interface::Gvk;
    use serde_json::{Value, json};

    fn registered(name: &str, kinds: &[(&str, &str)]) -> Arc<Registered> {
        let registration: kybern_interface::Registration = serde_json::from_value(json!({
            "apiVersion": "kybern.dev/v1alpha1", "kind": "Plugin", "metadata": { "name": name },
            "spec": { "source": { "file": "x" } },
        }))
        .unwrap();
        let manifest = serde_json::from_value(json!({
            "name": name, "version": "1.0.0", "world": kybern_interface::WORLD,
        }))
        .unwrap();
        let primary = |&(version, kind): &(&str, &str)| Primary {
            gvk: Gvk::new("g", version, kind),
            facts: KindFacts {
                plural: String::new(),
                namespaced: true,
                has_status: false,
            },
            selector: None,
        };
        Arc::new(Registered::new(Active {
            registration: Arc::new(registration),
            digest: String::new(),
            manifest: Arc::new(manifest),
            primaries: kinds.iter().map(primary).collect(),
            settings: Value::Null,
            limits: PassLimits::default(),
            has_sense: false,
            revisions: Vec::new(),
            missing: std::collections::BTreeSet::new(),
            trial: None,
        }))
    }

    fn names(charges: &[Charge]) -> Vec<&str> {
        charges.iter().map(|charge| &*charge.plugin).collect()
    }

    #[test]
    fn a_table_knows_who_is_in_charge_of_it_and_of_its_kind() {
        let mut registry = Registry::default();
        let mut insert = |name: &str, kinds: &[(&str, &str)]| {
            registry.insert(name.into(), registered(name, kinds));
        };
        insert("b", &[("v1", "A"), ("v1", "A"), ("v1", "B")]);
        insert("a", &[("v1", "A")]);
        insert("c", &[("v2", "A")]);
        let table = |version: &str, kind: &str| KindKey::new("g", version, kind);
        let charges = registry.charges();
        assert_eq!(names(charges.of_table(&table("v1", "A"))), ["a", "b"]);
        assert_eq!(names(charges.of_table(&table("v1", "B"))), ["b"]);
        assert_eq!(names(charges.of_table(&table("v1", "C"))), [""; 0]);
        let of_kind = |table| names(&charges.tables[&table].kind);
        assert_eq!(of_kind(table("v1", "A")), ["a", "b", "b", "c"]);
        assert_eq!(of_kind(table("v2", "A")), ["a", "b", "b", "c"]);
        registry.remove("b");
        let charges = registry.charges();
        assert_eq!(names(charges.of_table(&table("v1", "A"))), ["a"]);
        assert_eq!(names(charges.of_table(&table("v1", "B"))), [""; 0]);
    }
}
