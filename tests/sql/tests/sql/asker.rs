//! Who asks: access sets, limits and clocks from `world/askers.yaml`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use kybern_sql::{
    AccessSet, Engine, EngineFacts, HostFacts, MemoryFact, RowScope, SqlLimits, TableAccess,
    WatchFact,
};
use serde::Deserialize;

use crate::world::{World, documents};

/// An engine and what may be read through it.
pub(crate) struct Asker {
    pub(crate) engine: Engine,
    pub(crate) access: AccessSet,
}

/// Askers by the name that a script's `connection` gives.
pub(crate) struct Askers {
    by_name: BTreeMap<String, Asker>,
    _world: World,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    /// Table -> rows; without it everything may be read.
    tables: Option<BTreeMap<String, Rows>>,
    /// The asker's own namespace.
    #[serde(default)]
    namespace: String,
    /// What the clock says, in microseconds since 1970; without it there is none.
    clock: Option<i64>,
    /// The most rows of an answer, and bytes of an answer and of a statement's memory.
    rows: Option<usize>,
    answer_bytes: Option<usize>,
    statement_bytes: Option<usize>,
}

#[derive(Deserialize)]
enum Rows {
    All,
    OwnNamespace,
    Namespaces(Vec<String>),
    Labels(BTreeMap<String, String>),
    OwnLabels(BTreeMap<String, String>),
}

impl Askers {
    pub(crate) fn read(directory: &Path) -> anyhow::Result<Self> {
        let world = World::read(directory)?;
        let mut by_name = BTreeMap::new();
        for written in documents::<Written>(&directory.join("askers.yaml"))? {
            let name = written.name.clone();
            let asker = written.asker(&world).with_context(|| name.clone())?;
            by_name.insert(name, asker);
        }
        Ok(Self {
            by_name,
            _world: world,
        })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Asker> {
        self.by_name.get(name)
    }
}

impl Written {
    fn asker(self, world: &World) -> anyhow::Result<Asker> {
        let defaults = SqlLimits::default();
        let limits = SqlLimits {
            rows: self.rows.unwrap_or(defaults.rows),
            answer_bytes: self.answer_bytes.unwrap_or(defaults.answer_bytes),
            statement_bytes: self.statement_bytes.unwrap_or(defaults.statement_bytes),
            ..defaults
        };
        let mut engine = Engine::new(world.reader.clone(), limits);
        engine.set_catalog(world.catalog());
        engine = engine.with_host(Arc::new(Host::new(world)?));
        if let Some(clock) = self.clock {
            engine = engine.with_clock(move || clock);
        }
        let access = match self.tables {
            None => AccessSet::all(),
            Some(tables) => granted(tables, world)?,
        };
        Ok(Asker {
            engine,
            access: access.in_namespace(&self.namespace),
        })
    }
}

fn granted(tables: BTreeMap<String, Rows>, world: &World) -> anyhow::Result<AccessSet> {
    let mut grants = Vec::new();
    for (name, rows) in tables {
        let scope = match rows {
            Rows::All => RowScope::All,
            Rows::OwnNamespace => RowScope::OwnNamespace,
            Rows::Namespaces(names) => RowScope::Namespaces(names),
            Rows::Labels(match_labels) => RowScope::Labels {
                own_namespace: false,
                match_labels,
            },
            Rows::OwnLabels(match_labels) => RowScope::Labels {
                own_namespace: true,
                match_labels,
            },
        };
        let table = world.kind(&name)?;
        grants.push(TableAccess { table, scope });
    }
    Ok(AccessSet::of(grants))
}

/// What a host would say of itself: pods and Secrets are watched, and take memory.
struct Host {
    watches: Vec<WatchFact>,
    memory: Vec<MemoryFact>,
}

impl Host {
    fn new(world: &World) -> anyhow::Result<Self> {
        let (mut watches, mut memory) = (Vec::new(), Vec::new());
        for (name, bytes) in [("core.pods", 6000), ("core.secrets", 500)] {
            let table = world.kind(name)?;
            watches.push(WatchFact {
                table: table.clone(),
                scope: "all namespaces".to_owned(),
                state: "watching",
                live: true,
                silence_seconds: Some(2.5),
                lists: 1,
                interruptions: 0,
                reason: None,
                changes: 7,
                resource_version: Some(999),
            });
            memory.push(MemoryFact {
                account: "store",
                part: "body",
                table: Some(table),
                index: None,
                bytes,
                rows: Some(6),
                dead_bytes: Some(0),
            });
        }
        memory.push(MemoryFact {
            account: "caches",
            part: "plan",
            table: None,
            index: None,
            bytes: 40,
            rows: Some(2),
            dead_bytes: None,
        });
        Ok(Self { watches, memory })
    }
}

impl HostFacts for Host {
    fn watches(&self) -> Vec<WatchFact> {
        self.watches.clone()
    }

    fn memory(&self) -> Vec<MemoryFact> {
        self.memory.clone()
    }

    fn engine(&self) -> Result<Arc<dyn EngineFacts>, String> {
        Err("no passes are run here".to_owned())
    }
}
