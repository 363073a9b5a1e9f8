//! `sql`: eight questions about 100,000 pods, 10,000 deployments and 5,000 nodes.
//!
//! *Work.* Each system is a process of its own with the same objects. Kybern has them in the
//! product's store, with the indexes that the product gives every kind, and is asked over their
//! natural paths; peers have columns that were taken out of the objects once, the indexes that help
//! them, and JSON text for `q6` alone. The clock starts with the text (`q1_prepared`: with the
//! parameters) and ends when all rows of the answer are there as Arrow batches, in Kybern's case
//! sorted and hashed; `SQLite` and `DuckDB` give rows. Every peer must give Kybern's rows, or the run fails.
//!
//! *Figures.* `q1` to `q8`: the same text again and again. `q1_prepared`: another pod each time.
//! `q1_new`: a text that was never seen. `.._loaded`: while a thread commits 10,000 updates of pods
//! a second, 100 at once, and another one compresses them. A figure is the median over the rounds
//! of each round's p50 or p99; a round has a p99 if it has a thousand answers.
//!
//! *Cost model.* Text: a look-up of the plan, or parsing and planning (0.3 ms and more). Binding: a
//! rewrite and a physical plan for each execution, but for keys. Scans: columns of chunks that did
//! not change are there; a cost per row from then on. Answers: sorted and hashed per row.
//!
//! *Limit.* `q1` one hash look-up (0.1 microseconds); scans the bytes of the columns that are read
//! (0.2 to 0.3 ms for all narrow columns of 100,000 pods); groups a hash for each row.

mod answers;
mod kybern;
mod load;
mod memtable;
mod objects;
mod queries;

use crate::args::Options;
use crate::child::Child;
use crate::report::{Metric, Report};
use crate::systems::{Runnable, System, runnable};
use answers::{Budget, Case, Said, agree};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use objects::Objects;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Its name.
pub(crate) const NAME: &str = "sql";

const SYSTEMS: [System; 5] = [
    System::Kybern,
    System::DatafusionMemtable,
    System::Duckdb,
    System::Sqlite,
    System::Polars,
];

const P50: Metric = Metric {
    name: "p50_ms",
    unit: "ms",
};
const P99: Metric = Metric {
    name: "p99_ms",
    unit: "ms",
};

/// The peers that are asked from Python.
const PYTHON: &str = include_str!("../python/sql_peers.py");

/// Measures and reports.
pub(crate) fn run(options: &Options, report: &mut Report) -> Result<()> {
    let systems = runnable(&SYSTEMS, options)?;
    let folder = tempfile::tempdir().context("make a folder for the columns")?;
    let objects = Objects {
        pods: options.objects(),
    };
    prepare(folder.path(), objects)?;
    let mut rounds: Vec<Vec<Said>> = systems.iter().map(|_| Vec::new()).collect();
    for round in 1..=options.rounds() {
        for (runnable, rounds) in systems.iter().zip(&mut rounds) {
            let name = runnable.system.name();
            report.note(&format!("{NAME}: round {round}: {name}"));
            let said = ask(runnable, folder.path(), options)?;
            for note in &said.notes {
                report.note(&format!("{NAME}: {note}"));
            }
            rounds.push(said);
        }
        compare(&systems, &rounds)?;
    }
    for (runnable, rounds) in systems.iter().zip(&rounds) {
        summarise(&runnable.system.name(), rounds, report);
    }
    Ok(())
}

/// What peers read: columns, texts and the keys of `q1`.
fn prepare(folder: &Path, objects: Objects) -> Result<()> {
    objects.write(folder)?;
    let keys: Vec<(String, String)> = (0..2_000).map(|turn| objects.key(turn)).collect();
    let told = serde_json::json!({
        "point": queries::POINT[1],
        "keys": keys,
        "image": objects.image()?,
        "queries": queries::queries(&objects.image()?),
    });
    std::fs::write(folder.join("queries.json"), told.to_string())?;
    std::fs::write(folder.join("sql_peers.py"), PYTHON)?;
    Ok(())
}

/// Answers enough for a p99 of Kybern, and for a median of the others.
fn budget(system: System, quick: bool) -> Budget {
    let (answers, milliseconds) = match (quick, system) {
        (true, _) => (3, 20),
        (false, System::Kybern) => (1_000, 30_000),
        (false, _) => (1_000, 5_000),
    };
    Budget {
        answers,
        time: Duration::from_millis(milliseconds),
    }
}

fn ask(runnable: &Runnable, folder: &Path, options: &Options) -> Result<Said> {
    let budget = budget(runnable.system, options.quick);
    let folder = folder.to_string_lossy();
    let numbers = [
        options.objects().to_string(),
        budget.answers.to_string(),
        budget.time.as_millis().to_string(),
    ];
    let script = format!("{folder}/sql_peers.py");
    let mut words = match runnable.system {
        System::Kybern | System::DatafusionMemtable => vec!["be-sql", &*folder],
        _ => vec![script.as_str(), &*folder],
    };
    words.extend(numbers.iter().map(String::as_str));
    if options.explain && runnable.system == System::Kybern {
        words.push("--explain");
    }
    let mut child = Child::start(runnable, &words)?;
    let said = serde_json::from_str(&child.line()?).context("what a system said")?;
    child.end()?;
    Ok(said)
}

/// Everybody's newest answers with those of the first.
fn compare(systems: &[Runnable], rounds: &[Vec<Said>]) -> Result<()> {
    let newest = |rounds: &'_ Vec<Said>| rounds.last().map(|said| said.cases.clone());
    let mut all = systems
        .iter()
        .zip(rounds)
        .filter_map(|(of, rounds)| Some((of.system.name(), newest(rounds)?)));
    let Some((first, expected)) = all.next() else {
        return Ok(());
    };
    for (other, cases) in all {
        agree((&first, &expected), (&other, &cases))?;
    }
    Ok(())
}

fn summarise(system: &str, rounds: &[Said], report: &mut Report) {
    let mut cases: BTreeMap<&str, Vec<&Case>> = BTreeMap::new();
    for case in rounds.iter().flat_map(|said| &said.cases) {
        cases.entry(&case.name).or_default().push(case);
    }
    for (name, cases) in cases {
        let half: Vec<f64> = cases.iter().map(|case| case.p50_ms).collect();
        report.median((NAME, name), P50, system.to_owned(), &half);
        let most: Vec<f64> = cases.iter().filter_map(|case| case.p99_ms).collect();
        report.median((NAME, name), P99, system.to_owned(), &most);
    }
}

/// Is what is measured.
pub(crate) fn subject(asked: &crate::args::Sql) -> Result<()> {
    let objects = Objects { pods: asked.pods };
    let budget = Budget {
        answers: asked.answers,
        time: Duration::from_millis(asked.milliseconds),
    };
    let system = System::from_str(&asked.system, false);
    let said = match system {
        Ok(System::Kybern) => tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?
            .block_on(kybern::measure(asked, objects, budget))?,
        Ok(System::DatafusionMemtable) => tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_time()
            .build()?
            .block_on(memtable::measure(&asked.folder, objects, budget))?,
        _ => bail!("{} is no system that is asked from here", asked.system),
    };
    println!("{}", serde_json::to_string(&said)?);
    Ok(())
}
