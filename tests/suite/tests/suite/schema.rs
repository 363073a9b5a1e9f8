//! Definitions made from Rust types, on a real API server: what they forbid never gets in.

use crate::scene::{APP, Language, Scene};
use anyhow::{Context, Result};
use kybern_testcluster::{ClientError, Object};
use serde_json::{Value, json};

crate::scene::in_each_language! {
    an_appservice_that_cannot_work_is_refused_by_the_api_server,
}

/// A definition with everything that `derive(Schema)` can say; a test of the SDK writes it.
const SITE: &str = include_str!("../../../../guest-sdk/tests/site.yaml");

/// The answer is 422 and names all of `words`.
fn refused(answer: Result<Value, ClientError>, words: &[&str]) {
    let error = answer.expect_err(&format!("{words:?} must be refused"));
    assert_eq!(error.code(), Some(422), "{error}");
    let message = error.to_string();
    for word in words {
        assert!(message.contains(word), "`{word}` in: {message}");
    }
}

fn with(object: &Value, path: &str, value: Value) -> Result<Value> {
    let mut object = object.clone();
    let (parent, key) = path.rsplit_once('/').context("a path")?;
    object.pointer_mut(parent).context("a place")?[key] = value;
    Ok(object)
}

fn an_appservice_that_cannot_work_is_refused_by_the_api_server(language: Language) -> Result<()> {
    let scene = Scene::with_appservice_in(language, "schema")?;
    let app = scene.app("web", 1);
    for (path, value, words) in [
        (
            "/metadata/name",
            json!("1web"),
            ["metadata.name", "should match"],
        ),
        (
            "/metadata/name",
            json!("a.b"),
            ["metadata.name", "should match"],
        ),
        (
            "/metadata/name",
            json!("a".repeat(64)),
            ["metadata.name", "63"],
        ),
        (
            "/spec/size",
            json!(-1),
            ["spec.size", "greater than or equal to 0"],
        ),
        (
            "/spec/size",
            json!(3_000_000_000_u32),
            ["spec.size", "less than or equal to 2147483647"],
        ),
        ("/spec/image", json!(""), ["spec.image", "should match"]),
        (
            "/spec/image",
            json!(" nginx"),
            ["spec.image", "should match"],
        ),
        (
            "/spec/ports",
            json!([{ "port": 0 }]),
            ["spec.ports[0].port", "greater than or equal to 1"],
        ),
        (
            "/spec/ports",
            json!([{ "port": 70_000 }]),
            ["spec.ports[0].port", "65535"],
        ),
        (
            "/spec/ports",
            json!([{}]),
            ["spec.ports[0].port", "Required value"],
        ),
        (
            "/spec/ports",
            json!([{ "port": 80 }, { "port": 80 }]),
            ["spec.ports[1]", "Duplicate value"],
        ),
        (
            "/spec/ports",
            json!([{ "port": 80, "nodePort": 30_002 }, { "port": 81, "nodePort": 30_002 }]),
            ["spec.ports", "nodePort must differ from item to item"],
        ),
        (
            "/spec/ports",
            (1..=33).map(|port| json!({ "port": port })).collect(),
            ["spec.ports", "must have at most 32 items"],
        ),
    ] {
        refused(scene.client().create(&with(&app, path, value)?), &words);
    }
    // What differs is let in.
    let ports = json!([{ "port": 80, "nodePort": null }, { "port": 81 }]);
    scene.client().create(&with(&app, "/spec/ports", ports)?)?;
    scene.wait(&scene.object("v1", "Service", "web"), |_| true)?;
    let scale = format!(
        "/apis/{APP}/namespaces/{}/appservices/web/scale",
        scene.namespace
    );
    let scale: Value = serde_json::from_str(&scene.client().text(&scale)?)?;
    assert_eq!(scale["spec"]["replicas"], 1);
    Ok(())
}

#[test]
fn each_limit_that_a_type_can_say_is_kept_by_the_api_server() -> Result<()> {
    let scene = Scene::new("sites")?;
    scene.plane.install_crd_yaml("sites.example.com", SITE)?;
    let client = scene.client();
    let site = json!({
        "apiVersion": "example.com/v1",
        "kind": "Site",
        "metadata": { "name": scene.namespace },
        "spec": { "hostName": "a.b", "min": 1, "max": 2, "extra": { "any": ["thing"] },
            "listeners": [{ "name": "a", "port": 1, "alias": "x" }, { "name": "b", "port": 2 }],
            "labels": { "a": { "text": "t" } } },
    });
    for (path, value, words) in [
        ("/spec/min", json!(-4), ["spec.min", "-3"]),
        ("/spec/min", json!(5), ["spec", "min must not be above max"]),
        (
            "/spec/hostName",
            json!(""),
            ["spec.hostName", "at least 1 chars"],
        ),
        (
            "/spec/hostName",
            json!("ä".repeat(21)),
            ["spec.hostName", "may not be more than 20"],
        ),
        (
            "/spec/tier",
            json!("FrontEnd"),
            ["spec.tier", "\"front-end\""],
        ),
        (
            "/spec/labels",
            json!({ "a": { "text": "" } }),
            ["spec.labels.a.text", "should match"],
        ),
        (
            "/spec/listeners/1",
            json!({ "name": "-b", "port": 2 }),
            ["listeners[1].name", "should match"],
        ),
        (
            "/spec/listeners/1",
            json!({ "name": "a", "port": 2 }),
            ["listeners[1]", "Duplicate value"],
        ),
        (
            "/spec/listeners/1",
            json!({ "name": "b", "port": 1 }),
            ["listeners", "port must differ"],
        ),
        (
            "/spec/listeners/1",
            json!({ "name": "b", "port": 2, "alias": "x" }),
            ["listeners", "alias must differ"],
        ),
        (
            "/metadata/name",
            json!("a.b"),
            ["metadata.name", "should match"],
        ),
    ] {
        let mut wrong = site.clone();
        let parent = path.rsplit_once('/').context("a path")?;
        match wrong.pointer_mut(parent.0).context("a place")? {
            Value::Array(list) => list[parent.1.parse::<usize>()?] = value,
            object => object[parent.1] = value,
        }
        refused(client.create(&wrong), &words);
    }

    client.create(&site)?;
    let object = Object::cluster("example.com/v1", "Site", &scene.namespace);
    let change = |spec: Value| client.merge_patch(&object, &json!({ "spec": spec }));
    refused(
        change(json!({ "hostName": "c" })),
        &["spec.hostName", "cannot be changed"],
    );
    refused(
        change(json!({ "class": "a" })),
        &["class cannot be added or removed later"],
    );
    let same = change(json!({ "hostName": "a.b", "paused": true }))?;
    assert_eq!(
        same["spec"]["extra"],
        json!({ "any": ["thing"] }),
        "unknown fields stay"
    );
    client.delete(&object)?;
    Ok(())
}
