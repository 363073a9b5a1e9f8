//! All lanes give equal answers, and look-ups find what scans find.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::fixture::{Cluster, deployment, pod, text};
use crate::{AccessSet, Param, RowScope, TableAccess};
use proptest::prelude::*;
use serde_json::json;

/// Pods that share names, apps, nodes and phases, in commits of random order.
#[derive(Clone, Debug)]
struct PodSpec {
    namespace: usize,
    name: usize,
    app: usize,
    node: Option<usize>,
    running: bool,
    deleted: bool,
}

fn pods() -> impl Strategy<Value = Vec<PodSpec>> {
    let one = (
        0..3usize,
        0..4usize,
        0..3usize,
        proptest::option::of(0..3usize),
        any::<bool>(),
        prop::bool::weighted(0.2),
    );
    let one = one.prop_map(|(namespace, name, app, node, running, deleted)| PodSpec {
        namespace,
        name,
        app,
        node,
        running,
        deleted,
    });
    prop::collection::vec(one, 0..25)
}

pub(super) const NAMESPACES: [&str; 3] = ["a", "b", "c"];
pub(super) const APPS: [&str; 3] = ["shop", "blog", "it's"];
pub(super) const NODES: [&str; 3] = ["n1", "n2", "n3"];

fn cluster(pods: &[PodSpec]) -> Cluster {
    let mut cluster = Cluster::empty();
    for spec in pods {
        let phase = if spec.running { "Running" } else { "Pending" };
        let node = spec.node.map(|node| NODES[node]);
        let object = pod(
            NAMESPACES[spec.namespace],
            &format!("p{}", spec.name),
            APPS[spec.app],
            node,
            phase,
            json!("1"),
        );
        if spec.deleted {
            cluster.delete(object)
        } else {
            cluster.put(object)
        }
    }
    cluster.put(deployment("a", "shop", 1, None));
    cluster
}

/// A condition, once as an index can use it and once as none can.
#[derive(Clone, Debug)]
struct Condition {
    keyed: String,
    plain: String,
    /// Whether lane 1 answers it.
    lane: bool,
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn condition() -> impl Strategy<Value = Condition> {
    let column = |column: &'static str, values: Vec<String>, lane: bool| {
        let values = prop::collection::vec(prop::sample::select(values), 1..6);
        (values, 0..3usize).prop_map(move |(values, form)| {
            let mut keyed = String::new();
            let list = values
                .iter()
                .map(|v| literal(v))
                .collect::<Vec<_>>()
                .join(", ");
            match form {
                0 => write!(keyed, "{column} = {}", literal(&values[0])).unwrap(),
                1 => write!(keyed, "{column} IN ({list})").unwrap(),
                _ => {
                    let chain: Vec<String> = values
                        .iter()
                        .map(|v| format!("{} = {column}", literal(v)))
                        .collect();
                    write!(keyed, "({})", chain.join(" OR ")).unwrap();
                }
            }
            let plain = keyed.replace(column, &format!("({column} || '')"));
            Condition { keyed, plain, lane }
        })
    };
    let uids = || {
        NAMESPACES
            .iter()
            .flat_map(|ns| (0..4).map(move |n| format!("Pod-{ns}-p{n}")))
            .collect::<Vec<_>>()
    };
    let owners = || {
        NAMESPACES
            .iter()
            .flat_map(|ns| APPS.iter().map(move |app| format!("Deployment-{ns}-{app}")))
            .collect::<Vec<_>>()
    };
    let strings = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>();
    let name =
        (prop::sample::select(NAMESPACES.to_vec()), 0..4usize).prop_map(|(namespace, name)| {
            Condition {
                keyed: format!("namespace = '{namespace}' AND name = 'p{name}'"),
                plain: format!("(namespace || '') = '{namespace}' AND (name || '') = 'p{name}'"),
                lane: true,
            }
        });
    prop_oneof![
        column("uid", uids(), true),
        column("owner_uid", owners(), true),
        column("labels['app']", strings(&APPS), true),
        column("spec.nodeName", strings(&NODES), true),
        column("namespace", strings(&NAMESPACES), false),
        column("name", strings(&["p0", "p1", "p2"]), false),
        name,
    ]
}

fn residual() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "true",
        "status.phase = 'Running'",
        "spec.nodeName IS NULL",
        "NOT (labels.app = 'shop')",
        "spec.containers[0].image LIKE 'shop%' OR name = 'p1'",
        "length(coalesce(spec.nodeName, '')) < 2 OR namespace <> 'a'",
        "false",
        "NULL",
    ])
}

fn columns() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "namespace, name",
        "*",
        "upper(name) AS n, spec.containers[0].resources.requests.cpu AS cpu, creation_timestamp",
        "labels, spec.nodeName, status.phase = 'Running' AS up",
        "object",
        "1 AS one",
    ])
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn lane_1_is_lane_3_and_look_ups_are_scans(
        pods in pods(),
        condition in condition(),
        residual in residual(),
        columns in columns(),
    ) {
        let cluster = cluster(&pods);
        let snapshot = cluster.snapshot();
        block_on(async {
            let sql = format!("SELECT {columns} FROM pods WHERE {} AND ({residual})", condition.keyed);
            let prepared = cluster.engine.prepare(&sql, &AccessSet::all()).await
                .unwrap_or_else(|error| panic!("{sql}: {error}"));
            let removed = matches!(residual, "false" | "NULL");
            if !removed {
                // An index that the condition or the residual names may be used.
                prop_assert!(prepared.is_key_lookup() || !condition.lane, "{}", sql);
            }
            let answer = cluster.engine.execute(&prepared, &[], &snapshot).await
                .unwrap_or_else(|error| panic!("{sql}: {error}"));
            let general = cluster.engine.execute_generally(&prepared, &[], &snapshot).await.unwrap();
            prop_assert_eq!(text(&answer), text(&general), "{}", &sql);
            prop_assert_eq!(answer.fingerprint, general.fingerprint, "{}", &sql);
            let plain = format!("SELECT {columns} FROM pods WHERE {} AND ({residual})", condition.plain);
            let scanned = cluster.ask(&plain, &[]).await.unwrap_or_else(|error| panic!("{plain}: {error}"));
            prop_assert_eq!(text(&answer), text(&scanned), "{} and {}", &sql, &plain);
            Ok(())
        })?;
    }

    #[test]
    fn a_parameter_is_its_literal(
        pods in pods(),
        values in prop::collection::vec(prop::sample::select(
            vec!["a", "p1", "shop", "it's", "n1", "Pod-a-p1", "Deployment-a-shop", ""]), 2),
    ) {
        let cluster = cluster(&pods);
        block_on(async {
            for column in ["uid", "owner_uid", "labels['app']", "spec.nodeName", "namespace", "name", "status.phase"] {
                let parameters = format!("SELECT name FROM pods WHERE {column} = $1 OR {column} = $2");
                let params: Vec<Param> = values.iter().map(|value| Param::from(*value)).collect();
                let literals = format!(
                    "SELECT name FROM pods WHERE {column} = {} OR {column} = {}",
                    literal(values[0]), literal(values[1]),
                );
                let one = cluster.ask(&parameters, &params).await.unwrap();
                let other = cluster.ask(&literals, &[]).await.unwrap();
                prop_assert_eq!(text(&one), text(&other), "{} {:?}", column, values);
            }
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn lanes_are_chosen() {
    let cluster = Cluster::new();
    for (sql, lookup) in [
        ("SELECT name FROM pods WHERE uid = $1", true),
        (
            "SELECT name FROM pods p WHERE p.namespace = 'a' AND p.name = $1",
            true,
        ),
        (
            "SELECT x.n FROM (SELECT name AS n, uid FROM pods) x WHERE x.uid = 'u'",
            true,
        ),
        ("SELECT name FROM nodes WHERE name = 'n1'", true),
        (
            "SELECT name FROM pods WHERE metadata.uid = 'u' AND status.phase = $1",
            true,
        ),
        (
            "SELECT name FROM pods WHERE owner_uid IN ($1, $2, 'c', 'd')",
            true,
        ),
        ("SELECT name FROM pods WHERE name = 'x'", false),
        ("SELECT name FROM pods WHERE namespace = 'a'", false),
        ("SELECT name FROM pods WHERE uid = $1 OR name = 'x'", false),
        ("SELECT name FROM pods WHERE uid <> $1", false),
        ("SELECT count(*) FROM pods WHERE uid = $1", false),
        ("SELECT name FROM pods WHERE uid = $1 ORDER BY name", false),
        ("SELECT name FROM pods WHERE uid = $1 LIMIT 1", false),
        ("SELECT name FROM pods WHERE labels['tier'] = 'x'", false),
        (
            "SELECT name FROM pods WHERE uid = (SELECT max(uid) FROM pods)",
            false,
        ),
        (
            "SELECT name, row_number() OVER () AS n FROM pods WHERE uid = $1",
            false,
        ),
    ] {
        let prepared = cluster
            .engine
            .prepare(sql, &AccessSet::all())
            .await
            .unwrap();
        assert_eq!(prepared.is_key_lookup(), lookup, "{sql}");
    }
}

/// DataFusion intersects the lists item by item: a parameter equals no literal, and NULL nothing.
#[tokio::test]
async fn lists_on_one_column_are_all_asked() {
    let cluster = Cluster::new();
    for (condition, params, rows) in [
        (
            "name IN ($1, 'x') AND name IN ('n1', 'y')",
            vec!["n1".into()],
            1,
        ),
        (
            "name IN ($1, $2) AND name NOT IN ($2, $3)",
            vec!["n1".into(), "n2".into(), "n2".into()],
            1,
        ),
        (
            "name IN ($1, $2) AND name NOT IN ('n1', 'x')",
            vec!["n1".into(), "n2".into()],
            1,
        ),
        (
            "(name = $1 OR name = 'n1') AND (name = 'n2' OR name = 'n1')",
            vec!["x".into()],
            1,
        ),
        (
            "NOT (name IN ('n1', 'n2') AND name IN (NULL, 'n2'))",
            vec![],
            1,
        ),
        (
            "NOT (namespace IN ('n1', 'n2') AND namespace IN ('n3', 'n4'))",
            vec![],
            0,
        ),
        (
            "namespace NOT IN ('n1', 'n2') OR namespace NOT IN ('n3', 'n4')",
            vec![],
            0,
        ),
        (
            "(namespace IN ('a', 'b') AND namespace NOT IN ('a', 'b')) IS NULL",
            vec![],
            3,
        ),
    ] {
        let sql = format!("SELECT name FROM nodes WHERE {condition}");
        let answer = cluster.ask(&sql, &params).await.unwrap();
        assert_eq!(answer.rows, rows, "{sql} {params:?}\n{}", text(&answer));
    }
}

/// Statements with keys, and whether they are compiled once.
const KEYED: [(&str, bool); 16] = [
    ("namespace = $1 AND name = $2", true),
    ("namespace = $1 AND name = $2 AND status.phase <> $3", true),
    ("namespace = 'a' AND name = $2", true),
    ("uid = $3 AND namespace = $1", true),
    (
        "uid IN ('Pod-a-shop-1', 'Pod-b-shop-1', 'Pod-a-shop-1') AND name = $2",
        true,
    ),
    ("labels['app'] = $1", true),
    ("labels['app'] = $1 AND labels['app'] = $2", true),
    ("owner_uid = $3", true),
    ("uid = $3 AND (name = $2 OR name IS NULL)", true),
    ("uid = $3 AND uid = $1", true),
    ("uid IN ($1, $2, $3)", true),
    ("uid IN ($1, 'x', $2, 'y', $3)", true),
    ("uid = $3 AND name IN ($1, 'x', $2, 'y')", true),
    ("uid = $3 AND name LIKE $2", false),
    ("uid = $3 AND upper(name) = upper($2)", false),
    ("uid = $3 AND name || $1 = $2", false),
];

fn keyed_scopes() -> Vec<(RowScope, &'static str)> {
    let labels = |own_namespace| RowScope::Labels {
        own_namespace,
        match_labels: BTreeMap::from([("app".to_owned(), "shop".to_owned())]),
    };
    vec![
        (RowScope::All, ""),
        (RowScope::OwnNamespace, "a"),
        (RowScope::OwnNamespace, "b"),
        (RowScope::OwnNamespace, ""),
        (RowScope::Namespaces(vec!["b".to_owned()]), "a"),
        (labels(false), "a"),
        (labels(true), "b"),
        (labels(true), ""),
    ]
}

#[tokio::test]
async fn what_is_compiled_once_means_the_same() {
    let cluster = Cluster::new();
    let snapshot = cluster.snapshot();
    let values = [
        ["a", "shop-1", "Pod-a-shop-1"],
        ["b", "shop-1", "Pod-b-shop-1"],
        ["a", "blog-1", "Deployment-a-shop"],
        ["shop", "shop", "Pod-b-shop-1"],
        ["", "", ""],
        ["a/shop-1", "", "Pod-a-shop-1"],
        ["Pod-a-shop-1", "%1", "Pod-a-shop-1"],
    ];
    let mut sets: Vec<Vec<Param>> = values.map(|set| set.map(Param::from).to_vec()).to_vec();
    sets.push(vec![Param::Null, Param::Null, Param::Null]);
    let mut found = 0;
    for (scope, namespace) in keyed_scopes() {
        let pods = TableAccess {
            table: kybern_table::KindKey::new("", "v1", "Pod"),
            scope: scope.clone(),
        };
        let access = AccessSet::of(vec![pods]).in_namespace(namespace);
        for (condition, once) in KEYED {
            let sql = format!(
                "SELECT namespace, name, $1 AS one, status.phase, length(name) AS l FROM pods WHERE {condition}"
            );
            let prepared = cluster.engine.prepare(&sql, &access).await.unwrap();
            assert_eq!(prepared.is_compiled_once(), Some(once), "{sql} {scope:?}");
            for params in &sets {
                let said = format!("{sql} {params:?} {scope:?} {namespace}");
                let one = cluster.engine.execute(&prepared, params, &snapshot).await;
                let one = one.unwrap_or_else(|error| panic!("{said}: {error}"));
                let other = cluster
                    .engine
                    .execute_generally(&prepared, params, &snapshot);
                let other = other.await.unwrap();
                assert_eq!(text(&one), text(&other), "{said}");
                assert_eq!(one.fingerprint, other.fingerprint, "{said}");
                found += one.rows;
            }
        }
    }
    assert!(found > 150, "{found} rows");
}

/// Each slot is a column beside the rows.
#[tokio::test]
async fn many_parameters_are_no_columns() {
    let cluster = Cluster::new();
    for (count, once) in [(32, true), (33, false)] {
        let list: Vec<String> = (1..=count).map(|number| format!("${number}")).collect();
        let sql = format!("SELECT name FROM pods WHERE uid IN ({})", list.join(", "));
        let prepared = cluster
            .engine
            .prepare(&sql, &AccessSet::all())
            .await
            .unwrap();
        assert_eq!(prepared.is_compiled_once(), Some(once), "{count}");
    }
}

/// A deployment knows its pods by their owner, so that the other ones need not be read.
#[tokio::test]
async fn a_join_looks_up_what_its_other_side_knows() {
    let cluster = Cluster::new();
    let snapshot = cluster.snapshot();
    for (condition, keys, pods) in [
        (
            "d.namespace = 'a' AND d.name = 'shop'",
            "owner_uid = ['Deployment-a-shop']",
            3,
        ),
        ("d.namespace = 'a' AND d.name = 'none'", "owner_uid = []", 0),
    ] {
        let sql = format!(
            "SELECT p.name FROM deployments d JOIN pods p ON p.owner_uid = d.uid WHERE {condition}"
        );
        let prepared = cluster
            .engine
            .prepare(&sql, &AccessSet::all())
            .await
            .unwrap();
        let explained = cluster
            .engine
            .explain(&prepared, &[], &snapshot)
            .await
            .unwrap();
        assert!(
            explained.contains(&format!("index: {keys}, which the join gives")),
            "{explained}"
        );
        let answer = cluster
            .engine
            .execute(&prepared, &[], &snapshot)
            .await
            .unwrap();
        assert_eq!(answer.rows, pods, "{sql}");
    }
    // The rows of the left side are all there, whatever the right one knows.
    let sql = "SELECT d.name FROM deployments d LEFT JOIN pods p ON p.owner_uid = d.uid \
               AND p.uid = 'Pod-a-shop-1'";
    let prepared = cluster
        .engine
        .prepare(sql, &AccessSet::all())
        .await
        .unwrap();
    let explained = cluster
        .engine
        .explain(&prepared, &[], &snapshot)
        .await
        .unwrap();
    assert!(!explained.contains("which the join gives"), "{explained}");
}
