//! Settings from Secrets and ConfigMaps on a real API server.

use crate::asking;
use crate::effects::Server;
use crate::scene::{Scene, kybern};
use anyhow::{Result, ensure};
use kybern_testcluster::Object;
use serde_json::{Value, json};

/// In a Secret; it must not be seen anywhere.
const HIDDEN: &str = "not-to-be-shown-at-all";

fn holding(scene: &Scene, kind: &str, name: &str, text: &str) -> Value {
    let field = if kind == "Secret" {
        "stringData"
    } else {
        "data"
    };
    json!({
        "apiVersion": "v1", "kind": kind,
        "metadata": { "name": name, "namespace": scene.namespace },
        field: { "settings.yaml": text },
    })
}

/// What the host says to whoever asks it.
fn told(scene: &Scene, plugin: &Object) -> Result<String> {
    let kubeconfig = scene.plane.admin_kubeconfig()?;
    let kubeconfig = kubeconfig.to_string_lossy();
    let of = format!("{}/web", scene.namespace);
    let explained = kybern(&["explain", "--kubeconfig", &kubeconfig, &plugin.name, &of])?;
    let object = scene.client().get(plugin)?;
    let events = scene.client().list("events.k8s.io/v1", "Event", None)?;
    let mut log = std::fs::read_to_string(scene.host().log())?;
    let host = format!("--host={}", asking::socket(scene));
    for table in ["passes", "desired", "plugins", "watches", "memory"] {
        let statement = format!("SELECT * FROM kybern.{table}");
        log += &kybern(&["sql", &host, "-o", "json", &statement])?;
    }
    log += &kybern(&["explain", &plugin.name, &of, &host])?;
    Ok(format!("{explained}\n{object}\n{}\n{log}", json!(events)))
}

#[test]
fn settings_come_from_objects_and_follow_them_and_are_told_to_nobody() -> Result<()> {
    let server = Server::start()?;
    let mut scene = Scene::new("given")?;
    let mut registration = scene.caller(&server)?;
    let at =
        |name: &str| json!({ "namespace": scene.namespace, "name": name, "key": "settings.yaml" });
    registration["spec"]["settings"] = json!({ "greeting": "plain" });
    registration["spec"]["settingsFrom"] =
        json!([{ "configMapRef": at("open") }, { "secretRef": at("closed") }]);
    scene.grant(std::slice::from_ref(&registration))?;
    scene.start_host_with(&[&format!("--socket={}", asking::socket(&scene))])?;
    let plugin = Object::of(&registration)?;
    scene
        .client()
        .create(&holding(&scene, "ConfigMap", "open", "greeting: hello"))?;
    scene.client().create(&registration)?;
    let missing = crate::scene::condition(scene.client(), &plugin, "Ready", |c| {
        c["reason"] == "SettingsUnavailable"
    })?;
    let named = format!(
        "spec.settingsFrom[1]: Secret {}/closed does not exist",
        scene.namespace
    );
    let message = missing["message"].as_str().unwrap_or_default();
    ensure!(message.starts_with(&named), "{message}");

    let secret = holding(&scene, "Secret", "closed", &format!("token: {HIDDEN}"));
    scene.client().create(&secret)?;
    scene.plugin_condition(&plugin, "Ready", "True")?;
    let call = scene.call("web", &json!({ "url": server.url("/ok") }))?;
    scene.said(&call, &format!("hello with {} letters", HIDDEN.len()))?;
    ensure!(!told(&scene, &plugin)?.contains(HIDDEN), "it is told");

    // A change is a change of settings, for every resource.
    let secret = Object::of(&secret)?;
    let set = |text: &str| {
        let data = json!({ "stringData": { "settings.yaml": text } });
        scene.client().merge_patch(&secret, &data)
    };
    set("{greeting: bye, token: four}")?;
    scene.said(&call, "bye with 4 letters")?;

    // What does not fit is told in words of the schema, and what fitted goes on.
    set(&format!("{{greeting: bad, days: {HIDDEN}, {HIDDEN}: 1}}"))?;
    let degraded = scene.plugin_condition(&plugin, "Degraded", "True")?;
    assert_eq!(degraded["reason"], "InvalidSettings");
    let message = degraded["message"].as_str().unwrap_or_default();
    ensure!(message.contains("/properties/days/type"), "{message}");
    let log = std::fs::read_to_string(scene.host().log())?;
    let object = scene.client().get(&plugin)?.to_string();
    ensure!(
        !log.contains(HIDDEN) && !object.contains(HIDDEN),
        "it is told"
    );
    scene.client().delete(&secret)?;
    crate::scene::condition(scene.client(), &plugin, "Degraded", |c| {
        c["reason"] == "SettingsUnavailable"
    })?;
    let again = scene.client().get(&call)?;
    ensure!(
        again["status"]["said"]
            .as_str()
            .is_some_and(|said| said.contains("bye with 4"))
    );
    scene.plugin_condition(&plugin, "Ready", "True")?;
    Ok(())
}
