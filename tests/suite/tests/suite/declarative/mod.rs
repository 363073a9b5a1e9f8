//! Operators that are YAML alone: the published one as it stands, and AppService without code.

mod broken;
mod crowd;
mod microservice;
mod seamless;

use crate::scene::{Scene, kybern};
use anyhow::{Context, Result};
use kybern_testcluster::{Object, Request, guest};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Helm's engine may have to be compiled first.
const ENGINE: Duration = Duration::from_secs(300);

/// A folder of the repository.
fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

/// The registration that `inspect` prints for a bundle, for this corner.
fn registration_of(scene: &Scene, bundle: &Path) -> Result<Value> {
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
    spec["settings"]["bundle"]["file"] = json!(bundle);
    Ok(registration)
}

/// A host with the registration that `inspect` prints for a bundle.
fn with_bundle(name: &str, bundle: &Path) -> Result<(Scene, Object)> {
    let mut scene = Scene::new(name)?;
    let registration = registration_of(&scene, bundle)?;
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

#[test]
fn appservice_without_code_does_what_the_rust_plugin_does() -> Result<()> {
    let (scene, _) = with_bundle("yamlapp", &folder("plugins/bundles/appservice"))?;
    let client = scene.client();
    let (app, deployment, service) = scene.create_app("web", 2)?;
    let made = client.get(&deployment)?;
    assert_eq!(made["spec"]["replicas"], 2);
    assert_eq!(client.get(&service)?["spec"]["ports"][0]["port"], 80);
    scene.converged()?;
    // Scaled, reverted, recovered.
    client.merge_patch(&app, &json!({ "spec": { "size": 3 } }))?;
    scene.wait(&deployment, |made| made["spec"]["replicas"] == 3)?;
    client.merge_patch(&deployment, &json!({ "spec": { "replicas": 7 } }))?;
    scene.wait(&deployment, |made| made["spec"]["replicas"] == 3)?;
    let uid = client.get(&deployment)?["metadata"]["uid"].clone();
    client.delete(&deployment)?;
    scene.wait(&deployment, |made| made["metadata"]["uid"] != uid)?;
    scene.converged()
}
