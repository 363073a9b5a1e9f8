//! Every bound fails loudly.

use std::time::Duration;

use super::fixture::{Cluster, catalog_tables, pod};
use crate::{AccessSet, Catalog, Engine, SqlError, SqlLimits};
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
    assert_eq!(engine.held_bytes(), 0, "memory is given back");
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
