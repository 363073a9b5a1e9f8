//! A backoff or a Retry-After is not shortened by the noise around a CR, and nothing is lost in it.

use crate::world::{World, active, cr, map, plan, simple};
use kybern_interface::HookError;
use kybern_reconcile::{DecideError, Refusal, WriteBody, WriteError};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

fn bug() -> DecideError {
    DecideError::Hook(HookError::Internal("bug".into()))
}

fn refused(code: u16, retry_after: Option<u64>) -> WriteError {
    WriteError::Refused(Refusal {
        code,
        reason: "Refused".into(),
        retry_after: retry_after.map(Duration::from_secs),
        ..Refusal::default()
    })
}

async fn converged() -> World {
    let world = World::new();
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1" } })));
    world.settle().await;
    world.decides();
    world
}

/// A minute in which the child changes ten times a second.
async fn noise(world: &World) {
    for n in 0..600 {
        world.api.edit("noise", "ConfigMap", "ns", "a-x", |map| {
            map["data"]["v"] = json!(n.to_string());
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_noisy_child_does_not_shorten_a_backoff() {
    let world = converged().await;
    world.decide(|_| Err(bug()));
    noise(&world).await;
    let decides = world.decides();
    // 5 ms, 10 ms, ... 41 s.
    assert!((8..=16).contains(&decides), "{decides}");
    // What came in between is seen by the pass that comes then.
    world.decide(simple);
    world.settle().await;
    let child = world.api.get("ConfigMap", "ns", "a-x").unwrap();
    assert_eq!(child["data"]["v"], "1");
}

#[tokio::test(start_paused = true)]
async fn a_noisy_child_does_not_shorten_a_retry_after() {
    let world = converged().await;
    let writes = Arc::new(AtomicUsize::new(0));
    let count = writes.clone();
    world.api.fail_with(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        Some(refused(429, Some(25)))
    });
    noise(&world).await;
    // At 0, 25 and 50 s.
    assert_eq!(writes.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_changes_in_a_backoff_is_not_lost() {
    let world = World::new();
    *world.hooks.reads.lock() = Some("settings".into());
    world.decide(|_| Err(bug()));
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1" } })));
    tokio::time::sleep(Duration::from_secs(60)).await;
    let mut settings = map("settings", json!({ "k": "1" }));
    settings["metadata"]["namespace"] = json!("ns");
    world.api.put("user", settings);
    world.decide(simple);
    world.decides();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(world.decides(), 0);
    world.settle().await;
    assert_eq!(world.report("a").answers[0].rows, 1);
    assert_eq!(world.ready("a").0, "True");
}

#[tokio::test(start_paused = true)]
async fn a_changed_spec_runs_at_once_and_starts_the_backoff_anew() {
    let world = converged().await;
    world.decide(|_| Err(bug()));
    world.api.edit("user", "App", "ns", "a", |a| {
        a["spec"]["maps"]["x"] = json!("2")
    });
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(world.report("a").failures > 8);
    world.decides();
    world.api.edit("user", "App", "ns", "a", |a| {
        a["spec"]["maps"]["x"] = json!("3")
    });
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(world.decides(), 1);
    assert_eq!(world.report("a").failures, 1);
}

#[tokio::test(start_paused = true)]
async fn revisions_that_come_and_go_beside_it_end_no_backoff() {
    let world = converged().await;
    world.decide(|_| Err(bug()));
    world.api.edit("user", "App", "ns", "a", |a| {
        a["spec"]["maps"]["x"] = json!("2")
    });
    tokio::time::sleep(Duration::from_secs(60)).await;
    world.decides();
    let mut beside = active("reg");
    beside.missing.insert("sha256:9".into());
    world.engine.register(beside);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(world.decides(), 0);
}

#[tokio::test(start_paused = true)]
async fn another_plugin_or_other_settings_run_at_once() {
    let world = converged().await;
    world.decide(|_| Err(bug()));
    world.api.edit("user", "App", "ns", "a", |a| {
        a["spec"]["maps"]["x"] = json!("2")
    });
    tokio::time::sleep(Duration::from_secs(60)).await;
    world.decides();
    world.decide(simple);
    world.engine.register(active("reg"));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(world.decides(), 1);
    assert_eq!(world.ready("a").0, "True");
}

#[tokio::test(start_paused = true)]
async fn the_plugins_own_timer_does_not_shorten_a_retry_after() {
    let world = World::new();
    world.decide(|situation| {
        let mut plan = simple(situation)?;
        plan.requeue_after_ms = Some(1_000);
        Ok(plan)
    });
    world.api.fail_with(|_| Some(refused(429, Some(30))));
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1" } })));
    tokio::time::sleep(Duration::from_secs(29)).await;
    assert_eq!(world.decides(), 1);
    world.api.heal();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.ready("a").0, "True");
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_counts_also_beside_another_failure() {
    let world = World::new();
    world.api.fail_with(|write| {
        let create = matches!(write.body, WriteBody::Create { .. });
        create.then(|| match &*write.target.name {
            "a-x" => refused(429, Some(30)),
            _ => refused(500, None),
        })
    });
    let maps = json!({ "maps": { "x": "1", "y": "1" } });
    world.api.put("user", cr("a", maps));
    tokio::time::sleep(Duration::from_secs(29)).await;
    assert_eq!(world.decides(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_becomes_free_ends_the_backoff() {
    let world = World::new();
    let mut theirs = map("a-x", json!({ "v": "theirs" }));
    theirs["metadata"]["namespace"] = json!("ns");
    world.api.put("kubectl", theirs);
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1" } })));
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(world.ready("a").1, "ChildConflict");
    world.api.delete("ConfigMap", "ns", "a-x");
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(world.ready("a").0, "True");
}

#[tokio::test(start_paused = true)]
async fn a_condition_that_could_not_be_written_is_tried_again() {
    let world = World::new();
    world.decide(|_| Err(DecideError::Hook(HookError::Invalid("spec".into()))));
    world.api.fail_with(|_| Some(refused(500, None)));
    world.api.put("user", cr("a", json!({})));
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.api.heal();
    world.settle().await;
    assert_eq!(world.ready("a").1, "InvalidSpec");
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_holds_back_what_is_no_more_urgent_and_live_changes_least() {
    let mut world = World::bare();
    world.decide(|_| Ok(plan(json!([]))));
    for n in 0..30 {
        world.api.put(
            "user",
            cr(&format!("c{n}"), json!({ "maps": { "x": "1" } })),
        );
    }
    let writes = Arc::new(AtomicUsize::new(0));
    let count = writes.clone();
    world.api.fail_with(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        Some(refused(429, Some(600)))
    });
    world.engine.register(active("reg"));
    world.start();
    tokio::time::sleep(Duration::from_secs(29)).await;
    // Those that had started when the first answer came.
    let first = writes.swap(0, Ordering::SeqCst);
    assert!((1..=8).contains(&first), "{first}");
    // A live change is not held back by passes of the start.
    world.api.heal();
    world.api.put("user", cr("live", json!({})));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(world.ready("live").0, "True");
    // However long the API server asks for, it is 30 s for the others.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.ready("c29").0, "True");
    // Refused itself, a live change holds back others of its kind for a second.
    world
        .api
        .fail_with(|write| (write.target.name == "live").then(|| refused(429, Some(600))));
    world.api.put("user", cr("live", json!({ "maps": {} })));
    tokio::time::sleep(Duration::from_millis(10)).await;
    world.api.put("user", cr("next", json!({})));
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert!(world.condition("next", "Ready").is_none());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(world.ready("next").0, "True");
}
