//! What of a registration has to be let go of: all of it when it goes, dropped kinds when it stays.

use super::dropped::Dropped;
use super::hold;
use super::known::{deleting, identity};
use super::problem::Problem;
use super::read;
use super::releases::Tried;
use crate::kinds::{Kinds, Served, plugin_table};
use kybern_interface::{
    GrantVerb, Gvk, Manifest, Registration, Scope, StatusShape, WORLD, WriteAsk, WriteGrant,
};
use kybern_kube::Writes;
use kybern_reconcile::{Active, Engine, KindFacts, PassLimits, Primary, Released};
use kybern_table::{Reader, Snapshot, TableDef, TableState};
use serde_json::Value;
use std::sync::Arc;

/// One step of letting go: children of these kinds, of all CRs of those.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    crs: Vec<Gvk>,
    children: Vec<Gvk>,
    /// Whether the CRs lose the finalizer too.
    finalizers: bool,
}

/// The steps, in this order; none = nothing has to be let go of.
fn steps(registration: &Registration) -> Vec<Step> {
    let dropped = Dropped::of(registration);
    let own: Vec<Gvk> = registration
        .spec
        .resources
        .iter()
        .map(|r| Gvk::new(&*r.group, &*r.version, &*r.kind))
        .collect();
    let mut written: Vec<Gvk> = registration
        .spec
        .grants
        .write
        .iter()
        .flat_map(|grant| grant.kinds.iter().map(|kind| (&grant.group, kind)))
        // A grant names no version: whichever is served.
        .map(|(group, kind)| Gvk::new(&**group, "", &**kind))
        .collect();
    written.extend(dropped.written.iter().cloned());
    if deleting(registration) {
        return vec![Step {
            crs: own.into_iter().chain(dropped.resources).collect(),
            children: written,
            finalizers: true,
        }];
    }
    let mut steps = Vec::new();
    if !dropped.resources.is_empty() {
        steps.push(Step {
            crs: dropped.resources,
            children: written,
            finalizers: true,
        });
    }
    if !dropped.written.is_empty() {
        // Passes go on over these CRs, and decide about their finalizers.
        steps.push(Step {
            crs: own,
            children: dropped.written,
            finalizers: false,
        });
    }
    steps
}

/// The kind in this version, else in the one that the API server prefers.
fn found<'s>(served: &'s Served, gvk: &Gvk) -> Option<&'s kybern_kube::ApiResource> {
    served
        .get(gvk)
        .or_else(|| served.preferred(&gvk.group, &gvk.kind))
}

/// Tables that a release reads; none if nothing has to be let go of. What has to be seen does not
/// depend on whether the plugin can be loaded.
pub(crate) fn tables(registration: &Registration, served: &Served) -> Vec<TableDef> {
    steps(registration)
        .iter()
        .flat_map(|step| step.tables(served))
        .collect()
}

impl Step {
    fn tables(&self, served: &Served) -> Vec<TableDef> {
        self.crs
            .iter()
            .chain(&self.children)
            .filter_map(|gvk| found(served, gvk).map(crate::kinds::table))
            .collect()
    }

    /// Why it is not known yet what is held: nothing is let go of on a guess.
    fn unseen(&self, served: &Served, snapshot: &Snapshot) -> Option<Tried> {
        // A kind that is absent only because it could not be discovered may have objects.
        if let Some(reason) = self
            .crs
            .iter()
            .chain(&self.children)
            .find_map(|gvk| served.unknown(&gvk.group))
        {
            let problem = Problem::passing("KindUnknown", reason);
            return Some(Tried::Unseen(Some(problem)));
        }
        self.tables(served).iter().find_map(|def| {
            match snapshot.table(&def.key).map(|table| table.state()) {
                Some(TableState::Ready { .. }) => None,
                Some(TableState::Failed(reason)) => Some(Tried::Unseen(Some(Problem::passing(
                    "KindUnreadable",
                    format!(
                        "{} cannot be read, so that what is held there is not known: {reason}",
                        def.plural
                    ),
                )))),
                Some(TableState::Loading) | None => Some(Tried::Unseen(None)),
            }
        })
    }

    /// The registration as the engine can release it. Kinds that are no longer served have no
    /// objects to release.
    fn active(&self, registration: &Arc<Registration>, served: &Served) -> Active {
        let primaries = self
            .crs
            .iter()
            .filter_map(|gvk| {
                let found = found(served, gvk)?;
                Some(Primary {
                    facts: KindFacts {
                        plural: found.plural.clone(),
                        namespaced: found.namespaced,
                        has_status: found.subresources.contains_key("status"),
                    },
                    // Whether it still selects them or not.
                    selector: None,
                    gvk: Gvk::new(&*found.group, &*found.version, &*found.kind),
                })
            })
            .collect();
        let children: Vec<Gvk> = self
            .children
            .iter()
            .filter_map(|gvk| found(served, gvk))
            .map(|found| Gvk::new(&*found.group, &*found.version, &*found.kind))
            .collect();
        let mut registration = Registration::clone(registration);
        registration.spec.grants.write = children.iter().map(grant).collect();
        Active {
            manifest: Arc::new(Manifest {
                name: registration.name().to_owned(),
                version: String::new(),
                world: WORLD.to_owned(),
                resources: Vec::new(),
                queries: Vec::new(),
                reads: Vec::new(),
                writes: children.into_iter().map(ask).collect(),
                capabilities: Vec::new(),
                secrets: Vec::new(),
                effects: Vec::new(),
                crds: Vec::new(),
                settings_schema: Value::Null,
                status: StatusShape::default(),
                delegates: Vec::new(),
                state: false,
            }),
            registration: Arc::new(registration),
            digest: String::new(),
            primaries,
            settings: Value::Null,
            limits: PassLimits::default(),
            has_sense: false,
            revisions: Vec::new(),
            missing: std::collections::BTreeSet::new(),
            trial: None,
        }
    }
}

fn grant(gvk: &Gvk) -> WriteGrant {
    WriteGrant {
        group: gvk.group.clone(),
        kinds: vec![gvk.kind.clone()],
        verbs: vec![GrantVerb::Apply],
        subresources: Vec::new(),
        scope: Scope::Cluster,
        adopt: false,
    }
}

fn ask(gvk: Gvk) -> WriteAsk {
    WriteAsk {
        group: gvk.group,
        version: gvk.version,
        kind: gvk.kind,
        verbs: Vec::new(),
        subresources: Vec::new(),
    }
}

/// Does all steps; the first that does not succeed ends the try.
pub(crate) async fn release(
    engine: &Engine,
    registration: &Arc<Registration>,
    served: &Served,
    reader: &Reader,
) -> Tried {
    for step in steps(registration) {
        if let Some(unseen) = step.unseen(served, &reader.snapshot()) {
            return unseen;
        }
        let active = step.active(registration, served);
        let policy = registration.spec.on_removal;
        let Released {
            crs,
            children,
            patches,
            failures,
        } = if step.finalizers {
            engine.release(&active, policy).await
        } else {
            engine.release_children(&active, policy).await
        };
        let plugin = registration.name();
        tracing::info!(
            plugin,
            crs,
            children,
            patches,
            failures = failures.len(),
            "released"
        );
        if !failures.is_empty() {
            return Tried::Refused(refused(&failures));
        }
    }
    Tried::Released
}

/// What was refused, as far as a condition can show it.
fn refused(failures: &[String]) -> Problem {
    const SHOWN: usize = 10;
    let shown: Vec<&str> = failures.iter().take(SHOWN).map(String::as_str).collect();
    let mut message = format!("not released yet, tried again: {}", shown.join("; "));
    let more = failures.len().saturating_sub(SHOWN);
    if more > 0 {
        message.push_str(&format!("; and {more} more"));
    }
    Problem::passing("WriteRefused", message)
}

/// What a release works with, whenever it is tried.
#[derive(Clone)]
pub(super) struct Means {
    /// Of this term.
    pub(super) engine: Engine,
    pub(super) reader: Reader,
    pub(super) kinds: Kinds,
    pub(super) writes: Writes,
    pub(super) name: String,
    pub(super) uid: String,
}

impl Means {
    /// One try, on what the tables say now.
    pub(super) async fn attempt(self) -> Tried {
        let Some(registration) = self.registration() else {
            // The object is gone: nothing says any more what it held.
            return Tried::Released;
        };
        let going = deleting(&registration);
        if going {
            self.engine.unregister(&self.name).await;
        }
        let served = self.kinds.served();
        let tried = release(&self.engine, &registration, &served, &self.reader).await;
        if !going || !matches!(tried, Tried::Released) {
            return tried;
        }
        match hold::let_go(&self.writes, &registration).await {
            Ok(()) => Tried::Released,
            Err(error) => Tried::Refused(Problem::passing(
                "FinalizerKept",
                format!(
                    "everything is released, but the finalizer could not be removed, tried again: {error}"
                ),
            )),
        }
    }

    /// The object as it is now.
    fn registration(&self) -> Option<Arc<Registration>> {
        let row = self
            .reader
            .read(|snapshot| crate::tables::row(snapshot, &plugin_table().key, "", &self.name))?;
        let registration = match read::registration(row.value())? {
            Ok(registration) => registration,
            Err(unreadable) => unreadable.rest,
        };
        (identity(&registration).0 == self.uid).then(|| Arc::new(registration))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registration::dropped::tests::registration;
    use kybern_table::StoreConfig;
    use serde_json::json;

    fn names(kinds: &[Gvk]) -> Vec<&str> {
        kinds.iter().map(|gvk| gvk.kind.as_str()).collect()
    }

    #[test]
    fn dropped_kinds_go_whole_and_dropped_grants_only_with_their_children() {
        let steps = steps(&registration(json!({})));
        assert_eq!(steps.len(), 2);
        assert_eq!(names(&steps[0].crs), ["Lost"]);
        assert_eq!(names(&steps[0].children), ["ConfigMap", "Service"]);
        assert!(steps[0].finalizers);
        assert_eq!(names(&steps[1].crs), ["Kept"]);
        assert_eq!(names(&steps[1].children), ["Service"]);
        assert!(!steps[1].finalizers, "its passes decide");
    }

    #[test]
    fn a_registration_that_goes_lets_go_of_what_it_names_and_of_what_it_named() {
        let going = json!({ "deletionTimestamp": "2026-01-01T00:00:00Z" });
        let steps = steps(&registration(going));
        assert_eq!(steps.len(), 1);
        assert_eq!(names(&steps[0].crs), ["Kept", "Lost"]);
        assert_eq!(names(&steps[0].children), ["ConfigMap", "Service"]);
    }

    #[test]
    fn nothing_is_let_go_of_while_it_is_unknown_what_is_served() {
        let (_writer, reader) = kybern_table::store(StoreConfig::default());
        let going = json!({ "deletionTimestamp": "2026-01-01T00:00:00Z" });
        for step in steps(&registration(going)) {
            let unseen = step.unseen(&Served::default(), &reader.snapshot());
            let Some(Tried::Unseen(Some(problem))) = unseen else {
                panic!("discovery has not succeeded yet");
            };
            assert_eq!(problem.reason, "KindUnknown");
            // It has, and there is no such kind: nothing can be held.
            assert!(
                step.unseen(&Served::new(vec![]), &reader.snapshot())
                    .is_none()
            );
        }
    }
}
