//! What several tests of a release share.

use anyhow::{Context, Result};
use kybern_node_tests::{AppService, Release, SOON, get, helm};
use kybern_testcluster::{Object, Progress, until};
use serde_json::{Value, json};
use std::path::Path;

/// Values of a release that watches the whole cluster and has the rights that AppService needs.
pub(crate) fn cluster_wide(release: &Release) -> Result<Value> {
    let rules = release.plugin_rules(&[release.registration()])?;
    Ok(json!({ "namespaces": [], "rbac": { "pluginRules": rules } }))
}

/// Values of a release that watches its own namespace alone.
pub(crate) fn one_namespace(release: &Release) -> Result<Value> {
    let rules = release.plugin_rules(&[release.registration()])?;
    Ok(json!({ "rbac": { "pluginRules": rules } }))
}

/// The release, installed and both replicas Ready.
pub(crate) fn installed(prefix: &str, values: fn(&Release) -> Result<Value>) -> Result<Release> {
    let release = Release::new(prefix)?;
    release.node().definitions()?;
    release.helm(&values(&release)?)?.ok()?;
    release.wait_ready(2)?;
    Ok(release)
}

/// The registration of a release.
pub(crate) fn plugin(release: &Release) -> Object {
    Object::cluster("kybern.dev/v1alpha1", "Plugin", &release.name)
}

/// A condition of an object; null if there is none.
pub(crate) fn condition(object: &Value, kind: &str) -> Value {
    let all = object["status"]["conditions"].as_array();
    let mut all = all.into_iter().flatten();
    let found = all.find(|condition| condition["type"] == kind);
    found.cloned().unwrap_or_default()
}

/// The Pods of an AppService that are not going, by uid, with their restarts.
pub(crate) fn children(release: &Release, app: &AppService) -> Result<Vec<(String, u64)>> {
    let pods = release
        .node()
        .client()
        .list("v1", "Pod", Some(&release.name))?;
    let mut found: Vec<(String, u64)> = pods
        .iter()
        .filter(|pod| {
            pod["metadata"]["labels"]["app"] == app.app.name.as_str()
                && pod["metadata"]["deletionTimestamp"].is_null()
        })
        .map(|pod| {
            let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
            let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
            (uid.to_owned(), restarts.as_u64().unwrap_or_default())
        })
        .collect();
    found.sort();
    Ok(found)
}

/// Waits until a URL answers 200; its body.
pub(crate) fn answers(url: &str) -> Result<String> {
    until(&format!("{url} answers"), SOON, || {
        Ok(match get(url) {
            Ok(answer) if answer.code == 200 => Progress::Done(answer.body),
            other => Progress::Waiting(format!("{other:?}")),
        })
    })
}

/// `/metrics` of a replica.
pub(crate) fn metrics(pod: &Value) -> Result<String> {
    let address = pod["status"]["podIP"]
        .as_str()
        .context("the Pod has an address")?;
    answers(&format!("http://{address}:8080/metrics"))
}

/// The value of a metric without labels.
pub(crate) fn metric(metrics: &str, name: &str) -> Option<f64> {
    let mut lines = metrics.lines();
    lines.find_map(|line| {
        line.strip_prefix(name)?
            .strip_prefix(' ')?
            .trim()
            .parse()
            .ok()
    })
}

/// Runs helm in the release's namespace.
pub(crate) fn helm_here(release: &Release, arguments: &[&str]) -> Result<String> {
    let mut all = arguments.to_vec();
    all.extend(["--namespace", &release.name]);
    helm(all)?.ok()
}

/// A folder of this crate.
pub(crate) fn folder(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(name)
        .display()
        .to_string()
}

/// Waits until nothing of the namespace is left.
pub(crate) fn namespace_goes(release: &Release) -> Result<()> {
    let client = release.node().client();
    let namespace = Object::cluster("v1", "Namespace", &release.name);
    client.delete(&namespace)?;
    client.wait_gone(&namespace, 2 * SOON)
}
