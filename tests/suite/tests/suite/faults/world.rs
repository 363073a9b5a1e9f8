//! A host behind a proxy for faults, and what is known of its objects.

use super::oracle::{Child, Outcome, normal};
use super::steps::Step;
use crate::proxy::lead;
use crate::sandbox::metric;
use crate::scene::{APP, SOON, Scene, pass_time};
use anyhow::{Context, Result, ensure};
use kybern_faults::{Entry, FaultProxy, Journal, Life, Mark, Observer, Tally, Upstream};
use kybern_testcluster::{Host, Progress, until};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Without a write for so long the host waits for something to happen.
const REST: Duration = Duration::from_millis(500);

/// Group and version, kind, group, plural.
pub(crate) const KINDS: [(&str, &str, &str, &str); 3] = [
    (APP, "AppService", "app.example.com", "appservices"),
    ("apps/v1", "Deployment", "apps", "deployments"),
    ("v1", "Service", "", "services"),
];

/// All objects of the namespace, by plural and name.
pub(crate) type Objects = BTreeMap<(String, String), Value>;

/// A host behind a proxy for faults.
pub(crate) struct World {
    pub(crate) scene: Scene,
    pub(crate) proxy: FaultProxy,
    /// Ways of further replicas; what they ask counts too.
    pub(crate) beside: Vec<FaultProxy>,
    observer: Observer,
    /// Shared with hooks that kill it.
    pub(crate) host: Arc<Mutex<Option<Host>>>,
    restarts: Mutex<u64>,
    arguments: &'static [&'static str],
}

impl World {
    /// Starts the host with AppService registered.
    pub(crate) fn start(name: &str) -> Result<Self> {
        Self::start_with(name, &[])
    }

    /// The same with further arguments of the host.
    pub(crate) fn start_with(name: &str, arguments: &'static [&'static str]) -> Result<Self> {
        let scene = Scene::new(name)?;
        let proxy = FaultProxy::start(upstream(&scene)?)?;
        lead(&scene, &proxy.url())?;
        let registration = scene.appservice()?;
        scene.grant(std::slice::from_ref(&registration))?;
        let host = Arc::new(Mutex::new(Some(ready(&scene, arguments)?)));
        scene.register(&registration)?;
        let namespace = &scene.namespace;
        let paths = KINDS.map(|(version, _, group, plural)| {
            let base = if group.is_empty() { "api" } else { "apis" };
            format!("/{base}/{version}/namespaces/{namespace}/{plural}")
        });
        let token = scene.plane.user("admin")?.token().to_owned();
        let observer = Observer::start(upstream(&scene)?, &token, &paths)?;
        Ok(Self {
            scene,
            proxy,
            beside: Vec::new(),
            observer,
            host,
            restarts: Mutex::default(),
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

    /// Takes these CRs through one step, and waits until it is done.
    pub(crate) fn step(&self, step: Step, names: &[String]) -> Result<()> {
        for name in names {
            step.make(&self.scene, name)?;
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
            let open = |name: &&String| super::steps::missing(&objects, name).is_some();
            Ok(match names.iter().find(open) {
                None => Progress::Done(()),
                Some(name) => Progress::Waiting(format!(
                    "{name}: {}",
                    super::steps::missing(&objects, name).unwrap_or_default()
                )),
            })
        })
    }

    /// Waits until the host has asked for no write of these CRs and their children for a while.
    pub(crate) fn rest(&self, names: &[String]) -> Result<()> {
        let theirs = |entry: &Entry| {
            let name = entry.ask.name.as_ref();
            entry.ask.writes() && name.is_some_and(|name| names.contains(name))
        };
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

    /// What was done to one object and its children, by group and plural.
    fn tallies(&self, name: &str) -> BTreeMap<(String, String), Tally> {
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
        let kind = KINDS.iter().find(|kind| kind.3 == plural);
        let label = format!("/{}\"", kind.context("a kind")?.1);
        let host = self.host.lock().unwrap();
        let host = host.as_ref().context("it runs")?;
        metric(host, "kybern_watch_epochs_total", &label)
    }

    /// What is there.
    pub(crate) fn objects(&self) -> Result<Objects> {
        let mut objects = Objects::new();
        for (version, kind, _, plural) in KINDS {
            let namespace = Some(self.scene.namespace.as_str());
            for object in self.scene.client().list(version, kind, namespace)? {
                let name = object["metadata"]["name"].as_str().context("a name")?;
                objects.insert((plural.to_owned(), name.to_owned()), object.clone());
            }
        }
        Ok(objects)
    }

    /// What became of a CR and its children.
    pub(crate) fn outcome(&self, name: &str) -> Result<Outcome> {
        let objects = self.objects()?;
        let of = |plural: &str| objects.get(&(plural.to_owned(), name.to_owned()));
        let end = KINDS.map(|(.., plural)| of(plural).map_or(json!(null), |o| normal(o, name)));
        let tallies = self.tallies(name);
        let mut children = BTreeMap::new();
        for (_, _, group, plural) in &KINDS[1..] {
            let life = self.life(plural, name, of(plural))?;
            let key = ((*group).to_owned(), (*plural).to_owned());
            let tally = tallies.get(&key).cloned().unwrap_or_default();
            let child = Child {
                creates: tally.creates,
                deletes: tally.deletes,
                uids: life.uids.len(),
                changes: life.changes,
            };
            children.insert((*plural).to_owned(), child);
        }
        let writes = tallies.values().map(|tally| tally.writes).sum();
        let end = Value::from(end.to_vec());
        Ok(Outcome {
            end,
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
