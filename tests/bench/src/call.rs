//! `call`: what one call of a plugin costs, from the situation's document to a plan that was read.
//!
//! *Work.* `fresh_decide_4k`: the AppService plugin, as its author built it with the SDK, decides on
//! a custom resource with sixteen ports; the resource and the children that come of it are 4 KB of
//! JSON with 120 keys and more, which is checked. Each call has an instance of its own, and the plan
//! is read as the host reads it. `native_decide_4k` is the same code, compiled for this machine, on
//! the same documents, the plan read in the same way; the two take turns. `floor`: a plugin that
//! reads nothing and returns the same few bytes each time. `rows_1000_arrow` and `rows_1000_json`: a
//! plugin that looks at each value of 1,000 rows of three columns. `loaded_N`: the AppService plugin
//! again, N different components of it in memory, called in turn.
//!
//! *Figures.* Microseconds on the wall, on one thread; p99 of a round's calls. For `loaded_N` also
//! what it took to compile one of them, to load one from the cache of compiled code, and by how much
//! the process grew with each that was loaded and had not been called, pages of files included and
//! not.
//!
//! *Cost model.* Fixed: a store, an instance (memories mapped from the pool, tables filled), the
//! clocks of its limits. Per byte: the document is copied in, parsed in the guest, and the plan back.
//! Per row: Arrow is copied, JSON is written by the host and parsed by the guest.
//!
//! *Limit.* The native call: what is beyond it is the sandbox. Instances of the floor are given
//! back to the kernel page by page: a few faults for each call.

mod measured;

use crate::args::Options;
use crate::child::Child;
use crate::report::{Metric, Report};
use crate::systems::{Runnable, System};
use anyhow::{Context, Result};
use kybern_testcluster::guests;
pub(crate) use measured::subject;
use serde::{Deserialize, Serialize};

/// Its name.
pub(crate) const NAME: &str = "call";

const P50: Metric = metric("p50_us", "us");
const P99: Metric = metric("p99_us", "us");
const COMPILE: Metric = metric("compile_ms", "ms");
const LOAD: Metric = metric("load_ms", "ms");
const IDLE: Metric = metric("idle_kb", "kB");
const ANONYMOUS: Metric = metric("idle_anonymous_kb", "kB");

/// Calls that are timed in each case.
const CALLS: usize = 2_000;
const QUICK_CALLS: usize = 20;

const fn metric(name: &'static str, unit: &'static str) -> Metric {
    Metric { name, unit }
}

/// One case of one round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Case {
    name: String,
    native: bool,
    p50_us: f64,
    /// Of a thousand calls or more.
    p99_us: Option<f64>,
    loading: Option<Loading>,
}

/// What it took to have plugins.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Loading {
    /// Milliseconds for one that was never seen.
    compile_ms: f64,
    /// Milliseconds for one whose code is in the cache.
    load_ms: f64,
    /// What the process grew by for each.
    idle_kb: f64,
    /// Of that, what is no file's: code is mapped from its file, and can be read again.
    idle_anonymous_kb: f64,
}

/// Measures and reports.
pub(crate) fn run(options: &Options, report: &mut Report) -> Result<()> {
    let wanted = |system| options.systems.is_empty() || options.systems.contains(&system);
    if !wanted(System::Kybern) {
        return Ok(());
    }
    let of = Runnable {
        system: System::Kybern,
        program: std::env::current_exe().context("find this program")?,
    };
    let (calls, loaded) = if options.quick {
        (QUICK_CALLS, "1,2")
    } else {
        (CALLS, "1,10,100")
    };
    let mut rounds: Vec<Vec<Case>> = Vec::new();
    for _ in 0..options.rounds() {
        let folder = guests()?;
        let words = [
            "be-call",
            &folder.to_string_lossy(),
            &calls.to_string(),
            loaded,
        ];
        let mut child = Child::start(&of, &words)?;
        rounds.push(serde_json::from_str(&child.line()?)?);
        child.end()?;
    }
    for first in rounds.first().into_iter().flatten() {
        let system = if first.native {
            System::Native
        } else {
            System::Kybern
        };
        if wanted(system) {
            of_case(first, &rounds, system, report);
        }
    }
    Ok(())
}

/// Reports the medians of one case.
fn of_case(first: &Case, rounds: &[Vec<Case>], system: System, report: &mut Report) {
    let samples = |figure: &dyn Fn(&Case) -> Option<f64>| -> Vec<f64> {
        let same = rounds
            .iter()
            .flatten()
            .filter(|case| case.name == first.name);
        same.filter_map(figure).collect()
    };
    let loading = |figure: fn(&Loading) -> f64| samples(&|case| case.loading.as_ref().map(figure));
    let figures = [
        (P50, samples(&|case| Some(case.p50_us))),
        (P99, samples(&|case| case.p99_us)),
        (COMPILE, loading(|loading| loading.compile_ms)),
        (LOAD, loading(|loading| loading.load_ms)),
        (IDLE, loading(|loading| loading.idle_kb)),
        (ANONYMOUS, loading(|loading| loading.idle_anonymous_kb)),
    ];
    for (metric, samples) in figures {
        report.median((NAME, &first.name), metric, system.name(), &samples);
    }
}
