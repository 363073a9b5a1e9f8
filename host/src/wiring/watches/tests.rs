use super::*;
use crate::budget::Sources;
use crate::fake_api::{FakeApi, all, def, page};
use crate::memory::Meter;
use kybern_sql::SqlLimits;
use kybern_table::{Batch, Origin, StoreConfig, TableDef};
use serde_json::json;
use std::path::Path;
use tokio::sync::Semaphore;
use tokio_util::sync::DropGuard;

/// Longer than anything here may take.
const FOR_EVER: Duration = Duration::from_secs(30);

/// Watches of a made-up API server that has one object of each kind in each place.
struct Scene {
    watches: Watches,
    reader: Reader,
    ingest: Ingest,
    stop: CancellationToken,
    /// First lines of the requests.
    asked: Arc<Mutex<Vec<String>>>,
    /// Lists that may be answered.
    lists: Arc<Semaphore>,
    _api: FakeApi,
    _stop: DropGuard,
}

impl Scene {
    /// Requests with `silent` in their first line are never answered.
    async fn new(grace: Duration, lists: usize, silent: &'static str) -> Self {
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let gate = Arc::new(Semaphore::new(lists));
        let (noted, open) = (Arc::clone(&asked), Arc::clone(&gate));
        let api = FakeApi::start(move |line: String| {
            let (noted, open) = (Arc::clone(&noted), Arc::clone(&open));
            async move {
                noted.lock().push(line.clone());
                if !silent.is_empty() && line.contains(silent) {
                    return None;
                }
                open.acquire().await.unwrap().forget();
                let object = json!({ "metadata": {
                    "name": "o", "namespace": "a", "uid": "u", "resourceVersion": "5",
                } });
                Some(page(&[object], None))
            }
        })
        .await;
        let (writer, reader) = kybern_table::store(StoreConfig::default());
        let (ingest, _thread) = Ingest::start(writer, reader.snapshot().sequence()).unwrap();
        let stop = CancellationToken::new();
        let config = WatchConfig {
            streaming: false,
            ..WatchConfig::default()
        };
        let sources = Sources {
            sql: kybern_sql::Engine::new(reader.clone(), SqlLimits::default()),
            reader: reader.clone(),
            guests: None,
        };
        let mut watches = Watches::new(
            api.cluster.clone(),
            ingest.clone(),
            config,
            None,
            // One that is never exceeded.
            Budget::new(sources, None, Meter::new(Path::new("/"), None)),
            stop.child_token(),
        );
        Arc::get_mut(&mut watches.shared).unwrap().grace = grace;
        Self {
            watches,
            reader,
            ingest,
            _stop: stop.clone().drop_guard(),
            stop,
            asked,
            lists: gate,
            _api: api,
        }
    }

    /// The definitions and states of all tables.
    fn tables(&self) -> Vec<String> {
        let snapshot = self.reader.snapshot();
        let mut tables: Vec<String> = snapshot
            .tables()
            .map(|table| format!("{}: {:?}", table.def().plural, table.state()))
            .collect();
        tables.sort();
        tables
    }

    fn state(&self, def: &TableDef) -> Option<TableState> {
        let snapshot = self.reader.snapshot();
        snapshot.table(&def.key).map(|table| table.state())
    }

    fn is_ready(&self, def: &TableDef) -> bool {
        matches!(self.state(def), Some(TableState::Ready { .. }))
    }

    /// Waits until a commit after which it holds.
    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let mut commits = self.ingest.commits();
        let there = async {
            while !holds(self) {
                commits.changed().await.expect("the writer lives");
            }
        };
        if tokio::time::timeout(FOR_EVER, there).await.is_err() {
            panic!("{what}: {:?}", self.tables());
        }
    }

    /// The lists that were asked for, without what follows the path.
    fn listed(&self) -> Vec<String> {
        let asked = self.asked.lock();
        let lists = asked.iter().filter(|line| !line.contains("watch=true"));
        lists.map(|line| line.replace(" HTTP/1.1", "")).collect()
    }
}

#[tokio::test]
async fn a_kind_that_cannot_be_listed_holds_a_new_leader_back_for_a_while_only() {
    let scene = Scene::new(GRACE, 100, "/secrets").await;
    let (maps, secrets) = (def("ConfigMap", "configmaps"), def("Secret", "secrets"));
    let wanted = all([maps.clone(), secrets.clone()]);
    scene.watches.set(wanted).await;

    let limit = Duration::from_millis(500);
    let fresh = scene.watches.refresh(&scene.reader, &scene.stop, limit);
    tokio::time::timeout(FOR_EVER, fresh)
        .await
        .expect("a new leader goes on");
    assert!(scene.is_ready(&maps), "{:?}", scene.state(&maps));
    match scene.state(&secrets) {
        Some(TableState::Failed(reason)) => {
            assert!(reason.contains("could not be listed afresh"), "{reason}");
        }
        other => panic!("what reads it must wait: {other:?}"),
    }
}

#[tokio::test]
async fn a_kind_that_nobody_needs_is_kept_for_a_while_and_then_goes() {
    let grace = Duration::from_millis(300);
    let scene = Scene::new(grace, 100, "").await;
    let (maps, secrets) = (def("ConfigMap", "configmaps"), def("Secret", "secrets"));
    let both_wanted = || all([maps.clone(), secrets.clone()]);
    scene.watches.set(both_wanted()).await;
    let both = [
        "configmaps: Ready { resource_version: 5 }",
        "secrets: Ready { resource_version: 5 }",
    ];
    scene.until("both", |scene| scene.tables() == both).await;

    // It comes back in time: the same watch goes on, nothing is listed again.
    scene.watches.set(all([maps.clone()])).await;
    assert_eq!(scene.tables(), both);
    scene.watches.set(both_wanted()).await;
    scene.watches.end_unwanted(grace).await;
    let lists = || scene.watches.health()[&secrets.key].lists;
    assert_eq!(
        (scene.tables(), lists()),
        (both.map(str::to_owned).to_vec(), 1)
    );

    scene.watches.set(all([maps.clone()])).await;
    let since = crate::clock::monotonic();
    scene
        .until("one", |scene| scene.tables() == both[..1])
        .await;
    let kept = crate::clock::monotonic().saturating_sub(since);
    assert!(kept >= grace, "{kept:?}");
    assert!(!scene.watches.health().contains_key(&secrets.key));
}

/// What a watch had handed over before it was ended comes before the end of its table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_was_dropped_does_not_come_back() {
    let scene = Scene::new(GRACE, 100, "").await;
    let (maps, busy) = (def("ConfigMap", "configmaps"), def("Secret", "secrets"));
    let define = vec![Change::Define(busy.clone())];
    scene.ingest.commit(define).await.unwrap();
    // Work before it in the queue.
    for version in 0..8 {
        let changes = (0..2000).map(|name| Change::Upsert {
            table: busy.key.clone(),
            raw: json!({ "metadata": {
                "name": name.to_string(), "uid": name.to_string(),
                "resourceVersion": (version * 2000 + name + 1).to_string(),
            } })
            .to_string()
            .into(),
            origin: Origin::Watch,
        });
        let batch = Batch {
            changes: changes.collect(),
        };
        scene.ingest.batches().send(batch.into()).await.unwrap();
    }
    let mut news = scene.watches.shared.board.news.subscribe();
    scene.watches.set(all([maps.clone()])).await;
    while scene.watches.health()[&maps.key].changes == 0 {
        news.changed().await.unwrap();
    }
    assert_eq!(scene.state(&maps), None, "it waits in the queue");
    scene.watches.set(Vec::new()).await;
    assert_eq!(scene.watches.end_unwanted(Duration::ZERO).await, 1);
    assert_eq!(scene.state(&maps), None);
    // What was in the queue has been taken in by now.
    scene.ingest.commit_last(Vec::new()).await;
    assert_eq!(scene.state(&maps), None);
}

fn in_namespace(def: &TableDef) -> Wanted {
    Wanted {
        def: def.clone(),
        part: Part::namespace("a"),
    }
}

#[tokio::test]
async fn a_part_of_a_kind_is_not_taken_for_all_of_it() {
    let scene = Scene::new(GRACE, 1, "").await;
    let maps = def("ConfigMap", "configmaps");
    let place = || scene.watches.scope(&maps.key);
    scene.watches.set(vec![in_namespace(&maps)]).await;
    scene.until("a part", |scene| scene.is_ready(&maps)).await;
    assert_eq!(place(), "namespace a");

    // Somebody else needs all of it: nobody may take the part for that.
    let both = || vec![in_namespace(&maps), Wanted::all(maps.clone())];
    scene.watches.set(both()).await;
    match scene.state(&maps) {
        Some(TableState::Failed(reason)) => assert!(
            reason.contains("is being listed: until now only namespace a was needed"),
            "{reason}"
        ),
        other => panic!("{other:?}"),
    }
    scene.lists.add_permits(1);
    scene
        .until("all of it", |scene| scene.is_ready(&maps))
        .await;
    assert_eq!(place(), "all namespaces");

    // The part is in the whole: the larger watch stays for those who come back, and the table is
    // readable until the smaller list is there.
    scene.watches.set(vec![in_namespace(&maps)]).await;
    assert_eq!(place(), "all namespaces");
    scene.watches.set(both()).await;
    scene.watches.end_unwanted(Duration::ZERO).await;
    assert_eq!(place(), "all namespaces");
    scene.watches.set(vec![in_namespace(&maps)]).await;
    assert_eq!(scene.watches.end_unwanted(Duration::ZERO).await, 1);
    assert_eq!(place(), "namespace a");
    assert!(scene.is_ready(&maps));
    scene.lists.add_permits(1);
    let lists = || scene.watches.health()[&maps.key].lists;
    scene.until("the part again", |_| lists() == 3).await;
    assert!(scene.is_ready(&maps));
    let namespaced = |line: &String| line.contains("/namespaces/a/");
    let listed = scene.listed();
    let parts: Vec<bool> = listed.iter().map(namespaced).collect();
    assert_eq!(parts, [true, false, true], "{listed:?}");
}

/// A new leader gives up waiting for a list that is under way: the list heals what that failed.
#[tokio::test]
async fn a_list_that_comes_late_is_taken_all_the_same() {
    let scene = Scene::new(GRACE, 1, "").await;
    let maps = def("ConfigMap", "configmaps");
    scene.watches.set(all([maps.clone()])).await;
    scene.until("a list", |scene| scene.is_ready(&maps)).await;
    let moment = Duration::from_millis(50);
    scene
        .watches
        .refresh(&scene.reader, &scene.stop, moment)
        .await;
    assert!(matches!(scene.state(&maps), Some(TableState::Failed(_))));
    // As if the list had begun before.
    let begun = vec![Change::ListBegin {
        table: maps.key.clone(),
    }];
    scene.ingest.commit_last(begun).await;
    let late = BTreeSet::from([maps.key.clone()]);
    scene.watches.give_up(&scene.reader, late).await;
    assert!(matches!(scene.state(&maps), Some(TableState::Failed(_))));
    let ended = vec![Change::ListEnd {
        table: maps.key.clone(),
        resource_version: 5,
    }];
    scene.ingest.commit_last(ended).await;
    assert!(scene.is_ready(&maps), "{:?}", scene.state(&maps));
}
