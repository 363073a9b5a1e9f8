//! `operate`: one statement that changes 5,000 objects, on a real API server.
//!
//! *Work.* A control plane of its own holds ConfigMaps. In each round `kybern sql` sets one field of
//! all of them by one UPDATE, as a process that finds out what is served, lists, patches each object
//! and prints what became of it. The peer, `native`, does the part that nobody can leave out: it
//! knows the objects' names and sends a merge patch for each, as many at a time, through kube's client.
//! After each all objects are read; one that was not changed fails the benchmark. Then one more
//! statement is interrupted (SIGINT) in the middle.
//!
//! *Figures.* `objects_per_s` of `update_5000` on the wall, the process and its list included.
//! `interrupted`: `untrue`, objects of which the report says otherwise than what the API server has,
//! and `stop_ms` from the signal to the end of the process, medians.
//!
//! *Cost model.* A list of all objects, then one request for each, sixteen under way.
//!
//! *Limit.* The API server: what `native` reaches.

use crate::args::Options;
use crate::clock::{now, pass};
use crate::report::{Metric, Report};
use crate::startup;
use crate::systems::System;
use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kybern_testcluster::{ControlPlane, Options as PlaneOptions};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Its name.
pub(crate) const NAME: &str = "operate";

const NAMESPACE: &str = "operate";
const FIELD: &str = "value";
/// Patches under way, as in the product.
const AT_ONCE: usize = 16;

const RATE: Metric = Metric {
    name: "objects_per_s",
    unit: "1/s",
};
const UNTRUE: Metric = Metric {
    name: "untrue",
    unit: "1",
};
const STOP: Metric = Metric {
    name: "stop_ms",
    unit: "ms",
};

/// Measures and reports.
pub(crate) fn run(options: &Options, report: &mut Report) -> Result<()> {
    let Some(program) = &options.kybern else {
        report.note(&format!("{NAME}: left out, kybern's program was not given"));
        return Ok(());
    };
    if !startup::control_plane(NAME, report)? {
        return Ok(());
    }
    let objects = match options.objects {
        Some(told) => told,
        None if options.quick => 200,
        None => 5_000,
    };
    let plane = filled(objects)?;
    let kubeconfig = plane.admin_kubeconfig()?;
    let systems = [System::Kybern, System::Native];
    let mut rates = systems.map(|system| (system, Vec::new()));
    let count = f64::from(u32::try_from(objects)?);
    let (mut untrue, mut stops) = (Vec::new(), Vec::new());
    for round in 1..=options.rounds() {
        for (system, rates) in &mut rates {
            let value = format!("{}-{round}", system.name());
            let began = now()?;
            match system {
                System::Native => patch_all(&kubeconfig, &value, objects)?,
                _ => update_all(program, &kubeconfig, &value, objects)?,
            }
            let took = (now()? - began).as_secs_f64();
            let values = values(&plane)?;
            let wrong = values.values().filter(|found| **found != value).count();
            ensure!(wrong == 0, "{value}: {wrong} objects were not changed");
            report.note(&format!(
                "{NAME}: round {round}: {}: {took:.1} s",
                system.name()
            ));
            rates.push(count / took);
        }
        let fastest = rates.first().and_then(|(_, rates)| rates.last());
        let middle = Duration::from_secs_f64(count / fastest.context("a rate")? / 2.0);
        let value = format!("interrupted-{round}");
        let stopped = interrupt(program, &kubeconfig, &value, middle)?;
        let values = values(&plane)?;
        let done = values.values().filter(|found| **found == value).count();
        let lies = stopped.outcomes.iter().filter(|(name, outcome)| {
            let changed = values.get(*name).is_some_and(|found| *found == value);
            changed != (*outcome == "updated")
        });
        let missing = values.len().abs_diff(stopped.outcomes.len());
        untrue.push(f64::from(u32::try_from(lies.count() + missing)?));
        stops.push(stopped.took.as_secs_f64() * 1_000.0);
        report.note(&format!(
            "{NAME}: round {round}: interrupted after {done} objects"
        ));
    }
    let case = format!("update_{objects}");
    for (system, rates) in &rates {
        report.median((NAME, &case), RATE, system.name(), rates);
    }
    for (metric, samples) in [(UNTRUE, untrue), (STOP, stops)] {
        report.median(
            (NAME, "interrupted"),
            metric,
            System::Kybern.name(),
            &samples,
        );
    }
    Ok(())
}

fn name(number: u64) -> String {
    format!("object-{number:05}")
}

fn filled(objects: u64) -> Result<ControlPlane> {
    let plane = ControlPlane::start(PlaneOptions::new())?;
    plane.client().create(&json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE },
    }))?;
    plane.store().put((0..objects).map(|number| {
        let name = name(number);
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": name, "namespace": NAMESPACE, "uid": format!("uid-{number}"),
                "creationTimestamp": "2026-01-01T00:00:00Z", "labels": { "app": "operate" },
            },
            "data": { FIELD: "none", "other": "x".repeat(400) },
        });
        let key = format!("/registry/configmaps/{NAMESPACE}/{name}");
        (key, object.to_string())
    }))?;
    Ok(plane)
}

/// What each object has.
fn values(plane: &ControlPlane) -> Result<BTreeMap<String, String>> {
    let objects = plane.client().list("v1", "ConfigMap", Some(NAMESPACE))?;
    let field = format!("/data/{FIELD}");
    let text = |object: &Value, at: &str| Some(object.pointer(at)?.as_str()?.to_owned());
    let pairs = objects
        .iter()
        .filter_map(|object| Some((text(object, "/metadata/name")?, text(object, &field)?)));
    Ok(pairs.collect())
}

fn statement(program: &Path, kubeconfig: &Path, value: &str) -> Command {
    let text = format!(
        "UPDATE configmaps SET data['{FIELD}'] = '{value}' WHERE labels['app'] = 'operate'"
    );
    let mut command = Command::new(program);
    command
        .args(["sql", "-o", "json", "--yes", "--max-rows", "100000"])
        .args(["-n", NAMESPACE, "--kubeconfig"])
        .arg(kubeconfig)
        .arg(text)
        .stdin(Stdio::null());
    command
}

fn update_all(program: &Path, kubeconfig: &Path, value: &str, objects: u64) -> Result<()> {
    let output = statement(program, kubeconfig, value).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}", output.status);
    let outcomes = outcomes(&output.stdout)?;
    let updated = outcomes.values().filter(|outcome| *outcome == "updated");
    ensure!(u64::try_from(updated.count())? == objects, "{said}");
    Ok(())
}

/// What a statement says of each object.
fn outcomes(stdout: &[u8]) -> Result<BTreeMap<String, String>> {
    let rows: Vec<Value> = serde_json::from_slice(stdout)?;
    let text = |row: &Value, key: &str| Some(row.get(key)?.as_str()?.to_owned());
    let pairs = rows
        .iter()
        .filter_map(|row| Some((text(row, "name")?, text(row, "outcome")?)));
    Ok(pairs.collect())
}

/// What an interrupted statement left.
struct Stopped {
    outcomes: BTreeMap<String, String>,
    took: Duration,
}

fn interrupt(program: &Path, kubeconfig: &Path, value: &str, after: Duration) -> Result<Stopped> {
    let mut command = statement(program, kubeconfig, value);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    pass(after);
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::INT)?;
    let began = now()?;
    let output = child.wait_with_output()?;
    let took = now()? - began;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{}: {said}", output.status);
    Ok(Stopped {
        outcomes: outcomes(&output.stdout)?,
        took,
    })
}

/// The same patches without a statement.
fn patch_all(kubeconfig: &Path, value: &str, objects: u64) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let client = crate::listing::client(kubeconfig).await?;
        let api: Api<ConfigMap> = Api::namespaced(client, NAMESPACE);
        let patch = Patch::Merge(json!({ "data": { FIELD: value } }));
        let parameters = PatchParams::default();
        let requests = stream::iter(0..objects).map(|number| {
            let (api, patch, parameters) = (&api, &patch, &parameters);
            async move { api.patch(&name(number), parameters, patch).await }
        });
        let sent = requests.buffer_unordered(AT_ONCE);
        sent.try_for_each(|_| async { Ok(()) }).await?;
        Ok(())
    })
}
