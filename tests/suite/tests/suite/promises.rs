//! The promises that only a real API server can break.

use crate::lag::lagging_watches;
use crate::scene::{APP, Language, SOON, Scene, pass_time};
use anyhow::{Context, Result, ensure};
use kybern_testcluster::{Object, Progress, Request, until};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Barrier;
use std::time::Duration;

crate::scene::in_each_language! {
    fifty_quick_changes_end_in_the_last_and_a_child_is_created_once,
    a_missing_permission_is_named_and_concerns_only_who_needs_it,
    a_write_that_the_host_may_not_do_is_a_condition_without_a_busy_loop,
    whoever_loses_the_race_for_a_name_leaves_the_other_alone,
    what_an_admission_policy_changes_is_neither_reverted_nor_written_again,
    a_host_that_is_killed_again_and_again_ends_in_the_wanted_state,
    a_paused_cr_is_left_alone_until_it_is_resumed,
    a_new_reconcile_at_starts_a_pass_that_writes_nothing,
    a_new_force_resync_applies_each_child_once_more,
    a_registration_with_delete_children_takes_them_along_and_leaves_the_crs,
}

/// The window in which nothing may be written.
const WINDOW: Duration = Duration::from_secs(20);

/// A Deployment that somebody makes by hand.
fn by_hand(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": name, "namespace": namespace },
        "spec": {
            "replicas": 1, "selector": { "matchLabels": { "by": "hand" } },
            "template": {
                "metadata": { "labels": { "by": "hand" } },
                "spec": { "containers": [{ "name": "c", "image": "nginx:1.7.9" }] },
            },
        },
    })
}

fn uid(object: &Value) -> &Value {
    &object["metadata"]["uid"]
}

/// Whether `owner`, and nobody else, owns `child`.
fn owned_by_alone(child: &Value, owner: &Value) -> bool {
    child["metadata"]["ownerReferences"].as_array().is_some_and(|references| {
        matches!(references.as_slice(), [one] if one["uid"] == *uid(owner) && one["controller"] == true)
    })
}

fn annotate(scene: &Scene, object: &Object, key: &str, value: &Value) -> Result<()> {
    scene.client().merge_patch(
        object,
        &json!({ "metadata": { "annotations": { key: value } } }),
    )?;
    Ok(())
}

/// Waits until the CR's conditions speak of its newest generation.
fn observed(scene: &Scene, app: &Object) -> Result<Value> {
    scene.wait(app, |a| {
        a["status"]["observedGeneration"] == a["metadata"]["generation"]
    })
}

/// The HTTP status of a probe of the host.
fn probe(scene: &Scene, path: &str) -> Result<u16> {
    let mut stream = TcpStream::connect(scene.host().address())?;
    stream.set_read_timeout(Some(SOON))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: kybern\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let code = answer.split(' ').nth(1).context("a status line")?;
    Ok(code.parse()?)
}

fn fifty_quick_changes_end_in_the_last_and_a_child_is_created_once(
    language: Language,
) -> Result<()> {
    let mut scene = Scene::new("own")?;
    // What a pass wrote is not in its watches when the next pass begins.
    lagging_watches(&scene)?;
    let registration = scene.appservice_in(language)?;
    scene.grant(std::slice::from_ref(&registration))?;
    scene.start_host()?;
    scene.register(&registration)?;
    let mark = scene.plane.audit().mark()?;
    let (app, deployment, service) = scene.app_objects("web");
    scene.client().create(&scene.app("web", 1))?;
    for size in 2..=51 {
        scene
            .client()
            .merge_patch(&app, &json!({ "spec": { "size": size } }))?;
        pass_time(Duration::from_millis(20))?;
    }
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 51)?;
    scene.wait(&service, |_| true)?;
    observed(&scene, &app)?;
    scene.converged()?;
    assert_eq!(scene.client().get(&deployment)?["spec"]["replicas"], 51);
    let writes = scene.plane.audit().writes_of(&scene.user, mark)?;
    let of = |resource: &str, verb: &str| {
        let is = |r: &&Request| r.resource == resource && r.verb == verb && r.subresource.is_none();
        writes.iter().filter(is).count()
    };
    assert_eq!(of("deployments", "create"), 1, "{writes:#?}");
    assert_eq!(of("services", "create"), 1, "{writes:#?}");
    assert!(of("deployments", "patch") <= 50, "{writes:#?}");
    assert_eq!(
        of("services", "patch"),
        0,
        "the Service does not depend on the size: {writes:#?}"
    );
    let refused: Vec<_> = writes
        .iter()
        .filter(|r| r.code.is_none_or(|code| code >= 400))
        .collect();
    assert!(
        refused.is_empty(),
        "a pass saw a state older than its own writes: {refused:#?}"
    );
    Ok(())
}

fn a_missing_permission_is_named_and_concerns_only_who_needs_it(language: Language) -> Result<()> {
    let mut scene = Scene::new("denied")?;
    let (app, evil) = (scene.appservice_in(language)?, scene.evil()?);
    let all = [app.clone(), evil.clone()];
    scene.grant(&all)?;
    scene.change_rules(
        |rule| rule["resources"] != json!(["services"]),
        &[json!({ "apiGroups": [""], "resources": ["services"], "verbs": ["get", "create", "patch", "delete"] })],
    )?;
    scene.start_host()?;
    for registration in &all {
        scene.client().create(registration)?;
    }
    let (app, evil) = (Object::of(&app)?, Object::of(&evil)?);
    let condition = crate::scene::condition(scene.client(), &app, "Ready", |c| {
        let passing = crate::scene::under_way(c) || c["reason"] == "KindNotServed";
        c["status"] == "False" && !passing
    })?;
    let message = condition["message"].as_str().unwrap_or_default();
    for word in [
        "services",
        "permission",
        "grant the verbs list and watch",
        &scene.namespace,
    ] {
        assert!(message.contains(word), "`{word}` in: {message}");
    }
    // Never as if there were none.
    scene.client().create(&scene.app("web", 1))?;
    scene.plugin_condition(&evil, "Ready", "True")?;
    scene.create_evil("ok")?;
    scene.wait(&scene.object("v1", "ConfigMap", "ok"), |_| true)?;
    assert_eq!(probe(&scene, "/readyz")?, 200);
    let deployments = scene
        .client()
        .list("apps/v1", "Deployment", Some(&scene.namespace))?;
    assert!(deployments.is_empty(), "no pass without all of its tables");
    // Heals by itself.
    scene.grant(&all)?;
    scene.plugin_condition(&app, "Ready", "True")?;
    let (_, deployment, service) = scene.app_objects("web");
    scene.wait(&deployment, |_| true)?;
    scene.wait(&service, |_| true)?;
    Ok(())
}

fn a_write_that_the_host_may_not_do_is_a_condition_without_a_busy_loop(
    language: Language,
) -> Result<()> {
    let mut scene = Scene::new("forbidden")?;
    let registration = scene.appservice_in(language)?;
    let all = std::slice::from_ref(&registration);
    scene.grant(all)?;
    scene.change_rules(
        |rule| rule["resources"] != json!(["services"]),
        &[json!({ "apiGroups": [""], "resources": ["services"], "verbs": ["get", "list", "watch"] })],
    )?;
    scene.start_host()?;
    scene.client().create(&registration)?;
    let plugin = Object::of(&registration)?;
    scene.plugin_condition(&plugin, "Ready", "True")?;
    // It is told before any pass needs it.
    let lacks = scene.plugin_condition(&plugin, "Authorized", "False")?;
    assert_eq!(lacks["reason"], "RightsMissing");
    let message = lacks["message"].as_str().unwrap_or_default();
    let namespace = &scene.namespace;
    let rules =
        format!("the host may not: create, delete, patch services in namespace {namespace}");
    assert_eq!(
        message,
        format!("{rules}. `kybern rbac` prints the rules to grant")
    );
    scene.client().create(&scene.app("web", 1))?;
    let (app, deployment, service) = scene.app_objects("web");
    // The other child does not wait for it.
    scene.wait(&deployment, |_| true)?;
    let condition = scene.ready_reason(&app, "AppService", |c| c["reason"] == "Forbidden")?;
    assert_eq!(condition["status"], "False");
    let message = condition["message"].as_str().unwrap_or_default();
    for word in ["Service", "web", "cannot create"] {
        assert!(message.contains(word), "`{word}` in: {message}");
    }
    assert_eq!(scene.event("web", "Forbidden")?["type"], "Warning");
    let tries = scene.writes_within(Duration::from_secs(5))?;
    assert!(tries.len() <= 12, "{tries:#?}");
    scene.grant(all)?;
    scene.wait(&service, |_| true)?;
    scene.ready_reason(&app, "AppService", |c| c["reason"] != "Forbidden")?;
    Ok(())
}

fn whoever_loses_the_race_for_a_name_leaves_the_other_alone(language: Language) -> Result<()> {
    const ROUNDS: u64 = 10;
    let mut scene = Scene::new("race")?;
    // The table does not know yet who has the name.
    lagging_watches(&scene)?;
    let registration = scene.appservice_in(language)?;
    scene.grant(std::slice::from_ref(&registration))?;
    scene.start_host()?;
    scene.register(&registration)?;
    let mut ours = 0;
    for round in 0..ROUNDS {
        let name = format!("web-{round}");
        let (app, deployment, _) = scene.app_objects(&name);
        let start = Barrier::new(2);
        let hand = std::thread::scope(|threads| {
            let hand = threads.spawn(|| -> Result<_> {
                start.wait();
                // Later in each round, so that both come first at times.
                pass_time(Duration::from_millis(round * 150))?;
                Ok(scene.client().create(&by_hand(&scene.namespace, &name)))
            });
            start.wait();
            let created = scene.client().create(&scene.app(&name, 3));
            let hand = hand.join().expect("the thread ends");
            created.context("create the AppService").and(hand)
        })?;
        match hand {
            Ok(hand) => {
                let condition = scene.ready_reason(&app, "AppService", |c| {
                    c["status"] == "False" && c["reason"] != "Progressing"
                })?;
                assert_eq!(condition["reason"], "ChildConflict", "{condition}");
                let message = condition["message"].as_str().unwrap_or_default();
                assert!(
                    message.contains(&name) && message.contains("not ours"),
                    "{message}"
                );
                let now = scene.client().get(&deployment)?;
                for path in ["/metadata/uid", "/metadata/resourceVersion", "/spec"] {
                    assert_eq!(
                        now.pointer(path),
                        hand.pointer(path),
                        "{path} of the Deployment made by hand"
                    );
                }
                // Once the name is free it is ours, without anybody asking for it.
                scene.client().delete(&deployment)?;
                let child = scene.wait(&deployment, |d| d["spec"]["replicas"] == 3)?;
                ensure!(
                    owned_by_alone(&child, &scene.client().get(&app)?),
                    "{child}"
                );
            }
            Err(error) => {
                assert_eq!(error.code(), Some(409), "{error}");
                let child = scene.wait(&deployment, |d| d["spec"]["replicas"] == 3)?;
                assert!(
                    owned_by_alone(&child, &scene.client().get(&app)?),
                    "{child}"
                );
                ours += 1;
            }
        }
    }
    println!("the host came first in {ours} of {ROUNDS} rounds");
    Ok(())
}

/// A policy that changes Deployments of the scene's namespace: a field and an annotation that
/// nobody asked for, and an image that our plan asks for.
fn install_mutation(scene: &Scene) -> Result<()> {
    let name = format!("{}.example.com", scene.namespace);
    let api = "admissionregistration.k8s.io/v1";
    scene.client().create(&json!({
        "apiVersion": api, "kind": "MutatingAdmissionPolicy",
        "metadata": { "name": name },
        "spec": {
            "failurePolicy": "Fail",
            "reinvocationPolicy": "IfNeeded",
            "matchConstraints": { "resourceRules": [{
                "apiGroups": ["apps"], "apiVersions": ["v1"],
                "operations": ["CREATE", "UPDATE"], "resources": ["deployments"],
            }] },
            "mutations": [
                { "patchType": "ApplyConfiguration", "applyConfiguration": { "expression": "Object{ \
                    metadata: Object.metadata{ annotations: {'policy.example.com/seen': 'yes'} }, \
                    spec: Object.spec{ template: Object.spec.template{ spec: Object.spec.template.spec{ \
                        terminationGracePeriodSeconds: 77 } } } }" } },
                { "patchType": "JSONPatch", "jsonPatch": { "expression": "\
                    object.spec.template.spec.containers[0].image.startsWith('mirror.example.com/') ? [] : \
                    [JSONPatch{ op: 'replace', path: '/spec/template/spec/containers/0/image', \
                        value: 'mirror.example.com/' + object.spec.template.spec.containers[0].image }]" } },
            ],
        },
    }))?;
    scene.client().create(&json!({
        "apiVersion": api, "kind": "MutatingAdmissionPolicyBinding",
        "metadata": { "name": name },
        "spec": { "policyName": name, "matchResources": { "namespaceSelector": {
            "matchLabels": { "kubernetes.io/metadata.name": scene.namespace },
        } } },
    }))?;
    // It takes effect some time later.
    let probe = scene.object("apps/v1", "Deployment", "probe");
    until("the policy to take effect", SOON, || {
        let seen = scene.client().create(&by_hand(&scene.namespace, "probe"))?;
        scene.client().delete(&probe)?;
        Ok(if mutated(&seen) {
            Progress::Done(())
        } else {
            Progress::Waiting(seen["spec"]["template"]["spec"].to_string())
        })
    })
}

/// Has the CR called web looked at again, and its Deployment after a change that is not ours to revert.
fn poke(scene: &Scene, value: &str) -> Result<()> {
    let (app, deployment, _) = scene.app_objects("web");
    annotate(scene, &deployment, "example.com/poked", &json!(value))?;
    pass_time(Duration::from_secs(1))?;
    annotate(scene, &app, "kybern.dev/reconcile-at", &json!(value))
}

fn mutated(deployment: &Value) -> bool {
    let pod = &deployment["spec"]["template"]["spec"];
    pod["terminationGracePeriodSeconds"] == 77
        && pod["containers"][0]["image"] == "mirror.example.com/nginx:1.7.9"
        && deployment["metadata"]["annotations"]["policy.example.com/seen"] == "yes"
}

fn what_an_admission_policy_changes_is_neither_reverted_nor_written_again(
    language: Language,
) -> Result<()> {
    let window = language.window(WINDOW / 2);
    let mut scene = Scene::with_appservice_in(language, "mutated")?;
    install_mutation(&scene)?;
    let (app, deployment, _) = scene.create_app("web", 2)?;
    scene.converged()?;
    assert!(
        mutated(&scene.client().get(&deployment)?),
        "the policy is in effect"
    );
    poke(&scene, "one")?;
    let writes = scene.writes_within(window)?;
    assert!(writes.is_empty(), "after the create: {writes:#?}");
    // The next write is an apply; what is ours and what is the policy's may look otherwise then.
    scene
        .client()
        .merge_patch(&app, &json!({ "spec": { "size": 3 } }))?;
    let after = scene.wait(&deployment, |d| d["spec"]["replicas"] == 3)?;
    assert!(mutated(&after), "{after}");
    scene.converged()?;
    scene.stop_host()?;
    let mark = scene.plane.audit().mark()?;
    scene.start_host()?;
    pass_time(window)?;
    poke(&scene, "two")?;
    pass_time(window)?;
    let writes = scene.plane.audit().writes_of(&scene.user, mark)?;
    assert!(writes.is_empty(), "after a restart: {writes:#?}");
    // What was ours stays ours.
    scene
        .client()
        .merge_patch(&deployment, &json!({ "spec": { "replicas": 9 } }))?;
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 3)?;
    scene.converged()
}

fn a_host_that_is_killed_again_and_again_ends_in_the_wanted_state(
    language: Language,
) -> Result<()> {
    const KILLS: u64 = 4;
    const EACH: u64 = 5;
    let mut scene = Scene::with_appservice_in(language, "killed")?;
    // The namespace's name is random.
    let seed = scene
        .namespace
        .bytes()
        .fold(7_u64, |n, b| n.wrapping_mul(31).wrapping_add(b.into()));
    println!("seed {seed}");
    let name = |number: u64| format!("web-{number}");
    for kill in 0..KILLS {
        for number in kill * EACH..(kill + 1) * EACH {
            scene.client().create(&scene.app(&name(number), 1))?;
        }
        pass_time(Duration::from_millis((seed >> (kill * 8)) % 300))?;
        for number in 0..(kill + 1) * EACH {
            let (app, ..) = scene.app_objects(&name(number));
            scene
                .client()
                .merge_patch(&app, &json!({ "spec": { "size": 2 + kill + number } }))?;
        }
        scene.kill_host();
        let (first, _, service) = scene.app_objects(&name(kill));
        scene.client().merge_patch(
            &first,
            &json!({ "spec": { "image": format!("nginx:{kill}") } }),
        )?;
        if scene.client().find(&service)?.is_some() {
            scene.client().delete(&service)?;
        }
        scene.start_host()?;
    }
    for number in 0..KILLS * EACH {
        let (app, deployment, service) = scene.app_objects(&name(number));
        let image = if number < KILLS {
            format!("nginx:{number}")
        } else {
            "nginx:1.7.9".to_owned()
        };
        let size = 2 + (KILLS - 1) + number;
        let owner = observed(&scene, &app)?;
        let child = scene.wait(&deployment, |d| {
            d["spec"]["replicas"] == size
                && d["spec"]["template"]["spec"]["containers"][0]["image"] == image.as_str()
        })?;
        assert!(owned_by_alone(&child, &owner), "{child}");
        let child = scene.wait(&service, |_| true)?;
        assert!(owned_by_alone(&child, &owner), "{child}");
    }
    scene.converged()?;
    for (version, kind) in [("apps/v1", "Deployment"), ("v1", "Service")] {
        let children = scene.client().list(version, kind, Some(&scene.namespace))?;
        assert_eq!(u64::try_from(children.len())?, KILLS * EACH, "{kind}");
    }
    Ok(())
}

fn a_paused_cr_is_left_alone_until_it_is_resumed(language: Language) -> Result<()> {
    let scene = Scene::with_appservice_in(language, "paused")?;
    let (app, deployment, service) = scene.create_app("web", 1)?;
    annotate(&scene, &app, "kybern.dev/paused", &json!("true"))?;
    scene.ready_reason(&app, "AppService", |c| c["reason"] == "Paused")?;
    scene
        .client()
        .merge_patch(&app, &json!({ "spec": { "size": 4 } }))?;
    scene.client().delete(&service)?;
    pass_time(Duration::from_secs(3))?;
    assert_eq!(scene.client().get(&deployment)?["spec"]["replicas"], 1);
    assert!(scene.client().find(&service)?.is_none());
    annotate(&scene, &app, "kybern.dev/paused", &Value::Null)?;
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 4)?;
    scene.wait(&service, |_| true)?;
    scene.ready_reason(&app, "AppService", |c| c["reason"] != "Paused")?;
    // Deletion goes on though it is paused.
    annotate(&scene, &app, "kybern.dev/paused", &json!("true"))?;
    scene.ready_reason(&app, "AppService", |c| c["reason"] == "Paused")?;
    scene.client().delete(&app)?;
    scene.client().wait_gone(&app, SOON)
}

fn a_new_reconcile_at_starts_a_pass_that_writes_nothing(language: Language) -> Result<()> {
    let scene = Scene::with_appservice_in(language, "reconcileat")?;
    let (app, ..) = scene.create_app("web", 1)?;
    scene.converged()?;
    let label = format!("plugin=\"{}\"", scene.namespace);
    let calls = || scene.metric("kybern_plugin_calls_total", &label);
    let mark = scene.plane.audit().mark()?;
    for value in ["one", "two"] {
        let before = calls()?;
        annotate(&scene, &app, "kybern.dev/reconcile-at", &json!(value))?;
        until("a pass", SOON, || {
            let now = calls()?;
            Ok(if now > before {
                Progress::Done(())
            } else {
                Progress::Waiting(now.to_string())
            })
        })?;
    }
    pass_time(Duration::from_secs(2))?;
    let writes = scene.plane.audit().writes_of(&scene.user, mark)?;
    assert!(writes.is_empty(), "{writes:#?}");
    Ok(())
}

fn a_new_force_resync_applies_each_child_once_more(language: Language) -> Result<()> {
    let scene = Scene::with_appservice_in(language, "resync")?;
    let (app, ..) = scene.create_app("web", 1)?;
    scene.converged()?;
    for value in ["one", "two"] {
        let mark = scene.plane.audit().mark()?;
        annotate(&scene, &app, "kybern.dev/force-resync", &json!(value))?;
        let applied = |resource: &str| -> Result<usize> {
            let writes = scene.plane.audit().writes_of(&scene.user, mark)?;
            // The first apply is preceded by a patch that makes the fields of the create its own.
            let forced = |r: &&Request| r.resource == resource && r.uri.contains("force=true");
            Ok(writes.iter().filter(forced).count())
        };
        for resource in ["deployments", "services"] {
            until(&format!("an apply of {resource}"), SOON, || {
                Ok((applied(resource)? > 0).then_some(()).into())
            })?;
        }
        scene.converged()?;
        for resource in ["deployments", "services"] {
            assert_eq!(applied(resource)?, 1, "{resource} after {value}");
        }
    }
    Ok(())
}

fn a_registration_with_delete_children_takes_them_along_and_leaves_the_crs(
    language: Language,
) -> Result<()> {
    let mut scene = Scene::new("deletechildren")?;
    let mut registration = scene.appservice_in(language)?;
    registration["spec"]["onRemoval"] = json!("DeleteChildren");
    scene.grant(std::slice::from_ref(&registration))?;
    scene.start_host()?;
    let plugin = scene.register(&registration)?;
    for name in ["one", "two", "three"] {
        scene.create_app(name, 1)?;
    }
    let stranger = by_hand(&scene.namespace, "stranger");
    scene.client().create(&stranger)?;
    scene.client().delete(&plugin)?;
    scene.client().wait_gone(&plugin, SOON)?;
    let names = |version: &str, kind: &str| -> Result<Vec<String>> {
        let list = scene.client().list(version, kind, Some(&scene.namespace))?;
        let mut names: Vec<String> = list
            .iter()
            .filter_map(|o| Some(o["metadata"]["name"].as_str()?.to_owned()))
            .collect();
        names.sort();
        Ok(names)
    };
    assert_eq!(names("apps/v1", "Deployment")?, ["stranger"]);
    assert!(names("v1", "Service")?.is_empty());
    assert_eq!(names(APP, "AppService")?, ["one", "three", "two"]);
    for app in scene
        .client()
        .list(APP, "AppService", Some(&scene.namespace))?
    {
        ensure!(app["metadata"]["finalizers"].is_null(), "{app}");
    }
    scene.converged()
}
