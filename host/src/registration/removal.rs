//! Removal of a registration: its finalizer, and what is released before it goes.

use super::controller::plugin_resource;
use super::problem::Problem;
use super::report::MANAGER;
use crate::kinds::Served;
use bytes::Bytes;
use kybern_interface::names::PLUGIN_FINALIZER;
use kybern_interface::{Gvk, Manifest, Registration, StatusShape, WORLD, WriteAsk};
use kybern_kube::{PatchOptions, RequestError, Target, WriteOptions, Writes};
use kybern_reconcile::{Active, KindFacts, PassLimits, Primary};
use kybern_table::{Snapshot, TableDef, TableState};
use serde_json::{Value, json};
use std::sync::Arc;

/// Whether our finalizer is on the object.
pub(crate) fn held(registration: &Registration) -> bool {
    finalizers(registration)
        .iter()
        .any(|f| f == PLUGIN_FINALIZER)
}

fn finalizers(registration: &Registration) -> Vec<String> {
    registration
        .metadata
        .get("finalizers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|f| f.as_str().map(str::to_owned))
        .collect()
}

/// Adds our finalizer, so that nothing is left behind when the object goes.
pub(crate) async fn hold(writes: &Writes, registration: &Registration) -> Result<(), RequestError> {
    if held(registration) {
        return Ok(());
    }
    let mut list = finalizers(registration);
    list.push(PLUGIN_FINALIZER.to_owned());
    set(writes, registration, list).await
}

/// Takes our finalizer away.
pub(crate) async fn let_go(
    writes: &Writes,
    registration: &Registration,
) -> Result<(), RequestError> {
    let mut list = finalizers(registration);
    list.retain(|f| f != PLUGIN_FINALIZER);
    match set(writes, registration, list).await {
        Err(RequestError::Api(refused)) if refused.is_not_found() => Ok(()),
        other => other,
    }
}

/// Writes the list, guarded by the resourceVersion that it was made from.
async fn set(
    writes: &Writes,
    registration: &Registration,
    list: Vec<String>,
) -> Result<(), RequestError> {
    let patch = json!({
        "metadata": {
            "uid": registration.metadata.get("uid"),
            "resourceVersion": registration.metadata.get("resourceVersion"),
            "finalizers": list,
        },
    });
    let resource = plugin_resource();
    let target = Target::new(&resource, None, registration.name());
    let options = PatchOptions {
        write: WriteOptions::by(MANAGER),
        subresource: None,
    };
    writes
        .merge_patch(&target, Bytes::from(patch.to_string()), &options)
        .await
        .map(|_| ())
}

/// Kinds that a registration may have written, by its grants, in the preferred version: what has
/// to be seen to release it, whether or not its plugin can be loaded.
fn written(registration: &Registration, served: &Served) -> Vec<Gvk> {
    registration
        .spec
        .grants
        .write
        .iter()
        .flat_map(|grant| {
            grant
                .kinds
                .iter()
                .map(|kind| (grant.group.as_str(), kind.as_str()))
        })
        .filter_map(|(group, kind)| served.preferred(group, kind))
        .map(|found| Gvk::new(&*found.group, &*found.version, &*found.kind))
        .collect()
}

/// Tables that a release reads; only of registrations that are going.
pub(crate) fn tables(registration: &Registration, served: &Served) -> Vec<TableDef> {
    let going = registration
        .metadata
        .get("deletionTimestamp")
        .is_some_and(|t| !t.is_null());
    if !going {
        return Vec::new();
    }
    let own = registration
        .spec
        .resources
        .iter()
        .map(|r| Gvk::new(&*r.group, &*r.version, &*r.kind));
    written(registration, served)
        .into_iter()
        .chain(own)
        .filter_map(|gvk| served.get(&gvk).map(crate::kinds::table))
        .collect()
}

/// The registration as the engine can release it, made from its grants alone, and why it cannot be
/// released yet. Kinds that are no longer served have no objects to release.
pub(crate) fn active(
    registration: &Arc<Registration>,
    served: &Served,
    snapshot: &Snapshot,
) -> (Active, Option<Problem>) {
    let primaries = registration
        .spec
        .resources
        .iter()
        .filter_map(|resource| {
            let gvk = Gvk::new(&*resource.group, &*resource.version, &*resource.kind);
            let found = served.get(&gvk)?;
            Some(Primary {
                facts: KindFacts {
                    plural: found.plural.clone(),
                    namespaced: found.namespaced,
                    has_status: found.subresources.contains_key("status"),
                },
                selector: resource.selector.clone(),
                gvk,
            })
        })
        .collect();
    let writes = written(registration, served)
        .into_iter()
        .map(|gvk| WriteAsk {
            group: gvk.group,
            version: gvk.version,
            kind: gvk.kind,
            verbs: Vec::new(),
            subresources: Vec::new(),
        })
        .collect();
    // A kind that is absent only because it could not be discovered may have objects to release.
    let groups = registration.spec.resources.iter().map(|r| r.group.as_str());
    let unknown = groups
        .chain(
            registration
                .spec
                .grants
                .write
                .iter()
                .map(|g| g.group.as_str()),
        )
        .find_map(|group| served.unknown(group))
        .map(|reason| Problem::passing("Releasing", reason));
    let unreadable = tables(registration, served).iter().find_map(|def| {
        match snapshot.table(&def.key).map(|table| table.state()) {
            Some(TableState::Ready { .. }) => None,
            Some(TableState::Failed(reason)) => Some(Problem::passing(
                "Releasing",
                format!(
                    "{} cannot be read, so that children of it cannot be released: {reason}",
                    def.plural
                ),
            )),
            Some(TableState::Loading) | None => Some(Problem::passing(
                "Releasing",
                format!("{} is being listed", def.plural),
            )),
        }
    });
    let active = Active {
        registration: Arc::clone(registration),
        digest: String::new(),
        manifest: Arc::new(Manifest {
            name: registration.name().to_owned(),
            version: String::new(),
            world: WORLD.to_owned(),
            resources: Vec::new(),
            queries: Vec::new(),
            reads: Vec::new(),
            writes,
            capabilities: Vec::new(),
            effects: Vec::new(),
            crds: Vec::new(),
            settings_schema: Value::Null,
            status: StatusShape::default(),
            delegates: Vec::new(),
        }),
        primaries,
        settings: Value::Null,
        limits: PassLimits::default(),
        has_sense: false,
    };
    (active, unknown.or(unreadable))
}
