//! `ring`: 100 operators in a chain, each passing on what it gets, from the first object to the last.
//!
//! *Work.* On a server of its own, each system has an operator for each hop: in Kybern 100
//! registrations of one component, each for the objects with one label; on kube-rs 100 processes,
//! each with a `Controller` over the objects with one label. An operator gives its object's nonce to
//! the next object, its child. A round sets the first object's nonce and ends when the harness's
//! watch shows it in the last object.
//!
//! *Figures.* `round_ms` is the median of 20 rounds in each run, after one that is not counted.
//! `rss_mb` is what all processes hold while they rest; pages that several share are divided among
//! them.
//!
//! *Cost model.* For each hop a write, its event back to the operator, and a pass. In Kybern each
//! event also has to find the one registration that it concerns.
//!
//! *Limit.* A chain has no two things to do at once: 99 writes, one after another, each with its
//! watch event.

use crate::args::Options;
use crate::clock::{now, pass};
use crate::lines::Watching;
use crate::operator::{Operator, Running, Stage, operators};
use crate::report::{Metric, Report, median};
use crate::startup;
use crate::systems::System;
use anyhow::{Context, Result, ensure};
use kybern_testcluster::{Object, guest};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;

/// Its name.
pub(crate) const NAME: &str = "ring";

const SYSTEMS: [System; 2] = [System::Kybern, System::KubeRs];
const DEFINITION: &str = include_str!("../guests/relay/crd.yaml");
const NAMESPACE: &str = "ring";
const PATH: &str = "/apis/bench.example.com/v1/hops";
const HOPS: usize = 100;
const ROUNDS: usize = 20;
const LIMIT: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(1);

const ROUND: Metric = Metric {
    name: "round_ms",
    unit: "ms",
};
const RSS: Metric = Metric {
    name: "rss_mb",
    unit: "MB",
};

/// Each object's nonce, and when it was seen.
type Nonces = HashMap<String, (String, Duration)>;

/// Measures and reports.
pub(crate) fn run(options: &Options, report: &mut Report) -> Result<()> {
    let operators = operators(&SYSTEMS, options);
    if operators.is_empty() || !startup::control_plane(NAME, report)? {
        return Ok(());
    }
    let hops = match (options.n.first(), options.quick) {
        (Some(told), _) => *told,
        (None, true) => 3,
        (None, false) => HOPS,
    };
    let mut samples = vec![(Vec::new(), Vec::new()); operators.len()];
    for round in 1..=options.rounds() {
        for (operator, (times, bytes)) in operators.iter().zip(&mut samples) {
            let name = operator.name();
            let (took, held) = measure(operator, hops, options.quick).context(name.clone())?;
            report.note(&format!(
                "{NAME}: round {round}: {name}: {took:.1} ms, {held:.1} MB"
            ));
            times.push(took);
            bytes.push(held);
        }
    }
    let case = format!("plugins_{hops}");
    for (operator, (times, bytes)) in operators.iter().zip(&samples) {
        report.median((NAME, &case), ROUND, operator.name(), times);
        report.median((NAME, &case), RSS, operator.name(), bytes);
    }
    Ok(())
}

/// Milliseconds of a round, and megabytes of all processes.
fn measure(operator: &Operator, hops: usize, quick: bool) -> Result<(f64, f64)> {
    let stage = Stage::new(operator, DEFINITION, quick)?;
    let client = stage.plane.client();
    client.create(&json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE },
    }))?;
    let mut running = start(operator, &stage, hops)?;
    let watching = Watching::start(&stage.plane.admin_kubeconfig()?, &[PATH], take)?;
    client.create(&json!({
        "apiVersion": "bench.example.com/v1",
        "kind": "Hop",
        "metadata": { "name": "hop-0", "namespace": NAMESPACE, "labels": { "hop": "0" } },
        "spec": { "nonce": "n-0", "hop": 0, "last": hops - 1 },
    }))?;
    let last = format!("hop-{}", hops - 1);
    arrives(&watching, &last, "n-0", &mut running)?;
    let mut times = Vec::new();
    for round in 0..=if quick { 1 } else { ROUNDS } {
        let nonce = format!("n-{}", round + 1);
        let first = Object::new("bench.example.com/v1", "Hop", NAMESPACE, "hop-0");
        let began = now()?;
        client.merge_patch(&first, &json!({ "spec": { "nonce": nonce } }))?;
        let seen = arrives(&watching, &last, &nonce, &mut running)?;
        if round > 0 {
            times.push((seen - began).as_secs_f64() * 1_000.0);
        }
    }
    judge(&watching, hops, &times)?;
    pass(Duration::from_secs(if quick { 0 } else { 8 }));
    let bytes: Vec<f64> = running
        .iter()
        .map(Running::proportional)
        .collect::<Result<_>>()?;
    running.into_iter().try_for_each(Running::stop)?;
    let took = median(&times).context("no round was counted")?;
    Ok((took, bytes.iter().sum::<f64>() / 1_000_000.0))
}

/// All operators of the chain, ready.
fn start(operator: &Operator, stage: &Stage, hops: usize) -> Result<Vec<Running>> {
    if operator.system == System::Kybern {
        let running = stage.start(operator, [""; 2])?;
        let registrations: Vec<Value> = (0..hops).map(registration).collect::<Result<_>>()?;
        stage.register(&registrations)?;
        return Ok(vec![running]);
    }
    let one = |hop: usize| stage.start(operator, ["be-relay", &hop.to_string()]);
    (0..hops).map(one).collect()
}

fn registration(hop: usize) -> Result<Value> {
    let label = json!({ "hop": hop.to_string() });
    Ok(json!({
        "apiVersion": "kybern.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": { "name": format!("relay-{hop}") },
        "spec": {
            "resources": [{
                "group": "bench.example.com", "version": "v1", "kind": "Hop",
                "selector": { "matchLabels": label },
            }],
            "source": { "file": guest("kybern-bench-relay")? },
            "crds": "Skip",
            "grants": {
                "write": [{ "group": "bench.example.com", "kinds": ["Hop"], "verbs": ["apply"] }],
            },
        },
    }))
}

/// Waits until that object has that nonce; when it was seen.
fn arrives(
    watching: &Watching<Nonces>,
    name: &str,
    nonce: &str,
    running: &mut [Running],
) -> Result<Duration> {
    let began = now()?;
    loop {
        let seen = watching.look(|nonces| nonces.get(name).cloned())?;
        if let Some((_, at)) = seen.filter(|(seen, _)| seen == nonce) {
            return Ok(at);
        }
        running.iter_mut().try_for_each(Running::alive)?;
        let so_far = watching.look(|nonces| {
            let reached = nonces.values().filter(|(seen, _)| seen == nonce);
            reached.count()
        })?;
        ensure!(
            now()? - began < LIMIT,
            "{nonce} came only to {so_far} objects"
        );
        pass(LOOK);
    }
}

/// Each object has the last nonce, and there are no more than hops.
fn judge(watching: &Watching<Nonces>, hops: usize, times: &[f64]) -> Result<()> {
    let last = format!("n-{}", times.len() + 1);
    let right = watching.look(|nonces| {
        let all = nonces.values().filter(|(nonce, _)| *nonce == last);
        (all.count(), nonces.len())
    })?;
    ensure!(right == (hops, hops), "{right:?} objects instead of {hops}");
    Ok(())
}

fn take(nonces: &mut Nonces, _: usize, line: &[u8], at: Duration) -> Result<()> {
    let line: Value = serde_json::from_slice(line).context("a line of a watch")?;
    let text = |pointer: &str| line.pointer(pointer).and_then(Value::as_str);
    let name = text("/object/metadata/name").context("an object has a name")?;
    let nonce = text("/object/spec/nonce").context("an object has a nonce")?;
    nonces.insert(name.to_owned(), (nonce.to_owned(), at));
    Ok(())
}
