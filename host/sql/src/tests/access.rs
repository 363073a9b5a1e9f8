//! What is not granted does not exist.

use std::collections::BTreeMap;

use super::fixture::{Cluster, catalog_tables, kind};
use crate::{AccessSet, Catalog, RowScope, TableAccess};
use kybern_table::{Index, Keys};

fn grant(name: &str, scope: RowScope) -> TableAccess {
    TableAccess {
        table: kind(name),
        scope,
    }
}

/// How many rows there are says something about those that are not granted.
#[tokio::test]
async fn explain_tells_no_counts_to_who_sees_a_part() {
    let cluster = Cluster::new();
    for (scope, told) in [
        (RowScope::All, true),
        (RowScope::Namespaces(vec!["a".into()]), false),
    ] {
        let access = AccessSet::of(vec![grant("Pod", scope)]);
        for sql in [
            "EXPLAIN SELECT name FROM pods",
            "EXPLAIN SELECT name FROM pods WHERE namespace = 'b' AND name = 'p'",
            "EXPLAIN SELECT (SELECT count(*) FROM pods) AS n",
        ] {
            let text = cluster.text(sql, &[], &access).await;
            assert!(text.contains("scan core.pods"), "{sql}: {text}");
            let counts = ["\n  rows: ", "estimated rows: "].map(|count| text.contains(count));
            assert_eq!(counts, [told; 2], "{sql}: {text}");
        }
    }
}

/// Which side of a join is built first can be seen.
#[tokio::test]
async fn plans_do_not_depend_on_rows_that_are_not_granted() {
    let mut cluster = Cluster::new();
    let own = |scope| AccessSet::of(vec![grant("Pod", scope), grant("Node", RowScope::All)]);
    let labels = RowScope::Labels {
        own_namespace: false,
        match_labels: BTreeMap::from([("team".into(), "red".into())]),
    };
    let scopes = [RowScope::Namespaces(vec!["a".into(), "c".into()]), labels];
    let statements = [
        "EXPLAIN ANALYZE SELECT p.name FROM pods p JOIN nodes n ON n.name = p.name WHERE p.owner_uid = 'own'",
        "EXPLAIN ANALYZE SELECT p.name FROM pods p JOIN nodes n ON n.name = p.name",
    ];
    let order = async |cluster: &Cluster, sql: &str, access: &AccessSet| {
        let text = cluster.text(sql, &[], access).await;
        let scans = text.lines().filter(|line| line.contains("SnapshotScan: "));
        let table = |line: &str| line.trim().split([',', ' ']).nth(1).map(str::to_owned);
        let order: Vec<_> = scans.map(table).collect();
        assert_eq!(order.len(), 2, "{text}");
        order
    };
    let mut before = Vec::new();
    for scope in &scopes {
        for sql in statements {
            before.push(order(&cluster, sql, &own(scope.clone())).await);
        }
    }
    let few = order(&cluster, statements[0], &own(RowScope::All)).await;
    for number in 0..100 {
        let name = format!("foreign-{number}");
        let mut foreign = super::fixture::pod("b", &name, "x", None, "Running", "1".into());
        foreign["metadata"]["ownerReferences"][0]["uid"] = "own".into();
        cluster.put(foreign);
    }
    let mut after = Vec::new();
    for scope in &scopes {
        for sql in statements {
            after.push(order(&cluster, sql, &own(scope.clone())).await);
        }
    }
    assert_eq!(before, after);
    // Who sees them all has them counted.
    let all = order(&cluster, statements[0], &own(RowScope::All)).await;
    assert_ne!(all, few);
}

#[tokio::test]
async fn a_table_that_is_not_granted_is_nowhere() {
    let cluster = Cluster::new();
    let access = AccessSet::of(vec![
        grant("Pod", RowScope::All),
        grant("Node", RowScope::All),
    ]);
    for sql in [
        "SELECT * FROM secrets",
        "SELECT * FROM core.secrets",
        "SELECT * FROM secret",
        "SELECT name FROM pods WHERE EXISTS (SELECT 1 FROM secrets)",
        "SELECT name FROM pods WHERE name = (SELECT max(name) FROM core.secrets)",
        "WITH s AS (SELECT name FROM secrets) SELECT * FROM s",
        "SELECT * FROM pods p JOIN secrets s ON s.name = p.name",
        "EXPLAIN SELECT * FROM secrets",
        "EXPLAIN ANALYZE SELECT * FROM core.secrets",
        "SELECT * FROM pods, LATERAL (SELECT * FROM secrets) x",
        "SELECT name FROM pods UNION SELECT name FROM secrets",
        "SELECT d FROM secrets s, UNNEST(s.data) d",
        "SELECT p.name FROM pods p JOIN (secrets s CROSS JOIN UNNEST(s.data) d) ON true",
    ] {
        let text = cluster.text(sql, &[], &access).await;
        assert!(text.contains("there is no table"), "{sql}: {text}");
        // Its error is that of a name that never was, apart from the name itself.
        let nothing = cluster
            .text(&sql.replace("secret", "nothin"), &[], &access)
            .await;
        assert_eq!(text.replace("secret", "nothin"), nothing, "{sql}");
        let own = cluster.engine.tables_of(
            sql.trim_start_matches("EXPLAIN ")
                .trim_start_matches("ANALYZE "),
            &access,
        );
        assert!(own.is_err(), "{sql}");
    }
    assert_eq!(
        cluster
            .text("SELECT kind, rows FROM kybern.kinds", &[], &access)
            .await,
        "kind text | rows int\nNode | 3\nPod | 5"
    );
    let tables = "SELECT table_name FROM information_schema.tables";
    assert_eq!(
        cluster.text(tables, &[], &access).await,
        "table_name text\nnodes\npod_containers\npods"
    );
    let columns = "SELECT DISTINCT table_name FROM information_schema.columns";
    assert_eq!(
        cluster.text(columns, &[], &access).await,
        "table_name text\nnodes\npod_containers\npods"
    );
    // Neither is it suggested: deployments are near, but not granted.
    let text = cluster.text("SELECT * FROM deployment", &[], &access).await;
    assert!(
        !text.contains("deployments") && text.contains("no table deployment"),
        "{text}"
    );
    // A name that is ambiguous for others is not for those who see one of the tables.
    let events = AccessSet::of(vec![grant("Event", RowScope::All)]);
    let text = cluster.text("SELECT * FROM events", &[], &events).await;
    assert!(
        text.contains("events_k8s_io.events cannot be read"),
        "{text}"
    );
    let none = cluster
        .text("SELECT * FROM pods", &[], &AccessSet::of(Vec::new()))
        .await;
    assert!(none.contains("there is no table pods"), "{none}");
}

/// Nothing of the host can be asked: its settings, files, version, users, or who else asks.
#[tokio::test]
async fn nothing_of_the_host_can_be_asked() {
    let cluster = Cluster::new();
    let access = AccessSet::of(vec![grant("Pod", RowScope::All)]);
    for (sql, told) in [
        ("SELECT version() AS v", "version"),
        ("SELECT current_setting('x') AS v", "current_setting"),
        ("SELECT current_user AS v", "current_user"),
        ("SELECT current_database() AS v", "current_database"),
        ("SELECT pg_sleep(100) AS v", "pg_sleep"),
        ("SELECT pg_read_file('/etc/passwd') AS v", "pg_read_file"),
        ("SELECT random() AS v", "random"),
        ("SELECT uuid() AS v", "uuid"),
        ("SELECT arrow_typeof(name) AS v FROM pods", "arrow_typeof"),
        (
            "SELECT * FROM generate_series(1, 1000000000)",
            "generate_series",
        ),
        ("SELECT * FROM read_parquet('/etc/passwd')", "read_parquet"),
        ("SELECT * FROM '/etc/passwd'", "/etc/passwd"),
        ("SELECT * FROM \"/etc/passwd\"", "/etc/passwd"),
        (
            "SELECT * FROM information_schema.df_settings",
            "df_settings",
        ),
        ("SELECT * FROM information_schema.routines", "routines"),
        ("SELECT * FROM information_schema.parameters", "parameters"),
        ("SELECT * FROM pg_catalog.pg_settings", "pg_settings"),
        ("SHOW ALL", "SHOW"),
        ("SET x = 1", "SET"),
        ("COPY pods TO '/tmp/x'", "COPY"),
    ] {
        let text = cluster.text(sql, &[], &access).await;
        assert!(
            text.starts_with("error: ") && text.contains(told),
            "{sql}: {text}"
        );
        assert!(!text.contains("root:"), "{sql}: {text}");
    }
}

/// A view exists exactly where its parent does.
#[tokio::test]
async fn views_are_granted_with_their_parent() {
    let cluster = Cluster::new();
    let nodes = AccessSet::of(vec![grant("Node", RowScope::All)]);
    for sql in [
        "SELECT * FROM pod_containers",
        "SELECT * FROM core.pod_containers",
        "SELECT * FROM pod_container",
        "SELECT * FROM apps.deployments_conditions",
        "SELECT * FROM deployments_conditions",
        "SELECT * FROM deployment_conditions",
        "SELECT name FROM nodes WHERE EXISTS (SELECT 1 FROM pod_containers)",
        "WITH c AS (SELECT * FROM deployments_conditions) SELECT * FROM c",
        "SELECT * FROM nodes n, LATERAL (SELECT * FROM pod_containers) x",
        "SELECT name FROM nodes UNION SELECT name FROM pod_containers",
        // Of a kind whose schema is not known.
        "SELECT * FROM apps_conditions",
        "SELECT * FROM example_com.apps_conditions",
    ] {
        let text = cluster.text(sql, &[], &nodes).await;
        let (own, never) = (sql, |sql: &str| {
            sql.replace("pod_container", "nothing_here")
                .replace("deployment", "somethinge")
                .replace("apps_conditions", "none_conditions")
        });
        assert!(text.contains("there is no table"), "{own}: {text}");
        let nothing = cluster.text(&never(sql), &[], &nodes).await;
        assert_eq!(never(&text), nothing, "{sql}");
        assert!(cluster.engine.tables_of(sql, &nodes).is_err(), "{sql}");
    }
    let views = "SELECT table_name FROM information_schema.tables WHERE table_type = 'VIEW'";
    assert_eq!(cluster.text(views, &[], &nodes).await, "table_name text");
    assert_eq!(
        cluster.text(views, &[], &AccessSet::all()).await,
        "table_name text\ndeployments_conditions\npod_containers"
    );
    // What is not certain before its schema is learnt is loaded, and then is none.
    let all = AccessSet::all();
    let unknown = "SELECT * FROM apps_conditions";
    let tables = cluster.engine.tables_of(unknown, &all).unwrap();
    assert_eq!(tables, [kind("App")]);
    let text = cluster.text(unknown, &[], &all).await;
    assert!(text.contains("there is no table apps_conditions"), "{text}");
    // Hidden pods have no containers.
    let only_b = AccessSet::of(vec![grant("Pod", RowScope::Namespaces(vec!["b".into()]))]);
    let text = "SELECT DISTINCT namespace FROM pod_containers";
    let found = cluster.text(text, &[], &only_b).await;
    assert_eq!(found, "namespace text\nb");
    let prepared = cluster.engine.prepare(text, &only_b).await.unwrap();
    assert_eq!(prepared.tables(), [kind("Pod")]);
}

/// Plurals have no underscore, so that this is only to be sure.
#[tokio::test]
async fn a_kind_goes_before_a_view_of_its_name() {
    let cluster = Cluster::new();
    let mut tables = catalog_tables();
    let mut own = tables
        .iter()
        .find(|t| t.def.plural == "nodes")
        .unwrap()
        .clone();
    own.def.plural = "pod_containers".to_owned();
    let mut other = tables
        .iter()
        .find(|t| t.def.plural == "apps")
        .unwrap()
        .clone();
    other.def.plural = "deployments_conditions".to_owned();
    tables.extend([own, other]);
    cluster.engine.set_catalog(Catalog::new(tables));
    let tables_of = |sql: &str| cluster.engine.tables_of(sql, &AccessSet::all()).unwrap();
    assert_eq!(tables_of("SELECT * FROM pod_containers"), [kind("Node")]);
    assert_eq!(
        tables_of("SELECT * FROM deployments_conditions"),
        [kind("App")]
    );
    assert_eq!(
        tables_of("SELECT * FROM apps.deployments_conditions"),
        [kind("Deployment")]
    );
    let views: Vec<String> = cluster
        .engine
        .catalog()
        .views()
        .map(|view| view.name().to_owned())
        .collect();
    assert_eq!(views, ["deployments_conditions"]);
}

#[tokio::test]
async fn plans_are_not_shared_between_grants() {
    let cluster = Cluster::new();
    let sql = "SELECT count(*) AS n FROM pods";
    let count = async |access: &AccessSet| cluster.text(sql, &[], access).await;
    let only_b = AccessSet::of(vec![grant("Pod", RowScope::Namespaces(vec!["b".into()]))]);
    assert_eq!(count(&AccessSet::all()).await, "n int\n5");
    assert_eq!(count(&only_b).await, "n int\n1");
    assert!(
        count(&AccessSet::of(Vec::new()))
            .await
            .contains("there is no table")
    );
    assert_eq!(count(&AccessSet::all()).await, "n int\n5");
    let own = AccessSet::of(vec![grant("Pod", RowScope::OwnNamespace)]);
    assert_eq!(count(&own.in_namespace("a")).await, "n int\n4");
    assert_eq!(count(&own.in_namespace("b")).await, "n int\n1");
    assert_eq!(count(&own.in_namespace("")).await, "n int\n0");
    assert_eq!(count(&own).await, "n int\n0");
    assert_eq!(
        cluster.engine.cached_plans(),
        3,
        "one plan for all namespaces"
    );
}

#[tokio::test]
async fn rows_outside_of_the_scope_do_not_exist() {
    let cluster = Cluster::new();
    let labels = |own: bool| RowScope::Labels {
        own_namespace: own,
        match_labels: BTreeMap::from([("app".to_owned(), "shop".to_owned())]),
    };
    for (scope, namespace, pods) in [
        (
            RowScope::OwnNamespace,
            "a",
            "a/blog-1 a/shop-1 a/shop-2 a/shop-3",
        ),
        (RowScope::OwnNamespace, "b", "b/shop-1"),
        (RowScope::OwnNamespace, "c", ""),
        (
            RowScope::Namespaces(vec!["b".into(), "c".into()]),
            "a",
            "b/shop-1",
        ),
        (RowScope::Namespaces(vec![]), "a", ""),
        (labels(false), "a", "a/shop-1 a/shop-2 a/shop-3 b/shop-1"),
        (labels(true), "b", "b/shop-1"),
        (labels(true), "", ""),
    ] {
        let access = AccessSet::of(vec![
            grant("Pod", scope.clone()),
            grant("Node", RowScope::All),
        ])
        .in_namespace(namespace);
        let visible: Vec<&str> = pods.split_whitespace().collect();
        // However it is asked: scan, look-up by every key, join, subquery, count, OR, not.
        for (sql, found) in [
            (
                "SELECT namespace || '/' || name AS p FROM pods",
                visible.clone(),
            ),
            (
                "SELECT DISTINCT p.namespace || '/' || p.name AS p FROM pods p, nodes",
                visible.clone(),
            ),
            (
                "SELECT namespace || '/' || name AS p FROM pods WHERE name = 'x' OR true",
                visible.clone(),
            ),
            (
                "SELECT x.p FROM (SELECT namespace || '/' || name AS p FROM pods) x",
                visible.clone(),
            ),
            (
                "SELECT namespace || '/' || name AS p FROM pods WHERE namespace = 'b' AND name = 'shop-1'",
                visible
                    .iter()
                    .copied()
                    .filter(|p| *p == "b/shop-1")
                    .collect(),
            ),
            (
                "SELECT namespace || '/' || name AS p FROM pods WHERE uid = 'Pod-a-blog-1'",
                visible
                    .iter()
                    .copied()
                    .filter(|p| *p == "a/blog-1")
                    .collect(),
            ),
            (
                "SELECT namespace || '/' || name AS p FROM pods WHERE labels['app'] = 'shop'",
                visible
                    .iter()
                    .copied()
                    .filter(|p| p.contains("shop"))
                    .collect(),
            ),
            (
                "SELECT namespace || '/' || name AS p FROM pods WHERE spec.nodeName = 'n2'",
                visible
                    .iter()
                    .copied()
                    .filter(|p| ["a/shop-2", "b/shop-1"].contains(p))
                    .collect(),
            ),
        ] {
            let text = cluster.text(sql, &[], &access).await;
            let rows: Vec<&str> = text.lines().skip(1).collect();
            assert_eq!(rows, found, "{scope:?} in {namespace}: {sql}");
        }
        // Elements of a hidden object are hidden with it.
        let elements = "SELECT DISTINCT p.namespace || '/' || p.name AS p FROM pods p \
                        LEFT JOIN UNNEST(p.spec.containers) c ON true";
        let text = cluster.text(elements, &[], &access).await;
        assert_eq!(
            text.lines().skip(1).collect::<Vec<_>>(),
            visible,
            "{scope:?}"
        );
        let count = cluster
            .text("SELECT count(*) AS n FROM pods", &[], &access)
            .await;
        assert_eq!(count, format!("n int\n{}", visible.len()), "{scope:?}");
        let kinds = cluster
            .text(
                "SELECT rows FROM kybern.kinds WHERE kind = 'Pod'",
                &[],
                &access,
            )
            .await;
        assert_eq!(kinds, "rows int\nNULL", "how many there are is not told");
        let prepared = cluster
            .engine
            .prepare(
                "SELECT name FROM pods WHERE namespace = 'b' AND name = 'shop-1'",
                &access,
            )
            .await
            .unwrap();
        assert!(prepared.tables() == [kind("Pod")]);
    }
}

/// A condition that fails on a hidden row would tell that the row is there.
#[tokio::test]
async fn conditions_never_see_hidden_rows() {
    let cluster = Cluster::new();
    let access = AccessSet::of(vec![grant("Pod", RowScope::Namespaces(vec!["a".into()]))]);
    let sql =
        "SELECT name FROM pods WHERE 1 / (CASE WHEN status.phase = 'Failed' THEN 0 ELSE 1 END) = 1";
    let all = cluster.text(sql, &[], &AccessSet::all()).await;
    assert!(all.to_lowercase().contains("divide by zero"), "{all}");
    let some = cluster.text(sql, &[], &access).await;
    assert_eq!(some.lines().count(), 5, "{some}");
}

#[tokio::test]
async fn scopes_narrow_the_read_set() {
    let cluster = Cluster::new();
    let keys = async |scope: RowScope, namespace: &str| {
        let access = AccessSet::of(vec![grant("Pod", scope)]).in_namespace(namespace);
        let prepared = cluster
            .engine
            .prepare("SELECT name FROM pods", &access)
            .await
            .unwrap();
        let mut scans = prepared.read_set(&[]).scans;
        assert_eq!(scans.len(), 1);
        scans.remove(0).keys
    };
    let namespaces = |values: &[&str]| Keys::Of {
        index: Index::Namespace,
        values: values.iter().map(|v| (*v).to_owned()).collect(),
    };
    assert_eq!(keys(RowScope::All, "a").await, Keys::All);
    assert_eq!(keys(RowScope::OwnNamespace, "a").await, namespaces(&["a"]));
    assert_eq!(
        keys(RowScope::Namespaces(vec!["a".into(), "b".into()]), "x").await,
        namespaces(&["a", "b"])
    );
}
