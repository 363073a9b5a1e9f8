//! What `kybern plugin inspect --registration` prints runs the plugin on a real API server.

use super::plugin;
use crate::scene::Scene;
use anyhow::Result;
use kybern_testcluster::guest;
use serde_json::{Value, json};

#[test]
fn the_printed_registration_and_its_rights_are_all_that_a_plugin_needs() -> Result<()> {
    let printed = plugin("inspect", "kybern_keeper", &["--registration"])?.out;
    let mut registration: Value = serde_saphyr::from_str(&printed)?;
    let mut scene = Scene::new("printed")?;
    // This corner's name, and where the component is here.
    registration["metadata"]["name"] = json!(scene.namespace);
    registration["spec"]["class"] = json!(scene.class);
    registration["spec"]["source"]["file"] = json!(guest("kybern-keeper")?);
    scene.grant(std::slice::from_ref(&registration))?;
    scene.start_host()?;
    let object = scene.register(&registration)?;
    let found = scene.client().get(&object)?;
    let conditions = found["status"]["conditions"].as_array().unwrap();
    let lacking = conditions
        .iter()
        .find(|c| c["type"] == "Authorized" && c["status"] == "False");
    assert_eq!(lacking, None);
    assert_eq!(
        found["status"]["active"]["digest"],
        registration["spec"]["digest"]
    );
    scene.client().create(&json!({
        "apiVersion": "keeper.example.com/v1", "kind": "Sleeper",
        "metadata": { "namespace": scene.namespace, "name": "web" }, "spec": { "idle": true },
    }))?;
    let deployment = scene.object("apps/v1", "Deployment", "web");
    scene.wait(&deployment, |found| found["spec"]["replicas"] == 0)?;
    Ok(())
}
