//! `pass`: what it costs to find that there is nothing to do.
//!
//! *Work.* 10,000 CRs of AppService with their children (a Deployment and a Service each) and
//! 100,000 pods have come to rest. One commit changes every Deployment in a way that nobody reads.
//! Each CR is due once: a counted pass takes it from the queue, answers its queries, compares
//! fingerprints, looks whether its children are as intended, and says what came of it. The commit is
//! not counted; no plugin is called and nothing is written, which is checked. Everything runs on one
//! processor. `unrelated`: as many changes of pods that no query reads, beside 1,000 to 100,000 CRs.
//!
//! *Figures.* Passes in a second of processor time of all threads; microseconds for each event.
//!
//! *Cost model.* Per pass a fixed cost (queue, task, memory, report), a cost per query and one per
//! child. A look-up reads one object: index, decompression of its block, the columns. Many sets of
//! parameters are joined with each scan once; a general statement is planned and run for each CR.
//!
//! *Limit.* The CR and its two children are three objects to be found and read.

mod cluster;
mod engine;
mod objects;

use crate::args::Options;
use crate::child::Child;
use crate::report::{Metric, Report};
use crate::systems::{System, runnable};
use anyhow::{Result, bail};
pub(crate) use engine::{Figures, Lane};

/// Its name.
pub(crate) const NAME: &str = "pass";

const PASSES: Metric = Metric {
    name: "passes_per_s",
    unit: "1/s",
};
const EVENT: Metric = Metric {
    name: "event_us",
    unit: "us",
};

/// What a child process is asked: a case of passes, or events that concern nobody.
const LANES: [(&str, &str); 3] = [
    ("lookup", "noop_lookup"),
    ("set", "noop_set"),
    ("general", "noop_general"),
];
const SYSTEMS: [System; 1] = [System::Kybern];

/// Measures and reports.
pub(crate) fn run(options: &Options, report: &mut Report) -> Result<()> {
    let crs = if options.quick { 100 } else { 10_000 };
    let beside: &[u64] = if options.quick {
        &[100]
    } else {
        &[1_000, 10_000, 100_000]
    };
    let cases: Vec<(String, String, u64)> = LANES
        .iter()
        .map(|(lane, case)| (format!("{case}_{}", short(crs)), (*lane).to_owned(), crs))
        .chain(beside.iter().map(|crs| {
            let case = format!("unrelated_{}", short(*crs));
            (case, "unrelated".to_owned(), *crs)
        }))
        .collect();
    for runnable in runnable(&SYSTEMS, options)? {
        for (case, work, crs) in &cases {
            let mut samples = Vec::new();
            for _ in 0..options.rounds() {
                let mut child = Child::start(&runnable, &["be-pass", work, &crs.to_string()])?;
                let figures: Figures = serde_json::from_str(&child.line()?)?;
                child.end()?;
                samples.push(figure(work, &figures));
            }
            let metric = if work == "unrelated" { EVENT } else { PASSES };
            report.median((NAME, case), metric, runnable.system.name(), &samples);
        }
    }
    Ok(())
}

fn figure(work: &str, figures: &Figures) -> f64 {
    let count = f64::from(figures.count);
    if work == "unrelated" {
        figures.busy * 1e6 / count
    } else {
        count / figures.busy
    }
}

fn short(count: u64) -> String {
    if count.is_multiple_of(1_000) {
        format!("{}k", count / 1_000)
    } else {
        count.to_string()
    }
}

/// Is what is measured.
pub(crate) fn subject(work: &str, crs: u64) -> Result<()> {
    let figures = match work {
        "lookup" => engine::passes(Lane::Lookup, crs)?,
        "set" => engine::passes(Lane::Set, crs)?,
        "general" => engine::passes(Lane::General, crs)?,
        "unrelated" => engine::unrelated(crs, (crs / 10).clamp(1_000, 10_000))?,
        other => bail!("there is no work {other}"),
    };
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}
