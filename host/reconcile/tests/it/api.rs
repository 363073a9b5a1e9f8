//! An API server in memory: names, uids, resourceVersions, field ownership, finalizers, garbage
//! collection, defaults. Its answers to writes are in the table before the writer hears of them;
//! changes by others come as watch events that a test can hold back, repeat and reorder.

use crate::flat::{self, Flat, Paths};
use async_trait::async_trait;
use bytes::Bytes;
use kybern_interface::Gvk;
use kybern_reconcile::{
    Apply, Cause, EventRequest, ObjectRef, Refusal, Write, WriteBody, WriteError, Written,
};
use kybern_table::{
    Batch, Change, Deleted, KindKey, Origin, Reader, Sequence, StoreConfig, TableDef, Writer,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) type Name = (Gvk, String, String);
type Gate = (fn(&Write) -> bool, CancellationToken);
type Fault = Box<dyn FnMut(&Write) -> Option<WriteError> + Send>;

/// Kind, plural, namespaced.
pub(crate) const KINDS: [(&str, &str, &str, &str, bool); 7] = [
    ("app.example.com", "v1", "App", "apps", true),
    ("", "v1", "ConfigMap", "configmaps", true),
    ("", "v1", "Pod", "pods", true),
    ("", "v1", "Namespace", "namespaces", false),
    (
        "",
        "v1",
        "PersistentVolumeClaim",
        "persistentvolumeclaims",
        true,
    ),
    ("apps", "v1", "Deployment", "deployments", true),
    ("", "v1", "Secret", "secrets", true),
];

#[derive(Default)]
struct State {
    objects: BTreeMap<Name, Value>,
    version: u64,
    uids: u64,
    /// Accepted writes of the host: `create ConfigMap ns/x`.
    writes: Vec<String>,
    /// What the host read: `Secret ns/x`.
    reads: Vec<String>,
    events: Vec<EventRequest>,
    fault: Option<Fault>,
    /// Writes that wait until somebody lets them through.
    gates: Vec<Gate>,
    /// Watch events that have not been delivered.
    held: Vec<Change>,
    holding: bool,
    /// Every pass over the host's objects by a mutating webhook.
    mutate: bool,
    /// A status field that the schema does not have.
    pruned: Option<String>,
    /// Whether the host may read nothing by name.
    unreadable: bool,
    /// Pods that a disruption budget protects.
    protected: BTreeSet<String>,
    /// Kinds that are served in other versions than v1, or in none.
    served: BTreeMap<String, Vec<String>>,
    /// The write whose answer is lost, counted down.
    lose: Option<usize>,
}

pub(crate) struct Api {
    state: Mutex<State>,
    writer: Mutex<Writer>,
    commits: watch::Sender<Sequence>,
}

fn refusal(code: u16, reason: &str, message: &str) -> WriteError {
    WriteError::Refused(Refusal {
        code,
        reason: reason.into(),
        message: message.into(),
        ..Refusal::default()
    })
}

pub(crate) fn gvk_of(object: &Value) -> Gvk {
    Gvk::from_api_version(
        object["apiVersion"].as_str().unwrap(),
        object["kind"].as_str().unwrap(),
    )
}

pub(crate) fn name_of(object: &Value) -> Name {
    (
        gvk_of(object),
        object["metadata"]["namespace"]
            .as_str()
            .unwrap_or_default()
            .into(),
        object["metadata"]["name"].as_str().unwrap().into(),
    )
}

fn key(gvk: &Gvk) -> KindKey {
    KindKey::new(&*gvk.group, &*gvk.version, &*gvk.kind)
}

fn raw(object: &Value) -> Bytes {
    Bytes::from(object.to_string())
}

impl Api {
    pub(crate) fn new() -> (Self, Reader, watch::Receiver<Sequence>) {
        let (writer, reader) = kybern_table::store(StoreConfig::default());
        let (commits, receiver) = watch::channel(Sequence::default());
        let api = Self {
            state: Mutex::new(State {
                version: 1,
                ..State::default()
            }),
            writer: Mutex::new(writer),
            commits,
        };
        for (group, version, kind, plural, namespaced) in KINDS {
            api.commit(vec![Change::Define(TableDef {
                key: KindKey::new(group, version, kind),
                schema: if group.is_empty() {
                    "core".into()
                } else {
                    group.replace('.', "_")
                },
                plural: plural.into(),
                namespaced,
                label_keys: vec![kybern_interface::names::PART_OF.into()],
                path_indexes: vec![],
            })]);
        }
        api.relist();
        (api, reader, receiver)
    }

    fn commit(&self, changes: Vec<Change>) {
        let mut writer = self.writer.lock();
        let applied = writer.apply(Batch { changes });
        assert_eq!(applied.errors, vec![]);
        self.commits.send_replace(applied.sequence);
    }

    /// A complete list of every kind: what a watch does after it was lost.
    pub(crate) fn relist(&self) {
        let mut changes = Vec::new();
        let state = self.state.lock();
        for (group, version, kind, ..) in KINDS {
            let table = KindKey::new(group, version, kind);
            changes.push(Change::ListBegin {
                table: table.clone(),
            });
            for ((gvk, ..), object) in &state.objects {
                if key(gvk) == table {
                    changes.push(Change::Upsert {
                        table: table.clone(),
                        raw: raw(object),
                        origin: Origin::List,
                    });
                }
            }
            changes.push(Change::ListEnd {
                table,
                resource_version: state.version,
            });
        }
        drop(state);
        self.commit(changes);
    }

    /// Holds watch events back from now on.
    pub(crate) fn hold(&self) {
        self.state.lock().holding = true;
    }

    /// Delivers held events in an order of the caller's.
    pub(crate) fn deliver(&self, order: impl FnOnce(Vec<Change>) -> Vec<Change>) {
        let mut state = self.state.lock();
        state.holding = false;
        let held = std::mem::take(&mut state.held);
        drop(state);
        for change in order(held) {
            self.commit(vec![change]);
        }
    }

    fn seen(&self, state: &mut State, change: Change) {
        if state.holding {
            state.held.push(change);
        } else {
            self.commit(vec![change]);
        }
    }

    /// The table of a kind cannot be kept up to date any more.
    pub(crate) fn break_table(&self, kind: &str) {
        let (group, version, ..) = KINDS.iter().find(|k| k.2 == kind).unwrap();
        self.commit(vec![Change::Fail {
            table: KindKey::new(*group, *version, kind),
            reason: "forbidden".into(),
        }]);
    }

    pub(crate) fn fail_with(
        &self,
        fault: impl FnMut(&Write) -> Option<WriteError> + Send + 'static,
    ) {
        self.state.lock().fault = Some(Box::new(fault));
    }

    /// From now on the kind is served in these versions; objects go on to be kept as v1.
    pub(crate) fn serve(&self, kind: &str, versions: &[&str]) {
        let versions = versions.iter().map(|version| (*version).to_owned());
        let mut state = self.state.lock();
        state.served.insert(kind.to_owned(), versions.collect());
    }

    pub(crate) fn served(&self, kind: &str) -> Vec<String> {
        let state = self.state.lock();
        let versions = state.served.get(kind).cloned();
        versions.unwrap_or_else(|| vec!["v1".to_owned()])
    }

    /// Such writes wait until the token is cancelled.
    pub(crate) fn gate(&self, which: fn(&Write) -> bool) -> CancellationToken {
        let open = CancellationToken::new();
        self.state.lock().gates.push((which, open.clone()));
        open
    }

    pub(crate) fn heal(&self) {
        self.state.lock().fault = None;
    }

    pub(crate) fn mutate(&self) {
        self.state.lock().mutate = true;
    }

    pub(crate) fn prune_status(&self, field: &str) {
        self.state.lock().pruned = Some(field.to_owned());
    }

    pub(crate) fn prune_nothing(&self) {
        self.state.lock().pruned = None;
    }

    /// A disruption budget that allows to evict all but these Pods.
    pub(crate) fn protect(&self, names: &[&str]) {
        self.state.lock().protected = names.iter().map(|name| (*name).to_owned()).collect();
    }

    /// The k-th accepted write happens, but its writer does not hear of it.
    pub(crate) fn lose_answer(&self, k: usize) {
        self.state.lock().lose = Some(k);
    }

    /// Every answer arrives from now on.
    pub(crate) fn lose_nothing(&self) {
        self.state.lock().lose = None;
    }

    /// Accepted writes of the host since the last call.
    pub(crate) fn writes(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().writes)
    }

    /// What the host read since the last call.
    pub(crate) fn reads(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().reads)
    }

    /// The host may read nothing by name from now on.
    pub(crate) fn forbid_reads(&self) {
        self.state.lock().unreadable = true;
    }

    pub(crate) fn events(&self) -> Vec<EventRequest> {
        std::mem::take(&mut self.state.lock().events)
    }

    pub(crate) fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let state = self.state.lock();
        state
            .objects
            .iter()
            .find(|((gvk, ns, n), _)| gvk.kind == kind && ns == namespace && n == name)
            .map(|(_, object)| object.clone())
    }

    /// What the cluster holds, without what differs from run to run.
    pub(crate) fn picture(&self) -> Vec<Value> {
        let state = self.state.lock();
        let uids: BTreeMap<String, String> = state
            .objects
            .values()
            .map(|o| {
                let (gvk, ns, name) = name_of(o);
                (
                    o["metadata"]["uid"].as_str().unwrap().to_owned(),
                    format!("uid of {} {ns}/{name}", gvk.kind),
                )
            })
            .collect();
        state
            .objects
            .values()
            .map(|object| {
                let mut object = object.clone();
                let metadata = object["metadata"].as_object_mut().unwrap();
                for volatile in [
                    "uid",
                    "resourceVersion",
                    "managedFields",
                    "generation",
                    "annotations",
                    "labels",
                ] {
                    metadata.remove(volatile);
                }
                if let Some(owners) = metadata.get_mut("ownerReferences") {
                    for owner in owners.as_array_mut().unwrap() {
                        let uid = owner["uid"].as_str().unwrap();
                        owner["uid"] = json!(uids.get(uid).cloned().unwrap_or_default());
                    }
                }
                if let Some(status) = object.get_mut("status") {
                    status.as_object_mut().unwrap().remove("observedGeneration");
                    for condition in status
                        .get_mut("conditions")
                        .and_then(Value::as_array_mut)
                        .into_iter()
                        .flatten()
                    {
                        let condition = condition.as_object_mut().unwrap();
                        condition.remove("lastTransitionTime");
                        condition.remove("observedGeneration");
                    }
                }
                object
            })
            .collect()
    }

    // ---- what others do ----

    /// Creates or replaces an object as `manager`, the way kubectl would with an Update.
    pub(crate) fn put(&self, manager: &str, object: Value) -> Value {
        let mut state = self.state.lock();
        let name = name_of(&object);
        let result = match state.objects.get(&name).cloned() {
            None => create(&mut state, object, manager).unwrap(),
            Some(live) => {
                let mut wanted = object;
                if wanted.get("status").is_none()
                    && let Some(status) = live.get("status")
                {
                    wanted["status"] = status.clone();
                }
                for key in [
                    "uid",
                    "resourceVersion",
                    "generation",
                    "creationTimestamp",
                    "deletionTimestamp",
                    "managedFields",
                ] {
                    if let Some(value) = live["metadata"].get(key) {
                        wanted["metadata"][key] = value.clone();
                    }
                }
                update(&mut state, &live, wanted, manager, "")
            }
        };
        if state.objects.contains_key(&name) {
            let change = Change::Upsert {
                table: key(&name.0),
                raw: raw(&result),
                origin: Origin::Watch,
            };
            self.seen(&mut state, change);
        } else {
            // Its last finalizer is gone.
            let change = Change::Delete {
                table: key(&name.0),
                target: Deleted::Raw(raw(&result)),
            };
            self.seen(&mut state, change);
            for change in collect(&mut state) {
                self.seen(&mut state, change);
            }
        }
        result
    }

    /// Changes an object in place as `manager`.
    pub(crate) fn edit(
        &self,
        manager: &str,
        kind: &str,
        namespace: &str,
        name: &str,
        edit: impl FnOnce(&mut Value),
    ) {
        let mut object = self
            .get(kind, namespace, name)
            .unwrap_or_else(|| panic!("no {kind} {name}"));
        edit(&mut object);
        self.put(manager, object);
    }

    /// The garbage collector's round over objects whose owner was gone before they were created.
    pub(crate) fn collect_garbage(&self) {
        let mut state = self.state.lock();
        for change in collect(&mut state) {
            self.seen(&mut state, change);
        }
    }

    /// Deletes as a user would, garbage collection included.
    pub(crate) fn delete(&self, kind: &str, namespace: &str, name: &str) {
        let mut state = self.state.lock();
        let found = state
            .objects
            .keys()
            .find(|(gvk, ns, n)| gvk.kind == kind && ns == namespace && n == name)
            .cloned();
        let Some(found) = found else { return };
        let changes = delete(&mut state, &found);
        for change in changes {
            self.seen(&mut state, change);
        }
    }
}

/// Values that the API server fills in.
fn default(object: &mut Value) {
    if object["kind"] == "Deployment" {
        let spec = object["spec"].as_object_mut().unwrap();
        spec.entry("strategy")
            .or_insert_with(|| json!({ "type": "RollingUpdate" }));
        spec.entry("replicas").or_insert_with(|| json!(1));
        for container in spec["template"]["spec"]["containers"]
            .as_array_mut()
            .unwrap()
        {
            let container = container.as_object_mut().unwrap();
            container
                .entry("imagePullPolicy")
                .or_insert_with(|| json!("IfNotPresent"));
            for port in container
                .get_mut("ports")
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                port.as_object_mut()
                    .unwrap()
                    .entry("protocol")
                    .or_insert_with(|| json!("TCP"));
            }
            // Quantities have one spelling.
            if let Some(cpu) = container
                .get_mut("resources")
                .and_then(|r| r.pointer_mut("/limits/cpu"))
                && *cpu == "1000m"
            {
                *cpu = json!("1");
            }
        }
    }
}

/// What a mutating webhook does to everything it sees.
fn webhook(state: &State, object: &mut Value) {
    if state.mutate && object["kind"] == "Deployment" {
        object["metadata"]["annotations"]["webhook"] = json!("was here");
        let containers = object["spec"]["template"]["spec"]["containers"]
            .as_array_mut()
            .unwrap();
        for container in containers.iter_mut() {
            // An owned value, rewritten on its way in.
            if let Some(image) = container["image"].as_str()
                && !image.starts_with("mirror/")
            {
                container["image"] = json!(format!("mirror/{image}"));
            }
        }
        if !containers.iter().any(|c| c["name"] == "sidecar") {
            containers.push(json!({ "name": "sidecar", "image": "mirror/s:1", "imagePullPolicy": "IfNotPresent" }));
        }
    }
}

fn entries(object: &Value) -> Vec<(String, String, String, Paths)> {
    let text = |e: &Value, k: &str| e[k].as_str().unwrap_or_default().to_owned();
    object["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|e| {
            (
                text(e, "manager"),
                text(e, "operation"),
                text(e, "subresource"),
                flat::paths(&e["fieldsV1"]),
            )
        })
        .collect()
}

fn set_entries(object: &mut Value, entries: Vec<(String, String, String, Paths)>) {
    let list: Vec<Value> = entries
        .into_iter()
        .filter(|(.., paths)| !paths.is_empty())
        .map(|(manager, operation, subresource, paths)| {
            let mut entry = json!({
                "manager": manager, "operation": operation, "apiVersion": object["apiVersion"],
                "fieldsType": "FieldsV1", "fieldsV1": flat::fields(&paths),
            });
            if !subresource.is_empty() {
                entry["subresource"] = json!(subresource);
            }
            entry
        })
        .collect();
    object["metadata"]["managedFields"] = json!(list);
}

fn check(object: &Value) -> Result<(), WriteError> {
    let controllers = object["metadata"]["ownerReferences"]
        .as_array()
        .map_or(0, |list| {
            list.iter().filter(|o| o["controller"] == true).count()
        });
    if controllers > 1 {
        return Err(refusal(
            422,
            "Invalid",
            "Only one reference can have Controller set to true",
        ));
    }
    Ok(())
}

fn create(state: &mut State, object: Value, manager: &str) -> Result<Value, WriteError> {
    let name = name_of(&object);
    if state.objects.contains_key(&name) {
        return Err(refusal(
            409,
            "AlreadyExists",
            &format!("{} already exists", name.2),
        ));
    }
    check(&object)?;
    let mut object = object;
    let has_status = object["kind"] == "App" || object["kind"] == "Deployment";
    if has_status {
        object.as_object_mut().unwrap().remove("status");
    }
    default(&mut object);
    let owned: Paths = flat::flatten(&object).into_keys().collect();
    webhook(state, &mut object);
    state.uids += 1;
    object["metadata"]["uid"] = json!(format!("uid-{}", state.uids));
    object["metadata"]["generation"] = json!(1);
    object["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    set_entries(
        &mut object,
        vec![(manager.into(), "Update".into(), String::new(), owned)],
    );
    Ok(store(state, None, object))
}

/// Stores a state; unchanged, it keeps its resourceVersion.
fn store(state: &mut State, live: Option<&Value>, mut object: Value) -> Value {
    if let Some(live) = live {
        if *live == object {
            return object;
        }
        let spec = |o: &Value| {
            let mut o = o.clone();
            o.as_object_mut().unwrap().remove("metadata");
            o.as_object_mut().unwrap().remove("status");
            o
        };
        if spec(live) != spec(&object) {
            let generation = live["metadata"]["generation"].as_i64().unwrap() + 1;
            object["metadata"]["generation"] = json!(generation);
        }
    }
    state.version += 1;
    object["metadata"]["resourceVersion"] = json!(state.version.to_string());
    let name = name_of(&object);
    let over = object["metadata"].get("deletionTimestamp").is_some()
        && object["metadata"]["finalizers"]
            .as_array()
            .is_none_or(Vec::is_empty);
    if over {
        state.objects.remove(&name);
    } else {
        state.objects.insert(name, object.clone());
    }
    object
}

/// An Update: whoever changes a value owns it.
fn update(
    state: &mut State,
    live: &Value,
    mut wanted: Value,
    manager: &str,
    subresource: &str,
) -> Value {
    default(&mut wanted);
    let before = flat::flatten(live);
    let after = flat::flatten(&wanted);
    let changed: Paths = after
        .iter()
        .filter(|(path, value)| before.get(*path) != Some(value))
        .map(|(path, _)| path.clone())
        .collect();
    let mut list = entries(&wanted);
    for (name, operation, sub, paths) in &mut list {
        if !(name == manager && operation == "Update" && sub == subresource) {
            paths.retain(|path| !changed.contains(path));
        }
        paths.retain(|path| after.contains_key(path));
    }
    match list
        .iter_mut()
        .find(|(n, o, s, _)| n == manager && o == "Update" && s == subresource)
    {
        Some((.., paths)) => paths.extend(changed),
        None => list.push((manager.into(), "Update".into(), subresource.into(), changed)),
    }
    set_entries(&mut wanted, list);
    store(state, Some(live), wanted)
}

/// A server-side apply.
fn apply(
    state: &mut State,
    live: &Value,
    intent: &Value,
    manager: &str,
    subresource: &str,
    force: bool,
) -> Result<Value, WriteError> {
    let status = |path: &Vec<String>| path.first().is_some_and(|s| s == "f:status");
    let mut wanted: Flat = flat::flatten(intent);
    if subresource == "status" {
        let pruned = state.pruned.as_ref().map(|field| format!("f:{field}"));
        wanted.retain(|path, _| status(path) && path.get(1) != pruned.as_ref());
    } else {
        let has_status = intent["kind"] == "App" || intent["kind"] == "Deployment";
        wanted.retain(|path, _| !has_status || !status(path));
    }
    let applied: Paths = wanted.keys().cloned().collect();
    let mut list = entries(live);
    let mine = |(name, operation, sub, _): &(String, String, String, Paths)| {
        name == manager && operation == "Apply" && sub == subresource
    };
    let previous = list
        .iter()
        .find(|e| mine(e))
        .map(|e| e.3.clone())
        .unwrap_or_default();
    let mut after = flat::flatten(live);
    let causes: Vec<Cause> = list
        .iter()
        .filter(|e| !force && !mine(e))
        .flat_map(|(name, .., paths)| paths.iter().map(move |path| (name, path)))
        .filter(|(_, path)| {
            wanted
                .get(*path)
                .is_some_and(|v| after.get(*path) != Some(v))
        })
        .map(|(name, path)| Cause {
            reason: "FieldManagerConflict".into(),
            message: format!("conflict with {name:?}"),
            field: path.concat().replace("f:", "."),
        })
        .collect();
    if !causes.is_empty() {
        return Err(WriteError::Refused(Refusal {
            code: 409,
            reason: "Conflict".into(),
            message: "Apply failed".into(),
            causes,
            ..Refusal::default()
        }));
    }
    for (path, value) in &wanted {
        if after.get(path) != Some(value) {
            for entry in list.iter_mut().filter(|e| !mine(e)) {
                entry.3.remove(path);
            }
        }
        // A whole value takes the place of what was below it.
        after.retain(|have, _| have == path || !have.starts_with(path));
        after.insert(path.clone(), value.clone());
    }
    let others: BTreeSet<Vec<String>> = list
        .iter()
        .filter(|e| !mine(e))
        .flat_map(|e| e.3.clone())
        .collect();
    for path in previous.difference(&applied) {
        if !others.contains(path) {
            after.remove(path);
        }
    }
    match list.iter_mut().find(|e| mine(e)) {
        Some(entry) => entry.3 = applied,
        None => list.push((manager.into(), "Apply".into(), subresource.into(), applied)),
    }
    let mut base =
        json!({ "apiVersion": live["apiVersion"], "kind": live["kind"], "metadata": {} });
    for key in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
    ] {
        if let Some(value) = live["metadata"].get(key) {
            base["metadata"][key] = value.clone();
        }
    }
    let mut object = flat::unflatten(&base, &after);
    check(&object)?;
    default(&mut object);
    webhook(state, &mut object);
    set_entries(&mut object, list);
    // The order of entries and list items is not a change.
    if flat::flatten(&object) == flat::flatten(live) && entries(&object) == entries(live) {
        return Ok(live.clone());
    }
    Ok(store(state, Some(live), object))
}

fn json_patch(live: &Value, patch: &Value) -> Result<Value, WriteError> {
    let mut object = live.clone();
    for operation in patch.as_array().unwrap() {
        let path = operation["path"].as_str().unwrap();
        let (parent, last) = path.rsplit_once('/').unwrap();
        let last = last.replace("~1", "/").replace("~0", "~");
        if path == "/metadata/resourceVersion" {
            if operation["value"] != live["metadata"]["resourceVersion"] {
                return Err(refusal(409, "Conflict", "the object has been modified"));
            }
            continue;
        }
        let node = object.pointer_mut(parent).and_then(Value::as_object_mut);
        let Some(node) = node else {
            return Err(refusal(422, "Invalid", &format!("no {parent}")));
        };
        match operation["op"].as_str().unwrap() {
            "add" => {
                node.insert(last, operation["value"].clone());
            }
            op => {
                if node.remove(&last).is_none() {
                    return Err(refusal(422, "Invalid", &format!("no {path}")));
                }
                if op == "replace" {
                    node.insert(last, operation["value"].clone());
                }
            }
        }
    }
    Ok(object)
}

/// Deletes one object and what only it owned.
fn delete(state: &mut State, name: &Name) -> Vec<Change> {
    let Some(mut object) = state.objects.get(name).cloned() else {
        return Vec::new();
    };
    if object["metadata"]["finalizers"]
        .as_array()
        .is_some_and(|f| !f.is_empty())
    {
        if object["metadata"].get("deletionTimestamp").is_none() {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
            state.version += 1;
            object["metadata"]["resourceVersion"] = json!(state.version.to_string());
            state.objects.insert(name.clone(), object.clone());
        }
        return vec![Change::Upsert {
            table: key(&name.0),
            raw: raw(&object),
            origin: Origin::Watch,
        }];
    }
    state.version += 1;
    object["metadata"]["resourceVersion"] = json!(state.version.to_string());
    state.objects.remove(name);
    let mut changes = vec![Change::Delete {
        table: key(&name.0),
        target: Deleted::Raw(raw(&object)),
    }];
    changes.extend(collect(state));
    changes
}

/// The garbage collector: what has only owners that are gone goes too.
fn collect(state: &mut State) -> Vec<Change> {
    let uids: BTreeSet<String> = state
        .objects
        .values()
        .map(|o| o["metadata"]["uid"].as_str().unwrap().to_owned())
        .collect();
    let orphans: Vec<Name> = state
        .objects
        .iter()
        .filter(|(_, o)| {
            o["metadata"]["ownerReferences"]
                .as_array()
                .is_some_and(|owners| {
                    !owners.is_empty()
                        && owners
                            .iter()
                            .all(|owner| !uids.contains(owner["uid"].as_str().unwrap()))
                })
                && o["metadata"].get("deletionTimestamp").is_none()
        })
        .map(|(name, _)| name.clone())
        .collect();
    orphans
        .iter()
        .flat_map(|name| delete(state, name))
        .collect()
}

/// Under which name an object is kept, if its kind is served in that version.
fn stored(state: &State, target: &ObjectRef) -> Result<Name, WriteError> {
    let mut gvk = target.gvk.clone();
    if let Some(versions) = state.served.get(&gvk.kind) {
        if !versions.contains(&gvk.version) {
            let message = "the server could not find the requested resource";
            return Err(refusal(404, "NotFound", message));
        }
        gvk.version = "v1".into();
    }
    Ok((gvk, target.namespace.clone(), target.name.clone()))
}

#[async_trait]
impl Apply for Api {
    async fn write(&self, write: Write) -> Result<Written, WriteError> {
        tokio::task::yield_now().await;
        let gates = self.state.lock().gates.clone();
        for (_, open) in gates.iter().filter(|(which, _)| which(&write)) {
            open.cancelled().await;
        }
        let mut state = self.state.lock();
        let mut fault = state.fault.take();
        let failed = fault.as_mut().and_then(|fault| fault(&write));
        state.fault = fault;
        if let Some(error) = failed {
            return Err(error);
        }
        let target = &write.target;
        let name = stored(&state, target)?;
        let live = state.objects.get(&name).cloned();
        let verb = write.body.verb();
        let not_found = || {
            WriteError::Refused(Refusal {
                code: 404,
                reason: "NotFound".into(),
                message: format!("{target} not found"),
                name: target.name.clone(),
                ..Refusal::default()
            })
        };
        let mut follow = Vec::new();
        let written = match &write.body {
            WriteBody::Create { object, manager } => {
                Some(create(&mut state, object.clone(), manager)?)
            }
            WriteBody::Apply { object, manager }
            | WriteBody::Patch {
                object, manager, ..
            }
            | WriteBody::ApplyStatus { object, manager } => {
                let Some(live) = live else {
                    return Err(match verb {
                        "status" => not_found(),
                        _ => refusal(409, "Conflict", "uid mismatch: the object does not exist"),
                    });
                };
                if object["metadata"]["uid"] != live["metadata"]["uid"] {
                    return Err(WriteError::Refused(Refusal {
                        code: 422,
                        reason: "Invalid".into(),
                        message: "uid mismatch".into(),
                        causes: vec![Cause {
                            field: "metadata.uid".into(),
                            ..Cause::default()
                        }],
                        ..Refusal::default()
                    }));
                }
                if verb == "apply"
                    && object["kind"] == "Deployment"
                    && object["spec"].get("selector").is_some()
                    && object["spec"]["selector"] != live["spec"]["selector"]
                {
                    return Err(refusal(
                        422,
                        "Invalid",
                        "spec.selector: Invalid value: field is immutable",
                    ));
                }
                let (subresource, force) = match &write.body {
                    WriteBody::ApplyStatus { .. } => ("status", true),
                    WriteBody::Patch { part, .. } => (&**part, false),
                    _ => ("", true),
                };
                Some(apply(
                    &mut state,
                    &live,
                    object,
                    manager,
                    subresource,
                    force,
                )?)
            }
            WriteBody::JsonPatch { patch, manager } => {
                let live = live.ok_or_else(not_found)?;
                let wanted = json_patch(&live, patch)?;
                if wanted["metadata"]["managedFields"] != live["metadata"]["managedFields"] {
                    Some(store(&mut state, Some(&live), wanted))
                } else {
                    Some(update(&mut state, &live, wanted, manager, ""))
                }
            }
            WriteBody::Evict { uid, .. } => {
                let live = live.ok_or_else(not_found)?;
                if live["metadata"]["uid"] != *uid {
                    return Err(refusal(409, "Conflict", "Precondition failed: UID"));
                }
                if state.protected.contains(&target.name) {
                    return Err(WriteError::Refused(Refusal {
                        code: 429,
                        reason: "TooManyRequests".into(),
                        message: "it would violate the budget".into(),
                        causes: vec![Cause {
                            reason: "DisruptionBudget".into(),
                            ..Cause::default()
                        }],
                        ..Refusal::default()
                    }));
                }
                follow = delete(&mut state, &name);
                None
            }
            WriteBody::Scale {
                replicas,
                version,
                manager,
            } => {
                let live = live.ok_or_else(not_found)?;
                if live["metadata"]["resourceVersion"] != **version {
                    return Err(refusal(409, "Conflict", "the object has been modified"));
                }
                let mut wanted = live.clone();
                wanted["spec"]["replicas"] = json!(replicas);
                Some(update(&mut state, &live, wanted, manager, ""))
            }
            WriteBody::Delete { uid, .. } => {
                let live = live.ok_or_else(not_found)?;
                if live["metadata"]["uid"] != *uid {
                    return Err(refusal(409, "Conflict", "Precondition failed: UID"));
                }
                follow = delete(&mut state, &name);
                None
            }
        };
        state.writes.push(format!("{verb} {target}"));
        let mut changes = Vec::new();
        match &written {
            Some(object) if state.objects.contains_key(&name) => changes.push(Change::Upsert {
                table: key(&name.0),
                raw: raw(object),
                origin: Origin::OwnWrite,
            }),
            Some(object) => {
                changes.push(Change::Delete {
                    table: key(&name.0),
                    target: Deleted::Own {
                        namespace: Some(name.1.clone()).filter(|ns| !ns.is_empty()),
                        name: name.2.clone(),
                        uid: object["metadata"]["uid"].as_str().unwrap().into(),
                    },
                });
                follow = collect(&mut state);
            }
            None => {}
        }
        changes.append(&mut follow);
        let lost = state.lose == Some(0);
        state.lose = state.lose.and_then(|n| n.checked_sub(1));
        if lost && state.holding {
            // Nobody but the watch tells of it.
            state.held.extend(changes);
        } else {
            self.commit(changes);
        }
        if lost {
            return Err(WriteError::Lost("connection reset".into()));
        }
        Ok(Written { object: written })
    }

    async fn read(&self, target: &ObjectRef) -> Result<Option<Value>, WriteError> {
        let mut state = self.state.lock();
        let name = stored(&state, target)?;
        state.reads.push(target.to_string());
        if state.unreadable {
            return Err(refusal(403, "Forbidden", &format!("{target} is forbidden")));
        }
        let found = state.objects.get(&name).cloned();
        drop(state);
        if let Some(object) = &found {
            self.commit(vec![Change::Upsert {
                table: key(&name.0),
                raw: raw(object),
                origin: Origin::OwnWrite,
            }]);
        }
        Ok(found)
    }

    async fn read_scale(&self, target: &ObjectRef) -> Result<Option<Value>, WriteError> {
        let found = self.get(&target.gvk.kind, &target.namespace, &target.name);
        Ok(found.map(|object| {
            json!({
                "metadata": object["metadata"],
                "spec": { "replicas": object["spec"]["replicas"] },
            })
        }))
    }

    async fn event(&self, event: EventRequest) {
        self.state.lock().events.push(event);
    }
}
