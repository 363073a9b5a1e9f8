//! A plugin as a release built it, from bytes that stay, on a real API server: it works as it did.

use crate::effects::Server;
use crate::scene::{SOON, Scene};
use anyhow::{Result, ensure};
use kybern_testcluster::Object;
use serde_json::{Value, json};

/// How host/plugin/tests/frozen/README.md says that they came to be.
const GUEST: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../host/plugin/tests/frozen/0.1.0/guest.wasm"
);

fn registration(scene: &Scene, server: &Server) -> Value {
    json!({
        "apiVersion": "kybern.dev/v1alpha1", "kind": "Plugin",
        "metadata": { "name": scene.namespace },
        "spec": {
            "class": scene.class,
            "resources": [{ "group": "frozen.example.com", "version": "v1", "kind": "Frozen" }],
            "source": { "file": GUEST },
            "settings": { "greeting": "hi" },
            "grants": {
                "read": [
                    { "group": "apps", "kinds": ["Deployment"] },
                    { "group": "", "kinds": ["ConfigMap"] },
                ],
                "write": [
                    { "group": "apps", "kinds": ["Deployment"], "verbs": ["apply"], "subresources": ["scale"] },
                    { "group": "", "kinds": ["ConfigMap"], "verbs": ["apply", "patch", "delete"] },
                ],
                "http": [{ "host": "127.0.0.1", "ports": [server.port], "methods": ["GET", "POST"] }],
                "secrets": [{
                    "name": "api-token", "secretRef": { "name": "creds", "key": "token" },
                    "hosts": ["127.0.0.1"], "allowPlainHttp": true,
                }],
                "state": true,
            },
        },
    })
}

/// What the resource lives among.
fn around(scene: &Scene) -> Result<()> {
    let create = |kind: &str, name: &str, rest: Value| {
        let mut object = rest;
        object["apiVersion"] = json!(if kind == "Deployment" {
            "apps/v1"
        } else {
            "v1"
        });
        object["kind"] = json!(kind);
        object["metadata"] = json!({ "name": name, "namespace": scene.namespace });
        scene.client().create(&object)
    };
    let app = json!({ "app": "guest" });
    let containers = json!([{ "name": "app", "image": "nginx:1.27" }]);
    let template = json!({ "metadata": { "labels": app }, "spec": { "containers": containers } });
    let selector = json!({ "matchLabels": app });
    let spec = json!({ "replicas": 1, "selector": selector, "template": template });
    create("Deployment", "guest", json!({ "spec": spec }))?;
    create("ConfigMap", "board", json!({ "data": { "theirs": "1" } }))?;
    for name in ["web-mate-a", "web-mate-b", "other"] {
        create("ConfigMap", name, json!({}))?;
    }
    let token = json!({ "stringData": { "token": "s3cret-enough" } });
    create("Secret", "creds", token)?;
    Ok(())
}

#[test]
fn a_plugin_of_the_first_release_works_as_it_did() -> Result<()> {
    let server = Server::start()?;
    let mut scene = Scene::new("frozen")?;
    let registration = registration(&scene, &server);
    scene.grant(std::slice::from_ref(&registration))?;
    scene.start_host()?;
    scene.register(&registration)?;
    around(&scene)?;
    let manifest = json!({
        "apiVersion": "frozen.example.com/v1", "kind": "Frozen",
        "metadata": { "name": "web", "namespace": scene.namespace },
        "spec": { "size": 3, "url": server.url("/echo") },
    });
    scene.client().create(&manifest)?;
    let web = Object::of(&manifest)?;

    // What was sensed, read, set, kept and done is in the status, in its words.
    let said = json!([
        "hi",
        "largest 3",
        "mates 2 web-mate-a web-mate-b",
        "first in 1: {\"asked\":\"Bearer ********\",\"plain\":200}",
    ]);
    let is = |web: &Value| web["status"]["said"] == said && web["status"]["replicas"] == 3;
    scene.wait(&web, is)?;
    let sent = server.seen("/echo");
    ensure!(sent.len() == 2, "a GET and a POST: {}", sent.len());
    assert_eq!(sent[1].authorization, "Bearer s3cret-enough");

    // Children, and what is none.
    let deployment = scene.object("apps/v1", "Deployment", "web");
    let made = scene.wait(&deployment, |d| d["spec"]["replicas"] == 3)?;
    assert_eq!(made["metadata"]["labels"]["frozen"], "yes");
    assert_eq!(made["metadata"]["ownerReferences"][0]["name"], "web");
    let once = scene.object("v1", "ConfigMap", "web-once");
    scene.wait(&once, |map| map["data"]["by"] == "frozen")?;
    let board = scene.object("v1", "ConfigMap", "board");
    scene.wait(&board, |map| {
        map["data"] == json!({ "theirs": "1", "web": "3" })
    })?;
    let guest = scene.object("apps/v1", "Deployment", "guest");
    scene.wait(&guest, |d| d["spec"]["replicas"] == 3)?;
    scene.event("web", "Decided")?;

    // What it keeps outlives what it was kept of.
    let set = |spec: Value| scene.client().merge_patch(&web, &json!({ "spec": spec }));
    set(json!({ "size": 1 }))?;
    scene.wait(&web, |web| {
        web["status"]["said"][1] == "largest 3" && web["status"]["replicas"] == 1
    })?;
    scene.wait(&guest, |d| d["spec"]["replicas"] == 1)?;

    // It says good-bye.
    scene.client().delete(&web)?;
    scene.client().wait_gone(&web, SOON)?;
    let sent = server.seen("/echo");
    ensure!(
        sent.len() == 4,
        "it was told that it is over: {}",
        sent.len()
    );
    let board = scene.client().get(&board)?;
    assert_eq!(board["data"], json!({ "theirs": "1" }));
    Ok(())
}
