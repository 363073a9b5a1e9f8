//! An operator of AppService on kube-rs, as a peer of the bench `converge`: a Deployment, a Service
//! of type ClusterIP, the Deployment's counts as status, and one Event.
//!
//! As kube-rs' documentation has it: `Controller::owns`, forced server-side applies of the
//! children in each reconcile, the status applied when it differs, the built-in recorder. Ten
//! reconciles at once; unbounded is the default.

use anyhow::Result;
use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ObjectReference, Service};
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::watcher;
use kube::{Api, Client, CustomResource, Resource, ResourceExt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const MANAGER: &str = "appservice";
pub(crate) const WORKERS: u16 = 10;

#[derive(CustomResource, Clone, Debug, Deserialize, Serialize)]
#[kube(
    group = "bench.example.com",
    version = "v1",
    kind = "AppService",
    namespaced,
    status = "AppServiceStatus",
    schema = "disabled"
)]
pub struct AppServiceSpec {
    pub(crate) size: i32,
    pub(crate) image: String,
    pub(crate) ports: Vec<Port>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Port {
    pub(crate) port: i32,
    pub(crate) target_port: i32,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AppServiceStatus {
    observed_generation: i64,
    replicas: i32,
    ready_replicas: i32,
    available_replicas: i32,
    updated_replicas: i32,
    unavailable_replicas: i32,
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: String,
    message: String,
    observed_generation: i64,
    last_transition_time: String,
}

/// What a reconcile writes with.
pub(crate) struct Context {
    client: Client,
    recorder: Recorder,
}

impl Context {
    pub(crate) fn new(client: Client) -> Arc<Context> {
        let reporter = Reporter {
            controller: MANAGER.to_owned(),
            instance: None,
        };
        Arc::new(Context {
            recorder: Recorder::new(client.clone(), reporter),
            client,
        })
    }
}

/// Runs until SIGTERM.
pub async fn run(client: Client) -> Result<()> {
    let apps = Api::<AppService>::all(client.clone());
    let deployments = Api::<Deployment>::all(client.clone());
    let services = Api::<Service>::all(client.clone());
    let context = Context::new(client);
    Controller::new(apps, watcher::Config::default())
        .owns(deployments, watcher::Config::default())
        .owns(services, watcher::Config::default())
        .with_config(Config::default().concurrency(WORKERS))
        .shutdown_on_signal()
        .run(reconcile, error_policy, context)
        .for_each(|done| async move {
            if let Err(error) = done {
                eprintln!("kube-rs: {error}");
            }
        })
        .await;
    Ok(())
}

fn error_policy(_app: Arc<AppService>, error: &kube::Error, _context: Arc<Context>) -> Action {
    eprintln!("kube-rs: {error}");
    Action::requeue(Duration::from_secs(1))
}

/// Applies all that is wanted.
pub(crate) async fn reconcile(
    app: Arc<AppService>,
    context: Arc<Context>,
) -> Result<Action, kube::Error> {
    if app.meta().deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let namespace = app.namespace().unwrap_or_default();
    let name = app.name_any();
    let params = PatchParams::apply(MANAGER).force();
    let deployments = Api::<Deployment>::namespaced(context.client.clone(), &namespace);
    let wanted = Patch::Apply(deployment(&app, &name));
    let deployment = deployments.patch(&name, &params, &wanted).await?;
    let services = Api::<Service>::namespaced(context.client.clone(), &namespace);
    let wanted = Patch::Apply(service(&app, &name));
    services.patch(&name, &params, &wanted).await?;
    if app.status.is_none() {
        let note = "Deployment and Service are created";
        announce(&context.recorder, &app.object_ref(&()), note).await?;
    }
    let status = status(&app, &deployment);
    if app.status.as_ref() != Some(&status) {
        let apps = Api::<AppService>::namespaced(context.client.clone(), &namespace);
        let wanted = json!({
            "apiVersion": "bench.example.com/v1", "kind": "AppService", "status": status,
        });
        apps.patch_status(&name, &params, &Patch::Apply(wanted))
            .await?;
    }
    Ok(Action::await_change())
}

async fn announce(
    recorder: &Recorder,
    app: &ObjectReference,
    note: &str,
) -> Result<(), kube::Error> {
    let event = Event {
        type_: EventType::Normal,
        reason: "Created".to_owned(),
        note: Some(note.to_owned()),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    recorder.publish(&event, app).await
}

fn metadata(app: &AppService, name: &str) -> Value {
    json!({
        "name": name, "labels": { "app": name }, "ownerReferences": [app.controller_owner_ref(&())],
    })
}

fn deployment(app: &AppService, name: &str) -> Value {
    let ports = app.spec.ports.iter();
    let ports = ports.map(|port| json!({ "containerPort": port.target_port, "protocol": "TCP" }));
    let container = json!({
        "name": "app", "image": app.spec.image, "ports": ports.collect::<Value>(),
    });
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(app, name),
        "spec": {
            "replicas": app.spec.size,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [container] },
            },
        },
    })
}

fn service(app: &AppService, name: &str) -> Value {
    let ports = app.spec.ports.iter().map(|port| {
        json!({
            "name": format!("port-{}", port.port),
            "port": port.port,
            "targetPort": port.target_port,
            "protocol": "TCP",
        })
    });
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(app, name),
        "spec": {
            "type": "ClusterIP",
            "selector": { "app": name },
            "ports": ports.collect::<Value>(),
        },
    })
}

/// What is to be said, with that Deployment.
pub(crate) fn status(app: &AppService, deployment: &Deployment) -> AppServiceStatus {
    let counts = deployment.status.clone().unwrap_or_default();
    AppServiceStatus {
        observed_generation: app.meta().generation.unwrap_or_default(),
        replicas: counts.replicas.unwrap_or_default(),
        ready_replicas: counts.ready_replicas.unwrap_or_default(),
        available_replicas: counts.available_replicas.unwrap_or_default(),
        updated_replicas: counts.updated_replicas.unwrap_or_default(),
        unavailable_replicas: counts.unavailable_replicas.unwrap_or_default(),
        conditions: conditions(app, deployment),
    }
}

/// Ready, or how far the Deployment is.
fn conditions(app: &AppService, deployment: &Deployment) -> Vec<Condition> {
    let counts = deployment.status.clone().unwrap_or_default();
    let seen = counts.observed_generation >= deployment.metadata.generation;
    if seen && counts.available_replicas.unwrap_or_default() >= app.spec.size {
        let message = "everything is as planned".to_owned();
        return vec![condition(app, ["Ready", "True", "Applied"], message)];
    }
    let name = format!("{}/{}", app.namespace().unwrap_or_default(), app.name_any());
    let message = format!("waiting for Deployment {name} to be ready");
    vec![
        condition(app, ["Ready", "False", "Progressing"], message.clone()),
        condition(app, ["Reconciling", "True", "Progressing"], message),
    ]
}

fn condition(app: &AppService, [kind, status, reason]: [&str; 3], message: String) -> Condition {
    let before = app.status.iter().flat_map(|status| &status.conditions);
    let mut same = before.filter(|old| old.kind == kind && old.status == status);
    Condition {
        kind: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: app.meta().generation.unwrap_or_default(),
        last_transition_time: same
            .next()
            .map_or_else(now, |old| old.last_transition_time.clone()),
    }
}

fn now() -> String {
    // Whole seconds, as the API server's own times.
    k8s_openapi::jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}
