//! What happens to a MicroServiceDeploy and its children, one thing after the other.
//!
//! An autoscaler sets its count: what that was is only in the record while it is idle.

use super::operator::{Kind, RECORDS, Step};
use super::oracle::record;
use super::world::Objects;
use crate::scene::Scene;
use anyhow::Result;
use serde_json::{Value, json};

const VERSION: &str = "custom.ops/v1";
const KIND: &str = "MicroServiceDeploy";
const IMAGE: &str = "nginx:1.7.9";

/// What it is created with.
const ASKED: u64 = 3;
/// What the autoscaler makes of it.
const SCALED: u64 = 5;

pub(crate) const KINDS: [Kind; 10] = [
    Kind::new(VERSION, KIND, "custom.ops", "microservicedeploys"),
    Kind::new("apps/v1", "Deployment", "apps", "deployments"),
    Kind::new("v1", "Service", "", "services"),
    Kind::new("v1", "ServiceAccount", "", "serviceaccounts"),
    Kind::new("v1", "ConfigMap", "", "configmaps"),
    Kind::new("v1", "ResourceQuota", "", "resourcequotas"),
    Kind::new("v1", "Secret", "", "secrets").behind("-auth"),
    Kind::new(
        "networking.k8s.io/v1",
        "Ingress",
        "networking.k8s.io",
        "ingresses",
    ),
    Kind::new(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        "autoscaling",
        "horizontalpodautoscalers",
    ),
    Kind::new("v1", "Secret", "", RECORDS),
];

pub(super) fn make(step: Step, scene: &Scene, name: &str) -> Result<()> {
    let client = scene.client();
    let cr = scene.object(VERSION, KIND, name);
    let deployment = scene.object("apps/v1", "Deployment", name);
    let spec = |spec: Value| client.merge_patch(&cr, &json!({ "spec": spec }));
    match step {
        Step::Create => client.create(&json!({
            "apiVersion": VERSION, "kind": KIND,
            "metadata": { "name": name, "namespace": scene.namespace },
            "spec": {
                "msName": "shop", "fullName": name, "version": "1.0", "path": "v1",
                "image": IMAGE, "replicas": ASKED, "autoscaling": true, "needAuth": true,
                "config": "a=1",
                "resourceRequirements": { "requests": { "cpu": "2", "memory": "4Gi" } },
            },
        }))?,
        Step::Grow => {
            let scale = json!({ "spec": { "replicas": SCALED } });
            client.merge_patch(&deployment, &scale)?
        }
        Step::Close => spec(json!({ "idle": true, "needAuth": false, "config": null }))?,
        Step::Open => spec(json!({ "idle": false, "needAuth": true, "config": "a=2" }))?,
        Step::Drift => {
            let path = "/spec/template/spec/containers/0/image";
            let by_hand = json!([{ "op": "replace", "path": path, "value": "nginx:9" }]);
            client.json_patch(&deployment, &by_hand)?
        }
        Step::Loss => client.delete(&scene.object("v1", "Service", name))?,
    };
    Ok(())
}

pub(super) fn changes(step: Step, plural: &str) -> bool {
    match plural {
        "microservicedeploys" => matches!(step, Step::Create | Step::Close | Step::Open),
        "deployments" => step != Step::Loss,
        _ => matches!(step, Step::Create | Step::Loss),
    }
}

/// What a CR and its children lack, from the CR's own spec and what was done last.
pub(super) fn missing(objects: &Objects, name: &str, step: Step) -> Option<String> {
    let none = Value::Null;
    let of = |plural: &str| {
        let kind = KINDS.iter().find(|kind| kind.plural == plural);
        let key = kind.expect("a kind of the operator").key(name);
        objects.get(&key).unwrap_or(&none)
    };
    let (cr, deployment) = (of(KINDS[0].plural), of("deployments"));
    let spec = &cr["spec"];
    let is = |field: &str| spec[field] == true;
    let there = |plural: &str| !of(plural).is_null();
    let count = if step == Step::Create { ASKED } else { SCALED };
    let running = if is("idle") { 0 } else { count };
    let memory = record(of(RECORDS))["state"]["memory"].clone();
    let conditions = cr["status"]["conditions"].as_array();
    let ready = conditions.and_then(|all| all.iter().find(|one| one["type"] == "Ready"));
    let owner = |kind: &Kind| {
        let child = objects.get(&kind.key(name)).unwrap_or(&none);
        let owner = &child["metadata"]["ownerReferences"][0]["uid"];
        child.is_null() || *owner == cr["metadata"]["uid"]
    };
    let pod = &deployment["spec"]["template"]["spec"]["containers"][0];
    let checks = [
        ("a CR", !cr.is_null()),
        ("the count", deployment["spec"]["replicas"] == running),
        ("the image", pod["image"] == spec["image"]),
        ("a Service", there("services")),
        ("a ServiceAccount", there("serviceaccounts")),
        ("an Ingress", there("ingresses")),
        ("a ResourceQuota", there("resourcequotas")),
        (
            "the configuration",
            of("configmaps")["data"]["config"] == spec["config"],
        ),
        ("the Secret", there("secrets") == is("needAuth")),
        (
            "the autoscaler",
            there("horizontalpodautoscalers") == (is("autoscaling") && !is("idle")),
        ),
        ("the owner", KINDS[1..].iter().all(owner)),
        ("the count to come back to", memory["replicas"] == count),
        ("the host", cr["status"]["host"].is_string()),
        (
            "the generation",
            cr["status"]["observedGeneration"] == cr["metadata"]["generation"],
        ),
        // Nobody starts pods here.
        (
            "a reason",
            ready.is_some_and(|c| c["reason"] == "Progressing"),
        ),
    ];
    let open = checks.iter().find(|(_, holds)| !holds)?;
    Some(format!("{}: {cr} {deployment} {memory}", open.0))
}
