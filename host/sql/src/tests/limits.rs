//! Every bound fails loudly.

use std::time::Duration;

use super::fixture::{Cluster, catalog_tables, pod};
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
    let cluster = crowd(100);
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
