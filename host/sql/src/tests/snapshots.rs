//! One snapshot for each statement, whenever the store changes.

use super::fixture::{Cluster, LOADED, kind, pod};
use crate::{AccessSet, SqlError};
use kybern_table::Change;
use serde_json::json;

#[tokio::test]
async fn a_commit_between_prepare_and_execute_is_seen_or_not_as_the_snapshot_says() {
    let mut cluster = Cluster::new();
    let all = AccessSet::all();
    for sql in [
        "SELECT count(*) AS n FROM pods",
        "SELECT name FROM pods WHERE namespace = 'a' AND name = 'new'",
        "SELECT (SELECT count(*) FROM pods) AS n, count(*) AS m FROM pods",
        "SELECT name FROM nodes WHERE EXISTS (SELECT 1 FROM pods WHERE name = 'new')",
    ] {
        let before = cluster.snapshot();
        let prepared = cluster.engine.prepare(sql, &all).await.unwrap();
        let first = cluster
            .engine
            .execute(&prepared, &[], &before)
            .await
            .unwrap();
        let new = pod("a", "new", "x", None, "Pending", json!("1"));
        cluster.put(new.clone());
        let old = cluster
            .engine
            .execute(&prepared, &[], &before)
            .await
            .unwrap();
        let seen = cluster
            .engine
            .execute(&prepared, &[], &cluster.snapshot())
            .await
            .unwrap();
        assert_eq!(first.fingerprint, old.fingerprint, "{sql}");
        assert_ne!(first.fingerprint, seen.fingerprint, "{sql}");
        cluster.delete(new);
        let gone = cluster
            .engine
            .execute(&prepared, &[], &cluster.snapshot())
            .await
            .unwrap();
        assert_eq!(first.fingerprint, gone.fingerprint, "{sql}");
    }
}

/// Two counts of one table, in one statement, while another thread adds and
/// removes pods: they can only differ when they read different snapshots.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subqueries_read_the_same_snapshot_while_the_store_changes() {
    let mut cluster = Cluster::new();
    let (engine, reader) = (cluster.engine.clone(), cluster.reader.clone());
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = stop.clone();
    let writer = std::thread::spawn(move || {
        let mut commits = 0;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            let object = pod(
                "a",
                &format!("p{}", commits % 50),
                "x",
                Some("n1"),
                "Running",
                json!("1"),
            );
            if commits % 3 == 2 {
                cluster.delete(object)
            } else {
                cluster.put(object)
            }
            commits += 1;
        }
        commits
    });
    let sql = "SELECT count(*) AS a, (SELECT count(*) FROM pods WHERE name <> '') AS b, \
               (SELECT count(*) FROM pods x JOIN pods y ON x.uid = y.uid) AS c FROM pods";
    let prepared = engine.prepare(sql, &AccessSet::all()).await.unwrap();
    let mut answers = std::collections::HashSet::new();
    for _ in 0..60 {
        let answer = engine
            .execute(&prepared, &[], &reader.snapshot())
            .await
            .unwrap();
        let row = super::fixture::text(&answer)
            .lines()
            .nth(1)
            .unwrap()
            .to_owned();
        let cells: Vec<&str> = row.split(" | ").collect();
        assert!(cells.iter().all(|cell| *cell == cells[0]), "{row}");
        answers.insert(row);
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(writer.join().unwrap() > 0);
    assert!(answers.len() > 1, "the store never changed: {answers:?}");
}

#[tokio::test]
async fn tables_that_cannot_be_read_fail_with_the_reason() {
    let mut cluster = Cluster::loading();
    let reason = async |cluster: &Cluster, sql: &str| match cluster.ask(sql, &[]).await {
        Err(SqlError::NotReady { name, reason, .. }) => format!("{name}: {reason}"),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        reason(&cluster, "SELECT count(*) FROM pods").await,
        "core.pods: it is still being loaded"
    );
    assert_eq!(
        reason(&cluster, "SELECT name FROM pods WHERE uid = 'x'").await,
        "core.pods: it is still being loaded"
    );
    assert_eq!(
        reason(
            &cluster,
            "SELECT 1 AS x WHERE EXISTS (SELECT 1 FROM core.events)"
        )
        .await,
        "core.events: it is not watched yet"
    );
    for name in LOADED {
        cluster.apply(vec![
            Change::ListBegin { table: kind(name) },
            Change::ListEnd {
                table: kind(name),
                resource_version: 1,
            },
        ]);
    }
    assert_eq!(cluster.rows("SELECT count(*) AS n FROM pods").await, ["0"]);
    cluster.apply(vec![Change::Fail {
        table: kind("Pod"),
        reason: "list pods is forbidden".to_owned(),
    }]);
    assert_eq!(
        reason(&cluster, "SELECT 1 AS x FROM nodes, pods").await,
        "core.pods: list pods is forbidden"
    );
    assert_eq!(cluster.rows("SELECT count(*) AS n FROM nodes").await, ["0"]);
}
