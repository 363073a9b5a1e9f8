//! A plugin that remembers, and touches what is not its own: idle, a Deployment has no replicas; awake again, as many as before.
//!
//! How many there were is nowhere else: `kubectl scale`, or an autoscaler, set it on the
//! Deployment, which has 0 by then.

use kybern_sdk::{
    Child, DeploymentStatus, Gvk, HookError, PatchObject, Plan, Plugin, Schema, Situation,
    Subresource, Target, json,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A Deployment that can be put to sleep.
#[derive(Debug, Deserialize, Schema)]
pub struct Spec {
    /// Whether nothing is to run now.
    #[serde(default)]
    idle: bool,
    /// Kept together with the count, and shown to nobody.
    #[serde(default)]
    secret: String,
    /// Whether every Pod of the namespace is to go.
    #[serde(default)]
    drain: bool,
    /// How many replicas the Deployment `guest`, which is not a child, shall have.
    guest: Option<u32>,
    /// What the ConfigMap `board`, which is not a child, shall say under this resource's name.
    note: Option<String>,
}

/// A Pod of the namespace.
#[derive(Deserialize)]
struct Pod {
    name: String,
    uid: String,
}

/// What the plugin sees of its own Deployment.
#[derive(Deserialize)]
struct Live {
    replicas: u32,
}

#[derive(Serialize, Deserialize)]
struct Former {
    replicas: u32,
    secret: String,
}

/// The plugin.
pub struct Sleeper;

type Cr = kybern_sdk::Cr<Spec, DeploymentStatus>;

#[kybern_sdk::plugin(
    name = "keeper",
    crd(kind = "keeper.example.com/v1/Sleeper"),
    query(
        name = "live",
        sql = "SELECT spec.replicas AS replicas FROM deployments WHERE namespace = $1 AND name = $2",
        params = ["metadata.namespace", "metadata.name"],
    ),
    query(
        name = "pods",
        sql = "SELECT name, uid FROM pods WHERE namespace = $1",
        params = ["metadata.namespace"],
    ),
    reads = ["apps/v1/Deployment", "v1/Pod"],
    write(kind = "apps/v1/Deployment", verbs = ["apply"], subresources = ["scale"]),
    write(kind = "v1/Pod", subresources = ["eviction"]),
    write(kind = "v1/ConfigMap", verbs = ["patch"]),
    state,
)]
impl Plugin for Sleeper {
    type Spec = Spec;
    type Status = DeploymentStatus;

    fn decide(cr: &Cr, situation: &Situation<'_>) -> Result<Plan, HookError> {
        let live = situation.row::<Live>("live")?.map(|live| live.replicas);
        let former: Option<Former> = situation.state()?;
        let plan = others(cr, situation)?;
        Ok(match (cr.spec.idle, live, former) {
            (true, Some(replicas), _) if replicas > 0 => plan
                .set_state(Former {
                    replicas,
                    secret: cr.spec.secret.clone(),
                })
                .apply(deployment(cr, 0)),
            (true, ..) => plan.apply(deployment(cr, 0)),
            // Forgotten only once it is seen to be so again: a host may end at any point.
            (false, live, Some(former)) if live == Some(former.replicas) => {
                plan.set_state(()).apply(deployment(cr, former.replicas))
            }
            (false, _, Some(former)) => plan.apply(deployment(cr, former.replicas)),
            (false, live, None) => plan.apply(deployment(cr, live.unwrap_or(1))),
        })
    }
}

/// What is to become of objects that are not children.
fn others(cr: &Cr, situation: &Situation<'_>) -> Result<Plan, HookError> {
    let namespace = cr.metadata.namespace.as_str();
    let mut plan = Plan::new();
    if cr.spec.drain {
        for pod in situation.rows::<Pod>("pods")? {
            let target = Target::new(Gvk::new("", "v1", "Pod"), namespace, pod.name);
            plan = plan.create_subresource(Subresource::eviction(target.with_uid(pod.uid)));
        }
    }
    if let Some(replicas) = cr.spec.guest {
        let deployment = Gvk::new("apps", "v1", "Deployment");
        let target = Target::new(deployment, namespace, "guest");
        plan = plan.create_subresource(Subresource::scale(target, replicas));
    }
    if let Some(note) = &cr.spec.note {
        let board = Target::new(Gvk::new("", "v1", "ConfigMap"), namespace, "board");
        let mut data = BTreeMap::new();
        data.insert(cr.metadata.name.clone(), note);
        plan = plan.patch(PatchObject::new(board, json!({ "data": data })));
    }
    Ok(plan)
}

fn deployment(cr: &Cr, replicas: u32) -> Child {
    let app = json!({ "app": cr.metadata.name });
    cr.child("apps/v1/Deployment").spec(json!({
        "replicas": replicas,
        "selector": { "matchLabels": app },
        "template": {
            "metadata": { "labels": app },
            "spec": { "containers": [{ "name": "app", "image": "nginx:1.27" }] },
        },
    }))
}

#[cfg(test)]
mod tests;
