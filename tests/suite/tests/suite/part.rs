//! Of a kind that is only read, the part that grants reach is watched, and no more.

use crate::scene::{SOON, Scene, condition};
use anyhow::{Result, ensure};
use kybern_testcluster::{Mark, Progress, until};
use serde_json::{Value, json};

/// A pod of this corner's namespace.
fn create_pod(scene: &Scene, name: &str, app: &str) -> Result<()> {
    scene.client().create(&json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": scene.namespace, "labels": { "app": app } },
        "spec": {
            "automountServiceAccountToken": false,
            "containers": [{ "name": "c", "image": "nginx" }],
        },
    }))?;
    Ok(())
}

/// Waits until the plugin has counted so many pods.
fn counted(scene: &Scene, name: &str, pods: u32) -> Result<()> {
    let queries = json!([
        { "name": "wanted", "sql": format!("SELECT count(*) * 0 + {pods} AS n FROM core.configmaps") },
        { "name": "found", "sql": "SELECT count(*) AS n FROM core.pods" },
    ]);
    scene.client().create(&json!({
        "apiVersion": "evil.example.com/v1", "kind": "Evil",
        "metadata": { "name": name, "namespace": scene.namespace },
        "spec": { "mode": "compare", "queries": queries },
    }))?;
    let object = scene.object("evil.example.com/v1", "Evil", name);
    condition(scene.client(), &object, "Ready", |c| c["status"] == "True")?;
    until("the host's rows", SOON, || {
        let rows = scene.metric("kybern_table_rows", "table=\"v1/Pod\"")?;
        Ok(if (rows - f64::from(pods)).abs() < 0.5 {
            Progress::Done(())
        } else {
            Progress::Waiting(format!("{rows} rows"))
        })
    })
}

/// The host's lists and watches of pods since then.
fn asked(scene: &Scene, since: Mark) -> Result<Vec<String>> {
    let requests = scene.plane.audit().since(since)?;
    let own = requests.into_iter().filter(|request| {
        request.user == scene.user.name()
            && request.resource == "pods"
            && ["list", "watch"].contains(&request.verb.as_str())
    });
    Ok(own.map(|request| request.uri).collect())
}

fn with_scope(mut registration: Value, scope: &Value) -> Value {
    registration["spec"]["grants"]["read"] = json!([
        { "group": "", "kinds": ["ConfigMap"] },
        { "group": "", "kinds": ["Pod"], "scope": scope },
    ]);
    registration
}

#[test]
fn what_no_grant_reaches_is_not_watched_until_one_does() -> Result<()> {
    let mut scene = Scene::new("part")?;
    for (name, app) in [("a", "mine"), ("b", "mine"), ("c", "other")] {
        create_pod(&scene, name, app)?;
    }
    let selector = json!({ "Selector": { "matchLabels": { "app": "mine" } } });
    let registration = with_scope(scene.evil()?, &selector);
    scene.grant(std::slice::from_ref(&registration))?;
    let start = scene.plane.audit().mark()?;
    scene.start_host()?;
    let object = scene.register(&registration)?;
    counted(&scene, "part", 2)?;
    let requests = asked(&scene, start)?;
    ensure!(
        !requests.is_empty()
            && requests
                .iter()
                .all(|uri| uri.contains("labelSelector=app%3Dmine")),
        "{requests:?}"
    );

    // The grant grows: nobody takes the part for the whole meanwhile.
    let grown = scene.plane.audit().mark()?;
    let whole = with_scope(scene.evil()?, &json!("Own"));
    let spec = json!({ "spec": { "grants": whole["spec"]["grants"] } });
    scene.client().merge_patch(&object, &spec)?;
    counted(&scene, "whole", 3)?;
    let requests = asked(&scene, grown)?;
    ensure!(
        requests.iter().any(|uri| !uri.contains("labelSelector")),
        "{requests:?}"
    );
    Ok(())
}
