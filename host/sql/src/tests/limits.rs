//! Every bound fails loudly.

use std::time::Duration;

use super::fixture::{Cluster, catalog_tables, pod, text};
use crate::{AccessSet, Catalog, Engine, Held, SqlError, SqlLimits};
use serde_json::json;

fn crowd(pods: usize) -> Cluster {
    let mut cluster = Cluster::empty();
    for number in 0..pods {
        cluster.put(pod(
            "a",
            &format!("p{number}"),
            "x",
            Some("n1"),
            "Running",
            json!("1"),
        ));
    }
    cluster
}

async fn limited(cluster: &Cluster, limits: SqlLimits, sql: &str) -> Result<usize, SqlError> {
    let engine = Engine::new(cluster.reader.clone(), limits);
    engine.set_catalog(Catalog::new(catalog_tables()));
    let prepared = engine.prepare(sql, &AccessSet::all()).await?;
    let answer = engine.execute(&prepared, &[], &cluster.snapshot()).await;
    assert_eq!(engine.held(), Held::default(), "memory is given back");
    let met = u64::from(matches!(answer, Err(SqlError::Limit { .. })));
    assert_eq!(engine.limits_met(), met, "a limit that is met is counted");
    Ok(answer?.rows)
}

fn message(result: Result<usize, SqlError>) -> String {
    match result {
        Err(SqlError::Limit { message }) => message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn rows_and_bytes_of_an_answer() {
    let cluster = crowd(50);
    let rows = SqlLimits {
        rows: 20,
        ..SqlLimits::default()
    };
    for sql in [
        "SELECT name FROM pods",
        "SELECT name FROM pods WHERE owner_uid = 'Deployment-a-x'",
    ] {
        let text = message(limited(&cluster, rows.clone(), sql).await);
        assert!(text.contains("more than 20 rows"), "{text}");
    }
    assert_eq!(
        limited(
            &cluster,
            rows,
            "SELECT name FROM pods ORDER BY name LIMIT 20"
        )
        .await
        .unwrap(),
        20
    );
    let bytes = SqlLimits {
        answer_bytes: 1000,
        ..SqlLimits::default()
    };
    let text = message(limited(&cluster, bytes, "SELECT object FROM pods").await);
    assert!(text.contains("larger than 1000 bytes"), "{text}");
}

#[tokio::test]
async fn memory_of_a_statement_and_of_all() {
    let cluster = crowd(200);
    let sql = "SELECT count(*) FROM (SELECT x.object AS a FROM pods x JOIN pods y ON x.object = y.object ORDER BY 1) z";
    let small = SqlLimits {
        statement_bytes: 20_000,
        ..SqlLimits::default()
    };
    let text = message(limited(&cluster, small, sql).await);
    assert!(
        text.contains("more memory") && text.contains("20000 bytes"),
        "{text}"
    );
    let shared = SqlLimits {
        total_bytes: 20_000,
        ..SqlLimits::default()
    };
    let text = message(limited(&cluster, shared, sql).await);
    assert!(text.contains("all statements together"), "{text}");
    assert_eq!(
        limited(&cluster, SqlLimits::default(), sql).await.unwrap(),
        1
    );
}

/// `x` of the table, made longer so many times.
fn grown(first: &str, longer: &str, times: usize) -> String {
    let mut sql = format!("WITH a0 AS ({first})");
    for time in 0..times {
        sql.push_str(&format!(
            ", a{} AS (SELECT {longer} AS x FROM a{time})",
            time + 1
        ));
    }
    sql + &format!(" SELECT max(length(x)) AS n FROM a{times}")
}

/// Ways to make text twice as long, or more.
const LONGER: [&str; 7] = [
    "x || x",
    "concat(x, x)",
    "concat_ws(x, x, x)",
    "replace(x, 'a', 'aaa')",
    r"regexp_replace(x, '^(.*)$', '\\1\\1', 's')",
    "array_to_string(make_array(x, x), '-')",
    "overlay(x PLACING x FROM 1 FOR 0)",
];

#[tokio::test]
async fn text_that_grows_is_accounted_before_it_is_made() {
    let cluster = crowd(3);
    let small = SqlLimits {
        statement_bytes: 4 << 20,
        ..SqlLimits::default()
    };
    for longer in LONGER {
        let rows = "SELECT object AS x FROM pods";
        let key = "SELECT object AS x FROM pods WHERE uid = 'Pod-a-p0'";
        let constant = "SELECT 'xaaa' AS x";
        for first in [rows, key, constant] {
            // What fits is answered.
            let once = grown(first, longer, 1);
            let answered = limited(&cluster, small.clone(), &once).await;
            assert_eq!(answered.unwrap(), 1, "{once}");
            let often = grown(first, longer, 45);
            let text = message(limited(&cluster, small.clone(), &often).await);
            assert!(text.contains("more memory"), "{often}: {text}");
        }
    }
}

#[tokio::test]
async fn text_of_one_row_is_accounted_before_it_is_made() {
    let cluster = crowd(3);
    let mut sql = "object".to_owned();
    for _ in 0..10 {
        sql = format!("concat({sql}, {sql})");
    }
    let sql = format!("SELECT length({sql}) AS n FROM pods WHERE uid = 'Pod-a-p0'");
    let small = SqlLimits {
        statement_bytes: 1 << 20,
        ..SqlLimits::default()
    };
    let text = message(limited(&cluster, small, &sql).await);
    assert!(text.contains("more memory"), "{text}");
}

/// It is one text, not one for each row.
#[tokio::test]
async fn a_constant_is_accounted_once() {
    let cluster = crowd(300);
    let small = SqlLimits {
        statement_bytes: 1 << 20,
        ..SqlLimits::default()
    };
    let long = "x".repeat(30_000);
    let sql = format!(
        "SELECT count(*) AS n FROM pods WHERE name < substr(replace('{long}', 'x', 'xxxxx'), 1, 5)"
    );
    assert_eq!(limited(&cluster, small, &sql).await.unwrap(), 1);
}

/// A constant that is too long while planning is the same text when the statement runs.
#[tokio::test]
async fn long_constants_are_answered() {
    let cluster = crowd(1);
    let engine = Engine::new(cluster.reader.clone(), SqlLimits::default());
    for (times, length) in [(10, 4_096), (15, 131_072), (18, 1_048_576)] {
        let sql = grown("SELECT 'xaaa' AS x", "x || x", times);
        let prepared = engine.prepare(&sql, &AccessSet::all()).await.unwrap();
        let answer = engine.execute(&prepared, &[], &cluster.snapshot()).await;
        let text = text(&answer.unwrap());
        assert!(text.contains(&length.to_string()), "{times}: {text}");
    }
}

/// Statements that would run for hours, with a join that drops all it makes.
const ENDLESS: [&str; 3] = [
    "SELECT count(*) FROM pods a, pods b, pods c, pods d, pods e \
     WHERE a.name || b.name || c.name || d.name || e.name LIKE '%no%such%'",
    "SELECT count(*) FROM pods a JOIN pods b ON a.namespace = b.namespace JOIN pods c ON c.namespace = b.namespace \
     JOIN pods d ON d.namespace = c.namespace JOIN pods e ON e.namespace = d.namespace AND e.name || d.name || c.name LIKE '%no%'",
    "SELECT max(a.name || b.name || c.name || d.name) FROM pods a, pods b, pods c, pods d",
];

#[tokio::test]
async fn time() {
    let cluster = crowd(100);
    for sql in ENDLESS {
        let limits = SqlLimits {
            time: Duration::from_millis(200),
            ..SqlLimits::default()
        };
        let start = tokio::time::Instant::now();
        let text = message(limited(&cluster, limits, sql).await);
        assert!(text.contains("ran longer than 200ms"), "{text}");
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{sql}: {:?}",
            start.elapsed()
        );
    }
}

#[tokio::test]
async fn time_of_a_look_up() {
    let cluster = crowd(10);
    let limits = SqlLimits {
        time: Duration::ZERO,
        ..SqlLimits::default()
    };
    let sql = "SELECT name FROM pods WHERE owner_uid = 'Deployment-a-x'";
    let prepared = cluster
        .engine
        .prepare(sql, &AccessSet::all())
        .await
        .unwrap();
    assert!(prepared.is_key_lookup());
    let text = message(limited(&cluster, limits, sql).await);
    assert!(text.contains("ran longer than 0ns"), "{text}");
}

/// Each pod has two containers: 2^30 rows of each, made piece by piece.
#[tokio::test]
async fn time_of_elements_of_elements() {
    let cluster = crowd(10);
    let lists: Vec<String> = (0..30)
        .map(|at| format!("UNNEST(p.spec.containers) AS c{at}"))
        .collect();
    let lists = lists.join(", ");
    for (condition, lookup) in [
        ("true", false),
        ("c29.name = 'none'", false),
        ("c29.name = 'none' AND p.owner_uid = 'Deployment-a-x'", true),
    ] {
        let select = if lookup { "c29.name" } else { "count(*) AS n" };
        let sql = format!("SELECT {select} FROM pods p, {lists} WHERE {condition}");
        let limits = SqlLimits {
            time: Duration::from_millis(200),
            ..SqlLimits::default()
        };
        let engine = &cluster.engine;
        let prepared = engine.prepare(&sql, &AccessSet::all()).await.unwrap();
        assert_eq!(prepared.is_key_lookup(), lookup, "{sql}");
        let start = tokio::time::Instant::now();
        let text = message(limited(&cluster, limits, &sql).await);
        assert!(text.contains("ran longer than 200ms"), "{text}");
        let elapsed = start.elapsed();
        assert!(elapsed < Duration::from_secs(10), "{sql}: {elapsed:?}");
    }
}

#[tokio::test]
async fn a_statement_that_is_dropped_stops() {
    let cluster = crowd(100);
    for sql in ENDLESS {
        let start = tokio::time::Instant::now();
        let run = limited(&cluster, SqlLimits::default(), sql);
        assert!(
            tokio::time::timeout(Duration::from_millis(200), run)
                .await
                .is_err(),
            "{sql}"
        );
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{sql}: {:?}",
            start.elapsed()
        );
    }
}

/// Windows keep all that they read, and ask no pool for it.
#[tokio::test]
async fn memory_of_windows() {
    let cluster = crowd(100);
    let limits = SqlLimits {
        statement_bytes: 4 << 20,
        ..SqlLimits::default()
    };
    for window in [
        "count(*) OVER ()",
        "row_number() OVER (ORDER BY a.uid)",
        "sum(length(a.name)) OVER (PARTITION BY a.namespace ORDER BY b.uid ROWS BETWEEN 1 PRECEDING AND UNBOUNDED FOLLOWING)",
    ] {
        let sql = format!(
            "SELECT max(w.n) FROM (SELECT a.name || b.name || c.name AS name, {window} AS n FROM pods a, pods b, pods c) w \
             WHERE length(w.name) > 0"
        );
        let text = message(limited(&cluster, limits.clone(), &sql).await);
        assert!(text.contains("more memory"), "{window}: {text}");
    }
    let few = "SELECT max(w.n) FROM (SELECT count(*) OVER () AS n FROM pods) w";
    assert_eq!(limited(&cluster, limits, few).await.unwrap(), 1);
}

/// What the thread has computed so far; none once it has ended.
fn computed(thread: &std::path::Path) -> Option<Duration> {
    let text = std::fs::read_to_string(thread.join("schedstat")).ok()?;
    let nanoseconds = text.split(' ').next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

/// What a statement may compute after it was cancelled.
const AFTER_THE_END: Duration = match cfg!(debug_assertions) {
    // Nothing is optimised in the dev profile.
    true => Duration::from_millis(60),
    false => Duration::from_millis(20),
};
/// The same for what sorts, and then cannot be stopped before it has merged a run.
const AFTER_A_SORT: Duration = AFTER_THE_END.saturating_mul(10);

/// Cancels a statement when it has computed for `first`; what it computed after that. None if it
/// has ended before.
fn cancelled(cluster: &Cluster, sql: &str, first: Duration) -> Option<Duration> {
    let limits = SqlLimits {
        statement_bytes: 1 << 30,
        time: FOR_EVER,
        ..SqlLimits::default()
    };
    let engine = Engine::new(cluster.reader.clone(), limits);
    engine.set_catalog(Catalog::new(catalog_tables()));
    let (tell, told) = std::sync::mpsc::channel();
    let (other, snapshot) = (engine.clone(), cluster.snapshot());
    let statement = sql.to_owned();
    let running = std::thread::spawn(move || {
        let thread = std::fs::read_link("/proc/thread-self").unwrap();
        let thread = std::path::Path::new("/proc").join(thread);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let prepared = runtime
            .block_on(other.prepare(&statement, &AccessSet::all()))
            .unwrap();
        tell.send((thread.clone(), computed(&thread))).unwrap();
        let answer = runtime.block_on(other.execute(&prepared, &[], &snapshot));
        (answer.map(|answer| answer.rows), computed(&thread).unwrap())
    });
    let (thread, start) = told.recv().unwrap();
    let begun = start.unwrap() + first;
    let mut at = begun;
    while let Some(now) = computed(&thread) {
        at = now;
        if at > begun {
            break;
        }
        std::thread::yield_now();
    }
    engine.cancel_largest(0, |_| "enough".to_owned());
    let (answer, end) = running.join().unwrap();
    assert_eq!(
        engine.held(),
        Held::default(),
        "{sql}: memory is given back"
    );
    if answer.is_ok() {
        return None;
    }
    let message = "enough".to_owned();
    assert_eq!(answer, Err(SqlError::Cancelled { message }), "{sql}");
    Some(end.saturating_sub(at))
}

#[test]
fn a_cancelled_statement_stops_wherever_it_computes() {
    let cluster = crowd(200);
    let three = "pods a, pods b, (SELECT name, uid FROM pods ORDER BY uid LIMIT 4) c";
    let pairs = "(SELECT a.name || b.name AS name, a.namespace FROM pods a, pods b)";
    let statements = [
        format!(
            "SELECT count(*) FROM {pairs} l JOIN {pairs} r ON l.name || r.name LIKE '%no%such%'"
        ),
        format!(
            "SELECT count(*) FROM {pairs} l LEFT JOIN {pairs} r ON l.namespace = r.namespace AND l.name || r.name LIKE '%no%'"
        ),
        format!(
            "SELECT count(*) FROM {pairs} l WHERE EXISTS (SELECT 1 FROM {pairs} r WHERE r.namespace = l.namespace)"
        ),
        format!(
            "SELECT count(*) FROM {pairs} l WHERE NOT EXISTS (SELECT 1 FROM {pairs} r WHERE r.namespace = l.namespace AND r.name || l.name LIKE '%no%')"
        ),
        format!(
            "SELECT a.name || b.name || c.name AS name FROM {three} ORDER BY reverse(a.name || b.name || c.name) OFFSET 159999"
        ),
        format!(
            "SELECT count(*) FROM (SELECT a.name, b.name, c.name, count(*) FROM {three}, pods d GROUP BY 1, 2, 3) x"
        ),
        format!("SELECT count(DISTINCT a.name || b.name || c.name) FROM {three}"),
        format!(
            "SELECT max(x.n) FROM (SELECT sum(length(a.name)) OVER (ORDER BY a.name, b.name, c.name) AS n FROM {three}) x"
        ),
        format!(
            "SELECT max(x.n) FROM (SELECT rank() OVER (PARTITION BY a.name ORDER BY reverse(b.name), c.name) AS n FROM {three}) x"
        ),
        format!(
            "SELECT count(*) FROM {three}, pods d, pods e WHERE a.object LIKE '%proxy%no%such%' OR b.spec.containers LIKE d.name"
        ),
    ];
    let mut stopped = 0;
    for sql in &statements {
        for first in [200, 1000].map(Duration::from_millis) {
            let Some(after) = cancelled(&cluster, sql, first) else {
                continue;
            };
            println!("{after:?} after {first:?}: {sql}");
            let most = if sql.contains("ORDER BY reverse") || sql.contains("OVER") {
                AFTER_A_SORT
            } else {
                AFTER_THE_END
            };
            assert!(after < most, "{after:?} after {first:?}: {sql}");
            stopped += 1;
        }
    }
    assert!(stopped > statements.len(), "{stopped} were cancelled");
}

/// How often a statement returns to the runtime before it has its answer.
async fn returns(cluster: &Cluster, sql: &str) -> usize {
    let prepared = cluster
        .engine
        .prepare(sql, &AccessSet::all())
        .await
        .unwrap();
    let snapshot = cluster.snapshot();
    let mut run = std::pin::pin!(cluster.engine.execute(&prepared, &[], &snapshot));
    let mut returns = 0;
    std::future::poll_fn(|context| {
        let poll = run.as_mut().poll(context);
        returns += usize::from(poll.is_pending());
        poll
    })
    .await
    .unwrap();
    returns
}

/// Each part of a table is unpacked by itself, also where nothing in it is found.
#[tokio::test]
async fn a_scan_that_finds_nothing_can_be_stopped() {
    let cluster = crowd(200);
    for sql in [
        "SELECT name FROM pods WHERE spec.containers LIKE '%no%such%'",
        "SELECT count(*) FROM pods WHERE object LIKE '%no%such%'",
        "SELECT name FROM pods ORDER BY reverse(name)",
    ] {
        let returns = returns(&cluster, sql).await;
        // Four rows are read together here, and eight such parts at once.
        assert!(returns >= 200 / 4 / 8, "{sql}: {returns}");
    }
}

/// Longer than anything here may take.
const FOR_EVER: Duration = Duration::from_secs(60);

/// Waits until what runs is as wanted.
async fn until(engine: &Engine, wanted: impl Fn(&Held) -> bool) -> Held {
    let seen = async {
        loop {
            let held = engine.held();
            if wanted(&held) {
                return held;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(FOR_EVER, seen).await.expect("in time")
}

fn run(
    engine: &Engine,
    cluster: &Cluster,
    sql: &str,
) -> tokio_util::task::AbortOnDropHandle<Result<usize, SqlError>> {
    let (engine, snapshot, sql) = (engine.clone(), cluster.snapshot(), sql.to_owned());
    let statement = async move {
        let prepared = engine.prepare(&sql, &AccessSet::all()).await?;
        Ok(engine.execute(&prepared, &[], &snapshot).await?.rows)
    };
    let tasks = tokio_util::task::TaskTracker::new();
    tokio_util::task::AbortOnDropHandle::new(tasks.spawn(statement))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_statement_that_holds_most_is_cancelled_and_the_other_finishes() {
    let cluster = crowd(50);
    let engine = cluster.engine.clone();
    assert_eq!(
        engine.cancel_largest(0, |_| String::new()),
        None,
        "nothing runs"
    );
    // Each left side is collected: whole objects are more than names.
    let large = "SELECT count(*) FROM pods a, pods b, pods c, pods d, pods e \
        WHERE a.object || b.object || c.name || d.name || e.name LIKE '%no%such%'";
    let small = "SELECT count(*) FROM pods a, pods b, pods c WHERE a.name || b.name || c.name LIKE '%no%such%'";
    let small = run(&engine, &cluster, small);
    let large = run(&engine, &cluster, large);
    until(&engine, |held| held.largest_bytes > 10_000).await;
    let cancelled = engine.cancel_largest(0, |bytes| format!("held {bytes}"));
    let bytes = cancelled.expect("one was cancelled");
    assert!(bytes > 10_000, "{bytes}");
    let error = tokio::time::timeout(FOR_EVER, large)
        .await
        .unwrap()
        .unwrap();
    let message = format!("held {bytes}");
    assert_eq!(error, Err(SqlError::Cancelled { message }));
    let rows = tokio::time::timeout(FOR_EVER, small)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(rows, Ok(1));
    assert_eq!(engine.held(), Held::default(), "memory is given back");
    assert_eq!(engine.limits_met(), 0, "no limit was met");
}

#[tokio::test]
async fn what_a_cancelled_statement_holds_is_ending_and_it_is_not_cancelled_twice() {
    let running = std::sync::Arc::new(crate::running::Running::default());
    let [first, second] = [running.begin(), running.begin()];
    first.statement.has_answered(30);
    second.statement.has_answered(20);
    assert_eq!(running.cancel_largest(31, |_| "too small".to_owned()), None);
    assert_eq!(running.cancel_largest(0, |_| "a".to_owned()), Some(30));
    let held = running.held();
    let wanted = Held {
        statements: 2,
        working_bytes: 0,
        answer_bytes: 50,
        largest_bytes: 20,
        ending_bytes: 30,
    };
    assert_eq!(held, wanted);
    assert_eq!(running.cancel_largest(0, |_| "b".to_owned()), Some(20));
    assert_eq!(running.cancel_largest(0, |_| "c".to_owned()), None);
    let message = "a".to_owned();
    assert_eq!(
        first.statement.wait().await,
        SqlError::Cancelled { message }
    );
    drop((first, second));
    assert_eq!(running.held(), Held::default());
}

/// A sort gives no batches until it is done; the memory that it asks for is the next chance.
#[test]
fn a_cancelled_statement_gets_no_more_memory() {
    use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryConsumer, MemoryPool};
    use std::sync::Arc;
    let running = Arc::new(crate::running::Running::default());
    let ticket = running.begin();
    let all: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(1000));
    let statement = Arc::clone(&ticket.statement);
    let pool: Arc<dyn MemoryPool> = Arc::new(crate::memory::StatementPool::new(
        Arc::clone(&all),
        100,
        statement,
    ));
    let reservation = MemoryConsumer::new("sort").register(&pool);
    reservation.try_grow(60).unwrap();
    assert_eq!(running.held().working_bytes, 60);
    assert_eq!(running.cancel_largest(0, |_| "why".to_owned()), Some(60));
    let error = reservation.try_grow(1).unwrap_err();
    let error = crate::bind::own(&error, SqlError::execution);
    let message = "why".to_owned();
    assert_eq!(error, SqlError::Cancelled { message });
    drop(reservation);
    assert_eq!((running.held().working_bytes, all.reserved()), (0, 0));
}

#[tokio::test]
async fn planned_statements_are_counted_and_can_be_forgotten() {
    let cluster = Cluster::new();
    let engine = &cluster.engine;
    let plan = async |sql: &str| {
        engine.prepare(sql, &AccessSet::all()).await.unwrap();
        engine.cached_plan_bytes()
    };
    let one = plan("SELECT name FROM pods").await;
    assert!(one > 0);
    assert_eq!(plan("SELECT name FROM pods").await, one, "it is kept once");
    let two = plan("SELECT p.name FROM pods p JOIN nodes n ON n.name = p.spec.nodeName").await;
    assert!(two > 2 * one, "{two}: a larger plan");
    plan("SELECT name FROM pods").await;
    // The one that was not asked for the longest goes first.
    assert_eq!(engine.evict_plans(1), two - one);
    assert_eq!(
        (engine.cached_plans(), engine.cached_plan_bytes()),
        (1, one)
    );
    assert_eq!(engine.evict_plans(usize::MAX), one);
    assert_eq!((engine.cached_plans(), engine.cached_plan_bytes()), (0, 0));
    assert_eq!(plan("SELECT name FROM pods").await, one);
}
