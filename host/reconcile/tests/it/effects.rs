//! Effects: run once for what a plan names, outcomes given back, also across crashes.

use crate::world::{World, active, app, apply, cr, map, plan};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kybern_interface::{Deletion, Failure, GrantVerb, HookError, Plan, RemovalPolicy, Situation};
use kybern_reconcile::{Crash, DecideError, EffectResult, Ending, WriteError};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn effect(name: &str, key: &Value, input: Value) -> Value {
    json!({ "type": "effect", "name": name, "key": key, "input": input })
}

/// One effect for each of `spec.calls` (key to input), and a ConfigMap with what came of them.
pub(crate) fn caller(situation: &Situation) -> Result<Plan, DecideError> {
    let mut actions = vec![said(situation)];
    for (key, input) in situation.object["spec"]["calls"]
        .as_object()
        .into_iter()
        .flatten()
    {
        let mut action = effect("call", &json!(key), input.clone());
        if let Some(age) = situation.object["spec"].get("maxAgeMs") {
            action["maxAgeMs"] = age.clone();
        }
        actions.push(action);
    }
    Ok(plan(json!(actions)))
}

fn said(situation: &Situation) -> Value {
    let outcomes = serde_json::to_value(&situation.outcomes).unwrap();
    let told = |o: &Value| match o.get("ok") {
        Some(ok) => format!("{}={ok}@{}", o["key"].as_str().unwrap(), o["attempt"]),
        None => format!(
            "{}!{}@{}",
            o["key"].as_str().unwrap(),
            o["error"],
            o["attempt"]
        ),
    };
    let told: Vec<String> = outcomes.as_array().unwrap().iter().map(told).collect();
    apply(map("said", json!({ "v": told.join(" ") })))
}

pub(crate) fn heard(world: &World) -> String {
    let map = world.api.get("ConfigMap", "ns", "said").unwrap();
    map["data"]["v"].as_str().unwrap().to_owned()
}

fn spec(world: &World, spec: Value) {
    world
        .api
        .edit("user", "App", "ns", "a", |a| a["spec"] = spec);
}

pub(crate) async fn calling(spec: Value) -> World {
    let world = World::new();
    world.decide(caller);
    world.api.put("user", cr("a", spec));
    world
}

fn record_writes(world: &World) -> Vec<String> {
    let mut writes = world.api.writes();
    writes.retain(|write| write.contains("Secret"));
    writes
        .iter()
        .map(|write| write.split(' ').next().unwrap().to_owned())
        .collect()
}

pub(crate) fn retry(message: &str) -> Result<Value, DecideError> {
    Err(DecideError::Hook(HookError::retry(message)))
}

#[tokio::test(start_paused = true)]
async fn an_effect_runs_once_and_its_outcome_is_seen_also_after_a_restart() {
    let mut world = calling(json!({ "calls": { "k1": 1 } })).await;
    world.settle().await;
    assert_eq!(world.acts(), ["call k1 #1"]);
    assert_eq!(heard(&world), r#"k1={"did":"k1"}@1"#);
    assert_eq!(world.ready("a").0, "True");
    assert_eq!(record_writes(&world), ["create", "patch"], "begun, ended");
    assert_eq!(world.report("a").started.by.kind(), "outcome");
    world.decides();

    world.restart().await;
    world.settle().await;
    assert_eq!(world.acts(), Vec::<String>::new(), "it has been done");
    assert_eq!(world.api.writes(), Vec::<String>::new(), "not quiet");
    // What is done for one input is not done for another.
    spec(&world, json!({ "calls": { "k1": 2 } }));
    world.settle().await;
    assert_eq!(world.acts(), ["call k1 #1"]);
    spec(&world, json!({ "calls": { "k1": 2, "k2": 2 } }));
    world.settle().await;
    assert_eq!(world.acts(), ["call k2 #1"]);
    // What no plan names is forgotten.
    spec(&world, json!({ "calls": {} }));
    world.settle().await;
    assert_eq!(heard(&world), "");
    spec(&world, json!({ "calls": { "k2": 2 } }));
    world.settle().await;
    assert_eq!(world.acts(), ["call k2 #1"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_decided_again_while_no_outcome_comes() {
    let world = calling(json!({ "calls": { "k1": 1 } })).await;
    world.act(|_| (secs(20), Ok(json!(1))));
    tokio::time::sleep(secs(10)).await;
    assert_eq!((world.decides(), world.acting()), (1, 1));
    let (status, reason, message) = world.condition("a", "Ready").unwrap();
    assert_eq!((&*status, &*reason), ("False", "EffectPending"));
    assert_eq!(message, "waiting for effect call (k1)");
    // A pass meanwhile starts no second one.
    world.api.edit("user", "App", "ns", "a", |a| {
        a["metadata"]["labels"] = json!({ "x": "y" });
    });
    tokio::time::sleep(secs(5)).await;
    assert_eq!((world.decides(), world.acting()), (1, 1));
    world.settle().await;
    assert_eq!((world.decides(), world.acting()), (1, 0));
    assert_eq!(world.acts(), ["call k1 #1"]);
    assert_eq!(world.ready("a").0, "True");
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_tried_again_more_and_more_slowly_told_and_then_done() {
    let world = calling(json!({ "calls": { "k1": 1 } })).await;
    world.act(|effect| {
        let result = match effect.attempt {
            1..=4 => retry("the server is down"),
            n => Ok(json!(n)),
        };
        (Duration::ZERO, result)
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(world.acts(), ["call k1 #1"]);
    assert_eq!(heard(&world), r#"k1!"the server is down"@1"#);
    let (status, reason, message) = world.condition("a", "Ready").unwrap();
    assert_eq!((&*status, &*reason), ("False", "EffectFailed"));
    assert_eq!(message, "effect call (k1): the server is down");
    let event = world
        .api
        .events()
        .into_iter()
        .find(|e| e.reason == "EffectFailed");
    assert_eq!(event.unwrap().note, "effect call (k1): the server is down");
    // Chance is a half: 0.75 s, 1.5 s, 3 s, 6 s.
    for (wait, acts) in [(500, 1), (1_500, 1), (3_000, 1), (6_000, 1), (60_000, 0)] {
        tokio::time::sleep(Duration::from_millis(wait)).await;
        assert_eq!(world.acts().len(), acts, "after {wait} ms");
    }
    assert_eq!(heard(&world), "k1=5@5");
    assert_eq!(world.ready("a").0, "True");
}

#[tokio::test(start_paused = true)]
async fn what_is_invalid_is_not_tried_again_until_its_input_changes() {
    let world = calling(json!({ "calls": { "k1": 1 } })).await;
    world.act(|effect| {
        let result = match effect.input.as_u64() {
            Some(1) => Err(DecideError::Hook(HookError::Invalid("no such zone".into()))),
            _ => Ok(json!(1)),
        };
        (Duration::ZERO, result)
    });
    tokio::time::sleep(secs(30_000)).await;
    assert_eq!(world.acts(), ["call k1 #1"]);
    let stalled = world.condition("a", "Stalled").unwrap();
    assert_eq!((&*stalled.0, &*stalled.1), ("True", "EffectFailed"));
    spec(&world, json!({ "calls": { "k1": 2 } }));
    world.settle().await;
    assert_eq!(world.acts(), ["call k1 #1"]);
    assert_eq!(world.ready("a").0, "True");
}

#[tokio::test(start_paused = true)]
async fn what_is_invalid_is_tried_again_under_another_registration() {
    let mut world = calling(json!({ "calls": { "k1": 1 } })).await;
    world.act(|_| {
        let denied = HookError::Invalid("no grant allows it".into());
        (Duration::ZERO, Err(DecideError::Hook(denied)))
    });
    world.settle().await;
    world.restart().await;
    world.settle().await;
    assert_eq!(world.acts(), ["call k1 #1"], "not under the same");
    let mut rich = active("reg");
    let http = json!([{ "host": "example.com" }]);
    Arc::make_mut(&mut rich.registration).spec.grants.http = serde_json::from_value(http).unwrap();
    world.engine.register(rich);
    world.settle().await;
    assert_eq!(world.acts(), ["call k1 #2"]);
}

#[tokio::test(start_paused = true)]
async fn a_paused_cr_runs_nothing_and_is_left_in_peace() {
    let world = calling(json!({ "calls": { "k1": 1 } })).await;
    world.act(|_| (Duration::ZERO, retry("down")));
    tokio::time::sleep(secs(20)).await;
    let pause = |value: &'static str| {
        world.api.edit("user", "App", "ns", "a", |a| {
            a["metadata"]["annotations"] = json!({ "kybern.dev/paused": value });
        });
    };
    pause("true");
    tokio::time::sleep(secs(1)).await;
    world.acts();
    let passes = || world.engine.metrics().plugins["reg"].all_passes();
    let before = passes();
    world.settle().await;
    assert_eq!(world.acts(), Vec::<String>::new());
    assert!(passes() <= before + 2, "{} passes", passes() - before);
    pause("false");
    tokio::time::sleep(secs(1)).await;
    assert_eq!(world.acts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_effect_that_says_when_comes_again_then() {
    let world = calling(json!({ "calls": { "k1": 1 } })).await;
    world.act(|effect| {
        let wait = HookError::Wait(Failure {
            message: "not yet".into(),
            retry_after_ms: Some(100_000),
        });
        let result = match effect.attempt {
            1 => Err(DecideError::Hook(wait)),
            _ => Ok(json!(1)),
        };
        (Duration::ZERO, result)
    });
    tokio::time::sleep(secs(99)).await;
    assert_eq!(world.acts(), ["call k1 #1"]);
    tokio::time::sleep(secs(2)).await;
    assert_eq!(world.acts(), ["call k1 #2"]);
}

#[tokio::test(start_paused = true)]
async fn a_success_that_is_old_is_run_again_and_counts_meanwhile() {
    let mut world = calling(json!({ "calls": { "k1": 1 }, "maxAgeMs": 60_000 })).await;
    world.act(|_| (secs(10), Ok(json!(1))));
    tokio::time::sleep(secs(30)).await;
    assert_eq!(world.acts().len(), 1);
    tokio::time::sleep(secs(45)).await;
    assert_eq!(
        (world.acts(), world.acting()),
        (vec!["call k1 #1".into()], 1)
    );
    assert_eq!(
        (heard(&world).as_str(), world.ready("a").0.as_str()),
        ("k1=1@1", "True")
    );
    tokio::time::sleep(secs(70)).await;
    assert_eq!(world.acts().len(), 1, "and so on");
    // How old it is survives a restart.
    tokio::time::sleep(secs(20)).await;
    world.restart().await;
    tokio::time::sleep(secs(40)).await;
    assert_eq!(world.acts().len(), 0);
    tokio::time::sleep(secs(10)).await;
    assert_eq!(world.acts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_effect_that_takes_too_long_ends_and_hurts_nobody_else() {
    let world = calling(json!({ "calls": { "slow": 1, "quick": 1 } })).await;
    world.act(|effect| {
        let takes = if effect.key == "slow" {
            secs(100_000)
        } else {
            secs(1)
        };
        (takes, Ok(json!(1)))
    });
    tokio::time::sleep(secs(10)).await;
    assert_eq!(heard(&world), "quick=1@1", "passes go on");
    tokio::time::sleep(Duration::from_millis(20_500)).await;
    assert!(heard(&world).contains(r#"slow!"it ran longer than its limit of 30000 ms"#));
    assert_eq!(world.acting(), 0);
    let counts = world.engine.metrics().plugins["reg"].effects.clone();
    assert_eq!(counts[&EffectResult::TimedOut].count(), 1);
    assert_eq!(counts[&EffectResult::Succeeded].count(), 1);
}

#[tokio::test(start_paused = true)]
async fn slow_effects_of_one_leave_room_for_another_registration() {
    let mut world = World::bare();
    for name in ["reg", "other"] {
        let mut active = active(name);
        let selector = json!({ "matchLabels": { "of": name } });
        active.primaries[0].selector = serde_json::from_value(selector).unwrap();
        world.engine.register(active);
    }
    world.decide(|situation| {
        let mut plan = caller(situation)?;
        plan.actions.remove(0);
        Ok(plan)
    });
    world.start();
    world.act(|effect| {
        let takes = if effect.key == "slow" {
            secs(29)
        } else {
            secs(1)
        };
        (takes, Ok(json!(1)))
    });
    let put = |name: &str, of: &str, key: &str| {
        let mut cr = cr(name, json!({ "calls": { (key): 1 } }));
        cr["metadata"]["labels"] = json!({ "of": of });
        world.api.put("user", cr);
    };
    for n in 0..20 {
        put(&format!("slow{n}"), "reg", "slow");
    }
    tokio::time::sleep(secs(1)).await;
    assert_eq!(world.acting(), 8, "as many of one as may");
    assert_eq!(world.engine.metrics().effects, [8, 12]);
    put("quick", "other", "quick");
    tokio::time::sleep(secs(5)).await;
    assert!(world.acts().contains(&"call quick #1".to_owned()));
    tokio::time::sleep(secs(120)).await;
    assert_eq!(world.acts().len(), 12);
}

#[tokio::test(start_paused = true)]
async fn an_effect_waits_until_the_rest_of_its_plan_is_done() {
    let world = calling(json!({ "calls": { "k1": 1 } })).await;
    world.api.fail_with(|write| {
        (write.target.gvk.kind == "ConfigMap").then(|| WriteError::Lost("down".into()))
    });
    tokio::time::sleep(secs(30)).await;
    assert_eq!(world.acts(), Vec::<String>::new());
    world.api.heal();
    world.settle().await;
    assert_eq!(world.acts(), ["call k1 #1"]);
}

/// Two effects; the k-th write of the host and all after it do not happen, and then it restarts.
async fn crashed_at(k: usize) -> (Vec<String>, usize) {
    let mut world = calling(json!({ "calls": { "k1": 1, "k2": 1 } })).await;
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    world.api.fail_with(move |_| {
        let at = seen.fetch_add(1, Ordering::SeqCst);
        (at >= k).then(|| WriteError::Lost("crash".into()))
    });
    tokio::time::sleep(secs(5)).await;
    world.api.heal();
    world.kill().await;
    world.settle().await;
    assert_eq!(world.ready("a").0, "True", "crash at write {k}");
    let heard = heard(&world);
    assert!(heard.contains("k1=") && heard.contains("k2="), "{heard}");
    world.kill().await;
    let writes = count.load(Ordering::SeqCst);
    let acts = world.acts();
    world.settle().await;
    assert_eq!(world.acts(), Vec::<String>::new(), "crash at write {k}");
    (acts, writes)
}

#[tokio::test(start_paused = true)]
async fn wherever_the_host_crashes_each_effect_is_done_and_one_that_ended_is_not_done_again() {
    let (acts, writes) = crashed_at(usize::MAX).await;
    assert_eq!(acts.len(), 2);
    assert!(writes >= 6, "{writes}");
    for k in 0..=writes {
        let (acts, _) = crashed_at(k).await;
        assert!(
            (2..=4).contains(&acts.len()),
            "crash at write {k}: {acts:?}"
        );
        for key in ["k1", "k2"] {
            let of: Vec<&String> = acts.iter().filter(|act| act.contains(key)).collect();
            // A second one knows that it is the second.
            let numbers: Vec<String> = (1..=of.len()).map(|n| format!("call {key} #{n}")).collect();
            assert_eq!(of, numbers.iter().collect::<Vec<_>>(), "crash at write {k}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_outcome_whose_write_fails_is_written_later_and_not_run_again() {
    for k in 0..8 {
        let world = calling(json!({ "calls": { "k1": 1 } })).await;
        world.api.lose_answer(k);
        world.settle().await;
        assert_eq!(world.acts().len(), 1, "answer {k}");
        assert_eq!(world.ready("a").0, "True", "answer {k}");
    }
    let world = calling(json!({ "calls": { "k1": 1 } })).await;
    world.act(|_| (secs(10), Ok(json!(1))));
    tokio::time::sleep(secs(5)).await;
    world.api.fail_with(|write| {
        (write.target.gvk.kind == "Secret").then(|| WriteError::Lost("down".into()))
    });
    tokio::time::sleep(secs(1_000)).await;
    world.api.heal();
    world.settle().await;
    assert_eq!(world.acts(), ["call k1 #1"]);
    assert_eq!(heard(&world), "k1=1@1");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_may_not_write_runs_no_effect() {
    let world = calling(json!({ "calls": { "k1": 1 } })).await;
    world
        .api
        .fail_with(|write| (write.target.gvk.kind == "Secret").then_some(WriteError::Fenced));
    world.settle().await;
    assert_eq!(world.acts(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_replica_whose_record_is_not_the_newest_runs_no_effect() {
    let world = calling(json!({ "calls": { "k1": 1 }, "maxAgeMs": 60_000 })).await;
    world.settle().await;
    let runs = world.acts().len();
    assert!(runs >= 4, "{runs}");
    // Another replica has run it since, and this one has not seen it.
    let uid = world.api.get("App", "ns", "a").unwrap()["metadata"]["uid"].clone();
    let name = kybern_reconcile::record_name("reg", uid.as_str().unwrap());
    world.api.edit("other", "Secret", "ns", &name, |s| {
        s["data"]["record"] = json!("e30=");
    });
    tokio::time::sleep(secs(61)).await;
    assert_eq!(world.acts(), Vec::<String>::new());
    assert_eq!(world.ready("a").1, "RecordUnreadable");
}

/// The record with its only success at this second, as another replica would have written it.
fn succeeded_at(record: &mut Value, second: i64) {
    let text = STANDARD
        .decode(record["data"]["record"].as_str().unwrap())
        .unwrap();
    let mut document: Value = serde_json::from_slice(&text).unwrap();
    let at = jiff::Timestamp::from_second(1_800_000_000 + second).unwrap();
    document["outcomes"][0]["ended"]["at"] = json!(at.to_string());
    let text = document.to_string();
    let digest: String = Sha256::digest(&text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    record["data"] = json!({
        "record": STANDARD.encode(&text),
        "digest": STANDARD.encode(format!("sha256:{digest}")),
    });
}

#[tokio::test(start_paused = true)]
async fn what_another_replica_has_done_is_not_done_again() {
    let world = calling(json!({ "calls": { "k1": 1 }, "maxAgeMs": 60_000 })).await;
    tokio::time::sleep(secs(30)).await;
    assert_eq!(world.acts(), ["call k1 #1"]);
    let uid = world.api.get("App", "ns", "a").unwrap()["metadata"]["uid"].clone();
    let name = kybern_reconcile::record_name("reg", uid.as_str().unwrap());
    world
        .api
        .edit("other", "Secret", "ns", &name, |s| succeeded_at(s, 30));
    tokio::time::sleep(secs(45)).await;
    assert_eq!(world.acts(), Vec::<String>::new(), "it is 45 s old");
    tokio::time::sleep(secs(30)).await;
    assert_eq!(world.acts(), ["call k1 #1"]);
}

#[tokio::test(start_paused = true)]
async fn the_outcome_and_a_state_that_is_set_meanwhile_are_both_kept() {
    let mut world = World::new();
    world.decide(|situation| {
        let mut plan = caller(situation)?;
        let mode = situation.object["spec"]["mode"].clone();
        let action =
            json!({ "type": "setState", "state": { "mode": mode, "fill": "x".repeat(5_000) } });
        plan.actions.push(serde_json::from_value(action).unwrap());
        Ok(plan)
    });
    world.act(|_| (secs(10), Ok(json!(1))));
    world
        .api
        .put("user", cr("a", json!({ "calls": { "k1": 1 }, "mode": 1 })));
    for mode in 2..6 {
        tokio::time::sleep(secs(3)).await;
        spec(&world, json!({ "calls": { "k1": 1 }, "mode": mode }));
    }
    world.settle().await;
    assert_eq!(world.acts(), ["call k1 #1"]);
    assert_eq!(heard(&world), "k1=1@1");
    world.kill().await;
    world.decide(|situation| {
        let state = situation.state["mode"].to_string();
        Ok(plan(json!([
            apply(map("state", json!({ "v": state }))),
            said(situation)
        ])))
    });
    world.settle().await;
    let state = world.api.get("ConfigMap", "ns", "state").unwrap();
    assert_eq!(state["data"]["v"], "5");
}

/// `call` while it lives, `undo` when it goes.
fn undoing(situation: &Situation) -> Result<Plan, DecideError> {
    let mut undo = effect("undo", &json!("u"), json!(1));
    undo["phase"] = json!("finalize");
    let mut plan = plan(json!([effect("call", &json!("k"), json!(1)), undo]));
    if situation.deleting() && situation.object["spec"]["say"] == true {
        let done = situation.outcomes.iter().any(|o| o.name == "undo");
        plan.deletion = match done {
            true => Deletion::Done,
            false => Deletion::InProgress("undoing".into()),
        };
    }
    Ok(plan)
}

#[tokio::test(start_paused = true)]
async fn a_finalizing_effect_holds_the_cr_until_it_succeeded() {
    for say in [true, false] {
        let mut world = World::new();
        world.decide(undoing);
        world.api.put("user", cr("a", json!({ "say": say })));
        world.settle().await;
        assert_eq!(world.acts(), ["call k #1"]);
        let writes = world.api.writes();
        let at = |text: &str| writes.iter().position(|w| w.contains(text)).unwrap();
        assert!(at("patch App") < at("create Secret"), "{writes:?}");
        world.act(|effect| {
            let result = if effect.attempt < 3 {
                retry("busy")
            } else {
                Ok(json!(1))
            };
            (secs(1), result)
        });
        world.api.delete("App", "ns", "a");
        tokio::time::sleep(secs(2)).await;
        let (_, reason, message) = world.condition("a", "Ready").unwrap();
        assert_eq!(reason, "Deleting");
        assert!(
            message.contains("undo") || message == "undoing",
            "{message}"
        );
        world.kill().await;
        world.settle().await;
        assert_eq!(world.acts(), ["undo u #1", "undo u #2", "undo u #3"]);
        assert!(world.api.get("App", "ns", "a").is_none(), "say {say}");
        let all = world.api.picture();
        assert!(!all.iter().any(|o| o["kind"] == "Secret"), "{all:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_begun_for_a_living_cr_ends_before_it_is_undone() {
    let world = World::new();
    world.decide(undoing);
    world.act(|_| (secs(20), Ok(json!(1))));
    world.api.put("user", cr("a", json!({})));
    tokio::time::sleep(secs(5)).await;
    world.api.delete("App", "ns", "a");
    tokio::time::sleep(secs(10)).await;
    assert_eq!(
        (world.acts(), world.acting()),
        (vec!["call k #1".into()], 1)
    );
    tokio::time::sleep(secs(10)).await;
    assert_eq!(
        (world.acts(), world.acting()),
        (vec!["undo u #1".into()], 1)
    );
    world.settle().await;
    assert!(world.api.get("App", "ns", "a").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_cr_that_goes_waits_for_what_runs() {
    let world = World::new();
    world.decide(|situation| {
        let far = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "far", "namespace": "else" } });
        let mut actions = vec![apply(far)];
        if !situation.deleting() {
            actions.push(effect("call", &json!("k"), json!(1)));
        }
        Ok(plan(json!(actions)))
    });
    world.act(|_| (secs(20), Ok(json!(1))));
    world.api.put("user", cr("a", json!({})));
    tokio::time::sleep(secs(5)).await;
    world.api.delete("App", "ns", "a");
    tokio::time::sleep(secs(10)).await;
    let (_, reason, message) = world.condition("a", "Ready").unwrap();
    assert_eq!(reason, "Deleting");
    assert!(message.contains("effects that are under way"), "{message}");
    tokio::time::sleep(secs(10)).await;
    assert!(world.api.get("App", "ns", "a").is_none());
    assert_eq!(world.acts(), ["call k #1"]);
}

#[tokio::test(start_paused = true)]
async fn the_finalizer_goes_when_no_effect_needs_it_any_more() {
    let world = World::new();
    world.decide(undoing);
    world.api.put("user", cr("a", json!({})));
    world.settle().await;
    let finalizers = |world: &World| {
        let object = world.api.get("App", "ns", "a").unwrap();
        object["metadata"]["finalizers"]
            .as_array()
            .map_or(0, Vec::len)
    };
    assert_eq!(finalizers(&world), 1);
    world.decide(|_| Ok(plan(json!([]))));
    spec(&world, json!({ "x": 1 }));
    world.settle().await;
    assert_eq!(finalizers(&world), 0);
}

#[tokio::test(start_paused = true)]
async fn a_finalizing_effect_runs_in_a_namespace_that_goes() {
    let world = World::new();
    world.decide(undoing);
    world.api.put("user", cr("a", json!({})));
    world.settle().await;
    world.acts();
    let uid = world.api.get("App", "ns", "a").unwrap()["metadata"]["uid"].clone();
    let name = kybern_reconcile::record_name("reg", uid.as_str().unwrap());
    world.api.fail_with(|write| {
        (write.body.verb() == "create").then(|| {
            let mut refusal = kybern_reconcile::Refusal::default();
            (refusal.code, refusal.reason) = (403, "Forbidden".into());
            refusal.message = "because it is being terminated".into();
            WriteError::Refused(refusal)
        })
    });
    world.api.delete("Secret", "ns", &name);
    world.api.delete("App", "ns", "a");
    world.settle().await;
    assert_eq!(world.acts(), ["undo u #1"]);
    assert!(world.api.get("App", "ns", "a").is_none());
}

#[tokio::test(start_paused = true)]
async fn another_cr_of_the_same_name_knows_nothing_of_the_one_before() {
    let world = calling(json!({ "calls": { "k1": 1 } })).await;
    world.settle().await;
    world.acts();
    world.act(|_| (secs(20), Ok(json!("of the first"))));
    spec(&world, json!({ "calls": { "k1": 1, "k2": 1 } }));
    tokio::time::sleep(secs(5)).await;
    assert_eq!(world.acting(), 1);
    world.api.delete("App", "ns", "a");
    tokio::time::sleep(secs(1)).await;
    assert_eq!(world.acting(), 0, "nobody waits for it");
    world.act(|_| (Duration::ZERO, Ok(json!("of the second"))));
    world.acts();
    world
        .api
        .put("user", cr("a", json!({ "calls": { "k1": 1 } })));
    world.settle().await;
    assert_eq!(world.acts(), ["call k1 #1"]);
    assert_eq!(heard(&world), r#"k1="of the second"@1"#);
    let counts = world.engine.metrics().plugins["reg"].effects.clone();
    assert_eq!(counts[&EffectResult::Cancelled].count(), 1);
}

/// The effect of a CR that takes the place of another, whose effect ends during or after the pass.
async fn succeeded(first: bool) {
    let world = World::new();
    let call = effect("call", &json!("k1"), json!(1));
    world.decide(move |_| Ok(plan(json!([call]))));
    world.act(|_| (secs(1), Ok(json!(1))));
    world.api.put("user", cr("a", json!({})));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(world.acting(), 1);
    world.acts();
    let ends = world.api.gate(|write| write.target.gvk.kind == "Secret");
    tokio::time::sleep(secs(1)).await;
    // The pass of the new one comes to its effect before that of the old one has ended.
    let says = world.api.gate(|write| write.body.verb() == "status");
    world.api.delete("App", "ns", "a");
    world.api.put("user", cr("a", json!({})));
    tokio::time::sleep(secs(1)).await;
    assert_eq!(world.acts(), Vec::<String>::new());
    let gates = if first { [ends, says] } else { [says, ends] };
    for gate in gates {
        gate.cancel();
        tokio::time::sleep(secs(1)).await;
    }
    tokio::time::sleep(secs(5)).await;
    assert_eq!(world.acts(), ["call k1 #1"], "ended first: {first}");
    assert_eq!(world.acting(), 0);
    assert_eq!(world.ready("a").0, "True");
}

#[tokio::test(start_paused = true)]
async fn an_effect_whose_name_is_taken_by_one_that_ends_runs_after_it() {
    succeeded(false).await;
    succeeded(true).await;
}

#[tokio::test(start_paused = true)]
async fn whole_numbers_beyond_what_a_double_holds_are_other_inputs() {
    let world = calling(json!({ "calls": { "k1": 9_007_199_254_740_992_u64 } })).await;
    world.settle().await;
    assert_eq!(world.acts(), ["call k1 #1"]);
    spec(
        &world,
        json!({ "calls": { "k1": 9_007_199_254_740_993_u64 } }),
    );
    world.settle().await;
    assert_eq!(world.acts(), ["call k1 #1"]);
}

#[tokio::test(start_paused = true)]
async fn a_registration_that_goes_ends_its_effects_and_nothing_stays() {
    let mut world = calling(json!({ "calls": { "k1": 1 } })).await;
    world.act(|_| (secs(29), Ok(json!(1))));
    tokio::time::sleep(secs(5)).await;
    assert_eq!(world.acting(), 1);
    let unregistered = world.engine.unregister("reg");
    tokio::time::timeout(secs(1), unregistered)
        .await
        .expect("unregister returns");
    assert_eq!(world.acting(), 0);
    assert_eq!(world.engine.metrics().effects, [0, 0]);
    world.stop().await;
    let released = world
        .engine
        .release(&active("reg"), RemovalPolicy::Orphan)
        .await;
    assert_eq!(released.failures, Vec::<String>::new());
    let all = world.api.picture();
    assert!(!all.iter().any(|o| o["kind"] == "Secret"), "{all:?}");
    tokio::time::sleep(secs(100)).await;
    assert!(!world.api.picture().iter().any(|o| o["kind"] == "Secret"));
}

#[tokio::test(start_paused = true)]
async fn an_effect_that_waits_does_not_run_for_a_registration_that_may_less_by_now() {
    let world = World::new();
    world.decide(|situation| {
        let mut plan = caller(situation)?;
        plan.actions.remove(0);
        Ok(plan)
    });
    world.act(|_| (secs(20), Ok(json!(1))));
    for n in 0..9 {
        let name = format!("a{n}");
        world
            .api
            .put("user", cr(&name, json!({ "calls": { "k": 1 } })));
    }
    tokio::time::sleep(secs(5)).await;
    assert_eq!(world.engine.metrics().effects, [8, 1]);
    let mut poor = active("reg");
    Arc::make_mut(&mut poor.registration).spec.grants.state = false;
    world.engine.register(poor);
    world.settle().await;
    assert_eq!(world.acts().len(), 8);
    assert_eq!(world.engine.metrics().effects, [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn shutdown_gives_effects_two_seconds_and_drops_the_others() {
    let mut world = calling(json!({ "calls": { "quick": 1, "slow": 1 } })).await;
    world.act(|effect| {
        let takes = if effect.key == "slow" {
            secs(25)
        } else {
            Duration::from_millis(6_500)
        };
        (takes, Ok(json!(1)))
    });
    tokio::time::sleep(secs(5)).await;
    assert_eq!(world.acting(), 2);
    let began = tokio::time::Instant::now();
    world.restart().await;
    assert_eq!(began.elapsed(), secs(2));
    world.acts();
    world.settle().await;
    assert_eq!(world.acts(), ["call slow #2"]);
}

#[tokio::test(start_paused = true)]
async fn a_plan_with_a_wrong_effect_is_refused_whole() {
    let cases = [
        (
            json!({ "name": "other", "key": "k" }),
            "names no effect \"other\"",
        ),
        (json!({ "name": "call", "key": "" }), "1 to 253 bytes"),
        (
            json!({ "name": "call", "key": "a\nb" }),
            "control characters",
        ),
        (
            json!({ "name": "call", "key": "k", "timeoutMs": 0 }),
            "no time",
        ),
        (
            json!({ "name": "call", "key": "k", "input": "x".repeat(70_000) }),
            "70002 bytes",
        ),
        (json!({ "name": "call", "key": "twice" }), "named twice"),
    ];
    for (wrong, expected) in cases {
        let world = World::new();
        world.decide(move |_| {
            let mut action = wrong.clone();
            action["type"] = json!("effect");
            let first = effect("call", &json!("twice"), json!(1));
            Ok(plan(json!([apply(map("m", json!({}))), first, action])))
        });
        world.api.put("user", cr("a", json!({})));
        world.settle().await;
        let (_, reason, message) = world.condition("a", "Ready").unwrap();
        assert_eq!(reason, "InvalidPlan", "{message}");
        assert!(message.contains(expected), "{message}");
        assert!(world.api.get("ConfigMap", "ns", "m").is_none());
        assert_eq!(world.acts(), Vec::<String>::new());
    }
    let world = World::new();
    world.decide(|_| {
        let effects: Vec<Value> = (0..70)
            .map(|n| effect("call", &json!(n.to_string()), json!(1)))
            .collect();
        Ok(plan(json!(effects)))
    });
    world.api.put("user", cr("a", json!({})));
    world.settle().await;
    let (_, _, message) = world.condition("a", "Ready").unwrap();
    assert_eq!(
        message.matches("at most 64 effects").count(),
        1,
        "{message}"
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_record_there_is_no_effect() {
    let mut world = World::bare();
    let mut poor = active("reg");
    let grants = &mut Arc::make_mut(&mut poor.registration).spec.grants;
    grants.state = false;
    for grant in &mut grants.write {
        grant.verbs.retain(|verb| *verb != GrantVerb::Patch);
    }
    world.engine.register(poor);
    world.decide(caller);
    world.start();
    world
        .api
        .put("user", cr("a", json!({ "calls": { "k1": 1 } })));
    world.settle().await;
    assert_eq!(world.ready("a").1, "NotGranted");
    assert_eq!(world.acts(), Vec::<String>::new());
    assert_eq!(world.api.reads(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_is_too_large_to_keep_is_told_and_not_run_again() {
    let world = calling(json!({ "calls": { "k1": 1 } })).await;
    world.act(|_| (Duration::ZERO, Ok(json!("x".repeat(70_000)))));
    tokio::time::sleep(secs(30_000)).await;
    assert_eq!(world.acts(), ["call k1 #1"]);
    assert!(heard(&world).contains("was done, but its outcome has 70002 bytes"));
}

#[tokio::test(start_paused = true)]
async fn a_crash_of_the_hook_is_an_outcome_too() {
    let world = calling(json!({ "calls": { "k1": 1 } })).await;
    world.act(|effect| {
        let trapped = DecideError::Crashed {
            kind: Crash::Trap,
            message: "the plugin trapped: no\n  at 0x1234".into(),
        };
        let result = if effect.attempt == 1 {
            Err(trapped)
        } else {
            Ok(json!(1))
        };
        (Duration::ZERO, result)
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(heard(&world), r#"k1!"the plugin trapped: no"@1"#);
    world.settle().await;
    assert_eq!(heard(&world), "k1=1@2");
    let counts = world.engine.metrics().plugins["reg"].effects.clone();
    assert_eq!(counts[&EffectResult::Crashed].count(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_goes_in_and_comes_out_is_in_no_report() {
    let world = calling(json!({ "calls": { "k1": "hidden" } })).await;
    world.act(|_| (Duration::ZERO, Ok(json!({ "token": "hidden" }))));
    world.decide(|_| Ok(plan(json!([effect("call", &json!("k1"), json!("hidden"))]))));
    world.settle().await;
    assert_eq!(world.acts(), ["call k1 #1"]);
    let report = world.report("a");
    assert_eq!(report.ending, Ending::Succeeded);
    assert!(!format!("{report:?}").contains("hidden"));
    assert!(!format!("{:?}", world.api.events()).contains("hidden"));
    let dry = world
        .engine
        .dry_pass("reg", &app(), "ns", "a")
        .await
        .unwrap();
    assert_eq!(dry.ending, Ending::Unchanged);
    assert_eq!(dry.effects, ["effect call (k1): has succeeded"]);
}
