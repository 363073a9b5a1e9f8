//! Every order in which a reader and the writer can take their steps, up to two
//! switches in the middle of one of them: publication, expiry and look-ups.
//!
//! `cargo test -p kybern-table --features model --test model`
#![cfg(feature = "model")]

use kybern_table::{
    Batch, Change, Index, KindKey, Origin, Reader, StoreConfig, TableDef, Writer, store,
};

fn key() -> KindKey {
    KindKey::new("", "v1", "Thing")
}

/// Chunks of two rows, and room for nothing old.
fn tight() -> StoreConfig {
    StoreConfig {
        chunk_rows: 2,
        pinned_bytes: 0,
        log_entries: 0,
        ..StoreConfig::default()
    }
}

fn filled(config: StoreConfig) -> (Writer, Reader) {
    let (mut writer, reader) = store(config);
    let changes = vec![Change::Define(TableDef {
        key: key(),
        schema: "core".to_owned(),
        plural: "things".to_owned(),
        namespaced: false,
        label_keys: Vec::new(),
        path_indexes: Vec::new(),
    })];
    writer.apply(Batch { changes });
    put(&mut writer, 1);
    (writer, reader)
}

fn put(writer: &mut Writer, version: u64) {
    let raw = format!(r#"{{"metadata":{{"name":"a","uid":"u","resourceVersion":"{version}"}}}}"#);
    let changes = vec![Change::Upsert {
        table: key(),
        raw: raw.into(),
        origin: Origin::Watch,
    }];
    let applied = writer.apply(Batch { changes });
    assert!(applied.errors.is_empty());
}

fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut explorer = loom::model::Builder::new();
    explorer.preemption_bound = Some(2);
    explorer.max_branches = 100_000;
    explorer.check(model);
}

/// There is one object at every moment: a look-up finds it, or says that the
/// snapshot has expired.
#[test]
fn a_lookup_finds_the_row_or_fails() {
    explore(|| {
        let (mut writer, reader) = filled(tight());
        let reading = loom::thread::spawn(move || {
            let snapshot = reader.snapshot();
            let view = snapshot.table(&key()).unwrap();
            match view.lookup(&Index::Uid, "u") {
                Ok(rows) => assert_eq!(rows.len(), 1),
                Err(error) => assert_eq!(error.sequence, snapshot.sequence()),
            }
        });
        for version in 2..5 {
            put(&mut writer, version);
        }
        reading.join().unwrap();
    });
}

/// Two reads of one snapshot agree, if both succeed, and once it has failed it
/// goes on failing.
#[test]
fn a_snapshot_does_not_change() {
    explore(|| {
        let (mut writer, reader) = filled(tight());
        let reading = loom::thread::spawn(move || {
            let view = reader.snapshot().table(&key()).unwrap();
            let version = || {
                let rows = view.lookup(&Index::Name, "a")?;
                Ok::<u64, kybern_table::SnapshotTooOld>(rows[0].resource_version())
            };
            match (version(), version()) {
                (Ok(first), Ok(second)) => assert_eq!(first, second),
                (Err(_), Ok(_)) => panic!("it came back"),
                (_, Err(_)) => {}
            }
        });
        for version in 2..5 {
            put(&mut writer, version);
        }
        reading.join().unwrap();
    });
}

/// Without expiry every read succeeds, and what comes later is newer.
#[test]
fn snapshots_follow_each_other() {
    explore(|| {
        let (mut writer, reader) = filled(StoreConfig {
            chunk_rows: 2,
            ..StoreConfig::default()
        });
        let reading = loom::thread::spawn(move || {
            let mut last = (0, 0);
            for _ in 0..2 {
                let snapshot = reader.snapshot();
                let view = snapshot.table(&key()).unwrap();
                let rows = view.lookup(&Index::Uid, "u").unwrap();
                assert_eq!(rows.len(), 1);
                let now = (snapshot.sequence().0, rows[0].resource_version());
                assert!(now >= last && now.0 - last.0 >= now.1 - last.1);
                last = now;
            }
        });
        for version in 2..5 {
            put(&mut writer, version);
        }
        reading.join().unwrap();
    });
}
