//! One engine over one API server, with hooks that are closures.

use crate::api::{Api, KINDS};
use arrow::datatypes::Schema;
use async_trait::async_trait;
use kybern_interface::{Effect, Gvk, Manifest, Plan, Registration, Sensing, Situation, Trigger};
use kybern_reconcile::{
    Act, Active, Answer, Clock, Counters, Decide, DecideError, Deps, Engine, EngineConfig, Entropy,
    KindFacts, Kinds, PassLimits, PassReport, Primary, Sense, SenseError, SenseRequest, Sensed,
};
use kybern_table::{Columns, Index, Keys, KindKey, ReadSet, Reader, ScanRead, Sequence, Snapshot};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

type Hook = dyn Fn(&Situation) -> Result<Plan, DecideError> + Send + Sync;

/// How long an effect takes, and what comes of it.
pub(crate) type Acted = (Duration, Result<Value, DecideError>);
type ActHook = dyn Fn(&Effect) -> Acted + Send + Sync;

/// The hooks of one plugin.
pub(crate) struct Hooks {
    pub(crate) decide: Mutex<Arc<Hook>>,
    /// Those of other revisions, by digest.
    pub(crate) others: Mutex<BTreeMap<String, Arc<Hook>>>,
    pub(crate) decides: Mutex<usize>,
    /// A ConfigMap in the CR's namespace whose `data` every pass reads.
    pub(crate) reads: Mutex<Option<String>>,
    pub(crate) skip: Mutex<bool>,
    /// Happens once, after a pass's queries were answered and before it hears of it.
    pub(crate) meanwhile: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    /// Whether queries fail.
    pub(crate) broken: Mutex<bool>,
    /// How long queries take.
    pub(crate) delay: Mutex<Duration>,
    /// From how many CRs on they are asked for together.
    pub(crate) company: Mutex<Option<usize>>,
    /// How many were asked for at once, each time.
    pub(crate) together: Mutex<Vec<usize>>,
    pub(crate) act: Mutex<Arc<ActHook>>,
    /// Effects that were begun.
    pub(crate) acts: Mutex<Vec<Effect>>,
    /// Effects under way.
    pub(crate) acting: Arc<AtomicUsize>,
}

/// One more while it lives.
struct Acting(Arc<AtomicUsize>);

impl Acting {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Act for Hooks {
    async fn act(&self, _: &Active, effect: Effect, _: Duration) -> Result<Value, DecideError> {
        let _acting = Acting::new(&self.acting);
        let hook = Arc::clone(&self.act.lock());
        let (takes, result) = hook(&effect);
        self.acts.lock().push(effect);
        tokio::time::sleep(takes).await;
        result
    }
}

fn map_key() -> KindKey {
    KindKey::new("", "v1", "ConfigMap")
}

impl Hooks {
    fn answer(&self, namespace: &str, name: &str, snapshot: &Snapshot) -> Answer {
        let value = format!("{namespace}/{name}");
        let rows = snapshot
            .table(&map_key())
            .unwrap()
            .lookup(&Index::Name, &value)
            .unwrap();
        let text: Vec<String> = rows
            .iter()
            .map(|row| row.value()["data"].to_string())
            .collect();
        let fingerprint = text
            .join("\n")
            .bytes()
            .fold(7u128, |h, b| h.wrapping_mul(31) + u128::from(b));
        Answer {
            name: "settings".into(),
            schema: Arc::new(Schema::empty()),
            batches: vec![],
            fingerprint,
            rows: rows.len(),
            read_set: ReadSet {
                scans: vec![ScanRead {
                    table: map_key(),
                    columns: Columns::Named(["data".to_owned()].into()),
                    keys: Keys::Of {
                        index: Index::Name,
                        values: vec![value],
                    },
                }],
            },
        }
    }
}

#[async_trait]
impl Sense for Hooks {
    async fn sense(&self, request: SenseRequest<'_>) -> Result<Sensed, SenseError> {
        tokio::task::yield_now().await;
        let delay = *self.delay.lock();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let namespace = request.object["metadata"]["namespace"]
            .as_str()
            .unwrap_or_default();
        if *self.broken.lock() {
            return Err(SenseError::Query {
                query: "q".into(),
                message: "no such column".into(),
            });
        }
        let reads = self.reads.lock().clone();
        let answers = reads
            .iter()
            .map(|name| self.answer(namespace, name, request.snapshot))
            .collect();
        if let Some(meanwhile) = self.meanwhile.lock().take() {
            meanwhile();
        }
        // The dispatcher sees the change before the read set is known to it.
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        Ok(Sensed { answers })
    }

    fn company(&self, _: &Active) -> Option<usize> {
        *self.company.lock()
    }

    async fn sense_together(
        &self,
        requests: &[SenseRequest<'_>],
    ) -> Vec<Result<Sensed, SenseError>> {
        self.together.lock().push(requests.len());
        let mut all = Vec::new();
        for request in requests {
            all.push(Sense::sense(self, *request).await);
        }
        all
    }
}

#[async_trait]
impl Decide for Hooks {
    async fn sense(&self, _: &Active, _: Trigger, _: &[Answer]) -> Result<Sensing, DecideError> {
        Ok(if *self.skip.lock() {
            Sensing::Skip
        } else {
            Sensing::Queries(vec![])
        })
    }

    async fn decide(
        &self,
        active: &Active,
        situation: Situation,
        answers: &[Answer],
    ) -> Result<Plan, DecideError> {
        tokio::task::yield_now().await;
        *self.decides.lock() += 1;
        assert_eq!(situation.object.pointer("/metadata/managedFields"), None);
        assert_eq!(situation.queries.len(), answers.len());
        let other = self.others.lock().get(&active.digest).cloned();
        let decide = other.unwrap_or_else(|| Arc::clone(&self.decide.lock()));
        decide(&situation)
    }
}

impl Kinds for Api {
    fn facts(&self, gvk: &Gvk) -> Option<KindFacts> {
        let versions = self.versions(&gvk.group, &gvk.kind)?;
        KINDS
            .iter()
            .filter(|_| versions.contains(&gvk.version))
            .find(|(group, _, kind, ..)| *group == gvk.group && *kind == gvk.kind)
            .map(|(_, _, kind, plural, namespaced)| KindFacts {
                plural: (*plural).into(),
                namespaced: *namespaced,
                has_status: matches!(*kind, "App" | "Deployment"),
            })
    }

    fn versions(&self, _: &str, kind: &str) -> Option<Vec<String>> {
        Some(self.served(kind))
    }
}

/// A wall clock that goes on when the engine ends, and that somebody may put to another time.
#[derive(Clone)]
pub(crate) struct Wall {
    born: tokio::time::Instant,
    ahead: Arc<AtomicI64>,
}

impl Wall {
    fn new() -> Self {
        Self {
            born: tokio::time::Instant::now(),
            ahead: Arc::default(),
        }
    }

    /// Puts it so many hours forward or back.
    pub(crate) fn jump(&self, hours: i64) {
        self.ahead.fetch_add(hours * 3_600_000, Ordering::SeqCst);
    }
}

impl Clock for Wall {
    fn now(&self) -> jiff::Timestamp {
        let elapsed = i64::try_from(self.born.elapsed().as_millis()).unwrap();
        let now = 1_800_000_000_000 + elapsed + self.ahead.load(Ordering::SeqCst);
        jiff::Timestamp::from_millisecond(now).unwrap()
    }
}

struct Half;

impl Entropy for Half {
    fn unit(&self) -> f64 {
        0.5
    }
}

pub(crate) fn app() -> Gvk {
    Gvk::new("app.example.com", "v1", "App")
}

/// A registration that may write everything the tests write.
pub(crate) fn active(name: &str) -> Active {
    let registration: Registration = serde_json::from_value(json!({
        "apiVersion": "kybern.dev/v1alpha1", "kind": "Plugin", "metadata": { "name": name },
        "spec": { "source": { "file": "x" }, "grants": { "write": [
            { "group": "", "kinds": ["ConfigMap", "PersistentVolumeClaim", "Secret"], "verbs": ["apply", "patch", "delete"], "scope": "Cluster", "adopt": true },
            { "group": "", "kinds": ["Namespace"], "verbs": ["apply"], "scope": "Cluster" },
            { "group": "apps", "kinds": ["Deployment"], "verbs": ["apply", "patch"], "subresources": ["scale", "status"] },
            { "group": "", "kinds": ["Pod"], "verbs": [], "subresources": ["eviction"] },
        ], "state": true } },
    }))
    .unwrap();
    let manifest: Manifest = serde_json::from_value(json!({
        "name": name, "version": "1.0.0", "world": kybern_interface::WORLD,
        "status": { "conditions": "standard", "observedGeneration": true },
        "effects": [{ "name": "call" }, { "name": "undo" }],
    }))
    .unwrap();
    Active {
        limits: PassLimits::of(&registration.spec.limits),
        registration: Arc::new(registration),
        digest: "sha256:1".into(),
        manifest: Arc::new(manifest),
        primaries: vec![Primary {
            gvk: app(),
            facts: KindFacts {
                plural: "apps".into(),
                namespaced: true,
                has_status: true,
            },
            selector: None,
        }],
        settings: Value::Null,
        has_sense: false,
        revisions: Vec::new(),
        missing: std::collections::BTreeSet::new(),
        trial: None,
    }
}

pub(crate) fn cr(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "app.example.com/v1", "kind": "App",
        "metadata": { "name": name, "namespace": "ns" }, "spec": spec,
    })
}

pub(crate) fn map(name: &str, data: Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": data })
}

pub(crate) fn apply(object: Value) -> Value {
    json!({ "type": "apply", "object": object })
}

pub(crate) fn plan(actions: Value) -> Plan {
    serde_json::from_value(json!({ "children": "complete", "actions": actions })).unwrap()
}

/// One ConfigMap for each of `spec.maps`, a Deployment if `spec.image` is set, and a status.
pub(crate) fn simple(situation: &Situation) -> Result<Plan, DecideError> {
    let object = &situation.object;
    let name = object["metadata"]["name"].as_str().unwrap();
    let spec = &object["spec"];
    let mut actions: Vec<Value> = spec["maps"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| apply(map(&format!("{name}-{key}"), json!({ "v": value }))))
        .collect();
    let count = actions.len();
    if let Some(image) = spec["image"].as_str() {
        actions.push(apply(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name },
            "spec": {
                "selector": { "matchLabels": { "app": name } },
                "template": { "spec": { "containers": [{
                    "name": "web", "image": image, "ports": [{ "containerPort": 80 }],
                    "resources": { "limits": { "cpu": "1000m" } },
                }] } },
            },
        })));
    }
    actions.push(json!({ "type": "status", "status": { "maps": count } }));
    Ok(plan(json!(actions)))
}

pub(crate) struct World {
    pub(crate) api: Arc<Api>,
    pub(crate) hooks: Arc<Hooks>,
    pub(crate) engine: Engine,
    /// They go on when the engine ends.
    pub(crate) counters: Counters,
    reader: Reader,
    commits: watch::Receiver<Sequence>,
    pub(crate) wall: Wall,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl World {
    /// An engine with registration `reg` that runs [`simple`].
    pub(crate) fn new() -> Self {
        let mut world = Self::bare();
        world.engine.register(active("reg"));
        world.start();
        world
    }

    pub(crate) fn bare() -> Self {
        crate::spans::install();
        let (api, reader, commits) = Api::new();
        let hooks = Arc::new(Hooks {
            decide: Mutex::new(Arc::new(simple)),
            others: Mutex::default(),
            decides: Mutex::new(0),
            reads: Mutex::new(None),
            skip: Mutex::new(false),
            broken: Mutex::new(false),
            delay: Mutex::default(),
            company: Mutex::default(),
            together: Mutex::default(),
            meanwhile: Mutex::new(None),
            act: Mutex::new(Arc::new(|effect| {
                (Duration::ZERO, Ok(json!({ "did": effect.key })))
            })),
            acts: Mutex::default(),
            acting: Arc::default(),
        });
        let api = Arc::new(api);
        let counters = Counters::default();
        let wall = Wall::new();
        let engine = Self::engine(&api, &hooks, &reader, &counters, &wall);
        Self {
            api,
            hooks,
            engine,
            counters,
            reader,
            commits,
            wall,
            stop: CancellationToken::new(),
            tasks: JoinSet::new(),
        }
    }

    fn engine(
        api: &Arc<Api>,
        hooks: &Arc<Hooks>,
        reader: &Reader,
        counters: &Counters,
        wall: &Wall,
    ) -> Engine {
        Engine::new(Deps {
            reader: reader.clone(),
            sense: hooks.clone(),
            decide: hooks.clone(),
            act: hooks.clone(),
            apply: api.clone(),
            kinds: api.clone(),
            clock: Arc::new(wall.clone()),
            entropy: Arc::new(Half),
            config: EngineConfig::default(),
            home: "kybern".into(),
            counters: counters.clone(),
        })
    }

    pub(crate) fn start(&mut self) {
        let engine = self.engine.clone();
        let (commits, stop) = (self.commits.clone(), self.stop.clone());
        self.tasks
            .spawn(async move { engine.run(commits, stop).await });
    }

    /// Ends the engine in order and starts one that remembers nothing.
    pub(crate) async fn restart(&mut self) {
        self.stop.cancel();
        while let Some(done) = self.tasks.join_next().await {
            done.unwrap();
        }
        self.stop = CancellationToken::new();
        let (hooks, reader) = (&self.hooks, &self.reader);
        self.engine = Self::engine(&self.api, hooks, reader, &self.counters, &self.wall);
        self.engine.register(active("reg"));
        self.start();
    }

    /// Asks the engine to end and waits until its run has.
    pub(crate) async fn stop(&mut self) {
        self.stop.cancel();
        while let Some(done) = self.tasks.join_next().await {
            done.unwrap();
        }
    }

    /// Ends the run of the engine wherever it is.
    pub(crate) async fn abort(&mut self) {
        self.tasks.shutdown().await;
    }

    /// Ends the engine wherever it is.
    pub(crate) async fn kill(&mut self) {
        self.tasks.shutdown().await;
        self.restart().await;
    }

    pub(crate) fn decide(
        &self,
        hook: impl Fn(&Situation) -> Result<Plan, DecideError> + Send + Sync + 'static,
    ) {
        *self.hooks.decide.lock() = Arc::new(hook);
    }

    /// What another revision decides.
    pub(crate) fn decide_as(
        &self,
        digest: &str,
        hook: impl Fn(&Situation) -> Result<Plan, DecideError> + Send + Sync + 'static,
    ) {
        let mut others = self.hooks.others.lock();
        others.insert(digest.to_owned(), Arc::new(hook));
    }

    /// Lets everything happen that is due within five minutes; time is tokio's paused clock.
    pub(crate) async fn settle(&self) {
        tokio::time::sleep(Duration::from_secs(300)).await;
        assert!(self.engine.is_idle());
    }

    pub(crate) fn report(&self, name: &str) -> Arc<PassReport> {
        self.engine
            .report("reg", &app(), "ns", name)
            .unwrap_or_else(|| panic!("no pass over {name}"))
    }

    pub(crate) fn condition(&self, name: &str, kind: &str) -> Option<(String, String, String)> {
        let object = self.api.get("App", "ns", name).unwrap();
        let text = |c: &Value, key: &str| c[key].as_str().unwrap_or_default().to_owned();
        object["status"]["conditions"]
            .as_array()?
            .iter()
            .find(|c| c["type"] == kind)
            .map(|c| (text(c, "status"), text(c, "reason"), text(c, "message")))
    }

    pub(crate) fn ready(&self, name: &str) -> (String, String) {
        let (status, reason, _) = self.condition(name, "Ready").expect("no Ready condition");
        (status, reason)
    }

    pub(crate) fn act(&self, hook: impl Fn(&Effect) -> Acted + Send + Sync + 'static) {
        *self.hooks.act.lock() = Arc::new(hook);
    }

    /// Effects that were begun since the last call: `call k1 #1`.
    pub(crate) fn acts(&self) -> Vec<String> {
        let acts = std::mem::take(&mut *self.hooks.acts.lock());
        let told = |e: &Effect| format!("{} {} #{}", e.name, e.key, e.attempt);
        acts.iter().map(told).collect()
    }

    /// Effects under way.
    pub(crate) fn acting(&self) -> usize {
        self.hooks.acting.load(Ordering::SeqCst)
    }

    pub(crate) fn decides(&self) -> usize {
        std::mem::take(&mut *self.hooks.decides.lock())
    }
}
