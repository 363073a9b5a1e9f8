//! Children follow the CR, are repaired, and keep what is not ours.

use crate::scene::{Language, SOON, Scene, folder};
use anyhow::{Context, Result};
use kybern_testcluster::guest;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

crate::scene::in_each_language! {
    update_of_size_image_and_ports_reaches_both_children,
    a_manual_edit_of_an_owned_field_is_reverted,
    an_edit_made_while_the_host_was_down_is_reverted,
    foreign_labels_annotations_and_fields_are_kept,
    a_deleted_child_comes_back,
    a_child_that_the_plan_no_longer_names_is_pruned,
    status_follows_the_deployment,
    a_deployment_of_the_same_name_that_is_not_ours_is_not_touched,
    children_of_a_kind_that_a_new_version_no_longer_asks_for_are_still_pruned,
}

fn spec<'a>(value: &'a Value, path: &str) -> &'a Value {
    value.pointer(path).unwrap_or(&Value::Null)
}

fn update_of_size_image_and_ports_reaches_both_children(language: Language) -> Result<()> {
    let scene = Scene::with_appservice_in(language, "update")?;
    let (app, deployment, service) = scene.create_app("web", 2)?;
    let before = scene.client().get(&service)?;
    scene.client().merge_patch(
        &app,
        &json!({ "spec": { "size": 3, "image": "nginx:1.27", "ports": [
            { "port": 80, "targetPort": 80 }, { "port": 443, "targetPort": 8443 },
        ] } }),
    )?;
    scene.wait(&deployment, |d| {
        *spec(d, "/spec/replicas") == json!(3)
            && *spec(d, "/spec/template/spec/containers/0/image") == json!("nginx:1.27")
            && spec(d, "/spec/template/spec/containers/0/ports")
                .as_array()
                .is_some_and(|p| p.len() == 2)
    })?;
    let after = scene.wait(&service, |s| {
        spec(s, "/spec/ports")
            .as_array()
            .is_some_and(|p| p.len() == 2)
    })?;
    for path in ["/spec/clusterIP", "/spec/ports/0/nodePort", "/metadata/uid"] {
        assert_eq!(
            spec(&before, path),
            spec(&after, path),
            "{path} survives an update"
        );
    }
    Ok(())
}

fn a_manual_edit_of_an_owned_field_is_reverted(language: Language) -> Result<()> {
    let scene = Scene::with_appservice_in(language, "revert")?;
    let (_, deployment, _) = scene.create_app("web", 2)?;
    scene
        .client()
        .merge_patch(&deployment, &json!({ "spec": { "replicas": 9 } }))?;
    scene.wait(&deployment, |d| *spec(d, "/spec/replicas") == json!(2))?;
    Ok(())
}

fn an_edit_made_while_the_host_was_down_is_reverted(language: Language) -> Result<()> {
    let mut scene = Scene::with_appservice_in(language, "downedit")?;
    let (_, deployment, service) = scene.create_app("web", 2)?;
    scene.converged()?;
    scene.stop_host()?;
    scene
        .client()
        .merge_patch(&deployment, &json!({ "spec": { "replicas": 9 } }))?;
    scene.client().delete(&service)?;
    scene.start_host()?;
    scene.wait(&deployment, |d| *spec(d, "/spec/replicas") == json!(2))?;
    scene.wait(&service, |_| true)?;
    Ok(())
}

fn foreign_labels_annotations_and_fields_are_kept(language: Language) -> Result<()> {
    let scene = Scene::with_appservice_in(language, "foreign")?;
    let (app, deployment, _) = scene.create_app("web", 2)?;
    scene.client().merge_patch(
        &deployment,
        &json!({
            "metadata": { "labels": { "team": "a" }, "annotations": { "note": "b" } },
            "spec": { "minReadySeconds": 7 },
        }),
    )?;
    scene
        .client()
        .merge_patch(&app, &json!({ "spec": { "size": 4 } }))?;
    let after = scene.wait(&deployment, |d| *spec(d, "/spec/replicas") == json!(4))?;
    assert_eq!(after["metadata"]["labels"]["team"], "a");
    assert_eq!(after["metadata"]["annotations"]["note"], "b");
    assert_eq!(after["spec"]["minReadySeconds"], 7);
    Ok(())
}

fn a_deleted_child_comes_back(language: Language) -> Result<()> {
    let scene = Scene::with_appservice_in(language, "deleted")?;
    let (_, deployment, _) = scene.create_app("web", 1)?;
    let uid = scene.client().get(&deployment)?["metadata"]["uid"].clone();
    scene.client().delete(&deployment)?;
    scene.wait(&deployment, |d| d["metadata"]["uid"] != uid)?;
    Ok(())
}

fn a_child_that_the_plan_no_longer_names_is_pruned(language: Language) -> Result<()> {
    let scene = Scene::with_appservice_in(language, "prune")?;
    let (app, deployment, service) = scene.create_app("web", 1)?;
    // A child of somebody else's with the same owner must stay: owner uid alone is not enough.
    let owner = scene.client().get(&deployment)?["metadata"]["ownerReferences"].clone();
    let mine = scene.client().create(&json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": "by-hand", "namespace": scene.namespace, "ownerReferences": owner },
        "spec": { "ports": [{ "port": 1 }] },
    }))?;
    scene
        .client()
        .merge_patch(&app, &json!({ "spec": { "ports": [] } }))?;
    scene.client().wait_gone(&service, SOON)?;
    scene.converged()?;
    let by_hand = scene.object("v1", "Service", "by-hand");
    assert_eq!(
        scene.client().get(&by_hand)?["metadata"]["uid"],
        mine["metadata"]["uid"]
    );
    Ok(())
}

fn status_follows_the_deployment(language: Language) -> Result<()> {
    let scene = Scene::with_appservice_in(language, "status")?;
    let (app, deployment, _) = scene.create_app("web", 2)?;
    scene.client().merge_patch_status(
        &deployment,
        &json!({ "status": { "observedGeneration": 1, "replicas": 2, "readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1, "unavailableReplicas": 1 } }),
    )?;
    let seen = scene.wait(&app, |a| {
        a["status"]["readyReplicas"] == 1 && a["status"]["replicas"] == 2
    })?;
    assert_eq!(
        seen["status"]["observedGeneration"],
        seen["metadata"]["generation"]
    );
    Ok(())
}

fn a_deployment_of_the_same_name_that_is_not_ours_is_not_touched(language: Language) -> Result<()> {
    let scene = Scene::with_appservice_in(language, "notours")?;
    let foreign = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "web", "namespace": scene.namespace },
        "spec": {
            "replicas": 1, "selector": { "matchLabels": { "x": "y" } },
            "template": { "metadata": { "labels": { "x": "y" } }, "spec": { "containers": [{ "name": "c", "image": "i" }] } },
        },
    });
    let created = scene.client().create(&foreign)?;
    let app = scene.app("web", 2);
    scene.client().create(&app)?;
    let (app, deployment, _) = scene.app_objects("web");
    let condition = scene.ready_reason(&app, "AppService", |c| c["status"] == "False")?;
    let message = condition["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("Deployment"),
        "the message names the object: {message}"
    );
    let event = scene.event("web", condition["reason"].as_str().unwrap_or_default())?;
    assert_eq!(event["type"], "Warning");
    let after = scene.client().get(&deployment)?;
    assert_eq!(
        after["metadata"]["resourceVersion"],
        created["metadata"]["resourceVersion"]
    );
    Ok(())
}

/// A component whose manifest asks for no Services: the kind that it names instead is not served.
fn without_services(wasm: &[u8]) -> Vec<u8> {
    let (asked, instead) = (br#""kind":"Service""#, br#""kind":"Nothing""#);
    let windows = wasm.windows(asked.len());
    let places: Vec<usize> = windows
        .enumerate()
        .filter(|(_, window)| *window == asked)
        .map(|(place, _)| place)
        .collect();
    assert!(!places.is_empty(), "the manifest asks for Services");
    let mut other = wasm.to_vec();
    for place in places {
        other[place..place + instead.len()].copy_from_slice(instead);
    }
    other
}

/// Copies a bundle; its operator file there, and what is in it.
fn copied(from: &Path, to: &Path) -> Result<(PathBuf, String)> {
    std::fs::create_dir_all(to.join("templates"))?;
    let templates = ["deployment", "service"].map(|name| format!("templates/{name}.yaml"));
    for file in ["operator.yaml", "crd.yaml"]
        .iter()
        .copied()
        .chain(templates.iter().map(String::as_str))
    {
        std::fs::copy(from.join(file), to.join(file))?;
    }
    let operator = to.join("operator.yaml");
    let text = std::fs::read_to_string(&operator)?;
    Ok((operator, text))
}

/// The same operator, which makes no Services.
fn without_service(operator: &str) -> Result<Vec<u8>> {
    let begin = operator.find("    - cmd: jinja\n      file: templates/service.yaml");
    let end = operator.find("  status:\n");
    let (begin, end) = (begin.context("a Service")?, end.context("a status")?);
    Ok([&operator[..begin], &operator[end..]].concat().into_bytes())
}

fn children_of_a_kind_that_a_new_version_no_longer_asks_for_are_still_pruned(
    language: Language,
) -> Result<()> {
    let mut scene = Scene::new("leftkind")?;
    let mut registration = scene.appservice_in(language)?;
    let place = scene
        .plane
        .folder()
        .join(format!("{}-code", scene.namespace));
    let without = match language {
        Language::Rust => {
            let wasm = std::fs::read(guest("appservice")?)?;
            std::fs::write(&place, &wasm)?;
            registration["spec"]["source"] = json!({ "file": place });
            (place, without_services(&wasm))
        }
        Language::Yaml => {
            let operator = copied(&folder("plugins/bundles/appservice"), &place)?;
            registration["spec"]["settings"]["bundle"] = json!({ "file": place });
            (operator.0, without_service(&operator.1)?)
        }
    };
    scene.grant(std::slice::from_ref(&registration))?;
    scene.start_host()?;
    let plugin = scene.register(&registration)?;
    let (app, deployment, service) = scene.create_app("web", 1)?;
    scene.converged()?;
    scene.stop_host()?;
    std::fs::write(without.0, without.1)?;
    let ports = json!({ "spec": { "ports": [] } });
    scene.client().merge_patch(&app, &ports)?;
    scene.start_host()?;
    scene.client().wait_gone(&service, SOON)?;
    assert!(scene.client().find(&deployment)?.is_some());
    scene.converged()?;
    // It is known as long as it is granted.
    let written = |plugin: &Value| plugin["status"]["written"].to_string();
    let status = scene.client().get(&plugin)?;
    assert!(written(&status).contains("Service"), "{status}");
    scene.kill_host();
    scene.start_host()?;
    scene.converged()?;
    assert_eq!(written(&scene.client().get(&plugin)?), written(&status));
    Ok(())
}
