//! What a plugin keeps, on a real API server.

use crate::scene::{SOON, Scene, kybern};
use anyhow::{Context, Result};
use kybern_testcluster::{Object, guest};
use serde_json::{Value, json};

/// Kept with the count; it must not be seen anywhere.
const HIDDEN: &str = "not-to-be-shown";

/// A host with the guest that puts Deployments to sleep.
fn with_keeper(name: &str) -> Result<(Scene, Object)> {
    let mut scene = Scene::new(name)?;
    let registration = json!({
        "apiVersion": "kybern.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": { "name": scene.namespace },
        "spec": {
            "class": scene.class,
            "resources": [{ "group": "keeper.example.com", "version": "v1", "kind": "Sleeper" }],
            "source": { "file": guest("kybern-keeper")? },
            "grants": {
                "read": [{ "group": "apps", "kinds": ["Deployment"] }],
                "write": [{ "group": "apps", "kinds": ["Deployment"], "verbs": ["apply"] }],
                "state": true,
            },
        },
    });
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
