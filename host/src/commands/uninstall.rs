//! `kybern uninstall`: removes all registrations of a class, or only lets go of them, so that
//! nothing waits for a host that is gone.

mod keep;
mod stop;

pub(crate) use stop::Deployment;

use crate::args::UninstallArgs;
use crate::kinds::{Kinds, plugin_table};
use crate::offline::Offline;
use crate::registration::releases::Tried;
use crate::registration::{hold, removal};
use crate::rights::Refusals;
use crate::terminal::say;
use crate::wiring::apply::ClusterApply;
use crate::wiring::decide::Guests;
use crate::wiring::ingest::Ingest;
use crate::wiring::time::{Jitter, SystemClock};
use crate::wiring::work;
use anyhow::{Context, bail};
use kybern_interface::Registration;
use kybern_kube::clock::SystemClock as BootClock;
use kybern_kube::events::{self, RecorderConfig};
use kybern_kube::{
    AlwaysLeader, Cluster, DeleteOptions, ListOptions, RequestError, Resource, Target, Writes,
};
use kybern_reconcile::{Counters, Deps, Engine, EngineConfig};
use kybern_sense::SqlSense;
use kybern_sql::SqlLimits;
use serde_json::Value;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Most registrations that are read.
const MAX_REGISTRATIONS: usize = 10_000;
/// How long a running host has to release a registration before this command does it.
const HOST_TIME: Duration = Duration::from_secs(15);

/// Deletes each registration; a running host releases it, else this command does.
pub(crate) async fn run(args: UninstallArgs) -> anyhow::Result<ExitCode> {
    let namespace = crate::args::one_namespace(&args.namespaces)?;
    let cluster = crate::cluster::connect(&args.cluster).await?;
    let all = registrations(&cluster, &args.class).await?;
    if all.is_empty() {
        say!("no Plugin of class {:?}", args.class);
        return Ok(ExitCode::SUCCESS);
    }
    if !args.yes {
        foretell(&args, &all);
        return Ok(ExitCode::SUCCESS);
    }
    let writes = Writes::new(cluster.clone(), Arc::new(AlwaysLeader));
    let mut host_time = HOST_TIME;
    if let Some(deployment) = &args.stop_deployment {
        stop::run(&writes, deployment).await?;
        host_time = Duration::ZERO;
    }
    let all = registrations(&cluster, &args.class).await?;
    if args.keep_plugins {
        // Somebody asked for the deletion of these: they are released as their policy says.
        let (going, staying): (Vec<_>, Vec<_>) = all.into_iter().partition(deleting);
        for registration in going {
            say!(
                "Plugin {} is being deleted: releasing it",
                registration.name()
            );
            release(&cluster, &writes, registration, namespace).await?;
        }
        keep::run(&writes, &staying, namespace).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let resource = Resource::from(&plugin_table());
    for registration in &all {
        let uid = registration
            .metadata
            .get("uid")
            .and_then(Value::as_str)
            .unwrap_or_default();
        match writes
            .delete(
                &Target::new(&resource, None, registration.name()),
                &DeleteOptions::of(uid),
            )
            .await
        {
            Ok(_) => {}
            Err(RequestError::Api(refused)) if refused.is_not_found() => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("Plugin {} cannot be deleted", registration.name()));
            }
        }
    }
    let deadline = crate::clock::monotonic().saturating_add(host_time);
    loop {
        let left = registrations(&cluster, &args.class).await?;
        if left.is_empty() {
            say!("released and deleted: {}", names(&all));
            return Ok(ExitCode::SUCCESS);
        }
        if crate::clock::monotonic() >= deadline {
            if !host_time.is_zero() {
                say!("no running host released {}; doing it here", names(&left));
            }
            for registration in left {
                release(&cluster, &writes, registration, namespace).await?;
            }
            say!("released and deleted: {}", names(&all));
            return Ok(ExitCode::SUCCESS);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Says what would be done.
fn foretell(args: &UninstallArgs, all: &[Registration]) {
    if let Some(deployment) = &args.stop_deployment {
        say!("would scale Deployment {deployment} to zero and wait for its Pods to end");
    }
    for registration in all {
        if args.keep_plugins {
            say!(
                "would take the host's finalizers off Plugin {} and its custom resources, and keep them",
                registration.name()
            );
        } else {
            say!(
                "would release and delete Plugin {} (onRemoval: {:?})",
                registration.name(),
                registration.spec.on_removal
            );
        }
    }
    say!("run again with --yes to do it");
}

fn deleting(registration: &Registration) -> bool {
    registration
        .metadata
        .get("deletionTimestamp")
        .is_some_and(|t| !t.is_null())
}

fn names(registrations: &[Registration]) -> String {
    registrations
        .iter()
        .map(Registration::name)
        .collect::<Vec<_>>()
        .join(", ")
}

/// The registrations of a class.
async fn registrations(cluster: &Cluster, class: &str) -> anyhow::Result<Vec<Registration>> {
    let resource = Resource::from(&plugin_table());
    let page = match cluster
        .list_all(&resource, None, &ListOptions::default(), MAX_REGISTRATIONS)
        .await
    {
        Ok(page) => page,
        Err(RequestError::Api(refused)) if refused.is_not_found() => return Ok(Vec::new()),
        Err(error) => return Err(error).context("registrations cannot be listed"),
    };
    let mut found = Vec::new();
    for raw in &page.items {
        let value: Value = serde_json::from_slice(raw)?;
        if value
            .pointer("/spec/class")
            .and_then(Value::as_str)
            .unwrap_or_default()
            == class
        {
            found.push(serde_json::from_value(value)?);
        }
    }
    Ok(found)
}

/// Does what the host would do: releases every CR and child, then the registration.
async fn release(
    cluster: &Cluster,
    writes: &Writes,
    registration: Registration,
    namespace: Option<&str>,
) -> anyhow::Result<()> {
    let registration = Arc::new(registration);
    let kinds = Kinds::default();
    kinds.discover(cluster).await?;
    let served = kinds.served();
    let wanted = removal::tables(&registration, &served);
    let mut tables = Offline::new();
    tables.list(cluster, &wanted, namespace).await?;
    let (writer, reader) = tables.into_parts();
    let (ingest, _thread) = Ingest::start(writer, reader.snapshot().sequence())?;
    // Releasing needs no Events; the worker is not run, and what is recorded is dropped.
    let (recorder, _worker) = events::recorder(
        cluster.clone(),
        RecorderConfig::new("kybern.dev/uninstall", "uninstall"),
        Arc::new(BootClock),
    );
    let engine = Engine::new(Deps {
        reader: reader.clone(),
        sense: Arc::new(SqlSense::new(
            kybern_sql::Engine::new(reader.clone(), SqlLimits::default()),
            work::pool(),
        )),
        decide: Arc::new(Guests::new(false)),
        act: Arc::new(Guests::new(false)),
        apply: Arc::new(ClusterApply::new(
            writes.clone(),
            recorder,
            ingest,
            cluster.default_namespace(),
            Refusals::default(),
        )),
        kinds: Arc::new(kinds.clone()),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(Jitter),
        config: EngineConfig::default(),
        home: cluster.default_namespace().to_owned(),
        counters: Counters::default(),
    });
    for _ in 0..10 {
        match removal::release(&engine, &registration, &served, &reader).await {
            Tried::Released => {
                hold::let_go(writes, &registration).await?;
                return Ok(());
            }
            Tried::Unseen(Some(problem)) => bail!("{}: {}", registration.name(), problem.message),
            Tried::Unseen(None) => bail!("{}: a list did not come", registration.name()),
            Tried::Refused(problem) => tracing::warn!("{}", problem.message),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    bail!(
        "Plugin {} could not be released; run the command again",
        registration.name()
    )
}
