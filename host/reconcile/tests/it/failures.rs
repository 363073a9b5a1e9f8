//! Plugins that fail and plans that are refused: a condition, an Event, backoff, no write.

use crate::world::{World, apply, cr, map, plan, simple};
use kybern_interface::{Failure, HookError};
use kybern_reconcile::{Crash, DecideError, Ending, Refusal, WriteBody, WriteError};
use serde_json::json;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn a_plan_with_one_action_outside_its_grants_writes_nothing() {
    let world = World::new();
    world.decide(|_| {
        Ok(plan(json!([
            apply(map("fine", json!({}))),
            apply(json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "d", "namespace": "kube-system" },
                "spec": { "template": { "spec": { "containers": [] } } } })),
            apply(json!({ "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": { "name": "r" } })),
        ])))
    });
    world.api.put("user", cr("a", json!({})));
    world.settle().await;
    assert_eq!(world.api.writes(), ["status App ns/a"]);
    let (_, reason, message) = world.condition("a", "Ready").unwrap();
    assert_eq!(reason, "NotGranted");
    assert!(
        message.contains("kube-system") && message.contains("ReplicaSet"),
        "{message}"
    );
    assert_eq!(world.api.events().len(), 1);
    assert!(world.engine.metrics().plugins["reg"].refused > 5);
    // The right plan is followed with the next pass.
    world.decide(simple);
    world.settle().await;
    assert_eq!(world.ready("a").0, "True");
}

#[tokio::test(start_paused = true)]
async fn every_way_to_fail_has_its_reason_and_the_next_good_pass_clears_it() {
    let crash = |kind| DecideError::Crashed {
        kind,
        message: "boom\n  at 0x1234".into(),
    };
    let hook = |error| DecideError::Hook(error);
    for (error, reason, condition) in [
        (crash(Crash::Trap), "PluginTrapped", "Reconciling"),
        (crash(Crash::Time), "PluginOutOfTime", "Reconciling"),
        (crash(Crash::Memory), "PluginOutOfMemory", "Reconciling"),
        (crash(Crash::Output), "InvalidPlan", "Reconciling"),
        (
            hook(HookError::Internal("bug".into())),
            "PluginFailed",
            "Reconciling",
        ),
        (
            hook(HookError::retry("later")),
            "PluginRetries",
            "Reconciling",
        ),
        (
            hook(HookError::invalid("spec.size", "too big")),
            "InvalidSpec",
            "Stalled",
        ),
        (
            hook(HookError::wait("for the moon")),
            "Waiting",
            "Reconciling",
        ),
    ] {
        let world = World::new();
        world
            .api
            .put("user", cr("a", json!({ "maps": { "x": "1" } })));
        world.settle().await;
        let fault = error.clone();
        world.decide(move |_| Err(fault.clone()));
        world.api.edit("user", "App", "ns", "a", |a| {
            a["spec"]["maps"]["x"] = json!("2")
        });
        world.settle().await;
        assert_eq!(world.ready("a"), ("False".into(), reason.into()));
        assert!(world.condition("a", condition).is_some(), "{reason}");
        let object = world.api.get("App", "ns", "a").unwrap();
        assert_eq!(
            object["status"]["maps"], 1,
            "{reason}: the plugin's status stays"
        );
        let events = world.api.events();
        assert_eq!(
            events.len(),
            usize::from(reason != "Waiting"),
            "{reason} {events:?}"
        );
        // One status write, however often it failed.
        let statuses = world
            .api
            .writes()
            .iter()
            .filter(|w| w.starts_with("status"))
            .count();
        assert_eq!(statuses, 2, "{reason}");
        world.decide(simple);
        world.api.edit("user", "App", "ns", "a", |a| {
            a["spec"]["maps"]["x"] = json!("3")
        });
        world.settle().await;
        assert_eq!(world.ready("a"), ("True".into(), "Reconciled".into()));
        assert!(world.condition("a", condition).is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn failures_back_off_and_an_invalid_spec_is_not_retried() {
    let world = World::new();
    world.decide(|_| Err(DecideError::Hook(HookError::Internal("bug".into()))));
    world.api.put("user", cr("a", json!({})));
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let decides = world.decides();
    // 5 ms, 10 ms, ... 5 minutes: about 17 doublings and one every 4 minutes after that.
    assert!((20..=40).contains(&decides), "{decides}");
    world.decide(|_| Err(DecideError::Hook(HookError::Invalid("spec".into()))));
    tokio::time::sleep(Duration::from_secs(600)).await;
    world.decides();
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(world.decides(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_plugin_says_when_to_look_again() {
    let world = World::new();
    world.decide(|_| {
        Err(DecideError::Hook(HookError::Wait(Failure {
            message: "m".into(),
            retry_after_ms: Some(100_000),
        })))
    });
    world.api.put("user", cr("a", json!({})));
    tokio::time::sleep(Duration::from_secs(99)).await;
    assert_eq!(world.decides(), 1);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.decides(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_flaps_between_two_plans_is_slowed_down() {
    let world = World::new();
    let counter = std::sync::atomic::AtomicUsize::new(0);
    world.decide(move |_| {
        let n = counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(plan(json!([apply(map(
            "m",
            json!({ "n": n.to_string() })
        ))])))
    });
    world.api.put("user", cr("a", json!({})));
    // Every write triggers the next pass; the bucket lets 100 go and then one a second.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let decides = world.decides();
    assert!((1..=165).contains(&decides), "{decides}");
}

#[tokio::test(start_paused = true)]
async fn a_cr_that_is_deleted_and_made_again_and_again_is_slowed_down() {
    let world = World::new();
    for _ in 0..3_000 {
        world.api.put("user", cr("a", json!({})));
        tokio::time::sleep(Duration::from_millis(5)).await;
        world.api.delete("App", "ns", "a");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let decides = world.decides();
    assert!((1..=165).contains(&decides), "{decides}");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_refused_says_why_and_is_tried_again() {
    let world = World::new();
    world.api.fail_with(|write| {
        matches!(write.body, WriteBody::Create { .. }).then(|| {
            WriteError::Refused(Refusal {
                code: 422,
                reason: "Invalid".into(),
                message: "data: too long".into(),
                ..Refusal::default()
            })
        })
    });
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1" } })));
    world.settle().await;
    let (_, reason, message) = world.condition("a", "Ready").unwrap();
    assert_eq!(reason, "ChildRejected");
    assert!(
        message.contains("a-x") && message.contains("too long"),
        "{message}"
    );
    world.api.heal();
    world.settle().await;
    assert_eq!(world.ready("a").0, "True");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_going_is_an_end_and_not_a_failure() {
    let world = World::new();
    world.api.fail_with(|write| {
        matches!(write.body, WriteBody::Create { .. }).then(|| {
            WriteError::Refused(Refusal {
                code: 403,
                reason: "Forbidden".into(),
                message:
                    "unable to create new content in namespace ns because it is being terminated"
                        .into(),
                ..Refusal::default()
            })
        })
    });
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1" } })));
    world.settle().await;
    assert_eq!(world.report("a").ending, Ending::Gone);
    assert!(world.api.events().is_empty());
    assert_eq!(world.decides(), 1);
}

/// A create in a namespace that is going.
fn going(namespace: &str) -> WriteError {
    WriteError::Refused(Refusal {
        code: 403,
        reason: "Forbidden".into(),
        message: format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        ),
        ..Refusal::default()
    })
}

/// One ConfigMap in the CR's namespace and one in another.
fn near_and_far() -> kybern_interface::Plan {
    let far = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "far", "namespace": "else" } });
    plan(json!([apply(far), apply(map("near", json!({})))]))
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_going_hides_no_failure_of_another_child() {
    let world = World::new();
    world.decide(|_| Ok(near_and_far()));
    world.api.fail_with(|write| {
        matches!(write.body, WriteBody::Create { .. }).then(|| match &*write.target.namespace {
            "else" => going("else"),
            _ => WriteError::Refused(Refusal {
                code: 500,
                reason: "InternalError".into(),
                ..Refusal::default()
            }),
        })
    });
    world.api.put("user", cr("a", json!({})));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.ready("a"), ("False".into(), "WriteFailed".into()));
    assert!(world.report("a").next.is_some());
    world.api.fail_with(|write| {
        let create = matches!(write.body, WriteBody::Create { .. });
        (create && write.target.namespace == "else").then(|| going("else"))
    });
    world.settle().await;
    assert!(world.api.get("ConfigMap", "ns", "near").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_made_again_gets_its_children() {
    let world = World::new();
    world.decide(|_| Ok(near_and_far()));
    world.api.fail_with(|write| {
        let create = matches!(write.body, WriteBody::Create { .. });
        (create && write.target.namespace == "else").then(|| going("else"))
    });
    world.api.put("user", cr("a", json!({})));
    world.settle().await;
    let (_, reason, message) = world.condition("a", "Ready").unwrap();
    assert_eq!(reason, "NamespaceTerminating");
    assert!(message.contains("else/far"), "{message}");
    // It is no failure.
    assert!(world.api.events().is_empty());
    world.api.heal();
    // Where namespaces are watched, that it comes back is seen; elsewhere it is polled for.
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert!(world.api.get("ConfigMap", "else", "far").is_some());
    world.settle().await;
    assert_eq!(world.ready("a").0, "True");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_comes_back_is_seen_where_namespaces_are_watched() {
    let world = World::new();
    world.decide(|_| Ok(near_and_far()));
    world.api.fail_with(|write| {
        let create = matches!(write.body, WriteBody::Create { .. });
        (create && write.target.namespace == "else").then(|| going("else"))
    });
    world.api.put("user", cr("a", json!({})));
    world.settle().await;
    world.api.heal();
    world.api.put(
        "user",
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "else" } }),
    );
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(world.api.get("ConfigMap", "else", "far").is_some());
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured() {
    let world = World::new();
    world.api.fail_with(|_| {
        Some(WriteError::Refused(Refusal {
            code: 429,
            reason: "TooManyRequests".into(),
            retry_after: Some(Duration::from_secs(30)),
            ..Refusal::default()
        }))
    });
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
async fn a_replica_that_does_not_lead_writes_no_more() {
    let world = World::new();
    world.api.fail_with(|_| Some(WriteError::Fenced));
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1", "y": "1" } })));
    world.settle().await;
    assert_eq!(world.api.writes(), Vec::<String>::new());
    assert_eq!(world.report("a").ending, Ending::Gone);
}

#[tokio::test(start_paused = true)]
async fn fields_that_the_schema_prunes_cause_no_loop() {
    let world = World::new();
    // The schema of this kind's status has no field `n`.
    world.decide(|situation| {
        let mut plan = simple(situation)?;
        plan.actions.push(
            serde_json::from_value(json!({ "type": "event", "reason": "Said", "message": "once" }))
                .unwrap(),
        );
        Ok(plan)
    });
    world.api.prune_status("maps");
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1" } })));
    world.settle().await;
    let statuses = |writes: Vec<String>| writes.iter().filter(|w| w.starts_with("status")).count();
    assert_eq!(statuses(world.api.writes()), 1);
    for value in ["2", "3"] {
        world.api.edit("user", "App", "ns", "a", |a| {
            a["metadata"]["annotations"] = json!({ "kybern.dev/reconcile-at": value });
        });
        world.settle().await;
    }
    assert_eq!(statuses(world.api.writes()), 0);
    assert_eq!(world.api.events().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_sense_hook_can_skip() {
    let mut world = World::bare();
    let mut active = crate::world::active("reg");
    active.has_sense = true;
    world.engine.register(active);
    world.start();
    *world.hooks.skip.lock() = true;
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1" } })));
    world.settle().await;
    assert_eq!(world.report("a").ending, Ending::Skipped);
    *world.hooks.skip.lock() = false;
    world.api.edit("user", "App", "ns", "a", |a| {
        a["metadata"]["labels"] = json!({ "l": "1" })
    });
    world.settle().await;
    assert_eq!(world.ready("a").0, "True");
}

#[tokio::test(start_paused = true)]
async fn a_timer_that_is_due_while_the_plugin_fails_still_backs_off() {
    let world = World::new();
    world.decide(|situation| {
        let mut plan = simple(situation)?;
        plan.requeue_after_ms = Some(1_000);
        Ok(plan)
    });
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1" } })));
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.decide(|_| Err(DecideError::Hook(HookError::Internal("bug".into()))));
    world.decides();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let decides = world.decides();
    assert!((5..=20).contains(&decides), "{decides}");
}

#[tokio::test(start_paused = true)]
async fn a_failed_query_is_said_and_taken_back() {
    let world = World::new();
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1" } })));
    world.settle().await;
    *world.hooks.broken.lock() = true;
    world.api.edit("user", "App", "ns", "a", |a| {
        a["metadata"]["labels"] = json!({ "l": "1" })
    });
    world.settle().await;
    assert_eq!(world.ready("a"), ("False".into(), "QueryFailed".into()));
    *world.hooks.broken.lock() = false;
    // Back to the state that the last good pass saw.
    world.api.edit("user", "App", "ns", "a", |a| {
        a["metadata"]["labels"] = json!(null)
    });
    world.settle().await;
    assert_eq!(world.ready("a").0, "True");
}

#[tokio::test(start_paused = true)]
async fn passes_wait_for_tables_and_start_when_they_are_there() {
    let world = World::new();
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1" } })));
    world.settle().await;
    world.api.writes();
    world.api.break_table("ConfigMap");
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "2", "y": "1" } })));
    world.settle().await;
    // A missing row proves nothing now.
    assert_eq!(world.api.writes(), Vec::<String>::new());
    world.api.relist();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(world.api.get("ConfigMap", "ns", "a-y").is_some());
}

#[tokio::test(start_paused = true)]
async fn conditions_that_a_schema_of_before_drops_are_written_again_a_few_times() {
    let world = World::new();
    world.api.prune_status("conditions");
    let app = cr("a", json!({ "maps": { "x": "1" } }));
    world.api.put("user", app);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.condition("a", "Ready"), None);
    // The new schema is what the API server goes by at last.
    world.api.prune_nothing();
    world.settle().await;
    assert_eq!(world.ready("a").0, "True");

    // One that never keeps them costs a few writes and then none.
    world.api.prune_status("conditions");
    world
        .api
        .put("user", cr("b", json!({ "maps": { "x": "1" } })));
    world.settle().await;
    let writes = world.api.writes();
    let of = |what: &&String| *what == "status App ns/b";
    assert_eq!(writes.iter().filter(of).count(), 5, "{writes:?}");
    world.settle().await;
    assert_eq!(world.api.writes(), [""; 0]);
}
