//! Operators that are YAML alone: the published one as it stands. AppService without code is in all
//! tests of AppService ([`crate::scene::in_each_language`]).

mod broken;
mod crowd;
mod microservice;
mod seamless;

use crate::scene::{Scene, folder, kybern};
use anyhow::{Context, Result};
use kybern_testcluster::{Object, Request, guest};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// Helm's engine may have to be compiled first.
const ENGINE: Duration = Duration::from_secs(300);

/// The registration that `inspect` prints for a bundle, for this corner.
pub(crate) fn registration(scene: &Scene, bundle: &Path) -> Result<Value> {
    let engine = guest("declarative")?;
    let named = [bundle, &engine].map(|path| path.to_string_lossy().into_owned());
    let printed = kybern(&[
        "plugin",
        "inspect",
        &named[0],
        "--engine",
        &named[1],
        "--registration",
    ])?;
    let mut registration: Value = serde_saphyr::from_str(&printed)?;
    registration["metadata"]["name"] = json!(scene.namespace);
    let spec = &mut registration["spec"];
    spec["class"] = json!(scene.class);
    spec["source"]["file"] = json!(engine);
    spec["settings"]["bundle"] = json!({ "file": bundle });
    Ok(registration)
}

/// A host with a bundle registered.
fn with_bundle(name: &str, bundle: &Path) -> Result<(Scene, Object)> {
    let mut scene = Scene::new(name)?;
    let registration = registration(&scene, bundle)?;
    let plugin = started_with(&mut scene, &registration)?;
    Ok((scene, plugin))
}

/// Starts the host with a registration, and waits until that one is ready.
fn started_with(scene: &mut Scene, registration: &Value) -> Result<Object> {
    scene.grant(std::slice::from_ref(registration))?;
    scene.start_host()?;
    let plugin = scene.submit(registration)?;
    until_ready(scene, &plugin)?;
    Ok(plugin)
}

/// Waits until a registration is ready; Helm's engine may have to be compiled for it.
fn until_ready(scene: &Scene, plugin: &Object) -> Result<()> {
    scene
        .client()
        .wait_for(plugin, "to be ready", ENGINE, |plugin| {
            let conditions = plugin["status"]["conditions"].as_array();
            let ready = |c: &Value| c["type"] == "Ready" && c["status"] == "True";
            conditions.is_some_and(|all| all.iter().any(ready))
        })?;
    Ok(())
}

/// Writes files below a folder.
fn write_files(folder: &Path, files: &[(&str, &str)]) -> Result<()> {
    for (path, text) in files {
        let file = folder.join(path);
        std::fs::create_dir_all(file.parent().context("a folder")?)?;
        std::fs::write(file, text)?;
    }
    Ok(())
}

/// What is written anew with every change of an object.
fn version_of(scene: &Scene, object: &Object) -> Result<Value> {
    Ok(scene.client().get(object)?["metadata"]["resourceVersion"].clone())
}

/// What the host wrote while this was done and all came to rest.
fn writes(scene: &Scene, act: impl FnOnce() -> Result<()>) -> Result<Vec<Request>> {
    let mark = scene.plane.audit().mark()?;
    act()?;
    scene.converged()?;
    let writes = scene.plane.audit().writes_of(&scene.user, mark)?;
    // The lease and Events are nobody's children.
    let of_children = |write: &Request| !matches!(&*write.resource, "leases" | "events");
    Ok(writes.into_iter().filter(of_children).collect())
}

#[test]
fn a_new_operator_runs_as_it_is_written() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let at = folder.path().join("new");
    let named = at.to_string_lossy();
    let kind = "new.example.com/v1/Begun";
    kybern(&[
        "plugin",
        "new",
        "begun",
        "--declarative",
        "--kind",
        kind,
        "--dir",
        &named,
    ])?;
    let (scene, _) = with_bundle("begun", &at.join("bundle"))?;
    let client = scene.client();
    let example = std::fs::read_to_string(at.join("example.yaml"))?;
    let mut resource: Value = serde_saphyr::from_str(&example)?;
    resource["metadata"]["namespace"] = json!(scene.namespace);
    client.create(&resource)?;
    let deployment = scene.object("apps/v1", "Deployment", "web");
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 2)?;
    let status = json!({ "status": { "replicas": 2, "readyReplicas": 2 } });
    client.merge_patch_status(&deployment, &status)?;
    let resource = scene.object("new.example.com/v1", "Begun", "web");
    scene.wait(&resource, |r| r["status"]["readyReplicas"] == 2)?;
    Ok(())
}

#[test]
fn the_published_operator_runs_as_it_stands() -> Result<()> {
    let (mut scene, _) = with_bundle("published", &folder("tests/bundles/sreworks"))?;
    let client = scene.client();
    let resource = |name: &str| {
        json!({
            "apiVersion": "vvp.example.com/v1", "kind": "Vvp",
            "metadata": { "name": name, "namespace": scene.namespace },
            "spec": { "replicas": 3, "version": "2.9.1", "serviceType": "LoadBalancer" },
        })
    };
    client.create(&resource("shop"))?;
    let deployment = scene.object("apps/v1", "Deployment", "shop-vvp");
    let service = scene.object("v1", "Service", "shop-vvp");
    let ingress = scene.object("networking.k8s.io/v1", "Ingress", "shop-vvp");
    let made = scene.wait(&deployment, |_| true)?;
    assert_eq!(made["spec"]["replicas"], 3);
    let told = |ingress: &Value, what: &str| {
        let name = format!("vvp.example.com/{what}");
        ingress["metadata"]["annotations"][name].clone()
    };
    let ports = scene.wait(&service, |_| true)?["spec"]["ports"]
        .as_array()
        .context("ports")?
        .iter()
        .map(|port| port["port"].to_string())
        .collect::<Vec<_>>()
        .join(",");
    scene.wait(&ingress, |ingress| told(ingress, "service-ports") == ports)?;
    scene.converged()?;
    let version = |object: &Object| -> Result<Value> {
        Ok(client.get(object)?["metadata"]["resourceVersion"].clone())
    };

    // A change of its status alone: one write, of the Ingress.
    let address = json!({ "status": { "loadBalancer": { "ingress": [{ "ip": "192.0.2.7" }] } } });
    let written = writes(&scene, || {
        client.merge_patch_status(&service, &address)?;
        scene.wait(&ingress, |ingress| told(ingress, "address") == "192.0.2.7")?;
        Ok(())
    })?;
    let of_ingress = |write: &&Request| write.resource == "ingresses";
    assert_eq!(written.iter().filter(of_ingress).count(), 1, "{written:?}");
    assert!(
        written.iter().all(|write| write.resource != "services"),
        "{written:?}"
    );

    // Other Services do not matter, nor those of another release.
    let other = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": "other", "namespace": scene.namespace },
        "spec": { "ports": [{ "port": 1 }] },
    });
    let written = writes(&scene, || {
        client.create(&other)?;
        let change = json!({ "spec": { "ports": [{ "port": 2 }] } });
        client.merge_patch(&Object::of(&other)?, &change)?;
        Ok(())
    });
    assert_eq!(written?, []);
    client.create(&resource("second"))?;
    let second = scene.object("networking.k8s.io/v1", "Ingress", "second-vvp");
    scene.wait(&second, |ingress| told(ingress, "service-ports") == ports)?;
    scene.converged()?;
    let before = version(&second)?;
    let address = json!({ "status": { "loadBalancer": { "ingress": [{ "ip": "192.0.2.8" }] } } });
    client.merge_patch_status(&service, &address)?;
    scene.wait(&ingress, |ingress| told(ingress, "address") == "192.0.2.8")?;
    scene.converged()?;
    assert_eq!(version(&second)?, before);

    // It comes back, and the Ingress says of it what is there.
    let uid = client.get(&service)?["metadata"]["uid"].clone();
    client.delete(&service)?;
    scene.wait(&service, |service| service["metadata"]["uid"] != uid)?;
    scene.wait(&ingress, |ingress| {
        told(ingress, "service-ports") == ports && told(ingress, "address") == ""
    })?;
    scene.converged()?;

    // A restart changes nothing.
    let objects = [&deployment, &service, &ingress, &second];
    let versions = || objects.map(|object| version(object).unwrap());
    let before = versions();
    scene.stop_host()?;
    scene.start_host()?;
    scene.converged()?;
    let client = scene.client();
    let now =
        objects.map(|object| client.get(object).unwrap()["metadata"]["resourceVersion"].clone());
    assert_eq!(now, before);
    Ok(())
}
