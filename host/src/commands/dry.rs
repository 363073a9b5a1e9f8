//! A pass over one custom resource of the cluster that writes nothing, made by a command.
//!
//! # Contract
//! What the registration needs is listed once, so that the pass is over the cluster as it is now.
//! Everything but the writes is the host's own code.

use crate::args::RegistryArgs;
use crate::kinds::{Kinds, plugin_table};
use crate::offline::Offline;
use crate::registration::prepared::Prepared;
use crate::registration::problem::Problem;
use crate::registration::{access, bundled, check, given, limits, settings};
use crate::simulator::MemoryApply;
use crate::source::{Fetch, Fetched, Keep, SourceConfig, Sources, What};
use crate::wiring::decide::Guests;
use crate::wiring::ingest::Ingest;
use crate::wiring::time::{Jitter, SystemClock};
use crate::wiring::work;
use anyhow::{Context, anyhow, bail};
use kybern_interface::{Gvk, Registration};
use kybern_kube::{Cluster, RequestError, Resource, Target};
use kybern_plugin::{Plugin, Runtime};
use kybern_reconcile::{
    Active, Counters, Decide, Deps, DryPass, Engine, EngineConfig, EngineError, ObjectRef, Primary,
    record_name,
};
use kybern_sense::SqlSense;
use kybern_sql::SqlLimits;
use kybern_table::Reader;
use serde_json::Value;
use std::sync::Arc;

/// Which pass.
pub(super) struct Asked<'a> {
    /// The cluster.
    pub(super) cluster: &'a Cluster,
    /// How registries are talked to.
    pub(super) registry: &'a RegistryArgs,
    /// As it is in the cluster.
    pub(super) registration: Registration,
    /// The component; without it what the registration's source has.
    pub(super) component: Option<Vec<u8>>,
    /// NAMESPACE/NAME, or NAME.
    pub(super) object: &'a str,
}

/// A pass that can be made.
pub(super) struct Dry {
    /// The component's digest.
    pub(super) digest: String,
    engine: Engine,
    plugin: String,
    kind: Gvk,
    namespace: String,
    name: String,
}

/// The registration of that name.
pub(super) async fn registration(cluster: &Cluster, name: &str) -> anyhow::Result<Registration> {
    let resource = Resource::from(&plugin_table());
    let raw = cluster
        .get(&Target::new(&resource, None, name))
        .await
        .with_context(|| format!("Plugin {name} cannot be read"))?;
    Ok(serde_json::from_slice(&raw)?)
}

impl Dry {
    /// Lists what the registration needs, and makes ready. `decide` is made of what calls the plugin.
    ///
    /// # Errors
    /// The registration is refused, its component cannot be had, a kind cannot be listed, or there is
    /// no such custom resource.
    pub(super) async fn prepare(
        asked: Asked<'_>,
        decide: impl FnOnce(Guests) -> Arc<dyn Decide>,
    ) -> anyhow::Result<Self> {
        let (cluster, object) = (asked.cluster, asked.object);
        let (namespace, name) = object.split_once('/').unwrap_or(("", object));
        let kinds = Kinds::default();
        kinds.discover(cluster).await?;
        let (prepared, plugin) = prepared(asked).await?;
        let registration = prepared.registration.name().to_owned();
        let served = kinds.served();
        let wanted = prepared.tables(&served).map_err(told)?;
        for def in &wanted {
            kinds
                .learn_types(cluster, &def.key.group, &def.key.version)
                .await;
        }
        let mut tables = Offline::new();
        tables.list(cluster, &wanted, None).await?;
        let (writer, reader) = tables.into_parts();
        let (ingest, _thread) = Ingest::start(writer, reader.snapshot().sequence())?;
        let sense = sense(&reader, &kinds, &prepared).await?;
        let guests = Guests::new(true);
        guests.insert(&registration, plugin, prepared.limits.clone());
        let active = prepared.active(&served).map_err(told)?;
        let Some((primary, uid)) = find(&active, &reader, namespace, name) else {
            bail!("{object} does not exist, or is of no kind that {registration} is in charge of");
        };
        let home = cluster.default_namespace().to_owned();
        let kept = if active.keeps_records() {
            let beside = if namespace.is_empty() {
                &home
            } else {
                namespace
            };
            record(cluster, beside, &registration, &uid).await?
        } else {
            None
        };
        let engine = Engine::new(Deps {
            reader,
            sense,
            decide: decide(guests.clone()),
            act: Arc::new(guests),
            // A dry pass writes nothing; were it to, it would write into memory.
            apply: Arc::new(MemoryApply::new(Vec::from_iter(kept), ingest)),
            kinds: Arc::new(kinds),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(Jitter),
            config: EngineConfig::default(),
            home,
            counters: Counters::default(),
        });
        engine.register(active);
        Ok(Self {
            digest: prepared.plugin.digest().to_owned(),
            engine,
            plugin: registration,
            kind: primary.gvk,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }

    /// Makes the pass.
    pub(super) async fn pass(&self) -> Result<DryPass, EngineError> {
        self.engine
            .dry_pass(&self.plugin, &self.kind, &self.namespace, &self.name)
            .await
    }
}

fn told(problem: Problem) -> anyhow::Error {
    anyhow!("{}: {}", problem.reason, problem.message)
}

/// The registration, checked, with its component.
async fn prepared(asked: Asked<'_>) -> anyhow::Result<(Prepared, Plugin)> {
    let registration = asked.registration;
    check::spec(&registration.spec, asked.cluster.default_namespace()).map_err(told)?;
    let fetched = match asked.component {
        Some(bytes) => Fetched {
            digest: crate::source::digest(&bytes),
            bytes: bytes.into(),
            image: None,
        },
        None => component(&registration, asked.cluster, asked.registry)
            .await
            .map_err(told)?,
    };
    let plugin = Runtime::new(crate::compiler::config()?)?.load(&fetched.bytes)?;
    let manifest = Arc::new(plugin.manifest().clone());
    let given = given::read(&registration.spec, asked.cluster);
    let given = given.await.map_err(told)?;
    let prepared = Prepared {
        settings: settings::of(&plugin, &given).map_err(told)?,
        given,
        limits: limits::of(&registration.spec.limits).map_err(told)?,
        registration: Arc::new(registration),
        plugin: plugin.clone(),
        manifest,
        image: fetched.image,
        crds_at: None,
    };
    Ok((prepared, plugin))
}

/// What answers its queries, with what it is granted.
async fn sense(
    reader: &Reader,
    kinds: &Kinds,
    prepared: &Prepared,
) -> anyhow::Result<Arc<SqlSense>> {
    let engine = kybern_sql::Engine::new(reader.clone(), SqlLimits::default());
    let sense = Arc::new(SqlSense::new(engine, work::pool()));
    sense.set_catalog(kinds.catalog());
    let (spec, manifest) = (&prepared.registration.spec, &prepared.manifest);
    let access = access::of(spec, manifest, &kinds.served());
    let name = prepared.registration.name();
    let admitted = sense.admit(name, prepared.plugin.digest(), access, manifest);
    admitted.await.map_err(|why| told(why.into()))?;
    Ok(sense)
}

/// The custom resource's kind and uid.
fn find(
    active: &Active,
    reader: &Reader,
    namespace: &str,
    name: &str,
) -> Option<(Primary, String)> {
    active.primaries.iter().find_map(|primary| {
        let row =
            reader.read(|snapshot| crate::tables::row(snapshot, &primary.table(), namespace, name));
        row.map(|row| (primary.clone(), row.uid().to_string()))
    })
}

/// The component that the host runs, as far as the registration says which.
async fn component(
    registration: &Registration,
    cluster: &Cluster,
    args: &RegistryArgs,
) -> Result<Fetched, Problem> {
    let spec = &registration.spec;
    let image = spec.source.oci.as_ref().map(|oci| &oci.image);
    let resolved = registration.status.resolved.as_ref();
    let resolved = resolved.filter(|resolved| Some(&resolved.image) == image);
    let fetch = Fetch {
        source: spec.source.clone(),
        digest: spec.digest.clone(),
        resolved: resolved.map(|resolved| resolved.digest.clone()),
        what: What::Component,
    };
    let plain = args.insecure_registry.clone();
    let sources = Sources::new(SourceConfig::default(), Keep::default(), plain);
    let fetched = sources.fetch(&fetch, Some(cluster)).await;
    let component = fetched.map_err(|error| error.problem(fetch.is_far()))?;
    let Some(wanted) = bundled::wanted(spec, &component.bytes)? else {
        return Ok(component);
    };
    let bundle = sources.fetch(&wanted, Some(cluster)).await;
    let bundle = bundle.map_err(|error| bundled::told(error.problem(wanted.is_far())))?;
    bundled::composed(&component, &bundle)
}

/// What the plugin remembers of the CR, as the cluster has it.
async fn record(
    cluster: &Cluster,
    namespace: &str,
    plugin: &str,
    uid: &str,
) -> anyhow::Result<Option<(ObjectRef, Value)>> {
    let target = ObjectRef {
        gvk: Gvk::new("", "v1", "Secret"),
        plural: "secrets".to_owned(),
        namespace: namespace.to_owned(),
        name: record_name(plugin, uid),
    };
    let resource = Resource::new("", "v1", "Secret", "secrets", true);
    let at = Target::new(&resource, Some(namespace), &target.name);
    match cluster.get(&at).await {
        Ok(raw) => Ok(Some((target, serde_json::from_slice(&raw)?))),
        Err(RequestError::Api(refused)) if refused.is_not_found() => Ok(None),
        Err(error) => Err(error).with_context(|| {
            format!("{target}, what the plugin remembers of the object, cannot be read")
        }),
    }
}
