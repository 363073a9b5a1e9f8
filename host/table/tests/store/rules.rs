//! Whatever happens, the store shows what the plain model shows, now and in
//! every snapshot that is held.

use std::collections::BTreeMap;

use kybern_table::{
    Change, Index, Job, Origin, Reader, RowChange, Sequence, Snapshot, StoreConfig, TableState,
    Writer, store,
};
use proptest::prelude::*;

use crate::model::{Event, Model};
use crate::object::{Object, apply, def, key, list_begin, list_end, scan, small};

const APPS: [&str; 3] = ["", "web", "db"];
const OWNERS: [&str; 3] = ["", "owner-1", "owner-2"];
const IMAGES: [&str; 3] = ["nginx", "redis", "é\"\\"];
const NAMESPACES: [&str; 3] = ["", "shop", "blog"];
const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// A uid belongs to one name for ever.
fn uid(namespace: &str, name: &str, generation: usize) -> String {
    match generation {
        0 => String::new(),
        1 => format!("not-a-uuid-{namespace}-{name}"),
        _ => {
            let digits: String = format!("{namespace}{name}")
                .bytes()
                .map(|b| format!("{b:02x}"))
                .collect();
            format!("{digits:0>8}-0000-4000-8000-{generation:012}")
        }
    }
}

fn object() -> impl Strategy<Value = Object> {
    (
        0..NAMESPACES.len(),
        0..NAMES.len(),
        0usize..5,
        prop_oneof![1 => Just(0u64), 20 => 1u64..40],
        (0..APPS.len(), 0..OWNERS.len(), 0..IMAGES.len()),
    )
        .prop_map(|(namespace, name, generation, resource_version, rest)| {
            let (namespace, name) = (NAMESPACES[namespace], NAMES[name]);
            Object {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                uid: uid(namespace, name, generation),
                resource_version,
                app: APPS[rest.0].to_owned(),
                owner: OWNERS[rest.1].to_owned(),
                image: IMAGES[rest.2].to_owned(),
            }
        })
}

fn event() -> impl Strategy<Value = Event> {
    let origin = prop_oneof![
        4 => Just(Origin::Watch),
        3 => Just(Origin::List),
        1 => Just(Origin::OwnWrite),
    ];
    prop_oneof![
        40 => (object(), origin).prop_map(|(object, origin)| Event::Upsert(object, origin)),
        8 => object().prop_map(Event::Gone),
        5 => object().prop_map(Event::Deleted),
        4 => Just(Event::ListBegin),
        4 => (0u64..40).prop_map(Event::ListEnd),
        1 => Just(Event::NewEpoch),
        1 => Just(Event::Fail),
        1 => Just(Event::Garbage),
    ]
}

fn change(event: &Event) -> Change {
    match event {
        Event::Upsert(object, origin) => object.upsert(*origin),
        Event::Gone(object) => object.gone(),
        Event::Deleted(object) => object.deleted(),
        Event::ListBegin => list_begin(),
        Event::ListEnd(resource_version) => list_end(*resource_version),
        Event::NewEpoch => Change::NewEpoch { table: key() },
        Event::Fail => Change::Fail {
            table: key(),
            reason: "broken".to_owned(),
        },
        Event::Garbage => Change::Upsert {
            table: key(),
            raw: "{\"metadata\":{}}".into(),
            origin: Origin::Watch,
        },
    }
}

/// Everything that a snapshot can be asked gives what the rows say.
fn check(snapshot: &Snapshot, rows: &BTreeMap<String, Object>) {
    let view = snapshot.table(&key()).unwrap();
    let mut expected: Vec<Object> = rows.values().cloned().collect();
    expected.sort();
    assert_eq!(scan(&view), expected);
    let lookup = |index: &Index, key: &str, matches: &dyn Fn(&Object) -> bool| {
        let mut found: Vec<Object> = view
            .lookup(index, key)
            .unwrap()
            .iter()
            .map(Object::of)
            .collect();
        found.sort();
        let wanted = expected.iter().filter(|object| matches(object));
        assert_eq!(found, wanted.cloned().collect::<Vec<_>>(), "{index} {key}");
    };
    for object in expected.iter().chain([&Object::new("nobody", "none", 1)]) {
        lookup(&Index::Name, &object.key(), &|row| {
            row.key() == object.key()
        });
        if !object.uid.is_empty() {
            lookup(&Index::Uid, &object.uid, &|row| row.uid == object.uid);
        }
    }
    for namespace in NAMESPACES.iter().skip(1) {
        lookup(&Index::Namespace, namespace, &|row| {
            row.namespace == *namespace
        });
    }
    for owner in OWNERS.iter().skip(1) {
        lookup(&Index::Owner, owner, &|row| row.owner == *owner);
    }
    for app in APPS.iter().skip(1) {
        let index = Index::Label("app".to_owned());
        lookup(&index, app, &|row| row.app == *app);
    }
    for image in IMAGES {
        let index = Index::Path("spec.image".parse().unwrap());
        lookup(&index, image, &|row| row.image == image);
    }
    // Declared by nobody, or only later: found by reading all rows.
    let index = Index::Label("other".to_owned());
    lookup(&index, "x", &|row| !row.app.is_empty());
}

/// The rows after the changes, which must fit the rows before.
fn replay(rows: &mut BTreeMap<String, Object>, changes: &[RowChange]) {
    for change in changes {
        let old = change.old.as_ref().map(Object::of);
        let new = change.new.as_ref().map(Object::of);
        let any = old.as_ref().or(new.as_ref()).unwrap();
        let name = any.key();
        let uid = new.as_ref().or(old.as_ref()).unwrap();
        let expected = if uid.uid.is_empty() { &name } else { &uid.uid };
        assert_eq!(&*change.uid, expected);
        assert_eq!(rows.get(&name), old.as_ref());
        match new {
            Some(new) => rows.insert(name, new),
            None => rows.remove(&name),
        };
    }
}

fn state_fits(actual: &TableState, expected: &TableState) -> bool {
    match (actual, expected) {
        (TableState::Failed(_), TableState::Failed(reason)) if reason.is_empty() => true,
        _ => actual == expected,
    }
}

struct Held {
    snapshot: Snapshot,
    rows: BTreeMap<String, Object>,
}

fn setup(waiting_bytes: usize, open_bytes: usize) -> (Writer, Reader) {
    let (mut writer, reader) = store(StoreConfig {
        waiting_bytes,
        open_bytes,
        ..small()
    });
    apply(&mut writer, vec![Change::Define(def())]);
    (writer, reader)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, ..ProptestConfig::default() })]

    #[test]
    fn the_store_is_the_model(
        batches in prop::collection::vec(
            (prop::collection::vec(event(), 1..12), any::<bool>(), any::<u8>(), any::<u8>()), 1..25,
        ),
        redefine_at in 0usize..25,
        waiting_bytes in prop_oneof![Just(0), 0usize..4_000, Just(usize::MAX)],
        open_bytes in prop_oneof![Just(0), 0usize..2_000, Just(usize::MAX)],
    ) {
        let (mut writer, reader) = setup(waiting_bytes, open_bytes);
        // Jobs that somebody takes his time for.
        let mut jobs: Vec<Job> = Vec::new();
        let mut model = Model::new();
        let mut held: Vec<Held> = Vec::new();
        let mut last = Sequence(0);
        for (at, (events, hold, let_go, work)) in batches.into_iter().enumerate() {
            if at == redefine_at {
                let mut more = def();
                more.label_keys = vec!["other".to_owned()];
                apply(&mut writer, vec![Change::Define(more)]);
            }
            let before = model.rows.clone();
            events.iter().for_each(|event| model.apply(event));
            let applied = apply(&mut writer, events.iter().map(change).collect());
            let snapshot = reader.snapshot();
            prop_assert_eq!(snapshot.sequence(), applied.sequence);
            check(&snapshot, &model.rows);
            let state = snapshot.table(&key()).unwrap().state();
            prop_assert!(state_fits(&state, &model.state), "{:?} {:?}", state, model.state);
            let changes = snapshot.changes_since(last).unwrap();
            prop_assert_eq!(changes.len(), applied.changed);
            let mut rows = before;
            replay(&mut rows, &changes);
            prop_assert_eq!(&rows, &model.rows);
            last = snapshot.sequence();
            for held in &held {
                check(&held.snapshot, &held.rows);
                let mut rows = held.rows.clone();
                replay(&mut rows, &snapshot.changes_since(held.snapshot.sequence()).unwrap());
                prop_assert_eq!(&rows, &model.rows);
            }
            if work % 3 == 0 {
                jobs.extend(writer.job());
            }
            if work % 4 == 0 && !jobs.is_empty() {
                let job = jobs.swap_remove(usize::from(work) % jobs.len());
                writer.put_in(job.run());
            }
            check(&reader.snapshot(), &model.rows);
            prop_assert_eq!(reader.snapshot().sequence(), snapshot.sequence());
            if hold {
                held.push(Held { snapshot, rows: model.rows.clone() });
            }
            if !held.is_empty() && let_go < 100 {
                held.swap_remove(usize::from(let_go) % held.len());
            }
        }
        while let Some(job) = jobs.pop().or_else(|| writer.job()) {
            writer.put_in(job.run());
            check(&reader.snapshot(), &model.rows);
        }
        // With no snapshot held, nothing dead is kept for one.
        held.clear();
        apply(&mut writer, vec![list_begin(), list_end(0)]);
        let stats = reader.stats();
        prop_assert_eq!(stats.index_garbage, 0);
        prop_assert_eq!(stats.snapshots_held, 0);
    }
}
