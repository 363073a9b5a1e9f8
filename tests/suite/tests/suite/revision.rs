//! Revisions of a plugin: those that resources name by annotation, those that are gone back to, and
//! those on trial.

use crate::asking;
use crate::scene::{Language, SOON, Scene, condition, kybern, pass_time};
use anyhow::{Context, Result};
use kybern_testcluster::{Object, guest};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

crate::scene::in_each_language! {
    a_cr_that_asks_for_another_revision_is_told_so_and_left_alone,
}

fn pin(scene: &Scene, name: &str, digest: &Value) -> Result<()> {
    let (app, ..) = scene.app_objects(name);
    scene.client().merge_patch(
        &app,
        &json!({ "metadata": { "annotations": { "kybern.dev/plugin-revision": digest } } }),
    )?;
    Ok(())
}

fn a_cr_that_asks_for_another_revision_is_told_so_and_left_alone(language: Language) -> Result<()> {
    let scene = Scene::with_appservice_in(language, "revision")?;
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

/// The components' names for themselves.
pub(crate) const OLD: &str = "planner-revision";
const NEW: &str = "planner-revisio2";

/// The planner, its component in a file of its own, and a component that differs in its name.
struct Two {
    scene: Scene,
    plugin: Object,
    file: PathBuf,
    other: PathBuf,
    old: String,
    new: String,
}

impl Two {
    fn start(name: &str) -> Result<Self> {
        let mut scene = Scene::new(name)?;
        let wasm = std::fs::read(guest("kybern-planner")?)?;
        let folder = scene.plane.folder().to_owned();
        let file = folder.join(format!("{}.wasm", scene.namespace));
        let other = folder.join(format!("{}-new.wasm", scene.namespace));
        std::fs::write(&file, &wasm)?;
        std::fs::write(&other, renamed(wasm, NEW)?)?;
        let (old, new) = (digest(&file)?, digest(&other)?);
        assert_ne!(old, new);
        let registration = json!({
            "apiVersion": "kybern.dev/v1alpha1", "kind": "Plugin",
            "metadata": { "name": scene.namespace },
            "spec": {
                "class": scene.class,
                "resources": [{ "group": "planner.example.com", "version": "v1", "kind": "Planned" }],
                "source": { "file": file },
                "grants": { "write": [
                    { "group": "", "kinds": ["ConfigMap"], "verbs": ["apply", "delete"] },
                    { "group": "apps", "kinds": ["Deployment"], "verbs": ["apply"] },
                    { "group": "scheduling.k8s.io", "kinds": ["PriorityClass"], "verbs": ["apply"], "scope": "Cluster" },
                ] },
            },
        });
        scene.grant(std::slice::from_ref(&registration))?;
        scene.start_host_with(&[&format!("--socket={}", asking::socket(&scene))])?;
        let plugin = scene.register(&registration)?;
        Ok(Self {
            scene,
            plugin,
            file,
            other,
            old,
            new,
        })
    }

    /// A resource whose ConfigMap says which revision made it.
    fn planned(&self, name: &str, fails_in: Option<&str>) -> Result<Object> {
        let map = json!([{ "type": "apply", "object": {
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name },
            "data": { "by": "$REVISION" },
        } }]);
        let planned = json!({
            "apiVersion": "planner.example.com/v1", "kind": "Planned",
            "metadata": { "name": name, "namespace": self.scene.namespace },
            "spec": { "actions": map.to_string(), "fails_in": fails_in },
        });
        self.scene.client().create(&planned)?;
        Object::of(&planned)
    }

    fn made_by(&self, name: &str, revision: &str) -> Result<()> {
        let map = self.scene.object("v1", "ConfigMap", name);
        self.scene.wait(&map, |map| map["data"]["by"] == revision)?;
        Ok(())
    }

    fn registered(&self, spec: &Value) -> Result<()> {
        let patch = json!({ "spec": spec });
        self.scene.client().merge_patch(&self.plugin, &patch)?;
        Ok(())
    }

    fn name(&self, resource: &Object, digest: Option<&str>) -> Result<()> {
        let named = json!({ "kybern.dev/plugin-revision": digest });
        let patch = json!({ "metadata": { "annotations": named } });
        self.scene.client().merge_patch(resource, &patch)?;
        Ok(())
    }

    fn trial(&self, reason: &str) -> Result<String> {
        let client = self.scene.client();
        let told = condition(client, &self.plugin, "Trial", |c| c["reason"] == reason)?;
        Ok(told["message"].as_str().unwrap_or_default().to_owned())
    }
}

/// The same component with another name for itself.
pub(crate) fn renamed(mut wasm: Vec<u8>, name: &str) -> Result<Vec<u8>> {
    let old = OLD.as_bytes();
    let at = wasm.windows(old.len()).position(|bytes| bytes == old);
    let at = at.context("the component has its name")?;
    wasm[at..at + old.len()].copy_from_slice(name.as_bytes());
    Ok(wasm)
}

pub(crate) fn digest(file: &Path) -> Result<String> {
    let told = kybern(&["plugin", "inspect", &file.to_string_lossy()])?;
    let line = told.lines().find_map(|line| line.strip_prefix("digest: "));
    Ok(line.context("it has a digest")?.to_owned())
}

#[test]
fn what_ran_before_is_kept_to_be_named_and_gone_back_to() -> Result<()> {
    let mut two = Two::start("goback")?;
    let one = two.planned("one", None)?;
    two.planned("two", None)?;
    two.made_by("one", OLD)?;
    two.made_by("two", OLD)?;
    std::fs::copy(&two.other, &two.file)?;
    two.registered(&json!({ "digest": two.new }))?;
    two.made_by("one", NEW)?;
    two.made_by("two", NEW)?;

    two.name(&one, Some(&two.old))?;
    two.made_by("one", OLD)?;
    two.scene.converged()?;
    two.made_by("two", NEW)?;
    // The next host has it from disk.
    two.scene.kill_host();
    let map = two.scene.object("v1", "ConfigMap", "one");
    two.scene.client().delete(&map)?;
    two.scene.start_host()?;
    two.made_by("one", OLD)?;
    two.name(&one, None)?;
    two.made_by("one", NEW)?;

    // Back for all, though the file has the new one.
    two.registered(&json!({ "digest": two.old }))?;
    two.made_by("one", OLD)?;
    two.made_by("two", OLD)?;
    let plugin = two.scene.client().get(&two.plugin)?;
    assert_eq!(plugin["status"]["active"]["digest"], two.old.as_str());
    // Nobody has run this one here.
    two.name(&one, Some(&format!("sha256:{}", "0".repeat(64))))?;
    two.scene
        .ready_reason(&one, "one", |c| c["reason"] == "RevisionUnknown")?;
    Ok(())
}

#[test]
fn a_canary_that_fails_goes_back_by_itself_and_stays_back() -> Result<()> {
    let mut two = Two::start("canary")?;
    let names: Vec<String> = (0..6).map(|n| format!("it-{n}")).collect();
    for name in &names {
        two.planned(name, Some(NEW))?;
        two.made_by(name, OLD)?;
    }
    let trial = json!({ "source": { "file": two.other }, "digest": two.new, "share": "100%" });
    two.registered(&json!({ "trial": trial }))?;
    let message = two.trial("RolledBack")?;
    assert!(message.contains("was told to fail"), "{message}");
    for name in &names {
        let resource = two.scene.object("planner.example.com/v1", "Planned", name);
        two.scene
            .ready_reason(&resource, name, |c| c["status"] == "True")?;
    }
    two.scene.plugin_condition(&two.plugin, "Ready", "True")?;
    two.scene.converged()?;
    // Another host does not try it again.
    two.scene.kill_host();
    two.scene.start_host()?;
    two.planned("late", None)?;
    two.made_by("late", OLD)?;
    assert_eq!(two.trial("RolledBack")?, message);

    // Another trial is another one: of resources that do not fail.
    two.registered(&json!({ "trial": null }))?;
    let none = |plugin: &Value| plugin["status"]["trial"].is_null();
    two.scene.wait(&two.plugin, none)?;
    for name in &names {
        let resource = two.scene.object("planner.example.com/v1", "Planned", name);
        let healed = json!({ "spec": { "fails_in": null } });
        two.scene.client().merge_patch(&resource, &healed)?;
    }
    two.registered(&json!({ "trial": trial }))?;
    two.trial("Canary")?;
    for name in &names {
        two.made_by(name, NEW)?;
    }
    two.scene.converged()
}

#[test]
fn a_shadow_says_what_would_differ_and_touches_nothing() -> Result<()> {
    let two = Two::start("shadow")?;
    two.planned("one", None)?;
    two.made_by("one", OLD)?;
    two.scene.converged()?;
    let mark = two.scene.plane.audit().mark()?;
    let trial = json!({ "source": { "file": two.other }, "digest": two.new, "mode": "Shadow" });
    two.registered(&json!({ "trial": trial }))?;
    let message = two.trial("PlansDiffer")?;
    let where_ = format!(
        "{}/one: apply ConfigMap one: object.data.by",
        two.scene.namespace
    );
    assert!(message.contains(&where_), "{message}");
    assert!(!message.contains(NEW), "no values: {message}");
    let host = format!("--host={}", asking::socket(&two.scene));
    let asked = "SELECT trial_mode, trial_digest, trial_verdict, trial_tried, trial_failed, trial_differed FROM kybern.plugins";
    let told = json!([{
        "trial_mode": "Shadow", "trial_digest": two.new, "trial_verdict": "PlansDiffer",
        "trial_tried": 1, "trial_failed": 0, "trial_differed": 1,
    }]);
    asking::wait(&host, asked, |rows| json!(rows) == told)?;
    two.scene.converged()?;
    let mut writes = two.scene.plane.audit().writes_of(&two.scene.user, mark)?;
    writes.retain(|request| request.resource != "plugins");
    assert!(writes.is_empty(), "{writes:#?}");
    two.made_by("one", OLD)?;
    // What is wrong with it is told, and concerns nobody.
    two.registered(&json!({ "trial": { "digest": format!("sha256:{}", "0".repeat(64)) } }))?;
    two.trial("DigestMismatch")?;
    two.scene.plugin_condition(&two.plugin, "Ready", "True")?;
    Ok(())
}
