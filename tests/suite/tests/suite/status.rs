//! Conditions where a kind's schema does not keep them, on a real API server.

use crate::lifecycle::own_plane;
use crate::scene::{Language, Scene};
use anyhow::Result;
use kybern_testcluster::Object;
use serde_json::{Value, json};

crate::scene::in_each_language! {
    conditions_that_a_schema_does_not_keep_are_told_and_not_written,
}

/// Where the conditions are in AppService's definition.
const CONDITIONS: &str =
    "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/conditions";

fn conditions_that_a_schema_does_not_keep_are_told_and_not_written(
    language: Language,
) -> Result<()> {
    let mut scene = Scene::on(own_plane()?, "unsupported")?;
    let registration = scene.appservice_in(language)?;
    scene.grant(std::slice::from_ref(&registration))?;
    scene.start_host()?;
    let plugin = scene.register(&registration)?;
    let (web, ..) = scene.create_app("web", 1)?;
    scene.ready_reason(&web, "web", |c| c["reason"] == "Progressing")?;

    let api = "apiextensions.k8s.io/v1";
    let crd = "appservices.app.example.com";
    let crd = Object::cluster(api, "CustomResourceDefinition", crd);
    let full = scene.client().get(&crd)?;
    let remove = json!([{ "op": "remove", "path": CONDITIONS }]);
    scene.client().json_patch(&crd, &remove)?;
    let told = scene.plugin_condition(&plugin, "StatusUnsupported", "True")?;
    let message = told["message"].as_str().unwrap_or_default();
    for word in ["AppService", "status.conditions", "lastTransitionTime"] {
        assert!(message.contains(word), "`{word}` in: {message}");
    }
    assert!(!message.contains("observedGeneration"), "{message}");
    let other = scene.app("other", 1);
    scene.client().create(&other)?;
    let other = Object::of(&other)?;
    scene.wait(&other, |app| app["status"]["observedGeneration"] == 1)?;
    // Nothing is written again and again for what is dropped.
    scene.converged()?;
    let live = scene.client().get(&other)?;
    assert_eq!(live["status"].get("conditions"), None, "{live:#}");

    let schema = full.pointer(CONDITIONS).cloned();
    let add = json!([{ "op": "add", "path": CONDITIONS, "value": schema }]);
    scene.client().json_patch(&crd, &add)?;
    scene.wait(&plugin, |plugin: &Value| {
        let all = plugin["status"]["conditions"].as_array();
        all.is_some_and(|all| all.iter().all(|c| c["type"] != "StatusUnsupported"))
    })?;
    scene.ready_reason(&other, "other", |c| c["reason"] == "Progressing")?;
    scene.converged()
}
