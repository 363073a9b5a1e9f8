//! Plugins that are what their bundle says: from a ConfigMap, from a folder, composed by its author.

use crate::scene::{SOON, Scene, condition, kybern};
use anyhow::{Context, Result, ensure};
use kybern_testcluster::{Object, Registry, digest, guest};
use serde_json::{Value, json};
use std::process::Command;

/// A kind of its own.
fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "bundleds.described.example.com" },
        "spec": {
            "group": "described.example.com", "scope": "Namespaced",
            "names": { "kind": "Bundled", "listKind": "BundledList", "plural": "bundleds", "singular": "bundled" },
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": { "status": {} },
                "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } },
            }],
        },
    })
}

/// What the guest is to say of itself.
fn described(version: &str) -> Value {
    json!({
        "name": "described", "version": version, "world": "kybern:operator@0.1.0",
        "resources": [{ "group": "described.example.com", "version": "v1", "kind": "Bundled" }],
        "reads": [{ "version": "v1", "kind": "ConfigMap" }],
        "writes": [{ "version": "v1", "kind": "ConfigMap", "verbs": ["apply", "delete"] }],
        "crds": [definition()],
    })
}

fn child(text: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "$name-child" },
        "data": { "text": text },
    })
}

/// A registration of the guest with this setting `bundle`; for the resources of this corner alone.
fn registration(scene: &Scene, name: &str, bundle: &Value) -> Result<Value> {
    Ok(json!({
        "apiVersion": "kybern.dev/v1alpha1", "kind": "Plugin", "metadata": { "name": name },
        "spec": {
            "class": scene.class,
            "resources": [{
                "group": "described.example.com", "version": "v1", "kind": "Bundled",
                "selector": { "matchLabels": { "corner": scene.namespace } },
            }],
            "source": { "file": guest("kybern-describer")? },
            "settings": { "bundle": bundle },
            "grants": {
                "read": [{ "group": "", "kinds": ["ConfigMap"] }],
                "write": [{ "group": "", "kinds": ["ConfigMap"], "verbs": ["apply", "delete"] }],
            },
        },
    }))
}

fn files(scene: &Scene, data: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "files", "namespace": scene.namespace }, "data": data,
    })
}

fn resource(scene: &Scene, name: &str) -> Value {
    json!({
        "apiVersion": "described.example.com/v1", "kind": "Bundled",
        "metadata": { "name": name, "namespace": scene.namespace, "labels": { "corner": scene.namespace } },
    })
}

#[test]
fn a_bundle_in_a_config_map_is_followed_and_a_wrong_one_leaves_the_last_good() -> Result<()> {
    let mut scene = Scene::new("bundlemap")?;
    let client = scene.client();
    let good = |text: &str| {
        json!({
            "manifest.json": described("1.0.0").to_string(),
            "children__one.json": child(text).to_string(),
        })
    };
    client.create(&files(&scene, &good("one")))?;
    let at = json!({ "configMap": { "namespace": scene.namespace, "name": "files" } });
    let registration = registration(&scene, &scene.namespace, &at)?;
    scene.grant(std::slice::from_ref(&registration))?;
    scene.start_host()?;
    let plugin = scene.register(&registration)?;
    client.create(&resource(&scene, "a"))?;
    let made = scene.object("v1", "ConfigMap", "a-child");
    scene.wait(&made, |map| map["data"]["text"] == "one")?;
    let before = client.get(&plugin)?;
    let first = before["status"]["active"]["digest"].clone();

    // Another bundle is another version.
    let map = scene.object("v1", "ConfigMap", "files");
    let change = |data: Value| client.merge_patch(&map, &json!({ "data": data }));
    change(json!({ "children__one.json": child("two").to_string() }))?;
    scene.wait(&made, |map| map["data"]["text"] == "two")?;
    let second = client.wait_for(&plugin, "the new version", SOON, |plugin| {
        plugin["status"]["active"]["digest"] != first
    })?;

    // A wrong one is told where it is wrong, and stops nothing.
    change(json!({ "mode": "operator.yaml:3:5: unknown key `wach`\n  3 | wach: {}" }))?;
    let told = condition(client, &plugin, "Degraded", |c| {
        c["reason"] == "InvalidBundle"
    })?;
    let message = told["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("operator.yaml:3:5: unknown key `wach`\n"),
        "{message}"
    );
    client.create(&resource(&scene, "b"))?;
    let other = scene.object("v1", "ConfigMap", "b-child");
    scene.wait(&other, |map| map["data"]["text"] == "two")?;
    let now = client.get(&plugin)?;
    assert_eq!(
        now["status"]["active"]["digest"],
        second["status"]["active"]["digest"]
    );

    // Back to the first files: the first digest.
    change(json!({ "mode": null, "children__one.json": child("one").to_string() }))?;
    scene.wait(&other, |map| map["data"]["text"] == "one")?;
    client.wait_for(&plugin, "the first version", SOON, |plugin| {
        plugin["status"]["active"]["digest"] == first
    })?;

    // A restart changes nothing.
    scene.stop_host()?;
    let version = |object: &Object| -> Result<Value> {
        Ok(client.get(object)?["metadata"]["resourceVersion"].clone())
    };
    let before = (version(&made)?, version(&other)?);
    scene.start_host()?;
    scene.converged()?;
    assert_eq!((version(&made)?, version(&other)?), before);
    Ok(())
}

#[test]
fn what_sense_asks_for_in_rounds_is_of_one_snapshot_and_starts_passes() -> Result<()> {
    let mut scene = Scene::new("bundlerounds")?;
    let client = scene.client();
    let manifest = described("1.0.0");
    let folder = tempfile::tempdir()?;
    std::fs::create_dir(folder.path().join("children"))?;
    for (path, content) in [
        ("manifest.json", manifest.to_string()),
        ("rounds", "2".to_owned()),
        (
            "query.sql",
            format!(
                "SELECT name FROM configmaps WHERE labels['part-of'] = '{}' AND $1 <> 'x'",
                scene.namespace
            ),
        ),
        ("children/one.json", child("$rows").to_string()),
    ] {
        std::fs::write(folder.path().join(path), content)?;
    }
    let at = json!({ "file": folder.path() });
    let registration = registration(&scene, &scene.namespace, &at)?;
    scene.grant(std::slice::from_ref(&registration))?;
    scene.start_host()?;
    scene.register(&registration)?;
    client.create(&resource(&scene, "a"))?;
    let made = scene.object("v1", "ConfigMap", "a-child");
    scene.wait(&made, |map| map["data"]["text"] == "round-0=0 round-1=0")?;
    let mut part = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "part", "namespace": scene.namespace, "labels": { "part-of": scene.namespace } },
    });
    client.create(&part)?;
    scene.wait(&made, |map| map["data"]["text"] == "round-0=1 round-1=1")?;
    part["metadata"]["name"] = json!("more");
    client.create(&part)?;
    scene.wait(&made, |map| map["data"]["text"] == "round-0=2 round-1=2")?;
    scene.converged()
}

#[test]
fn a_component_that_its_author_composed_is_the_same_as_one_that_the_host_composed() -> Result<()> {
    let mut scene = Scene::new("bundlebuilt")?;
    let folder = tempfile::tempdir()?;
    let bundle = folder.path().join("bundle");
    std::fs::create_dir_all(bundle.join("children"))?;
    std::fs::write(bundle.join("manifest.json"), described("2.0.0").to_string())?;
    std::fs::write(bundle.join("children/one.json"), child("built").to_string())?;
    let built = folder.path().join("built.wasm");
    let engine = guest("kybern-describer")?;
    let (bundle, built) = (bundle.to_string_lossy(), built.to_string_lossy());
    let told = kybern(&[
        "plugin",
        "build",
        "--bundle",
        &bundle,
        "--engine",
        &engine.to_string_lossy(),
        "-o",
        &built,
    ])?;
    let digest = told
        .lines()
        .find_map(|line| line.strip_prefix("digest: "))
        .unwrap_or_default();

    let mut composed = registration(&scene, &scene.namespace, &json!({ "file": bundle }))?;
    scene.grant(std::slice::from_ref(&composed))?;
    scene.start_host()?;
    let plugin = scene.register(&composed)?;
    let client = scene.client();
    let active = client.get(&plugin)?["status"]["active"]["digest"].clone();
    assert_eq!(active, digest);
    // Registered by itself, and pinned.
    composed["spec"]["settings"] = json!({});
    let spec =
        json!({ "spec": { "settings": null, "digest": digest, "source": { "file": built } } });
    client.merge_patch(&plugin, &spec)?;
    client.create(&resource(&scene, "a"))?;
    let made = scene.object("v1", "ConfigMap", "a-child");
    scene.wait(&made, |map| map["data"]["text"] == "built")?;
    client.wait_for(&plugin, "ready", SOON, |plugin| {
        let seen = &plugin["status"]["observedGeneration"];
        *seen == plugin["metadata"]["generation"] && plugin["status"]["active"]["digest"] == digest
    })?;
    Ok(())
}

#[test]
fn a_bundle_at_an_address_or_in_a_registry_is_the_one_that_is_pinned() -> Result<()> {
    let registry = Registry::open()?;
    let mut scene = Scene::new("bundlefar")?;
    let folder = tempfile::tempdir()?;
    let bundle = folder.path().join("bundle");
    std::fs::create_dir_all(bundle.join("children"))?;
    std::fs::write(bundle.join("manifest.json"), described("3.0.0").to_string())?;
    // Nobody has kept this one: hosts of one user share what they keep.
    let text = registry.address();
    std::fs::write(bundle.join("children/one.json"), child(text).to_string())?;
    let mut packing = Command::new("tar");
    let packed = packing.arg("-C").arg(&bundle).args(["-cz", "."]).output()?;
    ensure!(packed.status.success(), "{packed:?}");
    let blob = registry.put_blob("bundles/one", &packed.stdout)?;
    let engine = guest("kybern-describer")?;
    let (at, engine) = (bundle.to_string_lossy(), engine.to_string_lossy());
    let told = kybern(&["plugin", "lint", &at, "--engine", &engine])?;
    let pinned = told.lines().find_map(|line| line.strip_prefix("bundle: "));
    let pinned = pinned.context("a digest")?;
    let empty = registry.put_blob("bundles/one", b"{}")?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2 },
        "layers": [{ "mediaType": "application/gzip", "digest": blob, "size": packed.stdout.len() }],
    });
    let manifest = manifest.to_string();
    let manifest = registry.put_manifest("bundles/one", "v1", manifest.as_bytes())?;
    let url = registry.blob_url("bundles/one", &blob);
    let image = |which: &str| format!("{}/bundles/one{which}", registry.address());

    let wrong = json!({ "http": { "url": url }, "digest": digest(b"another") });
    let mut registration = registration(&scene, &scene.namespace, &wrong)?;
    scene.grant(std::slice::from_ref(&registration))?;
    scene.start_host()?;
    let client = scene.client();
    let plugin = scene.submit(&registration)?;
    let told = condition(client, &plugin, "Ready", |c| {
        c["reason"] == "DigestMismatch"
    })?;
    let told = told["message"].as_str().unwrap_or_default();
    assert!(
        told.contains(pinned) && told.contains(&digest(b"another")),
        "{told}"
    );
    client.delete(&plugin)?;
    client.wait_gone(&plugin, SOON)?;

    // A tag is named with the bundle's digest, or not at all.
    let tag = json!({ "oci": { "image": image(":v1") } });
    registration["spec"]["settings"]["bundle"] = tag;
    let plugin = scene.submit(&registration)?;
    condition(client, &plugin, "Ready", |c| {
        c["reason"] == "DigestRequired"
    })?;
    client.delete(&plugin)?;
    client.wait_gone(&plugin, SOON)?;

    let mut seen = Vec::new();
    for (name, from) in [
        ("a", json!({ "http": { "url": url }, "digest": pinned })),
        (
            "b",
            json!({ "oci": { "image": image(":v1") }, "digest": pinned }),
        ),
        (
            "c",
            json!({ "oci": { "image": image(&format!("@{manifest}")) } }),
        ),
    ] {
        // What the one before has kept is gone with its folder.
        scene.stop_host()?;
        let kept = folder.path().join(name);
        scene.start_host_with(&[&format!("--compiled={}", kept.display())])?;
        registration["spec"]["settings"]["bundle"] = from;
        let plugin = scene.register(&registration)?;
        let client = scene.client();
        client.create(&resource(&scene, name))?;
        let made = scene.object("v1", "ConfigMap", &format!("{name}-child"));
        scene.wait(&made, |map| map["data"]["text"] == text)?;
        seen.push(client.get(&plugin)?["status"]["active"]["digest"].clone());
        client.delete(&scene.object("described.example.com/v1", "Bundled", name))?;
        client.delete(&plugin)?;
        client.wait_gone(&plugin, SOON)?;
    }
    assert!(seen.iter().all(|digest| *digest == seen[0]), "{seen:?}");
    Ok(())
}
