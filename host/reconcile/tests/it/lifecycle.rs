//! From a CR to its children, and quiet after that.

use crate::world::{World, active, apply, cr, map, plan};
use kybern_reconcile::Ending;
use serde_json::{Value, json};
use std::time::Duration;

fn ok(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_cr_becomes_children_with_one_write_each_and_one_status_write() {
    let world = World::new();
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1", "y": "2" } })));
    world.settle().await;
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
    let child = world.api.get("ConfigMap", "ns", "a-x").unwrap();
    assert_eq!(child["metadata"]["ownerReferences"][0]["name"], "a");
    assert_eq!(
        child["metadata"]["managedFields"][0]["manager"],
        "kybern/reg"
    );
    let object = world.api.get("App", "ns", "a").unwrap();
    assert_eq!(object["status"]["maps"], 2);
    assert_eq!(object["status"]["observedGeneration"], 1);
    assert_eq!(world.ready("a"), ok("True", "Reconciled"));
}

#[tokio::test(start_paused = true)]
async fn a_changed_spec_is_followed_and_what_is_dropped_is_pruned() {
    let world = World::new();
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1", "y": "2" } })));
    world.settle().await;
    world.api.writes();
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "3", "z": "4" } })));
    world.settle().await;
    let mut writes = world.api.writes();
    writes.sort();
    assert_eq!(
        writes,
        [
            "apply ConfigMap ns/a-x",
            "create ConfigMap ns/a-z",
            "delete ConfigMap ns/a-y",
            "patch ConfigMap ns/a-x",
            "status App ns/a",
        ]
    );
    let child = world.api.get("ConfigMap", "ns", "a-x").unwrap();
    assert_eq!(child["data"], json!({ "v": "3" }));
    // The first apply made our Update entry an Apply entry; the next one needs no patch.
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "5", "z": "4" } })));
    world.settle().await;
    let mut writes = world.api.writes();
    writes.sort();
    assert_eq!(writes, ["apply ConfigMap ns/a-x", "status App ns/a"]);
}

#[tokio::test(start_paused = true)]
async fn a_field_that_a_later_plan_drops_goes() {
    let world = World::new();
    world.decide(|situation| {
        Ok(plan(json!([apply(map(
            "m",
            situation.object["spec"]["data"].clone()
        ))])))
    });
    world
        .api
        .put("user", cr("a", json!({ "data": { "k": "1", "l": "2" } })));
    world.settle().await;
    world
        .api
        .put("user", cr("a", json!({ "data": { "k": "1" } })));
    world.settle().await;
    let child = world.api.get("ConfigMap", "ns", "m").unwrap();
    assert_eq!(child["data"], json!({ "k": "1" }));
}

#[tokio::test(start_paused = true)]
async fn converged_is_quiet_also_after_a_restart_whatever_was_defaulted_or_mutated() {
    for mutating in [false, true] {
        let mut world = World::new();
        if mutating {
            world.api.mutate();
        }
        world.api.put(
            "user",
            cr("a", json!({ "maps": { "x": "1" }, "image": "i:1" })),
        );
        world.settle().await;
        assert_eq!(world.ready("a"), ok("False", "Progressing"));
        world.api.edit("kube-controller-manager", "Deployment", "ns", "a", |d| {
            d["status"] = json!({ "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1 });
        });
        world.settle().await;
        assert_eq!(world.ready("a"), ok("True", "Reconciled"));
        world.api.writes();

        world.restart().await;
        world.settle().await;
        assert_eq!(
            world.api.writes(),
            Vec::<String>::new(),
            "after a restart, mutating: {mutating}"
        );
        assert!(world.api.events().is_empty());

        // An apply later the same holds.
        world.api.edit("user", "App", "ns", "a", |a| {
            a["spec"]["image"] = json!("i:2")
        });
        world.settle().await;
        assert!(!world.api.writes().is_empty());
        world.restart().await;
        world.settle().await;
        assert_eq!(
            world.api.writes(),
            Vec::<String>::new(),
            "after an apply, mutating: {mutating}"
        );

        // Resyncs look and do nothing.
        tokio::time::sleep(Duration::from_secs(100_000)).await;
        assert_eq!(world.api.writes(), Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn drift_of_owned_fields_is_reverted_and_foreign_fields_stay() {
    let mut world = World::new();
    world.api.put(
        "user",
        cr("a", json!({ "maps": { "x": "1" }, "image": "i:1" })),
    );
    world.settle().await;
    world.api.writes();
    for restart in [false, true] {
        if restart {
            world.restart().await;
            world.settle().await;
        }
        world
            .api
            .edit("kubectl-edit", "ConfigMap", "ns", "a-x", |m| {
                m["data"]["v"] = json!("wrong");
                m["data"]["theirs"] = json!("kept");
            });
        world.settle().await;
        let child = world.api.get("ConfigMap", "ns", "a-x").unwrap();
        assert_eq!(child["data"], json!({ "v": "1", "theirs": "kept" }));
        assert!(
            world
                .api
                .writes()
                .contains(&"apply ConfigMap ns/a-x".to_owned())
        );
        // A field that is not ours: nothing to do.
        world.api.edit("hpa", "Deployment", "ns", "a", |d| {
            d["spec"]["replicas"] = json!(if restart { 7 } else { 5 })
        });
        world.settle().await;
        assert_eq!(world.api.writes(), Vec::<String>::new());
    }
    assert_eq!(world.engine.metrics().plugins["reg"].drifted, 2);
}

#[tokio::test(start_paused = true)]
async fn drift_while_the_host_was_down_is_reverted() {
    let mut world = World::new();
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1", "y": "1" } })));
    world.settle().await;
    world.api.hold();
    world
        .api
        .edit("kubectl-edit", "ConfigMap", "ns", "a-x", |m| {
            m["data"]["v"] = json!("wrong")
        });
    world.api.delete("ConfigMap", "ns", "a-y");
    world.api.deliver(|_| vec![]);
    world.kill().await;
    world.api.relist();
    world.settle().await;
    assert_eq!(
        world.api.get("ConfigMap", "ns", "a-x").unwrap()["data"]["v"],
        "1"
    );
    assert_eq!(
        world.api.get("ConfigMap", "ns", "a-y").unwrap()["data"]["v"],
        "1"
    );
}

#[tokio::test(start_paused = true)]
async fn a_deleted_child_comes_back() {
    let world = World::new();
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1" } })));
    world.settle().await;
    world.api.delete("ConfigMap", "ns", "a-x");
    world.settle().await;
    assert!(world.api.get("ConfigMap", "ns", "a-x").is_some());
}

#[tokio::test(start_paused = true)]
async fn the_same_answers_call_no_plugin_and_changed_ones_do() {
    let world = World::new();
    *world.hooks.reads.lock() = Some("settings".into());
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1" } })));
    world.settle().await;
    assert!(world.decides() > 0);
    // A row that did not exist when the query was answered.
    world
        .api
        .put("user", ns(map("settings", json!({ "a": "1" }))));
    world.settle().await;
    assert_eq!(world.decides(), 1);
    // A column that no query reads.
    world.api.edit("user", "ConfigMap", "ns", "settings", |m| {
        m["metadata"]["labels"] = json!({ "l": "1" })
    });
    world.settle().await;
    assert_eq!(world.decides(), 0);
    // Another row of the same table.
    world.api.put("user", ns(map("other", json!({ "a": "1" }))));
    world.settle().await;
    assert_eq!(world.decides(), 0);
    world.api.edit("user", "ConfigMap", "ns", "settings", |m| {
        m["data"]["a"] = json!("2")
    });
    world.settle().await;
    assert_eq!(world.decides(), 1);
    world.api.delete("ConfigMap", "ns", "settings");
    world.settle().await;
    assert_eq!(world.decides(), 1);
    // The CR's status is the host's own writing.
    world.api.edit("other", "App", "ns", "a", |a| {
        a["status"]["theirs"] = json!(1)
    });
    world.settle().await;
    assert_eq!(world.decides(), 0);
}

fn ns(mut object: Value) -> Value {
    object["metadata"]["namespace"] = json!("ns");
    object
}

#[tokio::test(start_paused = true)]
async fn a_childs_status_that_nobody_reads_calls_no_plugin() {
    let world = World::new();
    world.api.put("user", cr("a", json!({ "image": "i:1" })));
    world.settle().await;
    world.decides();
    world.api.edit("kubelet", "Deployment", "ns", "a", |d| {
        d["status"] = json!({ "observedGeneration": 1, "unavailableReplicas": 1 })
    });
    world.settle().await;
    assert_eq!(world.decides(), 0);
    assert_eq!(world.report("a").ending, Ending::Unchanged);
    // Becoming ready is news: the host's Ready condition depends on it.
    world.api.edit("kubelet", "Deployment", "ns", "a", |d| {
        d["status"] = json!({ "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1 });
    });
    world.settle().await;
    assert_eq!(world.ready("a"), ok("True", "Reconciled"));
}

#[tokio::test(start_paused = true)]
async fn a_plugins_timer_runs_though_nothing_changed() {
    let world = World::new();
    world.decide(|_| {
        let mut plan = plan(json!([apply(map("m", json!({ "k": "v" })))]));
        plan.requeue_after_ms = Some(1);
        Ok(plan)
    });
    world.api.put("user", cr("a", json!({})));
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.decides();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let decides = world.decides();
    // The floor is a second, whatever the plugin says.
    assert!((8..=10).contains(&decides), "{decides}");
    world.api.edit("user", "App", "ns", "a", |a| {
        a["metadata"]["labels"] = json!({ "l": "1" })
    });
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(world.report("a").ending, Ending::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn annotations_pause_and_force() {
    let world = World::new();
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1" } })));
    world.settle().await;
    world.api.writes();
    world.decides();
    let annotate = |key: &'static str, value: &'static str| {
        world.api.edit("user", "App", "ns", "a", move |a| {
            a["metadata"]["annotations"] = json!({ key: value });
        });
    };
    annotate("kybern.dev/paused", "true");
    world.settle().await;
    assert_eq!(world.ready("a"), ok("Unknown", "Paused"));
    world.api.writes();
    world.api.edit("user", "App", "ns", "a", |a| {
        a["spec"]["maps"]["x"] = json!("2")
    });
    world.settle().await;
    assert_eq!(
        (world.api.writes(), world.decides()),
        (vec!["status App ns/a".to_owned()], 0)
    );
    annotate("kybern.dev/paused", "false");
    world.settle().await;
    assert_eq!(world.ready("a"), ok("True", "Reconciled"));
    assert_eq!(
        world.api.get("ConfigMap", "ns", "a-x").unwrap()["data"]["v"],
        "2"
    );
    world.api.writes();
    world.decides();
    annotate("kybern.dev/reconcile-at", "now");
    world.settle().await;
    assert_eq!((world.api.writes(), world.decides()), (vec![], 1));
    annotate("kybern.dev/force-resync", "now");
    world.settle().await;
    assert_eq!(world.api.writes(), ["apply ConfigMap ns/a-x"]);
}

#[tokio::test(start_paused = true)]
async fn a_cr_pinned_to_another_revision_is_answered_and_left_alone_but_still_deleted() {
    let world = World::bare();
    let mut registration = active("reg");
    registration.missing.insert("sha256:0".into());
    world.engine.register(registration);
    let mut world = world;
    world.start();
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1" } })));
    world.settle().await;
    world.api.writes();
    world.decides();
    let pin = |digest: &'static str| {
        world.api.edit("user", "App", "ns", "a", move |a| {
            a["metadata"]["annotations"] = json!({ "kybern.dev/plugin-revision": digest });
            a["spec"]["maps"]["x"] = json!(digest);
        });
    };
    pin("sha256:0");
    world.settle().await;
    let (status, reason, message) = world.condition("a", "Ready").unwrap();
    assert_eq!((&*status, &*reason), ("False", "RevisionUnknown"));
    assert!(
        message.contains("kybern.dev/plugin-revision") && message.contains("remove"),
        "{message}"
    );
    assert_eq!(world.api.events().last().unwrap().reason, "RevisionUnknown");
    assert_eq!(
        (world.api.writes(), world.decides()),
        (vec!["status App ns/a".to_owned()], 0)
    );
    // The one that runs.
    pin("sha256:1");
    world.settle().await;
    assert_eq!(world.ready("a"), ok("True", "Reconciled"));
    assert_eq!(
        world.api.get("ConfigMap", "ns", "a-x").unwrap()["data"]["v"],
        "sha256:1"
    );
    pin("sha256:0");
    world.settle().await;
    world.api.delete("App", "ns", "a");
    world.settle().await;
    assert!(world.api.get("App", "ns", "a").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_new_registration_is_swapped_in_between_passes() {
    let world = World::new();
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1" } })));
    world.settle().await;
    world.decides();
    world.engine.register(active("reg"));
    world.settle().await;
    assert_eq!(world.decides(), 0);
    let mut next = active("reg");
    next.digest = "sha256:2".into();
    world.engine.register(next);
    world.settle().await;
    assert_eq!(world.decides(), 1);
    world.api.writes();
    world.engine.unregister("reg").await;
    world.api.edit("user", "App", "ns", "a", |a| {
        a["spec"]["maps"]["x"] = json!("2")
    });
    world.settle().await;
    assert_eq!((world.api.writes(), world.decides()), (vec![], 0));
    assert_eq!(world.engine.metrics().remembered, 0);
    assert_eq!(world.engine.metrics().trigger_keys, 0);
}

#[tokio::test(start_paused = true)]
async fn waves_go_in_order_and_wait_for_what_is_not_ready() {
    let world = World::new();
    world.decide(|situation| {
        let mut plan = crate::world::simple(situation)?;
        let extra: kybern_interface::Action = serde_json::from_value(
            json!({ "type": "apply", "object": map("late", json!({})), "wave": 5 }),
        )
        .unwrap();
        plan.actions.push(extra);
        for action in &mut plan.actions {
            if let kybern_interface::Action::Apply(apply) = action {
                apply.ready = true;
            }
        }
        Ok(plan)
    });
    world.api.put("user", cr("a", json!({ "image": "i:1" })));
    world.settle().await;
    assert_eq!(world.ready("a"), ok("False", "WaitingForReady"));
    assert!(world.api.get("ConfigMap", "ns", "late").is_none());
    world.api.edit("kubelet", "Deployment", "ns", "a", |d| {
        d["status"] = json!({ "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1 });
    });
    world.settle().await;
    assert!(world.api.get("ConfigMap", "ns", "late").is_some());
    assert_eq!(world.ready("a"), ok("True", "Reconciled"));
}

#[tokio::test(start_paused = true)]
async fn a_field_handed_over_never_passes_through_a_default() {
    let world = World::new();
    world.decide(|situation| {
        let image = situation.object["spec"]["image"].clone();
        Ok(plan(json!([{ "type": "apply", "ignorePaths": ["spec.replicas"], "object": {
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "d" },
            "spec": { "replicas": 3, "template": { "spec": { "containers": [{ "name": "web", "image": image }] } } },
        } }])))
    });
    let image = |image: &'static str| {
        world.api.put("user", cr("a", json!({ "image": image })));
    };
    let replicas = || world.api.get("Deployment", "ns", "d").unwrap()["spec"]["replicas"].clone();
    image("i:1");
    world.settle().await;
    assert_eq!(replicas(), 3);
    image("i:2");
    world.settle().await;
    assert_eq!(replicas(), 3);
    world.api.edit("hpa", "Deployment", "ns", "d", |d| {
        d["spec"]["replicas"] = json!(8)
    });
    world.settle().await;
    assert_eq!(replicas(), 8);
    image("i:3");
    world.settle().await;
    assert_eq!(replicas(), 8);
    let child = world.api.get("Deployment", "ns", "d").unwrap();
    assert_eq!(
        child["spec"]["template"]["spec"]["containers"][0]["image"],
        "i:3"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_created_once_is_left_alone_and_comes_back() {
    let world = World::new();
    world.decide(|situation| {
        let value = situation.object["spec"]["v"].clone();
        Ok(plan(json!([{ "type": "apply", "mode": "createOnce", "object": map("m", json!({ "v": value })) }])))
    });
    world.api.put("user", cr("a", json!({ "v": "1" })));
    world.settle().await;
    world.api.put("user", cr("a", json!({ "v": "2" })));
    world.api.edit("user", "ConfigMap", "ns", "m", |m| {
        m["data"]["w"] = json!("x")
    });
    world.settle().await;
    assert_eq!(
        world.api.get("ConfigMap", "ns", "m").unwrap()["data"],
        json!({ "v": "1", "w": "x" })
    );
    world.api.delete("ConfigMap", "ns", "m");
    world.settle().await;
    assert_eq!(
        world.api.get("ConfigMap", "ns", "m").unwrap()["data"],
        json!({ "v": "2" })
    );
}

#[tokio::test(start_paused = true)]
async fn a_dry_pass_says_what_would_happen_and_does_nothing() {
    use kybern_reconcile::Verdict;
    let world = World::bare();
    world.engine.register(active("reg"));
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1" } })));
    let dry = world
        .engine
        .dry_pass("reg", &crate::world::app(), "ns", "a")
        .await
        .unwrap();
    assert_eq!(dry.steps.len(), 1);
    assert_eq!(dry.steps[0].verdict, Verdict::Create);
    assert!(dry.status_changes);
    assert_eq!(world.api.writes(), Vec::<String>::new());
    assert!(
        world
            .engine
            .dry_pass("reg", &crate::world::app(), "ns", "b")
            .await
            .is_err()
    );
}

#[tokio::test(start_paused = true)]
async fn a_change_between_the_answer_and_its_read_set_is_not_missed() {
    let world = World::new();
    *world.hooks.reads.lock() = Some("settings".into());
    let api = world.api.clone();
    *world.hooks.meanwhile.lock() = Some(Box::new(move || {
        api.put("user", ns(map("settings", json!({ "a": "1" }))));
    }));
    world.api.put("user", cr("a", json!({})));
    world.settle().await;
    assert_eq!(world.decides(), 2);
    assert_eq!(world.report("a").answers[0].rows, 1);
}

#[tokio::test(start_paused = true)]
async fn a_report_says_what_started_the_pass() {
    let mut world = World::bare();
    *world.hooks.reads.lock() = Some("settings".into());
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1" } })));
    world.engine.register(active("reg"));
    world.start();
    world.settle().await;
    let started = |world: &World| world.report("a").started.to_string();
    let mut settings = map("settings", json!({ "k": "1" }));
    settings["metadata"]["namespace"] = json!("ns");
    world.api.put("user", settings);
    world.settle().await;
    assert_eq!(
        started(&world),
        "ConfigMap ns/settings changed, which a query reads by name = ns/settings"
    );
    world
        .api
        .edit("user", "ConfigMap", "ns", "settings", |map| {
            map["data"]["k"] = json!("2")
        });
    world.settle().await;
    let column =
        "ConfigMap ns/settings changed, which a query reads by name = ns/settings, in data";
    assert_eq!(started(&world), column);
    world.api.edit("user", "App", "ns", "a", |a| {
        a["metadata"]["labels"] = json!({ "l": "1" })
    });
    world.settle().await;
    assert_eq!(started(&world), "the resource changed");
    world.api.edit("kubectl", "ConfigMap", "ns", "a-x", |map| {
        map["metadata"]["labels"]["l"] = json!("1")
    });
    world.settle().await;
    assert_eq!(started(&world), "child ConfigMap ns/a-x changed");
    world.engine.register(active("reg"));
    world.settle().await;
    assert_eq!(started(&world), "the registration changed");
    tokio::time::sleep(Duration::from_secs(36_000)).await;
    assert_eq!(started(&world), "resync");
    // The first of several.
    *world.hooks.delay.lock() = Duration::from_secs(1);
    for n in 0..3 {
        world.api.edit("kubectl", "ConfigMap", "ns", "a-x", |map| {
            map["metadata"]["labels"]["l"] = json!(format!("n{n}"))
        });
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(started(&world), "child ConfigMap ns/a-x changed");
    world.settle().await;
    assert_eq!(started(&world), "child ConfigMap ns/a-x changed and 1 more");
    *world.hooks.delay.lock() = Duration::ZERO;
    world.restart().await;
    world.settle().await;
    assert_eq!(started(&world), "start and 1 more");
}
