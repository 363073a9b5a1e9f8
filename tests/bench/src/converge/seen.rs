//! An AppService and its children, as far as they are looked at, and what is wrong with them.
//!
//! # Contract
//! A resource is good while its children are there with what its spec wants and with it as owner,
//! and its status says that this generation waits for the Deployment's pods. A count that is not
//! there is zero.

use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;
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

/// A resource and its children, by their common name.
#[derive(Debug, Default)]
pub(crate) struct Item {
    app: Option<Seen>,
    deployment: Option<Seen>,
    service: Option<Seen>,
    /// Since when it is good.
    pub(crate) since: Option<Duration>,
}

impl Item {
    pub(crate) fn put(&mut self, kind: Kind, seen: Option<Seen>) {
        match kind {
            Kind::App => self.app = seen,
            Kind::Deployment => self.deployment = seen,
            Kind::Service => self.service = seen,
        }
    }

    /// What is wrong; none when it is good.
    pub(crate) fn wrong(&self) -> Option<&'static str> {
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
    pub(crate) fn name(&self) -> &str {
        &self.metadata.name
    }

    fn belongs_to(&self, app: &Seen) -> bool {
        let owner = |owner: &Value| {
            at(owner, "/uid") == app.metadata.uid.as_str()
                && at(owner, "/controller") == true
                && at(owner, "/kind") == "AppService"
        };
        let label = self.metadata.labels.get("app");
        self.metadata.owner_references.iter().any(owner) && label == Some(&app.metadata.name)
    }

    fn runs(&self, app: &Seen) -> bool {
        let spec = |path: &str| at(&self.spec, path);
        let wanted = |path: &str| at(&app.spec, path);
        let container = |path: &str| at(spec("/template/spec/containers/0"), path);
        spec("/replicas") == wanted("/size")
            && spec("/selector/matchLabels/app") == app.name()
            && spec("/template/metadata/labels/app") == app.name()
            && spec("/template/spec/containers/1").is_null()
            && container("/name") == "app"
            && container("/image") == wanted("/image")
            && each(container("/ports"), "/containerPort") == each(wanted("/ports"), "/targetPort")
    }

    fn offers(&self, app: &Seen) -> bool {
        let spec = |path: &str| at(&self.spec, path);
        let wanted = at(&app.spec, "/ports");
        spec("/type") == "ClusterIP"
            && spec("/selector/app") == app.name()
            && each(spec("/ports"), "/port") == each(wanted, "/port")
            && each(spec("/ports"), "/targetPort") == each(wanted, "/targetPort")
    }

    fn reports(&self) -> bool {
        let status = |path: &str| at(&self.status, path);
        let has = |kind: &str, is: &str| {
            let mut conditions = status("/conditions").as_array().into_iter().flatten();
            conditions
                .any(|condition| at(condition, "/type") == kind && at(condition, "/status") == is)
        };
        let counts = [
            "/replicas",
            "/readyReplicas",
            "/availableReplicas",
            "/updatedReplicas",
            "/unavailableReplicas",
        ];
        status("/observedGeneration") == self.metadata.generation
            // Without controllers there are no pods, and no Deployment is ready.
            && has("Ready", "False")
            && has("Reconciling", "True")
            && counts.iter().all(|count| status(count).as_i64().unwrap_or(0) == 0)
    }
}

/// What is there, or null.
fn at<'v>(value: &'v Value, path: &str) -> &'v Value {
    value.pointer(path).unwrap_or(&Value::Null)
}

/// That of each of a list.
fn each<'v>(list: &'v Value, path: &str) -> Vec<&'v Value> {
    let list = list.as_array().into_iter().flatten();
    list.map(|value| at(value, path)).collect()
}
