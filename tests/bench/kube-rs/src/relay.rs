//! One operator of the chain of the bench `ring`: what its object gets, the next one gets.
//!
//! A process for each hop, as operators are: a `Controller` over the objects with its hop's label,
//! and one forced server-side apply.

use anyhow::Result;
use futures::StreamExt;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::watcher;
use kube::{Api, Client, CustomResource, Resource, ResourceExt};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

#[derive(CustomResource, Clone, Debug, Deserialize, Serialize)]
#[kube(
    group = "bench.example.com",
    version = "v1",
    kind = "Hop",
    namespaced,
    schema = "disabled"
)]
pub struct HopSpec {
    nonce: String,
    hop: u32,
    last: u32,
}

/// Runs until SIGTERM.
pub async fn run(client: Client, hop: &str) -> Result<()> {
    let mine = watcher::Config::default().labels(&format!("hop={hop}"));
    Controller::new(Api::<Hop>::all(client.clone()), mine)
        .shutdown_on_signal()
        .run(reconcile, error_policy, Arc::new(client))
        .for_each(|done| async move {
            if let Err(error) = done {
                eprintln!("kube-rs: {error}");
            }
        })
        .await;
    Ok(())
}

fn error_policy(_hop: Arc<Hop>, error: &kube::Error, _client: Arc<Client>) -> Action {
    eprintln!("kube-rs: {error}");
    Action::requeue(Duration::from_secs(1))
}

async fn reconcile(object: Arc<Hop>, client: Arc<Client>) -> Result<Action, kube::Error> {
    let HopSpec { nonce, hop, last } = &object.spec;
    if hop >= last {
        return Ok(Action::await_change());
    }
    let next = hop + 1;
    let name = format!("hop-{next}");
    let hops = Api::<Hop>::namespaced(
        Client::clone(&client),
        &object.namespace().unwrap_or_default(),
    );
    let wanted = json!({
        "apiVersion": "bench.example.com/v1",
        "kind": "Hop",
        "metadata": {
            "name": name,
            "labels": { "hop": next.to_string() },
            "ownerReferences": [object.controller_owner_ref(&())],
        },
        "spec": { "nonce": nonce, "hop": next, "last": last },
    });
    let params = PatchParams::apply("relay").force();
    hops.patch(&name, &params, &Patch::Apply(wanted)).await?;
    Ok(Action::await_change())
}
