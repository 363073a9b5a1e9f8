//! What the tests share: a connection, objects, and a table that keeps what a watch says.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use jiff::SignedDuration;
use kybern_kube::{
    AlwaysLeader, Cluster, Observation, RequestError, Resource, Target, WatchConfig, WatchEnd,
    WatchObserver, WatchTarget, WriteOptions, Writes,
    clock::{Clock, SystemClock, Timestamp},
    watch,
    watch::Pace,
};
use kybern_table::{Batch, Change, Deleted, KindKey, TableDef};
use kybern_testcluster::{ControlPlane, User};
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// How long anything may take before a test gives up.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

pub(crate) fn plane() -> &'static ControlPlane {
    kybern_testcluster::shared().expect("a control plane")
}

pub(crate) async fn admin(plane: &ControlPlane) -> Cluster {
    cluster_of(plane, plane.user("admin").expect("an administrator")).await
}

pub(crate) async fn cluster_of(plane: &ControlPlane, user: &User) -> Cluster {
    // The file is written in place, so nobody may read it meanwhile.
    static FILES: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _alone = FILES.lock().await;
    let path = plane.kubeconfig(user).expect("a kubeconfig");
    Cluster::from_kubeconfig_path(&path, None)
        .await
        .expect("a connection")
}

pub(crate) fn writes(cluster: &Cluster) -> Writes {
    Writes::new(cluster.clone(), Arc::new(AlwaysLeader))
}

pub(crate) fn config_maps() -> Resource {
    Resource::new("", "v1", "ConfigMap", "configmaps", true)
}

pub(crate) fn table(resource: &Resource) -> TableDef {
    TableDef {
        key: KindKey::new(
            resource.group.as_str(),
            resource.version.as_str(),
            resource.kind.as_str(),
        ),
        schema: "s".to_owned(),
        plural: resource.plural.clone(),
        namespaced: resource.namespaced,
        label_keys: Vec::new(),
        path_indexes: Vec::new(),
    }
}

pub(crate) fn config_map(name: &str, value: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { "x": value } })
}

pub(crate) fn bytes(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}

pub(crate) fn value(bytes: &Bytes) -> Value {
    serde_json::from_slice(bytes).expect("is JSON")
}

pub(crate) async fn put(writes: &Writes, namespace: &str, name: &str, data: &str) -> Value {
    let resource = config_maps();
    let body = bytes(&config_map(name, data));
    let target = Target::new(&resource, Some(namespace), name);
    let options = kybern_kube::ApplyOptions::force("test");
    value(
        &writes
            .apply(&target, body, &options)
            .await
            .expect("applies"),
    )
}

/// Tries to create a ConfigMap.
pub(crate) async fn try_create(
    writes: &Writes,
    namespace: &str,
    object: &Value,
) -> Result<Value, RequestError> {
    let options = WriteOptions::by("test");
    let body = bytes(object);
    let created = writes
        .create(&config_maps(), Some(namespace), body, &options)
        .await?;
    Ok(value(&created))
}

pub(crate) async fn create(writes: &Writes, namespace: &str, object: &Value) -> Value {
    let created = try_create(writes, namespace, object).await;
    created.expect("creates")
}

/// The ConfigMaps of one namespace.
pub(crate) fn in_namespace(namespace: &str) -> WatchTarget {
    let mut target = WatchTarget::all(table(&config_maps()));
    target.scope.namespace = Some(namespace.to_owned());
    target
}

/// A watch that does not wait long between attempts.
pub(crate) fn quick() -> WatchConfig {
    let pace = Pace {
        first: Duration::from_millis(20),
        last: Duration::from_millis(200),
    };
    WatchConfig {
        retry: pace.clone(),
        refused: pace,
        ..WatchConfig::default()
    }
}

/// Looks until the condition holds.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    match tokio::time::timeout(LIMIT, looking).await {
        Ok(found) => found,
        Err(_) => panic!("{what}: not within {LIMIT:?}"),
    }
}

/// What a watch has said so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) rows: BTreeMap<String, Value>,
    pub(crate) ready: bool,
    pub(crate) failed: Option<String>,
    pub(crate) lists: usize,
    pub(crate) batches: usize,
    pub(crate) interruptions: Vec<String>,
    listed: Option<Vec<String>>,
}

impl Seen {
    fn apply(&mut self, batch: Batch) {
        self.batches += 1;
        for change in batch.changes {
            match change {
                Change::Define(_) => {}
                Change::ListBegin { .. } => self.listed = Some(Vec::new()),
                Change::ListEnd {
                    resource_version, ..
                } => {
                    let listed = self.listed.take().expect("an end after a beginning");
                    self.rows.retain(|name, row| {
                        listed.contains(name) || version(row) > resource_version
                    });
                    (self.ready, self.failed) = (true, None);
                    self.lists += 1;
                }
                Change::Upsert { raw, .. } => {
                    let object = value(&raw);
                    let name = object["metadata"]["name"]
                        .as_str()
                        .expect("a name")
                        .to_owned();
                    if let Some(listed) = &mut self.listed {
                        listed.push(name.clone());
                    }
                    let newer = self
                        .rows
                        .get(&name)
                        .is_none_or(|row| version(row) <= version(&object));
                    if newer {
                        self.rows.insert(name, object);
                    }
                }
                Change::Delete {
                    target: Deleted::Raw(raw),
                    ..
                } => {
                    let object = value(&raw);
                    self.rows
                        .remove(object["metadata"]["name"].as_str().expect("a name"));
                }
                Change::Fail { reason, .. } => (self.ready, self.failed) = (false, Some(reason)),
                other => panic!("not expected: {other:?}"),
            }
        }
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.rows.keys().map(String::as_str).collect()
    }
}

fn version(object: &Value) -> u64 {
    let text = object["metadata"]["resourceVersion"]
        .as_str()
        .expect("a version");
    text.parse().expect("a number")
}

/// A running watch and what it has said.
pub(crate) struct Running {
    seen: Arc<Mutex<Seen>>,
    cancel: CancellationToken,
    tasks: JoinSet<Option<WatchEnd>>,
}

struct Notes(Arc<Mutex<Seen>>);

impl WatchObserver for Notes {
    fn observe(&self, _kind: &KindKey, observation: Observation) {
        if let Observation::Interrupted { reason, .. } = observation {
            self.0
                .lock()
                .expect("not poisoned")
                .interruptions
                .push(reason);
        }
    }
}

impl Running {
    pub(crate) fn start(cluster: &Cluster, target: WatchTarget, config: WatchConfig) -> Running {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let cancel = CancellationToken::new();
        let (sink, mut batches) = mpsc::channel(4);
        let mut tasks = JoinSet::new();
        let notes = Arc::new(Notes(seen.clone()));
        let watching = watch(cluster.clone(), target, config, sink, notes, cancel.clone());
        tasks.spawn(async move { Some(watching.await) });
        let store = seen.clone();
        tasks.spawn(async move {
            while let Some(batch) = batches.recv().await {
                store.lock().expect("not poisoned").apply(batch);
            }
            None
        });
        Running {
            seen,
            cancel,
            tasks,
        }
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().expect("not poisoned").clone()
    }

    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Seen) -> bool) -> Seen {
        let looking = async {
            loop {
                let seen = self.seen();
                if holds(&seen) {
                    return seen;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        match tokio::time::timeout(LIMIT, looking).await {
            Ok(seen) => seen,
            Err(_) => panic!("{what}: not within {LIMIT:?}; last: {:?}", self.seen()),
        }
    }

    pub(crate) async fn stop(mut self) -> WatchEnd {
        self.cancel.cancel();
        let mut end = None;
        while let Some(done) = self.tasks.join_next().await {
            end = end.or(done.expect("no panic"));
        }
        end.expect("the watch has ended")
    }
}

/// Clocks that can jump: the one since boot as over a suspension, the one on the wall when
/// somebody puts it right.
#[derive(Default)]
pub(crate) struct Jumping {
    slept: AtomicU64,
    ahead: AtomicI64,
}

impl Jumping {
    /// The machine sleeps for so many seconds.
    pub(crate) fn sleep(&self, seconds: u64) {
        self.slept.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Puts the wall clock so many hours forward or back.
    pub(crate) fn turn(&self, hours: i64) {
        self.ahead.fetch_add(hours, Ordering::SeqCst);
    }
}

impl Clock for Jumping {
    fn since_boot(&self) -> Duration {
        SystemClock.since_boot() + Duration::from_secs(self.slept.load(Ordering::SeqCst))
    }

    fn now(&self) -> Timestamp {
        let ahead = SignedDuration::from_hours(self.ahead.load(Ordering::SeqCst));
        SystemClock.now() + ahead
    }
}
