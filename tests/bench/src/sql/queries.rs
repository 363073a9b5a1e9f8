//! The texts: each query twice, over the objects and over columns.
//!
//! Peers read columns: every path was taken out of the objects once, when they were loaded, which
//! is more than they would be given by somebody who stores objects. Only `q6` reads JSON text.
//! Quantities are a number for them too.

use serde::{Deserialize, Serialize};

/// One query.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Query {
    /// `q2`.
    pub(crate) name: String,
    /// Over the objects.
    #[serde(skip)]
    pub(crate) natural: String,
    /// Over the columns; `{image}` is what reads the path of `q6`.
    pub(crate) columns: String,
}

/// `q1` with parameters: the namespace and the name.
pub(crate) const POINT: [&str; 2] = [
    "SELECT namespace, name, spec.nodeName AS node, status.phase AS phase FROM pods
     WHERE namespace = $1 AND name = $2",
    "SELECT namespace, name, node, phase FROM pods WHERE namespace = $1 AND name = $2",
];

/// `q1` as a text.
pub(crate) fn point(text: &str, namespace: &str, name: &str) -> String {
    text.replace("$1", &format!("'{namespace}'"))
        .replace("$2", &format!("'{name}'"))
}

/// `q2` to `q8`; each has one line for what it asks.
const QUERIES: [[&str; 3]; 7] = [
    // Failed pods that never restarted: one of a hundred.
    [
        "q2",
        "SELECT namespace, name FROM pods
         WHERE status.phase = 'Failed' AND status.containerStatuses[0].restartCount < 1",
        "SELECT namespace, name FROM pods WHERE phase = 'Failed' AND restarts < 1",
    ],
    // The twenty nodes whose pods ask for most.
    [
        "q3",
        "SELECT spec.nodeName AS node, count(*) AS pods,
            sum(cpu_millis(spec.containers[0].resources.requests.cpu)) AS total
         FROM pods GROUP BY spec.nodeName ORDER BY total DESC, node LIMIT 20",
        "SELECT node, count(*) AS pods, CAST(sum(cpu) AS BIGINT) AS total
         FROM pods GROUP BY node ORDER BY total DESC, node LIMIT 20",
    ],
    // Deployments with fewer running pods than they want.
    [
        "q4",
        "SELECT d.namespace, d.name, d.spec.replicas AS replicas, count(p.name) AS running
         FROM deployments d LEFT JOIN pods p
            ON p.namespace = d.namespace AND p.labels['app'] = d.name AND p.status.phase = 'Running'
         GROUP BY d.namespace, d.name, d.spec.replicas HAVING count(p.name) < d.spec.replicas",
        "SELECT d.namespace, d.name, d.replicas, count(p.name) AS running
         FROM deployments d LEFT JOIN pods p
            ON p.namespace = d.namespace AND p.app = d.name AND p.phase = 'Running'
         GROUP BY d.namespace, d.name, d.replicas HAVING count(p.name) < d.replicas",
    ],
    // What each zone has left.
    [
        "q5",
        "SELECT n.labels['topology.kubernetes.io/zone'] AS zone, count(*) AS nodes,
            sum(cpu_millis(n.status.allocatable.cpu)) - sum(coalesce(u.cpu, 0)) AS free
         FROM nodes n LEFT JOIN (
            SELECT spec.nodeName AS node,
                sum(cpu_millis(spec.containers[0].resources.requests.cpu)) AS cpu
            FROM pods GROUP BY spec.nodeName) u ON u.node = n.name
         GROUP BY n.labels['topology.kubernetes.io/zone']",
        "SELECT n.zone, count(*) AS nodes,
            CAST(sum(n.cpu) - sum(coalesce(u.cpu, 0)) AS BIGINT) AS free
         FROM nodes n LEFT JOIN (
            SELECT node, sum(cpu) AS cpu FROM pods GROUP BY node) u ON u.node = n.name
         GROUP BY n.zone",
    ],
    // Who runs an image.
    [
        "q6",
        "SELECT namespace, name FROM pods WHERE spec.containers[0].image = '{wanted}'",
        "SELECT namespace, name FROM pods WHERE {image} = '{wanted}'",
    ],
    // The three pods of each namespace that restarted most.
    [
        "q7",
        "SELECT namespace, name, restarts FROM (
            SELECT namespace, name, status.containerStatuses[0].restartCount AS restarts,
                row_number() OVER (PARTITION BY namespace
                    ORDER BY status.containerStatuses[0].restartCount DESC, name) AS place
            FROM pods) t WHERE place <= 3",
        "SELECT namespace, name, restarts FROM (
            SELECT namespace, name, restarts,
                row_number() OVER (PARTITION BY namespace ORDER BY restarts DESC, name) AS place
            FROM pods) t WHERE place <= 3",
    ],
    // Pods on nodes that are not ready or not there.
    [
        "q8",
        "SELECT p.namespace, p.name, p.spec.nodeName AS node FROM pods p WHERE NOT EXISTS (
            SELECT 1 FROM nodes n
            WHERE n.name = p.spec.nodeName AND n.status.conditions[3].status = 'True')",
        "SELECT p.namespace, p.name, p.node FROM pods p WHERE NOT EXISTS (
            SELECT 1 FROM nodes n WHERE n.name = p.node AND n.ready = 'True')",
    ],
];

/// `q2` to `q8`, with the image that `q6` looks for.
pub(crate) fn queries(image: &str) -> Vec<Query> {
    let with = |text: &str| text.replace("{wanted}", image);
    QUERIES
        .iter()
        .map(|[name, natural, columns]| Query {
            name: (*name).to_owned(),
            natural: with(natural),
            columns: with(columns),
        })
        .collect()
}
