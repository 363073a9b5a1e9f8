//! `kybern simulate`: plugins over manifests in memory, until nothing changes.

use super::manifests;
use crate::args::SimulateArgs;
use crate::kinds::Kinds;
use crate::offline::{Offline, complete};
use crate::registration::prepared::Prepared;
use crate::registration::{access, check, given, limits, settings};
use crate::simulator::{MemoryApply, Step};
use crate::terminal::{self, say};
use crate::wiring::decide::Guests;
use crate::wiring::ingest::Ingest;
use crate::wiring::time::{Jitter, SystemClock};
use crate::wiring::work;
use anyhow::{Context, anyhow, bail};
use kybern_interface::{Gvk, Manifest, Registration};
use kybern_plugin::{Plugin, Runtime};
use kybern_reconcile::{Counters, Deps, Engine, EngineConfig, ObjectRef, PassResult};
use kybern_sense::SqlSense;
use kybern_sql::SqlLimits;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Where a host would be.
const HOME: &str = "kybern";

/// Reconciles to a fixed point, prints what was done and the objects that came of it.
pub(crate) async fn run(args: SimulateArgs) -> anyhow::Result<ExitCode> {
    let runtime = Runtime::new(crate::compiler::config()?)?;
    let mut plugins = Vec::new();
    for path in &args.plugin {
        let wasm =
            std::fs::read(path).with_context(|| format!("{}: cannot be read", path.display()))?;
        let plugin = runtime
            .load(&wasm)
            .map_err(|error| anyhow!("{}: {error}", path.display()))?;
        plugins.push(plugin);
    }
    let mut objects = manifests::load(&args.filename)?;
    let given: Vec<Registration> = objects
        .iter()
        .filter(|o| o.get("kind") == Some(&json!("Plugin")))
        .map(|o| serde_json::from_value(o.clone()).context("a Plugin among the manifests"))
        .collect::<anyhow::Result<_>>()?;
    objects.retain(|o| o.get("kind") != Some(&json!("Plugin")));
    for plugin in &plugins {
        objects.extend(plugin.manifest().crds.iter().cloned());
    }
    let kinds = Kinds::default();
    crate::kinds::builtin::fill(&kinds, &objects)?;
    let served = kinds.served();
    let mut named = Vec::new();
    for (index, object) in objects.iter_mut().enumerate() {
        let text = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let gvk = Gvk::from_api_version(text("/apiVersion"), text("/kind"));
        let Some(found) = served.get(&gvk) else {
            bail!("{gvk} is not a known kind; give its CustomResourceDefinition too");
        };
        complete(object, found.namespaced, index);
        let text = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let target = ObjectRef {
            gvk,
            plural: found.plural.clone(),
            namespace: text("/metadata/namespace").to_owned(),
            name: text("/metadata/name").to_owned(),
        };
        named.push((target, object.clone()));
    }
    let mut tables = Offline::new();
    tables.take(objects, &kinds)?;
    let (writer, reader) = tables.into_parts();
    let (ingest, _thread) = Ingest::start(writer, reader.snapshot().sequence())?;
    let sense = Arc::new(SqlSense::new(
        kybern_sql::Engine::new(reader.clone(), SqlLimits::default()),
        work::pool(),
    ));
    sense.set_catalog(kinds.catalog());
    let guests = Guests::new(true);
    let cluster = MemoryApply::new(named.clone(), ingest.clone());
    let engine = Engine::new(Deps {
        reader: reader.clone(),
        sense: Arc::<SqlSense>::clone(&sense),
        decide: Arc::new(guests.clone()),
        act: Arc::new(guests.clone()),
        apply: Arc::new(cluster.clone()),
        kinds: Arc::new(kinds.clone()),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(Jitter),
        config: EngineConfig::default(),
        home: HOME.to_owned(),
        counters: Counters::default(),
    });
    for plugin in plugins {
        let prepared = prepare(&plugin, &given, &named)?;
        let name = prepared.registration.name().to_owned();
        let access = access::of(&prepared.registration.spec, &prepared.manifest, &served);
        sense
            .admit(&name, prepared.plugin.digest(), access, &prepared.manifest)
            .await
            .map_err(|why| anyhow!("{name}: {why}"))?;
        guests.insert(&name, plugin, prepared.limits.clone());
        let active = prepared
            .active(&served)
            .map_err(|problem| anyhow!("{name}: {}", problem.message))?;
        engine.register(active);
    }
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let running = engine.clone();
    let (commits, token) = (ingest.commits(), stop.clone());
    tasks.spawn(async move { running.run(commits, token).await });
    let settled = settle(&engine, args.max_passes).await;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    print(&cluster, &named)?;
    match settled {
        Settled::Quiet => Ok(ExitCode::SUCCESS),
        Settled::Failing(failed) => {
            eprintln!("stopped: {failed} passes failed; see the status and Events above");
            Ok(ExitCode::FAILURE)
        }
        Settled::Restless => {
            eprintln!(
                "stopped after {} passes: something still changes; is the plan a function of its situation alone?",
                args.max_passes
            );
            Ok(ExitCode::FAILURE)
        }
    }
}

/// How the simulation ended.
enum Settled {
    /// Nothing is due any more.
    Quiet,
    /// Nothing is due but retries of failed passes.
    Failing(u64),
    /// Too many passes.
    Restless,
}

/// Waits until no pass is due or running.
async fn settle(engine: &Engine, max_passes: u32) -> Settled {
    let mut quiet = 0;
    loop {
        let metrics = engine.metrics();
        let ended = |result| -> u64 { metrics.plugins.values().map(|p| p.ended(result)).sum() };
        let failed = ended(PassResult::Failed);
        // What waited for a table has not begun.
        let begun = PassResult::ALL
            .into_iter()
            .filter(|r| *r != PassResult::NotReady);
        let passes: u64 = begun.map(ended).sum();
        if passes > u64::from(max_passes) {
            return Settled::Restless;
        }
        let busy = metrics.running > 0 || metrics.queued.iter().any(|n| *n > 0);
        quiet = if busy { 0 } else { quiet + 1 };
        // A commit that was made reaches the engine within one turn of its loop.
        if quiet >= 10 && passes > 0 {
            return if failed > 0 {
                Settled::Failing(failed)
            } else {
                Settled::Quiet
            };
        }
        if quiet >= 200 {
            return Settled::Quiet;
        }
        if failed >= 5 {
            return Settled::Failing(failed);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The plugin under the registration given for it, or under one that grants what it asks for.
fn prepare(
    plugin: &Plugin,
    given: &[Registration],
    objects: &[(ObjectRef, Value)],
) -> anyhow::Result<Prepared> {
    let manifest = Arc::new(plugin.manifest().clone());
    let registration = given
        .iter()
        .find(|r| {
            r.spec.resources.iter().any(|res| {
                manifest
                    .resources
                    .iter()
                    .any(|ask| ask.group == res.group && ask.kind == res.kind)
            })
        })
        .cloned()
        .map_or_else(|| generous(&manifest), Ok)?;
    let problem =
        |p: crate::registration::problem::Problem| anyhow!("{}: {}", manifest.name, p.message);
    check::spec(&registration.spec, "default").map_err(problem)?;
    check::manifest(&registration.spec, &manifest).map_err(problem)?;
    let given = given::among(&registration.spec, objects.iter().map(|(_, object)| object))
        .map_err(problem)?;
    let settings = settings::of(plugin, &given).map_err(problem)?;
    let limits = limits::of(&registration.spec.limits).map_err(problem)?;
    Ok(Prepared {
        registration: Arc::new(registration),
        plugin: plugin.clone(),
        manifest: Arc::clone(&manifest),
        given,
        settings,
        limits,
        image: None,
        crds_at: None,
    })
}

/// A registration that grants everything that the manifest asks for.
fn generous(manifest: &Manifest) -> anyhow::Result<Registration> {
    use super::plugin::registration;
    let mut object = registration::of(manifest, "simulated", None);
    // Nobody sends requests here; it only has to be granted something.
    let host = "nobody.invalid";
    let secrets = manifest.secrets.iter().map(|ask| {
        let at = json!({ "name": "none", "key": "none" });
        json!({ "name": ask.name, "secretRef": at, "hosts": [host] })
    });
    let grants = object.pointer_mut("/spec/grants");
    if let Some(grants) = grants.and_then(Value::as_object_mut) {
        grants.insert("secrets".into(), secrets.collect());
        if registration::asks_for_http(manifest).is_some() {
            grants.insert("http".into(), json!([{ "host": host }]));
        }
    }
    Ok(serde_json::from_value(object)?)
}

/// What was done, then the objects that are new or changed.
fn print(cluster: &MemoryApply, before: &[(ObjectRef, Value)]) -> anyhow::Result<()> {
    for step in cluster.steps() {
        match step {
            Step::Write(verb, target) => say!("# {verb} {target}"),
            Step::Event(severity, reason, note) => say!("# event {severity} {reason}: {note}"),
        }
    }
    for (target, mut object) in cluster.objects() {
        let same = before.iter().any(|(t, o)| *t == target && *o == object);
        if same {
            continue;
        }
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        say!("---");
        terminal::write(&serde_saphyr::to_string(&object)?);
    }
    Ok(())
}
