//! One system through all cases with one N, on a server of its own.

use super::observer::{self, Observer};
use super::seen::Kind;
use crate::clock::{now, pass, wall};
use crate::operator::{Asked, Operator, Running, Stage};
use crate::proc::Resident;
use crate::systems::System;
use anyhow::{Context, Result, bail, ensure};
use kybern_testcluster::{Mark, Object, guest};
use serde_json::{Value, json};
use std::time::Duration;

/// What everybody finds installed.
const DEFINITION: &str = include_str!("../../guests/appservice/crd.yaml");
const APP: [&str; 2] = ["bench.example.com/v1", "AppService"];
const WORDS: [&str; 2] = ["be-appservice", ""];
const NAMESPACES: usize = 10;
/// At once, while custom resources are created before a start.
const CREATORS: usize = 16;
/// At once, while children are changed.
const CHANGERS: usize = 10;
const LIVE: usize = 300;
const DRIFT: usize = 100;
/// Between two live ones.
const TICK: Duration = Duration::from_millis(50);
/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(600);
/// Between two looks at what the watches saw.
const LOOK: Duration = Duration::from_millis(5);
/// Rest before resident bytes are read.
const REST: Duration = Duration::from_secs(8);
const MEGABYTE: f64 = 1_000_000.0;

/// What one run of one system gave.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Case, metric and samples.
    pub(crate) values: Vec<(String, &'static str, Vec<f64>)>,
    /// For people.
    pub(crate) note: String,
}

impl Outcome {
    fn add(&mut self, case: &str, metric: &'static str, value: f64) {
        self.values.push((case.to_owned(), metric, vec![value]));
    }

    fn times(&mut self, case: &str, mut values: Vec<f64>) {
        values.sort_by(f64::total_cmp);
        let p99 = values.get((values.len() * 99).div_ceil(100).saturating_sub(1));
        let (p99, most) = (p99.copied(), values.last().copied());
        self.note += &format!(
            "; {case}: {} samples, p99 {:.1} ms, most {:.1} ms",
            values.len(),
            p99.unwrap_or_default(),
            most.unwrap_or_default()
        );
        self.values.push((case.to_owned(), "p50_ms", values));
    }
}

/// A system on its server.
struct Bench<'o> {
    operator: &'o Operator,
    stage: Stage,
    rest: Duration,
    n: usize,
    outcome: Outcome,
}

/// Runs all cases.
pub(crate) fn run(operator: &Operator, n: usize, all: bool, quick: bool) -> Result<Outcome> {
    let mut bench = Bench {
        operator,
        stage: Stage::new(operator, DEFINITION, quick)?,
        rest: if quick { Duration::ZERO } else { REST },
        n,
        outcome: Outcome::default(),
    };
    for number in 0..NAMESPACES {
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace(number) },
        });
        bench.stage.plane.client().create(&namespace)?;
    }
    let fixed = bench.empty()?;
    bench.create()?;
    let observer = Observer::start(&bench.stage.plane.admin_kubeconfig()?)?;
    let mut running = bench.cold(&observer, fixed)?;
    let mut expected = n;
    if all {
        let (live, drift) = if quick { (n, n / 2) } else { (LIVE, DRIFT) };
        bench.live(&mut running, &observer, live)?;
        expected += live;
        bench.drift(&mut running, &observer, drift.min(n))?;
    }
    running.stop()?;
    bench.restart(expected)?.stop()?;
    bench.judge(expected)?;
    Ok(bench.outcome)
}

impl Bench<'_> {
    fn start(&self) -> Result<(Mark, Running)> {
        let mark = self.stage.plane.audit().mark()?;
        Ok((mark, self.stage.start(self.operator, WORDS)?))
    }

    /// Resident bytes with no custom resources; what a first start does once is done then.
    fn empty(&mut self) -> Result<Resident> {
        let (_, mut running) = self.start()?;
        if self.operator.system == System::Kybern {
            self.stage.register(&[registration()?])?;
        }
        running.rests(LIMIT)?;
        running.stop()?;
        let (_, mut running) = self.start()?;
        running.rests(LIMIT)?;
        pass(self.rest);
        let fixed = running.resident()?;
        running.stop()?;
        Ok(fixed)
    }

    fn create(&self) -> Result<()> {
        let client = self.stage.plane.client();
        at_once(CREATORS, self.n, |number| {
            client.create(&app(&format!("app-{number}"), number))?;
            Ok(())
        })
    }

    fn cold(&mut self, observer: &Observer, fixed: Resident) -> Result<Running> {
        let server = self.server()?;
        let (mark, mut running) = self.start()?;
        self.wait(&mut running, observer, self.n)?;
        let last = observer.last()?.context("there is a last one")?;
        running.rests(LIMIT)?;
        let cpu = running.processor()?;
        let asked = self.stage.asked(mark)?;
        let server = self.server()? - server;
        pass(self.rest);
        let resident = running.resident()?;
        let (case, each) = (format!("cold_{}", self.n), count(self.n)?);
        let outcome = &mut self.outcome;
        let wall = (last - running.began).as_secs_f64();
        outcome.add(&case, "wall_s", wall);
        outcome.add(&case, "cpu_ms_per_cr", cpu * 1_000.0 / each);
        outcome.add(&case, "peak_rss_mb", resident.peak / MEGABYTE);
        outcome.add(&case, "fixed_rss_mb", fixed.now / MEGABYTE);
        outcome.add(&case, "rss_bytes_per_cr", (resident.now - fixed.now) / each);
        outcome.add(&case, "api_requests", asked.requests);
        outcome.add(&case, "api_writes", asked.writes);
        outcome.add(&case, "writes_per_cr", asked.writes / each);
        outcome.note += &format!(
            "{case}: {wall:.2} s, {:.2} ms each, {:.1} MB, {:.1} of them anonymous (fixed {:.1} and {:.1}, peak {:.1}), {} writes, {} events, {} requests; the API server's processor time {server:.1} s",
            cpu * 1_000.0 / each,
            resident.now / MEGABYTE,
            resident.anonymous / MEGABYTE,
            fixed.now / MEGABYTE,
            fixed.anonymous / MEGABYTE,
            resident.peak / MEGABYTE,
            asked.writes,
            asked.events,
            asked.requests
        );
        Ok(running)
    }

    /// New ones come at their time, whatever became of those before.
    fn live(&mut self, running: &mut Running, observer: &Observer, live: usize) -> Result<()> {
        let mark = self.stage.plane.audit().mark()?;
        let used = running.processor()?;
        let client = self.stage.plane.client();
        let began = now()?;
        let sent: Vec<Duration> = std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for number in 0..live {
                let due = began + TICK * u32::try_from(number)?;
                pass(due.saturating_sub(now()?));
                threads.push(scope.spawn(move || -> Result<Duration> {
                    let sent = now()?;
                    client.create(&app(&format!("live-{number}"), number))?;
                    Ok(sent)
                }));
            }
            threads.into_iter().map(joined).collect::<Result<_>>()
        })?;
        self.wait(running, observer, self.n + live)?;
        running.rests(LIMIT)?;
        let case = format!("live_{live}");
        let times = self.times(observer, &sent, |number| format!("live-{number}"))?;
        self.outcome.times(&case, times);
        let asked = self.stage.asked(mark)?;
        let used = running.processor()? - used;
        self.changes(&case, asked, live)?;
        let each = used * 1_000.0 / count(live)?;
        self.outcome.add(&case, "cpu_ms_per_cr", each);
        self.outcome.note += &format!(", {each:.2} ms of processor time each");
        Ok(())
    }

    /// Somebody scales Deployments.
    fn drift(&mut self, running: &mut Running, observer: &Observer, drift: usize) -> Result<()> {
        let mark = self.stage.plane.audit().mark()?;
        let client = self.stage.plane.client();
        let sent = std::sync::Mutex::new(vec![Duration::ZERO; drift]);
        at_once(CHANGERS, drift, |number| {
            let name = format!("app-{number}");
            let deployment = Object::new("apps/v1", "Deployment", &namespace(number), &name);
            let began = now()?;
            client.merge_patch(&deployment, &json!({ "spec": { "replicas": 77 } }))?;
            if let Ok(mut sent) = sent.lock()
                && let Some(place) = sent.get_mut(number)
            {
                *place = began;
            }
            Ok(())
        })?;
        let sent = sent.into_inner().unwrap_or_default();
        let began = now()?;
        for (number, sent) in sent.iter().enumerate() {
            while observer.since(&format!("app-{number}"))? <= Some(*sent) {
                running.alive()?;
                ensure!(now()? - began < LIMIT, "not all changes are reverted");
                pass(LOOK);
            }
        }
        running.rests(LIMIT)?;
        let case = format!("drift_{drift}");
        let times = self.times(observer, &sent, |number| format!("app-{number}"))?;
        self.outcome.times(&case, times);
        let asked = self.stage.asked(mark)?;
        self.changes(&case, asked, drift)
    }

    /// Milliseconds from each moment until that one is good.
    fn times(
        &self,
        observer: &Observer,
        sent: &[Duration],
        name: impl Fn(usize) -> String,
    ) -> Result<Vec<f64>> {
        let time = |(number, sent): (usize, &Duration)| -> Result<f64> {
            let since = observer.since(&name(number))?.context("it is not good")?;
            Ok((since.saturating_sub(*sent)).as_secs_f64() * 1_000.0)
        };
        sent.iter().enumerate().map(time).collect()
    }

    fn changes(&mut self, case: &str, asked: Asked, of: usize) -> Result<()> {
        self.outcome.add(case, "api_requests", asked.requests);
        self.outcome.add(case, "api_writes", asked.writes);
        let each = asked.writes / count(of)?;
        self.outcome.add(case, "writes_per_cr", each);
        self.outcome.note += &format!(", {} writes, {} events", asked.writes, asked.events);
        Ok(())
    }

    fn restart(&mut self, expected: usize) -> Result<Running> {
        let began = wall()?;
        let (mark, mut running) = self.start()?;
        let rested = running.rests(LIMIT)?;
        let asked = self.stage.asked(mark)?;
        let last = asked.last.unwrap_or_default().saturating_sub(began);
        let quiet = (rested - running.began).max(last).as_secs_f64();
        let case = format!("restart_{}", self.n);
        let cpu = running.processor()? * 1_000.0 / count(expected)?;
        self.outcome.add(&case, "quiet_s", quiet);
        self.outcome.add(&case, "api_requests", asked.requests);
        self.outcome.add(&case, "api_writes", asked.writes);
        self.outcome.add(&case, "cpu_ms_per_cr", cpu);
        self.outcome.note += &format!(
            "; {case}: quiet after {quiet:.2} s, {cpu:.2} ms each, {} writes, {} events, {} requests",
            asked.writes, asked.events, asked.requests
        );
        Ok(running)
    }

    /// Waits until so many are good.
    fn wait(&self, running: &mut Running, observer: &Observer, good: usize) -> Result<()> {
        let began = now()?;
        while observer.good()? < good {
            running.alive()?;
            if now()? - began > LIMIT {
                let wrong = observer.wrong()?.unwrap_or_default();
                bail!("{} of {good} are good; {wrong}", observer.good()?);
            }
            pass(LOOK);
        }
        Ok(())
    }

    fn judge(&self, expected: usize) -> Result<()> {
        let client = self.stage.plane.client();
        let [apps, deployments, services] = Kind::ALL.map(|kind| {
            let [version, name, _] = kind.names();
            client.list(version, name, None)
        });
        observer::judge([apps?, deployments?, services?], expected)
    }

    /// Processor time of the API server so far.
    fn server(&self) -> Result<f64> {
        let id = self.stage.plane.api_server_id();
        crate::proc::processor(id.context("the API server runs")?)
    }
}

fn registration() -> Result<Value> {
    Ok(json!({
        "apiVersion": "kybern.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": { "name": "appservice" },
        "spec": {
            "resources": [{ "group": "bench.example.com", "version": "v1", "kind": APP[1] }],
            "source": { "file": guest("kybern-bench-appservice")? },
            "crds": "Skip",
            "grants": {
                "read": [{ "group": "apps", "kinds": ["Deployment"] }],
                "write": [
                    { "group": "apps", "kinds": ["Deployment"], "verbs": ["apply"] },
                    { "group": "", "kinds": ["Service"], "verbs": ["apply"] },
                ],
            },
        },
    }))
}

fn namespace(number: usize) -> String {
    format!("bench-{}", number % NAMESPACES)
}

fn app(name: &str, number: usize) -> Value {
    json!({
        "apiVersion": APP[0],
        "kind": APP[1],
        "metadata": { "name": name, "namespace": namespace(number) },
        "spec": {
            "size": 2,
            "image": "nginx:1.27",
            "ports": [{ "port": 80, "targetPort": 8080 }, { "port": 443, "targetPort": 8443 }],
        },
    })
}

/// Does it for each number below `all`, so many at once.
fn at_once(threads: usize, all: usize, each: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
    let each = &each;
    std::thread::scope(|scope| {
        let work = |first: usize| move || (first..all).step_by(threads).try_for_each(each);
        let started: Vec<_> = (0..threads).map(|first| scope.spawn(work(first))).collect();
        started.into_iter().try_for_each(joined)
    })
}

fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    match thread.join() {
        Ok(result) => result,
        Err(_) => bail!("a thread of the harness panicked"),
    }
}

fn count(number: usize) -> Result<f64> {
    Ok(f64::from(u32::try_from(number)?))
}
