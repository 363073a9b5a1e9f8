//! `pass`: what it costs to find that there is nothing to do.
//!
//! *Work.* 10,000 CRs of AppService with their children (a Deployment and a Service each) and
//! 100,000 pods have come to rest. One commit changes every Deployment in a way that nobody reads.
//! Each CR is due once: a counted pass takes it from the queue, answers its queries, compares
//! fingerprints, looks whether its children are as intended, and says what came of it. The commit is
//! not counted; no plugin is called and nothing is written, which is checked. Everything runs on one
//! processor. `unrelated`: as many changes of pods that no query reads, beside 1,000 to 100,000 CRs.
//!
//! *Peers.* The operators of `converge`, over caches of all four kinds that a server on 127.0.0.1
//! fills by lists and watches; their processes too have one processor. The same change of every
//! Deployment comes through the watch. Its events are held back where the library would look for
//! the owner until the caches have them all; then they are let go, and from there it is counted: the
//! way to the owner, the library's own queue, the reconcile, until the last has ended. A reconcile
//! takes the CR and its children from the cache, compares them with what it wants and its status
//! with what it has to say, and writes nothing, which the server checks. controller-runtime:
//! `CreateOrUpdate` of both children, as it is documented. kube-rs has nothing like it (its
//! documentation applies in each reconcile): each field that is ours is compared in the stores of
//! reflectors, without a copy, which is the least that an author could do; only what differs would be
//! applied. `set` lists the CR's pods from the cache by namespace and label and counts their phases;
//! controller-runtime has an index by namespace, kube-rs looks at all pods, and has only 1,000 CRs
//! due, each of which takes it as long as the next. `general` is that and the Deployment once more,
//! in an order: there is no SQL. The first change is for warmth; then controller-runtime has five,
//! for its garbage is collected only now and then. `unrelated` is Kybern's alone: who watches no
//! pods sees no event of one.
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
mod peer;
mod served;
mod server;
mod swap;

use crate::args::Options;
use crate::child::Child;
use crate::report::{Metric, Report};
use crate::systems::{Runnable, System, runnable};
use anyhow::{Result, bail};
pub(crate) use engine::{Figures, Lane};
pub(crate) use swap::{Swapped, swaps};

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
const UNRELATED: &str = "unrelated";
const SYSTEMS: [System; 3] = [System::Kybern, System::ControllerRuntime, System::KubeRs];

/// A case, what is asked for it, and beside how many CRs.
struct Case {
    name: String,
    work: &'static str,
    crs: u64,
}

/// Measures and reports.
pub(crate) fn run(options: &Options, report: &mut Report) -> Result<()> {
    let systems = runnable(&SYSTEMS, options)?;
    for case in cases(options.quick) {
        // Peers see no event of a pod unless they watch pods, and then every one.
        let asked = |one: &&Runnable| case.work != UNRELATED || one.system == System::Kybern;
        let systems: Vec<&Runnable> = systems.iter().filter(asked).collect();
        let mut samples = vec![Vec::new(); systems.len()];
        for _ in 0..options.rounds() {
            for (runnable, samples) in systems.iter().zip(&mut samples) {
                samples.push(figure(case.work, &measure(runnable, &case)?));
            }
        }
        let metric = if case.work == UNRELATED {
            EVENT
        } else {
            PASSES
        };
        for (runnable, samples) in systems.iter().zip(&samples) {
            report.median((NAME, &case.name), metric, runnable.system.name(), samples);
        }
    }
    Ok(())
}

fn cases(quick: bool) -> Vec<Case> {
    let (crs, beside): (u64, &[u64]) = if quick {
        (100, &[100])
    } else {
        (10_000, &[1_000, 10_000, 100_000])
    };
    let case = |name: &str, work: &'static str, crs: u64| Case {
        name: format!("{name}_{}", short(crs)),
        work,
        crs,
    };
    let passes = LANES.iter().map(|(work, name)| case(name, work, crs));
    let events = beside.iter().map(|crs| case(UNRELATED, UNRELATED, *crs));
    passes.chain(events).collect()
}

fn measure(runnable: &Runnable, case: &Case) -> Result<Figures> {
    if runnable.system != System::Kybern {
        return peer::measure(runnable, case.work, case.crs);
    }
    let mut child = Child::start(runnable, &["be-pass", case.work, &case.crs.to_string()])?;
    let figures = serde_json::from_str(&child.line()?)?;
    child.end()?;
    Ok(figures)
}

fn figure(work: &str, figures: &Figures) -> f64 {
    let count = f64::from(figures.count);
    if work == UNRELATED {
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
        UNRELATED => engine::unrelated(crs, (crs / 10).clamp(1_000, 10_000))?,
        other => bail!("there is no work {other}"),
    };
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}
