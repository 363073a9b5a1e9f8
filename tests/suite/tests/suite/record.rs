//! What a plugin keeps, and what it does to objects that are not its children, on a real API server.

use crate::scene::{SOON, Scene, kybern};
use anyhow::{Context, Result};
use kybern_testcluster::{Object, guest};
use serde_json::{Value, json};

/// Kept with the count; it must not be seen anywhere.
const HIDDEN: &str = "not-to-be-shown";

/// A registration of the guest that puts Deployments to sleep, not yet created.
pub(crate) fn keeper(scene: &Scene) -> Result<Value> {
    Ok(json!({
        "apiVersion": "kybern.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": { "name": scene.namespace },
        "spec": {
            "class": scene.class,
            "resources": [{ "group": "keeper.example.com", "version": "v1", "kind": "Sleeper" }],
            "source": { "file": guest("kybern-keeper")? },
            "grants": {
                "read": [
                    { "group": "apps", "kinds": ["Deployment"] },
                    { "group": "", "kinds": ["Pod"] },
                ],
                "write": [
                    { "group": "apps", "kinds": ["Deployment"], "verbs": ["apply"], "subresources": ["scale"] },
                    { "group": "", "kinds": ["Pod"], "verbs": [], "subresources": ["eviction"] },
                    { "group": "", "kinds": ["ConfigMap"], "verbs": ["patch"] },
                ],
                "state": true,
            },
        },
    }))
}

/// A host with the guest that puts Deployments to sleep.
pub(crate) fn with_keeper(name: &str) -> Result<(Scene, Object)> {
    let mut scene = Scene::new(name)?;
    let registration = keeper(&scene)?;
    scene.grant(std::slice::from_ref(&registration))?;
    scene.start_host()?;
    let plugin = scene.register(&registration)?;
    Ok((scene, plugin))
}

fn sleeper(scene: &Scene) -> Result<(Object, Object)> {
    let manifest = json!({
        "apiVersion": "keeper.example.com/v1", "kind": "Sleeper",
        "metadata": { "name": "web", "namespace": scene.namespace },
        "spec": { "secret": HIDDEN },
    });
    scene.client().create(&manifest)?;
    let deployment = scene.object("apps/v1", "Deployment", "web");
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 1)?;
    Ok((Object::of(&manifest)?, deployment))
}

fn idle(scene: &Scene, sleeper: &Object, idle: bool) -> Result<()> {
    let patch = json!({ "spec": { "idle": idle } });
    scene.client().merge_patch(sleeper, &patch)?;
    Ok(())
}

fn records(scene: &Scene) -> Result<Vec<Value>> {
    let mut secrets = scene
        .client()
        .list("v1", "Secret", Some(&scene.namespace))?;
    secrets.retain(|secret| secret["type"] == "kybern.dev/record");
    Ok(secrets)
}

fn record(scene: &Scene) -> Result<Object> {
    let records = records(scene)?;
    let name = records
        .first()
        .and_then(|record| record["metadata"]["name"].as_str())
        .context("there is a record")?;
    Ok(scene.object("v1", "Secret", name))
}

#[test]
fn idle_and_back_restores_the_former_count_across_a_restart() -> Result<()> {
    let (mut scene, _) = with_keeper("idle")?;
    let (sleeper, deployment) = sleeper(&scene)?;
    let scale = json!({ "spec": { "replicas": 7 } });
    scene.client().merge_patch(&deployment, &scale)?;
    scene.converged()?;
    assert_eq!(scene.client().get(&deployment)?["spec"]["replicas"], 7);
    assert_eq!(records(&scene)?, Vec::<Value>::new(), "nothing is kept yet");

    scene.stop_host()?;
    idle(&scene, &sleeper, true)?;
    let kubeconfig = scene.plane.admin_kubeconfig()?;
    let told = kybern(&[
        "explain",
        "--kubeconfig",
        &kubeconfig.to_string_lossy(),
        &scene.namespace,
        &format!("{}/web", scene.namespace),
    ])?;
    assert!(told.contains("state: would be written"), "{told}");
    assert!(!told.contains(HIDDEN), "{told}");

    scene.start_host()?;
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 0)?;
    scene.converged()?;
    let kept = scene.client().get(&record(&scene)?)?;
    let owner = &kept["metadata"]["ownerReferences"][0];
    assert_eq!(
        owner["uid"],
        scene.client().get(&sleeper)?["metadata"]["uid"]
    );
    let log = std::fs::read_to_string(scene.host().log())?;
    scene.kill_host();
    scene.start_host()?;
    scene.converged()?;
    let record_now = scene.client().get(&record(&scene)?)?;
    assert_eq!(record_now, kept, "not a write too many");

    scene.kill_host();
    idle(&scene, &sleeper, false)?;
    scene.start_host()?;
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 7)?;
    scene.converged()?;
    assert_ne!(
        scene.client().get(&record(&scene)?)?["data"],
        kept["data"],
        "forgotten once it is restored"
    );
    let log = log + &std::fs::read_to_string(scene.host().log())?;
    assert!(!log.contains(HIDDEN), "the log has it");
    Ok(())
}

#[test]
fn a_record_that_somebody_changed_is_told_and_deleted_with_the_registration() -> Result<()> {
    let (mut scene, plugin) = with_keeper("edited")?;
    let (sleeper, deployment) = sleeper(&scene)?;
    idle(&scene, &sleeper, true)?;
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 0)?;
    scene.converged()?;
    let record = record(&scene)?;
    let edit = json!({ "data": { "record": "e30=" } });
    scene.client().merge_patch(&record, &edit)?;
    scene.kill_host();
    idle(&scene, &sleeper, false)?;
    scene.start_host()?;
    scene.ready_reason(&sleeper, "Sleeper", |c| c["reason"] == "RecordUnreadable")?;
    scene.event("web", "RecordUnreadable")?;
    assert_eq!(scene.client().get(&deployment)?["spec"]["replicas"], 0);
    // Forgotten on purpose: it goes on with what it sees.
    scene.client().delete(&record)?;
    idle(&scene, &sleeper, true)?;
    // Nobody rolls Deployments out here.
    scene.ready_reason(&sleeper, "Sleeper", |c| c["reason"] == "Progressing")?;

    let scale = json!({ "spec": { "replicas": 3 } });
    scene.client().merge_patch(&deployment, &scale)?;
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 0)?;
    scene.converged()?;
    assert_eq!(records(&scene)?.len(), 1);
    scene.client().delete(&plugin)?;
    scene.client().wait_gone(&plugin, SOON)?;
    assert_eq!(records(&scene)?, Vec::<Value>::new());
    assert!(scene.client().find(&deployment)?.is_some(), "orphaned");
    Ok(())
}

/// A running Pod, which no kubelet runs.
pub(crate) fn pod(scene: &Scene, name: &str) -> Result<Object> {
    let manifest = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": scene.namespace, "labels": { "app": name } },
        "spec": {
            "containers": [{ "name": "c", "image": "i" }],
            "terminationGracePeriodSeconds": 0,
        },
    });
    scene.client().create(&manifest)?;
    let pod = Object::of(&manifest)?;
    let status = json!({ "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] } });
    scene.client().merge_patch_status(&pod, &status)?;
    Ok(pod)
}

#[test]
fn pods_are_evicted_as_budgets_allow_and_others_scaled_once() -> Result<()> {
    let (scene, _) = with_keeper("evict")?;
    let client = scene.client();
    let (sleeper, _) = sleeper(&scene)?;
    // Pods are refused until the namespace's account is there; no controller makes it here.
    client.create(&json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": { "name": "default", "namespace": scene.namespace },
    }))?;
    let [held, free] = [pod(&scene, "held")?, pod(&scene, "free")?];
    let labels = json!({ "matchLabels": { "app": "held" } });
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": { "name": "held", "namespace": scene.namespace },
        "spec": { "minAvailable": 1, "selector": labels },
    });
    client.create(&budget)?;
    let budget = Object::of(&budget)?;
    // As its controller would say.
    let allow = |number: u32| {
        let status = json!({ "status": { "observedGeneration": 1, "disruptionsAllowed": number,
            "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1 } });
        client.merge_patch_status(&budget, &status)
    };
    allow(0)?;
    client.create(&json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "guest", "namespace": scene.namespace },
        "spec": {
            "replicas": 2, "selector": { "matchLabels": { "app": "guest" } },
            "template": {
                "metadata": { "labels": { "app": "guest" } },
                "spec": { "containers": [{ "name": "c", "image": "i" }] },
            },
        },
    }))?;
    let guest = scene.object("apps/v1", "Deployment", "guest");
    client.merge_patch(&sleeper, &json!({ "spec": { "drain": true, "guest": 5 } }))?;
    client.wait_gone(&free, SOON)?;
    let condition =
        scene.ready_reason(&sleeper, "Sleeper", |c| c["reason"] == "EvictionBlocked")?;
    let message = condition["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("held") && !message.contains("free"),
        "{message}"
    );
    scene.wait(&guest, |d| d["spec"]["replicas"] == 5)?;
    assert!(client.find(&held)?.is_some());
    allow(1)?;
    client.wait_gone(&held, SOON)?;
    scene.ready_reason(&sleeper, "Sleeper", |c| c["reason"] == "Progressing")?;
    scene.converged()?;
    Ok(())
}
