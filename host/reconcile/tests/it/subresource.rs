//! Evictions and scales: done while they are not so, and never to another object.

use crate::api::Api;
use crate::world::{World, apply, cr, map, plan};
use kybern_interface::{Plan, Situation};
use kybern_reconcile::{Cause, DecideError, Refusal, WriteBody, WriteError};
use serde_json::{Value, json};
use std::time::Duration;

fn pod(name: &str, finalizer: bool) -> Value {
    let finalizers = if finalizer {
        vec!["example.com/wait"]
    } else {
        vec![]
    };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": "ns", "finalizers": finalizers },
    })
}

/// Evicts the Pods of `spec.evict`, by name and uid.
fn evictor(situation: &Situation) -> Result<Plan, DecideError> {
    let mut actions = vec![apply(map("child", json!({})))];
    for (name, uid) in situation.object["spec"]["evict"]
        .as_object()
        .into_iter()
        .flatten()
    {
        actions.push(json!({
            "type": "createSubresource", "subresource": "eviction",
            "target": { "version": "v1", "kind": "Pod", "namespace": "ns", "name": name, "uid": uid },
        }));
    }
    if let Some(replicas) = situation.object["spec"].get("replicas") {
        actions.push(json!({
            "type": "createSubresource", "subresource": "scale",
            "target": { "group": "apps", "version": "v1", "kind": "Deployment", "namespace": "ns", "name": "web" },
            "body": { "spec": { "replicas": replicas } },
        }));
    }
    Ok(plan(json!(actions)))
}

fn uid(object: &Value) -> Value {
    object["metadata"]["uid"].clone()
}

async fn evicting(spec: impl FnOnce(&Api) -> Value) -> World {
    let world = World::new();
    world.decide(evictor);
    let spec = spec(&world.api);
    world.api.put("user", cr("a", spec));
    world.settle().await;
    world
}

fn of(writes: &[String], verb: &str) -> Vec<String> {
    let mut of: Vec<String> = writes
        .iter()
        .filter(|w| w.starts_with(verb))
        .cloned()
        .collect();
    of.sort();
    of
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_evicted_once_also_if_it_takes_its_time_and_no_other_of_its_name() {
    let mut world = evicting(|api| {
        let slow = uid(&api.put("user", pod("slow", true)));
        let quick = uid(&api.put("user", pod("quick", false)));
        api.put("user", pod("later", false));
        json!({ "evict": { "slow": slow, "quick": quick, "later": "uid-of-before", "none": "u" } })
    })
    .await;
    let writes = world.api.writes();
    assert_eq!(
        of(&writes, "evict"),
        ["evict Pod ns/quick", "evict Pod ns/slow"]
    );
    assert!(world.api.get("Pod", "ns", "later").is_some());
    let mut counted = world.engine.metrics().plugins["reg"].writes.clone();
    counted.retain(|(_, code), _| *code != "2xx");
    assert!(counted.is_empty(), "asked for in vain: {counted:?}");
    world
        .api
        .edit("user", "App", "ns", "a", |a| a["spec"]["x"] = json!(1));
    world.restart().await;
    world.settle().await;
    assert_eq!(of(&world.api.writes(), "evict"), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_disruption_budget_is_waited_for_and_holds_up_no_other() {
    let world = World::new();
    world.decide(evictor);
    let [held, free] = ["held", "free"].map(|name| uid(&world.api.put("user", pod(name, false))));
    world.api.protect(&["held"]);
    let spec = json!({ "evict": { "held": held, "free": free } });
    world.api.put("user", cr("a", spec));
    tokio::time::sleep(Duration::from_secs(30)).await;
    let (status, reason, message) = world.condition("a", "Ready").unwrap();
    assert_eq!((&*status, &*reason), ("False", "EvictionBlocked"));
    assert!(message.contains("Pod ns/held"), "{message}");
    assert!(world.api.get("Pod", "ns", "free").is_none());
    assert!(world.decides() < 20, "asked less and less often");
    world.api.protect(&[]);
    world.settle().await;
    assert!(world.api.get("Pod", "ns", "held").is_none());
    assert_eq!(world.ready("a").0, "True");
}

/// All Pods of such a namespace go, so that nothing is to be waited for there, and nobody else is
/// forgotten for it. That one Pod must wait does not slow down anybody else either.
#[tokio::test(start_paused = true)]
async fn a_terminating_namespace_hides_no_budget_and_a_budget_throttles_nobody() {
    let world = World::new();
    world.decide(evictor);
    let [held, gone] = ["held", "gone"].map(|name| uid(&world.api.put("user", pod(name, false))));
    world.api.fail_with(|write| {
        let refusal = |code, cause: &str| Refusal {
            code,
            causes: vec![Cause {
                reason: cause.into(),
                ..Cause::default()
            }],
            retry_after: Some(Duration::from_secs(10)).filter(|_| code == 429),
            ..Refusal::default()
        };
        match (&write.body, &*write.target.name) {
            (WriteBody::Evict { .. }, "gone") => Some(refusal(403, "NamespaceTerminating")),
            (WriteBody::Evict { .. }, "held") => Some(refusal(429, "DisruptionBudget")),
            _ => None,
        }
        .map(WriteError::Refused)
    });
    let spec = json!({ "evict": { "held": held, "gone": gone } });
    world.api.put("user", cr("a", spec));
    tokio::time::sleep(Duration::from_secs(30)).await;
    let (status, reason, _) = world.condition("a", "Ready").unwrap();
    assert_eq!((&*status, &*reason), ("False", "EvictionBlocked"));
    assert_eq!(world.engine.metrics().plugins["reg"].throttled, 0);
    world.api.heal();
    world.settle().await;
    assert!(world.api.get("Pod", "ns", "held").is_none());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_evicted_before_the_children_are_as_planned() {
    let world = World::new();
    world.decide(evictor);
    let target = uid(&world.api.put("user", pod("p", false)));
    world.api.fail_with(|write| {
        (write.target.gvk.kind == "ConfigMap").then(|| {
            WriteError::Refused(Refusal {
                code: 422,
                reason: "Invalid".into(),
                ..Refusal::default()
            })
        })
    });
    world
        .api
        .put("user", cr("a", json!({ "evict": { "p": target } })));
    world.settle().await;
    assert!(world.api.get("Pod", "ns", "p").is_some());
    world.api.heal();
    world.settle().await;
    assert!(world.api.get("Pod", "ns", "p").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_scale_is_written_only_when_it_is_another() {
    let mut world = evicting(|api| {
        api.put(
            "user",
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": { "name": "web", "namespace": "ns" },
                "spec": { "replicas": 2, "template": { "spec": { "containers": [] } } },
            }),
        );
        json!({ "replicas": 5 })
    })
    .await;
    let replicas = |world: &World| {
        world.api.get("Deployment", "ns", "web").unwrap()["spec"]["replicas"].clone()
    };
    assert_eq!(replicas(&world), 5);
    assert_eq!(of(&world.api.writes(), "scale").len(), 1);
    world.restart().await;
    world.settle().await;
    assert_eq!(world.api.writes(), Vec::<String>::new(), "not quiet");
    world.api.edit("user", "App", "ns", "a", |a| {
        a["spec"]["replicas"] = json!(0)
    });
    world.settle().await;
    assert_eq!(replicas(&world), 0);
    // What is not there cannot be scaled, and that is no failure.
    world.api.delete("Deployment", "ns", "web");
    world.api.edit("user", "App", "ns", "a", |a| {
        a["spec"]["replicas"] = json!(1)
    });
    world.settle().await;
    assert_eq!(world.ready("a").0, "True");
}
