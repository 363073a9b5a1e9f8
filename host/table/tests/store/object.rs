//! Objects and changes that the tests speak of.

use bytes::Bytes;
use kybern_table::{
    Applied, Batch, Change, Deleted, KindKey, Origin, Row, StoreConfig, TableDef, TableView,
};
use serde_json::{Value, json};

/// A store so small that everything it does with chunks happens all the time.
pub(crate) fn small() -> StoreConfig {
    StoreConfig {
        chunk_rows: 6,
        chunk_bytes: 2_000,
        dictionary_after: 3_000,
        cache_bytes: 200_000,
        ..StoreConfig::default()
    }
}

pub(crate) fn key() -> KindKey {
    KindKey::new("shop.example", "v1", "Basket")
}

pub(crate) fn def() -> TableDef {
    TableDef {
        key: key(),
        schema: "shop_example".to_owned(),
        plural: "baskets".to_owned(),
        namespaced: true,
        label_keys: vec!["app".to_owned()],
        path_indexes: vec!["spec.image".parse().unwrap()],
    }
}

/// One state of one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Object {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) resource_version: u64,
    pub(crate) app: String,
    pub(crate) owner: String,
    pub(crate) image: String,
}

impl Object {
    pub(crate) fn new(name: &str, uid: &str, resource_version: u64) -> Object {
        Object {
            namespace: "shop".to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            resource_version,
            app: "web".to_owned(),
            owner: String::new(),
            image: "nginx".to_owned(),
        }
    }

    pub(crate) fn key(&self) -> String {
        if self.namespace.is_empty() {
            self.name.clone()
        } else {
            format!("{}/{}", self.namespace, self.name)
        }
    }

    pub(crate) fn value(&self) -> Value {
        let mut metadata = json!({"name": self.name, "creationTimestamp": "2026-11-22T00:00:00Z"});
        let optional = [("namespace", &self.namespace), ("uid", &self.uid)];
        for (field, value) in optional {
            if !value.is_empty() {
                metadata[field] = json!(value);
            }
        }
        if self.resource_version > 0 {
            metadata["resourceVersion"] = json!(self.resource_version.to_string());
        }
        if !self.app.is_empty() {
            metadata["labels"] = json!({"app": self.app, "other": "x"});
        }
        if !self.owner.is_empty() {
            metadata["ownerReferences"] = json!([{"uid": self.owner, "controller": true}]);
        }
        json!({
            "apiVersion": "shop.example/v1",
            "kind": "Basket",
            "metadata": metadata,
            "spec": {"image": self.image, "note": "a note that is the same everywhere ".repeat(3)},
        })
    }

    pub(crate) fn raw(&self) -> Bytes {
        self.value().to_string().into()
    }

    pub(crate) fn upsert(&self, origin: Origin) -> Change {
        Change::Upsert {
            table: key(),
            raw: self.raw(),
            origin,
        }
    }

    pub(crate) fn gone(&self) -> Change {
        Change::Delete {
            table: key(),
            target: Deleted::Raw(self.raw()),
        }
    }

    pub(crate) fn deleted(&self) -> Change {
        Change::Delete {
            table: key(),
            target: Deleted::Own {
                namespace: Some(self.namespace.clone()).filter(|namespace| !namespace.is_empty()),
                name: self.name.clone(),
                uid: self.uid.clone(),
            },
        }
    }

    /// The object that a row shows, with everything that the row says checked
    /// against the body.
    pub(crate) fn of(row: &Row) -> Object {
        let value = row.value();
        let text = |pointer: &str| {
            let found = value.pointer(pointer).and_then(Value::as_str);
            found.unwrap_or_default().to_owned()
        };
        let object = Object {
            namespace: text("/metadata/namespace"),
            name: text("/metadata/name"),
            uid: text("/metadata/uid"),
            resource_version: text("/metadata/resourceVersion").parse().unwrap_or(0),
            app: text("/metadata/labels/app"),
            owner: text("/metadata/ownerReferences/0/uid"),
            image: text("/spec/image"),
        };
        assert_eq!(object.value(), value);
        assert_eq!(row.namespace().unwrap_or_default(), object.namespace);
        assert_eq!(row.name(), object.name);
        assert_eq!(row.uid(), object.uid);
        assert_eq!(row.resource_version(), object.resource_version);
        assert_eq!(row.label("app").unwrap_or_default(), object.app);
        assert_eq!(row.owner_uid().unwrap_or_default(), object.owner);
        object
    }
}

pub(crate) fn list_begin() -> Change {
    Change::ListBegin { table: key() }
}

pub(crate) fn list_end(resource_version: u64) -> Change {
    Change::ListEnd {
        table: key(),
        resource_version,
    }
}

pub(crate) fn apply(writer: &mut kybern_table::Writer, changes: Vec<Change>) -> Applied {
    writer.apply(Batch { changes })
}

/// All objects of a table by scan, sorted.
pub(crate) fn scan(view: &TableView) -> Vec<Object> {
    let mut objects = Vec::new();
    for chunk in view.scan().unwrap() {
        let live = chunk.live().unwrap();
        assert_eq!(live.len(), chunk.len());
        for row in 0..chunk.len() {
            match chunk.row(row).unwrap() {
                Some(row) => objects.push(Object::of(&row)),
                None => assert!(!live.value(row)),
            }
        }
        assert_eq!(live.true_count(), chunk.live_rows());
        assert!(chunk.row(chunk.len()).unwrap().is_none());
    }
    assert_eq!(objects.len(), view.count());
    objects.sort();
    objects
}
