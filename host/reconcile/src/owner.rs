//! Whose an object is: the CR as an owner, and what that makes of a live object.

use crate::active::{Active, Primary, table_of};
use crate::key::CrKey;
use crate::traits::ObjectRef;
use kybern_interface::{Gvk, names};
use kybern_table::{Index, KindKey, Row, Snapshot, SnapshotTooOld};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// A CR as the owner of its children.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) gvk: Gvk,
    pub(crate) plural: String,
    /// Empty for a cluster-scoped CR.
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    /// Value of the inventory label on the children.
    pub(crate) part_of: String,
}

impl Owner {
    pub(crate) fn of(active: &Active, primary: &Primary, key: &CrKey, row: &Row) -> Self {
        Self {
            gvk: primary.gvk.clone(),
            plural: primary.facts.plural.clone(),
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
            uid: row.uid().into_owned(),
            part_of: part_of(active.name(), &row.uid()),
        }
    }

    pub(crate) fn object(&self) -> ObjectRef {
        ObjectRef {
            gvk: self.gvk.clone(),
            plural: self.plural.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }

    /// Whether an ownerReference from such a child to this CR is legal, so that the garbage
    /// collector takes the child when the CR goes.
    pub(crate) fn reaches(&self, child_namespace: &str) -> bool {
        self.namespace.is_empty() || self.namespace == child_namespace
    }

    /// The ownerReference.
    pub(crate) fn reference(&self) -> Value {
        json!({
            "apiVersion": self.gvk.api_version(),
            "kind": self.gvk.kind,
            "name": self.name,
            "uid": self.uid,
            "controller": true,
            "blockOwnerDeletion": true,
        })
    }
}

/// The value of the inventory label: one for each registration and CR, never the same for a later
/// CR of the same name.
pub(crate) fn part_of(registration: &str, uid: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(registration.as_bytes());
    hash.update([0]);
    hash.update(uid.as_bytes());
    format!("applyset-{}-v1", hex(&hash.finalize(), 20))
}

/// The first `bytes` bytes as hex digits.
pub(crate) fn hex(digest: &[u8], bytes: usize) -> String {
    let nibble = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or_default();
    digest
        .iter()
        .take(bytes)
        .flat_map(|byte| [nibble(byte >> 4), nibble(byte & 15)])
        .collect()
}

/// Whose a live object is, as one CR sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// This CR controls it, or its inventory names it and nobody controls it.
    Ours,
    /// Nobody controls it.
    Unowned {
        /// Its field managers, for people.
        managers: Vec<String>,
    },
    /// It is controlled by a CR of the same kind and name that does not exist any more.
    Predecessor,
    /// Somebody else's.
    Foreign {
        /// For people.
        whose: String,
    },
}

/// Whose the object is.
pub(crate) fn ownership(object: &Value, owner: &Owner) -> Ownership {
    let controller = object
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array)
        .and_then(|list| {
            list.iter()
                .find(|reference| reference.get("controller") == Some(&Value::Bool(true)))
        });
    let text = |value: &Value, key: &str| {
        value
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    if let Some(controller) = controller {
        if text(controller, "uid") == owner.uid {
            return Ownership::Ours;
        }
        let kind = text(controller, "kind");
        let name = text(controller, "name");
        let group = Gvk::from_api_version(&text(controller, "apiVersion"), &kind).group;
        let namespace = object
            .pointer("/metadata/namespace")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let named = kind == owner.gvk.kind && name == owner.name && group == owner.gvk.group;
        // The reference is to a CR where the object is: elsewhere the name is another CR's.
        if named && owner.reaches(namespace) {
            return Ownership::Predecessor;
        }
        let place = if named { namespace } else { "" };
        let name = crate::key::name_key(place, &name);
        return Ownership::Foreign {
            whose: format!("it is controlled by {kind} {name}"),
        };
    }
    match object
        .pointer("/metadata/labels")
        .and_then(|labels| labels.get(names::PART_OF))
        .and_then(Value::as_str)
    {
        Some(label) if label == owner.part_of => Ownership::Ours,
        Some(label) => Ownership::Foreign {
            whose: format!("it belongs to the apply set {label}"),
        },
        None => Ownership::Unowned {
            managers: managers(object),
        },
    }
}

fn managers(object: &Value) -> Vec<String> {
    let mut names: Vec<String> = object
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.get("manager").and_then(Value::as_str))
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    names
}

/// A live object that belongs to a CR.
#[derive(Debug, Clone)]
pub(crate) struct Child {
    pub(crate) table: KindKey,
    pub(crate) row: Row,
}

/// The tables whose objects a registration may create, as far as they are watched.
pub(crate) fn child_tables(snapshot: &Snapshot, active: &Active) -> Vec<KindKey> {
    let grants = &active.registration.spec.grants.write;
    let may = |key: &KindKey| {
        grants.iter().any(|grant| {
            *grant.group == *key.group && grant.kinds.iter().any(|kind| **kind == *key.kind)
        })
    };
    let mut tables: Vec<KindKey> = snapshot
        .tables()
        .filter(|view| may(&view.def().key))
        .map(|view| view.def().key.clone())
        .collect();
    tables.sort();
    tables
}

/// Everything that belongs to the CR: what it controls, and what its inventory label is on. One
/// object that is watched in two versions counts once.
pub(crate) fn inventory(
    snapshot: &Snapshot,
    active: &Active,
    owner: &Owner,
) -> Result<Vec<Child>, SnapshotTooOld> {
    let mut children: BTreeMap<String, Child> = BTreeMap::new();
    let label = Index::Label(names::PART_OF.to_owned());
    for table in child_tables(snapshot, active) {
        let Some(view) = snapshot.table(&table) else {
            continue;
        };
        let controlled = view.lookup(&Index::Owner, &owner.uid)?;
        let labelled = view.lookup(&label, &owner.part_of)?;
        for row in controlled.into_iter().chain(labelled) {
            let foreign = row
                .owner_uid()
                .is_some_and(|controller| controller != owner.uid);
            if !foreign {
                children
                    .entry(row.uid().into_owned())
                    .or_insert_with(|| Child {
                        table: table.clone(),
                        row,
                    });
            }
        }
    }
    Ok(children.into_values().collect())
}

/// Whether this host made the object a child of this CR: the label and the hash are on it, and it
/// is controlled by the CR or by nobody because no reference was legal.
pub(crate) fn provably_ours(row: &Row, owner: &Owner) -> bool {
    let labelled = row.label(names::PART_OF).as_deref() == Some(owner.part_of.as_str());
    let marked = row.annotation(names::INTENT).is_some();
    let controlled = match row.owner_uid() {
        Some(uid) => uid == owner.uid,
        None => !owner.reaches(row.namespace().unwrap_or_default()),
    };
    labelled && marked && controlled
}

/// The reference to a child.
pub(crate) fn child_ref(snapshot: &Snapshot, child: &Child) -> ObjectRef {
    ObjectRef {
        gvk: crate::active::kind_of(&child.table),
        plural: snapshot
            .table(&child.table)
            .map(|view| view.def().plural.clone())
            .unwrap_or_default(),
        namespace: child.row.namespace().unwrap_or_default().to_owned(),
        name: child.row.name().to_owned(),
    }
}

/// The row of an object, if its table is there and it exists.
pub(crate) fn find(snapshot: &Snapshot, target: &ObjectRef) -> Result<Option<Row>, SnapshotTooOld> {
    let Some(view) = snapshot.table(&table_of(&target.gvk)) else {
        return Ok(None);
    };
    let name = crate::key::name_key(&target.namespace, &target.name);
    let found = view.lookup(&Index::Name, &name)?;
    Ok(found.into_iter().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner {
            gvk: Gvk::new("app.example.com", "v1", "App"),
            plural: "apps".into(),
            namespace: "ns".into(),
            name: "a".into(),
            uid: "u1".into(),
            part_of: part_of("reg", "u1"),
        }
    }

    fn owned(api: &str, kind: &str, name: &str, uid: &str) -> Value {
        json!({ "metadata": { "namespace": "ns", "ownerReferences": [
            { "apiVersion": "v1", "kind": "Other", "name": "o", "uid": "u0" },
            { "apiVersion": api, "kind": kind, "name": name, "uid": uid, "controller": true },
        ] } })
    }

    #[test]
    fn the_controller_decides_whose_it_is() {
        let is = |value: &Value| ownership(value, &owner());
        assert_eq!(
            is(&owned("app.example.com/v1", "App", "a", "u1")),
            Ownership::Ours
        );
        assert_eq!(
            is(&owned("app.example.com/v1beta1", "App", "a", "u0")),
            Ownership::Predecessor
        );
        assert!(matches!(
            is(&owned("app.example.com/v1", "App", "b", "u0")),
            Ownership::Foreign { .. }
        ));
        assert!(matches!(
            is(&owned("other.example.com/v1", "App", "a", "u0")),
            Ownership::Foreign { .. }
        ));
    }

    #[test]
    fn a_cr_of_the_same_name_in_another_namespace_is_somebody_else() {
        let far = |namespace: &str| {
            let mut value = owned("app.example.com/v1", "App", "a", "u0");
            value["metadata"]["namespace"] = json!(namespace);
            value
        };
        let foreign = |value: &Value, owner: &Owner| {
            matches!(ownership(value, owner), Ownership::Foreign { .. })
        };
        // An ownerReference never leaves its namespace.
        assert!(!foreign(&far("ns"), &owner()));
        assert!(foreign(&far("else"), &owner()));
        let cluster = Owner {
            namespace: String::new(),
            ..owner()
        };
        assert!(!foreign(&far("else"), &cluster));
    }

    #[test]
    fn without_a_controller_the_inventory_label_decides() {
        let labelled =
            |value: &str| json!({ "metadata": { "labels": { (names::PART_OF): value } } });
        assert_eq!(
            ownership(&labelled(&owner().part_of), &owner()),
            Ownership::Ours
        );
        assert!(matches!(
            ownership(&labelled(&part_of("reg", "u2")), &owner()),
            Ownership::Foreign { .. }
        ));
        assert!(matches!(
            ownership(&labelled(&part_of("other", "u1")), &owner()),
            Ownership::Foreign { .. }
        ));
        assert!(matches!(
            ownership(&json!({ "metadata": {} }), &owner()),
            Ownership::Unowned { .. }
        ));
    }

    #[test]
    fn the_inventory_label_is_a_legal_label_value() {
        let value = part_of("a-very-long-registration-name", "0b9c");
        assert!(value.len() <= 63);
        assert!(value.starts_with("applyset-") && value.ends_with("-v1"));
    }
}
