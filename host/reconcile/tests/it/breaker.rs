//! A CR that never comes to rest is slowed down, and says so while it is.

use crate::world::{World, cr};
use serde_json::json;
use std::time::Duration;

/// The reasons of the Events since the last call.
fn said(world: &World) -> Vec<String> {
    let events = world.api.events();
    events.into_iter().map(|event| event.reason).collect()
}

fn slowed(world: &World) -> (u64, usize) {
    let metrics = world.engine.metrics();
    (metrics.plugins["reg"].slowed, metrics.slowed)
}

/// Another program that wants the child otherwise.
async fn fight(world: &World, seconds: u64) {
    for _ in 0..seconds * 20 {
        world.api.edit("other", "ConfigMap", "ns", "a-x", |map| {
            map["data"]["v"] = json!("theirs");
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_opens_and_closes_says_so_once_each() {
    let world = World::new();
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1" } })));
    world.settle().await;
    for round in 1..=2 {
        fight(&world, 60).await;
        let (status, reason, message) = world.condition("a", "Stalled").unwrap();
        assert_eq!((status.as_str(), reason.as_str()), ("True", "SlowedDown"));
        assert!(message.contains("with every pass"), "{message}");
        assert_eq!(said(&world), ["SlowedDown"]);
        assert_eq!(slowed(&world), (round, 1));
        // What the passes do is said all the same.
        assert_eq!(world.ready("a").0, "True");

        tokio::time::sleep(Duration::from_secs(40)).await;
        assert!(world.condition("a", "Stalled").is_some());
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert!(world.condition("a", "Stalled").is_none());
        assert_eq!(said(&world), ["NoLongerSlowedDown"]);
        assert_eq!(slowed(&world), (round, 0));
        assert_eq!(world.ready("a").0, "True");
        world.settle().await;
        assert_eq!(said(&world), [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn noise_that_leads_to_no_write_is_slowed_down_without_a_word() {
    let world = World::new();
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1" } })));
    world.settle().await;
    let before = world.engine.metrics().plugins["reg"].all_passes();
    for n in 0..1_200 {
        world.api.edit("noise", "ConfigMap", "ns", "a-x", |map| {
            map["metadata"]["labels"]["noise"] = json!(n.to_string());
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let passes = world.engine.metrics().plugins["reg"].all_passes() - before;
    assert!((100..=165).contains(&passes), "{passes}");
    assert!(world.condition("a", "Stalled").is_none());
    assert_eq!(said(&world), [""; 0]);
    assert_eq!(slowed(&world), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_start_of_the_host_takes_back_what_was_said() {
    let mut world = World::new();
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1" } })));
    world.settle().await;
    fight(&world, 60).await;
    assert!(world.condition("a", "Stalled").is_some());
    world.kill().await;
    world.settle().await;
    assert!(world.condition("a", "Stalled").is_none());
}
