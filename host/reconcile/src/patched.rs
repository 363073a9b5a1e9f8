//! What a CR has patched: objects that are not its children, as its record lists them.
//!
//! *Why.* Nothing on such an object says that a CR's patch is on it but an entry in managedFields,
//! which no index finds. So each is listed before the first write, and until the patch is undone.

use crate::active::{Active, kind_of};
use crate::fields;
use crate::patch::PatchTask;
use crate::traits::ObjectRef;
use kybern_interface::{GrantVerb, Gvk};
use kybern_table::{Row, Snapshot, SnapshotTooOld, TableView};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The part of an object that one request writes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Part {
    /// All but its status, if that is a subresource.
    #[default]
    Main,
    /// `/status`.
    Status,
}

impl Part {
    /// As managedFields and URLs name it.
    pub(crate) fn subresource(self) -> &'static str {
        match self {
            Self::Main => "",
            Self::Status => "status",
        }
    }

    fn is_main(&self) -> bool {
        *self == Self::Main
    }
}

/// One object with a patch of a CR's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Patched {
    group: String,
    version: String,
    kind: String,
    plural: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    namespace: String,
    name: String,
    /// Only the object with this uid was patched.
    pub(crate) uid: String,
    #[serde(default, skip_serializing_if = "Part::is_main")]
    pub(crate) part: Part,
    /// Where the API server made something else of the patch than was sent: what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) came: Option<Came>,
}

/// What the API server made of a patch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Came {
    /// Hash of the patch.
    pub(crate) of: String,
    /// Fingerprint of the fields that were ours then, with their values.
    pub(crate) print: String,
}

impl Patched {
    pub(crate) fn new(target: &ObjectRef, uid: String, part: Part) -> Self {
        Self {
            group: target.gvk.group.clone(),
            version: target.gvk.version.clone(),
            kind: target.gvk.kind.clone(),
            plural: target.plural.clone(),
            namespace: target.namespace.clone(),
            name: target.name.clone(),
            uid,
            part,
            came: None,
        }
    }

    pub(crate) fn target(&self) -> ObjectRef {
        ObjectRef {
            gvk: Gvk::new(&*self.group, &*self.version, &*self.kind),
            plural: self.plural.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }

    /// The same object, named by another version of its kind.
    pub(crate) fn served_as(&self, version: &str) -> Self {
        Self {
            version: version.to_owned(),
            ..self.clone()
        }
    }

    /// Whether both are about the same part of the same object, in whatever version.
    pub(crate) fn same(&self, other: &Self) -> bool {
        self.uid == other.uid
            && self.part == other.part
            && self.kind == other.kind
            && self.group == other.group
    }
}

/// What a record lists before these tasks are done: what it listed, and what they are about.
pub(crate) fn with(listed: &[Patched], tasks: &[PatchTask]) -> Vec<Patched> {
    let about = tasks.iter().filter_map(|task| task.patched.clone());
    replaced(listed, about)
}

/// The list with these in place of those about the same object.
pub(crate) fn replaced(listed: &[Patched], by: impl Iterator<Item = Patched>) -> Vec<Patched> {
    let by: Vec<Patched> = by.collect();
    let mut all = without(listed, &by);
    all.extend(by);
    all.sort();
    all
}

/// The list without what is about the same objects as these.
pub(crate) fn without(listed: &[Patched], gone: &[Patched]) -> Vec<Patched> {
    listed
        .iter()
        .filter(|one| !gone.iter().any(|other| other.same(one)))
        .cloned()
        .collect()
}

/// What has fields of a CR's patches, found by looking at every object of the kinds that may be
/// patched.
pub(crate) fn search(
    snapshot: &Snapshot,
    active: &Active,
    uid: &str,
) -> Result<Vec<Patched>, SnapshotTooOld> {
    let manager = active.patch_manager(uid);
    let mut found = Vec::new();
    naming(snapshot, active, &manager, |view, row, live| {
        found.extend(parts(view, row, live, &manager));
    })?;
    Ok(replaced(&[], found.into_iter()))
}

/// The same of all CRs of a registration, by their patches' managers, at the cost of one.
pub(crate) fn search_all(
    snapshot: &Snapshot,
    active: &Active,
) -> Result<BTreeMap<String, Vec<Patched>>, SnapshotTooOld> {
    let prefix = active.patch_manager("");
    let mut found: BTreeMap<String, Vec<Patched>> = BTreeMap::new();
    naming(snapshot, active, &prefix, |view, row, live| {
        let entries = fields::entries(live).unwrap_or_default();
        let managers: BTreeSet<String> = entries.into_iter().map(|entry| entry.manager).collect();
        for manager in managers.into_iter().filter(|m| m.starts_with(&prefix)) {
            let parts = parts(view, row, live, &manager);
            found.entry(manager).or_default().extend(parts);
        }
    })?;
    for of_one in found.values_mut() {
        *of_one = replaced(&[], std::mem::take(of_one).into_iter());
    }
    Ok(found)
}

/// Looks at every object of the kinds that may be patched whose text has this manager in it.
fn naming(
    snapshot: &Snapshot,
    active: &Active,
    manager: &str,
    mut look: impl FnMut(&TableView, &Row, &Value),
) -> Result<(), SnapshotTooOld> {
    let grants = &active.registration.spec.grants.write;
    for view in snapshot.tables() {
        let kind = kind_of(&view.def().key);
        let patched = grants.iter().any(|grant| {
            grant.verbs.contains(&GrantVerb::Patch)
                && grant.group == kind.group
                && grant.kinds.contains(&kind.kind)
        });
        if !patched {
            continue;
        }
        for chunk in view.scan()? {
            for row in chunk.rows()? {
                // Few objects name it at all.
                if String::from_utf8_lossy(&row.body()).contains(manager) {
                    look(&view, &row, &row.value());
                }
            }
        }
    }
    Ok(())
}

/// The parts of one object with fields of a manager's.
fn parts(view: &TableView, row: &Row, live: &Value, manager: &str) -> Vec<Patched> {
    let target = ObjectRef {
        gvk: kind_of(&view.def().key),
        plural: view.def().plural.clone(),
        namespace: row.namespace().unwrap_or_default().to_owned(),
        name: row.name().to_owned(),
    };
    let has = |part: &Part| {
        let entry = fields::owned_by(live, manager, part.subresource());
        entry.is_some_and(|entry| !entry.is_empty())
    };
    [Part::Main, Part::Status]
        .into_iter()
        .filter(has)
        .map(|part| Patched::new(&target, row.uid().into_owned(), part))
        .collect()
}
