//! Snapshots and rows that are held stay what they were.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use kybern_table::{Change, Index, Origin, Reader, Row, Snapshot, StoreConfig, Writer, store};

use crate::object::{Object, apply, def, key, list_begin, list_end, scan, small};

fn filled(config: StoreConfig, count: u64) -> (Writer, Reader) {
    let (mut writer, reader) = store(config);
    apply(&mut writer, vec![Change::Define(def())]);
    let objects = (0..count).map(|n| Object::new(&format!("o{n}"), &format!("uid-{n}"), n + 1));
    let changes = objects.map(|object| object.upsert(Origin::Watch));
    apply(&mut writer, changes.collect());
    (writer, reader)
}

/// A fixed mixture of updates, deletes and recreations, twenty a commit.
fn churn(writer: &mut Writer, rounds: u64, names: u64) {
    let rounds: Vec<u64> = (0..rounds).collect();
    for commit in rounds.chunks(20) {
        let changes = commit.iter().map(|round| {
            let n = round.wrapping_mul(6_364_136_223_846_793_005) >> 33;
            let version = 1_000 + round * 2;
            let name = format!("o{}", n % names);
            let uid = format!("uid-{}-{}", n % names, round / 500);
            let object = Object::new(&name, &uid, version);
            match n % 11 {
                0 => Object {
                    uid: String::new(),
                    ..object
                }
                .gone(),
                _ => object.upsert(Origin::Watch),
            }
        });
        let applied = apply(writer, changes.collect());
        assert!(applied.errors.is_empty());
    }
}

#[test]
fn a_held_snapshot_stays_while_100_000_changes_land() {
    let (mut writer, reader) = filled(
        StoreConfig {
            chunk_rows: 256,
            chunk_bytes: 100_000,
            ..small()
        },
        100,
    );
    let held = reader.snapshot();
    let view = held.table(&key()).unwrap();
    let expected = scan(&view);
    let row = view.lookup(&Index::Uid, "uid-7").unwrap().remove(0);
    let body = row.body();
    churn(&mut writer, 100_000, 100);
    apply(&mut writer, vec![list_begin(), list_end(1_000_000)]);
    assert_eq!(reader.snapshot().table(&key()).unwrap().count(), 0);
    assert_eq!(scan(&view), expected);
    assert_eq!(scan(&held.table(&key()).unwrap()), expected);
    for object in &expected {
        for (index, key) in [
            (Index::Uid, object.uid.clone()),
            (Index::Name, object.key()),
        ] {
            let found: Vec<Object> = view
                .lookup(&index, &key)
                .unwrap()
                .iter()
                .map(Object::of)
                .collect();
            assert_eq!(found, std::slice::from_ref(object), "{index}");
        }
    }
    assert_eq!(view.lookup(&Index::Namespace, "shop").unwrap().len(), 100);
    assert!(reader.stats().snapshots_held > 0);
    // A view pins as much as its snapshot.
    drop(held);
    apply(
        &mut writer,
        vec![Object::new("last", "last", 2_000_001).upsert(Origin::Watch)],
    );
    assert_eq!(view.lookup(&Index::Uid, "uid-7").unwrap().len(), 1);
    drop(view);
    apply(
        &mut writer,
        vec![Object::new("last", "last", 2_000_002).upsert(Origin::Watch)],
    );
    let stats = reader.stats();
    assert_eq!((stats.snapshots_held, stats.index_garbage), (0, 0));
    // A row is readable for as long as it is held.
    assert_eq!(row.body(), body);
    assert_eq!(Object::of(&row).uid, "uid-7");
}

#[test]
fn garbage_of_a_leaked_snapshot_is_bounded_by_what_it_shows() {
    let (mut writer, reader) = filled(small(), 100);
    let _leaked = reader.snapshot();
    churn(&mut writer, 1_000, 100);
    let early = reader.stats().index_garbage;
    churn(&mut writer, 5_000, 100);
    let late = reader.stats().index_garbage;
    assert!(early >= 90, "{early}");
    assert!(late <= 120, "{late}");
}

#[test]
fn readers_on_other_threads_see_whole_commits() {
    let (mut writer, reader) = filled(
        StoreConfig {
            chunk_rows: 64,
            ..small()
        },
        0,
    );
    let pair = |version: u64| {
        vec![
            Object::new("left", "uid-l", version).upsert(Origin::Watch),
            Object::new("right", "uid-r", version).upsert(Origin::Watch),
        ]
    };
    apply(&mut writer, pair(1));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (reader, done) = (reader.clone(), &done);
                scope.spawn(move || {
                    let mut checked = 0u64;
                    while !done.load(Ordering::Relaxed) || checked == 0 {
                        let snapshot = reader.snapshot();
                        let versions = both(&snapshot);
                        assert_eq!(versions[0], versions[1]);
                        assert_eq!(versions, both(&snapshot));
                        checked += 1;
                    }
                    checked
                })
            })
            .collect();
        for version in 2..4_000 {
            apply(&mut writer, pair(version));
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
}

fn both(snapshot: &Snapshot) -> [u64; 2] {
    let view = snapshot.table(&key()).unwrap();
    let version = |rows: Vec<Row>| {
        assert_eq!(rows.len(), 1);
        rows[0].resource_version()
    };
    let versions =
        ["shop/left", "shop/right"].map(|name| version(view.lookup(&Index::Name, name).unwrap()));
    let scanned: BTreeMap<String, u64> = scan(&view)
        .into_iter()
        .map(|object| (object.name, object.resource_version))
        .collect();
    assert_eq!(scanned.values().copied().collect::<Vec<_>>(), versions);
    versions
}
