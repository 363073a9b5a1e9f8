//! Patches of objects that are not children: kept, never taken from others, and taken back.

use crate::api::Api;
use crate::world::{World, active, apply, cr, map, plan};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kybern_interface::{Plan, RemovalPolicy, Situation};
use kybern_reconcile::{DecideError, Refusal, Write, WriteBody, WriteError};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A patch of a ConfigMap that is nobody's child.
fn patch(name: &str, data: &Value) -> Value {
    json!({
        "type": "patch", "patch": { "data": data },
        "target": { "version": "v1", "kind": "ConfigMap", "namespace": "ns", "name": name },
    })
}

/// The ConfigMaps of `spec.patch`, with their data.
fn patcher(situation: &Situation) -> Result<Plan, DecideError> {
    let patches = situation.object["spec"]["patch"].as_object();
    let actions: Vec<Value> = patches
        .into_iter()
        .flatten()
        .map(|(name, data)| patch(name, data))
        .collect();
    Ok(plan(json!(actions)))
}

fn in_ns(mut object: Value) -> Value {
    object["metadata"]["namespace"] = json!("ns");
    object
}

/// A cluster with a ConfigMap of somebody's.
fn shared() -> World {
    let world = World::new();
    world.decide(patcher);
    world
        .api
        .put("kubectl", in_ns(map("shared", json!({ "theirs": "1" }))));
    world
}

fn data(api: &Api) -> Value {
    api.get("ConfigMap", "ns", "shared").unwrap()["data"].clone()
}

fn say(api: &Api, name: &str, patch: Value) {
    let spec = json!({ "patch": patch });
    match api.get("App", "ns", name) {
        None => {
            api.put("user", cr(name, spec));
        }
        Some(_) => api.edit("user", "App", "ns", name, |a| a["spec"] = spec),
    }
}

fn managers(api: &Api) -> String {
    let shared = api.get("ConfigMap", "ns", "shared").unwrap();
    shared["metadata"]["managedFields"].to_string()
}

fn finalizers(api: &Api, name: &str) -> Value {
    let cr = api.get("App", "ns", name).unwrap();
    cr["metadata"]["finalizers"].clone()
}

#[tokio::test(start_paused = true)]
async fn a_patch_is_recorded_written_once_and_quiet_also_after_a_restart() {
    let mut world = shared();
    say(&world.api, "a", json!({ "shared": { "a": "1" } }));
    world.settle().await;
    assert_eq!(data(&world.api), json!({ "theirs": "1", "a": "1" }));
    assert!(managers(&world.api).contains("kybern/reg/uid-"));
    let writes = world.api.writes();
    let verbs: Vec<&str> = writes
        .iter()
        .filter(|write| !write.starts_with("status"))
        .map(|write| write.split("/kybern-record").next().unwrap())
        .collect();
    // What lets go of it, then the knowledge of it, then the thing itself.
    assert_eq!(
        verbs,
        [
            "patch App ns/a",
            "create Secret ns",
            "patch ConfigMap ns/shared"
        ]
    );
    world.restart().await;
    world.settle().await;
    assert_eq!(world.api.writes(), Vec::<String>::new(), "not quiet");
    assert_eq!(world.ready("a").0, "True");
    // What others do elsewhere on it is theirs, and no news.
    world.decides();
    world.api.edit("kubectl", "ConfigMap", "ns", "shared", |m| {
        m["data"]["theirs"] = json!("2")
    });
    world.settle().await;
    assert_eq!(world.api.writes(), Vec::<String>::new());
    assert_eq!(world.decides(), 0);
}

#[tokio::test(start_paused = true)]
async fn two_crs_that_patch_one_object_do_not_erase_each_other() {
    for (first, second) in [("a", "b"), ("b", "a")] {
        let world = shared();
        say(&world.api, "a", json!({ "shared": { "a": "1" } }));
        say(&world.api, "b", json!({ "shared": { "b": "1" } }));
        world.settle().await;
        assert_eq!(
            data(&world.api),
            json!({ "theirs": "1", "a": "1", "b": "1" })
        );
        say(&world.api, first, json!({ "shared": { first: "2" } }));
        world.settle().await;
        assert_eq!(data(&world.api)[second], "1");
        world.api.delete("App", "ns", first);
        world.settle().await;
        assert_eq!(data(&world.api), json!({ "theirs": "1", second: "1" }));
        assert!(world.api.get("App", "ns", first).is_none());
        world.api.delete("App", "ns", second);
        world.settle().await;
        assert_eq!(data(&world.api), json!({ "theirs": "1" }));
        assert!(!managers(&world.api).contains("kybern"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_patch_that_the_plan_drops_is_taken_back_and_the_finalizer_with_the_last() {
    let mut world = shared();
    world
        .api
        .put("kubectl", in_ns(map("other", json!({ "theirs": "1" }))));
    say(
        &world.api,
        "a",
        json!({ "shared": { "a": "1", "b": "1" }, "other": { "a": "1" } }),
    );
    world.settle().await;
    say(&world.api, "a", json!({ "shared": { "a": "1" } }));
    world.restart().await;
    world.settle().await;
    assert_eq!(data(&world.api), json!({ "theirs": "1", "a": "1" }));
    let other = world.api.get("ConfigMap", "ns", "other").unwrap();
    assert_eq!(other["data"], json!({ "theirs": "1" }));
    assert_ne!(finalizers(&world.api, "a"), json!(null));
    say(&world.api, "a", json!({}));
    world.settle().await;
    assert_eq!(data(&world.api), json!({ "theirs": "1" }));
    assert!(!managers(&world.api).contains("kybern"));
    assert!(
        finalizers(&world.api, "a")
            .as_array()
            .is_none_or(Vec::is_empty)
    );
    world.api.writes();
    world.restart().await;
    world.settle().await;
    assert_eq!(world.api.writes(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn what_is_not_in_a_partial_plan_keeps_its_patch() {
    let world = shared();
    say(&world.api, "a", json!({ "shared": { "a": "1" } }));
    world.settle().await;
    world.decide(|_| {
        let partial = json!({ "children": { "partial": "not known" }, "actions": [] });
        Ok(serde_json::from_value(partial).unwrap())
    });
    world.decides();
    say(&world.api, "a", json!({}));
    world.settle().await;
    assert_eq!(world.decides(), 1);
    assert_eq!(world.ready("a").0, "True");
    assert_eq!(data(&world.api)["a"], "1");
    world.decide(patcher);
    world.api.delete("App", "ns", "a");
    world.settle().await;
    assert_eq!(data(&world.api), json!({ "theirs": "1" }));
}

#[tokio::test(start_paused = true)]
async fn what_another_manager_owns_is_not_taken_and_told_until_it_is_given_up() {
    let world = shared();
    say(&world.api, "a", json!({ "shared": { "theirs": "2" } }));
    world.settle().await;
    let (status, reason, message) = world.condition("a", "Ready").unwrap();
    assert_eq!((&*status, &*reason), ("False", "PatchConflict"));
    for part in ["ConfigMap ns/shared", ".data.theirs", "kubectl"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(data(&world.api), json!({ "theirs": "1" }));
    world.api.edit("kubectl", "ConfigMap", "ns", "shared", |m| {
        m["data"] = json!({ "x": "1" })
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(data(&world.api), json!({ "x": "1", "theirs": "2" }));
    world.settle().await;
    assert_eq!(world.ready("a").0, "True");
    // Drift: what is taken away comes back, what is taken over is a conflict.
    world.api.edit("kubectl", "ConfigMap", "ns", "shared", |m| {
        m["data"] = json!({ "x": "1" })
    });
    world.settle().await;
    assert_eq!(data(&world.api), json!({ "x": "1", "theirs": "2" }));
    world.api.edit("kubectl", "ConfigMap", "ns", "shared", |m| {
        m["data"]["theirs"] = json!("3")
    });
    world.settle().await;
    assert_eq!(data(&world.api)["theirs"], "3");
    assert_eq!(world.ready("a").1, "PatchConflict");
}

#[tokio::test(start_paused = true)]
async fn a_patch_never_creates_and_waits_for_its_object() {
    let world = World::new();
    world.decide(patcher);
    say(&world.api, "a", json!({ "shared": { "a": "1" } }));
    world.settle().await;
    assert_eq!(world.ready("a").1, "PatchTargetMissing");
    assert!(world.api.get("ConfigMap", "ns", "shared").is_none());
    let theirs = in_ns(map("shared", json!({ "theirs": "1" })));
    world.api.put("kubectl", theirs.clone());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(data(&world.api), json!({ "theirs": "1", "a": "1" }));
    // Another of its name is another object.
    world.settle().await;
    world.api.delete("ConfigMap", "ns", "shared");
    world.settle().await;
    assert_eq!(world.ready("a").1, "PatchTargetMissing");
    world.api.put("kubectl", theirs);
    world.settle().await;
    assert_eq!(data(&world.api), json!({ "theirs": "1", "a": "1" }));
    assert_eq!(world.ready("a").0, "True");
    world.api.delete("ConfigMap", "ns", "shared");
    world.api.delete("App", "ns", "a");
    world.settle().await;
    assert!(world.api.get("App", "ns", "a").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_uid_means_only_the_object_that_has_it() {
    let world = shared();
    let uid = world.api.get("ConfigMap", "ns", "shared").unwrap()["metadata"]["uid"].clone();
    world.decide(move |situation| {
        let mut one = patch("shared", &json!({ "a": "1" }));
        one["target"]["uid"] = situation.object["spec"]["uid"].clone();
        Ok(plan(json!([one])))
    });
    world.api.put("user", cr("a", json!({ "uid": "other" })));
    world.settle().await;
    assert_eq!(world.ready("a").1, "PatchTargetMissing");
    assert_eq!(data(&world.api), json!({ "theirs": "1" }));
    world
        .api
        .edit("user", "App", "ns", "a", |a| a["spec"]["uid"] = uid);
    world.settle().await;
    assert_eq!(data(&world.api)["a"], "1");
}

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "web", "namespace": "ns" },
        "spec": { "template": { "spec": { "containers": [{ "name": "web", "image": "i:1" }] } } },
    })
}

fn deployment_patch(subresource: Option<&str>, patch: Value) -> Value {
    let mut action = json!({
        "type": "patch", "patch": patch,
        "target": { "group": "apps", "version": "v1", "kind": "Deployment", "namespace": "ns", "name": "web" },
    });
    if let Some(subresource) = subresource {
        action["subresource"] = json!(subresource);
    }
    action
}

#[tokio::test(start_paused = true)]
async fn what_the_api_server_makes_of_a_patch_is_neither_drift_nor_written_again() {
    let mut world = World::new();
    world.api.put("kubectl", deployment());
    world.decide(|_| {
        let container = json!({ "name": "web", "resources": { "limits": { "cpu": "1000m" } } });
        let spec = json!({ "template": { "spec": { "containers": [container] } } });
        Ok(plan(json!([deployment_patch(
            None,
            json!({ "spec": spec })
        )])))
    });
    world.api.put("user", cr("a", json!({})));
    world.settle().await;
    let live = world.api.get("Deployment", "ns", "web").unwrap();
    let limits = "/spec/template/spec/containers/0/resources/limits/cpu";
    assert_eq!(live.pointer(limits), Some(&json!("1")));
    assert_eq!(world.ready("a").0, "True");
    world.api.writes();
    for _ in 0..2 {
        world.api.edit("user", "App", "ns", "a", |a| {
            a["metadata"]["labels"]["x"] = json!("1")
        });
        world.settle().await;
        world.restart().await;
        world.settle().await;
    }
    let writes = world.api.writes();
    assert!(
        !writes.iter().any(|w| w.contains("Deployment")),
        "{writes:?}"
    );
}

/// Has the record say something else, as a host of an earlier version might have written it.
fn rewrite_record(api: &Api, edit: impl FnOnce(&mut Value)) {
    let secrets = api.picture();
    let secret = secrets.iter().find(|o| o["kind"] == "Secret").unwrap();
    let name = secret["metadata"]["name"].as_str().unwrap();
    let text = STANDARD.decode(secret["data"]["record"].as_str().unwrap());
    let mut record = serde_json::from_slice(&text.unwrap()).unwrap();
    edit(&mut record);
    let text = record.to_string();
    let digest: String = Sha256::digest(&text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let digest = format!("sha256:{digest}");
    api.edit("before", "Secret", "ns", name, |secret| {
        secret["data"] = json!({
            "record": STANDARD.encode(text), "digest": STANDARD.encode(digest),
        });
    });
}

#[tokio::test(start_paused = true)]
async fn a_record_of_an_earlier_host_costs_each_patch_one_write_and_no_more() {
    let mut world = World::new();
    world.api.put("kubectl", deployment());
    world.decide(|_| {
        let container = json!({ "name": "web", "resources": { "limits": { "cpu": "1000m" } } });
        let spec = json!({ "template": { "spec": { "containers": [container] } } });
        let patch = deployment_patch(None, json!({ "spec": spec }));
        Ok(plan(json!([patch])))
    });
    world.api.put("user", cr("a", json!({})));
    world.settle().await;
    world.stop().await;
    rewrite_record(&world.api, |record| {
        let print = &mut record["patches"][0]["came"]["print"];
        assert!(print.is_string(), "{print}");
        *print = json!("0123456789abcdef0123456789abcdef");
    });
    world.api.writes();
    for wanted in [1, 0, 0] {
        world.restart().await;
        world.settle().await;
        let writes = world.api.writes();
        let of = |kind: &str| writes.iter().filter(|w| w.contains(kind)).count();
        assert_eq!(
            (of("Deployment"), of("Secret")),
            (wanted, wanted),
            "{writes:?}"
        );
        assert_eq!(world.ready("a").0, "True");
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_is_patched_beside_the_object_itself_and_both_are_taken_back() {
    let world = World::new();
    world.api.put("kubectl", deployment());
    world.decide(|_| {
        Ok(plan(json!([
            deployment_patch(Some("status"), json!({ "status": { "replicas": 3 } })),
            deployment_patch(None, json!({ "metadata": { "labels": { "l": "1" } } })),
        ])))
    });
    world.api.put("user", cr("a", json!({})));
    world.settle().await;
    let live = world.api.get("Deployment", "ns", "web").unwrap();
    assert_eq!(live["status"]["replicas"], 3);
    assert_eq!(live["metadata"]["labels"]["l"], "1");
    world.api.delete("App", "ns", "a");
    world.settle().await;
    let live = world.api.get("Deployment", "ns", "web").unwrap();
    assert_eq!(live.pointer("/status/replicas"), None);
    assert_eq!(live.pointer("/metadata/labels/l"), None);
    assert!(world.api.get("App", "ns", "a").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_patched_status_that_is_no_subresource_any_more_holds_no_deletion() {
    let unserved = Refusal {
        code: 404,
        message: "404 page not found".into(),
        ..Refusal::default()
    };
    // Of a custom kind the API server says it as if the object were gone.
    let named = Refusal {
        code: 404,
        reason: "NotFound".into(),
        name: "web".into(),
        ..Refusal::default()
    };
    for refusal in [unserved, named] {
        a_status_is_handed_over_when(refusal).await;
    }
}

async fn a_status_is_handed_over_when(refusal: Refusal) {
    let world = World::new();
    world.api.put("kubectl", deployment());
    world.decide(|_| {
        let status = json!({ "status": { "replicas": 3 } });
        let patch = deployment_patch(Some("status"), status);
        Ok(plan(json!([patch])))
    });
    world.api.put("user", cr("a", json!({})));
    world.settle().await;
    world.api.fail_with(move |write| {
        let status = matches!(&write.body, WriteBody::Patch { part, .. } if part == "status");
        status.then_some(WriteError::Refused(refusal.clone()))
    });
    world.api.delete("App", "ns", "a");
    world.settle().await;
    assert!(world.api.get("App", "ns", "a").is_none());
    let live = world.api.get("Deployment", "ns", "web").unwrap();
    assert!(!live["metadata"].to_string().contains("kybern"), "{live}");
}

#[tokio::test(start_paused = true)]
async fn what_is_handed_over_is_one_part_and_the_other_is_taken_back() {
    let world = World::new();
    world.api.put("kubectl", deployment());
    world.decide(|_| {
        Ok(plan(json!([
            deployment_patch(Some("status"), json!({ "status": { "replicas": 3 } })),
            deployment_patch(None, json!({ "metadata": { "labels": { "l": "1" } } })),
        ])))
    });
    world.api.put("user", cr("a", json!({})));
    world.settle().await;
    world.api.fail_with(|write| {
        let main = matches!(&write.body, WriteBody::Patch { part, .. } if part.is_empty());
        let invalid = Refusal {
            code: 422,
            reason: "Invalid".into(),
            ..Refusal::default()
        };
        main.then_some(WriteError::Refused(invalid))
    });
    world.api.delete("App", "ns", "a");
    world.settle().await;
    assert!(world.api.get("App", "ns", "a").is_none());
    let live = world.api.get("Deployment", "ns", "web").unwrap();
    assert_eq!(
        live["metadata"]["labels"]["l"], "1",
        "it is not valid without"
    );
    assert_eq!(live.pointer("/status/replicas"), None);
    assert!(!live["metadata"].to_string().contains("kybern/"), "{live}");
}

/// What the plan with these actions is refused for.
async fn refused(actions: Value) -> (String, String) {
    let world = shared();
    world.decide(move |_| Ok(plan(actions.clone())));
    world.api.put("user", cr("a", json!({})));
    world.settle().await;
    let (_, reason, message) = world.condition("a", "Ready").unwrap();
    let writes = world.api.writes();
    assert!(writes.iter().all(|w| w.starts_with("status")), "{writes:?}");
    (reason, message)
}

#[tokio::test(start_paused = true)]
async fn what_a_patch_may_not_be_is_told_and_nothing_is_written() {
    let with = |key: &str, value: Value| {
        let mut one = patch("shared", &json!({ "a": "1" }));
        one[key] = value;
        one
    };
    let app = json!({ "group": "app.example.com", "version": "v1", "kind": "App", "namespace": "ns", "name": "a" });
    let pod = json!({ "version": "v1", "kind": "Pod", "namespace": "ns", "name": "p" });
    let one = patch("shared", &json!({ "a": "1" }));
    let cases = [
        (
            json!([with("kind", json!("merge"))]),
            "NotSupportedYet",
            "neither kept nor undone",
        ),
        (
            json!([with("subresource", json!("scale"))]),
            "NotSupportedYet",
            "scale",
        ),
        (json!([with("target", app)]), "NotGranted", "its own plan"),
        (json!([with("target", pod)]), "NotGranted", "patch of Pod"),
        (json!([one, one]), "InvalidPlan", "named twice"),
        (
            json!([one, apply(map("shared", json!({})))]),
            "InvalidPlan",
            "named twice",
        ),
        (
            json!([with("patch", json!({ "data": {} }))]),
            "InvalidPlan",
            "says nothing",
        ),
        (
            json!([with(
                "patch",
                json!({ "metadata": { "finalizers": ["x/y"] } })
            )]),
            "InvalidPlan",
            "finalizers",
        ),
        (
            json!([with(
                "patch",
                json!({ "metadata": { "ownerReferences": [] } })
            )]),
            "InvalidPlan",
            "ownerReferences",
        ),
        (
            json!([with(
                "patch",
                json!({ "metadata": { "labels": { "kybern.dev/x": "1" } } })
            )]),
            "InvalidPlan",
            "the host's",
        ),
        (
            json!([with("patch", json!({ "metadata": { "name": "other" } }))]),
            "InvalidPlan",
            "not the target's",
        ),
        (
            json!([deployment_patch(
                None,
                json!({ "status": { "replicas": 1 } })
            )]),
            "InvalidPlan",
            "subresource",
        ),
        (
            json!([deployment_patch(Some("status"), json!({ "spec": {} }))]),
            "InvalidPlan",
            "only `status`",
        ),
    ];
    for (actions, reason, words) in cases {
        let (told, message) = refused(actions.clone()).await;
        assert_eq!(told, reason, "{message}");
        assert!(message.contains(words), "{message}: {actions}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_is_not_patched_also_when_the_plan_forgets_that_it_is_one() {
    let world = World::new();
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1" } })));
    world.settle().await;
    world.decide(|_| Ok(plan(json!([patch("a-x", &json!({ "v": "2" }))]))));
    world
        .api
        .edit("user", "App", "ns", "a", |a| a["spec"] = json!({}));
    world.settle().await;
    let (_, reason, message) = world.condition("a", "Ready").unwrap();
    assert_eq!(reason, "InvalidPlan");
    assert!(message.contains("it is a child"), "{message}");
    let child = world.api.get("ConfigMap", "ns", "a-x").unwrap();
    assert_eq!(child["data"]["v"], "1");
}

/// A CR's life with patches; the k-th write of each step and all after it do not happen, and then
/// the host restarts.
async fn life(k: usize, lost: bool) -> usize {
    let mut world = shared();
    let steps = [
        (
            json!({ "shared": { "a": "1", "b": "1" } }),
            json!({ "theirs": "1", "a": "1", "b": "1" }),
        ),
        (
            json!({ "shared": { "b": "2" } }),
            json!({ "theirs": "1", "b": "2" }),
        ),
        (json!({}), json!({ "theirs": "1" })),
        (
            json!({ "shared": { "c": "1" } }),
            json!({ "theirs": "1", "c": "1" }),
        ),
        (Value::Null, json!({ "theirs": "1" })),
    ];
    let mut most = 0;
    for (patch, wanted) in steps {
        world.api.writes();
        let count = Arc::new(AtomicUsize::new(0));
        if lost {
            world.api.lose_answer(k);
        }
        world.api.fail_with(move |_| {
            let at = count.fetch_add(1, Ordering::SeqCst);
            (at > k || (at == k && !lost)).then(|| WriteError::Lost("crash".into()))
        });
        if patch.is_null() {
            world.api.delete("App", "ns", "a");
        } else {
            say(&world.api, "a", patch);
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        world.api.heal();
        world.api.lose_nothing();
        world.kill().await;
        world.settle().await;
        assert_eq!(data(&world.api), wanted, "crash at write {k}");
        most = most.max(world.api.writes().len());
    }
    assert!(world.api.get("App", "ns", "a").is_none());
    assert!(!managers(&world.api).contains("kybern"));
    most
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_write_leaves_no_trace_of_a_patch() {
    let writes = life(usize::MAX, false).await;
    assert!(writes >= 3, "{writes}");
    for k in 0..=writes {
        life(k, false).await;
        life(k, true).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_patch_whose_record_went_first_is_found_and_taken_back() {
    let mut world = shared();
    say(&world.api, "a", json!({ "shared": { "a": "1" } }));
    world.settle().await;
    let secrets = world.api.picture();
    let secret = secrets.iter().find(|o| o["kind"] == "Secret").unwrap();
    let name = secret["metadata"]["name"].as_str().unwrap();
    world.stop().await;
    world.api.delete("Secret", "ns", name);
    world.api.delete("App", "ns", "a");
    world.restart().await;
    world.settle().await;
    assert!(world.api.get("App", "ns", "a").is_none());
    assert_eq!(data(&world.api), json!({ "theirs": "1" }));
    assert!(!managers(&world.api).contains("kybern"));
}

/// What stays of a patch when its registration goes.
async fn removed(policy: RemovalPolicy) -> World {
    let mut world = shared();
    say(&world.api, "a", json!({ "shared": { "a": "1" } }));
    world.settle().await;
    world.stop().await;
    world.engine.unregister("reg").await;
    let released = world.engine.release(&active("reg"), policy).await;
    assert_eq!(released.failures, Vec::<String>::new());
    assert_eq!(released.patches, 1);
    assert!(!managers(&world.api).contains("kybern"));
    assert!(
        finalizers(&world.api, "a")
            .as_array()
            .is_none_or(Vec::is_empty)
    );
    world
}

#[tokio::test(start_paused = true)]
async fn a_registration_that_goes_hands_its_patches_over_or_takes_them_back() {
    let world = removed(RemovalPolicy::DeleteChildren).await;
    assert_eq!(data(&world.api), json!({ "theirs": "1" }));
    let mut world = removed(RemovalPolicy::Orphan).await;
    assert_eq!(data(&world.api), json!({ "theirs": "1", "a": "1" }));
    // One that comes again goes on where it was.
    world.restart().await;
    world.settle().await;
    assert!(managers(&world.api).contains("kybern"));
    world.api.delete("App", "ns", "a");
    world.settle().await;
    assert_eq!(data(&world.api), json!({ "theirs": "1" }));
}

#[tokio::test(start_paused = true)]
async fn a_refused_undo_is_told_and_holds_no_deletion() {
    let world = shared();
    say(&world.api, "a", json!({ "shared": { "a": "1" } }));
    world.settle().await;
    world.api.fail_with(|write| {
        is_undo(write).then(|| {
            WriteError::Refused(Refusal {
                code: 422,
                reason: "Invalid".into(),
                message: "data: Required value".into(),
                ..Default::default()
            })
        })
    });
    say(&world.api, "a", json!({}));
    world.settle().await;
    let (_, reason, message) = world.condition("a", "Ready").unwrap();
    assert_eq!(reason, "PatchNotUndone");
    assert!(message.contains("Required value"), "{message}");
    world.api.delete("App", "ns", "a");
    world.settle().await;
    assert!(world.api.get("App", "ns", "a").is_none());
    assert_eq!(data(&world.api), json!({ "theirs": "1", "a": "1" }));
    assert!(!managers(&world.api).contains("kybern"));
}

#[tokio::test(start_paused = true)]
async fn a_deletion_waits_for_no_kind_that_only_the_living_resource_needs() {
    let world = shared();
    world.decide(|_| {
        let mut child = deployment();
        child["metadata"] = json!({ "name": "child" });
        let patch = patch("shared", &json!({ "a": "1" }));
        Ok(plan(json!([apply(child), patch])))
    });
    world.api.put("user", cr("a", json!({})));
    world.settle().await;
    assert_eq!(data(&world.api)["a"], "1");
    world.api.serve("Deployment", &[]);
    world.api.delete("App", "ns", "a");
    world.settle().await;
    assert!(world.api.get("App", "ns", "a").is_none());
    assert_eq!(data(&world.api), json!({ "theirs": "1" }));
}

fn is_undo(write: &Write) -> bool {
    matches!(&write.body, WriteBody::Patch { object, .. } if object.get("data").is_none())
}

#[tokio::test(start_paused = true)]
async fn a_patch_is_taken_back_in_another_version_where_its_own_is_not_served_any_more() {
    let world = shared();
    say(&world.api, "a", json!({ "shared": { "a": "1" } }));
    world.settle().await;
    world.api.serve("ConfigMap", &["v2"]);
    world.api.delete("App", "ns", "a");
    world.settle().await;
    assert!(world.api.get("App", "ns", "a").is_none());
    assert_eq!(data(&world.api), json!({ "theirs": "1" }));
    assert!(!managers(&world.api).contains("kybern"));
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_not_served_makes_no_patch_forgotten_and_holds_no_deletion() {
    let mut world = shared();
    say(&world.api, "a", json!({ "shared": { "a": "1" } }));
    world.settle().await;
    world.api.serve("ConfigMap", &[]);
    say(&world.api, "a", json!({}));
    world.settle().await;
    let (_, reason, message) = world.condition("a", "Ready").unwrap();
    assert_eq!(reason, "PatchNotUndone", "{message}");
    assert!(message.contains("is not served"), "{message}");
    world.restart().await;
    world.settle().await;
    world.api.serve("ConfigMap", &["v1"]);
    world.settle().await;
    assert_eq!(data(&world.api), json!({ "theirs": "1" }));
    assert_eq!(world.ready("a").0, "True");
    // Objects go with their kind: nothing waits for one that may never come back.
    say(&world.api, "a", json!({ "shared": { "a": "1" } }));
    world.settle().await;
    world.api.serve("ConfigMap", &[]);
    world.api.delete("App", "ns", "a");
    world.settle().await;
    assert!(world.api.get("App", "ns", "a").is_none());
}

#[tokio::test(start_paused = true)]
async fn who_denies_an_undo_is_told_with_the_ways_out() {
    let world = shared();
    say(&world.api, "a", json!({ "shared": { "a": "1" } }));
    world.settle().await;
    world.api.fail_with(|write| {
        let why = "admission webhook \"guard.example.com\" denied the request: keep it";
        let denied = Refusal {
            code: 403,
            reason: "Forbidden".into(),
            message: why.into(),
            ..Refusal::default()
        };
        is_undo(write).then_some(WriteError::Refused(denied))
    });
    world.api.events();
    world.api.delete("App", "ns", "a");
    world.settle().await;
    let (status, reason, message) = world.condition("a", "Ready").unwrap();
    assert_eq!((&*status, &*reason), ("False", "PatchNotUndone"));
    let told = world.api.events();
    assert!(told.iter().any(|e| e.note == message), "{told:?}");
    for part in [
        "ConfigMap ns/shared",
        "guard.example.com",
        "kybern rbac",
        "finalizer reg.finalizers.kybern.dev/cleanup",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(world.condition("a", "Stalled").unwrap().0, "True");
    world.api.heal();
    world.settle().await;
    assert!(world.api.get("App", "ns", "a").is_none());
    assert_eq!(data(&world.api), json!({ "theirs": "1" }));
}

#[tokio::test(start_paused = true)]
async fn a_registration_that_goes_finds_the_patches_whose_record_went_first() {
    for policy in [RemovalPolicy::DeleteChildren, RemovalPolicy::Orphan] {
        let mut world = shared();
        say(&world.api, "a", json!({ "shared": { "a": "1" } }));
        world.settle().await;
        world.stop().await;
        let secrets = world.api.picture();
        let secret = secrets.iter().find(|o| o["kind"] == "Secret").unwrap();
        let name = secret["metadata"]["name"].as_str().unwrap();
        world.api.delete("Secret", "ns", name);
        world.engine.unregister("reg").await;
        let released = world.engine.release(&active("reg"), policy).await;
        assert_eq!(released.failures, Vec::<String>::new());
        assert_eq!((released.patches, released.crs), (1, 1));
        assert!(!managers(&world.api).contains("kybern"));
        let left = match policy {
            RemovalPolicy::DeleteChildren => json!({ "theirs": "1" }),
            RemovalPolicy::Orphan => json!({ "theirs": "1", "a": "1" }),
        };
        assert_eq!(data(&world.api), left);
    }
}
