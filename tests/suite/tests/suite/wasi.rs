//! A plugin that brings WASI: a custom resource is reconciled, nothing leads outside, and an effect
//! is on the world's time.

use crate::scene::Scene;
use anyhow::Result;
use kybern_testcluster::{Object, guest};
use serde_json::{Value, json};

const LOOK: &str = "curious.example.com/v1";

impl Scene {
    fn curious(&self) -> Result<Value> {
        Ok(json!({
            "apiVersion": "kybern.dev/v1alpha1",
            "kind": "Plugin",
            "metadata": { "name": format!("{}-curious", self.namespace) },
            "spec": {
                "class": self.class,
                "resources": [{ "group": "curious.example.com", "version": "v1", "kind": "Look" }],
                "source": { "file": guest("kybern-curious")? },
                "grants": { "state": true },
            },
        }))
    }

    fn look(&self, mode: &str, sleep: Option<u64>) -> Result<Object> {
        let manifest = json!({
            "apiVersion": LOOK, "kind": "Look",
            "metadata": { "name": mode, "namespace": self.namespace },
            "spec": { "mode": mode, "sleep": sleep },
        });
        self.client().create(&manifest)?;
        Object::of(&manifest)
    }
}

fn lines(look: &Value) -> Vec<&str> {
    let lines = look["status"]["seen"].as_array();
    lines
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

#[test]
fn a_plugin_with_wasi_reconciles_and_reaches_nothing() -> Result<()> {
    let mut scene = Scene::new("wasi")?;
    let registration = scene.curious()?;
    scene.grant(std::slice::from_ref(&registration))?;
    scene.start_host()?;
    scene.register(&registration)?;

    let look = scene.look("look", Some(10))?;
    let found = scene.wait(&look, |look| {
        lines(look).iter().any(|line| line.starts_with("slept "))
    })?;
    let seen = lines(&found);
    for line in [
        "environment 0",
        "read NotFound: No such file or directory (os error 44)",
        "connect PermissionDenied: Permission denied (os error 2)",
    ] {
        assert!(seen.contains(&line), "{line}: {seen:?}");
    }
    let slept = seen.iter().find_map(|line| line.strip_prefix("slept "));
    let slept: u64 = slept.unwrap_or_default().parse()?;
    assert!(slept >= 10, "{slept}");

    let exit = scene.look("exit", None)?;
    let trapped = |condition: &Value| condition["reason"] == "PluginTrapped";
    let told = scene.ready_reason(&exit, "PluginTrapped", trapped)?["message"].to_string();
    assert!(told.contains("it called exit"), "{told}");
    Ok(())
}
