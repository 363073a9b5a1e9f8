//! `startup`: from a connection to a complete table of 20,000 pods, from a real API server.
//!
//! *Work.* A control plane of its own holds the seeded pods. In each round three processes list them,
//! over TLS as the host does: the product's watch with its store (a streaming list), and two that
//! throw each byte away as it comes, one with the same streaming list and one page after page.
//!
//! *Figures.* Processor time of each, and of the API server meanwhile. Who takes more is the bound:
//! the two work at the same time, on different processors. Seconds on the wall are remarks.
//!
//! *Cost model.* The API server encodes each object to JSON and encrypts it; the table decrypts,
//! finds the line's end, passes over the JSON once, compresses, indexes.
//!
//! *Limit.* What throwing the bytes away takes: decryption and copies out of the kernel.

use crate::args::{Listing, Options};
use crate::proc::processor;
use crate::report::{Metric, Report};
use anyhow::{Context, Result, ensure};
use kybern_seed::Pods;
use kybern_testcluster::{Component, ControlPlane, Options as PlaneOptions};
use serde::Deserialize;
use std::process::{Command, Stdio};

/// Its name.
pub(crate) const NAME: &str = "startup";

const CLIENT: Metric = Metric {
    name: "client_processor_s",
    unit: "s",
};
const API_SERVER: Metric = Metric {
    name: "api_server_processor_s",
    unit: "s",
};

/// What one listing took of its own process.
#[derive(Debug, Deserialize)]
struct Cost {
    processor: f64,
    wall: f64,
}

/// Measures and reports.
pub(crate) fn run(options: &Options, report: &mut Report) -> Result<()> {
    let Some((plane, objects)) = filled(NAME, options, report)? else {
        return Ok(());
    };
    let mut samples: Vec<_> = Listing::ALL.map(|how| (how, Vec::new(), Vec::new())).into();
    for round in 1..=options.rounds() {
        for (how, client, server) in &mut samples {
            let before = api_server(&plane)?;
            let cost = measure(&plane, *how, objects)?;
            let served = api_server(&plane)? - before;
            report.note(&format!(
                "{NAME}: round {round}: {}: {:.2} s of processor time, {served:.2} s of the API server's, {:.2} s on the wall",
                how.name(),
                cost.processor,
                cost.wall
            ));
            client.push(cost.processor);
            server.push(served);
        }
    }
    for (how, client, server) in &samples {
        let case = format!("pods_{}k_{}", objects / 1_000, how.name());
        let system = || "kybern".to_owned();
        report.median((NAME, &case), CLIENT, system(), client);
        report.median((NAME, &case), API_SERVER, system(), server);
    }
    Ok(())
}

/// A control plane with pods, and how many; none if there is nothing to make it of.
pub(crate) fn filled(
    bench: &str,
    options: &Options,
    report: &mut Report,
) -> Result<Option<(ControlPlane, u64)>> {
    if !control_plane(bench, report)? {
        return Ok(None);
    }
    let objects = options
        .objects
        .unwrap_or(if options.quick { 1_000 } else { 20_000 });
    let plane = ControlPlane::start(PlaneOptions::new())?;
    let pods = Pods::new(crate::recording::SEED);
    plane.store().put((0..objects).map(|number| {
        let key = format!(
            "/registry/pods/{}/{}",
            pods.namespace(number),
            pods.name(number)
        );
        (key, pods.pod(number, 0))
    }))?;
    Ok(Some((plane, objects)))
}

/// Whether there is a control plane, or something to make it of.
pub(crate) fn control_plane(bench: &str, report: &Report) -> Result<bool> {
    for component in [Component::Etcd, Component::KubeApiserver] {
        if component.present()?.is_none() && !kybern_testcluster::go_is_there() {
            let name = component.name();
            report.note(&format!(
                "{bench}: left out, there is neither {name} nor Go to build it"
            ));
            return Ok(false);
        }
    }
    Ok(true)
}

fn measure(plane: &ControlPlane, how: Listing, objects: u64) -> Result<Cost> {
    let output = Command::new(std::env::current_exe().context("find this program")?)
        .args(["be-startup", &how.name()])
        .arg(plane.admin_kubeconfig()?)
        .arg(objects.to_string())
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "{}: {}", how.name(), output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// User and system time of the API server so far, in seconds.
fn api_server(plane: &ControlPlane) -> Result<f64> {
    let id = plane.api_server_id().context("the API server runs")?;
    processor(id)
}
