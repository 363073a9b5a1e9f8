//! Each stage over a real store, real statements and a made-up API server.

use super::{Budget, Facts, Keeper, Sources};
use crate::fake_api::{FakeApi, all, def, page};
use crate::memory::Meter;
use crate::wiring::ingest::Ingest;
use crate::wiring::watches::Watches;
use kybern_budget::{Reading, Taken};
use kybern_kube::WatchConfig;
use kybern_sql::{AccessSet, Catalog, CatalogTable, Engine, HostFacts, SqlError, SqlLimits};
use kybern_table::{Batch, Change, Column, KindKey, Origin, StoreConfig, TableDef, TableState};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// Longer than anything here may take.
const FOR_EVER: Duration = Duration::from_secs(60);
/// Objects of a page of the made-up API server.
const PAGE: usize = 50;
/// Pages of its Secrets.
const PAGES: usize = 6;

/// Text that does not compress.
fn noise(seed: usize, bytes: usize) -> String {
    let mut state = u64::try_from(seed).unwrap() * 2 + 1;
    let mut word = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        format!("{:016x}", state ^ (state >> 29))
    };
    let mut text = String::new();
    while text.len() < bytes {
        text.push_str(&word());
    }
    text
}

/// An object of about 2 KiB.
fn object(kind: &str, number: usize, version: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": kind,
        "metadata": {
            "name": format!("o{number}"), "namespace": "n",
            "uid": format!("{kind}-{number}"), "resourceVersion": version.to_string(),
        },
        "data": { "text": noise(number, 2000) },
    })
}

/// A host without plugins.
struct Scene {
    budget: Budget,
    watches: Watches,
    keeper: Keeper,
    ingest: Ingest,
    engine: Engine,
    /// First lines of the requests for Secrets.
    asked: Arc<Mutex<Vec<String>>>,
    /// Pages of Secrets that may be given.
    pages: Arc<Semaphore>,
    version: usize,
    _api: FakeApi,
    _stop: DropGuard,
}

impl Scene {
    /// With a budget of so many bytes.
    async fn new(bytes: u64) -> Self {
        let (asked, pages) = (
            Arc::<Mutex<Vec<String>>>::default(),
            Arc::new(Semaphore::new(0)),
        );
        let (noted, gate) = (Arc::clone(&asked), Arc::clone(&pages));
        let api = FakeApi::start(move |line: String| {
            let (noted, gate) = (Arc::clone(&noted), Arc::clone(&gate));
            async move {
                if !line.contains("/secrets") {
                    return Some(page(&[], None));
                }
                noted.lock().push(line.clone());
                gate.acquire().await.unwrap().forget();
                let at = line.split_once("continue=").map_or(0, |(_, rest)| {
                    let end = rest.find(['&', ' ']).unwrap_or(rest.len());
                    rest[..end].parse::<usize>().unwrap()
                });
                let numbers = at * PAGE..(at + 1) * PAGE;
                let items: Vec<Value> = numbers.map(|n| object("Secret", n, 5)).collect();
                let next = (at + 1 < PAGES).then(|| (at + 1).to_string());
                Some(page(&items, next.as_deref()))
            }
        })
        .await;
        // What is dropped is free at once: the log keeps little of it.
        let (writer, reader) = kybern_table::store(StoreConfig {
            log_entries: 8,
            log_bytes: 16 << 10,
            ..StoreConfig::default()
        });
        let (ingest, _thread) = Ingest::start(writer, reader.snapshot().sequence()).unwrap();
        let limits = SqlLimits {
            time: FOR_EVER,
            ..SqlLimits::default()
        };
        let engine = Engine::new(reader.clone(), limits);
        engine.set_catalog(Catalog::new(vec![
            catalog(maps()),
            catalog(secrets()),
            catalog(filler()),
        ]));
        let sources = Sources {
            reader,
            sql: engine.clone(),
            guests: None,
        };
        let budget = Budget::new(sources, Some(bytes), Meter::new(Path::new("/"), None));
        let stop = CancellationToken::new();
        let config = WatchConfig {
            streaming: false,
            page: u32::try_from(PAGE).unwrap(),
            ..WatchConfig::default()
        };
        let (cluster, token) = (api.cluster.clone(), stop.child_token());
        let watches = Watches::new(cluster, ingest.clone(), config, None, budget.clone(), token);
        Self {
            keeper: Keeper::new(budget.clone(), watches.clone()),
            budget,
            watches,
            ingest,
            engine,
            asked,
            pages,
            version: 100,
            _api: api,
            _stop: stop.drop_guard(),
        }
    }

    async fn look(&mut self) -> Reading {
        self.keeper.look().await
    }

    /// Looks again and again until the condition holds.
    async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let seen = async {
            loop {
                self.look().await;
                if holds(self) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(FOR_EVER, seen)
            .await
            .unwrap_or_else(|_| panic!("not in time: {what}"));
    }

    fn state(&self, def: &TableDef) -> Option<TableState> {
        let snapshot = self.budget.sources().reader.snapshot();
        Some(snapshot.table(&def.key)?.state())
    }

    fn is_ready(&self, def: &TableDef) -> bool {
        matches!(self.state(def), Some(TableState::Ready { .. }))
    }

    fn rows(&self, def: &TableDef) -> usize {
        let snapshot = self.budget.sources().reader.snapshot();
        snapshot.table(&def.key).map_or(0, |table| table.count())
    }

    /// Puts a table into the store that nobody watches.
    async fn fill(&mut self, rows: usize) {
        let table = filler().key;
        let mut changes = vec![
            Change::Define(filler()),
            Change::ListBegin {
                table: table.clone(),
            },
        ];
        changes.extend((0..rows).map(|number| upsert(&filler(), number, 1, Origin::List)));
        let resource_version = 1;
        changes.push(Change::ListEnd {
            table,
            resource_version,
        });
        self.ingest.commit(changes).await.unwrap();
    }

    async fn unfill(&self) {
        let dropped = Change::Drop(filler().key);
        self.ingest.commit(vec![dropped]).await.unwrap();
    }

    /// An event of a watched kind arrives and can be seen.
    async fn ingests(&mut self) {
        let (def, before) = (maps(), self.rows(&maps()));
        self.version += 1;
        let changes = vec![upsert(&def, self.version, self.version, Origin::Watch)];
        let batch = Batch { changes };
        self.ingest.batches().send(batch.into()).await.unwrap();
        self.until("an event to arrive", |scene| scene.rows(&def) == before + 1)
            .await;
    }

    fn taken(&self) -> Taken {
        self.budget.ledger().taken()
    }

    fn run(&self, sql: &str) -> AbortOnDropHandle<Result<usize, SqlError>> {
        let (engine, sql) = (self.engine.clone(), sql.to_owned());
        let statement = async move {
            let prepared = engine.prepare(&sql, &AccessSet::all()).await?;
            Ok(engine
                .execute(&prepared, &[], &engine.snapshot())
                .await?
                .rows)
        };
        AbortOnDropHandle::new(TaskTracker::new().spawn(statement))
    }
}

fn upsert(def: &TableDef, number: usize, version: usize, origin: Origin) -> Change {
    Change::Upsert {
        table: KindKey::clone(&def.key),
        raw: object(&def.key.kind, number, version).to_string().into(),
        origin,
    }
}

fn maps() -> TableDef {
    def("ConfigMap", "configmaps")
}

fn secrets() -> TableDef {
    def("Secret", "secrets")
}

fn filler() -> TableDef {
    def("Filler", "fillers")
}

fn catalog(def: TableDef) -> CatalogTable {
    CatalogTable {
        singular: def.key.kind.to_lowercase(),
        def,
        preferred: true,
        short_names: Vec::new(),
        top_level: vec!["data".into()],
        types: kybern_sql::PathTypes::default(),
        listable: true,
        watchable: true,
    }
}

/// The text with each number as `#`.
fn blurred(text: &str) -> String {
    let mut blurred = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' | '.' if blurred.ends_with('#') => {}
            '0'..='9' => blurred.push('#'),
            c => blurred.push(c),
        }
    }
    blurred
}

fn reason(state: Option<TableState>) -> String {
    match state {
        Some(TableState::Failed(reason)) => reason.to_string(),
        other => panic!("{other:?} is no refusal"),
    }
}

#[tokio::test]
async fn a_new_kind_is_refused_while_the_budget_is_exceeded_and_admitted_after() {
    let mut scene = Scene::new(1 << 20).await;
    scene.pages.add_permits(PAGES);
    scene.watches.set(all([maps()])).await;
    scene
        .until("a first list", |scene| scene.is_ready(&maps()))
        .await;
    scene.fill(600).await;
    assert!(scene.look().await.over() > 0);
    scene.watches.set(all([maps(), secrets()])).await;
    // Whoever reads it is told why; the others go on.
    let why = reason(scene.state(&secrets()));
    insta::assert_snapshot!(blurred(&why));
    assert_eq!(scene.watches.refused().get(&secrets().key), Some(&why));
    for _ in 0..3 {
        scene.ingests().await;
        // The same wish again is no new refusal.
        scene.watches.set(all([maps(), secrets()])).await;
    }
    assert!(scene.is_ready(&maps()));
    assert_eq!(scene.taken().refused_tables, 1);
    assert!(scene.asked.lock().is_empty(), "nothing was asked for");
    let facts = Facts {
        budget: scene.budget.clone(),
        watches: Some(scene.watches.clone()),
        engine: None,
    };
    let shown = facts
        .watches()
        .into_iter()
        .map(|fact| (fact.table, fact.state, fact.live));
    let wanted = [
        (maps().key, "watching", true),
        (secrets().key, "refused", false),
    ];
    assert_eq!(shown.collect::<Vec<_>>(), wanted);

    scene.unfill().await;
    scene
        .until("room for Secrets", |scene| scene.is_ready(&secrets()))
        .await;
    assert_eq!(scene.rows(&secrets()), PAGE * PAGES);
    assert!(scene.watches.refused().is_empty());
}

#[tokio::test]
async fn a_refused_kind_that_nobody_wants_any_more_leaves_nothing() {
    let mut scene = Scene::new(1 << 20).await;
    scene.fill(600).await;
    scene.watches.set(all([secrets()])).await;
    assert!(matches!(
        scene.state(&secrets()),
        Some(TableState::Failed(_))
    ));
    scene.watches.set(Vec::new()).await;
    assert_eq!(scene.state(&secrets()), None);
    assert!(scene.watches.refused().is_empty());
    scene.unfill().await;
    scene.look().await;
    assert!(scene.watches.health().is_empty(), "nothing was begun");
}

#[tokio::test]
async fn a_first_list_that_does_not_fit_is_stopped_and_tried_again_when_there_is_more_room() {
    let mut scene = Scene::new(1 << 20).await;
    scene.watches.set(all([maps()])).await;
    scene
        .until("a first list", |scene| scene.is_ready(&maps()))
        .await;
    scene.fill(400).await;
    let before = scene.look().await;
    assert_eq!(before.over(), 0, "{before:?}");
    scene.watches.set(all([maps(), secrets()])).await;
    let stopped = |scene: &Scene| {
        scene.pages.add_permits(1);
        matches!(scene.state(&secrets()), Some(TableState::Failed(_)))
    };
    scene.until("the list to be stopped", stopped).await;
    let why = reason(scene.state(&secrets()));
    insta::assert_snapshot!(blurred(&why));
    assert_eq!(scene.rows(&secrets()), 0, "nothing of it is kept");
    // What was there is there, and there is room again: but not for what has not fitted.
    let asked = scene.asked.lock().len();
    assert!(asked < PAGES, "it was not read to the end: {asked}");
    scene.pages.add_permits(10 * PAGES);
    for _ in 0..5 {
        scene.ingests().await;
    }
    assert_eq!(scene.look().await.over(), 0);
    assert_eq!(scene.asked.lock().len(), asked, "it is not tried at once");
    assert_eq!(
        (scene.taken().refused_tables, scene.rows(&filler())),
        (1, 400)
    );

    scene.unfill().await;
    scene
        .until("room for Secrets", |scene| scene.is_ready(&secrets()))
        .await;
    assert_eq!(scene.rows(&secrets()), PAGE * PAGES);
}

#[tokio::test]
async fn a_kind_that_was_complete_once_is_never_stopped() {
    let mut scene = Scene::new(1 << 20).await;
    scene.pages.add_permits(PAGES);
    scene.watches.set(all([secrets()])).await;
    scene
        .until("a first list", |scene| scene.is_ready(&secrets()))
        .await;
    scene.fill(600).await;
    // A new leader lists all again; so does a kind whose definition changed.
    let stop = CancellationToken::new();
    let reader = scene.budget.sources().reader.clone();
    let moment = Duration::from_millis(50);
    scene.watches.refresh(&reader, &stop, moment).await;
    let mut changed = secrets();
    changed.label_keys.push("app".into());
    scene.watches.set(all([changed])).await;
    assert!(scene.look().await.over() > 0);
    scene.pages.add_permits(2 * PAGES);
    scene
        .until("the list of a new leader", |scene| {
            scene.is_ready(&secrets())
        })
        .await;
    assert_eq!(scene.rows(&secrets()), PAGE * PAGES);
    assert_eq!(scene.taken().refused_tables, 0);
}

#[tokio::test]
async fn what_is_kept_for_those_who_come_back_goes_when_it_is_in_the_way() {
    let mut scene = Scene::new(1 << 20).await;
    scene.pages.add_permits(PAGES);
    scene.watches.set(all([secrets()])).await;
    scene
        .until("a first list", |scene| scene.is_ready(&secrets()))
        .await;
    scene.watches.set(Vec::new()).await;
    scene.look().await;
    assert!(scene.is_ready(&secrets()), "there is room for it");
    scene.fill(300).await;
    assert!(scene.look().await.over() > 0);
    assert_eq!(scene.state(&secrets()), None);
    assert_eq!(scene.look().await.over(), 0);
    assert_eq!(scene.taken(), Taken::default(), "nothing else was done");
}

#[tokio::test]
async fn caches_are_dropped_before_anything_else() {
    let mut scene = Scene::new(8 << 20).await;
    scene.fill(600).await;
    scene
        .engine
        .prepare("SELECT 1", &AccessSet::all())
        .await
        .unwrap();
    let reader = scene.budget.sources().reader.clone();
    let read = || {
        for chunk in reader
            .snapshot()
            .table(&filler().key)
            .unwrap()
            .scan()
            .unwrap()
        {
            chunk.fixed(&Column::Uid).unwrap();
            chunk
                .path(&"data.text".parse().unwrap(), kybern_table::PathType::Text)
                .unwrap();
        }
    };
    let none = Taken::default();
    read();
    let within = scene.look().await;
    assert!(within.over() == 0 && within.caches > 0, "{within:?}");
    assert_eq!(
        (scene.taken(), scene.budget.read().caches),
        (none, within.caches)
    );
    // Only because of the caches over it, but far enough that all of them must go.
    let kept = within.used() - within.caches;
    let small = Budget::new(
        scene.budget.sources().clone(),
        Some(kept + 1),
        Meter::new(Path::new("/"), None),
    );
    let mut keeper = Keeper::new(small.clone(), scene.watches.clone());
    keeper.look().await;
    let after = small.read();
    assert_eq!((after.caches, after.over()), (0, 0), "columns and plans");
    let taken = Taken {
        evicted_bytes: within.caches,
        ..none
    };
    assert_eq!(small.ledger().taken(), taken, "and nothing else was done");
    read();
    assert!(small.read().caches > 0, "they come back when they are read");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_statement_is_cancelled_and_the_other_one_and_ingest_go_on() {
    let mut scene = Scene::new(512 << 10).await;
    scene.watches.set(all([maps()])).await;
    scene
        .until("a first list", |scene| scene.is_ready(&maps()))
        .await;
    scene.fill(100).await;
    // Its left sides are collected: whole objects.
    let large = "SELECT count(*) FROM fillers a, fillers b, fillers c, fillers d \
        WHERE a.data || b.data || c.data || d.name LIKE '%no%such%'";
    let small = "SELECT count(*) FROM fillers a, fillers b, fillers c WHERE a.name || b.name || c.name LIKE '%no%such%'";
    let small = scene.run(small);
    let large = scene.run(large);
    scene
        .until("a statement to be cancelled", |scene| {
            scene.taken().cancelled_queries == 1
        })
        .await;
    let error = tokio::time::timeout(FOR_EVER, large)
        .await
        .unwrap()
        .unwrap();
    let Err(SqlError::Cancelled { message }) = error else {
        panic!("{error:?}");
    };
    insta::assert_snapshot!(blurred(&message));
    scene.ingests().await;
    let rows = tokio::time::timeout(FOR_EVER, small)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(rows, Ok(1));
    assert_eq!(scene.taken().cancelled_queries, 1);
    let after = scene.look().await;
    assert_eq!((after.queries, after.over()), (0, 0), "{after:?}");
}

#[tokio::test]
async fn the_accounts_are_the_sums_of_what_system_tables_show() {
    let mut scene = Scene::new(8 << 20).await;
    scene.fill(300).await;
    scene
        .engine
        .prepare("SELECT 1", &AccessSet::all())
        .await
        .unwrap();
    let stats = scene.budget.sources().reader.stats();
    let reading = scene.look().await;
    assert_eq!(reading.budget, 8 << 20);
    assert_eq!(
        reading.store,
        super::bytes(stats.total_bytes()),
        "nothing twice, nothing left out"
    );
    let plans = scene.engine.cached_plan_bytes();
    assert_eq!(reading.caches, super::bytes(stats.cache_bytes + plans));
    let facts = Facts {
        budget: scene.budget.clone(),
        watches: None,
        engine: None,
    };
    let of = |account: &str| -> u64 {
        let all = facts.memory();
        all.iter()
            .filter(|fact| fact.account == account)
            .map(|fact| fact.bytes)
            .sum()
    };
    assert_eq!((of("store"), of("caches")), (reading.store, reading.caches));
}
