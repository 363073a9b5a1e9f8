//! Only what is provably ours is changed or pruned.

use crate::world::{World, active, app, apply, cr, map, plan};
use kybern_interface::RemovalPolicy;
use kybern_reconcile::{Ending, PassLimits, Verdict};
use serde_json::{Value, json};
use std::sync::Arc;

fn in_ns(mut object: Value) -> Value {
    object["metadata"]["namespace"] = json!("ns");
    object
}

#[tokio::test(start_paused = true)]
async fn an_object_of_somebody_else_is_never_touched() {
    let world = World::new();
    let theirs = world
        .api
        .put("kubectl", in_ns(map("a-x", json!({ "v": "theirs" }))));
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1", "y": "2" } })));
    world.settle().await;
    assert_eq!(world.api.get("ConfigMap", "ns", "a-x"), Some(theirs));
    let (status, reason, message) = world.condition("a", "Ready").unwrap();
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("False", "ChildConflict")
    );
    assert!(
        message.contains("kubectl") && message.contains("a-x"),
        "{message}"
    );
    let events = world.api.events();
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0].reason, "ChildConflict");
    // What is in order is done all the same.
    assert!(world.api.get("ConfigMap", "ns", "a-y").is_some());
    // Gone, it is ours to create at once.
    world.api.delete("ConfigMap", "ns", "a-x");
    world.settle().await;
    assert_eq!(
        world.api.get("ConfigMap", "ns", "a-x").unwrap()["data"]["v"],
        "1"
    );
    assert_eq!(world.ready("a").0, "True");
}

#[tokio::test(start_paused = true)]
async fn a_child_of_the_cr_of_the_same_name_in_another_namespace_is_not_waited_for() {
    let world = World::new();
    let mut twin = cr("a", json!({}));
    twin["metadata"]["namespace"] = json!("else");
    world.decide(|_| {
        Ok(plan(json!([apply(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "m", "namespace": "else" },
        }))])))
    });
    world.api.put("user", twin);
    world.settle().await;
    world.api.put("user", cr("a", json!({})));
    world.settle().await;
    let (_, reason, message) = world.condition("a", "Ready").unwrap();
    assert_eq!(reason, "ChildConflict");
    assert!(message.contains("App else/a"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_name_taken_in_a_race_is_not_touched_either() {
    let world = World::new();
    // The table does not know it: its watch event is still under way.
    world.api.hold();
    let theirs = world
        .api
        .put("kubectl", in_ns(map("a-x", json!({ "v": "theirs" }))));
    world.api.deliver(|_| vec![]);
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1" } })));
    world.settle().await;
    assert_eq!(world.api.get("ConfigMap", "ns", "a-x"), Some(theirs));
    assert_eq!(world.ready("a").1, "ChildConflict");
}

#[tokio::test(start_paused = true)]
async fn what_another_object_controls_cannot_be_adopted() {
    let world = World::new();
    world.decide(|_| {
        Ok(plan(json!([
            { "type": "apply", "adopt": "ifUnowned", "object": map("free", json!({ "k": "ours" })) },
            { "type": "apply", "adopt": "ifUnowned", "object": map("taken", json!({ "k": "ours" })) },
        ])))
    });
    world.api.put(
        "kubectl",
        in_ns(map("free", json!({ "k": "theirs", "l": "kept" }))),
    );
    let other = world.api.put("user", in_ns(map("owner", json!({}))));
    let mut taken = in_ns(map("taken", json!({ "k": "theirs" })));
    taken["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "controller": true,
        "uid": other["metadata"]["uid"],
    }]);
    let taken = world.api.put("other", taken);
    world.api.put("user", cr("a", json!({})));
    world.settle().await;
    let free = world.api.get("ConfigMap", "ns", "free").unwrap();
    assert_eq!(free["data"], json!({ "k": "ours", "l": "kept" }));
    assert_eq!(free["metadata"]["ownerReferences"][0]["name"], "a");
    assert_eq!(world.api.get("ConfigMap", "ns", "taken"), Some(taken));
    assert_eq!(world.ready("a").1, "ChildConflict");
}

#[tokio::test(start_paused = true)]
async fn a_running_operator_is_replaced_in_place() {
    let mut world = World::bare();
    let mut active = active("reg");
    let registration = Arc::make_mut(&mut active.registration);
    registration.spec.former_field_managers = vec!["old-operator".into()];
    world.engine.register(active);
    world.start();
    let owner = world.api.put("user", cr("a", json!({ "paused": 1 })));
    let mut child = in_ns(map("a-x", json!({ "v": "old", "dropped": "1" })));
    child["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "app.example.com/v1", "kind": "App", "name": "a", "controller": true,
        "blockOwnerDeletion": true, "uid": owner["metadata"]["uid"],
    }]);
    let before = world.api.put("old-operator", child);
    world.api.edit("user", "App", "ns", "a", |a| {
        a["spec"] = json!({ "maps": { "x": "new" } })
    });
    world.settle().await;
    let after = world.api.get("ConfigMap", "ns", "a-x").unwrap();
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    // What the old operator set and the plan does not name is gone with it.
    assert_eq!(after["data"], json!({ "v": "new" }));
    assert_eq!(world.ready("a").0, "True");
    assert!(!after.to_string().contains("old-operator"), "{after}");
    world.api.writes();
    world.settle().await;
    assert_eq!(world.api.writes(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_former_manager_that_is_named_late_is_taken_over_all_the_same() {
    let world = World::new();
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1" } })));
    world.settle().await;
    world
        .api
        .edit("old-operator", "ConfigMap", "ns", "a-x", |child| {
            child["data"]["old"] = json!("1")
        });
    world.settle().await;
    let child = || world.api.get("ConfigMap", "ns", "a-x").unwrap();
    assert_eq!(child()["data"]["old"], "1", "somebody's");
    let mut active = active("reg");
    let registration = Arc::make_mut(&mut active.registration);
    registration.spec.former_field_managers = vec!["old-operator".into()];
    world.engine.register(active);
    world.settle().await;
    assert_eq!(child()["data"], json!({ "v": "1" }));
    assert!(!child().to_string().contains("old-operator"));
    world.api.writes();
    world.settle().await;
    assert_eq!(world.api.writes(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn the_ownerreference_alone_does_not_make_a_child_prunable() {
    let world = World::new();
    let owner = world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1" } })));
    world.settle().await;
    let mut stray = in_ns(map("stray", json!({})));
    stray["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "app.example.com/v1", "kind": "App", "name": "a", "controller": true,
        "uid": owner["metadata"]["uid"],
    }]);
    world.api.put("somebody", stray);
    let mut keep = world.api.get("ConfigMap", "ns", "a-x").unwrap();
    keep["metadata"]["annotations"]["kybern.dev/prune"] = json!("disabled");
    world.api.put("user", keep);
    world.api.put("user", cr("a", json!({ "maps": {} })));
    world.settle().await;
    assert!(world.api.get("ConfigMap", "ns", "stray").is_some());
    assert!(world.api.get("ConfigMap", "ns", "a-x").is_some());
    assert_eq!(world.ready("a").0, "True");
}

#[tokio::test(start_paused = true)]
async fn a_label_taken_from_another_cr_does_not_get_a_child_pruned() {
    let world = World::new();
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1" } })));
    world
        .api
        .put("user", cr("b", json!({ "maps": { "x": "1" } })));
    world.settle().await;
    let label = world.api.get("ConfigMap", "ns", "a-x").unwrap()["metadata"]["labels"].clone();
    let mut copy = in_ns(map("copy", json!({})));
    copy["metadata"]["labels"] = label;
    copy["metadata"]["annotations"] = json!({ "kybern.dev/intent": "x" });
    world.api.put("somebody", copy);
    world.api.edit("user", "App", "ns", "a", |a| {
        a["spec"]["maps"]["y"] = json!("1")
    });
    world.settle().await;
    assert!(world.api.get("ConfigMap", "ns", "copy").is_some());
    assert!(world.api.get("ConfigMap", "ns", "b-x").is_some());
}

#[tokio::test(start_paused = true)]
async fn data_is_not_pruned() {
    let world = World::new();
    world.decide(|situation| {
        let mut actions = vec![apply(map("m", json!({})))];
        if situation.object["spec"]["claim"] == true {
            actions.push(apply(json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "data" }, "spec": {} })));
        }
        Ok(plan(json!(actions)))
    });
    world.api.put("user", cr("a", json!({ "claim": true })));
    world.settle().await;
    world.api.put("user", cr("a", json!({ "claim": false })));
    world.settle().await;
    assert!(
        world
            .api
            .get("PersistentVolumeClaim", "ns", "data")
            .is_some()
    );
    assert_eq!(world.ready("a").0, "True");
}

#[tokio::test(start_paused = true)]
async fn too_many_deletions_are_held_until_confirmed() {
    let world = World::new();
    let full = json!({ "a": "1", "b": "1", "c": "1", "d": "1", "e": "1", "f": "1", "g": "1" });
    world.api.put("user", cr("a", json!({ "maps": full })));
    world.settle().await;
    world.api.writes();
    world
        .api
        .put("user", cr("a", json!({ "maps": { "a": "1" } })));
    world.settle().await;
    assert_eq!(world.ready("a"), ("False".into(), "PruneHeld".into()));
    let (.., message) = world.condition("a", "Stalled").unwrap();
    assert!(message.contains("kybern.dev/confirm-prune=6"), "{message}");
    assert_eq!(world.api.writes(), ["status App ns/a"]);
    let held = |step: &kybern_reconcile::Step| step.verdict == Verdict::Held;
    assert_eq!(
        world.report("a").steps.iter().filter(|s| held(s)).count(),
        6
    );
    world.api.edit("user", "App", "ns", "a", |a| {
        a["metadata"]["annotations"] = json!({ "kybern.dev/confirm-prune": "6" });
    });
    world.settle().await;
    assert!(world.api.get("ConfigMap", "ns", "a-b").is_none());
    assert_eq!(world.ready("a").0, "True");
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_all_prunes_all() {
    let mut world = World::bare();
    let mut active = active("reg");
    active.limits = PassLimits::of(&serde_json::from_value(json!({ "maxPrune": "100%" })).unwrap());
    world.engine.register(active);
    world.start();
    world.api.put(
        "user",
        cr(
            "a",
            json!({ "maps": { "a": "1", "b": "1", "c": "1", "d": "1" } }),
        ),
    );
    world.settle().await;
    world.api.put("user", cr("a", json!({})));
    world.settle().await;
    assert!(world.api.get("ConfigMap", "ns", "a-a").is_none());
}

#[tokio::test(start_paused = true)]
async fn two_registrations_in_charge_of_one_cr_leave_it_alone() {
    let world = World::new();
    world.engine.register(active("ter"));
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1" } })));
    world.settle().await;
    assert!(world.api.get("ConfigMap", "ns", "a-x").is_none());
    assert_eq!(world.ready("a").1, "ClaimedTwice");
    assert_eq!(world.api.writes(), ["status App ns/a"]);
    // Which one it was said by does not matter: the one that stays takes over.
    world.engine.unregister("ter").await;
    world.settle().await;
    assert!(world.api.get("ConfigMap", "ns", "a-x").is_some());
    assert_eq!(world.ready("a").0, "True");
    // A second one that comes later stops the first.
    world.engine.register(active("ter"));
    world.settle().await;
    assert_eq!(world.ready("a").1, "ClaimedTwice");
    world.engine.unregister("ter").await;
    world.settle().await;
    assert_eq!(world.ready("a").0, "True");
}

#[tokio::test(start_paused = true)]
async fn only_selected_crs_are_run() {
    let mut world = World::bare();
    let mut active = active("reg");
    active.primaries[0].selector =
        serde_json::from_value(json!({ "matchLabels": { "t": "1" } })).unwrap();
    world.engine.register(active);
    world.start();
    let mut object = cr("a", json!({ "maps": { "x": "1" } }));
    world.api.put("user", object.clone());
    world.settle().await;
    assert_eq!(world.api.writes(), Vec::<String>::new());
    object["metadata"]["labels"] = json!({ "t": "1" });
    world.api.put("user", object);
    world.settle().await;
    assert!(world.api.get("ConfigMap", "ns", "a-x").is_some());
}

#[tokio::test(start_paused = true)]
async fn release_orphans_or_deletes() {
    for policy in [RemovalPolicy::Orphan, RemovalPolicy::DeleteChildren] {
        let world = World::new();
        world.decide(|_| {
            Ok(plan(json!([
                apply(map("near", json!({ "k": "v" }))),
                apply(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "far" } })),
                apply(json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "m", "namespace": "else" } })),
            ])))
        });
        world.api.put("user", cr("a", json!({})));
        world.settle().await;
        let finalizer = json!(["reg.finalizers.kybern.dev/cleanup"]);
        assert_eq!(
            world.api.get("App", "ns", "a").unwrap()["metadata"]["finalizers"],
            finalizer
        );
        world.engine.unregister("reg").await;
        let released = world.engine.release(&active("reg"), policy).await;
        assert_eq!(released.failures, Vec::<String>::new());
        assert_eq!((released.crs, released.children), (1, 3));
        let cr = world.api.get("App", "ns", "a").unwrap();
        assert!(
            cr["metadata"]
                .get("finalizers")
                .is_none_or(|f| f == &json!([]))
        );
        let near = world.api.get("ConfigMap", "ns", "near");
        // A Namespace is never deleted with what is in it.
        let far = world.api.get("Namespace", "", "far").unwrap();
        assert!(
            far["metadata"]["labels"]
                .get("applyset.kubernetes.io/part-of")
                .is_none()
        );
        match policy {
            RemovalPolicy::Orphan => {
                let near = near.unwrap();
                assert_eq!(near["data"], json!({ "k": "v" }));
                assert!(near["metadata"].get("ownerReferences").is_none());
                assert!(
                    near["metadata"]["annotations"]
                        .get("kybern.dev/intent")
                        .is_none()
                );
                assert!(world.api.get("ConfigMap", "else", "m").is_some());
            }
            RemovalPolicy::DeleteChildren => {
                assert!(near.is_none());
                assert!(world.api.get("ConfigMap", "else", "m").is_none());
            }
        }
        world.api.writes();
        assert_eq!(world.engine.release(&active("reg"), policy).await.crs, 0);
        assert_eq!(world.api.writes(), Vec::<String>::new());
        assert!(world.engine.report("reg", &app(), "ns", "a").is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn an_explicit_delete_takes_only_the_object_that_was_meant() {
    let world = World::new();
    let doomed = world.api.put("user", in_ns(map("doomed", json!({}))));
    let other = world.api.put("user", in_ns(map("other", json!({}))));
    let uid = doomed["metadata"]["uid"].clone();
    world.decide(move |_| {
        let target = |name: &str| json!({ "type": "delete", "target": { "version": "v1", "kind": "ConfigMap", "namespace": "ns", "name": name, "uid": uid } });
        Ok(plan(json!([target("doomed"), target("other")])))
    });
    world.api.put("user", cr("a", json!({})));
    world.settle().await;
    assert!(world.api.get("ConfigMap", "ns", "doomed").is_none());
    assert_eq!(world.api.get("ConfigMap", "ns", "other"), Some(other));
    assert_eq!(world.report("a").ending, Ending::Succeeded);
    // A delete that is done is not tried again and again.
    world.api.writes();
    world.api.edit("user", "App", "ns", "a", |a| {
        a["metadata"]["labels"] = json!({ "l": "1" })
    });
    world.settle().await;
    assert_eq!(world.api.writes(), Vec::<String>::new());
}

/// Whatever a plan says about another CR's child, it stays as that CR's own plan wants it.
#[tokio::test(start_paused = true)]
async fn a_plan_that_names_the_child_of_another_cr_is_told_whose_it_is() {
    let world = World::new();
    world
        .api
        .put("user", cr("victim", json!({ "maps": { "x": "1" } })));
    world.settle().await;
    let child = world.api.get("ConfigMap", "ns", "victim-x").unwrap();
    let target = json!({
        "version": "v1", "kind": "ConfigMap", "namespace": "ns", "name": "victim-x",
        "uid": child["metadata"]["uid"],
    });
    let stolen = |extra: Value| {
        let mut action = apply(map("victim-x", json!({ "v": "stolen" })));
        for (key, value) in extra.as_object().unwrap() {
            action[key] = value.clone();
        }
        action
    };
    let patch =
        json!({ "type": "patch", "target": target, "patch": { "data": { "v": "stolen" } } });
    for (action, reason, words) in [
        (
            json!({ "type": "delete", "target": target }),
            "NotGranted",
            "delete of ConfigMap ns/victim-x: it is controlled by App victim, whose own plan says whether it goes",
        ),
        (
            stolen(json!({})),
            "ChildConflict",
            "it is controlled by App victim",
        ),
        (
            stolen(json!({ "adopt": "ifUnowned" })),
            "ChildConflict",
            "it is controlled by App victim",
        ),
        (
            patch,
            "PatchConflict",
            "other managers own what the plan wants to say",
        ),
    ] {
        let planned = action.clone();
        world.decide(
            move |situation| match situation.object["metadata"]["name"].as_str() {
                Some("thief") => Ok(plan(json!([planned, apply(map("own", json!({})))]))),
                _ => crate::world::simple(situation),
            },
        );
        world.api.writes();
        world.api.put("user", cr("thief", json!({})));
        world.settle().await;
        let (status, told, message) = world.condition("thief", "Ready").unwrap();
        assert_eq!(
            (status.as_str(), told.as_str()),
            ("False", reason),
            "{message}"
        );
        assert!(message.contains(words), "{message}");
        assert_eq!(
            world.api.get("ConfigMap", "ns", "victim-x").as_ref(),
            Some(&child),
            "{action}"
        );
        assert_eq!(world.ready("victim").0, "True");
        world.api.delete("App", "ns", "thief");
        world.settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_that_comes_back_from_a_backup_is_pruned_again() {
    let world = World::new();
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1", "y": "1" } })));
    world.settle().await;
    let mut saved = world.api.get("ConfigMap", "ns", "a-y").unwrap();
    world.api.edit("user", "App", "ns", "a", |a| {
        a["spec"]["maps"] = json!({ "x": "1" })
    });
    world.settle().await;
    assert!(world.api.get("ConfigMap", "ns", "a-y").is_none());
    for key in ["uid", "resourceVersion", "managedFields"] {
        saved["metadata"].as_object_mut().unwrap().remove(key);
    }
    world.api.put("backup", saved);
    world.settle().await;
    assert!(world.api.get("ConfigMap", "ns", "a-y").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_cr_that_is_no_longer_selected_still_gets_rid_of_our_finalizer() {
    let mut world = World::bare();
    let mut active = active("reg");
    active.primaries[0].selector =
        serde_json::from_value(json!({ "matchLabels": { "t": "1" } })).unwrap();
    world.engine.register(active);
    world.start();
    world.decide(|_| {
        Ok(plan(json!([apply(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "far", "namespace": "else" },
        }))])))
    });
    let mut object = cr("a", json!({}));
    object["metadata"]["labels"] = json!({ "t": "1" });
    world.api.put("user", object);
    world.settle().await;
    world.api.edit("user", "App", "ns", "a", |a| {
        a["metadata"]["labels"] = json!({ "t": "2" })
    });
    world.settle().await;
    world.api.delete("App", "ns", "a");
    world.settle().await;
    assert!(world.api.get("App", "ns", "a").is_none());
    assert!(world.api.get("ConfigMap", "else", "far").is_none());
}
