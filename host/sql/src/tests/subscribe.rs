//! What subscriptions tell, what it costs, and what is refused.

use std::time::Duration;

use bytes::Bytes;
use kybern_table::{Batch, Change, Origin, Sequence, StoreConfig, store};
use serde_json::{Value, json};

use super::fixture::{Cluster, app, catalog_tables, deployment, kind, pod};
use super::folding::{Folded, RUN, lines, sequence, subscribe};
use crate::subscribe::Evaluated;
use crate::{AccessSet, Catalog, Engine, Mark, SqlError, SqlLimits, Subscription};

async fn told(subscription: &mut Subscription, cluster: &Cluster) -> Vec<String> {
    let told = subscription.advance(&cluster.snapshot()).await.unwrap();
    subscription.passed_on();
    assert_eq!(told.sequence, cluster.snapshot().sequence());
    let Some(rows) = told.rows else {
        return Vec::new();
    };
    assert_eq!(sequence(&rows), told.sequence.0);
    lines(&rows)
}

fn scaled(replicas: i64) -> Value {
    deployment("a", "shop", replicas, Some(2))
}

#[tokio::test]
async fn first_all_rows_and_then_what_becomes_of_them() {
    let mut cluster = Cluster::new();
    let sql = "SUBSCRIBE SELECT namespace, name, spec.replicas AS r FROM deployments \
        WHERE spec.replicas > 1 ORDER BY name DESC";
    let mut deployments = subscribe(&cluster, sql).await.unwrap();
    assert_eq!(
        told(&mut deployments, &cluster).await,
        ["insert a | shop | 3", "insert b | shop | 2"]
    );
    assert!(told(&mut deployments, &cluster).await.is_empty());
    cluster.put(scaled(5));
    cluster.put(deployment("a", "blog", 2, None));
    cluster.delete(deployment("b", "shop", 2, None));
    assert_eq!(
        told(&mut deployments, &cluster).await,
        [
            "insert a | blog | 2",
            "update a | shop | 3 -> a | shop | 5",
            "delete b | shop | 2"
        ]
    );
    // What comes and goes between two tellings was never there; the last of many is told.
    cluster.put(deployment("a", "new", 9, None));
    for replicas in 6..20 {
        cluster.put(scaled(replicas));
    }
    cluster.delete(deployment("a", "new", 9, None));
    assert_eq!(
        told(&mut deployments, &cluster).await,
        ["update a | shop | 5 -> a | shop | 19"]
    );
    // So is nothing, where all is as it was told.
    cluster.put(scaled(1));
    cluster.put(scaled(19));
    assert!(told(&mut deployments, &cluster).await.is_empty());
    // A row that no longer meets the condition is gone.
    cluster.put(scaled(1));
    assert_eq!(
        told(&mut deployments, &cluster).await,
        ["delete a | shop | 19"]
    );
}

#[tokio::test]
async fn an_object_of_another_uid_under_the_same_name_is_an_update_by_name_only() {
    let mut cluster = Cluster::new();
    let mut other = scaled(3);
    other["metadata"]["uid"] = json!("another");
    let by_name =
        "SUBSCRIBE WITH (SNAPSHOT false) SELECT namespace, name, uid AS id FROM deployments";
    let mut by_uid = subscribe(&cluster, &by_name.replace("uid AS id", "uid"))
        .await
        .unwrap();
    let both = by_name.replace("uid AS id", "left(uid, 10) AS id");
    let mut by_name = subscribe(&cluster, &both).await.unwrap();
    assert!(told(&mut by_uid, &cluster).await.is_empty());
    assert!(told(&mut by_name, &cluster).await.is_empty());
    cluster.put(other);
    assert_eq!(
        told(&mut by_name, &cluster).await,
        ["update a | shop | Deployment -> a | shop | another"]
    );
    assert_eq!(
        told(&mut by_uid, &cluster).await,
        [
            "delete a | shop | Deployment-a-shop",
            "insert a | shop | another"
        ]
    );
}

#[tokio::test]
async fn groups_are_updated_and_other_rows_counted() {
    let mut cluster = Cluster::new();
    let mut phases = subscribe(
        &cluster,
        "SUBSCRIBE SELECT status.phase AS phase, count(*) AS n FROM pods GROUP BY status.phase",
    )
    .await
    .unwrap();
    let mut total = subscribe(&cluster, "SUBSCRIBE SELECT count(*) AS n FROM pods")
        .await
        .unwrap();
    let mut names = subscribe(&cluster, "SUBSCRIBE SELECT name FROM pods")
        .await
        .unwrap();
    let joined = "SUBSCRIBE WITH (SNAPSHOT false) SELECT d.name, p.name AS pod FROM deployments d \
        JOIN pods p ON p.owner_uid = d.uid";
    let mut joined = subscribe(&cluster, joined).await.unwrap();
    assert_eq!(
        told(&mut phases, &cluster).await,
        [
            "insert Failed | 1",
            "insert Pending | 1",
            "insert Running | 3"
        ]
    );
    assert_eq!(told(&mut total, &cluster).await, ["insert 5"]);
    assert_eq!(told(&mut names, &cluster).await.len(), 5);
    assert!(told(&mut joined, &cluster).await.is_empty());
    cluster.put(pod("a", "shop-3", "shop", None, "Running", json!(2)));
    cluster.put(pod("b", "shop-3", "shop", None, "New", json!(2)));
    assert_eq!(
        told(&mut phases, &cluster).await,
        [
            "insert New | 1",
            "delete Pending | 1",
            "update Running | 3 -> Running | 4"
        ]
    );
    assert_eq!(told(&mut total, &cluster).await, ["update 5 -> 6"]);
    assert_eq!(told(&mut names, &cluster).await, ["insert shop-3"]);
    assert_eq!(told(&mut joined, &cluster).await, ["insert shop | shop-3"]);
}

fn many(count: usize) -> Cluster {
    let mut cluster = Cluster::empty_with_chunks(512);
    let changes = (0..count).map(|number| {
        let mut object = app("a", &format!("app-{number}"), json!({"size": number}));
        object["metadata"]["resourceVersion"] = json!("101");
        Change::Upsert {
            table: kind("App"),
            raw: Bytes::from(object.to_string()),
            origin: Origin::Watch,
        }
    });
    cluster.apply(changes.collect());
    // What is put next is newer than those.
    cluster.put(scaled(1));
    cluster
}

#[tokio::test]
async fn a_change_of_one_row_beside_ten_thousand_costs_one_row() {
    let mut cluster = many(10_000);
    let sql = "SUBSCRIBE SELECT name, upper(spec.size) AS size FROM apps WHERE namespace = 'a'";
    let mut apps = subscribe(&cluster, sql).await.unwrap();
    assert_eq!(told(&mut apps, &cluster).await.len(), 10_000);
    let begun = Evaluated {
        rows: 0,
        answers: 1,
    };
    assert_eq!(apps.evaluated(), begun);
    cluster.put(app("a", "app-77", json!({"size": "x"})));
    // Another table's changes cost nothing.
    cluster.put(scaled(7));
    assert_eq!(
        told(&mut apps, &cluster).await,
        ["delete app-77 | 77", "insert app-77 | X"]
    );
    // Its state before, and after.
    assert_eq!(apps.evaluated(), Evaluated { rows: 2, ..begun });
    for round in 0..50 {
        cluster.put(app("a", "app-77", json!({"size": round})));
    }
    assert_eq!(told(&mut apps, &cluster).await.len(), 2);
    assert_eq!(apps.evaluated(), Evaluated { rows: 4, ..begun });
    // Neither a snapshot nor an answer is held.
    assert_eq!(cluster.reader.stats().snapshots_held, 0);
    assert_eq!(cluster.engine.held().bytes(), 0);
}

#[tokio::test]
async fn a_query_is_answered_again_only_when_something_changed_that_it_reads() {
    let mut cluster = Cluster::new();
    let sql = "SUBSCRIBE SELECT d.name, count(*) AS pods FROM deployments d \
        JOIN pods p ON p.owner_uid = d.uid WHERE d.namespace = 'a' AND d.name = 'shop' GROUP BY d.name";
    let mut pods = subscribe(&cluster, sql).await.unwrap();
    assert_eq!(told(&mut pods, &cluster).await, ["insert shop | 3"]);
    // Columns that it does not read, rows of other deployments, other tables.
    cluster.put(scaled(9));
    cluster.put(pod("a", "shop-1", "shop", None, "Failed", json!("1")));
    cluster.put(pod("b", "shop-9", "shop", None, "Running", json!("1")));
    cluster.put(app("a", "shop", json!({})));
    assert!(told(&mut pods, &cluster).await.is_empty());
    assert_eq!(pods.evaluated().answers, 1);
    cluster.put(pod("a", "shop-9", "shop", None, "Running", json!("1")));
    assert_eq!(
        told(&mut pods, &cluster).await,
        ["update shop | 3 -> shop | 4"]
    );
    assert_eq!(pods.evaluated().answers, 2);
}

/// A reader that does not come back for long: what waits for it does not grow.
#[tokio::test]
async fn a_slow_reader_holds_no_more_and_is_told_less() {
    let mut cluster = many(500);
    let by_row = "SUBSCRIBE SELECT uid, spec.size AS size FROM apps";
    let by_answer = "SUBSCRIBE SELECT uid, max(spec.size) AS size FROM apps GROUP BY uid";
    let mut both = [
        subscribe(&cluster, by_row).await.unwrap(),
        subscribe(&cluster, by_answer).await.unwrap(),
    ];
    let mut folded = [Folded::default(), Folded::default()];
    for (subscription, folded) in both.iter_mut().zip(&mut folded) {
        let first = subscription.advance(&cluster.snapshot()).await.unwrap();
        // What was told counts until it has been passed on.
        let told = cluster.engine.held().bytes();
        assert!(told > 10_000, "{told}");
        folded
            .fold(&first.rows.unwrap(), subscription.key())
            .unwrap();
        subscription.passed_on();
    }
    let held = cluster.engine.held();
    for round in 0..2000 {
        cluster.put(app(
            "a",
            &format!("app-{}", round % 10),
            json!({"size": round}),
        ));
    }
    assert_eq!(cluster.engine.held(), held, "nothing was kept meanwhile");
    assert_eq!(cluster.reader.stats().snapshots_held, 0);
    for (subscription, folded) in both.iter_mut().zip(&mut folded) {
        let late = subscription.advance(&cluster.snapshot()).await.unwrap();
        let rows = late.rows.unwrap();
        assert_eq!(rows.num_rows(), 10, "the last of each");
        folded.fold(&rows, subscription.key()).unwrap();
        let now = cluster
            .ask("SELECT uid, spec.size AS size FROM apps", &[])
            .await
            .unwrap();
        assert_eq!(*folded, Folded::of(&now));
    }
}

#[tokio::test]
async fn what_is_kept_can_be_wanted_back() {
    let mut cluster = many(500);
    let sql = "SUBSCRIBE SELECT DISTINCT name FROM apps";
    let mut names = subscribe(&cluster, sql).await.unwrap();
    told(&mut names, &cluster).await;
    let bytes = cluster.engine.held().bytes();
    assert!(bytes > 5_000, "{bytes}");
    let kept = names.kept();
    let cancelled = cluster.engine.cancel_largest(1, |_| "enough".to_owned());
    assert_eq!(cancelled, Some(bytes));
    assert_eq!(kept.cancelled().await.to_string(), "enough");
    cluster.put(app("a", "new", json!({})));
    let error = names.advance(&cluster.snapshot()).await.unwrap_err();
    assert_eq!(error.to_string(), "enough");
    drop((names, kept));
    assert_eq!(cluster.engine.held().statements, 0);
}

fn resume(mark: Mark, query: &str) -> String {
    format!("SUBSCRIBE WITH (RESUME '{mark}') {query}")
}

#[tokio::test]
async fn who_comes_back_goes_on_behind_the_mark() {
    let mut cluster = Cluster::new();
    for query in [
        "SELECT uid, spec.replicas AS r FROM deployments",
        "SELECT d.uid, sum(d.spec.replicas) AS r FROM deployments d JOIN apps a ON d.owner_uid = a.uid GROUP BY d.uid",
        "SELECT count(*) AS n, max(spec.replicas) AS r FROM deployments",
    ] {
        let mut first = subscribe(&cluster, &format!("SUBSCRIBE {query}"))
            .await
            .unwrap();
        told(&mut first, &cluster).await;
        let mark = first.mark().unwrap();
        for replicas in 30..33 {
            cluster.put(scaled(replicas));
        }
        let there = deployment("b", "shop", 2, None);
        cluster.delete(there.clone());
        cluster.put(deployment("a", "later", 8, None));
        let mut second = subscribe(&cluster, &resume(mark, query)).await.unwrap();
        let missed = told(&mut second, &cluster).await;
        assert_eq!(missed, told(&mut first, &cluster).await, "{query}");
        assert!(!missed.is_empty(), "{query}");
        // And from there on.
        cluster.put(there);
        cluster.put(scaled(3));
        cluster.delete(deployment("a", "later", 8, None));
        let later = told(&mut second, &cluster).await;
        assert_eq!(later, told(&mut first, &cluster).await, "{query}");
        assert!(!later.is_empty(), "{query}");
    }
}

#[tokio::test]
async fn what_is_too_old_says_so() {
    let (mut writer, reader) = store(StoreConfig {
        log_entries: 10,
        ..StoreConfig::default()
    });
    let def = catalog_tables().remove(0).def;
    let table = def.key.clone();
    let list = |resource_version| {
        let (begin, end) = (table.clone(), table.clone());
        vec![
            Change::ListBegin { table: begin },
            Change::ListEnd {
                table: end,
                resource_version,
            },
        ]
    };
    let mut apply = |changes| assert!(writer.apply(Batch { changes }).errors.is_empty());
    apply(vec![Change::Define(def.clone())]);
    apply(list(1));
    let engine = Engine::new(reader.clone(), SqlLimits::default());
    engine.set_catalog(Catalog::new(catalog_tables()));
    let ask = async |sql: &str| {
        let asked = crate::parse_subscribe(sql).unwrap().unwrap();
        engine.subscribe(&asked, &AccessSet::all(), RUN).await
    };
    let put = |version: u64| {
        let mut object = app("a", "one", json!({ "size": version }));
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        vec![Change::Upsert {
            table: table.clone(),
            raw: Bytes::from(object.to_string()),
            origin: Origin::Watch,
        }]
    };
    let query = "SELECT uid, spec.size AS size FROM apps";
    let mut first = ask(&format!("SUBSCRIBE {query}")).await.unwrap();
    first.advance(&reader.snapshot()).await.unwrap();
    let mark = first.mark().unwrap();
    let another = Mark {
        run: RUN + 1,
        ..mark
    };
    let error = ask(&resume(another, query)).await.unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(error, SqlError::TooOld { .. }) && text.contains("another host"),
        "{text}"
    );
    (2..9).for_each(|version| apply(put(version)));
    let mut second = ask(&resume(mark, query)).await.unwrap();
    let told = second.advance(&reader.snapshot()).await.unwrap();
    assert_eq!(told.rows.unwrap().num_rows(), 1);
    let mut late = ask(&resume(mark, query)).await.unwrap();
    let mut whole = ask(&resume(mark, "SELECT count(*) AS n FROM apps"))
        .await
        .unwrap();
    (9..40).for_each(|version| apply(put(version)));
    for subscription in [&mut first, &mut late, &mut whole] {
        let error = subscription.advance(&reader.snapshot()).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, SqlError::TooOld { .. }), "{text}");
        assert!(
            text.contains("oldest") && text.contains("without RESUME"),
            "{text}"
        );
    }
    // A sequence that has not come.
    let next = Mark {
        sequence: Sequence(reader.snapshot().sequence().0 + 1),
        ..mark
    };
    let mut early = ask(&resume(next, query)).await.unwrap();
    let error = early.advance(&reader.snapshot()).await.unwrap_err();
    assert!(error.to_string().contains("has not come yet"), "{error}");
    // The rows of a table that was dropped are not in the log.
    let mut third = ask(&format!("SUBSCRIBE {query}")).await.unwrap();
    third.advance(&reader.snapshot()).await.unwrap();
    let mark = third.mark().unwrap();
    apply(vec![Change::Drop(table.clone()), Change::Define(def)]);
    let error = third.advance(&reader.snapshot()).await.unwrap_err();
    assert!(matches!(error, SqlError::NotReady { .. }), "{error}");
    apply(list(50));
    let mut again = ask(&resume(mark, query)).await.unwrap();
    for subscription in [&mut third, &mut again] {
        let error = subscription.advance(&reader.snapshot()).await.unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(error, SqlError::TooOld { .. }) && text.contains("defined again"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn what_cannot_be_told_is_refused() {
    let cluster = Cluster::new();
    for (sql, why) in [
        ("SUBSCRIBE SELECT now() AS t", "now() is another"),
        (
            "SUBSCRIBE SELECT name FROM pods WHERE creation_timestamp < now() - INTERVAL '1 hour'",
            "now() is another",
        ),
        ("SUBSCRIBE SELECT * FROM kybern.kinds", "no change log"),
        ("SUBSCRIBE SELECT name FROM pods LIMIT 2", "write ORDER BY"),
        (
            "SUBSCRIBE SELECT name FROM pods WHERE name = $1",
            "no parameters",
        ),
        ("SUBSCRIBE SELECT random() AS r", "no function random"),
        ("SUBSCRIBE SELECT nme FROM pods", "no column nme"),
        (
            "SUBSCRIBE WITH (RESUME '12') SELECT name FROM pods",
            "is no mark",
        ),
        (
            "SUBSCRIBE WITH (RESUME 12) SELECT name FROM pods",
            "is no mark",
        ),
    ] {
        let error = subscribe(&cluster, sql).await.map(|_| ()).expect_err(sql);
        assert!(error.render(sql).contains(why), "{}", error.render(sql));
    }
    // Elsewhere a statement has one answer.
    let error = cluster.ask("SUBSCRIBE SELECT 1", &[]).await.unwrap_err();
    assert!(error.to_string().contains("kybern sql"), "{error}");
    let mut loading = subscribe(&Cluster::loading(), "SUBSCRIBE SELECT name FROM pods")
        .await
        .unwrap();
    let error = loading
        .advance(&Cluster::loading().snapshot())
        .await
        .unwrap_err();
    assert!(matches!(error, SqlError::NotReady { .. }), "{error}");
}

#[tokio::test]
async fn what_depends_on_the_order_of_rows_is_told_but_not_resumed() {
    let cluster = Cluster::new();
    let mark = Mark {
        sequence: Sequence(1),
        run: RUN,
    };
    for (query, is_resumed) in [
        ("SELECT name FROM pods ORDER BY spec.nodeName", true),
        (
            "SELECT name FROM pods ORDER BY spec.nodeName, uid LIMIT 2",
            true,
        ),
        (
            "SELECT name AS n FROM pods ORDER BY name, namespace LIMIT 2 OFFSET 1",
            true,
        ),
        ("SELECT name FROM pods ORDER BY name LIMIT 2", false),
        (
            "SELECT name FROM pods ORDER BY name LIMIT 2 OFFSET 1",
            false,
        ),
        (
            "SELECT row_number() OVER (ORDER BY name) AS n, uid FROM pods",
            false,
        ),
        ("SELECT array_agg(name) AS n FROM pods", false),
        (
            "SELECT count(*), max(name), sum(spec.replicas), avg(spec.replicas) FROM deployments",
            true,
        ),
        ("SELECT sum(quantity(spec.size)) FROM apps", false),
        (
            "SELECT name FROM nodes WHERE name IN (SELECT string_agg(name, ',') FROM pods)",
            false,
        ),
    ] {
        let begun = subscribe(&cluster, &format!("SUBSCRIBE {query}")).await;
        assert!(begun.is_ok(), "{query}: {begun:?}");
        let resumed = subscribe(&cluster, &resume(mark, query)).await.map(|_| ());
        let said = resumed.map_err(|error| error.to_string());
        assert_eq!(said.is_ok(), is_resumed, "{query}: {said:?}");
        let why = said.err().unwrap_or_default();
        assert_eq!(why.contains("cannot be resumed"), !is_resumed, "{why}");
    }
}

#[tokio::test]
async fn explain_says_how_it_is_told() {
    let cluster = Cluster::new();
    let explained = async |sql: &str| {
        let asked = crate::parse_subscribe(sql).unwrap().unwrap();
        let all = AccessSet::all();
        let answer = cluster
            .engine
            .explain_subscription(&asked, &all)
            .await
            .unwrap();
        let text = super::fixture::text(&answer);
        text.lines().skip(1).take(3).collect::<Vec<_>>().join("\n")
    };
    for (query, how, key) in [
        ("SELECT * FROM pods", "by row", "key: uid"),
        (
            "SELECT name, namespace FROM pods ORDER BY spec.nodeName",
            "by row",
            "key: namespace, name",
        ),
        ("SELECT name FROM nodes", "by row", "key: name"),
        ("SELECT name FROM pods", "by row", "key: none"),
        (
            "SELECT uid FROM pods ORDER BY uid LIMIT 3",
            "by answer",
            "key: uid",
        ),
        (
            "SELECT p.uid, c.image FROM pods p, UNNEST(p.spec.containers) AS c",
            "by row",
            "key: none",
        ),
        (
            "SELECT DISTINCT name, namespace FROM nodes",
            "by answer",
            "key: name",
        ),
        (
            "SELECT count(*) FROM pods",
            "by answer",
            "key: none is needed",
        ),
        (
            "SELECT count(*), namespace AS ns FROM pods GROUP BY namespace",
            "by answer",
            "key: ns",
        ),
        (
            "SELECT count(*) FROM pods GROUP BY namespace",
            "by answer",
            "key: none,",
        ),
        (
            "SELECT p.uid, d.uid AS of FROM pods p LEFT JOIN deployments d ON p.owner_uid = d.uid",
            "by answer",
            "key: uid, of",
        ),
        (
            "SELECT name FROM pods UNION ALL SELECT name FROM pods",
            "by answer",
            "key: none,",
        ),
    ] {
        let text = explained(&format!("EXPLAIN SUBSCRIBE {query}")).await;
        assert!(text.contains(how) && text.contains(key), "{query}\n{text}");
        assert!(text.contains("lane: "), "{query}\n{text}");
    }
}

#[tokio::test]
async fn who_may_see_a_part_is_told_of_that_part() {
    let mut cluster = Cluster::new();
    let asked = crate::parse_subscribe("SUBSCRIBE SELECT uid, name FROM pods")
        .unwrap()
        .unwrap();
    let access = AccessSet::of(vec![crate::TableAccess {
        table: kind("Pod"),
        scope: crate::RowScope::OwnNamespace,
    }]);
    let access = access.in_namespace("a");
    let mut own = cluster
        .engine
        .subscribe(&asked, &access, RUN)
        .await
        .unwrap();
    assert_eq!(told(&mut own, &cluster).await.len(), 4);
    cluster.put(pod("b", "other", "shop", None, "Running", json!(1)));
    cluster.put(pod("a", "own", "shop", None, "Running", json!(1)));
    let told = told(&mut own, &cluster).await;
    assert_eq!(told, ["insert Pod-a-own | own"]);
}

#[tokio::test]
async fn a_busy_table_does_not_keep_a_thread_busy() {
    let cluster = Cluster::new();
    let by_row = subscribe(&cluster, "SUBSCRIBE SELECT name FROM pods")
        .await
        .unwrap();
    let by_answer = subscribe(&cluster, "SUBSCRIBE SELECT count(*) FROM pods")
        .await
        .unwrap();
    let second = Duration::from_secs(1);
    assert!(by_row.pause(second) >= Duration::from_millis(10));
    assert!(by_answer.pause(Duration::ZERO) >= Duration::from_millis(100));
    assert_eq!(by_answer.pause(second), 4 * second);
    assert!(by_answer.pause(1000 * second) <= 10 * second);
}
