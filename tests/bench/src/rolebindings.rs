//! `rolebindings`: a plugin that looks at all of 10,000 RoleBindings, and one that asks for those of
//! one subject.
//!
//! *Work.* The RoleBindings are in the product's store, each with its role and three subjects. From
//! the newest snapshot to a plan that was read: the query is answered, and a plugin in a fresh
//! instance looks at each value of the answer. `load_all`: namespace, name, role and the list of
//! subjects of every one, as Arrow. `selective`: namespace, name and role of those that name one
//! subject, another one each time; five of them, which is checked.
//!
//! *Figures.* Milliseconds on the wall, one thread. `idle` is what the whole process holds
//! afterwards, at rest. Published for a policy host that keeps a reflector and hands JSON over, for
//! 10,000 RoleBindings: 234 ms, 264 MB at rest, 1.2 GB at the peak.
//!
//! *Cost model.* `load_all`: columns of chunks that did not change are there already; per row a copy
//! into Arrow and one out of it, by bytes. `selective`: the lists of subjects are text; each is read
//! for its names, 10,000 times a few hundred bytes.
//!
//! *Limit.* `load_all` hands 3 MB over: a copy into the guest and a look at each byte. `selective`
//! reads the same bytes once.

use crate::args::Options;
use crate::child::Child;
use crate::clock::{now, pass};
use crate::report::{Metric, Report, median};
use crate::subject::hosted;
use crate::systems::{Runnable, System};
use anyhow::{Context, Result, bail, ensure};
use kybern_plugin::{CallLimits, NamedAnswer, Plugin, Runtime, RuntimeConfig};
use kybern_reconcile::parse_plan;
use kybern_sql::{
    AccessSet, Catalog, CatalogTable, Engine, Param, PathStep, PathTypes, Prepared, SqlLimits,
};
use kybern_table::{Batch, Change, KindKey, Origin, PathType, TableDef, Writer, store};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::Path;
use std::time::Duration;

/// Its name.
pub(crate) const NAME: &str = "rolebindings";

const P50: Metric = Metric {
    name: "p50_ms",
    unit: "ms",
};
const RSS: Metric = Metric {
    name: "rss_mb",
    unit: "MB",
};

const BINDINGS: u64 = 10_000;
const QUICK_BINDINGS: u64 = 100;
const CALLS: usize = 200;
const QUICK_CALLS: usize = 5;
/// Calls before those that count.
const WARM_UP: usize = 5;
/// Bindings that name one subject.
const OF_SUBJECT: u64 = 5;
/// How long the process rests before its memory is read; the allocator gives back after 10 s.
const REST: Duration = Duration::from_secs(12);

const ALL: &str = "SELECT namespace, name, roleRef.name AS role, subjects FROM rolebindings";
const SELECTIVE: &str = "SELECT r.namespace, r.name, r.roleRef.name AS role
    FROM rolebindings r, UNNEST(r.subjects) AS s WHERE s.name = $1";

/// What one round came to.
#[derive(Debug, Serialize, Deserialize)]
struct Figures {
    all_ms: f64,
    selective_ms: f64,
    rss_mb: f64,
}

/// Measures and reports.
pub(crate) fn run(options: &Options, report: &mut Report) -> Result<()> {
    let system = System::Kybern;
    if !options.systems.is_empty() && !options.systems.contains(&system) {
        return Ok(());
    }
    let of = Runnable {
        system,
        program: std::env::current_exe().context("find this program")?,
    };
    let (bindings, calls) = if options.quick {
        (QUICK_BINDINGS, QUICK_CALLS)
    } else {
        (BINDINGS, CALLS)
    };
    let guest = kybern_testcluster::guest("kybern-bench-reader")?;
    let mut rounds = Vec::new();
    for _ in 0..options.rounds() {
        let words = [
            "be-rolebindings",
            &guest.to_string_lossy(),
            &bindings.to_string(),
            &calls.to_string(),
        ];
        let mut child = Child::start(&of, &words)?;
        let figures: Figures = serde_json::from_str(&child.line()?)?;
        let rest = if options.quick { Duration::ZERO } else { REST };
        pass(rest);
        let rss_mb = child.resident()?.now / 1e6;
        rounds.push(Figures { rss_mb, ..figures });
        child.end()?;
    }
    let samples = |of: fn(&Figures) -> f64| rounds.iter().map(of).collect::<Vec<f64>>();
    for (case, metric, samples) in [
        ("load_all", P50, samples(|round| round.all_ms)),
        ("selective", P50, samples(|round| round.selective_ms)),
        ("idle", RSS, samples(|round| round.rss_mb)),
    ] {
        report.median((NAME, case), metric, system.name(), &samples);
    }
    Ok(())
}

/// Is what is measured: says what it took, then rests until its input ends.
pub(crate) fn subject(guest: &Path, bindings: u64, calls: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let subject = Subject::new(guest, bindings)?;
    let figures = runtime.block_on(subject.measure(calls))?;
    // As the host's memory guard does.
    kybern_allocator::trim();
    println!("{}", serde_json::to_string(&figures)?);
    for line in std::io::stdin().lines() {
        line?;
    }
    Ok(())
}

/// What a pass has: a store with its engine, and a plugin.
struct Subject {
    _writer: Writer,
    engine: Engine,
    plugin: Plugin,
    bindings: u64,
}

impl Subject {
    fn new(guest: &Path, bindings: u64) -> Result<Self> {
        let (mut writer, reader) = store(hosted());
        fill(&mut writer, bindings)?;
        let engine = Engine::new(reader, SqlLimits::default());
        engine.set_catalog(Catalog::new(vec![described()]));
        let wasm = std::fs::read(guest).with_context(|| format!("read {}", guest.display()))?;
        let plugin = Runtime::new(RuntimeConfig::default())?.load(&wasm)?;
        Ok(Self {
            _writer: writer,
            engine,
            plugin,
            bindings,
        })
    }

    async fn measure(&self, calls: usize) -> Result<Figures> {
        let all = self.engine.prepare(ALL, &AccessSet::all()).await?;
        let one = self.engine.prepare(SELECTIVE, &AccessSet::all()).await?;
        let mut times = [Vec::new(), Vec::new()];
        for turn in 0..WARM_UP + calls {
            let subject = u64::try_from(turn)? % (self.bindings / OF_SUBJECT);
            let asked = [Param::Text(name_of(subject))];
            let took = [
                self.timed(&all, &[], self.bindings).await?,
                self.timed(&one, &asked, OF_SUBJECT).await?,
            ];
            if turn >= WARM_UP {
                let each = times.iter_mut().zip(took);
                each.for_each(|(times, took)| times.push(took.as_secs_f64() * 1e3));
            }
        }
        let [all, selective] = times.map(|times| median(&times));
        Ok(Figures {
            all_ms: all.context("nothing was timed")?,
            selective_ms: selective.context("nothing was timed")?,
            rss_mb: 0.0,
        })
    }

    /// From the snapshot to a plan that was read, of so many rows.
    async fn timed(&self, query: &Prepared, asked: &[Param], rows: u64) -> Result<Duration> {
        let began = now()?;
        let snapshot = self.engine.snapshot();
        let answer = self.engine.execute(query, asked, &snapshot).await?;
        let named = NamedAnswer {
            name: "rows".to_owned(),
            schema: answer.schema.clone(),
            batches: answer.batches,
        };
        let call = self
            .plugin
            .decide(SITUATION, vec![named], &CallLimits::default());
        let text = call.result?;
        let plan = parse_plan(&text)?;
        let took = now()? - began;
        drop(plan);
        ensure!(
            text.contains(&format!("\"rows\":{rows}}}")),
            "not {rows} rows: {text}"
        );
        Ok(took)
    }
}

/// What the plugin is asked.
const SITUATION: &str = r#"{
    "resource": { "group": "bench.example.com", "version": "v1", "kind": "Reader" },
    "object": {
        "apiVersion": "bench.example.com/v1", "kind": "Reader",
        "metadata": { "name": "reader", "namespace": "default", "uid": "1" },
        "spec": { "form": "arrow" }
    },
    "queries": ["rows"], "outcomes": [], "settings": {}, "now": "2026-01-01T00:00:00Z"
}"#;

/// A subject's name.
fn name_of(number: u64) -> String {
    format!("ci-runner-{number:05}")
}

/// Loads the bindings as one list would, and compresses them.
fn fill(writer: &mut Writer, bindings: u64) -> Result<()> {
    let table = definition().key;
    apply(
        writer,
        vec![
            Change::Define(definition()),
            Change::ListBegin {
                table: table.clone(),
            },
        ],
    )?;
    for number in 0..bindings {
        let change = Change::Upsert {
            table: table.clone(),
            raw: binding(number, bindings / OF_SUBJECT).into(),
            origin: Origin::List,
        };
        apply(writer, vec![change])?;
    }
    apply(
        writer,
        vec![Change::ListEnd {
            table,
            resource_version: 1 << 32,
        }],
    )?;
    while let Some(job) = writer.job() {
        writer.put_in(job.run());
    }
    Ok(())
}

fn apply(writer: &mut Writer, changes: Vec<Change>) -> Result<()> {
    match writer.apply(Batch { changes }).errors.first() {
        Some(error) => bail!("{error}"),
        None => Ok(()),
    }
}

/// A binding: a user and a group that many share, and one of so many service accounts.
fn binding(number: u64, subjects: u64) -> String {
    let namespace = format!("team-{}", number / 20);
    let group = "rbac.authorization.k8s.io";
    json!({
        "apiVersion": format!("{group}/v1"), "kind": "RoleBinding",
        "metadata": {
            "name": format!("binding-{number}"), "namespace": namespace,
            "uid": format!("00000000-0000-4000-8000-{number:012}"),
            "resourceVersion": (number + 1).to_string(),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": { "app.kubernetes.io/managed-by": "platform" },
        },
        "roleRef": { "apiGroup": group, "kind": "ClusterRole", "name": format!("role-{}", number % 40) },
        "subjects": [
            { "apiGroup": group, "kind": "User", "name": format!("user-{}@example.com", number % 300) },
            { "apiGroup": group, "kind": "Group", "name": format!("oidc:team-{}", number / 20) },
            { "kind": "ServiceAccount", "name": name_of(number % subjects), "namespace": namespace },
        ],
    })
    .to_string()
}

/// The table, as the host defines it.
fn definition() -> TableDef {
    TableDef {
        key: KindKey::new("rbac.authorization.k8s.io", "v1", "RoleBinding"),
        schema: "rbac_authorization_k8s_io".to_owned(),
        plural: "rolebindings".to_owned(),
        namespaced: true,
        label_keys: vec![kybern_interface::names::PART_OF.to_owned()],
        path_indexes: Vec::new(),
    }
}

/// The same, as SQL sees it.
fn described() -> CatalogTable {
    let mut types = PathTypes::default();
    let key = |key: &str| PathStep::Key(key.to_owned());
    types.insert(vec![key("roleRef"), key("name")], PathType::Text);
    types.insert(
        vec![key("subjects"), PathStep::AnyItem, key("name")],
        PathType::Text,
    );
    CatalogTable {
        def: definition(),
        preferred: true,
        singular: "rolebinding".to_owned(),
        short_names: Vec::new(),
        top_level: vec!["roleRef".to_owned(), "subjects".to_owned()],
        types,
        listable: true,
        watchable: true,
    }
}
