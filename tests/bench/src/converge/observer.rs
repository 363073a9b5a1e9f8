//! Sees by its own watches when a custom resource is as it should be.
//!
//! # Contract
//! Times are of the harness's clock, when the event was read. A resource is good while its children
//! are there with what its spec wants and with it as owner, and its status says that this
//! generation waits for the Deployment's pods. A count that is not there is zero.

use crate::lines::Watching;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

/// A kind that is watched, and its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    App,
    Deployment,
    Service,
}

impl Kind {
    pub(crate) const ALL: [Kind; 3] = [Kind::App, Kind::Deployment, Kind::Service];

    /// apiVersion, kind and the path of all of them.
    pub(crate) fn names(self) -> [&'static str; 3] {
        match self {
            Kind::App => [
                "bench.example.com/v1",
                "AppService",
                "/apis/bench.example.com/v1/appservices",
            ],
            Kind::Deployment => ["apps/v1", "Deployment", "/apis/apps/v1/deployments"],
            Kind::Service => ["v1", "Service", "/api/v1/services"],
        }
    }
}

/// As much of an object as is looked at.
#[derive(Debug, Deserialize)]
pub(crate) struct Seen {
    metadata: Metadata,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: String,
    uid: String,
    generation: i64,
    labels: HashMap<String, String>,
    owner_references: Vec<Value>,
}

#[derive(Debug, Deserialize)]
struct Line {
    #[serde(rename = "type")]
    change: String,
    object: Value,
}

/// A resource and its children, by their common name.
#[derive(Debug, Default)]
struct Item {
    app: Option<Seen>,
    deployment: Option<Seen>,
    service: Option<Seen>,
    /// Since when it is good.
    since: Option<Duration>,
}

impl Item {
    fn put(&mut self, kind: Kind, seen: Option<Seen>) {
        match kind {
            Kind::App => self.app = seen,
            Kind::Deployment => self.deployment = seen,
            Kind::Service => self.service = seen,
        }
    }

    /// What is wrong; none when it is good.
    fn wrong(&self) -> Option<&'static str> {
        let Some(app) = &self.app else {
            return Some("there is no AppService");
        };
        let (Some(deployment), Some(service)) = (&self.deployment, &self.service) else {
            return Some("a child is missing");
        };
        if !deployment.belongs_to(app) || !service.belongs_to(app) {
            return Some("a child lacks its owner or its label");
        }
        if !deployment.runs(app) {
            return Some("the Deployment is not as wanted");
        }
        if !service.offers(app) {
            return Some("the Service is not as wanted");
        }
        (!app.reports()).then_some("the status is not that of this generation")
    }
}

impl Seen {
    fn belongs_to(&self, app: &Seen) -> bool {
        let owner = |owner: &Value| {
            owner["uid"].as_str() == Some(&app.metadata.uid)
                && owner["controller"] == true
                && owner["kind"] == "AppService"
        };
        let label = self.metadata.labels.get("app");
        self.metadata.owner_references.iter().any(owner) && label == Some(&app.metadata.name)
    }

    fn runs(&self, app: &Seen) -> bool {
        let name = app.metadata.name.as_str();
        let pod = &self.spec["template"];
        let container = &pod["spec"]["containers"][0];
        let ports = |of: &Value, key: &str| -> Vec<Value> {
            let ports = of.as_array().into_iter().flatten();
            ports.map(|port| port[key].clone()).collect()
        };
        self.spec["replicas"] == app.spec["size"]
            && self.spec["selector"]["matchLabels"]["app"] == name
            && pod["metadata"]["labels"]["app"] == name
            && pod["spec"]["containers"].as_array().map(Vec::len) == Some(1)
            && container["name"] == "app"
            && container["image"] == app.spec["image"]
            && ports(&container["ports"], "containerPort")
                == ports(&app.spec["ports"], "targetPort")
    }

    fn offers(&self, app: &Seen) -> bool {
        let ports = |of: &Seen| -> Vec<[Value; 2]> {
            let ports = of.spec["ports"].as_array().into_iter().flatten();
            ports
                .map(|port| [port["port"].clone(), port["targetPort"].clone()])
                .collect()
        };
        self.spec["type"] == "ClusterIP"
            && self.spec["selector"]["app"] == app.metadata.name.as_str()
            && ports(self) == ports(app)
    }

    fn reports(&self) -> bool {
        let has = |kind: &str, status: &str| {
            let mut conditions = self.status["conditions"].as_array().into_iter().flatten();
            conditions.any(|condition| condition["type"] == kind && condition["status"] == status)
        };
        let counts = [
            "replicas",
            "readyReplicas",
            "availableReplicas",
            "updatedReplicas",
            "unavailableReplicas",
        ];
        self.status["observedGeneration"] == self.metadata.generation
            // Without controllers there are no pods, and no Deployment is ready.
            && has("Ready", "False")
            && has("Reconciling", "True")
            && counts.iter().all(|count| self.status[*count].as_i64().unwrap_or(0) == 0)
    }
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
    let name = seen.metadata.name.clone();
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
            .filter(|object| object["metadata"]["namespace"] != "default")
            .collect();
        let name = kind.names()[1];
        ensure!(
            objects.len() == expected,
            "{} of {expected} {name} objects",
            objects.len()
        );
        for object in objects {
            let seen: Seen = serde_json::from_value(object)?;
            let name = seen.metadata.name.clone();
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
