//! Snapshots that keep too much expire, the oldest first, and never lie.

use std::sync::atomic::{AtomicBool, Ordering};

use kybern_table::{
    Change, Column, Index, Origin, PathType, Reader, Snapshot, SnapshotTooOld, StoreConfig, Writer,
    store,
};
use proptest::prelude::*;

use crate::object::{Object, apply, def, key, scan, small};

/// Room for about two generations of 60 objects.
fn tight() -> StoreConfig {
    StoreConfig {
        pinned_bytes: 60_000,
        log_bytes: 10_000,
        ..small()
    }
}

fn object(name: u64, version: u64) -> Object {
    Object::new(&format!("o{name}"), &format!("uid-{name}"), version)
}

fn filled(config: StoreConfig, names: u64) -> (Writer, Reader) {
    let (mut writer, reader) = store(config);
    apply(&mut writer, vec![Change::Define(def())]);
    update_all(&mut writer, names, 1);
    (writer, reader)
}

fn update_all(writer: &mut Writer, names: u64, version: u64) {
    for name in 0..names {
        apply(writer, vec![object(name, version).upsert(Origin::Watch)]);
    }
}

fn versions(snapshot: &Snapshot) -> Result<Vec<u64>, SnapshotTooOld> {
    let view = snapshot.table(&key()).unwrap();
    let mut found = Vec::new();
    for chunk in view.scan()? {
        found.extend(
            chunk
                .rows()?
                .iter()
                .map(kybern_table::Row::resource_version),
        );
    }
    Ok(found)
}

#[test]
fn the_oldest_snapshot_goes_first_and_says_so() {
    let (mut writer, reader) = filled(tight(), 60);
    let row = {
        let view = reader.snapshot().table(&key()).unwrap();
        view.lookup(&Index::Uid, "uid-5").unwrap().remove(0)
    };
    let mut held = Vec::new();
    for version in 2..20 {
        held.push((version - 1, reader.snapshot()));
        update_all(&mut writer, 60, version);
        assert!(reader.stats().pinned_bytes <= 60_000);
    }
    let stats = reader.stats();
    assert!(stats.snapshots_expired > 0, "{stats:?}");
    let readable: Vec<bool> = held
        .iter()
        .map(|(_, held)| versions(held).is_ok())
        .collect();
    let first = readable.iter().position(|readable| *readable).unwrap();
    assert!(first > 5, "{readable:?}");
    assert!(
        readable[first..].iter().all(|readable| *readable),
        "{readable:?}"
    );
    assert_eq!(stats.snapshots_held, held.len() - first);
    for (version, held) in &held[first..] {
        assert_eq!(versions(held).unwrap(), vec![*version; 60]);
    }
    let (_, expired) = &held[first - 1];
    let error = versions(expired).unwrap_err();
    let oldest = held[first].1.sequence();
    assert_eq!(
        error.to_string(),
        format!(
            "snapshot too old (sequence {}, oldest {oldest})",
            expired.sequence()
        )
    );
    // What the table was is known still; a row that is held can be read still.
    let view = expired.table(&key()).unwrap();
    assert_eq!((view.count(), view.def().plural.as_str()), (60, "baskets"));
    assert!(view.has_index(&Index::Uid));
    assert_eq!(Object::of(&row), object(5, 1));
}

#[test]
fn every_read_of_an_expired_snapshot_fails() {
    let config = StoreConfig {
        pinned_bytes: 10_000,
        ..tight()
    };
    let (mut writer, reader) = filled(config, 60);
    let snapshot = reader.snapshot();
    let view = snapshot.table(&key()).unwrap();
    let chunk = view.scan().unwrap().remove(0);
    for version in 2..20 {
        update_all(&mut writer, 60, version);
    }
    let expected = SnapshotTooOld {
        sequence: snapshot.sequence(),
        oldest: view.lookup(&Index::Uid, "uid-1").unwrap_err().oldest,
    };
    assert!(expected.oldest > expected.sequence);
    let path = "spec.image".parse().unwrap();
    let name = Index::Name;
    let label = Index::Label("other".to_owned());
    assert_eq!(view.lookup(&name, "shop/o1").err(), Some(expected));
    assert_eq!(view.lookup(&name, "nobody").err(), Some(expected));
    assert_eq!(view.lookup(&label, "x").err(), Some(expected));
    assert_eq!(view.scan().err(), Some(expected));
    assert_eq!(chunk.live().err(), Some(expected));
    assert_eq!(chunk.row(0).err(), Some(expected));
    assert_eq!(chunk.rows().err(), Some(expected));
    assert_eq!(chunk.body(0).err(), Some(expected));
    assert_eq!(chunk.fixed(&Column::Name).err(), Some(expected));
    assert_eq!(chunk.path(&path, PathType::Text).err(), Some(expected));
    assert_eq!(snapshot.table(&key()).unwrap().scan().err(), Some(expected));
    // A reader that asks again gets the newest.
    let found = reader.read(versions);
    assert_eq!(found, vec![19; 60]);
}

#[test]
fn within_the_bound_nothing_expires() {
    let (mut writer, reader) = filled(small(), 60);
    let held = reader.snapshot();
    for version in 2..20 {
        update_all(&mut writer, 60, version);
    }
    assert_eq!(reader.stats().snapshots_expired, 0);
    assert_eq!(versions(&held).unwrap(), vec![1; 60]);
}

#[test]
fn the_newest_commit_can_be_read_however_tight_the_bound_is() {
    let config = StoreConfig {
        pinned_bytes: 0,
        ..small()
    };
    let (mut writer, reader) = filled(config, 60);
    for version in 2..6 {
        update_all(&mut writer, 60, version);
        assert_eq!(versions(&reader.snapshot()).unwrap(), vec![version; 60]);
    }
    let stats = reader.stats();
    assert_eq!((stats.log_entries, stats.pinned_bytes), (0, 0));
}

/// Rows that somebody holds stay readable; snapshots and the log do not pay for
/// what letting them go would not free.
#[test]
fn rows_that_are_held_do_not_expire_everybody_else() {
    let (mut writer, reader) = filled(tight(), 200);
    let rows = {
        let view = reader.snapshot().table(&key()).unwrap();
        view.lookup(&Index::Namespace, "shop").unwrap()
    };
    update_all(&mut writer, 200, 2);
    assert!(reader.stats().pinned_bytes > 60_000);
    let held = reader.snapshot();
    update_all(&mut writer, 5, 3);
    let stats = reader.stats();
    assert!(stats.log_entries >= 5, "{stats:?}");
    assert_eq!(versions(&held).unwrap(), vec![2; 200]);
    assert_eq!(Object::of(&rows[0]).resource_version, 1);
    // Once they are let go, the bound holds as before.
    drop((rows, held));
    let held = reader.snapshot();
    for version in 4..12 {
        update_all(&mut writer, 200, version);
        assert!(reader.stats().pinned_bytes <= 60_000);
    }
    assert!(versions(&held).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Under any churn, a held snapshot shows what it showed or fails; once it
    /// has failed it goes on failing, and so does every older one.
    #[test]
    fn a_snapshot_shows_its_rows_or_fails(
        steps in prop::collection::vec((0u64..12, any::<bool>(), 0u8..4), 1..80),
        pinned_bytes in 0usize..20_000,
    ) {
        let config = StoreConfig { pinned_bytes, ..small() };
        let (mut writer, reader) = filled(config, 12);
        let mut held: Vec<(Snapshot, Vec<Object>, bool)> = Vec::new();
        for (version, (name, delete, hold)) in (2u64..).zip(steps) {
            let object = object(name, version);
            let change = if delete { object.gone() } else { object.upsert(Origin::Watch) };
            apply(&mut writer, vec![change]);
            if hold == 0 {
                let snapshot = reader.snapshot();
                let rows = scan(&snapshot.table(&key()).unwrap());
                held.push((snapshot, rows, false));
            }
            let mut readable = false;
            for (snapshot, rows, failed) in &mut held {
                let view = snapshot.table(&key()).unwrap();
                prop_assert_eq!(view.count(), rows.len());
                match view.scan() {
                    Ok(_) => {
                        prop_assert!(!*failed);
                        readable = true;
                        prop_assert_eq!(&scan(&view), &*rows);
                        for object in &*rows {
                            let found = view.lookup(&Index::Uid, &object.uid).unwrap();
                            prop_assert_eq!(Object::of(&found[0]), object.clone());
                        }
                    }
                    Err(_) => {
                        prop_assert!(!readable, "an older one can be read");
                        *failed = true;
                        prop_assert!(view.lookup(&Index::Name, "shop/o1").is_err());
                    }
                }
            }
        }
    }
}

/// A look-up that races with expiry finds the row or fails. It must not find
/// nothing because the index entry has gone.
#[test]
fn a_lookup_that_meets_expiry_fails_rather_than_misses() {
    let config = StoreConfig {
        pinned_bytes: 8_000,
        ..small()
    };
    let (mut writer, reader) = filled(config, 30);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (reader, done) = (reader.clone(), &done);
                scope.spawn(move || {
                    let (mut found, mut failed) = (0u64, 0u64);
                    while !done.load(Ordering::Relaxed) || found == 0 {
                        let view = reader.snapshot().table(&key()).unwrap();
                        for name in (0..30).cycle().take(600) {
                            match view.lookup(&Index::Uid, &format!("uid-{name}")) {
                                Ok(rows) => {
                                    assert_eq!(rows.len(), 1, "uid-{name}");
                                    found += 1;
                                }
                                Err(_) => {
                                    failed += 1;
                                    break;
                                }
                            }
                        }
                    }
                    failed
                })
            })
            .collect();
        for version in 2..400 {
            update_all(&mut writer, 30, version);
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
    });
    assert!(reader.stats().snapshots_expired > 0);
}
