//! Measures how soon a statement ends that is cancelled.
//!
//! `cancel [PODS]` fills a table, then runs statements that scan, sort, join, group, and make text,
//! cancels each at moments spread over its run, and prints the processor time from the cancel to the
//! end. The goal is 20 ms; what limits it is the longest step that an operator takes in one go.
#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a measurement needs the clock, and ends where anything is not as it should be"
)]

use std::time::{Duration, Instant};

use kybern_seed::Pods;
use kybern_sql::{AccessSet, Catalog, CatalogTable, Engine, Held, PathTypes, SqlError, SqlLimits};
use kybern_table::{Batch, Change, KindKey, Origin, Reader, StoreConfig, TableDef, store};
use rustix::time::{ClockId, clock_gettime};

/// Cancels of each statement.
const MOMENTS: u32 = 20;
/// A statement that runs longer is cancelled within this time.
const LONGEST: Duration = Duration::from_secs(2);

/// What runs, and a statement that does mostly that.
const STATEMENTS: [(&str, &str); 9] = [
    (
        "scan of a path",
        "SELECT count(*) FROM pods WHERE spec.containers[0].env[0].value = 'x'",
    ),
    ("decompression", "SELECT max(length(object)) FROM pods"),
    ("sort", "SELECT name FROM pods ORDER BY object"),
    ("top", "SELECT object FROM pods ORDER BY object LIMIT 10"),
    (
        "hash join",
        "SELECT count(*) FROM pods a JOIN pods b ON a.namespace = b.namespace WHERE a.name || b.name LIKE '%no such%'",
    ),
    (
        "nested loops",
        "SELECT count(*) FROM pods a, pods b WHERE a.name || b.name LIKE '%no such%'",
    ),
    (
        "groups",
        "SELECT count(*) FROM (SELECT DISTINCT object FROM pods) d",
    ),
    (
        "window",
        "SELECT max(r) FROM (SELECT row_number() OVER (PARTITION BY namespace ORDER BY object) AS r FROM pods) w",
    ),
    (
        "text",
        "SELECT max(length(replace(replace(object, 'a', 'bcd'), 'b', 'xyz'))) FROM pods",
    ),
];

fn main() {
    let pods = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let reader = filled(pods.unwrap_or(20_000));
    let engine = Engine::new(reader, SqlLimits::default());
    engine.set_catalog(Catalog::new(vec![CatalogTable {
        def: definition(),
        preferred: true,
        singular: "pod".to_owned(),
        short_names: Vec::new(),
        top_level: vec!["spec".to_owned(), "status".to_owned()],
        types: PathTypes::default(),
        listable: true,
        watchable: true,
    }]));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    println!("statement         runs for   after a cancel: median, longest");
    for (name, sql) in STATEMENTS {
        let (whole, _) = runtime.block_on(run(&engine, sql, LONGEST));
        let mut after: Vec<Duration> = (0..MOMENTS)
            .filter_map(|moment| {
                let at = whole * (2 * moment + 1) / (2 * MOMENTS);
                runtime.block_on(run(&engine, sql, at)).1
            })
            .collect();
        after.sort();
        assert_eq!(engine.held(), Held::default(), "memory is given back");
        let longest = after.last().copied().unwrap_or_default();
        let median = after.get(after.len() / 2).copied().unwrap_or_default();
        println!("{name:<16} {whole:>9.1?} {median:>17.2?} {longest:>9.2?}");
    }
}

/// How long a statement ran, and its processor time after it was cancelled at this moment, if it
/// was.
async fn run(engine: &Engine, sql: &str, at: Duration) -> (Duration, Option<Duration>) {
    let prepared = engine
        .prepare(sql, &AccessSet::all())
        .await
        .expect("a statement");
    let snapshot = engine.snapshot();
    let begun = Instant::now();
    let watcher = engine.clone();
    let canceller = std::thread::spawn(move || {
        std::thread::sleep(at);
        let used = processor_time();
        watcher
            .cancel_largest(0, |_| "enough".to_owned())
            .map(|_| used)
    });
    let answer = engine.execute(&prepared, &[], &snapshot).await;
    let (ended, used) = (begun.elapsed(), processor_time());
    let cancelled = canceller.join().expect("no panic");
    let after = match answer {
        Err(SqlError::Cancelled { .. }) => cancelled.map(|at| used.saturating_sub(at)),
        _ => None,
    };
    (ended.min(LONGEST), after)
}

/// Of all threads of this process.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

fn key() -> KindKey {
    KindKey::new("", "v1", "Pod")
}

fn definition() -> TableDef {
    TableDef {
        key: key(),
        schema: "core".to_owned(),
        plural: "pods".to_owned(),
        namespaced: true,
        label_keys: Vec::new(),
        path_indexes: vec!["spec.nodeName".parse().expect("a path")],
    }
}

fn filled(count: u64) -> Reader {
    let (mut writer, reader) = store(StoreConfig::default());
    let pods = Pods::new(1);
    let mut changes = vec![
        Change::Define(definition()),
        Change::ListBegin { table: key() },
    ];
    changes.extend((0..count).map(|number| Change::Upsert {
        table: key(),
        raw: pods.pod(number, 0).into(),
        origin: Origin::List,
    }));
    changes.push(Change::ListEnd {
        table: key(),
        resource_version: count,
    });
    writer.apply(Batch { changes });
    reader
}
