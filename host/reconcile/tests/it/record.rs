//! What a plugin keeps: given back, written before it is acted on, never guessed.

use crate::api::Api;
use crate::world::{World, active, app, apply, cr, map, plan};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kybern_interface::{GrantVerb, Plan, RemovalPolicy, Situation, names};
use kybern_reconcile::{DecideError, Ending, WriteError};
use serde_json::{Value, json};
use std::sync::Arc;

fn set(state: Value) -> Value {
    json!({ "type": "setState", "state": state })
}

/// The record of the only CR that has one.
fn record(api: &Api) -> Option<Value> {
    let uid = api.get("App", "ns", "a")?["metadata"]["uid"].clone();
    api.get(
        "Secret",
        "ns",
        &kybern_reconcile::record_name("reg", uid.as_str()?),
    )
}

fn secrets(api: &Api) -> usize {
    let all = api.picture();
    all.iter().filter(|o| o["kind"] == "Secret").count()
}

fn text(state: &Value) -> String {
    format!("s{}", state.as_u64().map_or("-".into(), |n| n.to_string()))
}

/// A ConfigMap that says what is remembered, and `spec.keep` to be remembered.
fn keeper(situation: &Situation) -> Result<Plan, DecideError> {
    let mut actions = vec![apply(map("said", json!({ "v": text(&situation.state) })))];
    if let Some(keep) = situation.object["spec"].get("keep") {
        actions.push(set(keep.clone()));
    }
    Ok(plan(json!(actions)))
}

fn said(api: &Api) -> Value {
    api.get("ConfigMap", "ns", "said")
        .map_or(Value::Null, |map| map["data"]["v"].clone())
}

async fn keeping(spec: Value) -> World {
    let world = World::new();
    world.decide(keeper);
    world.api.put("user", cr("a", spec));
    world.settle().await;
    world
}

fn keep(api: &Api, what: Value) {
    api.edit("user", "App", "ns", "a", |a| a["spec"] = what);
}

#[tokio::test(start_paused = true)]
async fn state_is_given_back_also_after_a_restart_and_costs_one_write() {
    let mut world = keeping(json!({ "keep": 3 })).await;
    assert_eq!(said(&world.api), "s3");
    let writes = world.api.writes();
    let kept = record(&world.api).unwrap();
    let name = kept["metadata"]["name"].as_str().unwrap();
    let of_record: Vec<&String> = writes.iter().filter(|w| w.contains("Secret")).collect();
    assert_eq!(of_record, [&format!("create Secret ns/{name}")]);
    assert_eq!(kept["type"], names::RECORD_TYPE);
    let owner = &kept["metadata"]["ownerReferences"][0];
    assert_eq!(owner["name"], "a");
    assert_eq!(world.api.reads(), [format!("Secret ns/{name}")]);

    world.restart().await;
    world.settle().await;
    assert_eq!(world.api.writes(), Vec::<String>::new(), "not quiet");
    assert_eq!(world.api.reads().len(), 1, "read once after a start");
    keep(&world.api, json!({}));
    world.settle().await;
    assert_eq!(said(&world.api), "s3", "kept until a plan says otherwise");
    assert!(
        !world.api.writes().iter().any(|w| w.contains("Secret")),
        "written only when it changes"
    );
    keep(&world.api, json!({ "keep": null }));
    world.settle().await;
    assert_eq!(said(&world.api), "s-");

    // It is no child: nothing prunes it. It goes with its CR.
    world.api.delete("App", "ns", "a");
    world.settle().await;
    assert_eq!(secrets(&world.api), 0);
}

#[tokio::test(start_paused = true)]
async fn who_keeps_nothing_has_no_record_and_who_may_keep_nothing_is_not_even_asked() {
    let world = keeping(json!({})).await;
    assert_eq!(secrets(&world.api), 0);

    let mut world = World::bare();
    let mut poor = active("reg");
    let grants = &mut Arc::make_mut(&mut poor.registration).spec.grants;
    grants.state = false;
    for grant in &mut grants.write {
        grant.verbs.retain(|verb| *verb != GrantVerb::Patch);
    }
    world.engine.register(poor);
    world.decide(keeper);
    world.start();
    world.api.put("user", cr("a", json!({})));
    world.settle().await;
    assert_eq!(said(&world.api), "s-");
    assert_eq!(world.api.reads(), Vec::<String>::new());
    world.api.writes();
    keep(&world.api, json!({ "keep": 3 }));
    world.settle().await;
    assert_eq!(
        world.ready("a"),
        ("False".into(), "NotGranted".into()),
        "{:?}",
        world.condition("a", "Ready")
    );
    assert_eq!(secrets(&world.api), 0);
    assert_eq!(said(&world.api), "s-", "refused whole");
}

/// Scales to nothing while idle, and back to what was there.
fn idler(api: &Arc<Api>) -> impl Fn(&Situation) -> Result<Plan, DecideError> + use<> {
    let api = Arc::clone(api);
    move |situation| {
        let live = api
            .get("Deployment", "ns", "web")
            .and_then(|d| d["spec"]["replicas"].as_u64());
        let former = situation.state["replicas"].as_u64();
        let idle = situation.object["spec"]["idle"] == true;
        let mut actions = Vec::new();
        let replicas = match (idle, live, former) {
            (true, Some(now), _) if now > 0 => {
                actions.push(set(json!({ "replicas": now })));
                0
            }
            (true, ..) => 0,
            (false, now, Some(former)) => {
                if now == Some(former) {
                    actions.push(set(Value::Null));
                }
                former
            }
            (false, now, None) => now.unwrap_or(1),
        };
        actions.push(apply(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
            "spec": {
                "replicas": replicas,
                "template": { "spec": { "containers": [{ "name": "web", "image": "i:1" }] } },
            },
        })));
        Ok(plan(json!(actions)))
    }
}

fn replicas(api: &Api) -> Value {
    api.get("Deployment", "ns", "web").unwrap()["spec"]["replicas"].clone()
}

/// Idle and back; the k-th write of the host and all after it do not happen, and then it restarts.
async fn idle_and_back(k: usize) -> usize {
    let mut world = World::new();
    world.decide(idler(&world.api));
    world.api.put("user", cr("a", json!({})));
    world.settle().await;
    world.api.edit("kubectl", "Deployment", "ns", "web", |d| {
        d["spec"]["replicas"] = json!(7)
    });
    world.settle().await;
    world.api.writes();
    let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut writes = 0;
    for (idle, wanted) in [(true, 0), (false, 7)] {
        let seen = Arc::clone(&count);
        world.api.fail_with(move |_| {
            let at = seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            (at >= k).then(|| WriteError::Lost("crash".into()))
        });
        world.api.edit("user", "App", "ns", "a", |a| {
            a["spec"]["idle"] = json!(idle)
        });
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        world.api.heal();
        world.kill().await;
        world.settle().await;
        assert_eq!(replicas(&world.api), json!(wanted), "crash at write {k}");
        writes += world.api.writes().len();
    }
    writes
}

#[tokio::test(start_paused = true)]
async fn idle_and_back_restores_the_former_count_wherever_the_host_crashes() {
    let writes = idle_and_back(usize::MAX).await;
    assert!(writes >= 4, "{writes}");
    for k in 0..=writes {
        idle_and_back(k).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_comes_before_what_it_is_about() {
    let world = World::new();
    world.decide(keeper);
    world.api.fail_with(|write| {
        (write.target.gvk.kind == "ConfigMap").then(|| WriteError::Lost("crash".into()))
    });
    world.api.put("user", cr("a", json!({ "keep": 3 })));
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert!(record(&world.api).is_some());
    assert_eq!(said(&world.api), Value::Null);
    // And without it nothing is done.
    world.api.delete("App", "ns", "a");
    world.settle().await;
    world.api.fail_with(|write| {
        (write.target.gvk.kind == "Secret").then(|| WriteError::Lost("crash".into()))
    });
    world.api.put("user", cr("a", json!({ "keep": 3 })));
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(said(&world.api), Value::Null);
    world.api.heal();
    world.settle().await;
    assert_eq!(said(&world.api), "s3");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_lost_the_lead_writes_no_record() {
    let world = World::new();
    world.decide(keeper);
    world.api.fail_with(|_| Some(WriteError::Fenced));
    world.api.put("user", cr("a", json!({ "keep": 3 })));
    world.settle().await;
    assert_eq!(world.api.writes(), Vec::<String>::new());
    assert_eq!(world.report("a").ending, Ending::Gone);
}

#[tokio::test(start_paused = true)]
async fn a_state_that_never_comes_to_rest_is_slowed_down_and_told() {
    let world = World::new();
    world.decide(|situation| {
        let next = situation.state.as_u64().unwrap_or(0) + 1;
        Ok(plan(json!([set(json!(next))])))
    });
    world.api.put("user", cr("a", json!({})));
    tokio::time::sleep(std::time::Duration::from_secs(300)).await;
    let passes = world.decides();
    assert!((20..60).contains(&passes), "{passes}");
    assert_eq!(world.ready("a"), ("False".into(), "StateUnsettled".into()));
    // One that comes to rest is decided on until it has, and no more.
    world.decide(|situation| {
        let next = (situation.state.as_u64().unwrap_or(0) + 1).min(100);
        Ok(plan(json!([set(json!(next))])))
    });
    keep(&world.api, json!({ "x": 1 }));
    tokio::time::sleep(std::time::Duration::from_secs(36_000)).await;
    assert_eq!(world.ready("a").0, "True");
    let passes = world.decides();
    world.api.writes();
    world.settle().await;
    assert_eq!(
        (world.decides(), world.api.writes().len()),
        (0, 0),
        "{passes}"
    );
}

/// The text of a record with another state, as somebody would write it by hand.
fn with_state(kept: &Value, state: &str) -> String {
    let text = STANDARD
        .decode(kept["data"]["record"].as_str().unwrap())
        .unwrap();
    let text = String::from_utf8(text).unwrap();
    let edited = text.replace("\"state\":3", &format!("\"state\":{state}"));
    assert_ne!(edited, text);
    STANDARD.encode(edited)
}

#[tokio::test(start_paused = true)]
async fn a_record_that_somebody_changed_is_not_believed_and_not_overwritten() {
    let mut world = keeping(json!({ "keep": 3 })).await;
    let kept = record(&world.api).unwrap();
    let name = kept["metadata"]["name"].as_str().unwrap().to_owned();
    world.api.edit("kubectl", "Secret", "ns", &name, |s| {
        s["data"]["record"] = json!(with_state(&kept, "9"))
    });
    world.api.writes();
    // Seen when it is to be written, and after a restart.
    keep(&world.api, json!({ "keep": 4 }));
    world.settle().await;
    for _ in 0..2 {
        let (status, reason, message) = world.condition("a", "Ready").unwrap();
        assert_eq!((&*status, &*reason), ("False", "RecordUnreadable"));
        assert!(
            message.contains(&name) && message.contains("delete it"),
            "{message}"
        );
        assert_eq!(said(&world.api), "s3", "nothing is done on a guess");
        let writes = world.api.writes();
        assert!(writes.iter().all(|w| w.starts_with("status")), "{writes:?}");
        world.restart().await;
        world.settle().await;
    }
    // Put back, or deleted, it goes on.
    world.api.edit("kubectl", "Secret", "ns", &name, |s| {
        s["data"] = kept["data"].clone()
    });
    world.settle().await;
    assert_eq!(said(&world.api), "s4");
    world.api.delete("Secret", "ns", &name);
    keep(&world.api, json!({ "keep": 5 }));
    world.settle().await;
    assert_eq!(said(&world.api), "s5");
    world.api.delete("Secret", "ns", &name);
    keep(&world.api, json!({}));
    world.restart().await;
    world.settle().await;
    assert_eq!(said(&world.api), "s-", "forgotten");
}

#[tokio::test(start_paused = true)]
async fn a_cr_goes_though_its_record_cannot_be_read() {
    let mut world = World::new();
    let far = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "far", "namespace": "else" } });
    world.decide(move |_| Ok(plan(json!([apply(far.clone()), set(json!(3))]))));
    world.api.put("user", cr("a", json!({})));
    world.settle().await;
    let kept = record(&world.api).unwrap();
    let name = kept["metadata"]["name"].as_str().unwrap();
    world
        .api
        .edit("kubectl", "Secret", "ns", name, |s| s["data"] = json!({}));
    world.restart().await;
    world.api.delete("App", "ns", "a");
    world.settle().await;
    assert!(world.api.get("App", "ns", "a").is_none());
    assert!(world.api.get("ConfigMap", "else", "far").is_none());
    assert_eq!(secrets(&world.api), 0);
}

#[tokio::test(start_paused = true)]
async fn a_record_whose_answer_is_lost_is_read_again_and_not_made_twice() {
    for k in 0..4 {
        let world = World::new();
        world.decide(keeper);
        world.api.lose_answer(k);
        world.api.put("user", cr("a", json!({ "keep": 3 })));
        world.settle().await;
        assert_eq!(said(&world.api), "s3", "answer {k}");
        keep(&world.api, json!({ "keep": 4 }));
        world.settle().await;
        assert_eq!(said(&world.api), "s4", "answer {k}");
        let writes = world.api.writes();
        let of_record = writes.iter().filter(|w| w.contains("Secret")).count();
        assert_eq!(of_record, 2, "answer {k}: {writes:?}");
        assert_eq!(secrets(&world.api), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_state_does_not_stay_in_memory_and_a_too_large_one_is_refused() {
    let world = World::new();
    world.decide(|situation| {
        let size = situation.object["spec"]["size"].as_u64().unwrap();
        let seen = situation.state.as_str().unwrap_or_default().len();
        Ok(plan(json!([
            set(json!("x".repeat(usize::try_from(size).unwrap()))),
            apply(map("said", json!({ "v": seen.to_string() }))),
        ])))
    });
    world.api.put("user", cr("a", json!({ "size": 200_000 })));
    world.settle().await;
    assert_eq!(said(&world.api), "200000");
    world.api.reads();
    keep(&world.api, json!({ "size": 200_000, "x": 1 }));
    world.settle().await;
    assert_eq!(world.api.reads().len(), 1, "read for the plan");
    keep(&world.api, json!({ "size": 300_000 }));
    world.settle().await;
    let (_, reason, message) = world.condition("a", "Ready").unwrap();
    assert_eq!(reason, "InvalidPlan");
    assert!(message.contains("300002 bytes"), "{message}");
    assert_eq!(said(&world.api), "200000");
}

#[tokio::test(start_paused = true)]
async fn a_registration_that_goes_takes_its_records_along() {
    let mut world = keeping(json!({ "keep": 3 })).await;
    assert_eq!(secrets(&world.api), 1);
    world.stop().await;
    world.engine.unregister("reg").await;
    let released = world
        .engine
        .release(&active("reg"), RemovalPolicy::Orphan)
        .await;
    assert_eq!(released.failures, Vec::<String>::new());
    assert_eq!(secrets(&world.api), 0);
    assert_eq!(said(&world.api), "s3", "children stay");
}

#[tokio::test(start_paused = true)]
async fn without_the_right_to_read_records_nothing_is_planned_and_nothing_held() {
    let mut world = World::new();
    world.decide(keeper);
    world.api.forbid_reads();
    world.api.put("user", cr("a", json!({ "keep": 3 })));
    world.settle().await;
    let (_, reason, message) = world.condition("a", "Ready").unwrap();
    assert_eq!(reason, "Forbidden");
    assert!(message.contains(names::RECORD_PREFIX), "{message}");
    assert_eq!((said(&world.api), world.decides()), (Value::Null, 0));
    world.stop().await;
    world.engine.unregister("reg").await;
    let active = active("reg");
    let released = world.engine.release(&active, RemovalPolicy::Orphan).await;
    assert_eq!(released.failures, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_is_in_no_report() {
    let world = World::new();
    world.decide(|_| Ok(plan(json!([set(json!({ "password": "hidden" }))]))));
    world.api.put("user", cr("a", json!({})));
    world.settle().await;
    assert!(record(&world.api).is_some());
    let report = format!("{:?}", world.report("a"));
    assert!(!report.contains("hidden"), "{report}");
    let events = format!("{:?}", world.api.events());
    assert!(!events.contains("hidden"), "{events}");
    world.decide(|_| Ok(plan(json!([set(json!("other"))]))));
    let dry = world
        .engine
        .dry_pass("reg", &app(), "ns", "a")
        .await
        .unwrap();
    assert!(dry.state_changes);
}
