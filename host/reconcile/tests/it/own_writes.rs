//! What a pass wrote itself starts no other pass, unless somebody reads it.

use crate::world::{World, apply, cr, map, plan};
use serde_json::json;

fn passes(world: &World) -> u64 {
    world.engine.metrics().plugins["reg"].all_passes()
}

async fn converged() -> World {
    let world = World::new();
    let spec = json!({ "maps": { "x": "1", "y": "1" }, "image": "i:1" });
    world.api.put("user", cr("a", spec));
    world.settle().await;
    world
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_converges_is_the_only_one() {
    let world = converged().await;
    assert_eq!(passes(&world), 1);
    assert!(world.engine.metrics().spared > 0);
    // An upgrade patch and an apply, a prune, a status.
    world.api.edit("user", "App", "ns", "a", |a| {
        a["spec"]["maps"] = json!({ "x": "2" })
    });
    world.settle().await;
    assert_eq!(passes(&world), 2);
    assert!(world.api.get("ConfigMap", "ns", "a-y").is_none());
}

#[tokio::test(start_paused = true)]
async fn what_others_do_to_a_child_right_after_a_write_is_seen() {
    let world = converged().await;
    let before = passes(&world);
    let image = |a: &mut serde_json::Value| a["spec"]["image"] = json!("i:2");
    // While the pass runs.
    *world.hooks.delay.lock() = std::time::Duration::from_secs(1);
    world.api.edit("user", "App", "ns", "a", image);
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    world.api.edit("kubectl", "ConfigMap", "ns", "a-x", |map| {
        map["data"]["v"] = json!("theirs")
    });
    world.settle().await;
    assert_eq!(passes(&world), before + 3);
    let child = world.api.get("ConfigMap", "ns", "a-x").unwrap();
    assert_eq!(child["data"]["v"], "1");
    // And after it.
    world.api.delete("ConfigMap", "ns", "a-y");
    world.settle().await;
    assert!(world.api.get("ConfigMap", "ns", "a-y").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_reads_its_child_decides_again_on_what_it_wrote() {
    let world = World::new();
    *world.hooks.reads.lock() = Some("m".into());
    world.decide(|_| Ok(plan(json!([apply(map("m", json!({ "k": "v" })))]))));
    world.api.put("user", cr("a", json!({})));
    world.settle().await;
    assert_eq!(world.decides(), 2);
    assert_eq!(world.report("a").answers[0].rows, 1);
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_did_not_succeed_is_followed_by_another() {
    let world = World::new();
    world.decide(|_| {
        Ok(plan(json!([
            { "type": "apply", "object": { "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": { "name": "d" },
                "spec": { "template": { "spec": { "containers": [] } } } }, "ready": true },
            { "type": "apply", "wave": 1, "object": map("m", json!({})) },
        ])))
    });
    world.api.put("user", cr("a", json!({})));
    world.settle().await;
    assert!(world.api.get("ConfigMap", "ns", "m").is_none());
    world.api.edit("controller", "Deployment", "ns", "d", |d| {
        d["status"] = json!({ "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1 });
    });
    world.settle().await;
    assert!(world.api.get("ConfigMap", "ns", "m").is_some());
}
