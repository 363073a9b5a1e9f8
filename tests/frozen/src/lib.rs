//! The guest whose bytes are frozen: it uses as much of the interface as one plugin can.
//!
//! What is built of it is kept as bytes in host/plugin/tests/frozen, once for each released version of
//! the interface. Later SDKs may change what this source says; the bytes stay.

use kybern_sdk::arrow_array::cast::AsArray;
use kybern_sdk::arrow_array::{Array, RecordBatch};
use kybern_sdk::{
    Child, Cr, DeleteObject, Effect, Gvk, HookError, Outcome, OutcomeResult, PatchObject, Plan,
    Plugin, Propagation, Query, RunEffect, Schema, Sensing, Situation, Subresource, Target,
    Trigger, Value, http, json, log,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// What is wanted.
#[derive(Debug, Deserialize, Schema)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// Replicas of the Deployment.
    size: u32,
    /// The server that the effect calls; none calls nothing.
    url: Option<String>,
    /// Whether the resource is left alone.
    #[serde(default)]
    asleep: bool,
    /// What the plan holds beside what a cluster of tests can follow.
    #[serde(default)]
    everything: bool,
    /// How the decision ends without a plan: invalid, wait, retry or internal.
    fails: Option<String>,
}

/// What came of it.
#[derive(Debug, Default, Serialize, Deserialize, Schema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// What was read, and said.
    #[serde(default)]
    said: Vec<String>,
    /// Replicas that are there.
    #[serde(default)]
    replicas: u32,
}

#[derive(Deserialize)]
struct Settings {
    greeting: String,
}

/// What is kept: the largest size that was ever wanted.
#[derive(Serialize, Deserialize)]
struct Kept {
    largest: u32,
}

#[derive(Deserialize)]
struct Live {
    replicas: u32,
    made: String,
}

#[derive(Deserialize)]
struct Mate {
    name: String,
}

/// The plugin.
pub struct Frozen;

type FrozenCr = Cr<Spec, Status>;

#[kybern_sdk::plugin(
    name = "frozen",
    crd(kind = "frozen.example.com/v1/Frozen", scale = ["spec.size", "status.replicas"]),
    query(
        name = "live",
        sql = "SELECT spec.replicas AS replicas, creation_timestamp AS made FROM deployments WHERE namespace = $1 AND name = $2",
        params = ["metadata.namespace", "metadata.name"],
    ),
    reads = ["apps/v1/Deployment", "v1/ConfigMap"],
    read(kind = "frozen.example.com/v9/Unserved", optional = true),
    write(kind = "apps/v1/Deployment", verbs = ["apply"], subresources = ["scale"]),
    write(kind = "v1/ConfigMap", verbs = ["apply", "patch", "delete"]),
    effect(name = "call", description = "calls the server"),
    effect(name = "undo", description = "tells the server that it is over"),
    capability(name = "http", reason = "the server that resources name"),
    secret(name = "api-token", reason = "the server asks for it"),
    delegate(api_groups = [""], resources = ["pods"], verbs = ["get"]),
    settings = "settings.yaml",
    state
)]
impl Plugin for Frozen {
    type Spec = Spec;
    type Status = Status;

    fn sense(cr: &FrozenCr, trigger: &Trigger) -> Result<Sensing, HookError> {
        let Settings { greeting } = trigger.settings()?;
        log::debug(format!("{greeting} at {}", trigger.now()));
        if cr.spec.asleep {
            return Ok(Sensing::Skip);
        }
        let mates = "SELECT name FROM configmaps WHERE namespace = $1 AND name LIKE $2";
        let mates = Query::new("mates", mates)
            .param(cr.metadata.namespace.clone())
            .param(format!("{}-mate-%", cr.metadata.name));
        Ok(Sensing::Queries(vec![mates]))
    }

    fn decide(cr: &FrozenCr, situation: &Situation<'_>) -> Result<Plan, HookError> {
        log::info(format!("decides about {}", cr.metadata.name));
        fails(cr.spec.fails.as_deref())?;
        if cr.deleting() {
            return Ok(gone(cr, situation));
        }
        let live: Option<Live> = situation.row("live")?;
        let kept: Option<Kept> = situation.state()?;
        let Settings { greeting } = situation.settings()?;
        let largest = kept.map_or(0, |kept| kept.largest).max(cr.spec.size);
        let mut said = vec![greeting, format!("largest {largest}")];
        said.push(format!("mates {}", mates(situation)?.join(" ")));
        said.extend(situation.outcomes().iter().map(told));
        if cr.spec.everything {
            let made = live.as_ref().map(|live| live.made.clone());
            said.push(format!("made {}", made.unwrap_or_default()));
            said.push(format!("now {}", situation.now()));
        }
        let status = Status {
            said,
            replicas: live.map_or(0, |live| live.replicas),
        };
        let mut plan = Plan::new()
            .apply(deployment(cr))
            .apply(once(cr))
            .patch(note(cr))
            .create_subresource(Subresource::scale(guest(cr), cr.spec.size))
            .status(status)
            .event("Decided", "the plan is made")
            .set_state(Kept { largest })
            .requeue_after(Duration::from_secs(3600));
        if let Some(url) = &cr.spec.url {
            plan = plan
                .effect(effect("call", "first", url).with_timeout(Duration::from_secs(7)))
                .effect(effect("undo", "last", url).finalizing());
        }
        Ok(match cr.spec.everything {
            true => everything(cr, plan),
            false => plan,
        })
    }

    fn act(effect: &Effect) -> Result<Value, HookError> {
        log::warn(format!("{} for the {}. time", effect.name, effect.attempt));
        let url = effect.input.get("url").and_then(Value::as_str);
        let url = url.unwrap_or_default();
        let plain = http::get(url).header("X-Key", &effect.key).send()?;
        let asked = http::post(url)
            .timeout(Duration::from_secs(5))
            .json(&effect.input)?
            .secret("Authorization", "Bearer ", "api-token")
            .send()?
            .success()?;
        Ok(json!({ "plain": plain.status, "asked": asked.text() }))
    }
}

fn fails(how: Option<&str>) -> Result<(), HookError> {
    match how {
        None => Ok(()),
        Some("invalid") => Err(HookError::invalid("spec.fails", "is invalid")),
        Some("wait") => Err(HookError::wait("waits")),
        Some("retry") => Err(HookError::retry("retries")),
        Some(other) => {
            log::error(other);
            Err(HookError::Internal("fails".to_owned()))
        }
    }
}

/// The plan of the last passes: it is over when the server was told so.
fn gone(cr: &FrozenCr, situation: &Situation<'_>) -> Plan {
    let Some(url) = &cr.spec.url else {
        return Plan::new().deletion_done();
    };
    let plan = Plan::new().effect(effect("undo", "last", url).finalizing());
    match situation.outcome("last") {
        Some(outcome) if matches!(outcome.result, OutcomeResult::Ok(_)) => plan.deletion_done(),
        _ => plan.deletion_in_progress("the server is told"),
    }
}

/// The first as JSON, the others as record batches of one cursor.
fn mates(situation: &Situation<'_>) -> Result<Vec<String>, HookError> {
    let mut cursor = situation.open("mates")?;
    let mut names = vec![cursor.row_count().to_string()];
    let first: Vec<Mate> = cursor.rows(1)?.unwrap_or_default();
    names.extend(first.into_iter().map(|mate| mate.name));
    while let Some(batches) = cursor.batches(64 << 10)? {
        for batch in &batches {
            names.extend(column(batch)?);
        }
    }
    Ok(names)
}

fn column(batch: &RecordBatch) -> Result<Vec<String>, HookError> {
    let column = batch.column_by_name("name");
    let column = column.and_then(|column| column.as_string_opt::<i32>());
    let column = column.ok_or_else(|| HookError::Internal("name is no text".to_owned()))?;
    let names = (0..column.len()).map(|at| column.value(at).to_owned());
    Ok(names.collect())
}

fn told(outcome: &Outcome) -> String {
    let Outcome { key, attempt, .. } = outcome;
    match &outcome.result {
        OutcomeResult::Ok(value) => format!("{key} in {attempt}: {value}"),
        OutcomeResult::Error(reason) => format!("{key} failed in {attempt}: {reason}"),
    }
}

fn effect(name: &str, key: &str, url: &str) -> RunEffect {
    RunEffect::new(name, key).with_input(json!({ "url": url }))
}

fn deployment(cr: &FrozenCr) -> Child {
    let app = json!({ "app": cr.metadata.name });
    let deployment = cr.child("apps/v1/Deployment").spec(json!({
        "replicas": cr.spec.size,
        "selector": { "matchLabels": app },
        "template": {
            "metadata": { "labels": app },
            "spec": { "containers": [{ "name": "app", "image": "nginx:1.27" }] },
        },
    }));
    deployment.label("frozen", "yes").recreate_if_immutable()
}

/// Made once, before the Deployment, and kept whatever becomes of it.
fn once(cr: &FrozenCr) -> Child {
    let name = format!("{}-once", cr.metadata.name);
    let child = Child::named("v1/ConfigMap", &name).field("data", json!({ "by": "frozen" }));
    child.create_once().orphan().wave(-1)
}

/// A line in a ConfigMap that is not a child.
fn note(cr: &FrozenCr) -> PatchObject {
    let mut data = BTreeMap::new();
    data.insert(cr.metadata.name.clone(), cr.spec.size.to_string());
    PatchObject::new(other(cr, "", "ConfigMap", "board"), json!({ "data": data }))
}

fn guest(cr: &FrozenCr) -> Target {
    other(cr, "apps", "Deployment", "guest")
}

fn other(cr: &FrozenCr, group: &str, kind: &str, name: &str) -> Target {
    Target::new(Gvk::new(group, "v1", kind), &cr.metadata.namespace, name)
}

/// What else a plan can hold.
fn everything(cr: &FrozenCr, plan: Plan) -> Plan {
    let named = |name: &str| Child::named("v1/ConfigMap", name);
    let pod = other(cr, "", "Pod", "web-0").with_uid("1-2-3");
    plan.apply(named("kept").keep().adopt_if_unowned().ready().wave(2))
        .apply(named("lasting").during_deletion().ignore("data.open"))
        .warning("Odd", "this is odd")
        .create_subresource(Subresource::eviction(pod))
        .delete(DeleteObject {
            target: other(cr, "", "ConfigMap", "old").with_uid("4-5-6"),
            propagation: Propagation::Foreground,
            wave: 3,
        })
        .sql(
            "UPDATE configmaps SET data.a = $1 WHERE name = $2",
            ["x", "y"],
        )
}
