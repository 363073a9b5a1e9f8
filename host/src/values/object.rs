//! One object: which it is, and what is known of it.

use super::Hidden;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kybern_kube::{Cluster, RequestError, Resource, Target};
use kybern_table::{Change, KindKey, TableDef};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Which kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Anybody may read it.
    ConfigMap,
    /// Few may.
    Secret,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }

    /// The plural.
    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmaps",
            Self::Secret => "secrets",
        }
    }

    /// As a watch needs it; there is no such table.
    pub(super) fn def(self) -> TableDef {
        TableDef {
            key: KindKey::new("", "v1", self.name()),
            schema: "core".to_owned(),
            plural: self.plural().to_owned(),
            namespaced: true,
            label_keys: Vec::new(),
            path_indexes: Vec::new(),
        }
    }
}

/// One object by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectAt {
    /// Its kind.
    pub(crate) kind: Kind,
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
}

impl fmt::Display for ObjectAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.name(), self.namespace, self.name)
    }
}

/// What is under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Got {
    /// This.
    Value(Hidden),
    /// More bytes than are taken.
    TooLarge(usize),
}

/// What is known of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nothing yet.
    #[default]
    Pending,
    /// There is none.
    Absent,
    /// It cannot be read; why.
    Failed(String),
    /// It is there, with those of the wanted keys that it has.
    There(BTreeMap<String, Got>),
}

/// What a watch makes of an object.
#[derive(Debug, Default)]
pub(super) struct Track {
    pub(super) seen: Seen,
    /// While it is listed: whether the list had it.
    listing: Option<bool>,
}

impl Track {
    /// One change, in the order of the watch.
    pub(super) fn step(&mut self, change: Change, at: &ObjectAt, keys: &Keys, most: usize) {
        match change {
            Change::ListBegin { .. } => self.listing = Some(false),
            Change::Upsert { raw, .. } => {
                let Some(values) = read(&raw, at, keys, most) else {
                    return;
                };
                self.listing = self.listing.map(|_| true);
                self.seen = Seen::There(values);
            }
            Change::ListEnd { .. } => {
                if self.listing.take() == Some(false) {
                    self.seen = Seen::Absent;
                }
            }
            Change::Delete { .. } => self.seen = Seen::Absent,
            Change::Fail { reason, .. } => self.seen = Seen::Failed(reason),
            Change::Define(_) | Change::Drop(_) | Change::NewEpoch { .. } => {}
        }
    }
}

/// Keys that somebody wants.
pub(super) type Keys = BTreeSet<String>;

/// The wanted keys of an object; none if it is another one.
fn read(raw: &[u8], at: &ObjectAt, keys: &Keys, most: usize) -> Option<BTreeMap<String, Got>> {
    // What serde would say of it could hold a part of it.
    let object: Value = serde_json::from_slice(raw).ok()?;
    let is = object.pointer("/metadata/name").and_then(Value::as_str) == Some(&at.name);
    is.then(|| keys_of(&object, at, keys, most))
}

fn keys_of(object: &Value, at: &ObjectAt, keys: &Keys, most: usize) -> BTreeMap<String, Got> {
    let found = keys.iter().filter_map(|key| {
        let bytes = value(object, at.kind, key)?;
        let got = match bytes.len() > most {
            true => Got::TooLarge(bytes.len()),
            false => Got::Value(Hidden::new(&bytes)),
        };
        Some((key.clone(), got))
    });
    found.collect()
}

/// The bytes under a key; none if there are none.
fn value(object: &Value, kind: Kind, key: &str) -> Option<Vec<u8>> {
    let text = |field: &str| object.get(field)?.get(key)?.as_str();
    match kind {
        // An API server never answers with stringData; a manifest file may have it.
        Kind::Secret => match text("stringData") {
            Some(plain) => Some(plain.as_bytes().to_vec()),
            None => STANDARD.decode(text("data")?).ok(),
        },
        Kind::ConfigMap => Some(text("data")?.as_bytes().to_vec()),
    }
}

/// Looks for some keys of an object among others.
pub(crate) fn among<'a>(
    objects: impl IntoIterator<Item = &'a Value>,
    at: &ObjectAt,
    keys: &BTreeSet<String>,
    most: usize,
) -> Seen {
    let is = |object: &&Value| {
        let text = |path: &str| object.pointer(path).and_then(Value::as_str);
        text("/apiVersion") == Some("v1")
            && text("/kind") == Some(at.kind.name())
            && text("/metadata/namespace") == Some(&at.namespace)
            && text("/metadata/name") == Some(&at.name)
    };
    let found = objects.into_iter().find(is);
    found.map_or(Seen::Absent, |object| {
        Seen::There(keys_of(object, at, keys, most))
    })
}

/// Reads one key of an object now.
pub(crate) async fn once(cluster: &Cluster, at: &ObjectAt, key: &str, most: usize) -> Seen {
    let resource = Resource::new("", "v1", at.kind.name(), at.kind.plural(), true);
    let target = Target::new(&resource, Some(&at.namespace), &at.name);
    let keys = Keys::from([key.to_owned()]);
    match cluster.get(&target).await {
        Ok(raw) => match read(&raw, at, &keys, most) {
            Some(values) => Seen::There(values),
            None => Seen::Failed("the answer is no such object".to_owned()),
        },
        Err(RequestError::Api(refused)) if refused.is_not_found() => Seen::Absent,
        Err(RequestError::Api(refused)) => Seen::Failed(refused.message),
        Err(other) => Seen::Failed(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use kybern_table::{Deleted, Origin};
    use serde_json::json;

    fn at() -> ObjectAt {
        ObjectAt {
            kind: Kind::Secret,
            namespace: "n".into(),
            name: "a".into(),
        }
    }

    fn upsert(name: &str, value: &str) -> Change {
        let data = json!({ "k": STANDARD.encode(value), "other": STANDARD.encode("x") });
        let object = json!({ "metadata": { "name": name }, "data": data });
        Change::Upsert {
            table: Kind::Secret.def().key,
            raw: Bytes::from(object.to_string()),
            origin: Origin::Watch,
        }
    }

    fn steps(track: &mut Track, changes: impl IntoIterator<Item = Change>) -> Seen {
        let keys = Keys::from(["k".to_owned(), "absent".to_owned()]);
        for change in changes {
            track.step(change, &at(), &keys, 8);
        }
        track.seen.clone()
    }

    fn there(value: &str) -> Seen {
        let got = Got::Value(Hidden::new(value.as_bytes()));
        Seen::There(BTreeMap::from([("k".to_owned(), got)]))
    }

    #[test]
    fn a_watch_is_followed_and_only_wanted_keys_are_kept() {
        let table = Kind::Secret.def().key;
        let begin = || Change::ListBegin {
            table: table.clone(),
        };
        let end = || Change::ListEnd {
            table: table.clone(),
            resource_version: 1,
        };
        let gone = || Change::Delete {
            table: table.clone(),
            target: Deleted::Raw(Bytes::new()),
        };
        let fail = Change::Fail {
            table: table.clone(),
            reason: "forbidden".into(),
        };
        let mut track = Track::default();
        let one = &mut track;
        assert_eq!(steps(one, [begin()]), Seen::Pending);
        assert_eq!(steps(one, [end()]), Seen::Absent);
        assert_eq!(steps(one, [upsert("a", "one")]), there("one"));
        assert_eq!(
            steps(one, [upsert("b", "two")]),
            there("one"),
            "another object"
        );
        assert_eq!(
            steps(one, [begin(), upsert("a", "two"), end()]),
            there("two")
        );
        assert_eq!(steps(one, [fail]), Seen::Failed("forbidden".into()));
        assert_eq!(
            steps(one, [begin(), upsert("a", "two"), end()]),
            there("two")
        );
        assert_eq!(steps(one, [gone()]), Seen::Absent);
        let large = BTreeMap::from([("k".to_owned(), Got::TooLarge(9))]);
        assert_eq!(steps(one, [upsert("a", "123456789")]), Seen::There(large));
    }

    #[test]
    fn nothing_prints_a_value() {
        assert!(!format!("{:?}", there("hunter2")).contains("hunter2"));
    }
}
