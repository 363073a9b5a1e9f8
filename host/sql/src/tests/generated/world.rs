//! Objects whose fields are there, missing, null, empty, or of another type.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::tests::fixture::{Cluster, meta};

/// How a column is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Text,
    Int,
    Bool,
}

/// A column as statements name it, and where its value is in an object.
#[derive(Debug)]
pub(super) struct Column {
    pub sql: &'static str,
    pointer: &'static str,
    pub of: Of,
}

/// Values that are generated for a field.
#[derive(Clone, Copy, Debug)]
enum Pool {
    Label,
    Leaf,
    Node,
    Number,
    Flag,
    Owner,
    Containers,
}

#[derive(Debug)]
pub(super) struct Kind {
    pub name: &'static str,
    pub table: &'static str,
    pub columns: &'static [Column],
    fields: &'static [(&'static str, Pool)],
}

const fn column(sql: &'static str, pointer: &'static str, of: Of) -> Column {
    Column { sql, pointer, of }
}

const APP_LABEL: &str = "/metadata/labels/app";
const TIER_LABEL: &str = "/metadata/labels/tier";
const OWNERS: &str = "/metadata/ownerReferences";
const NAMESPACE: Column = column("namespace", "/metadata/namespace", Of::Text);
const NAME: Column = column("name", "/metadata/name", Of::Text);
const UID: Column = column("uid", "/metadata/uid", Of::Text);
const OWNER: Column = column("owner_uid", "/metadata/ownerReferences/0/uid", Of::Text);
const APP: Column = column("labels['app']", APP_LABEL, Of::Text);
const TIER: Column = column("labels.tier", TIER_LABEL, Of::Text);

/// Every kind has an index on uid, name, owner and namespace; `app` and `spec.nodeName` are
/// indexed too, `tier` is not.
pub(super) static KINDS: [Kind; 4] = [
    Kind {
        name: "Pod",
        table: "pods",
        columns: &[
            UID,
            NAME,
            NAMESPACE,
            OWNER,
            APP,
            TIER,
            column("spec.nodeName", "/spec/nodeName", Of::Text),
            column("status.phase", "/status/phase", Of::Text),
            column("spec.priority", "/spec/priority", Of::Text),
        ],
        fields: &[
            (APP_LABEL, Pool::Label),
            (TIER_LABEL, Pool::Label),
            (OWNERS, Pool::Owner),
            ("/spec/nodeName", Pool::Node),
            ("/status/phase", Pool::Leaf),
            ("/spec/priority", Pool::Leaf),
        ],
    },
    Kind {
        name: "Deployment",
        table: "deployments",
        columns: &[
            UID,
            NAME,
            NAMESPACE,
            OWNER,
            APP,
            column("spec.replicas", "/spec/replicas", Of::Int),
            column("status.readyReplicas", "/status/readyReplicas", Of::Int),
            column("spec.paused", "/spec/paused", Of::Bool),
            column(
                "spec.template.spec.containers[0].image",
                "/spec/template/spec/containers/0/image",
                Of::Text,
            ),
        ],
        fields: &[
            (APP_LABEL, Pool::Label),
            (OWNERS, Pool::Owner),
            ("/spec/replicas", Pool::Number),
            ("/status/readyReplicas", Pool::Number),
            ("/spec/paused", Pool::Flag),
            ("/spec/template/spec/containers", Pool::Containers),
        ],
    },
    Kind {
        name: "App",
        table: "apps",
        columns: &[
            UID,
            NAME,
            NAMESPACE,
            TIER,
            column("spec.size", "/spec/size", Of::Text),
            column("spec.user.name", "/spec/user/name", Of::Text),
        ],
        fields: &[
            (TIER_LABEL, Pool::Label),
            ("/spec/size", Pool::Leaf),
            ("/spec/user", Pool::Leaf),
            ("/spec/user/name", Pool::Leaf),
        ],
    },
    Kind {
        name: "Node",
        table: "nodes",
        columns: &[
            UID,
            NAME,
            NAMESPACE,
            APP,
            column("spec.unschedulable", "/spec/unschedulable", Of::Bool),
        ],
        fields: &[
            (APP_LABEL, Pool::Label),
            ("/spec/unschedulable", Pool::Flag),
        ],
    },
];

pub(super) const NAMESPACES: [&str; 3] = ["a", "b", "shop"];
pub(super) const NAMES: [&str; 4] = ["p0", "shop", "n1", "3"];

/// Texts that statements compare with: many are in the tables, some nowhere.
pub(super) const TEXTS: [&str; 16] = [
    "",
    "a",
    "b",
    "shop",
    "blog",
    "it's",
    "n1",
    "n2",
    "3",
    "10",
    "true",
    "p0",
    "Pod-a-p0",
    "Deployment-b-shop",
    "Node--n1",
    "ä_%",
];

/// What is at a field of an object; none where the field is missing.
type Field = Option<Value>;

fn values(pool: Pool) -> Vec<Value> {
    let values = match pool {
        Pool::Label => json!(["", "shop", "blog", "it's", "a"]),
        Pool::Node => json!([null, "", "n1", "n1", "n2", "shop", 3, true, {"a": "n1"}]),
        Pool::Leaf => json!([
            null, "", "a", "b", "shop", "it's", "3", "10", 3, 10, 2.5, true, "true", {"x": 1}, [], "ä_%"
        ]),
        Pool::Number => json!([
            null,
            0,
            1,
            2,
            3,
            -1,
            10,
            "3",
            2.5,
            true,
            {},
            9_223_372_036_854_775_807i64
        ]),
        Pool::Flag => json!([null, true, true, false, false, "true", 1]),
        Pool::Owner => json!([
            [],
            null,
            owner("Deployment-a-shop"),
            owner("Deployment-b-shop"),
            owner("App-a-p0")
        ]),
        Pool::Containers => json!([
            null, [], "none", [{"image": "shop"}], [{"image": ""}], [{"image": null}], [{"image": 3}], [{"name": "x"}],
            [{"image": "shop"}, {"image": "blog"}], [null, {"image": "a"}], ["shop", [{"image": "b"}]]
        ]),
    };
    values.as_array().unwrap().clone()
}

fn field(pool: Pool) -> BoxedStrategy<Field> {
    prop_oneof![1 => Just(None), 3 => select(values(pool)).prop_map(Some)].boxed()
}

fn owner(uid: &str) -> Value {
    json!([{"apiVersion": "v1", "kind": "X", "name": "x", "uid": uid, "controller": true}])
}

/// One object of one kind is created or replaced, or is deleted.
#[derive(Clone, Debug)]
pub(super) struct Edit {
    kind: usize,
    namespace: usize,
    name: usize,
    fields: Vec<Field>,
    deleted: bool,
}

/// An edit of an object of one kind.
pub(super) fn edit(kind: usize) -> impl Strategy<Value = Edit> {
    let fields: Vec<_> = KINDS[kind]
        .fields
        .iter()
        .map(|(_, pool)| field(*pool))
        .collect();
    let names = (0..NAMESPACES.len(), 0..NAMES.len());
    (names, fields, prop::bool::weighted(0.15)).prop_map(
        move |((namespace, name), fields, deleted)| Edit {
            kind,
            namespace,
            name,
            fields,
            deleted,
        },
    )
}

/// One field of one object, whichever is there, gets another value or none.
#[derive(Clone, Debug)]
pub(super) struct Touch {
    object: usize,
    field: usize,
    value: usize,
}

pub(super) fn touch() -> impl Strategy<Value = Touch> {
    (0..64usize, 0..8usize, 0..16usize).prop_map(|(object, field, value)| Touch {
        object,
        field,
        value,
    })
}

impl Edit {
    fn object(&self) -> Value {
        let kind = &KINDS[self.kind];
        let namespace = if kind.name == "Node" {
            ""
        } else {
            NAMESPACES[self.namespace]
        };
        let mut object = meta(kind.name, namespace, NAMES[self.name], json!({}), None);
        for ((pointer, _), value) in kind.fields.iter().zip(&self.fields) {
            if let Some(value) = value {
                set(&mut object, pointer, value.clone());
            }
        }
        object
    }
}

/// Sets what is at the pointer; where a parent is no object, nothing.
fn set(object: &mut Value, pointer: &str, value: Value) {
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    let mut at = object;
    for key in parent.split('/').skip(1) {
        let Some(map) = at.as_object_mut() else {
            return;
        };
        at = map.entry(key).or_insert_with(|| json!({}));
    }
    if let Some(map) = at.as_object_mut() {
        map.insert(last.to_owned(), value);
    }
}

/// A value of a column.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cell {
    Null,
    Text(String),
    Int(i64),
    Bool(bool),
}

impl Column {
    /// What statements see of an object, by the rules of docs/sql.md.
    pub(super) fn of(&self, object: &Value) -> Cell {
        let value = object.pointer(self.pointer).unwrap_or(&Value::Null);
        match (self.of, value) {
            (_, Value::Null) => Cell::Null,
            (Of::Text, Value::String(text)) => Cell::Text(text.clone()),
            (Of::Text, other) => Cell::Text(other.to_string()),
            (Of::Int, value) => value.as_i64().map_or(Cell::Null, Cell::Int),
            (Of::Bool, value) => value.as_bool().map_or(Cell::Null, Cell::Bool),
        }
    }
}

/// A store and what is in it, by uid.
pub(super) struct World {
    pub cluster: Cluster,
    pub objects: BTreeMap<String, Value>,
}

impl World {
    pub(super) fn of(edits: &[Edit]) -> Self {
        let mut world = Self {
            cluster: Cluster::empty(),
            objects: BTreeMap::new(),
        };
        edits.iter().for_each(|edit| world.make(edit));
        world
    }

    pub(super) fn make(&mut self, edit: &Edit) {
        let object = edit.object();
        let uid = object["metadata"]["uid"].as_str().unwrap().to_owned();
        if edit.deleted {
            self.cluster.delete(object);
            self.objects.remove(&uid);
        } else {
            self.cluster.put(object.clone());
            self.objects.insert(uid, object);
        }
    }

    /// Changes one field; nothing where there is no object.
    pub(super) fn touch(&mut self, touch: &Touch) {
        let count = self.objects.len().max(1);
        let Some(object) = self.objects.values().nth(touch.object % count) else {
            return;
        };
        let mut object = object.clone();
        let kind = KINDS
            .iter()
            .find(|kind| object["kind"] == kind.name)
            .unwrap();
        let (pointer, pool) = kind.fields[touch.field % kind.fields.len()];
        let mut values = values(pool);
        values.push(Value::Null);
        set(
            &mut object,
            pointer,
            values[touch.value % values.len()].clone(),
        );
        let uid = object["metadata"]["uid"].as_str().unwrap().to_owned();
        self.cluster.put(object.clone());
        self.objects.insert(uid, object);
    }
}
