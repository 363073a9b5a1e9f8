//! Everything is bounded: dead rows, the log, the cache.

use std::ops::RangeInclusive;

use kybern_table::{Change, Column, Index, Origin, Reader, Sequence, StoreConfig, Writer, store};

use crate::object::{Object, apply, def, key, scan, small};

fn object(name: u64, version: u64) -> Object {
    Object::new(&format!("o{name}"), &format!("uid-{name}"), version)
}

/// A store with the table, still empty.
fn empty(config: StoreConfig) -> (Writer, Reader) {
    let (mut writer, reader) = store(config);
    apply(&mut writer, vec![Change::Define(def())]);
    (writer, reader)
}

/// One commit for each version, of `names` objects in turn.
fn put(writer: &mut Writer, versions: RangeInclusive<u64>, names: u64) {
    for version in versions {
        apply(
            writer,
            vec![object(version % names, version).upsert(Origin::Watch)],
        );
    }
}

#[test]
fn dead_rows_are_merged_away() {
    let (mut writer, reader) = empty(StoreConfig {
        chunk_rows: 50,
        chunk_bytes: 1 << 20,
        ..small()
    });
    let mut version = 0;
    for round in 0..40u64 {
        for name in 0..200 {
            version += 1;
            let name = (name * 7 + round) % 200;
            apply(
                &mut writer,
                vec![object(name, version).upsert(Origin::Watch)],
            );
        }
        let stats = reader.stats();
        let table = &stats.tables[0];
        assert_eq!(table.rows, 200);
        assert!(table.dead <= 200, "{table:?}");
        assert!(table.chunks <= 14, "{table:?}");
    }
    // What is left after most rows have gone is put together.
    for name in 0..190 {
        version += 1;
        apply(&mut writer, vec![object(name, version).gone()]);
    }
    let stats = reader.stats();
    assert_eq!(stats.tables[0].rows, 10);
    assert!(stats.tables[0].chunks <= 2, "{stats:?}");
    assert_eq!(scan(&reader.snapshot().table(&key()).unwrap()).len(), 10);
}

#[test]
fn hot_rows_do_not_fill_the_table() {
    let (mut writer, reader) = empty(small());
    put(&mut writer, 1..=1_999, 2);
    let table = &reader.stats().tables[0];
    assert!(
        table.rows == 2 && table.chunks <= 3 && table.dead <= 12,
        "{table:?}"
    );
}

#[test]
fn the_log_is_bounded_and_says_when_it_is_too_short() {
    let (mut writer, reader) = empty(StoreConfig {
        log_entries: 10,
        ..small()
    });
    let start = reader.snapshot();
    put(&mut writer, 1..=25, 100);
    let now = reader.snapshot();
    let stats = reader.stats();
    assert_eq!(stats.log_entries, 10);
    let error = now.changes_since(start.sequence()).unwrap_err();
    assert_eq!(error.oldest, stats.log_oldest);
    assert_eq!(
        error.to_string(),
        format!(
            "snapshot too old (sequence {}, oldest {})",
            start.sequence(),
            stats.log_oldest
        )
    );
    assert_eq!(now.changes_since(stats.log_oldest).unwrap().len(), 10);
    let before = Sequence(stats.log_oldest.0 - 1);
    assert!(now.changes_since(before).is_err());
    assert!(now.changes_since(now.sequence()).unwrap().is_empty());
    // An old snapshot has no changes after itself, however short the log is.
    assert!(start.changes_since(start.sequence()).unwrap().is_empty());
    assert!(start.changes_since(now.sequence()).unwrap().is_empty());
}

#[test]
fn the_log_is_bounded_in_bytes_too() {
    let (mut writer, reader) = empty(StoreConfig {
        log_bytes: 20_000,
        ..small()
    });
    for version in 1..=200 {
        put(&mut writer, version..=version, 50);
        let stats = reader.stats();
        assert!(stats.log_bytes <= 20_000, "{stats:?}");
        assert!(stats.pinned_bytes <= 20_000, "{stats:?}");
        assert!(stats.log_entries > 0);
    }
}

#[test]
fn the_cache_is_bounded_and_freed_with_its_chunks() {
    let (mut writer, reader) = empty(StoreConfig {
        cache_bytes: 30_000,
        ..small()
    });
    put(&mut writer, 1..=200, 1_000);
    let mut most = 0;
    for round in 0..3 {
        for chunk in reader.snapshot().table(&key()).unwrap().scan().unwrap() {
            for path in 0..20 {
                let path = format!("spec.p{path}").parse().unwrap();
                chunk.path(&path, kybern_table::PathType::Int).unwrap();
            }
            chunk.fixed(&Column::Uid).unwrap();
            let bytes = reader.stats().cache_bytes;
            assert!(bytes <= 30_000, "{round} {bytes}");
            most = most.max(bytes);
        }
    }
    assert!(most > 10_000, "{most}");
    apply(&mut writer, vec![Change::Drop(key())]);
    assert!(reader.snapshot().tables().next().is_none());
    // The log still holds rows of sealed chunks; push them out.
    let stats = reader.stats();
    assert!(stats.cache_bytes <= most, "{stats:?}");
}

#[test]
fn kept_columns_can_be_dropped_and_change_nothing_that_is_read() {
    let (mut writer, reader) = empty(small());
    put(&mut writer, 1..=200, 1_000);
    let snapshot = reader.snapshot();
    let read = || {
        let chunks = snapshot.table(&key()).unwrap().scan().unwrap();
        let uids = chunks.iter().map(|chunk| chunk.fixed(&Column::Uid));
        uids.collect::<Result<Vec<_>, _>>().unwrap()
    };
    let before = read();
    let kept = reader.stats().cache_bytes;
    assert!(kept > 1_000, "{kept}");
    // At least what was asked for; a column goes whole.
    let dropped = reader.evict_columns(kept / 2);
    let left = reader.stats().cache_bytes;
    assert!(dropped >= kept / 2 && left > 0, "{dropped} of {kept}");
    assert_eq!(left, kept - dropped);
    // Also what was read a moment ago, where all of it must go.
    assert_eq!(read(), before);
    let kept = reader.stats().cache_bytes;
    assert_eq!(reader.evict_columns(usize::MAX), kept);
    assert_eq!(reader.stats().cache_bytes, 0);
    assert_eq!(read(), before);
    assert_eq!(reader.evict_columns(0), 0);
}

#[test]
fn no_index_finds_what_is_gone() {
    let (mut writer, reader) = empty(small());
    put(&mut writer, 1..=300, 30);
    for name in 0..30 {
        apply(&mut writer, vec![object(name, 1_000).gone()]);
    }
    let view = reader.snapshot().table(&key()).unwrap();
    assert!(view.lookup(&Index::Namespace, "shop").unwrap().is_empty());
    assert!(view.lookup(&Index::Uid, "uid-3").unwrap().is_empty());
    assert!(view.scan().unwrap().is_empty());
    assert_eq!(view.count(), 0);
}
