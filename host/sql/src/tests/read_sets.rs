//! While nothing in the read set changes, the answer stays.

use std::cell::Cell;

use super::fixture::{Cluster, app, deployment, pod, text, with};
use super::lanes::{APPS, NAMESPACES, NODES};
use crate::{AccessSet, Param, Prepared, RowScope, TableAccess};
use kybern_table::{Columns, Index, Keys, Path, ReadSet, Row, RowChange, Segment};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Whether the read set covers the change: written as the store's documentation
/// of read sets says, without a look at how they are made.
pub(super) fn covers(set: &ReadSet, change: &RowChange) -> bool {
    set.scans
        .iter()
        .filter(|scan| scan.table == change.table)
        .any(|scan| {
            let hit = |row: &Option<Row>| {
                row.as_ref().is_some_and(|row| match &scan.keys {
                    Keys::All => true,
                    Keys::Of { index, values } => {
                        key(row, index).is_some_and(|key| values.contains(&key))
                    }
                })
            };
            if !hit(&change.old) && !hit(&change.new) {
                return false;
            }
            let (Some(old), Some(new)) = (&change.old, &change.new) else {
                return true;
            };
            if hit(&change.old) != hit(&change.new) {
                return true;
            }
            match &scan.columns {
                Columns::All => true,
                Columns::Named(names) => names
                    .iter()
                    .any(|name| column(old, name) != column(new, name)),
            }
        })
}

fn key(row: &Row, index: &Index) -> Option<String> {
    match index {
        Index::Uid => Some(row.uid().into_owned()),
        Index::Name => Some(match row.namespace() {
            Some(namespace) => format!("{namespace}/{}", row.name()),
            None => row.name().to_owned(),
        }),
        Index::Owner => row.owner_uid().map(|uid| uid.into_owned()),
        Index::Namespace => row.namespace().map(str::to_owned),
        Index::Label(label) => row.label(label),
        Index::Path(path) => match at(&row.value(), path) {
            Value::Null => None,
            Value::String(text) => Some(text),
            other => Some(other.to_string()),
        },
    }
}

fn column(row: &Row, name: &str) -> Value {
    let path = match name {
        "object" => return row.value(),
        "namespace" | "name" | "uid" | "generation" | "labels" | "annotations" | "finalizers" => {
            format!("metadata.{name}")
        }
        "resource_version" => "metadata.resourceVersion".to_owned(),
        "creation_timestamp" => "metadata.creationTimestamp".to_owned(),
        "deletion_timestamp" => "metadata.deletionTimestamp".to_owned(),
        "owner_uid" => return json!(row.owner_uid()),
        "owners" => "metadata.ownerReferences".to_owned(),
        path => path.to_owned(),
    };
    at(&row.value(), &path.parse::<Path>().unwrap())
}

fn at(value: &Value, path: &Path) -> Value {
    let found = path
        .segments()
        .iter()
        .try_fold(value, |value, segment| match segment {
            Segment::Key(key) => value.get(key),
            Segment::Index(index) => value.get(index),
        });
    found.cloned().unwrap_or(Value::Null)
}

fn statements() -> Vec<(&'static str, Vec<Param>)> {
    vec![
        (
            "SELECT name FROM pods WHERE namespace = $1 AND name = 'p1'",
            vec!["a".into()],
        ),
        (
            "SELECT name, status.phase FROM pods WHERE owner_uid = $1",
            vec!["Deployment-a-shop".into()],
        ),
        (
            "SELECT count(*) AS n FROM pods WHERE labels['app'] = 'shop'",
            vec![],
        ),
        (
            "SELECT count(*) AS n FROM pods WHERE labels['tier'] = 'gold'",
            vec![],
        ),
        (
            "SELECT count(*) AS n FROM pods WHERE namespace IN ('a', 'b')",
            vec![],
        ),
        (
            "SELECT spec.nodeName, count(*) AS n FROM pods GROUP BY 1",
            vec![],
        ),
        (
            "SELECT name FROM pods WHERE spec.nodeName = 'n1' AND status.phase = 'Running'",
            vec![],
        ),
        ("SELECT count(*) AS n FROM pods", vec![]),
        (
            "SELECT max(spec.containers[0].image) AS m FROM pods",
            vec![],
        ),
        (
            "SELECT d.name, p.name AS pod FROM deployments d LEFT JOIN pods p ON p.owner_uid = d.uid AND p.status.phase = 'Running' WHERE d.namespace = 'a'",
            vec![],
        ),
        (
            "SELECT name FROM deployments d WHERE NOT EXISTS (SELECT 1 FROM pods p WHERE p.owner_uid = d.uid)",
            vec![],
        ),
        (
            "SELECT name FROM apps WHERE name IN (SELECT labels['app'] FROM pods WHERE namespace = apps.namespace)",
            vec![],
        ),
        (
            "SELECT name FROM apps WHERE spec.replicas > (SELECT count(*) FROM pods WHERE status.phase = $1)",
            vec!["Running".into()],
        ),
        (
            "SELECT a.name, a.spec.size FROM apps a WHERE a.uid = $1",
            vec!["App-a-shop".into()],
        ),
        ("SELECT name FROM apps WHERE labels.tier IS NULL", vec![]),
        (
            "WITH p AS (SELECT labels['app'] AS app, count(*) AS n FROM pods WHERE namespace = 'a' GROUP BY 1) SELECT a.name, p.n FROM apps a JOIN p ON p.app = a.name",
            vec![],
        ),
        (
            "SELECT name, row_number() OVER (ORDER BY name, uid) AS n FROM pods WHERE namespace = 'b'",
            vec![],
        ),
        (
            "SELECT name FROM pods WHERE uid = 'Pod-a-p1' UNION ALL SELECT name FROM apps WHERE namespace = 'b'",
            vec![],
        ),
        (
            "SELECT object FROM pods WHERE namespace = 'c' AND name = 'p0'",
            vec![],
        ),
        (
            "SELECT name FROM pods WHERE uid = $1 OR namespace = 'c'",
            vec!["Pod-a-p1".into()],
        ),
        (
            "SELECT labels, owners FROM pods WHERE namespace || name = 'ap1'",
            vec![],
        ),
        (
            "SELECT name FROM pods WHERE namespace = 'a' AND name = $1",
            vec![Param::Null],
        ),
        (
            "SELECT spec.replicas, generation FROM deployments ORDER BY name LIMIT 1",
            vec![],
        ),
        // Joins whose one side is known by keys.
        (
            "SELECT d.name, p.name AS pod, p.status.phase FROM deployments d JOIN pods p ON p.owner_uid = d.uid WHERE d.namespace = 'a' AND d.name = 'shop'",
            vec![],
        ),
        (
            "SELECT d.name, count(p.uid) AS n FROM deployments d LEFT JOIN pods p ON p.owner_uid = d.uid WHERE d.uid = $1 GROUP BY d.name",
            vec!["Deployment-a-shop".into()],
        ),
        (
            "SELECT p.name FROM pods p RIGHT JOIN deployments d ON p.owner_uid = d.uid AND p.status.phase = 'Running' WHERE d.uid = $1",
            vec!["Deployment-a-shop".into()],
        ),
        (
            "SELECT d.name FROM deployments d WHERE d.uid = $1 AND NOT EXISTS (SELECT 1 FROM pods p WHERE p.owner_uid = d.uid)",
            vec!["Deployment-a-shop".into()],
        ),
        (
            "SELECT a.name FROM apps a WHERE a.uid = $1 AND a.name NOT IN (SELECT labels['app'] FROM pods)",
            vec!["App-a-shop".into()],
        ),
        (
            "SELECT a.name, n.name AS node FROM apps a JOIN pods p ON p.labels['app'] = a.name JOIN nodes n ON n.name = p.spec.nodeName WHERE a.uid = $1",
            vec!["App-a-shop".into()],
        ),
        (
            "WITH c AS (SELECT owner_uid, count(*) AS n, max(name) AS last FROM pods GROUP BY owner_uid) SELECT d.name, c.n, c.last FROM deployments d JOIN c ON c.owner_uid = d.uid WHERE d.namespace = 'b' AND d.name = 'shop'",
            vec![],
        ),
        (
            "SELECT d.name, x.name AS pod FROM deployments d JOIN (SELECT name, owner_uid FROM pods ORDER BY name LIMIT 2) x ON x.owner_uid = d.uid WHERE d.uid = $1",
            vec!["Deployment-a-shop".into()],
        ),
        (
            "SELECT d.name, x.n FROM deployments d JOIN (SELECT owner_uid, row_number() OVER (ORDER BY name, uid) AS n FROM pods) x ON x.owner_uid = d.uid WHERE d.uid = $1",
            vec!["Deployment-a-shop".into()],
        ),
        (
            "SELECT d.name, p.name AS pod FROM (SELECT uid, name FROM deployments WHERE uid = $1) d FULL JOIN pods p ON p.owner_uid = d.uid",
            vec!["Deployment-a-shop".into()],
        ),
        // A row that is new to both.
        (
            "SELECT o.name FROM pods p JOIN pods o ON o.uid = p.uid WHERE p.name = $1 AND o.namespace = $2",
            vec!["shop-1".into(), "a".into()],
        ),
        (
            "SELECT d.name, p.name AS pod FROM pods p JOIN deployments d ON d.name = p.labels['app'] WHERE p.spec.nodeName IS NOT NULL AND d.namespace = $1",
            vec!["a".into()],
        ),
        (
            "SELECT d.name, p.name AS pod FROM deployments d JOIN (SELECT owner_uid, name FROM pods UNION ALL SELECT uid, name FROM apps) p ON p.owner_uid = d.uid WHERE d.uid = $1",
            vec!["Deployment-a-shop".into()],
        ),
    ]
}

/// One change of one object.
#[derive(Clone, Debug)]
enum Edit {
    Pod {
        namespace: usize,
        name: usize,
        app: usize,
        node: Option<usize>,
        running: bool,
        tier: bool,
    },
    DeletePod {
        namespace: usize,
        name: usize,
    },
    Deployment {
        namespace: usize,
        app: usize,
        replicas: i64,
        ready: Option<i64>,
    },
    App {
        namespace: usize,
        app: usize,
        replicas: i64,
        tier: bool,
        size: i64,
    },
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        4 => (0..3usize, 0..3usize, 0..3usize, proptest::option::of(0..3usize), any::<bool>(), any::<bool>()).prop_map(
            |(namespace, name, app, node, running, tier)| Edit::Pod { namespace, name, app, node, running, tier }),
        1 => (0..3usize, 0..3usize).prop_map(|(namespace, name)| Edit::DeletePod { namespace, name }),
        2 => (0..3usize, 0..3usize, 0..3i64, proptest::option::of(0..2i64)).prop_map(
            |(namespace, app, replicas, ready)| Edit::Deployment { namespace, app, replicas, ready }),
        2 => (0..3usize, 0..3usize, 0..3i64, any::<bool>(), 0..2i64).prop_map(
            |(namespace, app, replicas, tier, size)| Edit::App { namespace, app, replicas, tier, size }),
    ]
}

fn make(cluster: &mut Cluster, edit: &Edit) {
    match *edit {
        Edit::Pod {
            namespace,
            name,
            app,
            node,
            running,
            tier,
        } => {
            let phase = if running { "Running" } else { "Pending" };
            let node = node.map(|node| NODES[node]);
            let mut object = pod(
                NAMESPACES[namespace],
                &format!("p{name}"),
                APPS[app],
                node,
                phase,
                json!("1"),
            );
            if tier {
                object["metadata"]["labels"]["tier"] = json!("gold");
            }
            cluster.put(object);
        }
        Edit::DeletePod { namespace, name } => {
            cluster.delete(pod(
                NAMESPACES[namespace],
                &format!("p{name}"),
                "shop",
                None,
                "Pending",
                json!("1"),
            ));
        }
        Edit::Deployment {
            namespace,
            app,
            replicas,
            ready,
        } => {
            cluster.put(deployment(
                NAMESPACES[namespace],
                APPS[app],
                replicas,
                ready,
            ));
        }
        Edit::App {
            namespace,
            app: name,
            replicas,
            tier,
            size,
        } => {
            let mut object = app(
                NAMESPACES[namespace],
                APPS[name],
                json!({"replicas": replicas, "size": size}),
            );
            if !tier {
                object = with(object, json!({}));
                object["metadata"]["labels"] = json!({});
            }
            cluster.put(object);
        }
    }
}

thread_local! {
    /// Answers that stayed although something changed that no read set covers.
    static KEPT: Cell<usize> = const { Cell::new(0) };
    static CHANGED: Cell<usize> = const { Cell::new(0) };
}

async fn check(
    cluster: &mut Cluster,
    prepared: &[(std::sync::Arc<Prepared>, Vec<Param>, &str)],
    edit: &Edit,
) -> Result<(), TestCaseError> {
    let before = cluster.snapshot();
    let mut answers = Vec::new();
    for (prepared, params, _) in prepared {
        answers.push(
            cluster
                .engine
                .execute(prepared, params, &before)
                .await
                .unwrap(),
        );
    }
    make(cluster, edit);
    let after = cluster.snapshot();
    let changes = after.changes_since(before.sequence()).unwrap();
    for ((prepared, params, sql), old) in prepared.iter().zip(answers) {
        let new = cluster
            .engine
            .execute(prepared, params, &after)
            .await
            .unwrap();
        let set = prepared.read_set_at(params, &before).unwrap();
        let covered = changes.iter().any(|change| covers(&set, change));
        if new.fingerprint != old.fingerprint {
            CHANGED.set(CHANGED.get() + 1);
            prop_assert!(
                covered,
                "{}\n{:?}\nbefore\n{}\nafter\n{}\n{:?}",
                sql,
                edit,
                text(&old),
                text(&new),
                set
            );
        } else if !covered {
            KEPT.set(KEPT.get() + 1);
        }
    }
    Ok(())
}

#[test]
fn answers_change_only_with_their_read_set() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(12));
    let edits = (
        prop::collection::vec(edit(), 0..20),
        prop::collection::vec(edit(), 1..12),
    );
    runner
        .run(&edits, |(first, then)| {
            let mut cluster = Cluster::empty();
            first.iter().for_each(|edit| make(&mut cluster, edit));
            runtime.block_on(async {
                let mut prepared = Vec::new();
                for (sql, params) in statements() {
                    let one = cluster.engine.prepare(sql, &AccessSet::all()).await;
                    let one = one.unwrap_or_else(|error| panic!("{sql}: {error}"));
                    prepared.push((one, params, sql));
                }
                let own = ["Pod", "Deployment", "App"].map(|kind| TableAccess {
                    table: super::fixture::kind(kind),
                    scope: RowScope::OwnNamespace,
                });
                let selected = ["Pod", "Deployment", "App"].map(|kind| TableAccess {
                    table: super::fixture::kind(kind),
                    scope: RowScope::Labels {
                        own_namespace: false,
                        match_labels: [("tier".to_owned(), "gold".to_owned())].into(),
                    },
                });
                for access in [
                    AccessSet::of(own.to_vec()).in_namespace("a"),
                    AccessSet::of(selected.to_vec()),
                ] {
                    for sql in [
                        "SELECT count(*) AS n FROM pods",
                        "SELECT name FROM apps WHERE spec.size = 1",
                    ] {
                        prepared.push((
                            cluster.engine.prepare(sql, &access).await.unwrap(),
                            Vec::new(),
                            sql,
                        ));
                    }
                }
                for edit in &then {
                    check(&mut cluster, &prepared, edit).await?;
                }
                Ok(())
            })
        })
        .unwrap();
    // A read set of everything would pass too: some answers must have been kept.
    assert!(
        KEPT.get() > 20 && CHANGED.get() > 20,
        "{} kept, {} changed",
        KEPT.get(),
        CHANGED.get()
    );
}

#[tokio::test]
async fn read_sets_are_narrow() {
    let cluster = Cluster::new();
    let set = async |sql: &str, params: &[Param]| {
        let prepared = cluster
            .engine
            .prepare(sql, &AccessSet::all())
            .await
            .unwrap();
        let mut lines: Vec<String> = prepared
            .read_set_at(params, &cluster.snapshot())
            .unwrap()
            .scans
            .iter()
            .map(|scan| {
                let keys = match &scan.keys {
                    Keys::All => "all".to_owned(),
                    Keys::Of { index, values } => format!("{index} {}", values.join(",")),
                };
                let Columns::Named(names) = &scan.columns else {
                    panic!("all columns")
                };
                format!(
                    "{} [{keys}] {}",
                    scan.table.kind,
                    names.iter().cloned().collect::<Vec<_>>().join(",")
                )
            })
            .collect();
        lines.sort();
        lines.join("\n")
    };
    for (sql, params, expected) in [
        (
            "SELECT spec.replicas FROM deployments WHERE namespace = $1 AND name = $2",
            vec!["a".into(), "shop".into()],
            "Deployment [name a/shop] name,namespace,spec.replicas",
        ),
        ("SELECT count(*) FROM pods", vec![], "Pod [all] "),
        (
            "SELECT name FROM pods WHERE labels['app'] = 'shop'",
            vec![],
            "Pod [metadata.labels.app shop] metadata.labels.app,name",
        ),
        (
            "SELECT name FROM pods WHERE labels['other'] = 'x'",
            vec![],
            "Pod [metadata.labels.other x] metadata.labels.other,name",
        ),
        (
            "SELECT name FROM pods WHERE spec.nodeName IN ($1, 'n2')",
            vec!["n1".into()],
            "Pod [spec.nodeName n1,n2] name,spec.nodeName",
        ),
        (
            "SELECT name FROM pods WHERE namespace = 'a' AND uid = $1",
            vec!["u".into()],
            "Pod [uid u] name,namespace,uid",
        ),
        // A parameter that is missing makes the read set wider, never wrong.
        (
            "SELECT name FROM pods WHERE namespace = 'a' AND uid = $1",
            vec![],
            "Pod [namespace a] name,namespace,uid",
        ),
        (
            "SELECT name FROM nodes WHERE name = 'n1'",
            vec![],
            "Node [name n1] name",
        ),
        (
            "SELECT p.name FROM pods p JOIN nodes n ON n.name = p.spec.nodeName WHERE p.uid = 'u'",
            vec![],
            "Node [name ] name\nPod [uid u] name,spec.nodeName,uid",
        ),
        // Keys of one table from rows of another one.
        (
            "SELECT p.name FROM deployments d JOIN pods p ON p.owner_uid = d.uid WHERE d.namespace = 'a' AND d.name = 'shop'",
            vec![],
            "Deployment [name a/shop] name,namespace,uid\nPod [owner_uid Deployment-a-shop] name,owner_uid",
        ),
        (
            "SELECT d.name FROM deployments d WHERE d.uid = 'Deployment-a-shop' AND NOT EXISTS (SELECT 1 FROM pods p WHERE p.owner_uid = d.uid)",
            vec![],
            "Deployment [uid Deployment-a-shop] name,uid\nPod [owner_uid Deployment-a-shop] owner_uid",
        ),
        (
            "SELECT n.name FROM apps a JOIN pods p ON p.labels['app'] = a.name JOIN nodes n ON n.name = p.spec.nodeName WHERE a.uid = 'App-a-shop'",
            vec![],
            "App [uid App-a-shop] name,uid\nNode [name n1,n2] name\nPod [metadata.labels.app shop] metadata.labels.app,spec.nodeName",
        ),
        // Rows that find no partner count as well, or count for others.
        (
            "SELECT p.name, d.name AS owner FROM pods p LEFT JOIN deployments d ON p.owner_uid = d.uid AND d.uid = 'Deployment-a-shop'",
            vec![],
            "Deployment [uid Deployment-a-shop] name,uid\nPod [all] name,owner_uid",
        ),
        (
            "SELECT d.name FROM deployments d JOIN (SELECT owner_uid FROM pods ORDER BY name LIMIT 2) x ON x.owner_uid = d.uid WHERE d.uid = 'Deployment-a-shop'",
            vec![],
            "Deployment [uid Deployment-a-shop] name,uid\nPod [all] name,owner_uid",
        ),
        ("SELECT name FROM nodes WHERE false", vec![], ""),
    ] {
        assert_eq!(set(sql, &params).await, expected, "{sql}");
    }
}
