//! Patches of objects that are not children: what a plan wants of them, and whether it is so.
//!
//! # Contract
//! - A patch is a server-side apply without force under a field manager of the CR's own: what
//!   another manager owns is never taken, and two CRs never erase each other's fields.
//! - It never creates: it carries the uid of the object that was seen. An object that is not there
//!   is waited for.
//! - Nothing is sent while our entry in managedFields has exactly the fields of the patch, with its
//!   values, or with those that the API server made of the same patch before (the record says so).

use crate::act::{Actor, Problem, uid_of};
use crate::active::table_of;
use crate::check::{Fault, Offence};
use crate::fields::{self, FieldSet};
use crate::intent::{drop_nulls, encode_string_data, hash_of, named, set_path};
use crate::key::name_key;
use crate::memory::resource_version;
use crate::owner::{Owner, Ownership, find, ownership};
use crate::patched::{Came, Part, Patched};
use crate::planning::Unplanned;
use crate::record::Record;
use crate::report::Verdict;
use crate::traits::{ObjectRef, WriteBody};
use kybern_interface::{Gvk, PatchObject};
use kybern_table::{Columns, Index, Keys, ScanRead, Snapshot};
use serde_json::{Value, json};

/// What one `patch` action wants.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PatchIntent {
    pub(crate) target: ObjectRef,
    /// Only the object with this uid.
    pub(crate) uid: Option<String>,
    pub(crate) part: Part,
    /// What is sent, without the uid.
    pub(crate) object: Value,
    pub(crate) hash: String,
    pub(crate) wave: i32,
}

/// The object that names `target` and says nothing about it.
pub(crate) fn empty(target: &ObjectRef) -> Value {
    let mut object = json!({
        "apiVersion": target.gvk.api_version(),
        "kind": target.gvk.kind,
        "metadata": { "name": target.name },
    });
    if !target.namespace.is_empty() {
        set(&mut object, "namespace", &target.namespace);
    }
    object
}

fn set(object: &mut Value, key: &str, value: &str) {
    let path = ["metadata", key].map(str::to_owned);
    set_path(object, &path, Value::from(value));
}

impl PatchIntent {
    /// The intent of an action that has passed the plan checks.
    pub(crate) fn of(action: &PatchObject, target: ObjectRef, part: Part) -> Self {
        let mut fields = action.patch.clone();
        drop_nulls(&mut fields);
        if target.gvk == Gvk::new("", "v1", "Secret") {
            encode_string_data(&mut fields);
        }
        let mut object = empty(&target);
        for (name, value) in fields.as_object().into_iter().flatten() {
            match name.as_str() {
                "apiVersion" | "kind" => {}
                "metadata" => {
                    for map in ["labels", "annotations"] {
                        if let Some(entries) = value.get(map) {
                            let path = ["metadata", map].map(str::to_owned);
                            set_path(&mut object, &path, entries.clone());
                        }
                    }
                }
                _ => set_path(&mut object, std::slice::from_ref(name), value.clone()),
            }
        }
        Self {
            hash: hash_of(&object, &[]),
            uid: action.target.uid.clone(),
            wave: action.wave,
            target,
            part,
            object,
        }
    }

    /// What is sent for the object with this uid.
    pub(crate) fn request(&self, uid: &str) -> Value {
        let mut object = self.object.clone();
        set(&mut object, "uid", uid);
        object
    }

    /// Whether no field is left in it.
    pub(crate) fn says_nothing(&self) -> bool {
        !has_leaf(&named(self.object.clone()))
    }

    /// Changes of the object that a pass has to look at.
    pub(crate) fn read(&self) -> ScanRead {
        let mut columns = std::collections::BTreeSet::new();
        for (name, value) in self.object.as_object().into_iter().flatten() {
            match name.as_str() {
                "apiVersion" | "kind" => {}
                "metadata" => columns.extend(
                    ["labels", "annotations"]
                        .into_iter()
                        .filter(|map| value.get(map).is_some())
                        .map(str::to_owned),
                ),
                other => {
                    columns.insert(other.to_owned());
                }
            }
        }
        ScanRead {
            table: table_of(&self.target.gvk),
            columns: Columns::Named(columns),
            keys: Keys::Of {
                index: Index::Name,
                values: vec![name_key(&self.target.namespace, &self.target.name)],
            },
        }
    }

    /// Whether the object has this patch.
    fn holds(&self, live: &Value, manager: &str, came: Option<&Came>) -> bool {
        let entry = entry(live, manager, self.part);
        if entry.is_empty() {
            return false;
        }
        let wanted = named(self.object.clone());
        let cover = entry.cover(&wanted, live);
        let literally = cover.missing.is_empty()
            && entry.beyond(&cover.shape).is_empty()
            && cover.shape.select(live) == cover.shape.select(&wanted);
        literally
            || came.is_some_and(|came| came.of == self.hash && came.print == print(&entry, live))
    }
}

fn has_leaf(value: &Value) -> bool {
    match value {
        Value::Object(object) => object.values().any(has_leaf),
        _ => true,
    }
}

fn entry(live: &Value, manager: &str, part: Part) -> FieldSet {
    fields::owned_by(live, manager, part.subresource()).unwrap_or_default()
}

/// Equal for equal fields with equal values, in every host: records hold it.
fn print(entry: &FieldSet, live: &Value) -> String {
    hash_of(&json!([entry.render(), entry.select(live)]), &[])
}

/// An object as it was when its patch was last as planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Baseline {
    /// As the record lists it.
    pub(crate) patched: Patched,
    print: String,
    version: u64,
}

impl Baseline {
    fn of(patched: &Patched, live: &Value, manager: &str) -> Self {
        Self {
            print: print(&entry(live, manager, patched.part), live),
            version: resource_version(live),
            patched: patched.clone(),
        }
    }

    /// Whether nothing has happened to the patch since; remembers the state that it saw.
    fn holds(&mut self, snapshot: &Snapshot, manager: &str) -> bool {
        let Ok(Some(row)) = find(snapshot, &self.patched.target()) else {
            return false;
        };
        if row.uid() != self.patched.uid {
            return false;
        }
        if row.resource_version() == self.version && self.version != 0 {
            return true;
        }
        let live = row.value();
        let now = print(&entry(&live, manager, self.patched.part), &live);
        self.version = row.resource_version();
        now == self.print
    }
}

/// Whether all patches are as they were left.
pub(crate) fn hold(baselines: &mut [Baseline], snapshot: &Snapshot, manager: &str) -> bool {
    baselines
        .iter_mut()
        .all(|baseline| baseline.holds(snapshot, manager))
}

/// One patch with what is to be done about it.
#[derive(Debug, Clone)]
pub(crate) struct PatchTask {
    pub(crate) intent: PatchIntent,
    /// The object that is there, for the record; none while there is none.
    pub(crate) patched: Option<Patched>,
    pub(crate) verdict: Verdict,
    /// If it is as planned.
    pub(crate) baseline: Option<Baseline>,
}

impl PatchTask {
    /// What came of the write.
    fn came(&self, patched: &Patched, live: &Value, manager: &str) -> Baseline {
        let came = (!self.intent.holds(live, manager, None)).then(|| Came {
            of: self.intent.hash.clone(),
            print: print(&entry(live, manager, self.intent.part), live),
        });
        let mut patched = patched.clone();
        patched.came = came;
        Baseline::of(&patched, live, manager)
    }
}

/// Makes one patch so; none if nobody says what came of it.
pub(crate) async fn write(
    actor: &Actor<'_>,
    task: &PatchTask,
) -> Result<Option<Baseline>, Problem> {
    let Some(patched) = &task.patched else {
        return Err(Problem::Absent);
    };
    if let Some(baseline) = &task.baseline {
        return Ok(Some(baseline.clone()));
    }
    if task.verdict == Verdict::WaitingForDeletion {
        return Err(Problem::Deleting);
    }
    let manager = actor.patch_manager();
    let body = WriteBody::Patch {
        object: task.intent.request(&patched.uid),
        manager: manager.clone(),
        part: patched.part.subresource().to_owned(),
    };
    match actor.write(&task.intent.target, body).await {
        Ok(written) => {
            let live = written.object.as_ref();
            Ok(live.map(|live| task.came(patched, live, &manager)))
        }
        Err(error) => Err(match error.field_conflict() {
            Some(whose) => Problem::Owned(whose),
            None => Problem::Failed(error),
        }),
    }
}

/// Compares patches with the snapshot.
pub(crate) fn tasks(
    intents: &[PatchIntent],
    snapshot: &Snapshot,
    owner: &Owner,
    manager: &str,
    record: &Record,
    forced: bool,
) -> Result<Vec<PatchTask>, Unplanned> {
    let mut tasks = Vec::with_capacity(intents.len());
    let mut offences = Vec::new();
    for intent in intents {
        let live = find(snapshot, &intent.target)?.map(|row| row.value());
        if live
            .as_ref()
            .is_some_and(|live| ownership(live, owner) == Ownership::Ours)
        {
            offences.push(Offence {
                fault: Fault::Invalid,
                message: format!(
                    "patch of {}: it is a child of this object: say it in its `apply`",
                    intent.target
                ),
            });
        }
        tasks.push(task(intent, live.as_ref(), manager, record, forced));
    }
    if offences.is_empty() {
        Ok(tasks)
    } else {
        Err(Unplanned::Offences(offences))
    }
}

fn task(
    intent: &PatchIntent,
    live: Option<&Value>,
    manager: &str,
    record: &Record,
    forced: bool,
) -> PatchTask {
    let uid = live.map(uid_of);
    let meant = uid.filter(|uid| intent.uid.as_ref().is_none_or(|wanted| wanted == uid));
    let (Some(live), Some(uid)) = (live, meant) else {
        return PatchTask {
            intent: intent.clone(),
            patched: None,
            verdict: Verdict::Absent,
            baseline: None,
        };
    };
    let mut patched = Patched::new(&intent.target, uid, intent.part);
    let listed = record.patches.iter().find(|one| one.same(&patched));
    patched.came = listed.and_then(|listed| listed.came.clone());
    let deleting = live
        .pointer("/metadata/deletionTimestamp")
        .is_some_and(|at| !at.is_null());
    let holds = intent.holds(live, manager, patched.came.as_ref());
    let verdict = match (holds && !forced, deleting) {
        (true, _) => Verdict::Converged,
        (false, true) => Verdict::WaitingForDeletion,
        (false, false) => Verdict::Patch,
    };
    PatchTask {
        intent: intent.clone(),
        baseline: (verdict == Verdict::Converged).then(|| Baseline::of(&patched, live, manager)),
        patched: Some(patched),
        verdict,
    }
}

#[cfg(test)]
#[path = "patch_tests.rs"]
mod tests;
