//! A host behind a proxy for faults, and what is known of its objects.

use super::operator::{Kind, Operator, RECORDS, Step};
use super::oracle::{Child, Outcome, normal};
use crate::proxy::lead;
use crate::sandbox::metric;
use crate::scene::{Language, SOON, Scene, pass_time};
use anyhow::{Context, Result, ensure};
use kybern_faults::{Entry, FaultProxy, Journal, Life, Mark, Observer, Tally, Upstream};
use kybern_testcluster::{Host, Progress, until};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Without a write for so long the host waits for something to happen.
const REST: Duration = Duration::from_millis(500);

/// All objects of the namespace, by plural and name; records as of [`RECORDS`].
pub(crate) type Objects = BTreeMap<(String, String), Value>;

/// A host behind a proxy for faults.
pub(crate) struct World {
    pub(crate) scene: Scene,
    pub(crate) operator: Operator,
    pub(crate) proxy: FaultProxy,
    /// Ways of further replicas; what they ask counts too.
    pub(crate) beside: Vec<FaultProxy>,
    observer: Observer,
    /// Shared with hooks that kill it.
    pub(crate) host: Arc<Mutex<Option<Host>>>,
    restarts: Mutex<u64>,
    /// What happened last to each CR.
    steps: Mutex<BTreeMap<String, Step>>,
    arguments: &'static [&'static str],
}

impl World {
    /// Starts the host with AppService, written in Rust, registered.
    pub(crate) fn start(name: &str) -> Result<Self> {
        Self::start_with(name, Operator::AppService(Language::Rust), &[])
    }

    /// Starts the host with this operator registered, and with further arguments.
    pub(crate) fn start_with(
        name: &str,
        operator: Operator,
        arguments: &'static [&'static str],
    ) -> Result<Self> {
        let scene = Scene::new(name)?;
        let proxy = FaultProxy::start(upstream(&scene)?)?;
        lead(&scene, &proxy.url())?;
        let registration = operator.registration(&scene)?;
        scene.grant(std::slice::from_ref(&registration))?;
        let host = Arc::new(Mutex::new(Some(ready(&scene, arguments)?)));
        scene.register(&registration)?;
        let namespace = &scene.namespace;
        let paths = operator.kinds().iter().map(|kind| {
            let base = if kind.group.is_empty() { "api" } else { "apis" };
            let plural = plural(kind);
            format!("/{base}/{}/namespaces/{namespace}/{plural}", kind.version)
        });
        let paths: Vec<String> = paths.collect::<BTreeSet<_>>().into_iter().collect();
        let token = scene.plane.user("admin")?.token().to_owned();
        let observer = Observer::start(upstream(&scene)?, &token, &paths)?;
        Ok(Self {
            scene,
            operator,
            proxy,
            beside: Vec::new(),
            observer,
            host,
            restarts: Mutex::default(),
            steps: Mutex::default(),
            arguments,
        })
    }

    /// Starts the host again if it was killed; whether it was.
    fn restart(&self) -> Result<bool> {
        let mut host = self.host.lock().unwrap();
        let killed = host.is_none();
        if killed {
            *host = Some(ready(&self.scene, self.arguments)?);
            *self.restarts.lock().unwrap() += 1;
        }
        Ok(killed)
    }

    /// How often it was.
    pub(crate) fn restarts(&self) -> u64 {
        *self.restarts.lock().unwrap()
    }

    /// Does one thing to a CR or its children.
    pub(crate) fn make(&self, step: Step, name: &str) -> Result<()> {
        self.steps.lock().unwrap().insert(name.to_owned(), step);
        self.operator.make(step, &self.scene, name)
    }

    /// What a CR and its children lack.
    fn missing(&self, objects: &Objects, name: &str) -> Option<String> {
        let last = self.steps.lock().unwrap().get(name).copied();
        match last {
            Some(step) => self.operator.missing(objects, name, step),
            None => Some("nothing has happened to it".to_owned()),
        }
    }

    /// Takes these CRs through one step, and waits until it is done.
    pub(crate) fn step(&self, step: Step, names: &[String]) -> Result<()> {
        for name in names {
            self.make(step, name)?;
        }
        self.settle(names)
    }

    /// Waits until these CRs are as they should be and the host rests. A host that was killed on
    /// the way is started again.
    pub(crate) fn settle(&self, names: &[String]) -> Result<()> {
        loop {
            self.wanted(names)?;
            self.rest(names)?;
            if !self.restart()? {
                return Ok(());
            }
        }
    }

    fn wanted(&self, names: &[String]) -> Result<()> {
        until("all to be as wanted", SOON, || {
            self.restart()?;
            let objects = self.objects()?;
            let open = names.iter().find_map(|name| {
                let open = self.missing(&objects, name)?;
                Some(format!("{name}: {open}"))
            });
            Ok(match open {
                None => Progress::Done(()),
                Some(open) => Progress::Waiting(open),
            })
        })
    }

    /// Waits until the host has asked for no write of these CRs and their children for a while.
    pub(crate) fn rest(&self, names: &[String]) -> Result<()> {
        let theirs =
            |entry: &Entry| entry.ask.writes() && names.iter().any(|name| entry.ask.is_about(name));
        until("the host to rest", SOON, || {
            let marks: Vec<Mark> = self.journals().map(Journal::mark).collect();
            pass_time(REST)?;
            let since = self.journals().zip(marks);
            let mut entries = since.flat_map(|(journal, mark)| journal.since(mark));
            let write = entries.find(theirs);
            Ok(match write {
                None => Progress::Done(()),
                Some(entry) => Progress::Waiting(format!("{entry:?}")),
            })
        })
    }

    fn journals(&self) -> impl Iterator<Item = &Journal> {
        let proxies = std::iter::once(&self.proxy).chain(&self.beside);
        proxies.map(FaultProxy::journal)
    }

    /// What was done to one object and its children, by group, plural and name.
    fn tallies(&self, name: &str) -> BTreeMap<(String, String, String), Tally> {
        let mut all: BTreeMap<_, Tally> = BTreeMap::new();
        for (key, tally) in self.journals().flat_map(|journal| journal.tallies(name)) {
            let sum = all.entry(key).or_default();
            sum.creates += tally.creates;
            sum.deletes += tally.deletes;
            sum.writes += tally.writes;
            sum.asked += tally.asked;
        }
        all
    }

    /// Nothing is written any more, by the API server's own audit log.
    pub(crate) fn quiet(&self) -> Result<()> {
        let writes = self.scene.writes_within(Duration::from_secs(4))?;
        ensure!(writes.is_empty(), "not quiet: {writes:#?}");
        let lost: u64 = self.journals().map(Journal::lost).sum();
        ensure!(lost == 0, "the journal is too short");
        Ok(())
    }

    /// How often the host took the API server's store for another one, by what it saw of this plural.
    pub(crate) fn epochs(&self, plural: &str) -> Result<f64> {
        let mut kinds = self.operator.kinds().iter();
        let kind = kinds.find(|kind| kind.plural == plural);
        let label = format!("/{}\"", kind.context("a kind")?.kind);
        let host = self.host.lock().unwrap();
        let host = host.as_ref().context("it runs")?;
        metric(host, "kybern_watch_epochs_total", &label)
    }

    /// What is there.
    pub(crate) fn objects(&self) -> Result<Objects> {
        objects(&self.scene, self.operator.kinds())
    }

    /// What became of a CR and its children.
    pub(crate) fn outcome(&self, name: &str) -> Result<Outcome> {
        let objects = self.objects()?;
        let kinds = self.operator.kinds();
        let of = |kind: &Kind| objects.get(&kind.key(name));
        let end = |kind| of(kind).map_or(json!(null), |object| normal(kind, object, name));
        let end: Vec<Value> = kinds.iter().map(end).collect();
        let tallies = self.tallies(name);
        let mut children = BTreeMap::new();
        for kind in &kinds[1..] {
            let called = match (kind.plural, of(kind)) {
                (RECORDS, object) => {
                    let name = object.and_then(|object| object["metadata"]["name"].as_str());
                    name.unwrap_or_default().to_owned()
                }
                (..) => kind.key(name).1,
            };
            let plural = plural(kind);
            let life = self.life(plural, &called, of(kind))?;
            let key = (kind.group.to_owned(), plural.to_owned(), called);
            let tally = tallies.get(&key).cloned().unwrap_or_default();
            let child = Child {
                creates: tally.creates,
                deletes: tally.deletes,
                uids: life.uids.len(),
                changes: life.changes,
            };
            children.insert(format!("{}{}", kind.plural, kind.suffix), child);
        }
        let writes = tallies.values().map(|tally| tally.writes).sum();
        Ok(Outcome {
            end: Value::from(end),
            children,
            writes,
        })
    }

    /// What the observer saw, once it has seen the object as it is.
    fn life(&self, plural: &str, name: &str, now: Option<&Value>) -> Result<Life> {
        until("the observer", SOON, || {
            ensure!(
                self.observer.broken().is_none(),
                "{:?}",
                self.observer.broken()
            );
            let life = self.observer.life(plural, name);
            let seen = match now {
                Some(now) => now["metadata"]["resourceVersion"] == life.version.as_str(),
                None => u64::try_from(life.uids.len())? == life.deletes,
            };
            Ok(seen.then_some(life).into())
        })
    }
}

/// The plural that the API server knows it by.
fn plural(kind: &Kind) -> &'static str {
    match kind.plural {
        RECORDS => "secrets",
        plural => plural,
    }
}

/// All objects of these kinds in the namespace.
pub(crate) fn objects(scene: &Scene, kinds: &[Kind]) -> Result<Objects> {
    let mut objects = Objects::new();
    let all = kinds.iter().filter(|kind| kind.plural != RECORDS);
    for kind in all {
        let namespace = Some(scene.namespace.as_str());
        for object in scene.client().list(kind.version, kind.kind, namespace)? {
            let metadata = &object["metadata"];
            let (plural, name) = if object["type"] == "kybern.dev/record" {
                (RECORDS, &metadata["ownerReferences"][0]["name"])
            } else {
                (kind.plural, &metadata["name"])
            };
            let name = name.as_str().context("a name")?.to_owned();
            objects.insert((plural.to_owned(), name), object);
        }
    }
    Ok(objects)
}

pub(crate) fn ready(scene: &Scene, arguments: &[&str]) -> Result<Host> {
    let mut host = scene.launch(arguments)?;
    host.wait_ready()?;
    Ok(host)
}

pub(crate) fn upstream(scene: &Scene) -> Result<Upstream> {
    let file = scene.plane.folder().join("certificates/apiserver.crt");
    let pem = std::fs::read(&file).with_context(|| file.display().to_string())?;
    Ok(Upstream::new(&scene.plane.url(), Some(&pem))?)
}
