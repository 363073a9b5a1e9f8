//! Components from ConfigMaps: a new one is taken up, a broken one leaves the last good one at work.

use crate::scene::{SOON, Scene, condition, pass_time};
use anyhow::Result;
use kybern_testcluster::{Object, Request, guest};
use serde_json::{Value, json};
use std::time::Duration;

/// The key of each ConfigMap.
const KEY: &str = "plugin.wasm";

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = (0..3).fold(0_usize, |word, at| {
            (word << 8) | usize::from(chunk.get(at).copied().unwrap_or(0))
        });
        for at in 0..4 {
            let letter = ALPHABET[(word >> (18 - 6 * at)) & 63];
            text.push(if at <= chunk.len() {
                char::from(letter)
            } else {
                '='
            });
        }
    }
    text
}

/// The same component with another digest: a custom section of its own at the end.
fn another(wasm: &[u8]) -> Vec<u8> {
    let mut other = wasm.to_vec();
    other.extend([0, 5, 4]);
    other.extend(b"test");
    other
}

/// AppService and the hostile plugin, each from a ConfigMap of its own.
struct Two {
    scene: Scene,
    app: Object,
}

impl Two {
    fn start(name: &str) -> Result<Self> {
        let mut scene = Scene::new(name)?;
        let mut app = scene.appservice()?;
        let mut evil = scene.evil()?;
        for (registration, name, wasm) in [
            (&mut app, "app-code", guest("appservice")?),
            (&mut evil, "evil-code", guest("kybern-evil")?),
        ] {
            scene.client().create(&json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": { "name": name, "namespace": scene.namespace },
                "binaryData": { KEY: base64(&std::fs::read(wasm)?) },
            }))?;
            registration["spec"]["source"] = json!({
                "configMap": { "namespace": scene.namespace, "name": name, "key": KEY },
            });
        }
        let registrations = [app, evil];
        scene.grant(&registrations)?;
        scene.start_host()?;
        for registration in &registrations {
            scene.client().create(registration)?;
        }
        for registration in &registrations {
            scene.plugin_condition(&Object::of(registration)?, "Ready", "True")?;
        }
        Ok(Self {
            app: Object::of(&registrations[0])?,
            scene,
        })
    }

    /// Puts this into AppService's ConfigMap.
    fn store(&self, bytes: &[u8]) -> Result<()> {
        let map = self.scene.object("v1", "ConfigMap", "app-code");
        let data = json!({ "binaryData": { KEY: base64(bytes) } });
        self.scene.client().merge_patch(&map, &data)?;
        Ok(())
    }

    /// How often the host read a ConfigMap by name since then.
    fn reads(&self, name: &str, mark: kybern_testcluster::Mark) -> Result<usize> {
        let read = |r: &&Request| {
            r.user == self.scene.user.name()
                && r.verb == "get"
                && r.resource == "configmaps"
                && r.name.as_deref() == Some(name)
        };
        Ok(self
            .scene
            .plane
            .audit()
            .since(mark)?
            .iter()
            .filter(read)
            .count())
    }

    fn digest(&self) -> Result<Value> {
        Ok(self.scene.client().get(&self.app)?["status"]["active"]["digest"].clone())
    }
}

#[test]
fn a_new_component_is_taken_up_by_its_own_plugin_and_no_other_is_read_again() -> Result<()> {
    let two = Two::start("reload")?;
    let (app, deployment, _) = two.scene.create_app("web", 1)?;
    let evil = two.scene.create_evil("ok")?;
    two.scene
        .ready_reason(&evil, "Evil", |c| c["status"] == "True")?;
    two.scene.converged()?;
    let first = two.digest()?;
    let mark = two.scene.plane.audit().mark()?;
    two.store(&another(&std::fs::read(guest("appservice")?)?))?;
    let plugin = two
        .scene
        .wait(&two.app, |p| p["status"]["active"]["digest"] != first)?;
    assert_eq!(plugin["status"]["previous"][0]["digest"], first, "{plugin}");
    two.scene
        .client()
        .merge_patch(&app, &json!({ "spec": { "size": 3 } }))?;
    two.scene
        .wait(&deployment, |d| d["spec"]["replicas"] == 3)?;
    pass_time(Duration::from_secs(2))?;
    assert!(two.reads("app-code", mark)? >= 1);
    assert_eq!(
        two.reads("evil-code", mark)?,
        0,
        "its ConfigMap did not change"
    );
    Ok(())
}

#[test]
fn a_broken_new_component_leaves_the_last_good_one_at_work_and_says_so() -> Result<()> {
    let two = Two::start("degraded")?;
    let (app, deployment, _) = two.scene.create_app("web", 1)?;
    let good = two.digest()?;
    two.store(b"hello")?;
    let client = two.scene.client();
    let told = condition(client, &two.app, "Degraded", |c| c["status"] == "True")?;
    assert_eq!(told["reason"], "NotAComponent", "{told}");
    let message = told["message"].as_str().unwrap_or_default();
    assert!(message.contains("last good version"), "{message}");
    let ready = condition(client, &two.app, "Ready", |_| true)?;
    assert_eq!(ready["status"], "True", "{ready}");
    assert_eq!(two.digest()?, good);
    client.merge_patch(&app, &json!({ "spec": { "size": 3 } }))?;
    two.scene
        .wait(&deployment, |d| d["spec"]["replicas"] == 3)?;

    // Gone altogether, and back.
    let map = two.scene.object("v1", "ConfigMap", "app-code");
    client.delete(&map)?;
    condition(client, &two.app, "Degraded", |c| {
        c["reason"] == "SourceUnavailable"
    })?;
    client.merge_patch(&app, &json!({ "spec": { "size": 4 } }))?;
    two.scene
        .wait(&deployment, |d| d["spec"]["replicas"] == 4)?;
    client.create(&json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "app-code", "namespace": two.scene.namespace },
        "binaryData": { KEY: base64(&std::fs::read(guest("appservice")?)?) },
    }))?;
    client.wait_for(&two.app, "no Degraded", SOON, |p| {
        p["status"]["conditions"]
            .as_array()
            .is_some_and(|all| all.iter().all(|c| c["type"] != "Degraded"))
    })?;
    assert_eq!(two.digest()?, good);
    Ok(())
}

#[test]
fn a_config_map_of_a_component_on_trial_is_followed() -> Result<()> {
    let mut scene = Scene::new("trialmap")?;
    let mut registration = scene.appservice()?;
    let wasm = another(&std::fs::read(guest("appservice")?)?);
    let at = json!({ "namespace": scene.namespace, "name": "trial-code", "key": KEY });
    registration["spec"]["trial"] = json!({
        "mode": "Shadow",
        "digest": kybern_testcluster::digest(&wasm),
        "source": { "configMap": at },
    });
    scene.grant(std::slice::from_ref(&registration))?;
    let mark = scene.plane.audit().mark()?;
    scene.start_host()?;
    let plugin = scene.register(&registration)?;
    let is = |reason: &'static str| move |c: &Value| c["reason"] == reason;
    let told = condition(scene.client(), &plugin, "Trial", is("SourceUnavailable"))?;
    let message = told["message"].as_str().unwrap_or_default();
    assert!(message.contains("trial-code does not exist"), "{message}");
    // Nothing else of this registration is in ConfigMaps.
    let watches = |r: &&Request| {
        r.user == scene.user.name() && r.verb == "watch" && r.resource == "configmaps"
    };
    let requests = scene.plane.audit().since(mark)?;
    assert!(requests.iter().any(|r| watches(&r)), "it is not watched");
    scene.client().create(&json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "trial-code", "namespace": scene.namespace },
        "binaryData": { KEY: base64(&wasm) },
    }))?;
    condition(scene.client(), &plugin, "Trial", is("Shadow"))?;
    Ok(())
}
