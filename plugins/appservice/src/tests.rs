//! The plugin without wasm and without a cluster.

use crate::AppService;
use kybern_sdk::testing::{self, Decided, Situation};
use kybern_sdk::{Embedded, HookError, Value, json};

/// The source document's custom resource, as published.
fn fixture() -> Value {
    serde_saphyr::from_str(include_str!("../tests/appservice.yaml")).unwrap()
}

fn decide(cr: Value) -> Result<Decided, HookError> {
    Situation::new(cr).decide::<AppService>()
}

fn with(path: &str, value: Value) -> Value {
    let mut cr = fixture();
    *cr.pointer_mut(path).unwrap() = value;
    cr
}

#[test]
fn the_published_resource_becomes_a_deployment_and_a_service() {
    let plan = decide(fixture()).unwrap();
    assert_eq!(plan.children(), 2);
    assert_eq!(
        plan.child("Deployment", "nginx-app").unwrap(),
        &json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": { "name": "nginx-app", "labels": { "app": "nginx-app" } },
            "spec": {
                "replicas": 2,
                "selector": { "matchLabels": { "app": "nginx-app" } },
                "template": {
                    "metadata": { "labels": { "app": "nginx-app" } },
                    "spec": { "containers": [{
                        "name": "app",
                        "image": "nginx:1.7.9",
                        "ports": [{ "containerPort": 80, "protocol": "TCP" }],
                    }] },
                },
            },
        })
    );
    assert_eq!(
        plan.child("Service", "nginx-app").unwrap()["spec"],
        json!({
            "type": "NodePort",
            "selector": { "app": "nginx-app" },
            "ports": [{ "name": "port-80", "port": 80, "targetPort": 80, "nodePort": 30002, "protocol": "TCP" }],
        })
    );
}

#[test]
fn status_has_the_counts_of_the_observed_deployment() {
    let zeros = decide(fixture()).unwrap().status().unwrap().clone();
    assert_eq!(
        zeros,
        json!({"replicas": 0, "readyReplicas": 0, "availableReplicas": 0, "updatedReplicas": 0, "unavailableReplicas": 0})
    );
    let row = json!({
        "replicas": 2, "readyReplicas": 1, "availableReplicas": 1, "updatedReplicas": 2,
        "unavailableReplicas": null, "generation": 1, "seen": 1, "wanted": 2, "reported": [],
    });
    let plan = Situation::new(fixture())
        .rows("deployment", [row])
        .decide::<AppService>()
        .unwrap();
    assert_eq!(
        plan.status().unwrap(),
        &json!({"replicas": 2, "readyReplicas": 1, "availableReplicas": 1, "updatedReplicas": 2, "unavailableReplicas": 0})
    );
}

#[test]
fn without_ports_there_is_no_service() {
    let plan = decide(with("/spec/ports", json!([]))).unwrap();
    assert_eq!(plan.children(), 1);
    assert!(plan.child("Service", "nginx-app").is_none());
}

#[test]
fn a_port_needs_only_a_number_and_may_share_its_container_port() {
    let ports = json!([{ "port": 80 }, { "port": 8080, "targetPort": 80 }]);
    let plan = decide(with("/spec/ports", ports)).unwrap();
    let service = &plan.child("Service", "nginx-app").unwrap()["spec"]["ports"];
    assert_eq!(service[0]["targetPort"], 80);
    assert!(service[0].get("nodePort").is_none());
    assert_eq!(service[1]["name"], "port-8080");
    let container = &plan.child("Deployment", "nginx-app").unwrap()["spec"]["template"]["spec"]["containers"]
        [0];
    assert_eq!(
        container["ports"],
        json!([{ "containerPort": 80, "protocol": "TCP" }])
    );
}

#[test]
fn what_cannot_work_is_invalid_and_names_the_field() {
    let twice = json!([{ "port": 80 }, { "port": 80 }]);
    let node_twice = json!([{ "port": 80, "nodePort": 30002 }, { "port": 81, "nodePort": 30002 }]);
    let cases = [
        (
            "/metadata/name",
            json!("nginx.app"),
            "metadata.name: `nginx.app` is no DNS-1035 label: at most 63 small letters",
        ),
        ("/metadata/name", json!("1app"), "metadata.name: "),
        ("/metadata/name", json!("a".repeat(64)), "metadata.name: "),
        (
            "/spec/size",
            json!(-1),
            "spec.size: invalid value: integer `-1`",
        ),
        (
            "/spec/size",
            json!("two"),
            "spec.size: invalid type: string \"two\"",
        ),
        ("/spec/image", json!(" nginx"), "spec.image: "),
        ("/spec/image", json!(""), "spec.image: "),
        (
            "/spec/ports/0/port",
            json!(70000),
            "spec.ports[0].port: invalid value: integer `70000`",
        ),
        (
            "/spec/ports/0/port",
            json!(0),
            "spec.ports[0].port: 0 is out of range: 1 to 65535",
        ),
        (
            "/spec/ports/0/targetPort",
            json!(0),
            "spec.ports[0].targetPort: 0 is out of range: 1 to 65535",
        ),
        (
            "/spec/ports/0/nodePort",
            json!(0),
            "spec.ports[0].nodePort: 0 is out of range: 1 to 65535",
        ),
        (
            "/spec/ports",
            (1..=33).map(|port| json!({ "port": port })).collect(),
            "spec.ports: has 33 items: at most 32",
        ),
        (
            "/spec/size",
            json!(3_000_000_000_u32),
            "spec.size: 3000000000 is out of range: 0 to 2147483647",
        ),
        (
            "/spec/ports",
            twice,
            "spec.ports[1].port: 80 is named twice",
        ),
        (
            "/spec/ports",
            node_twice,
            "spec.ports[1].nodePort: 30002 is named twice",
        ),
        (
            "/spec",
            json!({ "image": "nginx" }),
            "spec: missing field `size`",
        ),
    ];
    for (path, value, expected) in cases {
        match decide(with(path, value.clone())) {
            Err(HookError::Invalid(message)) => {
                assert!(message.starts_with(expected), "{path} = {value}: {message}");
            }
            other => panic!("{path} = {value}: {other:?}"),
        }
    }
}

#[test]
fn a_failed_query_is_tried_again() {
    let result = Situation::new(fixture())
        .failing("deployment", "apps.deployments is not listed yet")
        .decide::<AppService>();
    assert!(matches!(result, Err(HookError::Retry(_))), "{result:?}");
}

#[test]
fn the_manifest_says_what_the_plugin_is_and_asks_for() {
    let manifest = testing::manifest::<AppService>().unwrap();
    let text = serde_json::to_string(&manifest).unwrap();
    assert_eq!(
        text,
        AppService::MANIFEST,
        "reading and writing changes nothing"
    );

    assert_eq!(
        (manifest.name.as_str(), manifest.world.as_str()),
        ("appservice", "kybern:operator@0.1.0")
    );
    assert_eq!(
        serde_json::to_value(&manifest.resources).unwrap(),
        json!([{ "group": "app.example.com", "version": "v1", "kind": "AppService", "role": "Primary" }])
    );
    assert_eq!(
        serde_json::to_value(&manifest.status).unwrap(),
        json!({ "conditions": "standard", "observedGeneration": true })
    );
    let asked: Vec<&str> = manifest
        .writes
        .iter()
        .map(|ask| ask.kind.as_str())
        .collect();
    assert_eq!(asked, ["Deployment", "Service"]);
    let crd: Value = serde_saphyr::from_str(include_str!("../crd.yaml")).unwrap();
    let now = &manifest.crds[0];
    let text = serde_saphyr::to_string(now).unwrap();
    assert_eq!(
        now, &crd,
        "crd.yaml, which is there to be read, should be:\n{text}"
    );
}
