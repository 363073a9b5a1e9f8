//! `live`: a question to a cluster of 20,000 pods, from the command to its last row, from a real API
//! server. Its lines belong to `sql`.
//!
//! *Work.* A control plane of its own holds the seeded pods. Each command is a process: it finds out
//! what the API server serves, lists the pods over TLS, answers and ends. `live_20k` asks once;
//! `live_20k_ten` asks ten things of the pods in one process.
//!
//! *Figures.* Seconds on the wall as a user waits for them, p50 over the rounds. Everybody must find
//! the same.
//!
//! *Cost model.* The API server's time for a list of all pods, the client's for reading it; who
//! lists once for each statement pays both again.
//!
//! *Limit.* A list that is thrown away, as `startup` measures it.

use crate::args::Options;
use crate::clock::now;
use crate::report::{Metric, Report};
use crate::{sql, startup};
use anyhow::{Context, Result, bail, ensure};
use kybern_testcluster::ControlPlane;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

/// Its name.
pub(crate) const NAME: &str = "live";

const WALL: Metric = Metric {
    name: "p50_ms",
    unit: "ms",
};

/// Ten questions; the first is asked alone too.
const QUESTIONS: [&str; 10] = [
    "SELECT status.phase AS phase, count(*) AS n FROM pods GROUP BY status.phase",
    "SELECT count(*) AS n FROM pods",
    "SELECT spec.nodeName AS node, count(*) AS n FROM pods GROUP BY spec.nodeName",
    "SELECT namespace, count(*) AS n FROM pods GROUP BY namespace",
    "SELECT namespace, name FROM pods WHERE status.phase = 'Failed'",
    "SELECT namespace, name FROM pods WHERE status.phase = 'Pending'",
    "SELECT max(name) AS last FROM pods",
    "SELECT min(name) AS first FROM pods WHERE status.phase = 'Running'",
    "SELECT count(*) AS n FROM pods WHERE spec.nodeName IS NULL",
    "SELECT namespace, count(*) AS n FROM pods WHERE status.phase = 'Failed' GROUP BY namespace",
];

/// A command that asks.
struct Asker<'p> {
    name: &'static str,
    program: &'p Path,
}

/// Measures and reports.
pub(crate) fn run(options: &Options, report: &mut Report) -> Result<()> {
    let commands = [("kybern", &options.kybern), ("k8sql", &options.k8sql)];
    let mut askers = Vec::new();
    for (name, program) in commands {
        match program {
            Some(program) => askers.push(Asker { name, program }),
            None => report.note(&format!(
                "{NAME}: {name}: left out, its program was not given"
            )),
        }
    }
    if askers.is_empty() {
        return Ok(());
    }
    let Some((plane, pods)) = startup::filled(NAME, options, report)? else {
        return Ok(());
    };
    for (case, questions) in [("", 1), ("_ten", QUESTIONS.len())] {
        let case = format!("live_{}k{case}", pods / 1_000);
        let mut samples = vec![Vec::new(); askers.len()];
        for round in 1..=options.rounds() {
            let mut found = Vec::new();
            for (asker, samples) in askers.iter().zip(&mut samples) {
                let (took, said) = asker.ask(&plane, questions)?;
                report.note(&format!(
                    "{NAME}: {case}: round {round}: {}: {took:.0} ms",
                    asker.name
                ));
                samples.push(took);
                found.push((asker.name, said));
            }
            agree(&found)?;
        }
        for (asker, samples) in askers.iter().zip(&samples) {
            report.median((sql::NAME, &case), WALL, asker.name.to_owned(), samples);
        }
    }
    Ok(())
}

impl Asker<'_> {
    /// Milliseconds that the first so many questions took, and the answer of the first.
    fn ask(&self, plane: &ControlPlane, questions: usize) -> Result<(f64, BTreeSet<String>)> {
        let folder = tempfile::tempdir()?;
        let script = folder.path().join("questions.sql");
        let questions = QUESTIONS.get(..questions).unwrap_or_default();
        std::fs::write(&script, questions.join(";\n") + ";\n")?;
        let mut command = Command::new(self.program);
        match self.name {
            "k8sql" => command.args(["-o", "json", "-f"]).arg(&script),
            _ => command
                .args(["sql", "-o", "json"])
                .stdin(std::fs::File::open(&script)?),
        };
        command
            .env("KUBECONFIG", plane.admin_kubeconfig()?)
            // What is kept of an earlier command would be measured otherwise.
            .env("HOME", folder.path())
            .env_remove("XDG_CACHE_HOME")
            .stderr(Stdio::inherit());
        let began = now()?;
        let output = command
            .output()
            .with_context(|| format!("start {}", self.name))?;
        let took = (now()? - began).as_secs_f64() * 1_000.0;
        ensure!(output.status.success(), "{}: {}", self.name, output.status);
        Ok((took, phases(&output.stdout).context(self.name)?))
    }
}

/// The rows of the first answer, however its text is laid out.
fn phases(text: &[u8]) -> Result<BTreeSet<String>> {
    let first = serde_json::Deserializer::from_slice(text)
        .into_iter::<Value>()
        .next();
    let Some(Value::Array(rows)) = first.transpose()? else {
        bail!("its answer is no JSON list");
    };
    // k8sql writes numbers as text.
    let plain = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    let row = |row: &Value| format!("{} {}", plain(&row["phase"]), plain(&row["n"]));
    Ok(rows.iter().map(row).collect())
}

fn agree(found: &[(&str, BTreeSet<String>)]) -> Result<()> {
    if let Some((first, others)) = found.split_first() {
        for other in others {
            ensure!(first.1 == other.1, "{first:?} and {other:?} differ");
        }
        ensure!(!first.1.is_empty(), "{} found nothing", first.0);
    }
    Ok(())
}
