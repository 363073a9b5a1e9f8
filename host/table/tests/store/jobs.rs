//! Jobs that take their time: what happens meanwhile is not lost.

use arrow::array::AsArray;
use kybern_table::{
    Change, Index, Job, KindKey, Origin, PathType, Reader, StoreConfig, TableDef, TableStats,
    Writer, store,
};

use crate::object::{Object, apply, def, key, scan, small};

fn slow(waiting_bytes: usize) -> (Writer, Reader) {
    let (mut writer, reader) = store(StoreConfig {
        waiting_bytes,
        ..small()
    });
    apply(&mut writer, vec![Change::Define(def())]);
    (writer, reader)
}

fn object(name: u64, version: u64) -> Object {
    Object::new(&format!("o{name}"), &format!("uid-{name}"), version)
}

fn put(writer: &mut Writer, names: std::ops::Range<u64>, version: u64) {
    for name in names {
        apply(writer, vec![object(name, version).upsert(Origin::Watch)]);
    }
}

fn stats(reader: &Reader) -> TableStats {
    reader.stats().tables.remove(0)
}

/// All jobs that there are, none of them done.
fn take(writer: &mut Writer) -> Vec<Job> {
    std::iter::from_fn(|| writer.job()).collect()
}

fn finish(writer: &mut Writer, jobs: Vec<Job>) {
    for job in jobs {
        writer.put_in(job.run());
    }
}

/// Sealed chunks with jobs taken to merge them.
fn merging(names: u64) -> (Writer, Reader, Vec<Job>) {
    let (mut writer, reader) = slow(usize::MAX);
    put(&mut writer, 0..names, 1);
    let sealing = take(&mut writer);
    finish(&mut writer, sealing);
    for name in (0..names).filter(|name| name % 2 == 0) {
        apply(&mut writer, vec![object(name, 2).gone()]);
    }
    let jobs = take(&mut writer);
    assert!(!jobs.is_empty());
    (writer, reader, jobs)
}

#[test]
fn an_index_that_is_younger_than_a_job_finds_its_rows() {
    let (mut writer, reader, jobs) = merging(60);
    let mut more = def();
    more.label_keys = vec!["other".to_owned()];
    apply(&mut writer, vec![Change::Define(more)]);
    finish(&mut writer, jobs);
    let view = reader.snapshot().table(&key()).unwrap();
    let index = Index::Label("other".to_owned());
    assert!(view.has_index(&index));
    assert_eq!(view.lookup(&index, "x").unwrap().len(), 30);
}

#[test]
fn rows_that_change_during_a_job_stay_changed() {
    let (mut writer, reader, jobs) = merging(60);
    put(&mut writer, 0..40, 3);
    let before = scan(&reader.snapshot().table(&key()).unwrap());
    let sequence = reader.snapshot().sequence();
    finish(&mut writer, jobs);
    assert_eq!(scan(&reader.snapshot().table(&key()).unwrap()), before);
    assert_eq!(reader.snapshot().sequence(), sequence);
    assert_eq!(reader.stats().index_garbage, 0);
}

#[test]
fn a_job_of_a_dropped_table_changes_nothing() {
    let (mut writer, reader, jobs) = merging(60);
    apply(&mut writer, vec![Change::Drop(key())]);
    apply(&mut writer, vec![Change::Define(def())]);
    put(&mut writer, 100..103, 1);
    finish(&mut writer, jobs);
    let view = reader.snapshot().table(&key()).unwrap();
    assert_eq!(scan(&view).len(), 3);
}

#[test]
fn the_writer_does_what_has_waited_too_long() {
    let (mut writer, reader) = slow(usize::MAX);
    put(&mut writer, 0..200, 1);
    let unsealed = stats(&reader);
    assert_eq!(unsealed.body_bytes, unsealed.raw_bytes);
    assert!(unsealed.waiting_bytes > 8_000, "{unsealed:?}");

    let (mut writer, reader) = slow(8_000);
    put(&mut writer, 0..200, 1);
    let sealed = stats(&reader);
    assert_eq!(sealed.raw_bytes, unsealed.raw_bytes);
    assert!(sealed.body_bytes < sealed.raw_bytes / 3 * 2, "{sealed:?}");
    assert!(reader.stats().waiting_bytes() <= 8_000, "{sealed:?}");

    // Dead rows count as well.
    for version in 2..20 {
        put(&mut writer, 0..200, version);
        let stats = stats(&reader);
        assert!(stats.waiting_bytes <= 8_000, "{stats:?}");
        assert!(stats.dead_bytes * 3 <= stats.bytes + 3 * 8_000, "{stats:?}");
    }
}

#[test]
fn a_job_that_others_wait_for_does_not_stop_the_writer() {
    let (mut writer, reader) = slow(4_000);
    put(&mut writer, 0..30, 1);
    let jobs = take(&mut writer);
    put(&mut writer, 0..300, 2);
    assert_eq!(scan(&reader.snapshot().table(&key()).unwrap()).len(), 300);
    finish(&mut writer, jobs);
    assert_eq!(scan(&reader.snapshot().table(&key()).unwrap()).len(), 300);
}

/// Many kinds of a few objects each: each of them alone would stay uncompressed for ever.
#[test]
fn what_all_tables_hold_uncompressed_has_a_bound() {
    let config = StoreConfig {
        open_bytes: 60_000,
        ..StoreConfig::default()
    };
    let (mut writer, reader) = store(config);
    let defs: Vec<TableDef> = (0..40)
        .map(|number| TableDef {
            key: KindKey::new("shop.example", "v1", format!("Kind{number}")),
            ..def()
        })
        .collect();
    for def in &defs {
        let mut changes = vec![Change::Define(def.clone())];
        changes.extend((0..30).map(|number| Change::Upsert {
            table: def.key.clone(),
            raw: object(number, 1).raw(),
            origin: Origin::Watch,
        }));
        apply(&mut writer, changes);
        let stats = reader.stats();
        assert!(stats.open_bytes() <= 60_000, "{}", stats.open_bytes());
    }
    let stats = reader.stats();
    let of = |bytes: fn(&TableStats) -> usize| stats.tables.iter().map(bytes).sum::<usize>();
    let (raw, held) = (of(|table| table.raw_bytes), of(|table| table.body_bytes));
    assert!(raw > 4 * 60_000, "{raw}");
    assert!(held < 60_000 + raw / 2, "{held} of {raw}");
    assert_eq!(of(|table| table.rows), 40 * 30);
    // The largest go first: a table that has begun just now keeps its rows as they came.
    assert!(stats.tables.iter().any(|table| table.open_bytes > 0));
}

/// The images of all live rows as a scan reads them, checked against the rows.
fn images(reader: &Reader) -> usize {
    let mut seen = 0;
    let view = reader.snapshot().table(&key()).unwrap();
    for chunk in view.scan().unwrap() {
        let image = "spec.image".parse().unwrap();
        let column = chunk.path(&image, PathType::Text).unwrap();
        let column = column.as_string_view();
        let live = chunk.live().unwrap();
        for at in live.values().set_indices() {
            let row = chunk.row(at).unwrap().unwrap();
            assert_eq!(row.value()["spec"]["image"], column.value(at));
            seen += 1;
        }
    }
    seen
}

/// Reading one column builds nothing that was not there.
fn is_kept(reader: &Reader, rows: usize) {
    let before = reader.stats().cache_bytes;
    assert!(before > 0);
    assert_eq!(images(reader), rows);
    assert_eq!(reader.stats().cache_bytes, before);
}

#[test]
fn columns_that_are_read_again_go_along_with_their_rows() {
    let (mut writer, reader) = store(StoreConfig {
        waiting_bytes: usize::MAX,
        chunk_rows: 128,
        chunk_bytes: 1 << 20,
        cache_bytes: 1 << 20,
        ..small()
    });
    apply(&mut writer, vec![Change::Define(def())]);
    let image = |name: u64, version| Object {
        image: format!("registry/an-image-with-a-long-name:{name}-{version}"),
        ..object(name, version)
    };
    let put = |writer: &mut Writer, names: std::ops::Range<u64>, version| {
        for name in names {
            apply(writer, vec![image(name, version).upsert(Origin::Watch)]);
        }
    };
    put(&mut writer, 0..300, 1);
    // Who reads once pays once.
    assert_eq!(images(&reader), 300);
    let jobs = take(&mut writer);
    finish(&mut writer, jobs);
    assert_eq!(reader.stats().cache_bytes, 0);
    put(&mut writer, 300..600, 1);
    assert_eq!((images(&reader), images(&reader)), (600, 600));
    // Some die before their block is sealed, some while it is.
    put(&mut writer, 400..410, 2);
    let jobs = take(&mut writer);
    assert!(!jobs.is_empty());
    put(&mut writer, 410..420, 2);
    finish(&mut writer, jobs);
    is_kept(&reader, 600);
    // Two thirds of the sealed rows go, and the others come together.
    for name in (0..512).filter(|name| name % 3 != 0) {
        apply(&mut writer, vec![image(name, 3).gone()]);
    }
    let rows = 600 - (0..512).filter(|name| name % 3 != 0).count();
    let jobs = take(&mut writer);
    assert!(!jobs.is_empty());
    finish(&mut writer, jobs);
    is_kept(&reader, rows);
}
