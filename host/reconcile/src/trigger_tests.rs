//! Which CRs a change concerns.

use super::*;
use bytes::Bytes;
use kybern_table::{Batch, Change, Deleted, Origin, Reader, StoreConfig, TableDef, Writer, store};
use kybern_table::{Columns, Index, Keys, KindKey};
use serde_json::Value;
use serde_json::json;

struct Table {
    writer: Writer,
    reader: Reader,
    version: u64,
}

fn map() -> KindKey {
    KindKey::new("", "v1", "ConfigMap")
}

impl Table {
    fn new() -> Self {
        let (writer, reader) = store(StoreConfig::default());
        let mut table = Self {
            writer,
            reader,
            version: 0,
        };
        table.commit(Change::Define(TableDef {
            key: map(),
            schema: "core".into(),
            plural: "configmaps".into(),
            namespaced: true,
            label_keys: vec![],
            path_indexes: vec![],
        }));
        table
    }

    fn commit(&mut self, change: Change) -> Vec<RowChange> {
        let before = self.reader.snapshot().sequence();
        let applied = self.writer.apply(Batch {
            changes: vec![change],
        });
        assert_eq!(applied.errors, &[]);
        self.reader.snapshot().changes_since(before).unwrap()
    }

    fn raw(&mut self, name: &str, mut object: Value) -> Bytes {
        self.version += 1;
        object["apiVersion"] = json!("v1");
        object["kind"] = json!("ConfigMap");
        for (key, value) in [
            ("name", json!(name)),
            ("namespace", json!("ns")),
            ("uid", json!(format!("uid-{name}"))),
            ("resourceVersion", json!(self.version.to_string())),
        ] {
            object["metadata"][key] = value;
        }
        Bytes::from(object.to_string())
    }

    fn put(&mut self, name: &str, object: Value) -> RowChange {
        let raw = self.raw(name, object);
        let mut changes = self.commit(Change::Upsert {
            table: map(),
            raw,
            origin: Origin::Watch,
        });
        assert_eq!(changes.len(), 1);
        changes.remove(0)
    }

    fn delete(&mut self, name: &str) -> RowChange {
        let raw = self.raw(name, json!({}));
        let target = Deleted::Raw(raw);
        self.commit(Change::Delete {
            table: map(),
            target,
        })
        .remove(0)
    }
}

fn cr(name: &str) -> CrKey {
    CrKey {
        plugin: "reg".into(),
        table: KindKey::new("app.example.com", "v1", "App"),
        namespace: "ns".into(),
        name: name.into(),
    }
}

fn read(columns: &[&str], keys: Keys) -> Vec<ScanRead> {
    vec![ScanRead {
        table: map(),
        columns: Columns::Named(columns.iter().map(|c| (*c).to_owned()).collect()),
        keys,
    }]
}

fn of(index: Index, value: &str) -> Keys {
    Keys::Of {
        index,
        values: vec![value.to_owned()],
    }
}

/// Names of the CRs that a change concerns; both ways to ask agree for `answers`.
fn concerned(triggers: &Triggers, change: &RowChange) -> Vec<String> {
    let mut out = Concerned::new();
    triggers.concerned(&Delta::of(change), &mut out);
    out.into_keys().map(|key| key.name.to_string()).collect()
}

#[test]
fn a_child_concerns_its_owner_before_and_after_the_change() {
    let mut table = Table::new();
    let mut triggers = Triggers::default();
    triggers.know(&cr("a"), "ua", || "set-a".into());
    triggers.know(&cr("b"), "ub", || "set-b".into());
    let owned = |uid: &str| json!({ "metadata": { "ownerReferences": [{ "apiVersion": "v1", "kind": "App", "name": "x", "uid": uid, "controller": true }] } });
    assert_eq!(concerned(&triggers, &table.put("m", owned("ua"))), ["a"]);
    assert_eq!(
        concerned(&triggers, &table.put("m", owned("ub"))),
        ["a", "b"]
    );
    assert_eq!(concerned(&triggers, &table.delete("m")), ["b"]);
    let labelled = json!({ "metadata": { "labels": { (names::PART_OF): "set-a" } } });
    assert_eq!(concerned(&triggers, &table.put("n", labelled)), ["a"]);
    assert_eq!(concerned(&triggers, &table.put("n", json!({}))), ["a"]);
    assert!(concerned(&triggers, &table.put("n", json!({ "data": {} }))).is_empty());
    // Another uid under the name is another CR.
    triggers.know(&cr("a"), "ua2", || "set-a2".into());
    assert!(concerned(&triggers, &table.put("o", owned("ua"))).is_empty());
    triggers.forget(&cr("a"));
    triggers.forget(&cr("b"));
    assert!(concerned(&triggers, &table.put("p", owned("ua2"))).is_empty());
    assert_eq!(triggers.len(), 0);
    assert!(triggers.by_uid.is_empty() && triggers.by_part_of.is_empty());
}

#[test]
fn the_label_of_a_cr_that_is_known_is_not_made_again() {
    let mut triggers = Triggers::default();
    let mut made = 0;
    for uid in ["u1", "u1", "u1", "u2", "u2"] {
        triggers.know(&cr("a"), uid, || {
            made += 1;
            format!("set-{uid}")
        });
    }
    assert_eq!(made, 2);
}

#[test]
fn a_look_up_is_concerned_by_its_key_and_columns_only() {
    let mut table = Table::new();
    let mut triggers = Triggers::default();
    let label = || Index::Label("app".into());
    assert!(triggers.install(&cr("a"), Slot::Answers, &read(&["data"], of(label(), "x"))));
    assert!(!triggers.install(&cr("a"), Slot::Answers, &read(&["data"], of(label(), "x"))));
    triggers.install(&cr("b"), Slot::Answers, &read(&["data"], of(label(), "y")));
    let object = |app: &str, data: &str, other: &str| json!({ "metadata": { "labels": { "app": app, "other": other } }, "data": { "k": data } });
    assert_eq!(
        concerned(&triggers, &table.put("m", object("x", "1", "1"))),
        ["a"]
    );
    assert!(concerned(&triggers, &table.put("m", object("x", "1", "2"))).is_empty());
    let change = table.put("m", object("x", "2", "2"));
    assert_eq!(concerned(&triggers, &change), ["a"]);
    let reads = |value: &str| read(&["data"], of(label(), value));
    let found = missed(&reads("x"), Slot::Answers, &change).unwrap();
    assert_eq!(
        found.by.to_string(),
        "ConfigMap ns/m changed, which a query reads by metadata.labels.app = x, in data"
    );
    assert_eq!(missed(&reads("y"), Slot::Answers, &change), None);
    // It moves from one key to the other without any column that is read changing.
    assert_eq!(
        concerned(&triggers, &table.put("m", object("y", "2", "2"))),
        ["a", "b"]
    );
    assert_eq!(concerned(&triggers, &table.delete("m")), ["b"]);
    triggers.install(&cr("a"), Slot::Answers, &[]);
    triggers.install(&cr("b"), Slot::Answers, &[]);
    assert!(triggers.answers.is_empty() && triggers.names.is_empty());
}

#[test]
fn a_scan_is_concerned_by_every_row_but_not_by_other_columns() {
    let mut table = Table::new();
    let mut triggers = Triggers::default();
    triggers.install(&cr("a"), Slot::Answers, &read(&["data.k"], Keys::All));
    triggers.install(&cr("b"), Slot::Answers, &read(&["labels"], Keys::All));
    triggers.install(
        &cr("c"),
        Slot::Answers,
        &[ScanRead {
            table: map(),
            columns: Columns::All,
            keys: Keys::All,
        }],
    );
    table.put("m", json!({ "data": { "k": "1" } }));
    let change = table.put("m", json!({ "data": { "k": "1", "l": "2" } }));
    assert_eq!(concerned(&triggers, &change), ["c"]);
    assert_eq!(
        concerned(&triggers, &table.put("m", json!({ "data": { "k": "2" } }))),
        ["a", "c"]
    );
    let labelled = json!({ "data": { "k": "2" }, "metadata": { "labels": { "a": "b" } } });
    assert_eq!(concerned(&triggers, &table.put("m", labelled)), ["b", "c"]);
    assert_eq!(concerned(&triggers, &table.delete("m")), ["a", "b", "c"]);
}

#[test]
fn the_two_read_sets_of_a_cr_do_not_take_from_each_other() {
    let mut table = Table::new();
    let mut triggers = Triggers::default();
    let reads = || read(&["data"], of(Index::Name, "ns/m"));
    triggers.install(&cr("a"), Slot::Answers, &reads());
    triggers.install(&cr("a"), Slot::Names, &reads());
    triggers.install(&cr("a"), Slot::Names, &[]);
    assert_eq!(concerned(&triggers, &table.put("m", json!({}))), ["a"]);
    triggers.install(&cr("a"), Slot::Answers, &[]);
    assert!(concerned(&triggers, &table.put("m", json!({ "data": { "k": "v" } }))).is_empty());
}

fn own(change: &RowChange) -> Option<OnHold> {
    own_change(&Delta::of(change))
}

#[test]
fn a_change_of_status_alone_is_not_the_crs_own() {
    let mut table = Table::new();
    let object = |generation: u64, annotation: &str, status: &str| json!({ "metadata": { "generation": generation, "annotations": { "a": annotation } }, "status": { "s": status } });
    assert!(own(&table.put("m", object(1, "x", "1"))).is_some());
    assert_eq!(own(&table.put("m", object(1, "x", "2"))), None);
    assert!(own(&table.put("m", object(2, "x", "2"))).is_some());
    assert!(own(&table.put("m", object(2, "y", "2"))).is_some());
    let mut held = object(2, "y", "2");
    held["metadata"]["finalizers"] = json!(["a/b"]);
    assert!(own(&table.put("m", held)).is_some());
    assert!(own(&table.delete("m")).is_some());
    // A kind without generations: anything may matter.
    table.put("n", json!({ "data": { "k": "1" } }));
    assert!(own(&table.put("n", json!({ "data": { "k": "2" } }))).is_some());
}

#[test]
fn what_people_change_ends_a_hold_and_what_programs_note_waits() {
    let mut table = Table::new();
    let mut put = |metadata: Value, status: &str| {
        own(&table.put(
            "m",
            json!({ "metadata": metadata, "status": { "s": status } }),
        ))
    };
    let forgets = Some(OnHold::Forgets);
    let waits = Some(OnHold::Waits);
    assert_eq!(put(json!({ "generation": 1 }), "1"), forgets);
    assert_eq!(put(json!({ "generation": 2 }), "1"), forgets);
    let labels = json!({ "l": "1" });
    assert_eq!(
        put(json!({ "generation": 2, "labels": labels }), "1"),
        forgets
    );
    let note = json!({ "generation": 2, "labels": labels, "annotations": { "tool/seen": "1" } });
    assert_eq!(put(note, "1"), waits);
    let request = json!({ "generation": 2, "labels": labels, "annotations": { "tool/seen": "1", (names::RECONCILE_AT): "1" } });
    assert_eq!(put(request.clone(), "1"), forgets);
    let mut held = request;
    held["finalizers"] = json!(["a/b"]);
    assert_eq!(put(held.clone(), "1"), waits);
    held["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
    assert_eq!(put(held, "1"), forgets);
    assert_eq!(own(&table.delete("m")), forgets);
    // Without generations, the body is people's and the rest may be programs'.
    let object =
        |data: &str, status: &str| json!({ "data": { "k": data }, "status": { "s": status } });
    table.put("n", object("1", "1"));
    assert_eq!(own(&table.put("n", object("2", "1"))), forgets);
    assert_eq!(own(&table.put("n", object("2", "2"))), waits);
}

#[test]
fn only_a_name_that_changes_hands_ends_a_hold() {
    let mut table = Table::new();
    let mut triggers = Triggers::default();
    let reads = || read(&["data"], of(Index::Name, "ns/m"));
    triggers.know(&cr("owner"), "u", || "set".into());
    triggers.install(&cr("reader"), Slot::Answers, &reads());
    triggers.install(&cr("waiter"), Slot::Names, &reads());
    let labelled = json!({ "metadata": { "labels": { (names::PART_OF): "set" } } });
    let change = table.put("m", labelled);
    let mut out = Concerned::new();
    triggers.concerned(&Delta::of(&change), &mut out);
    let found: Vec<(&str, OnHold)> = out
        .iter()
        .map(|(key, concern)| (&*key.name, concern.on_hold))
        .collect();
    let expected = [
        ("owner", OnHold::Waits),
        ("reader", OnHold::Waits),
        ("waiter", OnHold::Ends),
    ];
    assert_eq!(found, expected);
}

/// A pass has read at `since`; a change is committed at each moment on its way to a read set.
#[test]
fn a_change_on_the_way_to_a_read_set_is_seen_by_the_dispatcher_or_the_replay() {
    for moment in 0..4 {
        let mut table = Table::new();
        let mut triggers = Triggers::default();
        let reads = read(&["data"], of(Index::Name, "ns/m"));
        let since = table.reader.snapshot().sequence();
        let mut commits = 0;
        let mut commit = |table: &mut Table, triggers: &Triggers, now: usize| {
            if now != moment {
                return false;
            }
            commits += 1;
            // The dispatcher is as quick as it can be.
            !concerned(triggers, &table.put("m", json!({ "data": {} }))).is_empty()
        };
        let mut seen = commit(&mut table, &triggers, 0);
        triggers.know(&cr("a"), "ua", || "set-a".into());
        seen |= commit(&mut table, &triggers, 1);
        triggers.install(&cr("a"), Slot::Answers, &reads);
        seen |= commit(&mut table, &triggers, 2);
        seen |= missed_since(&table.reader, since, &reads, Slot::Answers).is_some();
        seen |= commit(&mut table, &triggers, 3);
        assert!(seen, "lost at moment {moment}");
        assert_eq!(commits, 1);
    }
}
