//! The end of a run: passes under way finish, and nobody waits for those that do not.

use crate::world::{World, cr};
use serde_json::json;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Longer than any grace.
const FOR_EVER: Duration = Duration::from_secs(1_000_000);

/// A world with a pass under way whose queries take this long.
async fn with_a_pass(takes: Duration) -> World {
    let world = World::new();
    *world.hooks.delay.lock() = takes;
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1", "y": "2" } })));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(world.engine.metrics().running, 1);
    world
}

#[tokio::test(start_paused = true)]
async fn a_pass_under_way_at_shutdown_is_finished() {
    let mut world = with_a_pass(Duration::from_secs(2)).await;
    world.stop().await;
    let mut writes = world.api.writes();
    writes.sort();
    assert_eq!(
        writes,
        [
            "create ConfigMap ns/a-x",
            "create ConfigMap ns/a-y",
            "status App ns/a"
        ]
    );
    assert_eq!(world.engine.metrics().running, 0);
}

#[tokio::test(start_paused = true)]
async fn unregistering_ends_when_the_run_drops_a_pass_that_does_not() {
    let mut world = with_a_pass(FOR_EVER).await;
    let engine = world.engine.clone();
    let mut waiting = JoinSet::new();
    waiting.spawn(async move { engine.unregister("reg").await });
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(waiting.try_join_next().is_none(), "its pass is under way");
    world.stop().await;
    timeout(Duration::from_secs(60), waiting.join_next())
        .await
        .expect("unregister returns")
        .expect("it was started")
        .unwrap();
    assert_eq!(world.engine.metrics().running, 0);
}

#[tokio::test(start_paused = true)]
async fn unregistering_ends_when_the_run_itself_is_dropped() {
    let mut world = with_a_pass(FOR_EVER).await;
    world.abort().await;
    let unregistered = world.engine.unregister("reg");
    timeout(Duration::from_secs(60), unregistered)
        .await
        .expect("unregister returns");
}
