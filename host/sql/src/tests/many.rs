//! Many sets of parameters of one statement: which are joined, and how.

use std::time::Duration;

use super::fixture::{Cluster, catalog_tables, kind, pod, text};
use super::read_sets::covers;
use crate::{
    AccessSet, Answer, Catalog, Engine, Held, Param, Prepared, RowScope, SqlError, SqlLimits,
    TableAccess,
};
use serde_json::json;

fn set(texts: &[&str]) -> Vec<Param> {
    texts.iter().map(|text| Param::from(*text)).collect()
}

/// All that an answer is.
fn whole(answer: &Result<Answer, SqlError>) -> Result<(String, u128, String), SqlError> {
    let answer = answer.as_ref().map_err(Clone::clone)?;
    let schema = format!("{:?}", answer.schema);
    Ok((text(answer), answer.fingerprint, schema))
}

async fn alone(
    engine: &Engine,
    prepared: &Prepared,
    sets: &[Vec<Param>],
    snapshot: &kybern_table::Snapshot,
) -> Vec<Result<(String, u128, String), SqlError>> {
    let mut answers = Vec::new();
    for set in sets {
        answers.push(whole(&engine.execute(prepared, set, snapshot).await));
    }
    answers
}

/// The texts of the answers, which are those of each set alone, also if they are joined.
async fn joined(cluster: &Cluster, sql: &str, sets: &[Vec<Param>]) -> Vec<String> {
    let (engine, snapshot) = (&cluster.engine, cluster.snapshot());
    let prepared = engine.prepare(sql, &AccessSet::all()).await;
    let prepared = prepared.unwrap_or_else(|error| panic!("{sql}\n{}", error.render(sql)));
    let wanted = alone(engine, &prepared, sets, &snapshot).await;
    let many = engine.execute_many(&prepared, sets, &snapshot).await;
    let many: Vec<_> = many.iter().map(whole).collect();
    assert_eq!(many, wanted, "{sql}");
    let joined = engine.execute_joined(&prepared, sets, &snapshot).await;
    let joined = joined.unwrap_or_else(|why| panic!("{sql}\n{why}"));
    let joined: Vec<_> = joined.iter().map(whole).collect();
    assert_eq!(joined, wanted, "{sql}");
    let texts = wanted.into_iter().map(|answer| answer.unwrap().0);
    texts.collect()
}

/// A line for each row, without the header; rows are separated by `;`.
fn rows(texts: &[String]) -> Vec<String> {
    let rows = |text: &String| text.lines().skip(1).collect::<Vec<_>>().join("; ");
    texts.iter().map(rows).collect()
}

#[tokio::test]
async fn each_set_has_its_answer() {
    let cluster = Cluster::new();
    let sets = [set(&["a"]), set(&["b"]), set(&["none"])];
    for (sql, wanted) in [
        (
            "SELECT name FROM deployments WHERE namespace = $1",
            ["blog; shop", "shop", ""],
        ),
        (
            "SELECT name, spec.replicas FROM deployments WHERE $1 = namespace AND spec.replicas > 1",
            ["shop | 3", "shop | 2", ""],
        ),
        (
            "SELECT x.n FROM (SELECT name AS n, namespace AS ns FROM deployments) x WHERE x.ns = $1",
            ["blog; shop", "shop", ""],
        ),
        (
            "SELECT count(*) FROM pods WHERE namespace = $1",
            ["4", "1", "0"],
        ),
        (
            "SELECT count(*) AS n, max(name) AS last, sum(spec.replicas) AS sum, bool_or(spec.paused) AS any \
             FROM deployments WHERE namespace = $1",
            [
                "2 | shop | 4 | NULL",
                "1 | shop | 2 | NULL",
                "0 | NULL | NULL | NULL",
            ],
        ),
        (
            "SELECT labels['app'] AS app, count(*) AS n FROM pods WHERE namespace = $1 GROUP BY 1",
            ["blog | 1; shop | 3", "shop | 1", ""],
        ),
        (
            "SELECT labels['app'] AS app FROM pods WHERE namespace = $1 GROUP BY 1 HAVING count(*) > 1",
            ["shop", "", ""],
        ),
        (
            "SELECT count(*) FROM pods WHERE namespace = $1 HAVING count(*) > 1",
            ["4", "", ""],
        ),
        (
            "SELECT DISTINCT namespace FROM pods WHERE namespace = $1",
            ["a", "b", ""],
        ),
        (
            "SELECT count(DISTINCT labels['app']) FROM pods WHERE namespace = $1",
            ["2", "1", "0"],
        ),
        (
            "SELECT count(*) FILTER (WHERE status.phase = 'Running') FROM pods WHERE namespace = $1",
            ["3", "0", "0"],
        ),
        (
            "SELECT p.name FROM deployments d JOIN pods p ON p.owner_uid = d.uid WHERE d.namespace = $1 AND d.name = 'shop'",
            ["shop-1; shop-2; shop-3", "shop-1", ""],
        ),
        (
            "SELECT d.name, count(p.uid) AS n FROM deployments d LEFT JOIN pods p ON p.owner_uid = d.uid \
             AND p.status.phase = 'Running' WHERE d.namespace = $1 GROUP BY d.name",
            ["blog | 1; shop | 2", "shop | 0", ""],
        ),
        (
            "SELECT d.name, p.name AS pod FROM pods p RIGHT JOIN deployments d ON p.owner_uid = d.uid \
             AND p.status.phase = 'Pending' WHERE d.namespace = $1",
            ["blog | NULL; shop | shop-3", "shop | NULL", ""],
        ),
        (
            "SELECT s.name FROM services s WHERE s.namespace = $1 AND NOT EXISTS \
             (SELECT 1 FROM pods p WHERE p.namespace = $1 AND p.labels['app'] = s.spec.selector.app)",
            ["old", "", ""],
        ),
        (
            "SELECT s.name FROM services s WHERE s.namespace = $1 AND s.spec.selector.app IN \
             (SELECT labels['app'] FROM pods WHERE namespace = $1)",
            ["shop", "shop", ""],
        ),
        // The sides know different columns of the same parameter.
        (
            "SELECT s.name, p.name AS pod FROM services s JOIN pods p ON p.labels['app'] = s.spec.selector.app \
             WHERE s.namespace = $1 AND p.namespace = $1",
            [
                "shop | shop-1; shop | shop-2; shop | shop-3",
                "shop | shop-1",
                "",
            ],
        ),
        // A group beside a row, and two groups beside each other.
        (
            "SELECT a.name, x.n FROM apps a, (SELECT count(*) AS n FROM pods WHERE namespace = $1) x WHERE a.namespace = $1",
            ["blog | 4; shop | 4", "shop | 1", ""],
        ),
        (
            "SELECT x.n, y.n AS m FROM (SELECT count(*) AS n FROM pods WHERE namespace = $1) x, \
             (SELECT count(*) AS n FROM services WHERE namespace = $1) y",
            ["4 | 2", "1 | 1", "0 | 0"],
        ),
        // One that is the same for all.
        (
            "SELECT d.name, x.n FROM deployments d, (SELECT count(*) AS n FROM nodes) x WHERE d.namespace = $1",
            ["blog | 3; shop | 3", "shop | 3", ""],
        ),
        // A parameter that a group must equal.
        (
            "SELECT x.n FROM (SELECT namespace AS ns, count(*) AS n FROM pods GROUP BY 1) x WHERE x.ns = $1",
            ["4", "1", ""],
        ),
    ] {
        let answers = joined(&cluster, sql, &sets).await;
        assert_eq!(rows(&answers), wanted, "{sql}");
    }
}

#[tokio::test]
async fn sets_of_several_parameters() {
    let cluster = Cluster::new();
    let name = set(&["a", "shop"]);
    let sets = [
        name.clone(),
        set(&["b", "shop"]),
        set(&["b", "blog"]),
        name.clone(),
        vec![Param::Null, "shop".into()],
        name,
    ];
    for (sql, wanted) in [
        (
            "SELECT uid FROM deployments WHERE namespace = $1 AND name = $2",
            ["Deployment-a-shop", "Deployment-b-shop", ""],
        ),
        (
            "SELECT p.name FROM deployments d JOIN pods p ON p.owner_uid = d.uid WHERE d.namespace = $1 AND d.name = $2",
            ["shop-1; shop-2; shop-3", "shop-1", ""],
        ),
        // Neither side knows all that the other one knows.
        (
            "SELECT d.uid FROM deployments d, nodes n, pods p WHERE d.namespace = $1 AND p.labels['app'] = $2 \
             AND n.name = p.spec.nodeName AND n.name = 'n2' AND d.name = p.labels['app'] AND p.namespace = d.namespace",
            ["Deployment-a-shop", "Deployment-b-shop", ""],
        ),
        (
            "SELECT max(x.n) FROM (SELECT count(*) AS n FROM pods WHERE namespace = $1 GROUP BY labels['app']) x, \
             deployments d WHERE d.name = $2 AND d.namespace = $1",
            ["3", "1", "NULL"],
        ),
    ] {
        let rows = rows(&joined(&cluster, sql, &sets).await);
        let [first, second, third] = wanted.map(str::to_owned);
        let nothing = third.clone();
        let wanted = [first.clone(), second, third, first.clone(), nothing, first];
        assert_eq!(rows, wanted, "{sql}");
    }
}

#[tokio::test]
async fn values_are_cast_as_alone() {
    let cluster = Cluster::new();
    let sets = [
        vec![Param::Int(3)],
        vec![Param::from("3")],
        vec![Param::Float(1.0)],
        vec![Param::Null],
        vec![Param::Int(7)],
    ];
    for sql in [
        "SELECT name FROM deployments WHERE spec.replicas = $1",
        "SELECT name FROM apps WHERE spec.replicas = $1",
        "SELECT name FROM apps WHERE spec.replicas::bigint = $1",
        "SELECT count(*) FROM deployments WHERE spec.replicas = $1",
    ] {
        joined(&cluster, sql, &sets).await;
    }
    let times = [set(&["2026-01-02T03:04:05Z"]), set(&["2027-01-01"])];
    let sql = "SELECT count(*) FROM pods WHERE creation_timestamp = $1";
    assert_eq!(rows(&joined(&cluster, sql, &times).await), ["5", "0"]);
    let truths = [vec![Param::Bool(true)], vec![Param::from("false")]];
    let sql = "SELECT name FROM nodes WHERE spec.unschedulable = $1";
    assert_eq!(rows(&joined(&cluster, sql, &truths).await), ["n2", "n3"]);
}

/// A set that does not fit the statement has the error that it has alone, and no other set has.
#[tokio::test]
async fn sets_that_do_not_fit() {
    let cluster = Cluster::new();
    let (engine, snapshot) = (&cluster.engine, cluster.snapshot());
    let sql = "SELECT name FROM deployments WHERE spec.replicas = $1 AND namespace = $2";
    let prepared = engine.prepare(sql, &AccessSet::all()).await.unwrap();
    let sets = [
        set(&["3", "a"]),
        set(&["many", "a"]),
        set(&["3"]),
        set(&["2", "b"]),
        set(&["1", "a", "and more"]),
    ];
    let many = engine.execute_many(&prepared, &sets, &snapshot).await;
    let many: Vec<_> = many.iter().map(whole).collect();
    assert_eq!(many, alone(engine, &prepared, &sets, &snapshot).await);
    let fits: Vec<bool> = many.iter().map(Result::is_ok).collect();
    assert_eq!(fits, [true, false, false, true, true]);
    let none = engine.execute_many(&prepared, &[], &snapshot).await;
    assert!(none.is_empty());
}

/// Other statements are answered one by one, and EXPLAIN says why.
#[tokio::test]
async fn statements_that_are_not_joined() {
    let cluster = Cluster::new();
    let (engine, snapshot) = (&cluster.engine, cluster.snapshot());
    for (sql, why) in [
        (
            "SELECT name FROM pods WHERE namespace = $1 ORDER BY name",
            "it has an ORDER BY",
        ),
        (
            "SELECT name FROM pods WHERE namespace = $1 ORDER BY name LIMIT 1",
            "it has an ORDER BY",
        ),
        (
            "SELECT name FROM pods WHERE namespace = $1 LIMIT 1",
            "it has a LIMIT",
        ),
        (
            "SELECT DISTINCT ON (labels.app) name FROM pods WHERE namespace = $1 ORDER BY labels.app, name",
            "it has an ORDER BY",
        ),
        (
            "SELECT name, row_number() OVER (ORDER BY uid) AS n FROM pods WHERE namespace = $1",
            "it has a window function",
        ),
        (
            "SELECT name FROM pods WHERE namespace = $1 UNION ALL SELECT name FROM nodes",
            "it has a set operation",
        ),
        (
            "SELECT name FROM pods WHERE namespace <> $1",
            "$1 stands elsewhere than in column = $1",
        ),
        (
            "SELECT name FROM pods WHERE namespace = $1 OR name = 'x'",
            "$1 stands elsewhere than in column = $1",
        ),
        (
            "SELECT name FROM pods WHERE namespace IN ($1, 'b')",
            "$1 stands elsewhere than in column = $1",
        ),
        (
            "SELECT name, $1 AS asked FROM pods WHERE namespace = $1",
            "$1 stands elsewhere than in column = $1",
        ),
        (
            "SELECT name FROM pods WHERE namespace = $1 AND $1 = 'a'",
            "$1 stands elsewhere than in column = $1",
        ),
        (
            "SELECT name FROM pods WHERE NOT (namespace = $1)",
            "$1 stands elsewhere than in column = $1",
        ),
        (
            "SELECT count(*) FILTER (WHERE namespace = $1) FROM pods",
            "$1 stands elsewhere than in column = $1",
        ),
        (
            "SELECT d.name FROM deployments d LEFT JOIN pods p ON p.owner_uid = d.uid AND d.namespace = $1",
            "$1 stands elsewhere than in column = $1",
        ),
        (
            "SELECT d.name, p.name AS pod FROM deployments d LEFT JOIN pods p ON p.owner_uid = d.uid AND p.namespace = $1",
            "a parameter stands only on the side of a join that need not match",
        ),
        (
            "SELECT d.name FROM deployments d WHERE NOT EXISTS (SELECT 1 FROM pods p WHERE p.owner_uid = d.uid AND p.namespace = $1)",
            "a parameter stands only on the side of a join that need not match",
        ),
        (
            "SELECT p.name FROM pods p FULL JOIN nodes n ON n.name = p.spec.nodeName WHERE coalesce(p.namespace, 'a') = $1",
            "it has a Full join",
        ),
        (
            "SELECT name FROM pods WHERE namespace = $1 AND spec.nodeName NOT IN (SELECT name FROM nodes)",
            "it has a join in which NULL equals NULL, or a NOT IN",
        ),
        (
            "SELECT name FROM pods WHERE namespace = $1 AND name = (SELECT max(name) FROM pods)",
            "it has a subquery that is no join",
        ),
        (
            "SELECT string_agg(name, ',') AS names FROM pods WHERE namespace = $1",
            "string_agg depends on the order of rows",
        ),
        (
            "SELECT avg(spec.replicas) FROM deployments WHERE namespace = $1",
            "avg depends on the order of rows",
        ),
        (
            "SELECT sum(spec.weight::double precision) FROM deployments WHERE namespace = $1",
            "sum of numbers with a fraction depends on the order of rows",
        ),
        (
            "SELECT spec.weight::double precision AS w FROM deployments WHERE namespace = $1 GROUP BY 1",
            "it groups by a number with a fraction",
        ),
        (
            "SELECT name FROM apps WHERE spec.size::double precision = $1",
            "$1 stands elsewhere than in column = $1",
        ),
        (
            "SELECT namespace, name, count(*) FROM pods WHERE namespace = $1 GROUP BY ROLLUP (namespace, name)",
            "it has a GroupingSet",
        ),
        (
            "SELECT kind FROM kybern.kinds WHERE kind = $1",
            "it reads a table about the host",
        ),
        (
            "SELECT name AS __set_key_1 FROM pods WHERE namespace = $1",
            "it names a column __set_...",
        ),
    ] {
        let prepared = engine.prepare(sql, &AccessSet::all()).await;
        let prepared = prepared.unwrap_or_else(|error| panic!("{sql}\n{}", error.render(sql)));
        let explained = engine.explain(&prepared, &[], &snapshot).await.unwrap();
        let line = explained.lines().nth(1).unwrap();
        assert_eq!(
            line,
            format!("set-oriented: no, {why}"),
            "{sql}\n{explained}"
        );
        let sets = match sql.contains("precision = $1") {
            true => [
                vec![Param::Float(10.0)],
                vec![Param::Int(2)],
                vec![Param::Null],
            ],
            false => [set(&["a"]), set(&["Pod"]), vec![Param::Null]],
        };
        let joined = engine.execute_joined(&prepared, &sets, &snapshot).await;
        assert_eq!(
            joined.map(|answers| answers.len()),
            Err(why.to_owned()),
            "{sql}"
        );
        let many = engine.execute_many(&prepared, &sets, &snapshot).await;
        let many: Vec<_> = many.iter().map(whole).collect();
        assert_eq!(
            many,
            alone(engine, &prepared, &sets, &snapshot).await,
            "{sql}"
        );
        assert!(many[0].is_ok(), "{sql}: {many:?}");
    }
}

#[tokio::test]
async fn explain_says_whether_a_statement_is_joined() {
    let cluster = Cluster::new();
    let all = AccessSet::all();
    let sql = "EXPLAIN SELECT name FROM pods WHERE uid = $1";
    let text = cluster.text(sql, &[], &all).await;
    let wanted = "lane: 1, key look-up\nset-oriented: yes, many askers are answered by one join\n";
    assert!(text.contains(wanted), "{text}");
    let sql = "EXPLAIN SELECT name FROM pods WHERE uid = 'x'";
    let text = cluster.text(sql, &[], &all).await;
    assert!(!text.contains("set-oriented"), "{text}");
    // An EXPLAIN is answered for each set too.
    let (engine, snapshot) = (&cluster.engine, cluster.snapshot());
    let sql = "EXPLAIN SELECT name FROM pods WHERE uid = $1";
    let prepared = engine.prepare(sql, &all).await.unwrap();
    let sets = [set(&["one"]), set(&["other"])];
    let many = engine.execute_many(&prepared, &sets, &snapshot).await;
    let many: Vec<_> = many.iter().map(whole).collect();
    assert_eq!(many, alone(engine, &prepared, &sets, &snapshot).await);
    assert_ne!(many[0], many[1]);
}

/// So many pods, each of an app and on a node of its own, in ten namespaces.
fn crowd(pods: usize) -> Cluster {
    let mut cluster = Cluster::empty();
    for number in 0..pods {
        let (namespace, app) = (format!("n{}", number % 10), format!("app-{number}"));
        let node = format!("node-{number}");
        let name = format!("p{number}");
        let object = pod(&namespace, &name, &app, Some(&node), "Running", json!("1"));
        cluster.put(object);
    }
    cluster
}

#[tokio::test]
async fn more_sets_than_one_join_has() {
    let cluster = crowd(40);
    let sets: Vec<_> = (0..2500)
        .map(|number| set(&[&format!("app-{number}")]))
        .collect();
    let (engine, snapshot) = (&cluster.engine, cluster.snapshot());
    for sql in [
        "SELECT name FROM pods WHERE labels['app'] = $1",
        "SELECT count(*) FROM pods WHERE labels['app'] = $1",
    ] {
        let prepared = engine.prepare(sql, &AccessSet::all()).await.unwrap();
        let many = engine.execute_many(&prepared, &sets, &snapshot).await;
        let many: Vec<_> = many.iter().map(whole).collect();
        assert_eq!(many, alone(engine, &prepared, &sets, &snapshot).await);
    }
}

/// The keys of all sets are one look-up, by pairs where a name needs a namespace.
#[tokio::test]
async fn keys_of_sets_are_looked_up() {
    let cluster = crowd(40);
    let (engine, snapshot) = (&cluster.engine, cluster.snapshot());
    let sets: Vec<_> = (0..1000)
        .map(|number| set(&[&format!("n{}", number % 200), &format!("p{number}")]))
        .collect();
    for (sql, wanted) in [
        (
            "SELECT name FROM pods WHERE uid = $2",
            "index uid (1000 keys)",
        ),
        (
            "SELECT name FROM pods WHERE namespace = $1 AND name = $2",
            "index name (1000 keys)",
        ),
        (
            "SELECT name FROM pods WHERE namespace = $1 AND name = $2 AND uid = 'x'",
            "index uid (1 keys)",
        ),
        (
            "SELECT count(*) FROM pods WHERE namespace = $1",
            "index namespace (200 keys)",
        ),
        (
            "SELECT count(*) FROM pods WHERE owner_uid = $1 AND status.phase = $2",
            "index owner_uid (200 keys)",
        ),
        (
            "SELECT name FROM pods WHERE labels['app'] = $2",
            "index metadata.labels.app (1000 keys)",
        ),
        (
            "SELECT name FROM pods WHERE status.phase = $2",
            "whole table, filter",
        ),
    ] {
        let prepared = engine.prepare(sql, &AccessSet::all()).await.unwrap();
        let plan = engine.joined_plan(&prepared, &sets, &snapshot).await;
        let plan: Vec<&str> = plan
            .lines()
            .map(|line| &line[..line.len().min(200)])
            .collect();
        let plan = plan.join("\n");
        assert!(plan.contains(wanted), "{sql}\n{plan}");
        assert!(plan.contains("HashJoin"), "{sql}\n{plan}");
    }
}

#[tokio::test]
async fn a_grant_holds_for_each_set() {
    let cluster = Cluster::new();
    let (engine, snapshot) = (&cluster.engine, cluster.snapshot());
    let labels = RowScope::Labels {
        own_namespace: true,
        match_labels: [("app".to_owned(), "shop".to_owned())].into(),
    };
    for (scope, sees) in [
        (RowScope::OwnNamespace, ["4", "0"]),
        (RowScope::Namespaces(["b".to_owned()].into()), ["0", "1"]),
        (labels, ["3", "0"]),
    ] {
        let table = kind("Pod");
        let access = AccessSet::of(vec![TableAccess { table, scope }]).in_namespace("a");
        let sql = "SELECT count(*) FROM pods WHERE namespace = $1";
        let prepared = engine.prepare(sql, &access).await.unwrap();
        let sets = [set(&["a"]), set(&["b"])];
        let joined = engine.execute_joined(&prepared, &sets, &snapshot).await;
        let texts = joined
            .unwrap()
            .iter()
            .map(|a| whole(a).unwrap().0)
            .collect::<Vec<_>>();
        assert_eq!(rows(&texts), sees);
    }
}

/// What one set's answer depends on is what it depends on alone, keys of joined rows included.
#[tokio::test]
async fn read_sets_are_those_of_each_set() {
    let mut cluster = Cluster::new();
    let sql = "SELECT p.name FROM deployments d JOIN pods p ON p.owner_uid = d.uid \
               WHERE d.namespace = $1 AND d.name = $2";
    let engine = cluster.engine.clone();
    let prepared = engine.prepare(sql, &AccessSet::all()).await.unwrap();
    let sets = [
        set(&["a", "shop"]),
        set(&["a", "blog"]),
        set(&["b", "shop"]),
    ];
    let before = cluster.snapshot();
    let old = engine
        .execute_joined(&prepared, &sets, &before)
        .await
        .unwrap();
    cluster.delete(pod("a", "blog-1", "blog", None, "Running", json!(1)));
    let after = cluster.snapshot();
    let new = engine
        .execute_joined(&prepared, &sets, &after)
        .await
        .unwrap();
    let changes = after.changes_since(before.sequence()).unwrap();
    let mut seen = Vec::new();
    for (params, (old, new)) in sets.iter().zip(old.into_iter().zip(new)) {
        let reads = prepared.read_set_at(params, &before).unwrap();
        let covered = changes.iter().any(|change| covers(&reads, change));
        seen.push((
            covered,
            old.unwrap().fingerprint != new.unwrap().fingerprint,
        ));
    }
    assert_eq!(seen, [(false, false), (true, true), (false, false)]);
}

fn limited(cluster: &Cluster, limits: SqlLimits) -> Engine {
    let engine = Engine::new(cluster.reader.clone(), limits);
    engine.set_catalog(Catalog::new(catalog_tables()));
    engine
}

#[tokio::test]
async fn a_set_with_too_many_rows_fails_alone() {
    let cluster = Cluster::new();
    let engine = limited(
        &cluster,
        SqlLimits {
            rows: 3,
            ..SqlLimits::default()
        },
    );
    let snapshot = cluster.snapshot();
    let sql = "SELECT name FROM pods WHERE namespace = $1";
    let prepared = engine.prepare(sql, &AccessSet::all()).await.unwrap();
    let sets = ["a", "b", "a", "c", "d", "e", "f"].map(|namespace| set(&[namespace]));
    let wanted = alone(&engine, &prepared, &sets, &snapshot).await;
    let met = engine.limits_met();
    let joined = engine
        .execute_joined(&prepared, &sets[..2], &snapshot)
        .await;
    assert_eq!(
        engine.limits_met(),
        met + 1,
        "a limit that is met is counted"
    );
    let joined: Vec<_> = joined.unwrap().iter().map(whole).collect();
    assert_eq!(joined, wanted[..2]);
    let many = engine.execute_many(&prepared, &sets, &snapshot).await;
    let many: Vec<_> = many.iter().map(whole).collect();
    assert_eq!(many, wanted);
    assert!(matches!(many[0], Err(SqlError::Limit { .. })) && many[1].is_ok());
}

/// One set that is too large makes others be asked again, in smaller joins.
#[tokio::test]
async fn a_join_that_is_too_large_is_halved() {
    let cluster = crowd(300);
    let snapshot = cluster.snapshot();
    let sql = "SELECT x.object FROM pods x JOIN pods y ON x.namespace = y.namespace WHERE x.labels['app'] = $1";
    let sets: Vec<_> = (0..300)
        .map(|number| set(&[&format!("app-{number}")]))
        .collect();
    for limits in [
        SqlLimits {
            answer_bytes: 200_000,
            ..SqlLimits::default()
        },
        SqlLimits {
            statement_bytes: 100_000,
            ..SqlLimits::default()
        },
    ] {
        let engine = limited(&cluster, limits.clone());
        let prepared = engine.prepare(sql, &AccessSet::all()).await.unwrap();
        let joined = engine.execute_joined(&prepared, &sets, &snapshot).await;
        assert_eq!(
            joined.map(|answers| answers.len()),
            Err("too much".to_owned()),
            "{limits:?}"
        );
        let few = engine
            .execute_joined(&prepared, &sets[..4], &snapshot)
            .await;
        assert!(few.is_ok(), "{limits:?} {few:?}");
        let many = engine.execute_many(&prepared, &sets, &snapshot).await;
        let many: Vec<_> = many.iter().map(whole).collect();
        assert!(many.iter().all(Result::is_ok));
        assert_eq!(many, alone(&engine, &prepared, &sets, &snapshot).await);
        assert_eq!((engine.held(), engine.limits_met()), (Held::default(), 0));
    }
}

/// An expression that fails for one set fails for that one alone.
#[tokio::test]
async fn an_error_of_one_set_is_its_own() {
    let cluster = Cluster::new();
    let (engine, snapshot) = (&cluster.engine, cluster.snapshot());
    let sql =
        "SELECT 1 / (spec.replicas - 3) AS x FROM deployments WHERE namespace = $1 AND name = $2";
    let prepared = engine.prepare(sql, &AccessSet::all()).await.unwrap();
    let sets = [
        set(&["a", "shop"]),
        set(&["a", "blog"]),
        set(&["b", "shop"]),
        set(&["b", "blog"]),
        set(&["c", "blog"]),
    ];
    let many = engine.execute_many(&prepared, &sets, &snapshot).await;
    let many: Vec<_> = many.iter().map(whole).collect();
    assert_eq!(many, alone(engine, &prepared, &sets, &snapshot).await);
    let joined = engine.execute_joined(&prepared, &sets, &snapshot).await;
    assert!(joined.is_err(), "the join has failed as a whole");
    let ok: Vec<bool> = many.iter().map(Result::is_ok).collect();
    assert_eq!(ok, [false, true, true, true, true]);
}

/// Sets of a statement that runs for hours.
const ENDLESS: &str = "SELECT count(*) FROM pods a, pods b, pods c, pods d, pods e \
    WHERE a.namespace = $1 AND a.name || b.name || c.name || d.name || e.name LIKE '%no%such%'";

#[tokio::test]
async fn a_join_ends_when_its_time_is_over() {
    let cluster = crowd(100);
    let engine = limited(
        &cluster,
        SqlLimits {
            time: Duration::from_millis(200),
            ..SqlLimits::default()
        },
    );
    let prepared = engine.prepare(ENDLESS, &AccessSet::all()).await.unwrap();
    let sets: Vec<_> = (0..200)
        .map(|number| set(&[&format!("n{number}")]))
        .collect();
    let start = tokio::time::Instant::now();
    let many = engine
        .execute_many(&prepared, &sets, &cluster.snapshot())
        .await;
    // One by one the ten namespaces that there are would take 200 ms each.
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    for answer in many {
        let error = answer.unwrap_err();
        assert!(
            error.to_string().contains("ran longer than 200ms"),
            "{error}"
        );
    }
    assert_eq!(engine.held(), Held::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_is_cancelled_as_one_statement() {
    let cluster = crowd(100);
    let (engine, snapshot) = (cluster.engine.clone(), cluster.snapshot());
    let prepared = engine.prepare(ENDLESS, &AccessSet::all()).await.unwrap();
    let other = engine.clone();
    let tasks = tokio_util::task::TaskTracker::new();
    let run = tasks.spawn(async move {
        let sets = ["n1", "n2", "n3", "n4", "n5"].map(|namespace| set(&[namespace]));
        other.execute_many(&prepared, &sets, &snapshot).await
    });
    let cancelled = async {
        while engine.cancel_largest(1, |_| "enough".to_owned()).is_none() {
            tokio::task::yield_now().await;
        }
        run.await.unwrap()
    };
    let answers = tokio::time::timeout(Duration::from_secs(60), cancelled)
        .await
        .unwrap();
    for answer in answers {
        let message = "enough".to_owned();
        assert_eq!(whole(&answer), Err(SqlError::Cancelled { message }));
    }
    assert_eq!(engine.held(), Held::default(), "memory is given back");
}
