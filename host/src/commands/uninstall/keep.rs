//! `--keep-plugins`: takes the host's finalizers off and leaves everything else as it is.
//!
//! *Why.* Without a host a finalizer of ours is held for ever. Without the finalizers nothing hangs:
//! custom resources and their children can be deleted by hand (the garbage collector follows the
//! ownerReferences, which stay), and a host that is installed later takes the finalizers again and
//! goes on with the same `Plugin` objects.

use crate::kinds::{Kinds, Served};
use crate::registration::problem::Problem;
use crate::registration::{hold, report};
use crate::terminal::say;
use anyhow::{Context, bail};
use bytes::Bytes;
use kybern_interface::{Gvk, Registration, names};
use kybern_kube::{
    ListOptions, PatchOptions, RequestError, Resource, Target, WriteOptions, Writes,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Most objects of one kind that are read.
const MAX_OBJECTS: usize = 1_000_000;
/// How often a write is tried when others change the object meanwhile.
const TRIES: u32 = 5;

/// Lets go of every custom resource of these registrations, then of the registrations.
pub(super) async fn run(
    writes: &Writes,
    registrations: &[Registration],
    namespace: Option<&str>,
) -> anyhow::Result<()> {
    let kinds = Kinds::default();
    kinds.discover(writes.cluster()).await?;
    let served = kinds.served();
    for registration in registrations {
        let mut released = 0_usize;
        for gvk in in_charge_of(registration) {
            released += custom_resources(writes, &served, registration, &gvk, namespace).await?;
        }
        plugin(writes, registration).await?;
        say!(
            "let go of Plugin {} and {released} of its custom resources; all of them stay",
            registration.name()
        );
    }
    Ok(())
}

/// The kinds that it is in charge of, and those that it was and that are not let go of yet.
fn in_charge_of(registration: &Registration) -> BTreeSet<Gvk> {
    let asked = registration.spec.resources.iter();
    let asked = asked.map(|r| Gvk::new(&*r.group, &*r.version, &*r.kind));
    let held = registration.status.resources.iter();
    let held = held.map(|r| Gvk::new(&*r.group, &*r.version, &*r.kind));
    asked.chain(held).collect()
}

/// Takes the registration's finalizer off every object of a kind; how many had it.
async fn custom_resources(
    writes: &Writes,
    served: &Served,
    registration: &Registration,
    gvk: &Gvk,
    namespace: Option<&str>,
) -> anyhow::Result<usize> {
    let Some(found) = served.get(gvk) else {
        // A kind that is not served has no objects; one that could not be discovered may have some.
        return match served.unknown(&gvk.group) {
            None => Ok(0),
            Some(reason) => bail!("Plugin {}: {reason}", registration.name()),
        };
    };
    let resource = Resource::from(found);
    let finalizer = names::cleanup_finalizer(registration.name());
    let page = writes
        .cluster()
        .list_all(
            &resource,
            namespace.filter(|_| resource.namespaced),
            &ListOptions {
                metadata_only: true,
                ..ListOptions::default()
            },
            MAX_OBJECTS,
        )
        .await
        .with_context(|| {
            format!(
                "{} cannot be listed, so that their finalizers stay; `kybern rbac` prints the rules that are needed",
                resource.qualified()
            )
        })?;
    let mut released = 0;
    for raw in &page.items {
        let object: Value = serde_json::from_slice(raw)?;
        if take_off(writes, &resource, object, &finalizer).await? {
            released += 1;
        }
    }
    Ok(released)
}

/// Takes a finalizer off an object, whatever others do to it meanwhile; whether it had it.
async fn take_off(
    writes: &Writes,
    resource: &Resource,
    mut object: Value,
    finalizer: &str,
) -> anyhow::Result<bool> {
    let text = |object: &Value, pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let namespace = text(&object, "/metadata/namespace");
    let name = text(&object, "/metadata/name").unwrap_or_default();
    let uid = text(&object, "/metadata/uid");
    let target = Target::new(resource, namespace.as_deref(), &name);
    let what = format!(
        "{} {}{name}",
        resource.kind,
        namespace
            .as_deref()
            .map_or_else(String::new, |n| format!("{n}/"))
    );
    for _ in 0..TRIES {
        if text(&object, "/metadata/uid") != uid {
            return Ok(false);
        }
        let list = object
            .pointer("/metadata/finalizers")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let rest: Vec<&Value> = list.iter().filter(|f| *f != finalizer).collect();
        if rest.len() == list.len() {
            return Ok(false);
        }
        let patch = json!({ "metadata": {
            "uid": uid,
            "resourceVersion": text(&object, "/metadata/resourceVersion"),
            "finalizers": rest,
        }});
        match writes
            .merge_patch(&target, Bytes::from(patch.to_string()), &by_host())
            .await
        {
            Ok(_) => {
                if object.pointer("/metadata/deletionTimestamp").is_some() {
                    say!(
                        "{what} was being deleted: it goes now; look for children of it in other namespaces, and for what it patched"
                    );
                }
                return Ok(true);
            }
            Err(RequestError::Api(refused)) if refused.is_not_found() => return Ok(false),
            Err(RequestError::Api(refused)) if refused.is_conflict() => {
                object = match writes.get(&target).await {
                    Ok(raw) => serde_json::from_slice(&raw)?,
                    Err(RequestError::Api(gone)) if gone.is_not_found() => return Ok(false),
                    Err(error) => return Err(error).with_context(|| what),
                };
            }
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("{what}: its finalizer cannot be taken off"));
            }
        }
    }
    bail!("{what} is changed by others all the time; run the command again")
}

fn by_host() -> PatchOptions {
    PatchOptions {
        write: WriteOptions::by(report::MANAGER),
        subresource: None,
    }
}

/// Takes our finalizer off the registration and says in its status that nobody runs it.
async fn plugin(writes: &Writes, registration: &Registration) -> anyhow::Result<()> {
    hold::let_go(writes, registration)
        .await
        .with_context(|| format!("Plugin {} cannot be let go of", registration.name()))?;
    let stopped = report::Outcome::Broken(Problem::passing(
        "HostUninstalled",
        "no host runs this plugin: nothing is decided, and nothing waits for it; install the host again, or delete this object",
    ));
    match report::write(writes, registration, &stopped, None).await {
        Err(RequestError::Api(refused)) if refused.is_not_found() => Ok(()),
        other => other.with_context(|| format!("status of Plugin {}", registration.name())),
    }
}
