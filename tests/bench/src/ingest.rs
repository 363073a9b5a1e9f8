//! `ingest`: raw watch events of the seeded pods to a visible snapshot, on one processor.
//!
//! *Work.* A recorded watch (an empty list, then 100,000 `ADDED`) lies in memory, cut into 64 KiB.
//! Each system finds the lines, decodes them with the code of its own watch and applies them to its
//! store. No sockets and no TLS: those cost everyone the same. Every system is a process of its own
//! on one processor, with its own allocator.
//!
//! *Figures.* `visible` is the processor time of all threads until the last pod can be read,
//! `settled` until no thread does anything any more: compressed, indexed, merged. On one processor
//! and a quiet machine this is the time on the wall; on a noisy one it stays what it was.
//!
//! *Cost model.* Per event a fixed cost (index entries, bitmap, log) and a cost per byte: finding
//! the line's end, one pass over the JSON, one copy, compression. Peers build a tree: a cost per
//! JSON value, most of it allocation.
//!
//! *Limit.* zstd's compression: about 2.5 microseconds for each KB of body at level 3 with a
//! dictionary (16 for 6.7 KB were measured). Without it, one pass over the JSON.

use crate::args::Options;
use crate::child::Child;
use crate::recording;
use crate::report::{Metric, Report};
use crate::systems::{System, runnable};
use anyhow::{Context, Result};
use serde::Deserialize;

/// Its name.
pub(crate) const NAME: &str = "ingest";

const SYSTEMS: [System; 3] = [System::Kybern, System::KubeRsTyped, System::KubeRsDynamic];

const VISIBLE: Metric = Metric {
    name: "visible_events_per_s",
    unit: "1/s",
};
const SETTLED: Metric = Metric {
    name: "settled_events_per_s",
    unit: "1/s",
};

/// Processor seconds, and seconds on the wall until visible.
#[derive(Debug, Deserialize)]
struct Cost {
    visible: f64,
    settled: f64,
    wall: f64,
}

/// Measures and reports.
pub(crate) fn run(options: &Options, report: &mut Report) -> Result<()> {
    let folder = tempfile::tempdir().context("make a folder for the recording")?;
    let path = folder.path().join("watch.json");
    let objects = options.objects();
    let bytes = recording::write(&path, objects)?;
    let systems = runnable(&SYSTEMS, options)?;
    report.note(&format!("{NAME}: {objects} events, {bytes} bytes"));
    let events = f64::from(u32::try_from(objects).context("too many objects")?);
    let words = ["be-ingest", &path.to_string_lossy(), &objects.to_string()];
    let mut samples: Vec<(Vec<f64>, Vec<f64>)> =
        systems.iter().map(|_| Default::default()).collect();
    for round in 1..=options.rounds() {
        for (runnable, (visible, settled)) in systems.iter().zip(&mut samples) {
            let mut child = Child::start(runnable, &words)?;
            let cost: Cost = serde_json::from_str(&child.line()?)?;
            child.end()?;
            visible.push(events / cost.visible);
            settled.push(events / cost.settled);
            report.note(&format!(
                "{NAME}: round {round}: {}: {:.2} s of processor time until visible, {:.2} s until settled, {:.2} s on the wall",
                runnable.system.name(),
                cost.visible,
                cost.settled,
                cost.wall
            ));
        }
    }
    for (runnable, (visible, settled)) in systems.iter().zip(&samples) {
        let name = runnable.system.name();
        let place = (NAME, options.pods());
        report.median((place.0, &place.1), VISIBLE, name.clone(), visible);
        report.median((place.0, &place.1), SETTLED, name, settled);
    }
    Ok(())
}
