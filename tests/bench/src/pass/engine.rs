//! Kybern as the one that is measured: the reconcile engine over the store and the SQL engine of
//! the product. Only what decides and what is written to are the benchmark's.

use super::cluster::{Cluster, upsert};
use super::objects::{PODS, cr, key, plan, pod, tables};
use crate::clock::{now, pass, processor_time};
use crate::subject::{hosted, pin};
use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use kybern_interface::{Effect, Gvk, Manifest, Plan, Registration, Sensing, Situation, Trigger};
use kybern_reconcile::{
    Act, Active, Answer, Clock, Counters, Decide, DecideError, Deps, Engine, EngineConfig, Entropy,
    KindFacts, Kinds, PassLimits, PassResult, Primary, parse_plan, table_of,
};
use kybern_sense::SqlSense;
use kybern_sql::{
    AccessSet, Catalog, CatalogTable, PathStep, PathTypes, RowScope, SqlLimits, TableAccess,
};
use kybern_table::{Change, Origin, PathType, TableDef, store};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The registration's name.
const PLUGIN: &str = "appservice";
/// Changes of one commit, as in the host.
const COMMIT: usize = 512;

/// How the queries of a case are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Lane {
    /// What the plugin AppService asks: its Deployment, by namespace and name.
    Lookup,
    /// Pods by label, counted: many CRs are answered by one join.
    Set,
    /// The same beside the Deployment, in an order: each CR is answered by itself.
    General,
}

impl Lane {
    fn sql(self) -> &'static str {
        match self {
            Self::Lookup => {
                "SELECT generation, spec.replicas AS wanted, status.observedGeneration AS seen, status.replicas AS replicas, status.readyReplicas AS ready, status.availableReplicas AS available, status.updatedReplicas AS updated, status.unavailableReplicas AS unavailable, status.conditions AS reported FROM apps.deployments WHERE namespace = $1 AND name = $2"
            }
            Self::Set => {
                "SELECT status.phase AS phase, count(*) AS pods FROM core.pods WHERE namespace = $1 AND labels['app'] = $2 GROUP BY status.phase"
            }
            Self::General => {
                "SELECT d.name AS deployment, p.status.phase AS phase, count(*) AS pods FROM apps.deployments d JOIN core.pods p ON p.namespace = d.namespace AND p.labels['app'] = d.name WHERE d.namespace = $1 AND d.name = $2 GROUP BY d.name, p.status.phase ORDER BY pods DESC, phase"
            }
        }
    }
}

/// What was measured.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Figures {
    /// Processor seconds from the commit until the last pass was done.
    pub(crate) busy: f64,
    /// The same on the wall.
    pub(crate) wall: f64,
    /// How many passes or events that were.
    pub(crate) count: u32,
}

/// One pass over each of `crs`, each made due by a change of its Deployment that nobody reads.
pub(crate) fn passes(lane: Lane, crs: u64) -> Result<Figures> {
    pin()?;
    runtime()?.block_on(async {
        let host = Host::start(lane, crs, crs * PODS, Arc::new(Plugin)).await?;
        // Once before it counts.
        host.noted(crs, 1).await?;
        host.noted(crs, 2).await
    })
}

/// Changes of pods that concern no CR, beside so many of those.
pub(crate) fn unrelated(crs: u64, events: u64) -> Result<Figures> {
    pin()?;
    runtime()?.block_on(async {
        let host = Host::start(Lane::Lookup, crs, events, Arc::new(Plugin)).await?;
        host.elsewhere(events, 1).await?;
        host.elsewhere(events, 2).await
    })
}

pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?)
}

/// The engine, come to rest over its CRs.
pub(super) struct Host {
    pub(super) cluster: Arc<Cluster>,
    pub(super) engine: Engine,
    sense: Arc<SqlSense>,
    stop: CancellationToken,
    /// Ends with it.
    _run: JoinSet<()>,
}

impl Host {
    pub(super) async fn start(
        lane: Lane,
        crs: u64,
        pods: u64,
        decide: Arc<dyn Decide>,
    ) -> Result<Self> {
        let (writer, reader) = store(hosted());
        let (cluster, commits) = Cluster::new(writer, reader.clone());
        let cluster = Arc::new(cluster);
        for def in tables() {
            let objects: Box<dyn Iterator<Item = Value>> = match def.plural.as_str() {
                "appservices" => Box::new((0..crs).map(cr)),
                "pods" => Box::new((0..pods).map(|number| pod(number, 0))),
                _ => Box::new(std::iter::empty()),
            };
            load(&cluster, def, objects)?;
        }
        let sql = kybern_sql::Engine::new(reader.clone(), SqlLimits::default());
        let sense = Arc::new(SqlSense::new(sql, tokio::runtime::Handle::current()));
        sense.set_catalog(Catalog::new(tables().map(described).collect()));
        let active = active(lane)?;
        sense
            .admit(PLUGIN, &active.digest, access(), &active.manifest)
            .await?;
        let engine = Engine::new(Deps {
            reader,
            sense: Arc::<SqlSense>::clone(&sense),
            decide,
            act: Arc::new(Plugin),
            apply: Arc::<Cluster>::clone(&cluster),
            kinds: Arc::new(Facts),
            clock: Arc::new(Wall),
            entropy: Arc::new(Half),
            config: EngineConfig::default(),
            home: "kybern".to_owned(),
            counters: Counters::default(),
        });
        engine.register(active);
        let stop = CancellationToken::new();
        let running = engine.clone();
        let until = stop.clone();
        let mut run = JoinSet::new();
        run.spawn(async move { running.run(commits, until).await });
        let host = Self {
            cluster,
            engine,
            sense,
            stop,
            _run: run,
        };
        host.rest()?;
        host.cluster.seal()?;
        ensure!(host.ended(PassResult::Failed) == 0, "a pass failed");
        ensure!(
            host.ended(PassResult::Succeeded) >= crs,
            "not every CR has its children"
        );
        Ok(host)
    }

    /// Another version in the place of the one that decides, as the controller of the host does it.
    pub(super) async fn swap(&self, lane: Lane, version: usize) -> Result<()> {
        let active = Active {
            digest: format!("sha256:{version}"),
            ..active(lane)?
        };
        let admitted = self
            .sense
            .admit(PLUGIN, &active.digest, access(), &active.manifest);
        admitted.await?;
        self.engine.register(active);
        Ok(())
    }

    pub(super) fn ended(&self, result: PassResult) -> u64 {
        let metrics = self.engine.metrics();
        metrics
            .plugins
            .get(PLUGIN)
            .map_or(0, |plugin| plugin.ended(result))
    }

    /// Waits until nothing is due.
    pub(super) fn rest(&self) -> Result<()> {
        let mut quiet = 0;
        let mut last = processor_time()?;
        while quiet < 5 {
            pass(Duration::from_millis(20));
            let time = processor_time()?;
            let idle = self.engine.is_idle() && time - last < Duration::from_millis(1);
            quiet = if idle { quiet + 1 } else { 0 };
            last = time;
        }
        Ok(())
    }

    async fn noted(&self, crs: u64, note: u64) -> Result<Figures> {
        let changes = self.cluster.noted_deployments(note)?;
        self.cluster.commit(changes)?;
        let before = self.ended(PassResult::Unchanged);
        let (busy, wall) = (processor_time()?, now()?);
        self.cluster.tell();
        while self.ended(PassResult::Unchanged) - before < crs {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let figures = Figures {
            busy: (processor_time()? - busy).as_secs_f64(),
            wall: (now()? - wall).as_secs_f64(),
            count: u32::try_from(crs)?,
        };
        self.rest()?;
        let all = self.ended(PassResult::Unchanged) - before;
        ensure!(all == crs, "{all} passes over {crs} CRs");
        Ok(figures)
    }

    async fn elsewhere(&self, events: u64, change: u64) -> Result<Figures> {
        let table = key("", "Pod");
        let changes = (0..events).map(|number| upsert(table.clone(), &pod(number, change)));
        self.cluster.commit(changes.collect())?;
        let before = self.engine.metrics();
        let (busy, wall) = (processor_time()?, now()?);
        self.cluster.tell();
        tokio::task::yield_now().await;
        self.rest()?;
        // Waiting for rest costs next to nothing, and is what says that it is over.
        let figures = Figures {
            busy: (processor_time()? - busy).as_secs_f64(),
            wall: (now()? - wall).as_secs_f64(),
            count: u32::try_from(events)?,
        };
        let passes = |metrics: &kybern_reconcile::Metrics| {
            metrics
                .plugins
                .get(PLUGIN)
                .map_or(0, kybern_reconcile::PluginMetrics::all_passes)
        };
        let started = passes(&self.engine.metrics()) - passes(&before);
        ensure!(started == 0, "{started} passes for nothing");
        Ok(figures)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn load(cluster: &Cluster, def: TableDef, objects: impl Iterator<Item = Value>) -> Result<()> {
    let table = def.key.clone();
    let begin = [
        Change::Define(def),
        Change::ListBegin {
            table: table.clone(),
        },
    ];
    cluster.commit(begin.into())?;
    let mut objects = objects.peekable();
    while objects.peek().is_some() {
        let changes = objects.by_ref().take(COMMIT).map(|object| Change::Upsert {
            table: table.clone(),
            raw: object.to_string().into(),
            origin: Origin::List,
        });
        cluster.commit(changes.collect())?;
    }
    let end = Change::ListEnd {
        table,
        resource_version: 1 << 32,
    };
    cluster.commit(vec![end])?;
    cluster.seal()
}

fn described(def: TableDef) -> CatalogTable {
    let paths: &[(&str, PathType)] = match def.plural.as_str() {
        "deployments" => &[
            ("spec.replicas", PathType::Int),
            ("status.observedGeneration", PathType::Int),
            ("status.replicas", PathType::Int),
            ("status.readyReplicas", PathType::Int),
            ("status.availableReplicas", PathType::Int),
            ("status.updatedReplicas", PathType::Int),
            ("status.unavailableReplicas", PathType::Int),
        ],
        "pods" => &[("status.phase", PathType::Text)],
        _ => &[],
    };
    let mut types = PathTypes::default();
    for (path, of) in paths {
        let steps = path.split('.').map(|step| PathStep::Key(step.to_owned()));
        types.insert(steps.collect(), *of);
    }
    CatalogTable {
        singular: def.plural.trim_end_matches('s').to_owned(),
        def,
        preferred: true,
        short_names: Vec::new(),
        top_level: vec!["spec".to_owned(), "status".to_owned()],
        types,
        listable: true,
        watchable: true,
    }
}

/// All tables, in the CR's namespace.
fn access() -> AccessSet {
    let tables = tables().map(|def| TableAccess {
        table: def.key,
        scope: RowScope::OwnNamespace,
    });
    AccessSet::of(tables.collect())
}

fn active(lane: Lane) -> Result<Active> {
    let registration: Registration = serde_json::from_value(json!({
        "apiVersion": "kybern.dev/v1alpha1", "kind": "Plugin", "metadata": { "name": PLUGIN },
        "spec": { "source": { "file": "appservice.wasm" }, "grants": { "write": [
            { "group": "apps", "kinds": ["Deployment"], "verbs": ["apply", "delete"] },
            { "group": "", "kinds": ["Service"], "verbs": ["apply", "delete"] },
        ] } },
    }))?;
    let manifest: Manifest = serde_json::from_value(json!({
        "name": PLUGIN, "version": "1.0.0", "world": kybern_interface::WORLD,
        "queries": [{
            "name": "children", "sql": lane.sql(),
            "params": ["metadata.namespace", "metadata.name"],
        }],
        "status": { "conditions": "standard", "observedGeneration": true },
    }))?;
    let gvk = Gvk::new("bench.example.com", "v1", "AppService");
    Ok(Active {
        limits: PassLimits::of(&registration.spec.limits),
        registration: Arc::new(registration),
        digest: "sha256:1".to_owned(),
        manifest: Arc::new(manifest),
        primaries: vec![Primary {
            facts: Facts.facts(&gvk).context("the CRs are served")?,
            gvk,
            selector: None,
        }],
        settings: Value::Null,
        has_sense: false,
        revisions: Vec::new(),
        missing: std::collections::BTreeSet::new(),
        trial: None,
    })
}

/// What decides, without a sandbox.
struct Plugin;

#[async_trait]
impl Decide for Plugin {
    async fn sense(&self, _: &Active, _: Trigger, _: &[Answer]) -> Result<Sensing, DecideError> {
        Ok(Sensing::Queries(Vec::new()))
    }

    async fn decide(
        &self,
        _: &Active,
        situation: Situation,
        _: &[Answer],
    ) -> Result<Plan, DecideError> {
        parse_plan(&plan(&situation.object).to_string())
    }
}

#[async_trait]
impl Act for Plugin {
    async fn act(&self, _: &Active, _: Effect, _: Duration) -> Result<Value, DecideError> {
        Ok(Value::Null)
    }
}

struct Facts;

impl Kinds for Facts {
    fn facts(&self, gvk: &Gvk) -> Option<KindFacts> {
        let served = tables().find(|def| def.key == table_of(gvk))?;
        Some(KindFacts {
            plural: served.plural,
            namespaced: true,
            has_status: gvk.kind != "Service",
        })
    }

    fn versions(&self, _: &str, _: &str) -> Option<Vec<String>> {
        None
    }
}

struct Wall;

impl Clock for Wall {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::now()
    }
}

struct Half;

impl Entropy for Half {
    fn unit(&self) -> f64 {
        0.5
    }
}
