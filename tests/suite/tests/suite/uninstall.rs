//! `kybern uninstall` that only lets go, and the host's Deployment that it stops first.

use crate::scene::{SOON, Scene, kybern};
use anyhow::Result;
use kybern_testcluster::{Object, Process, Progress, until};
use serde_json::{Value, json};
use std::process::Command;

/// The arguments that every call here needs.
fn uninstall(scene: &Scene, more: &[&str]) -> Result<Vec<String>> {
    let mut all = vec![
        "uninstall".to_owned(),
        "--kubeconfig".to_owned(),
        scene.plane.admin_kubeconfig()?.display().to_string(),
        "--class".to_owned(),
        scene.class.clone(),
    ];
    all.extend(more.iter().map(|&word| word.to_owned()));
    Ok(all)
}

fn run(arguments: &[String]) -> Result<String> {
    kybern(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

fn plugin(scene: &Scene) -> Object {
    Object::cluster("kybern.dev/v1alpha1", "Plugin", &scene.namespace)
}

#[test]
fn what_is_let_go_of_hangs_nowhere_and_a_later_host_goes_on_with_it() -> Result<()> {
    let mut scene = Scene::with_appservice("letgo")?;
    let (app, deployment, _) = scene.create_app("web", 1)?;
    let (other, ..) = scene.create_app("other", 1)?;
    scene.kill_host();
    let client = scene.client();
    // As if their children were in reach of no garbage collector; somebody else's stays.
    let ours = format!("{}.finalizers.kybern.dev/cleanup", scene.namespace);
    for object in [&app, &other] {
        let patch = json!({ "metadata": { "finalizers": [ours, "example.com/theirs"] } });
        client.merge_patch(object, &patch)?;
    }
    client.delete(&other)?;
    let before = client.get(&deployment)?;

    let foretold = run(&uninstall(&scene, &["--keep-plugins"])?)?;
    assert!(foretold.contains("--yes"), "{foretold}");
    let held = client.get(&plugin(&scene))?["metadata"]["finalizers"].clone();
    assert_eq!(held, json!(["kybern.dev/release"]), "nothing was done yet");

    let told = run(&uninstall(&scene, &["--keep-plugins", "--yes"])?)?;
    assert!(told.contains("2 of its custom resources"), "{told}");
    assert!(told.contains("other was being deleted"), "{told}");
    for object in [&app, &other] {
        let left = client.get(object)?["metadata"]["finalizers"].clone();
        assert_eq!(left, json!(["example.com/theirs"]), "{object}");
    }
    let kept = client.get(&plugin(&scene))?;
    assert!(kept["metadata"]["finalizers"].is_null(), "{kept}");
    let ready = scene.plugin_condition(&plugin(&scene), "Ready", "False")?;
    assert_eq!(ready["reason"], "HostUninstalled", "{ready}");
    assert_eq!(
        client.get(&deployment)?,
        before,
        "children stay as they are"
    );

    // Once more: nothing is left to do.
    let again = run(&uninstall(&scene, &["--keep-plugins", "--yes"])?)?;
    assert!(again.contains("and 0 of its custom resources"), "{again}");

    scene.start_host()?;
    scene.plugin_condition(&plugin(&scene), "Ready", "True")?;
    client.merge_patch(&app, &json!({ "spec": { "size": 3 } }))?;
    let after = scene.wait(&deployment, |d| d["spec"]["replicas"] == 3)?;
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    scene.wait(&plugin(&scene), |p| p["metadata"]["finalizers"].is_array())?;
    Ok(())
}

#[test]
fn a_plugin_that_is_let_go_of_can_be_deleted_without_any_host() -> Result<()> {
    let mut scene = Scene::with_appservice("letgogone")?;
    scene.kill_host();
    let client = scene.client();
    client.delete(&plugin(&scene))?;
    let waiting = client.get(&plugin(&scene))?;
    assert!(waiting["metadata"]["deletionTimestamp"].is_string());
    // Its deletion was asked for: it is released as its policy says.
    let told = run(&uninstall(&scene, &["--keep-plugins", "--yes"])?)?;
    assert!(told.contains("is being deleted: releasing it"), "{told}");
    client.wait_gone(&plugin(&scene), SOON)?;
    Ok(())
}

/// A Deployment as the chart makes it, and one of its Pods, which no kubelet runs.
fn host_objects(scene: &Scene) -> (Value, Value) {
    let labels = json!({ "app": "kybern" });
    let spec = json!({ "containers": [{ "name": "kybern", "image": "localhost/kybern:1" }] });
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "kybern", "namespace": scene.namespace },
        "spec": {
            "replicas": 2, "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": spec },
        },
    });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "kybern-0", "namespace": scene.namespace, "labels": labels },
        "spec": spec,
    });
    (deployment, pod)
}

#[test]
fn the_host_is_stopped_before_anything_is_let_go_of() -> Result<()> {
    let scene = Scene::with_appservice("stopfirst")?;
    let client = scene.client();
    let (deployment, pod) = host_objects(&scene);
    client.create(&deployment)?;
    // Pods are refused until the namespace's account is there; no controller makes it here.
    client.create(&json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": { "name": "default", "namespace": scene.namespace },
    }))?;
    client.create(&pod)?;
    let named = format!("{}/kybern", scene.namespace);
    let mut command = Command::new(kybern_testcluster::kybern()?);
    command.args(uninstall(
        &scene,
        &["--keep-plugins", "--yes", "--stop-deployment", &named],
    )?);
    let folder = tempfile::tempdir()?;
    let mut running = Process::start("uninstall", command, folder.path())?;
    scene.wait(&Object::of(&deployment)?, |d| d["spec"]["replicas"] == 0)?;
    // It waits for the Pod; meanwhile everything is held.
    crate::scene::pass_time(std::time::Duration::from_secs(2))?;
    running.alive()?;
    let held = client.get(&plugin(&scene))?["metadata"]["finalizers"].clone();
    assert_eq!(held, json!(["kybern.dev/release"]));
    client.delete_with(&Object::of(&pod)?, &json!({ "gracePeriodSeconds": 0 }))?;
    let status = until("uninstall ends", SOON, || {
        Ok(Progress::from(running.exited()?))
    })?;
    assert!(status.success(), "{}", running.tail());
    assert!(
        running.tail().contains("scaled Deployment"),
        "{}",
        running.tail()
    );
    Ok(())
}

#[test]
fn a_deployment_that_is_not_there_stops_nothing() -> Result<()> {
    let mut scene = Scene::with_appservice("stopnone")?;
    scene.kill_host();
    let named = format!("{}/nobody", scene.namespace);
    let told = run(&uninstall(
        &scene,
        &["--keep-plugins", "--yes", "--stop-deployment", &named],
    )?)?;
    assert!(told.contains("nothing to stop"), "{told}");
    assert!(told.contains("let go of Plugin"), "{told}");
    let wrong = run(&uninstall(&scene, &["--stop-deployment", "nobody"])?).unwrap_err();
    assert!(wrong.to_string().contains("NAMESPACE/NAME"), "{wrong}");
    Ok(())
}
