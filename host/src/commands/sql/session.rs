//! Answers statements over tables that are listed when a statement first needs them, or lets a
//! running host answer them.
//!
//! # Contract
//!
//! What was listed is kept until it is forgotten or a statement needs more of it; then the table
//! is listed again. A table that cannot be listed fails the statement: never an empty table.

use super::extent::Extent;
use super::failure::Failure;
use super::follow::follow;
use super::items::Items;
use super::progress::Progress;
use super::write::{Planned, title};
use crate::args::SqlArgs;
use crate::asking::{Feed, Host};
use crate::budget::{Budget, Facts, Sources};
use crate::commands::manifests;
use crate::kinds::Kinds;
use crate::memory::Meter;
use crate::offline::{Listing, MAX_OBJECTS, Offline};
use crate::operate::Outcome;
use crate::wiring::watches::{Part, Wanted};
use anyhow::anyhow;
use bytes::Bytes;
use kybern_interface::Gvk;
use kybern_kube::Cluster;
use kybern_sql::{
    AccessSet, Answer, Engine, Prepared, SqlError, SqlLimits, Subscribe, parse_subscribe,
};
use kybern_table::KindKey;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most objects of a kind that the API server does not let be watched. Such kinds are computed
/// for each list, and their lists rarely have pages.
const MAX_COMPUTED: usize = 50_000;

/// An answer, and to what.
pub(crate) struct Answered {
    pub(crate) answer: Answer,
    pub(crate) is_explain: bool,
}

/// A statement that changes objects, before anything is changed.
pub(crate) enum Written {
    /// It was only asked how its rows are found; what it is called.
    Explained(String, Answered),
    /// It is ready to be run.
    Planned(Box<Planned>),
}

/// A cluster or manifests, and what is known of them.
pub(crate) struct Session {
    /// Who answers instead.
    host: Option<Host>,
    /// None: the tables were filled from manifests, or a host has them.
    cluster: Option<Cluster>,
    namespace: Option<String>,
    kinds: Kinds,
    tables: Offline,
    engine: Engine,
    access: AccessSet,
    /// Group versions whose types the engine's catalog has.
    typed: BTreeSet<(String, String)>,
    listed: BTreeMap<KindKey, Extent>,
}

impl Session {
    /// Asks the cluster what it serves, or reads the manifests; of a host nothing is asked yet.
    pub(crate) async fn open(args: &SqlArgs) -> anyhow::Result<Self> {
        let tables = Offline::new();
        let mut session = Self {
            host: args.host.as_ref().map(|path| Host::at(path.as_deref())),
            cluster: None,
            namespace: args.namespace.clone(),
            kinds: Kinds::default(),
            engine: engine(&tables),
            tables,
            access: AccessSet::all(),
            typed: BTreeSet::new(),
            listed: BTreeMap::new(),
        };
        if session.host.is_some() {
            return Ok(session);
        }
        if args.filename.is_empty() {
            let cluster = crate::cluster::connect(&args.cluster).await?;
            session.kinds.discover(&cluster).await?;
            session.cluster = Some(cluster);
        } else {
            session.read(&args.filename)?;
        }
        session.engine.set_catalog(session.kinds.catalog());
        Ok(session)
    }

    /// Fills the tables from manifests.
    fn read(&mut self, files: &[PathBuf]) -> anyhow::Result<()> {
        let mut objects = manifests::load(files)?;
        crate::kinds::builtin::fill(&self.kinds, &objects)?;
        if let Some(only) = &self.namespace {
            objects.retain(|object| !is_elsewhere(&self.kinds, object, only));
        }
        self.tables.take(objects, &self.kinds)
    }

    /// The kinds, to complete and to describe them.
    pub(crate) fn kinds(&self) -> &Kinds {
        &self.kinds
    }

    /// The cluster, if there is one.
    pub(crate) fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// Answers one statement.
    pub(crate) async fn answer(&mut self, statement: &str) -> Result<Answered, Failure> {
        if let Some(host) = &self.host {
            let (answer, is_explain) = host.answer(statement).await?;
            return Ok(Answered { answer, is_explain });
        }
        if let Some(asked) = parse_subscribe(statement).map_err(SqlError::from)? {
            return self.explain_subscription(&asked).await;
        }
        let prepared = self.prepare(statement).await?;
        self.load(&prepared, None).await?;
        let snapshot = self.tables.reader.snapshot();
        Ok(Answered {
            answer: self.engine.execute(&prepared, &[], &snapshot).await?,
            is_explain: prepared.is_explain(),
        })
    }

    /// Begins to be told what becomes of an answer.
    pub(crate) async fn subscribe(&mut self, statement: &str) -> Result<Feed, Failure> {
        if let Some(host) = &self.host {
            return Ok(host.subscribe(statement).await?);
        }
        let Some(asked) = parse_subscribe(statement).map_err(SqlError::from)? else {
            return Err(Failure::Usage("SUBSCRIBE is expected".to_owned()));
        };
        let prepared = self.prepare(&asked.query).await?;
        let Some(cluster) = &self.cluster else {
            return Err(Failure::Usage(
                "manifests do not change: SUBSCRIBE follows a cluster, without -f, or a host, with --host".to_owned(),
            ));
        };
        let wanted = prepared
            .tables()
            .iter()
            .map(|key| self.wanted(key, &prepared));
        let wanted = wanted.collect::<Result<_, Failure>>()?;
        follow(cluster, &self.kinds, wanted, asked, statement).await
    }

    /// What is watched of a table for a query.
    fn wanted(&self, key: &KindKey, prepared: &Prepared) -> Result<Wanted, Failure> {
        let served = self.kinds.served();
        let resource = served.get(&gvk(key)).filter(|found| found.can("watch"));
        let Some(resource) = resource else {
            return Err(Failure::Usage(format!(
                "{key} cannot be followed: the API server does not let it be watched; ask again and again with \\watch"
            )));
        };
        let def = crate::kinds::table(resource);
        let extent = self.bounded(Extent::needed(&prepared.read_set(&[]), key));
        let part = match extent.namespace.filter(|_| def.namespaced) {
            Some(namespace) => Part::namespace(&namespace),
            None => Part::ALL,
        };
        Ok(Wanted { def, part })
    }

    async fn explain_subscription(&mut self, asked: &Subscribe) -> Result<Answered, Failure> {
        let prepared = self.prepare(&asked.query).await?;
        self.define(&prepared)?;
        let explained = self.engine.explain_subscription(asked, &self.access);
        Ok(Answered {
            answer: explained.await?,
            is_explain: true,
        })
    }

    /// Answers one statement from tables that are listed anew for it.
    pub(crate) async fn answer_anew(&mut self, statement: &str) -> Result<Answered, Failure> {
        if self.host.is_some() {
            return self.answer(statement).await;
        }
        for key in self.engine.tables_of(statement, &self.access)? {
            self.listed.remove(&key);
        }
        self.answer(statement).await
    }

    /// Plans a statement that changes objects, on tables that are listed anew for it.
    pub(crate) async fn plan_write(&mut self, statement: &str) -> Result<Written, Failure> {
        let Some(cluster) = self.cluster.clone() else {
            let where_ = if self.host.is_some() {
                "a running host answers SELECT only: leave out --host to change objects with the rights of your kubeconfig"
            } else {
                "manifests are only read: leave out -f to change objects of the cluster"
            };
            return Err(Failure::Usage(where_.to_owned()));
        };
        let named = self.engine.tables_of_write(statement, &self.access)?;
        self.learn(&named).await;
        let write = self.engine.prepare_write(statement, &self.access).await?;
        self.engine.prepare_returning(&write, &self.access).await?;
        if write.rows().is_explain() {
            self.define(write.rows())?;
        } else {
            self.listed.clear();
            let whole = write.table().map(|table| table.def.key.clone());
            self.load(write.rows(), whole.as_ref()).await?;
        }
        let snapshot = self.tables.reader.snapshot();
        if write.rows().is_explain() {
            let answer = self.engine.execute(write.rows(), &[], &snapshot).await?;
            let answered = Answered {
                answer,
                is_explain: true,
            };
            return Ok(Written::Explained(title(&write), answered));
        }
        let changes = self.engine.changes(&write, &[], &snapshot).await?;
        let items = Items {
            kinds: &self.kinds,
            namespace: self.namespace.as_deref(),
            write: &write,
            snapshot: &snapshot,
        };
        let items = items.of(changes)?;
        Ok(Written::Planned(Box::new(Planned {
            write,
            items,
            cluster,
        })))
    }

    /// What RETURNING says of what became of objects; none without RETURNING.
    pub(crate) async fn returned(
        &self,
        planned: &Planned,
        outcomes: &[Outcome],
    ) -> Result<Option<Answer>, Failure> {
        let Some(table) = planned
            .write
            .table()
            .filter(|_| planned.write.has_returning())
        else {
            return Ok(None);
        };
        let resource = self.kinds.served().get(&gvk(&table.def.key)).cloned();
        let resource = resource.ok_or_else(|| anyhow!("the kind is no longer served"))?;
        let objects = outcomes.iter().filter(|outcome| outcome.result.is_ok());
        let objects = objects.filter_map(|outcome| outcome.after.as_ref());
        let raw = objects.map(|object| Bytes::from(object.to_string()));
        let mut tables = Offline::new();
        tables.fill(crate::kinds::table(&resource), raw.collect(), 1)?;
        let engine = engine(&tables);
        engine.set_catalog(self.kinds.catalog());
        let snapshot = tables.reader.snapshot();
        Ok(engine
            .returning(&planned.write, &self.access, &snapshot)
            .await?)
    }

    /// Forgets what was listed.
    pub(crate) fn forget(&mut self) {
        self.listed.clear();
    }

    /// The table of that name, with its types; none for a table about the host, or of one.
    pub(crate) async fn table(&mut self, name: &str) -> Result<Option<KindKey>, SqlError> {
        if self.host.is_some() {
            return Ok(None);
        }
        let statement = format!("SELECT 1 FROM {name}");
        let named = self.engine.tables_of(&statement, &self.access)?;
        self.learn(&named).await;
        Ok(named.into_iter().next())
    }

    /// Forgets what was listed, and asks the cluster again what it serves.
    pub(crate) async fn refresh(&mut self) -> anyhow::Result<()> {
        self.listed.clear();
        if let Some(cluster) = &self.cluster {
            self.kinds.discover(cluster).await?;
            self.engine.set_catalog(self.kinds.catalog());
        }
        Ok(())
    }

    async fn prepare(&mut self, statement: &str) -> Result<Arc<Prepared>, SqlError> {
        let named = self.engine.tables_of(statement, &self.access)?;
        self.learn(&named).await;
        self.engine.prepare(statement, &self.access).await
    }

    /// Reads the schemas of the tables that a statement names: types decide how values compare.
    async fn learn(&mut self, named: &[KindKey]) {
        let mut news = false;
        for key in named {
            if let Some(cluster) = &self.cluster
                && self.kinds.wants_types(&key.group, &key.version)
            {
                let kinds = &self.kinds;
                kinds.learn_types(cluster, &key.group, &key.version).await;
            }
            let place = (key.group.to_string(), key.version.to_string());
            news |= self.kinds.has_types(&key.group, &key.version) && self.typed.insert(place);
        }
        if news {
            self.engine.set_catalog(self.kinds.catalog());
        }
    }

    /// Lists what the statement needs and is not there; of one table, whole objects.
    async fn load(&mut self, prepared: &Prepared, whole: Option<&KindKey>) -> anyhow::Result<()> {
        let Some(cluster) = &self.cluster else {
            return Ok(());
        };
        if !prepared.reads_rows() {
            return self.define(prepared);
        }
        let reads = prepared.read_set(&[]);
        let (mut missing, mut extents) = (Vec::new(), Vec::new());
        for key in prepared.tables() {
            let mut needed = self.bounded(Extent::needed(&reads, key));
            needed.metadata_only &= whole != Some(key);
            let extent = match self.listed.remove(key) {
                Some(listed) if listed.covers(&needed) => {
                    self.listed.insert(key.clone(), listed);
                    continue;
                }
                Some(listed) => listed.and(&needed),
                None => needed,
            };
            missing.extend(listing(&self.kinds, key, &extent));
            extents.push((key.clone(), extent));
        }
        let names = missing.iter().map(|listing| listing.def.plural.clone());
        let progress = Progress::new(names);
        let seen = |table, objects| progress.set(table, objects);
        let work = self.tables.load(cluster, &missing, seen);
        progress.during(work).await?;
        self.listed.extend(extents);
        Ok(())
    }

    /// The extent inside of the namespace that the whole command is about.
    fn bounded(&self, needed: Extent) -> Extent {
        Extent {
            namespace: self.namespace.clone().or(needed.namespace),
            ..needed
        }
    }

    /// An EXPLAIN names tables but reads none.
    fn define(&mut self, prepared: &Prepared) -> anyhow::Result<()> {
        for key in prepared.tables() {
            if !self.listed.contains_key(key)
                && let Some(resource) = self.kinds.served().get(&gvk(key))
            {
                self.tables.define(crate::kinds::table(resource))?;
            }
        }
        Ok(())
    }
}

/// How a table is listed; none if its kind is no longer served.
fn listing(kinds: &Kinds, key: &KindKey, extent: &Extent) -> Option<Listing> {
    let served = kinds.served();
    let resource = served.get(&gvk(key))?;
    let cap = if resource.can("watch") {
        MAX_OBJECTS
    } else {
        MAX_COMPUTED
    };
    Some(Listing {
        def: crate::kinds::table(resource),
        namespace: extent.namespace.clone(),
        metadata_only: extent.metadata_only,
        cap,
    })
}

/// Whether a manifest's object would live in another namespace.
fn is_elsewhere(kinds: &Kinds, object: &Value, only: &str) -> bool {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str);
    let kind = text("/kind").unwrap_or_default();
    let gvk = Gvk::from_api_version(text("/apiVersion").unwrap_or_default(), kind);
    let namespaced = kinds
        .served()
        .get(&gvk)
        .is_some_and(|found| found.namespaced);
    namespaced && text("/metadata/namespace").unwrap_or("default") != only
}

pub(super) fn gvk(key: &KindKey) -> Gvk {
    Gvk::new(&*key.group, &*key.version, &*key.kind)
}

/// An engine over the tables that can also tell about this process.
fn engine(tables: &Offline) -> Engine {
    let engine = Engine::new(tables.reader.clone(), SqlLimits::default());
    let sources = Sources {
        reader: tables.reader.clone(),
        sql: engine.clone(),
        guests: None,
    };
    let facts = Facts {
        budget: Budget::new(sources, None, Meter::new(Path::new("/"), None)),
        watches: None,
        engine: None,
    };
    engine
        .with_clock(|| crate::clock::wall().as_microsecond())
        .with_host(Arc::new(facts))
}
