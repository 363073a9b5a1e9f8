//! The end of CRs and children: nothing stays Terminating, nothing is recreated by mistake.

use crate::world::{World, apply, cr, map, plan, simple};
use kybern_interface::Deletion;
use serde_json::json;

#[tokio::test(start_paused = true)]
async fn an_ordinary_cr_goes_without_a_finalizer_and_takes_its_children_with_it() {
    let world = World::new();
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1" } })));
    world.settle().await;
    world.api.writes();
    world.api.delete("App", "ns", "a");
    world.settle().await;
    assert!(world.api.get("App", "ns", "a").is_none());
    assert!(world.api.get("ConfigMap", "ns", "a-x").is_none());
    assert_eq!(world.api.writes(), Vec::<String>::new());
    let metrics = world.engine.metrics();
    assert_eq!(
        (metrics.remembered, metrics.trigger_keys, metrics.delayed),
        (0, 0, 0)
    );
}

fn far() -> serde_json::Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "far", "namespace": "else" } })
}

#[tokio::test(start_paused = true)]
async fn a_child_out_of_the_collectors_reach_is_deleted_before_the_cr_goes() {
    let mut world = World::new();
    world.decide(|_| Ok(plan(json!([apply(far()), apply(map("near", json!({})))]))));
    world.api.put("user", cr("a", json!({})));
    world.settle().await;
    // The finalizer came before the child that needs it.
    let writes = world.api.writes();
    let at = |text: &str| writes.iter().position(|w| w == text).unwrap();
    assert!(
        at("patch App ns/a") < at("create ConfigMap else/far"),
        "{writes:?}"
    );
    // Nothing remembered: the label on the child is enough.
    world.restart().await;
    world.settle().await;
    assert_eq!(world.api.writes(), Vec::<String>::new());
    world.api.delete("App", "ns", "a");
    world.settle().await;
    assert!(world.api.get("ConfigMap", "else", "far").is_none());
    assert!(world.api.get("App", "ns", "a").is_none());
    assert!(world.api.get("ConfigMap", "ns", "near").is_none());
}

#[tokio::test(start_paused = true)]
async fn the_finalizer_goes_when_nothing_needs_it_any_more() {
    let world = World::new();
    world.decide(|situation| {
        let mut actions = vec![apply(map("near", json!({})))];
        if situation.object["spec"]["far"] == true {
            actions.push(apply(far()));
        }
        Ok(plan(json!(actions)))
    });
    world.api.put("user", cr("a", json!({ "far": true })));
    world.settle().await;
    assert!(world.api.get("ConfigMap", "else", "far").is_some());
    world.api.edit("user", "App", "ns", "a", |a| {
        a["spec"]["far"] = json!(false)
    });
    world.settle().await;
    assert!(world.api.get("ConfigMap", "else", "far").is_none());
    let object = world.api.get("App", "ns", "a").unwrap();
    assert!(
        object["metadata"]
            .get("finalizers")
            .is_none_or(|f| f == &json!([])),
        "{object}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_cleans_up_holds_the_cr_until_it_is_done() {
    let world = World::new();
    world.decide(|situation| {
        let mut plan = plan(json!([
            apply(far()),
            { "type": "apply", "duringDeletion": true, "object": map("job", json!({})) },
            apply(map("plain", json!({}))),
        ]));
        if situation.deleting() {
            plan.deletion = match situation.object["metadata"]["labels"].get("done") {
                Some(_) => Deletion::Done,
                None => Deletion::InProgress("backing up".into()),
            };
        }
        Ok(plan)
    });
    world.api.put("user", cr("a", json!({})));
    world.settle().await;
    world.api.delete("App", "ns", "a");
    world.settle().await;
    let (_, reason, message) = world.condition("a", "Ready").unwrap();
    assert_eq!(
        (reason.as_str(), message.as_str()),
        ("Deleting", "backing up")
    );
    // Only what is for deletion is applied while it goes on. Paused does not hold it up.
    world.api.delete("ConfigMap", "ns", "job");
    world.api.delete("ConfigMap", "ns", "plain");
    world.api.edit("user", "App", "ns", "a", |a| {
        a["metadata"]["annotations"] = json!({ "kybern.dev/paused": "true" });
    });
    world.settle().await;
    assert!(world.api.get("ConfigMap", "ns", "job").is_some());
    assert!(world.api.get("ConfigMap", "ns", "plain").is_none());
    assert!(world.api.get("ConfigMap", "else", "far").is_some());
    world.api.edit("user", "App", "ns", "a", |a| {
        a["metadata"]["labels"] = json!({ "done": "1" })
    });
    world.settle().await;
    assert!(world.api.get("App", "ns", "a").is_none());
    assert!(world.api.get("ConfigMap", "else", "far").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_child_that_is_being_deleted_is_waited_for() {
    let world = World::new();
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1" } })));
    world.settle().await;
    let first = world.api.get("ConfigMap", "ns", "a-x").unwrap();
    world.api.edit("other", "ConfigMap", "ns", "a-x", |m| {
        m["metadata"]["finalizers"] = json!(["x.example.com/hold"])
    });
    world.api.delete("ConfigMap", "ns", "a-x");
    world.settle().await;
    assert_eq!(world.ready("a").1, "WaitingForDeletion");
    assert!(world.api.events().is_empty());
    world.api.edit("other", "ConfigMap", "ns", "a-x", |m| {
        m["metadata"]["finalizers"] = json!([])
    });
    world.settle().await;
    let second = world.api.get("ConfigMap", "ns", "a-x").unwrap();
    assert_ne!(second["metadata"]["uid"], first["metadata"]["uid"]);
    assert_eq!(world.ready("a").0, "True");
}

#[tokio::test(start_paused = true)]
async fn a_cr_made_again_under_its_name_waits_for_its_predecessors_children() {
    let world = World::new();
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1" } })));
    world.settle().await;
    world.api.edit("other", "ConfigMap", "ns", "a-x", |m| {
        m["metadata"]["finalizers"] = json!(["x.example.com/hold"])
    });
    world.api.delete("App", "ns", "a");
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "2" } })));
    world.settle().await;
    assert_eq!(world.ready("a").1, "WaitingForDeletion");
    assert_eq!(
        world.api.get("ConfigMap", "ns", "a-x").unwrap()["data"]["v"],
        "1"
    );
    world.api.edit("other", "ConfigMap", "ns", "a-x", |m| {
        m["metadata"]["finalizers"] = json!([])
    });
    world.settle().await;
    assert_eq!(
        world.api.get("ConfigMap", "ns", "a-x").unwrap()["data"]["v"],
        "2"
    );
}

#[tokio::test(start_paused = true)]
async fn an_immutable_field_is_explained_or_recreated() {
    for recreate in [false, true] {
        let world = World::new();
        world.decide(move |situation| {
            let app = situation.object["spec"]["app"].clone();
            Ok(plan(json!([{
                "type": "apply", "onImmutable": if recreate { "recreate" } else { "fail" },
                "object": {
                    "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "d" },
                    "spec": {
                        "selector": { "matchLabels": { "app": app } },
                        "template": { "spec": { "containers": [{ "name": "web", "image": "i" }] } },
                    },
                },
            }])))
        });
        world.api.put("user", cr("a", json!({ "app": "1" })));
        world.settle().await;
        let before = world.api.get("Deployment", "ns", "d").unwrap();
        world.api.put("user", cr("a", json!({ "app": "2" })));
        world.settle().await;
        let after = world.api.get("Deployment", "ns", "d").unwrap();
        let same = before["metadata"]["uid"] == after["metadata"]["uid"];
        assert_eq!(same, !recreate);
        if recreate {
            assert_eq!(after["spec"]["selector"]["matchLabels"]["app"], "2");
        } else {
            let (_, reason, message) = world.condition("a", "Stalled").unwrap();
            assert_eq!(reason, "ImmutableField");
            assert!(message.contains("field is immutable"), "{message}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_plugin_during_deletion_is_tried_again() {
    let world = World::new();
    world.decide(|situation| {
        let mut plan = simple(situation)?;
        plan.actions
            .push(serde_json::from_value(apply(far())).unwrap());
        Ok(plan)
    });
    world.api.put("user", cr("a", json!({})));
    world.settle().await;
    world.decide(|_| {
        Err(kybern_reconcile::DecideError::Crashed {
            kind: kybern_reconcile::Crash::Trap,
            message: "unreachable".into(),
        })
    });
    world.api.delete("App", "ns", "a");
    world.settle().await;
    assert_eq!(world.ready("a").1, "PluginTrapped");
    world.decide(simple);
    world.settle().await;
    assert!(world.api.get("App", "ns", "a").is_none());
    assert!(world.api.get("ConfigMap", "else", "far").is_none());
}
