//! Parameters, types, order and fingerprints.

use super::fixture::{Cluster, pod, text};
use crate::{AccessSet, Param, SqlError};
use serde_json::json;

#[tokio::test]
async fn parameters_take_the_type_of_what_they_meet() {
    let cluster = Cluster::new();
    for (sql, params, rows) in [
        (
            "SELECT name FROM pods WHERE namespace = $1",
            vec![Param::from("b")],
            1,
        ),
        (
            "SELECT name FROM deployments WHERE spec.replicas = $1",
            vec![Param::Int(3)],
            1,
        ),
        (
            "SELECT name FROM deployments WHERE spec.replicas = $1",
            vec![Param::from("3")],
            1,
        ),
        (
            "SELECT name FROM deployments WHERE spec.replicas >= $1",
            vec![Param::Float(2.0)],
            2,
        ),
        (
            "SELECT name FROM apps WHERE spec.replicas = $1",
            vec![Param::Int(3)],
            1,
        ),
        (
            "SELECT name FROM nodes WHERE spec.unschedulable = $1",
            vec![Param::Bool(true)],
            1,
        ),
        (
            "SELECT name FROM pods WHERE creation_timestamp > $1",
            vec![Param::from("2026-01-01T00:00:00Z")],
            5,
        ),
        (
            "SELECT name FROM pods WHERE name = $1",
            vec![Param::Null],
            0,
        ),
        (
            "SELECT name FROM pods WHERE name IN ($1, $2)",
            vec![Param::from("shop-1"), Param::from("blog-1")],
            3,
        ),
        (
            "SELECT name FROM pods WHERE $1 IS NULL",
            vec![Param::Null],
            5,
        ),
        (
            "SELECT name FROM pods ORDER BY name LIMIT $1",
            vec![Param::Int(2)],
            2,
        ),
        (
            "SELECT name FROM pods WHERE name LIKE $1 AND lower($2) = 'x'",
            vec![Param::from("shop%"), Param::from("X")],
            4,
        ),
        (
            "SELECT name FROM nodes WHERE name = $2 OR name = $1 OR name = $2",
            vec![Param::from("n1"), Param::from("n2")],
            2,
        ),
        (
            "SELECT * FROM (VALUES ($1, $2), ('b', 3)) AS v (a, b) WHERE a = 'x'",
            vec![Param::from("x"), Param::Int(1)],
            1,
        ),
        (
            "SELECT $1 AS a, $2::bigint AS b",
            vec![Param::from("x"), Param::Int(1)],
            1,
        ),
        (
            "SELECT name FROM nodes WHERE (SELECT count(*) FROM pods WHERE namespace = $1) = $2",
            vec![Param::from("a"), Param::Int(4)],
            3,
        ),
    ] {
        let answer = cluster.ask(sql, &params).await;
        let answer = answer.unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert_eq!(answer.rows, rows, "{sql}\n{}", text(&answer));
    }
}

#[tokio::test]
async fn parameters_that_do_not_fit_are_errors() {
    let cluster = Cluster::new();
    for (sql, params) in [
        (
            "SELECT name FROM deployments WHERE spec.replicas = $1",
            vec![Param::from("many")],
        ),
        ("SELECT name FROM pods WHERE name = $1", vec![]),
        (
            "SELECT name FROM pods WHERE name = $2",
            vec![Param::from("x")],
        ),
        (
            "SELECT name FROM pods WHERE creation_timestamp > $1",
            vec![Param::from("yesterday")],
        ),
        (
            "SELECT name FROM pods ORDER BY 1 LIMIT $1",
            vec![Param::from("x")],
        ),
    ] {
        let error = cluster.ask(sql, &params).await.expect_err(sql);
        assert!(matches!(error, SqlError::Params { .. }), "{sql}: {error:?}");
    }
}

#[tokio::test]
async fn json_becomes_parameters() {
    let params: Vec<Param> = json!([null, true, 3, 1.5, "x", {"a": 1}])
        .as_array()
        .unwrap()
        .iter()
        .cloned()
        .map(Param::from)
        .collect();
    assert_eq!(
        params,
        [
            Param::Null,
            Param::Bool(true),
            Param::Int(3),
            Param::Float(1.5),
            Param::from("x"),
            Param::from("{\"a\":1}")
        ]
    );
}

#[tokio::test]
async fn answers_do_not_depend_on_the_order_of_arrival() {
    let names = ["p1", "p2", "p3", "p4", "p5", "p6"];
    let make = |order: Vec<&str>| {
        let mut cluster = Cluster::empty();
        for name in order {
            let mut object = pod("a", name, "x", Some("n1"), "Running", json!("1"));
            object["metadata"]["resourceVersion"] = json!("1");
            cluster.put(object);
        }
        cluster
    };
    let (forth, back) = (
        make(names.to_vec()),
        make(names.iter().rev().copied().collect()),
    );
    for sql in [
        "SELECT namespace, name, status.phase FROM pods",
        "SELECT status.phase, name FROM pods ORDER BY status.phase",
        "SELECT name FROM pods ORDER BY namespace LIMIT 2",
        "SELECT status.phase, count(*) FROM pods GROUP BY 1",
        "SELECT x.name, y.name AS other FROM pods x JOIN pods y ON x.namespace = y.namespace",
    ] {
        let (one, other) = (
            forth.ask(sql, &[]).await.unwrap(),
            back.ask(sql, &[]).await.unwrap(),
        );
        assert_eq!(text(&one), text(&other), "{sql}");
        assert_eq!(one.fingerprint, other.fingerprint, "{sql}");
    }
}

#[tokio::test]
async fn fingerprints_tell_answers_apart() {
    let cluster = Cluster::new();
    let mut seen = std::collections::HashMap::new();
    for sql in [
        "SELECT name FROM nodes",
        "SELECT name AS n FROM nodes",
        "SELECT name FROM nodes ORDER BY name DESC",
        "SELECT name FROM nodes WHERE name <> 'n1'",
        "SELECT name FROM nodes WHERE false",
        "SELECT uid FROM nodes WHERE false",
        "SELECT 1 AS name",
        "SELECT '1' AS name",
        "SELECT NULL AS name",
        "SELECT '' AS name",
        "SELECT 'a' AS x, 'bc' AS y",
        "SELECT 'ab' AS x, 'c' AS y",
        "SELECT count(*) AS name FROM nodes",
    ] {
        let fingerprint = cluster.ask(sql, &[]).await.unwrap().fingerprint;
        if let Some(other) = seen.insert(fingerprint, sql) {
            panic!("{sql} and {other} have the same fingerprint");
        }
        assert_eq!(
            cluster.ask(sql, &[]).await.unwrap().fingerprint,
            fingerprint
        );
    }
}

#[tokio::test]
async fn now_is_a_value_of_the_execution() {
    let cluster = Cluster::new();
    let sql = "SELECT name, now() AS at FROM nodes WHERE creation_timestamp < now() - interval '1 hour' AND name = 'n1'";
    let error = cluster.ask(sql, &[]).await.expect_err("no clock");
    assert!(matches!(error, SqlError::Params { .. }), "{error:?}");
    let time = std::sync::Arc::new(std::sync::atomic::AtomicI64::new(1_767_326_645_000_000));
    let engine = {
        let time = time.clone();
        cluster
            .engine
            .with_clock(move || time.load(std::sync::atomic::Ordering::Relaxed))
    };
    let prepared = engine.prepare(sql, &AccessSet::all()).await.unwrap();
    assert!(prepared.uses_now());
    // Created at 03:04:05; half an hour later nothing is old enough.
    let before = engine
        .execute(&prepared, &[], &cluster.snapshot())
        .await
        .unwrap();
    time.fetch_add(7200 * 1_000_000, std::sync::atomic::Ordering::Relaxed);
    let after = engine
        .execute(&prepared, &[], &cluster.snapshot())
        .await
        .unwrap();
    assert_eq!((before.rows, after.rows), (0, 1));
    assert_eq!(
        text(&after),
        "name text | at time\nn1 | 2026-01-02T06:04:05Z"
    );
}

#[tokio::test]
async fn what_a_prepared_statement_tells() {
    let cluster = Cluster::new();
    let prepare = async |sql: &str| {
        cluster
            .engine
            .prepare(sql, &AccessSet::all())
            .await
            .unwrap()
    };
    assert!(
        prepare("SELECT name FROM pods LIMIT 1")
            .await
            .has_arbitrary_limit()
    );
    assert!(
        !prepare("SELECT name FROM pods ORDER BY name LIMIT 1")
            .await
            .has_arbitrary_limit()
    );
    assert!(
        prepare("SELECT kind FROM kybern.kinds")
            .await
            .reads_system_tables()
    );
    assert!(prepare("EXPLAIN SELECT name FROM pods").await.is_explain());
    assert_eq!(
        prepare("SELECT name FROM pods WHERE name = $3")
            .await
            .param_count(),
        3
    );
    let tables =
        prepare("SELECT p.name FROM pods p, nodes WHERE p.name IN (SELECT name FROM apps)").await;
    let kinds: Vec<_> = tables
        .tables()
        .iter()
        .map(|key| key.kind.to_string())
        .collect();
    assert_eq!(kinds, ["Node", "Pod", "App"]);
    let named = cluster
        .engine
        .tables_of("SELECT p.unknown FROM pods p", &AccessSet::all())
        .unwrap();
    assert_eq!(named.len(), 1);
}

#[tokio::test]
async fn plans_are_kept_and_bounded() {
    let cluster = Cluster::new();
    let all = AccessSet::all();
    let limits = crate::SqlLimits {
        cached_plans: 2,
        ..Default::default()
    };
    let engine = crate::Engine::new(cluster.reader.clone(), limits);
    engine.set_catalog(crate::Catalog::new(super::fixture::catalog_tables()));
    let first = engine.prepare("SELECT name FROM pods", &all).await.unwrap();
    let again = engine.prepare("SELECT name FROM pods", &all).await.unwrap();
    assert!(std::sync::Arc::ptr_eq(&first.planned, &again.planned));
    for table in ["nodes", "apps", "services"] {
        engine
            .prepare(&format!("SELECT name FROM {table}"), &all)
            .await
            .unwrap();
        assert!(engine.cached_plans() <= 2);
    }
    let later = engine.prepare("SELECT name FROM pods", &all).await.unwrap();
    assert!(
        !std::sync::Arc::ptr_eq(&first.planned, &later.planned),
        "it was evicted"
    );
    engine.set_catalog(crate::Catalog::new(Vec::new()));
    let error = engine
        .prepare("SELECT name FROM pods", &all)
        .await
        .expect_err("new catalog");
    assert!(
        error.to_string().contains("there is no table pods"),
        "{error}"
    );
}

#[tokio::test]
async fn explain_analyze_runs_the_statement() {
    let cluster = Cluster::new();
    let text = cluster
        .text(
            "EXPLAIN ANALYZE SELECT count(*) FROM pods WHERE status.phase = 'Running'",
            &[],
            &AccessSet::all(),
        )
        .await;
    assert!(text.contains("run in the general lane: 1 rows"), "{text}");
    assert!(
        text.contains("SnapshotScan: core.pods") && text.contains("output_rows=3"),
        "{text}"
    );
}

/// As long as statements may be, on the stack of a test.
#[tokio::test]
async fn long_statements_are_answered() {
    let cluster = Cluster::new();
    let any: Vec<String> = (0..80).map(|n| format!("name || '' = 'n{n}'")).collect();
    let sql = format!("SELECT name FROM nodes WHERE {}", any.join(" OR "));
    assert_eq!(cluster.rows(&sql).await, ["n1", "n2", "n3"]);
    let list: Vec<String> = (0..2000).map(|n| format!("'n{n}'")).collect();
    let sql = format!("SELECT name FROM nodes WHERE name IN ({})", list.join(", "));
    assert_eq!(cluster.rows(&sql).await, ["n1", "n2", "n3"]);
    let deep = format!(
        "SELECT name FROM nodes WHERE {}name = 'n1'{}",
        "(".repeat(40),
        ")".repeat(40)
    );
    assert_eq!(cluster.rows(&deep).await, ["n1"]);
    let sets = vec!["SELECT name FROM nodes"; 40].join(" UNION ALL ");
    assert_eq!(cluster.rows(&sets).await.len(), 120);
}

/// A count without a condition reads no row.
#[tokio::test]
async fn counts_come_from_the_table() {
    let cluster = Cluster::new();
    let all = AccessSet::all();
    let text = cluster
        .text("EXPLAIN ANALYZE SELECT count(*) FROM pods", &[], &all)
        .await;
    assert!(!text.contains("SnapshotScan"), "{text}");
    assert_eq!(cluster.rows("SELECT count(*) FROM pods").await, ["5"]);
}

/// A CRD's schema may change while its plans are kept.
#[tokio::test]
async fn a_schema_that_changes_is_seen_by_the_next_statement() {
    use crate::{AccessSet, Catalog};
    let mut cluster = Cluster::new();
    cluster.put(super::fixture::app(
        "a",
        "seven",
        json!({ "size": "7", "note": "x" }),
    ));
    let sql =
        "SELECT spec.size AS size FROM example_com.apps WHERE name = 'seven' AND spec.size > '10'";
    let access = AccessSet::all();
    let texts = cluster.engine.prepare(sql, &access).await.unwrap();
    assert_eq!(
        cluster.text(sql, &[], &access).await,
        "size text\n7",
        "as texts"
    );

    let mut tables = super::fixture::catalog_tables();
    let apps = tables
        .iter_mut()
        .find(|table| table.def.plural == "apps")
        .unwrap();
    let size = ["spec", "size"].map(|key| crate::PathStep::Key(key.into()));
    apps.types.insert(size.into(), kybern_table::PathType::Int);
    cluster.engine.set_catalog(Catalog::new(tables));
    // A number is compared as one; text is no number.
    assert_eq!(cluster.text(sql, &[], &access).await, "size int");
    cluster.put(super::fixture::app("a", "seven", json!({ "size": 70 })));
    assert_eq!(cluster.text(sql, &[], &access).await, "size int\n70");
    // Who prepared before has what was known then.
    let old = cluster
        .engine
        .execute(&texts, &[], &cluster.snapshot())
        .await
        .unwrap();
    assert_eq!(super::fixture::text(&old), "size text\n70");

    // The field is gone, and so is the kind: no plan of it is left to be found.
    let gone = super::fixture::catalog_tables();
    let gone = gone
        .into_iter()
        .filter(|table| table.def.plural != "apps")
        .collect();
    cluster.engine.set_catalog(Catalog::new(gone));
    let answer = cluster.text(sql, &[], &access).await;
    assert!(answer.contains("there is no table"), "{answer}");
}

#[tokio::test]
async fn few_rows_of_large_chunks_are_the_same_rows() {
    let mut cluster = Cluster::empty_with_chunks(20);
    for number in 0..50 {
        let phase = if number % 20 == 3 {
            "Failed"
        } else {
            "Running"
        };
        let node = (number != 23).then(|| format!("node-of-some-length-{number}"));
        let name = format!("pod-with-a-long-name-{number:02}");
        let node = node.as_deref();
        cluster.put(pod("a", &name, "shop", node, phase, json!("1")));
        if number == 4 {
            // Its first state is dead.
            cluster.put(pod("a", &name, "shop", node, "Failed", json!("2")));
        }
    }
    let rows = cluster
        .rows(
            "SELECT name, status.phase, spec.nodeName, labels, generation FROM pods
             WHERE status.phase = 'Failed'",
        )
        .await;
    let labels = r#"{"app":"shop","app.kubernetes.io/name":"shop"}"#;
    let row = |number: &str, node: &str| {
        format!("pod-with-a-long-name-{number} | Failed | {node} | {labels} | 1")
    };
    assert_eq!(
        rows,
        [
            row("03", "node-of-some-length-3"),
            row("04", "node-of-some-length-4"),
            row("23", "NULL"),
            row("43", "node-of-some-length-43"),
        ]
    );
}
