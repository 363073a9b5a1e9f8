//! The annotation `kybern.dev/plugin-revision`: answered loudly where it cannot be followed.

use crate::scene::{SOON, Scene, pass_time};
use anyhow::Result;
use serde_json::{Value, json};
use std::time::Duration;

fn pin(scene: &Scene, name: &str, digest: &Value) -> Result<()> {
    let (app, ..) = scene.app_objects(name);
    scene.client().merge_patch(
        &app,
        &json!({ "metadata": { "annotations": { "kybern.dev/plugin-revision": digest } } }),
    )?;
    Ok(())
}

#[test]
fn a_cr_that_asks_for_another_revision_is_told_so_and_left_alone() -> Result<()> {
    let scene = Scene::with_appservice("revision")?;
    let (app, deployment, _) = scene.create_app("web", 1)?;
    pin(&scene, "web", &json!(format!("sha256:{}", "0".repeat(64))))?;
    let condition = scene.ready_reason(&app, "AppService", |c| c["reason"] == "RevisionUnknown")?;
    assert_eq!(condition["status"], "False", "{condition}");
    let message = condition["message"].as_str().unwrap_or_default();
    for word in ["kybern.dev/plugin-revision", "remove", "sha256:000"] {
        assert!(message.contains(word), "`{word}` in: {message}");
    }
    let event = scene.event("web", "RevisionUnknown")?;
    assert_eq!(event["type"], "Warning", "{event}");
    scene
        .client()
        .merge_patch(&app, &json!({ "spec": { "size": 4 } }))?;
    pass_time(Duration::from_secs(2))?;
    assert_eq!(scene.client().get(&deployment)?["spec"]["replicas"], 1);
    scene.converged()?;

    // The cure that the message names.
    pin(&scene, "web", &Value::Null)?;
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 4)?;
    scene.ready_reason(&app, "AppService", |c| c["reason"] != "RevisionUnknown")?;

    // Naming the revision that runs changes nothing.
    let plugin =
        kybern_testcluster::Object::cluster("kybern.dev/v1alpha1", "Plugin", &scene.namespace);
    let digest = scene.client().get(&plugin)?["status"]["active"]["digest"].clone();
    pin(&scene, "web", &digest)?;
    scene
        .client()
        .merge_patch(&app, &json!({ "spec": { "size": 2 } }))?;
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 2)?;

    // What cannot be followed does not hold a deletion up.
    pin(&scene, "web", &json!("sha256:1"))?;
    scene.ready_reason(&app, "AppService", |c| c["reason"] == "RevisionUnknown")?;
    scene.client().delete(&app)?;
    scene.client().wait_gone(&app, SOON)
}
