//! Bad input: each a condition whose message says what to do; the host and other plugins go on.

use crate::scene::{SOON, Scene, under_way};
use anyhow::Result;
use kybern_testcluster::{Object, guest};
use serde_json::{Value, json};

/// Submits AppService's registration after a change and returns its Ready condition, which is False.
fn refused(scene: &Scene, change: impl FnOnce(&mut Value)) -> Result<Value> {
    let mut registration = scene.appservice()?;
    change(&mut registration);
    let object = scene.submit(&registration)?;
    let condition = crate::scene::condition(scene.client(), &object, "Ready", |c| {
        c["status"] == "False" && !under_way(c)
    })?;
    scene.client().delete(&object)?;
    scene.client().wait_gone(&object, SOON)?;
    Ok(condition)
}

fn has(condition: &Value, reason: &str, words: &[&str]) {
    assert_eq!(condition["reason"], reason, "{condition}");
    let message = condition["message"].as_str().unwrap_or_default();
    for word in words {
        assert!(message.contains(word), "`{word}` in: {message}");
    }
}

#[test]
fn each_fault_of_a_registration_is_a_condition_that_says_what_to_do() -> Result<()> {
    let mut scene = Scene::new("badinput")?;
    scene.start_host()?;
    let folder = scene
        .plane
        .folder()
        .join(format!("{}-files", scene.namespace));
    std::fs::create_dir_all(&folder)?;

    let condition = refused(&scene, |r| {
        r["spec"]["source"] = json!({ "file": "/nowhere/missing.wasm" })
    })?;
    has(&condition, "SourceUnavailable", &["/nowhere/missing.wasm"]);

    let text = folder.join("text.wasm");
    std::fs::write(&text, "hello")?;
    let condition = refused(&scene, |r| r["spec"]["source"] = json!({ "file": text }))?;
    has(&condition, "NotAComponent", &["component"]);

    let condition = refused(&scene, |r| {
        r["spec"]["digest"] = json!(format!("sha256:{}", "0".repeat(64)))
    })?;
    has(&condition, "DigestMismatch", &["spec.digest", "sha256:"]);

    let old = folder.join("old.wasm");
    std::fs::write(&old, older_world(&std::fs::read(guest("appservice")?)?))?;
    let condition = refused(&scene, |r| r["spec"]["source"] = json!({ "file": old }))?;
    has(
        &condition,
        "WrongWorld",
        &["kybern:operator@0.1.0", "kybern:operator@0.9.0"],
    );

    let condition = refused(&scene, |r| {
        r["spec"]["settings"] = json!({ "colour": "red" })
    })?;
    has(&condition, "InvalidSettings", &["spec.settings.colour"]);

    let condition = refused(&scene, |r| {
        r["spec"]["source"] = json!({ "http": { "url": "x" } });
    })?;
    has(
        &condition,
        "InvalidSource",
        &["spec.source.http.url", "`x`"],
    );

    let condition = refused(&scene, |r| {
        r["spec"]["serviceAccountName"] = json!("system:admin");
    })?;
    has(
        &condition,
        "InvalidServiceAccount",
        &["spec.serviceAccountName", "system:admin", "NAMESPACE/NAME"],
    );

    let condition = refused(&scene, |r| {
        r["spec"]["resources"][0]["role"] = json!("Decorator");
    })?;
    has(&condition, "NotSupportedYet", &["role: Decorator"]);

    let condition = refused(&scene, |r| {
        let at = json!({ "name": "s", "key": "k" });
        r["spec"]["grants"]["secrets"] = json!([{ "name": "s", "secretRef": at, "hosts": [] }]);
    })?;
    has(
        &condition,
        "InvalidGrant",
        &["spec.grants.secrets", "names no hosts"],
    );

    let condition = refused(&scene, |r| {
        let at = json!({ "namespace": "n", "name": "no name", "key": "k" });
        r["spec"]["settingsFrom"] = json!([{ "secretRef": at }]);
    })?;
    has(&condition, "InvalidSettings", &["spec.settingsFrom[0]"]);

    let condition = refused(&scene, |r| {
        r["spec"]["grants"]["write"] = json!([{ "group": "rbac.authorization.k8s.io", "kinds": ["ClusterRole"], "verbs": ["apply"] }]);
    })?;
    has(&condition, "InvalidGrant", &["ClusterRole", "never"]);

    let condition = refused(&scene, |r| {
        r["spec"]["limits"] = json!({ "memory": "4 Gi" })
    })?;
    has(&condition, "InvalidLimits", &["spec.limits.memory", "4 Gi"]);

    // A query can be wrong only once the plugin's own kind is served.
    let served = scene.register(&scene.appservice()?)?;
    scene.client().delete(&served)?;
    scene.client().wait_gone(&served, SOON)?;
    let condition = refused(&scene, |r| r["spec"]["grants"]["read"] = json!([]))?;
    has(&condition, "InvalidQuery", &["deployment", "grant"]);

    // After all that a good registration still works.
    let registration = scene.appservice()?;
    let object = scene.register(&registration)?;
    scene.create_app("web", 1)?;

    // What cannot even be read is told too, and can go.
    let grants = |scope: &str| {
        let mut grants = registration["spec"]["grants"].clone();
        grants["write"][0]["scope"] = json!(scope);
        json!({ "spec": { "grants": grants } })
    };
    scene.client().merge_patch(&object, &grants("Everywhere"))?;
    let condition = scene.plugin_condition(&object, "Ready", "False")?;
    has(
        &condition,
        "InvalidSpec",
        &["spec.grants.write[0].scope", "`Everywhere`", "`Own`"],
    );
    scene.client().merge_patch(&object, &grants("Own"))?;
    scene.plugin_condition(&object, "Ready", "True")?;
    scene.client().merge_patch(&object, &grants("Everywhere"))?;
    scene.plugin_condition(&object, "Ready", "False")?;
    scene.client().delete(&object)?;
    scene.client().wait_gone(&object, SOON)
}

/// The same component, built for a version of the interface that does not exist.
fn older_world(wasm: &[u8]) -> Vec<u8> {
    let (from, to) = (b"kybern:operator", b"@0.1.0");
    let mut changed = wasm.to_vec();
    let mut at = 0;
    while let Some(found) = changed[at..].windows(to.len()).position(|w| w == to) {
        let place = at + found;
        let before = &changed[place.saturating_sub(40)..place];
        if before.windows(from.len()).any(|w| w == from) {
            changed[place..place + to.len()].copy_from_slice(b"@0.9.0");
        }
        at = place + to.len();
    }
    changed
}

#[test]
fn two_registrations_for_one_kind_are_both_refused() -> Result<()> {
    let mut scene = Scene::new("twokinds")?;
    scene.start_host()?;
    let first = scene.appservice()?;
    let first_object = scene.register(&first)?;
    let mut second = first.clone();
    second["metadata"]["name"] = json!(format!("{}-second", scene.namespace));
    scene.client().create(&second)?;
    let second_object = Object::of(&second)?;
    let condition = scene.plugin_condition(&second_object, "Ready", "False")?;
    has(&condition, "KindTaken", &[&scene.namespace, "selector"]);
    scene.client().delete(&second_object)?;
    scene.client().wait_gone(&second_object, SOON)?;
    scene.plugin_condition(&first_object, "Ready", "True")?;
    Ok(())
}
