//! The objects: CRs in namespaces of a hundred, and ten pods for each.
#![expect(
    clippy::indexing_slicing,
    reason = "of JSON, which has null where there is nothing"
)]

use kybern_table::{KindKey, TableDef};
use serde_json::{Value, json};
use std::sync::Arc;

/// CRs of one namespace.
const OF_NAMESPACE: u64 = 100;
/// Pods of one CR.
pub(super) const PODS: u64 = 10;

/// Kind, group, plural.
const KINDS: [(&str, &str, &str, &str); 4] = [
    (
        "AppService",
        "bench.example.com",
        "bench_example_com",
        "appservices",
    ),
    ("Deployment", "apps", "apps", "deployments"),
    ("Service", "", "core", "services"),
    ("Pod", "", "core", "pods"),
];

/// The tables, as the host defines them.
pub(super) fn tables() -> impl Iterator<Item = TableDef> {
    KINDS
        .into_iter()
        .map(|(kind, group, schema, plural)| TableDef {
            key: key(group, kind),
            schema: schema.to_owned(),
            plural: plural.to_owned(),
            namespaced: true,
            label_keys: vec![kybern_interface::names::PART_OF.to_owned()],
            path_indexes: Vec::new(),
        })
}

/// A table by group and kind; all are v1.
pub(super) fn key(group: &str, kind: &str) -> KindKey {
    KindKey {
        group: Arc::from(group),
        version: Arc::from("v1"),
        kind: Arc::from(kind),
    }
}

/// The namespace of a CR.
pub(super) fn namespace(number: u64) -> String {
    format!("team-{}", number / OF_NAMESPACE)
}

/// The name of a CR, and of its children.
pub(super) fn name(number: u64) -> String {
    format!("app-{number}")
}

/// A CR.
pub(super) fn cr(number: u64) -> Value {
    json!({
        "apiVersion": "bench.example.com/v1", "kind": "AppService",
        "metadata": {
            "name": name(number), "namespace": namespace(number),
            "uid": format!("cr-{number}"), "resourceVersion": (number + 1).to_string(), "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": { "size": 3, "image": "nginx:1.27", "ports": [{ "port": 80, "targetPort": 8080 }] },
    })
}

/// A pod of a CR, after some changes.
pub(super) fn pod(number: u64, change: u64) -> Value {
    let cr = number / PODS;
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("{}-{}", name(cr), number % PODS), "namespace": namespace(cr),
            "uid": format!("pod-{number}"), "resourceVersion": (number + 1 + change).to_string(),
            "labels": { "app": name(cr) }, "annotations": { "note": change.to_string() },
        },
        "spec": {
            "nodeName": format!("node-{}", number % 500),
            "containers": [{
                "name": "app", "image": "nginx:1.27", "ports": [{ "containerPort": 8080 }],
                "resources": { "requests": { "cpu": "100m", "memory": "64Mi" } },
            }],
        },
        "status": { "phase": if number.is_multiple_of(7) { "Pending" } else { "Running" } },
    })
}

/// The plan for a CR, as the plugin AppService makes it.
pub(super) fn plan(cr: &Value) -> Value {
    let name = &cr["metadata"]["name"];
    let app = json!({ "app": name });
    let child = |api: &str, kind: &str, spec: Value| {
        json!({ "type": "apply", "object": {
            "apiVersion": api, "kind": kind, "metadata": { "name": name, "labels": app }, "spec": spec,
        } })
    };
    let deployment = json!({
        "replicas": cr["spec"]["size"], "selector": { "matchLabels": app },
        "template": { "metadata": { "labels": app }, "spec": { "containers": [{
            "name": "app", "image": cr["spec"]["image"],
            "ports": [{ "containerPort": 8080, "protocol": "TCP" }],
        }] } },
    });
    let service = json!({
        "type": "ClusterIP", "selector": app,
        "ports": [{ "name": "port-80", "port": 80, "targetPort": 8080, "protocol": "TCP" }],
    });
    json!({ "children": "complete", "actions": [
        child("apps/v1", "Deployment", deployment),
        child("v1", "Service", service),
        { "type": "status", "status": { "replicas": cr["spec"]["size"] } },
    ] })
}
