//! What the engine tells about itself: passes, queue, what is wanted, drift, effects.

use crate::effects::caller;
use crate::world::{World, cr};
use kybern_interface::{EffectPhase, HookError};
use kybern_reconcile::{DecideError, Drift, Effecting, Place, WriteError};
use serde_json::{Value, json};
use std::time::Duration;

fn pause(world: &World, value: &'static str) {
    world.api.edit("user", "App", "ns", "a", |a| {
        a["metadata"]["annotations"] = json!({ "kybern.dev/paused": value });
    });
}

fn maps(world: &World, maps: Value) {
    world.api.edit("user", "App", "ns", "a", |a| {
        a["spec"]["maps"] = maps.clone();
    });
}

/// What the last plan wants: `a-x converged`.
fn wanted(world: &World) -> Vec<String> {
    let report = world.report("a");
    let wanted = report.wanted.iter();
    wanted
        .map(|step| format!("{} {}", step.target.name, step.verdict.name()))
        .collect()
}

/// What is not as wanted: `a-x changed data.v`.
fn drift(world: &World) -> Vec<String> {
    let drifted = world.engine.drift().flatten().map(|of| {
        assert_eq!((&*of.cr.plugin, &*of.cr.name), ("reg", "a"));
        let how = match of.how {
            Drift::Missing => "missing".to_owned(),
            Drift::Changed(paths) => format!("changed {}", paths.join(",")),
            Drift::NotApplied => "not applied".to_owned(),
        };
        format!("{} {how}", of.object.name)
    });
    drifted.collect()
}

fn refuse(world: &World, kind: &'static str) {
    world.api.fail_with(move |write| {
        (write.target.gvk.kind == kind).then(|| WriteError::Lost("refused".into()))
    });
}

async fn converged() -> World {
    let world = World::new();
    let spec = json!({ "maps": { "x": "1", "y": "1" } });
    world.api.put("user", cr("a", spec));
    world.settle().await;
    world
}

#[tokio::test(start_paused = true)]
async fn what_a_plan_wants_stays_known_and_says_what_is_not_done() {
    let world = converged().await;
    assert_eq!(wanted(&world), ["a-x converged", "a-y converged"]);
    // A pass that finds nothing has no plan; that of before goes on to be wanted.
    world.api.edit("user", "ConfigMap", "ns", "a-x", |map| {
        map["metadata"]["labels"]["noise"] = json!("1");
    });
    world.settle().await;
    assert_eq!(world.report("a").ending.name(), "unchanged");
    assert_eq!(world.report("a").steps.len(), 0);
    assert_eq!(wanted(&world), ["a-x converged", "a-y converged"]);
    // What is not done is told as it was found, also while nothing more is decided.
    refuse(&world, "ConfigMap");
    maps(&world, json!({ "x": "2", "y": "1" }));
    world.settle().await;
    assert_eq!(world.report("a").ending.name(), "failed");
    assert_eq!(
        wanted(&world),
        ["a-x apply", "a-y converged"],
        "{:?}",
        world.report("a")
    );
    pause(&world, "true");
    world.settle().await;
    assert_eq!(world.report("a").ending.name(), "paused");
    assert_eq!(wanted(&world), ["a-x apply", "a-y converged"]);
    // What is pruned is not wanted.
    pause(&world, "false");
    world.api.heal();
    maps(&world, json!({ "y": "1" }));
    world.settle().await;
    assert_eq!(wanted(&world), ["a-y converged"]);
}

#[tokio::test(start_paused = true)]
async fn the_row_that_made_a_pass_due_is_named() {
    let world = converged().await;
    assert_eq!(world.report("a").started.by.row(), None);
    world.api.delete("ConfigMap", "ns", "a-y");
    world.settle().await;
    let report = world.report("a");
    let row = report.started.by.row().unwrap();
    assert_eq!((&*row.table.kind, &*row.name), ("ConfigMap", "a-y"));
    assert_eq!(report.priority, "live");
    assert_eq!(report.writes, ["create ConfigMap ns/a-y"]);
}

#[tokio::test(start_paused = true)]
async fn what_others_change_is_drift_until_it_is_put_right() {
    let world = converged().await;
    assert_eq!(drift(&world), [""; 0]);
    pause(&world, "true");
    world.settle().await;
    world.api.edit("user", "ConfigMap", "ns", "a-x", |map| {
        map["data"]["v"] = json!("theirs");
    });
    world.api.delete("ConfigMap", "ns", "a-y");
    world.settle().await;
    assert_eq!(drift(&world), ["a-x changed ", "a-y missing"]);
    // A pass that may not put it right finds the paths.
    refuse(&world, "ConfigMap");
    pause(&world, "false");
    world.settle().await;
    assert_eq!(drift(&world), ["a-x changed data.v", "a-y missing"]);
    // So is what the plan wants otherwise and nobody could apply.
    maps(&world, json!({ "x": "2", "y": "1" }));
    world.settle().await;
    assert_eq!(drift(&world), ["a-x not applied", "a-y missing"]);
    world.api.heal();
    world.settle().await;
    assert_eq!(drift(&world), [""; 0]);
    world.api.edit("user", "ConfigMap", "ns", "a-x", |map| {
        map["metadata"]["labels"]["noise"] = json!("1");
    });
    assert_eq!(drift(&world), [""; 0], "nobody's field");
}

#[tokio::test(start_paused = true)]
async fn the_queue_says_what_fails_what_waits_and_what_runs() {
    let world = converged().await;
    let of = |world: &World| {
        let queue = world.engine.queue();
        assert_eq!(queue.len(), 1, "{queue:?}");
        queue.into_iter().next().unwrap()
    };
    // Ten hours at most, until it is looked at again.
    let rests = of(&world);
    assert!(
        matches!(rests.place, Place::Delayed { due } if due > Duration::from_secs(3600)),
        "{rests:?}"
    );
    assert_eq!((rests.priority, rests.failures), ("resync", 0));
    assert_eq!(rests.started.unwrap().by.kind(), "resync");
    world.decide(|_| Err(DecideError::Hook(HookError::retry("later"))));
    maps(&world, json!({}));
    world.settle().await;
    let failing = of(&world);
    assert!(matches!(failing.place, Place::Held { .. }), "{failing:?}");
    assert!(failing.failures > 3, "{failing:?}");
    assert_eq!(failing.failures, world.report("a").failures);
    assert_eq!(failing.started.unwrap().by.kind(), "retry");
    // Its queries take a second.
    *world.hooks.delay.lock() = Duration::from_secs(1);
    maps(&world, json!({ "x": "1" }));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let runs = of(&world);
    assert_eq!((runs.place, runs.priority), (Place::Running, "live"));
    assert_eq!(runs.started, None);
    maps(&world, json!({ "x": "2" }));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let again = of(&world);
    assert_eq!(again.place, Place::Running);
    assert_eq!(again.started.unwrap().by.kind(), "resource");
}

#[tokio::test(start_paused = true)]
async fn effects_are_told_without_what_they_take_and_give() {
    let world = World::new();
    world.decide(caller);
    let secret = json!("hunter2");
    let calls = json!({ "bad": 1, "good": secret, "late": 2, "slow": 3 });
    world.act(|effect| match effect.key.as_str() {
        "bad" => {
            let invalid = HookError::Invalid("no such zone".into());
            (Duration::ZERO, Err(DecideError::Hook(invalid)))
        }
        "late" => {
            let later = HookError::retry("down");
            (Duration::ZERO, Err(DecideError::Hook(later)))
        }
        "slow" => (Duration::from_secs(60), Ok(json!("hunter2"))),
        _ => (Duration::ZERO, Ok(json!("hunter2"))),
    });
    world.api.put("user", cr("a", json!({ "calls": calls })));
    tokio::time::sleep(Duration::from_secs(20)).await;
    let mut effects = world.engine.effects();
    effects.sort_by(|a, b| a.key.cmp(&b.key));
    assert!(!format!("{effects:?}").contains("hunter2"), "{effects:?}");
    let states: Vec<_> = effects.iter().map(|of| (&*of.key, of.state)).collect();
    let wanted = [
        ("bad", Effecting::Failed),
        ("good", Effecting::Succeeded),
        ("late", Effecting::Retrying),
        ("slow", Effecting::Running),
    ];
    assert_eq!(states, wanted);
    let [bad, good, late, slow] = &effects[..] else {
        panic!("{effects:?}");
    };
    assert_eq!(bad.error.as_deref(), Some("no such zone"));
    assert_eq!((bad.again, good.error.as_deref()), (None, None));
    assert!(good.at.is_some() && late.again > late.at, "{late:?}");
    assert!(late.attempt > Some(2), "{late:?}");
    assert_eq!((slow.phase, slow.at), (Some(EffectPhase::Normal), None));
    assert_eq!((slow.attempt, &*slow.cr.name), (Some(1), "a"));
}

#[tokio::test(start_paused = true)]
async fn registrations_count_their_resources_and_those_that_fail() {
    let world = converged().await;
    world.api.put("user", cr("b", json!({})));
    world.settle().await;
    let running = world.engine.running();
    assert_eq!(running.len(), 1);
    assert_eq!((running[0].crs, running[0].failing), (2, 0));
    world.decide(|_| Err(DecideError::Hook(HookError::retry("later"))));
    maps(&world, json!({}));
    world.settle().await;
    let running = world.engine.running();
    assert_eq!((running[0].crs, running[0].failing), (2, 1));
    assert_eq!(running[0].active.digest, "sha256:1");
}
