//! Sees by its own watches when a custom resource is as it should be.
//!
//! # Contract
//! Times are of the harness's clock, when the event was read.

use super::seen::{Item, Kind, Seen};
use crate::lines::Watching;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

#[derive(Debug, Deserialize)]
struct Line {
    #[serde(rename = "type")]
    change: String,
    object: Value,
}

#[derive(Debug, Default)]
struct State {
    items: HashMap<String, Item>,
    good: usize,
}

impl State {
    fn put(&mut self, kind: Kind, name: String, seen: Option<Seen>, at: Duration) {
        let item = self.items.entry(name).or_default();
        item.put(kind, seen);
        let was = item.since.is_some();
        match item.wrong() {
            None => {
                item.since.get_or_insert(at);
            }
            Some(_) => item.since = None,
        }
        let is = item.since.is_some();
        self.good = self.good + usize::from(is) - usize::from(was);
    }
}

/// Watches until it is dropped.
pub(crate) struct Observer(Watching<State>);

impl Observer {
    /// Watches as the user of that file.
    pub(crate) fn start(kubeconfig: &Path) -> Result<Observer> {
        let paths = Kind::ALL.map(|kind| kind.names()[2]);
        Ok(Observer(Watching::start(kubeconfig, &paths, take)?))
    }

    /// How many are good.
    pub(crate) fn good(&self) -> Result<usize> {
        self.0.look(|state| state.good)
    }

    /// Since when this one is good.
    pub(crate) fn since(&self, name: &str) -> Result<Option<Duration>> {
        self.0.look(|state| state.items.get(name)?.since)
    }

    /// When the last one became good.
    pub(crate) fn last(&self) -> Result<Option<Duration>> {
        self.0
            .look(|state| state.items.values().filter_map(|item| item.since).max())
    }

    /// One that is not good, and why.
    pub(crate) fn wrong(&self) -> Result<Option<String>> {
        self.0.look(|state| {
            let mut items = state.items.iter();
            items.find_map(|(name, item)| Some(format!("{name}: {}", item.wrong()?)))
        })
    }
}

fn take(state: &mut State, number: usize, line: &[u8], at: Duration) -> Result<()> {
    let kind = *Kind::ALL.get(number).context("a kind that is watched")?;
    let line: Line = serde_json::from_slice(line).context("a line of a watch")?;
    let seen: Seen = match line.change.as_str() {
        "ADDED" | "MODIFIED" | "DELETED" => serde_json::from_value(line.object)?,
        other => bail!("{other}: {}", line.object),
    };
    let name = seen.name().to_owned();
    let seen = (line.change != "DELETED").then_some(seen);
    state.put(kind, name, seen, at);
    Ok(())
}

/// Fails unless these objects, read at the end, are `expected` good ones and nothing else.
pub(crate) fn judge(objects: [Vec<Value>; 3], expected: usize) -> Result<()> {
    let mut state = State::default();
    for (kind, objects) in Kind::ALL.into_iter().zip(objects) {
        let objects: Vec<Value> = objects
            .into_iter()
            // The API server's own Service.
            .filter(|object| object.pointer("/metadata/namespace") != Some(&"default".into()))
            .collect();
        let name = kind.names()[1];
        ensure!(
            objects.len() == expected,
            "{} of {expected} {name} objects",
            objects.len()
        );
        for object in objects {
            let seen: Seen = serde_json::from_value(object)?;
            let name = seen.name().to_owned();
            state.put(kind, name, Some(seen), Duration::ZERO);
        }
    }
    let mut items = state.items.iter();
    match items.find_map(|(name, item)| Some((name, item.wrong()?))) {
        Some((name, wrong)) => bail!("{name}: {wrong}"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn objects() -> [Vec<Value>; 3] {
        let owner = json!([{ "uid": "u", "kind": "AppService", "controller": true }]);
        let child = json!({
            "name": "a", "namespace": "n", "labels": { "app": "a" }, "ownerReferences": owner,
        });
        let app = json!({
            "metadata": { "name": "a", "namespace": "n", "uid": "u", "generation": 2 },
            "spec": { "size": 3, "image": "i", "ports": [{ "port": 80, "targetPort": 8080 }] },
            "status": {
                "observedGeneration": 2, "replicas": 0, "readyReplicas": 0, "availableReplicas": 0,
                "updatedReplicas": 0, "unavailableReplicas": 0,
                "conditions": [
                    { "type": "Ready", "status": "False" },
                    { "type": "Reconciling", "status": "True" },
                ],
            },
        });
        let deployment = json!({
            "metadata": child,
            "spec": {
                "replicas": 3, "selector": { "matchLabels": { "app": "a" } },
                "template": {
                    "metadata": { "labels": { "app": "a" } },
                    "spec": { "containers": [
                        { "name": "app", "image": "i", "ports": [{ "containerPort": 8080 }] },
                    ] },
                },
            },
        });
        let service = json!({
            "metadata": child,
            "spec": {
                "type": "ClusterIP", "selector": { "app": "a" },
                "ports": [{ "port": 80, "targetPort": 8080, "protocol": "TCP" }],
            },
        });
        [vec![app], vec![deployment], vec![service]]
    }

    #[test]
    fn what_is_as_wanted_is_good_and_anything_else_is_told() {
        judge(objects(), 1).unwrap();
        let mistakes = [
            (0, "/status/observedGeneration", json!(1), "the status"),
            (
                0,
                "/status/conditions/0/status",
                json!("True"),
                "the status",
            ),
            (0, "/status/replicas", json!(1), "the status"),
            (1, "/spec/replicas", json!(2), "the Deployment"),
            (
                1,
                "/spec/template/spec/containers/0/image",
                json!("j"),
                "the Deployment",
            ),
            (2, "/spec/type", json!("NodePort"), "the Service"),
            (2, "/spec/ports/0/port", json!(81), "the Service"),
            (1, "/metadata/ownerReferences/0/uid", json!("v"), "a child"),
            (2, "/metadata/labels/app", json!("b"), "a child"),
        ];
        for (which, path, value, told) in mistakes {
            let mut objects = objects();
            *objects[which][0].pointer_mut(path).unwrap() = value;
            let error = judge(objects, 1).unwrap_err().to_string();
            assert!(error.starts_with(&format!("a: {told}")), "{path}: {error}");
        }
        let mut objects = objects();
        objects[2].clear();
        let error = judge(objects, 1).unwrap_err().to_string();
        assert_eq!(error, "0 of 1 Service objects");
    }

    #[test]
    fn what_is_changed_and_reverted_is_good_anew() {
        let mut state = State::default();
        let seen = |value: &Value| serde_json::from_value(value.clone()).unwrap();
        for (kind, list) in Kind::ALL.into_iter().zip(&objects()) {
            let at = Duration::from_secs(1);
            state.put(kind, "a".to_owned(), Some(seen(&list[0])), at);
        }
        assert_eq!(state.good, 1);
        let right = objects()[1][0].clone();
        let mut wrong = right.clone();
        wrong["spec"]["replicas"] = json!(9);
        let name = || "a".to_owned();
        state.put(
            Kind::Deployment,
            name(),
            Some(seen(&wrong)),
            Duration::from_secs(2),
        );
        assert_eq!((state.good, state.items["a"].since), (0, None));
        state.put(
            Kind::Deployment,
            name(),
            Some(seen(&right)),
            Duration::from_secs(3),
        );
        let since = Some(Duration::from_secs(3));
        assert_eq!((state.good, state.items["a"].since), (1, since));
    }
}
