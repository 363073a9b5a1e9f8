//! `converge`: what N custom resources with two children each cost an operator, on a real API server.
//!
//! *Work.* In each round each system has a fresh etcd and API server of its own (no controller
//! manager: children stay as written), with a user of its own. It is started and rests with no custom
//! resources; it is stopped, N AppServices are created in ten namespaces, and it is started again:
//! `cold`. With the smallest N follow `live` (300 more, 20 each second, whatever became of those
//! before), `drift` (100 Deployments are scaled by somebody, ten at once); with every N `restart`
//! (SIGTERM, start). All write the same: a Deployment, a Service of type ClusterIP, a status with
//! the Deployment's counts and the conditions Ready and Reconciling, and one Event.
//!
//! *Judgement.* At the end all objects are read: each custom resource must have its two children
//! as wanted, with it as owner and nothing else, and a status that says for its newest generation
//! that the Deployment's pods are waited for; else the benchmark fails.
//!
//! *Figures.* Times are those of the harness's own watches. Processor time and memory are the
//! kernel's for the process, from its start until it rests (at most 60 ms of processor time in 3 s);
//! resident bytes 8 s later. Requests are those of the user in the audit log; Events are counted
//! apart, for Kybern writes at most 5 a second after a burst of 50 and the peers write all. `quiet_s`
//! is the later of the beginning of rest and the last request. `rss_bytes_per_cr` is what it holds more
//! than with no custom resources, divided by N.
//!
//! *Cost model.* For each custom resource: three objects decoded as the watch brings them, one pass
//! (a second one sees the children that the first one wrote), three requests with their answers, and
//! what is kept: three compressed bodies with index entries, and the memory of the last pass. A start
//! costs the same whatever N is.
//!
//! *Limit.* Three writes for each custom resource, which the API server answers one after another on
//! the processors that it shares with the system: at N = 1,000 it takes several times the system's
//! processor time, so that it decides `wall_s` and `p50_ms`.

mod cases;
mod observer;
mod seen;

use crate::args::Options;
use crate::operator::{Operator, operators};
use crate::report::{Metric, Report};
use crate::startup;
use crate::systems::System;
use anyhow::{Context, Result};
use cases::Outcome;
use std::collections::BTreeMap;

/// Its name.
pub(crate) const NAME: &str = "converge";

const SYSTEMS: [System; 3] = [System::Kybern, System::ControllerRuntime, System::KubeRs];

/// Custom resources, unless told.
const COUNTS: [usize; 2] = [1_000, 5_000];
const QUICK: usize = 20;

/// A case's metrics with their samples.
type Samples = BTreeMap<(String, &'static str), Vec<f64>>;

/// Measures and reports.
pub(crate) fn run(options: &Options, report: &mut Report) -> Result<()> {
    let operators = operators(&SYSTEMS, options);
    if operators.is_empty() || !startup::control_plane(NAME, report)? {
        return Ok(());
    }
    let mut samples: Vec<Samples> = operators.iter().map(|_| Samples::new()).collect();
    let counts = counts(options);
    for (at, n) in counts.iter().enumerate() {
        for round in 1..=options.rounds() {
            for (operator, samples) in operators.iter().zip(&mut samples) {
                let name = operator.name();
                let outcome = cases::run(operator, *n, at == 0, options.quick)
                    .with_context(|| format!("{name} with {n}"))?;
                report.note(&format!("{NAME}: round {round}: {name}: {}", outcome.note));
                keep(samples, outcome);
            }
        }
    }
    for (operator, samples) in operators.iter().zip(&samples) {
        summarise(operator, samples, report);
    }
    Ok(())
}

fn counts(options: &Options) -> Vec<usize> {
    match (&options.n[..], options.quick) {
        ([], true) => vec![QUICK],
        ([], false) => COUNTS.to_vec(),
        (told, _) => told.to_vec(),
    }
}

fn keep(samples: &mut Samples, outcome: Outcome) {
    for (case, metric, values) in outcome.values {
        samples.entry((case, metric)).or_default().extend(values);
    }
}

fn summarise(operator: &Operator, samples: &Samples, report: &mut Report) {
    for ((case, name), values) in samples {
        let of = (NAME, case.as_str());
        let metric = |name| Metric {
            name,
            unit: unit(name),
        };
        report.median(of, metric(name), operator.name(), values);
        if *name == "p50_ms" {
            report.p99(of, metric("p99_ms"), operator.name(), values);
        }
    }
}

fn unit(metric: &str) -> &'static str {
    match metric {
        "wall_s" | "quiet_s" => "s",
        "cpu_ms_per_cr" | "p50_ms" | "p99_ms" => "ms",
        "peak_rss_mb" | "fixed_rss_mb" => "MB",
        "rss_bytes_per_cr" => "B",
        _ => "1",
    }
}
