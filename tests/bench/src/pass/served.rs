//! The same objects for the caches of peers: at rest, as a peer's own operator leaves them.
#![expect(
    clippy::indexing_slicing,
    reason = "of JSON, which has null where there is nothing"
)]

use super::cluster::created;
use super::objects::{PODS, cr, name, namespace, plan, pod};
use serde_json::{Value, json};

/// A kind whose objects are listed and watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    AppService,
    Deployment,
    Service,
    Pod,
}

impl Kind {
    /// All of them.
    pub(super) const ALL: [Kind; 4] =
        [Kind::AppService, Kind::Deployment, Kind::Service, Kind::Pod];

    /// Where all its objects are.
    pub(super) fn path(self) -> &'static str {
        match self {
            Kind::AppService => "/apis/bench.example.com/v1/appservices",
            Kind::Deployment => "/apis/apps/v1/deployments",
            Kind::Service => "/api/v1/services",
            Kind::Pod => "/api/v1/pods",
        }
    }

    pub(super) fn api_version(self) -> &'static str {
        match self {
            Kind::AppService => "bench.example.com/v1",
            Kind::Deployment => "apps/v1",
            Kind::Service | Kind::Pod => "v1",
        }
    }
}

/// What there is, as a function of how many notes there were.
#[derive(Clone, Copy, Debug)]
pub(super) struct World {
    pub(super) crs: u64,
    /// How many Deployments, the first ones, a note changes.
    pub(super) noted: u64,
}

impl World {
    /// All objects of a kind.
    pub(super) fn all(self, kind: Kind, note: u64) -> impl Iterator<Item = Value> {
        let count = match kind {
            Kind::Pod => self.crs * PODS,
            _ => self.crs,
        };
        (0..count).map(move |number| match kind {
            Kind::AppService => at_rest(number),
            Kind::Deployment => self.deployment(number, note),
            Kind::Service => child(number, 1),
            Kind::Pod => pod(number, 0),
        })
    }

    /// Those that the last note changed.
    pub(super) fn changed(self, kind: Kind, note: u64) -> impl Iterator<Item = Value> {
        let count = match kind {
            Kind::Deployment => self.noted,
            _ => 0,
        };
        (0..count).map(move |number| self.deployment(number, note))
    }

    fn deployment(self, number: u64, note: u64) -> Value {
        let mut object = child(number, 0);
        if note > 0 && number < self.noted {
            let metadata = &mut object["metadata"];
            metadata["annotations"]["note"] = json!(note.to_string());
            metadata["resourceVersion"] = json!(((note << 32) + number + 1).to_string());
        }
        object
    }
}

/// A CR with the status that both peers write: its Deployment has no pods.
fn at_rest(number: u64) -> Value {
    let mut object = cr(number);
    let message = format!(
        "waiting for Deployment {}/{} to be ready",
        namespace(number),
        name(number)
    );
    let condition = |kind: &str, status: &str| {
        json!({
            "type": kind, "status": status, "reason": "Progressing", "message": message,
            "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    };
    object["status"] = json!({
        "observedGeneration": 1, "replicas": 0, "readyReplicas": 0, "availableReplicas": 0,
        "updatedReplicas": 0, "unavailableReplicas": 0,
        "conditions": [condition("Ready", "False"), condition("Reconciling", "True")],
    });
    object
}

/// The child of that place in the plan, as it was created.
fn child(number: u64, place: usize) -> Value {
    let cr = cr(number);
    let mut object = plan(&cr)["actions"][place]["object"].take();
    let metadata = &mut object["metadata"];
    metadata["resourceVersion"] = json!((number + 1).to_string());
    metadata["ownerReferences"] = json!([{
        "apiVersion": cr["apiVersion"], "kind": cr["kind"], "name": cr["metadata"]["name"],
        "uid": cr["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
    }]);
    let uid = format!("child-{place}-{number}");
    created(object, "appservice", &namespace(number), &uid)
}

/// The last resourceVersion of that note: what a list of then has.
pub(super) fn last_version(note: u64) -> u64 {
    (note << 32) | u64::from(u32::MAX)
}

/// The note that an object or list of that resourceVersion shows.
pub(super) fn note_of(version: u64) -> u64 {
    version >> 32
}
