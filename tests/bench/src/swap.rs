//! `swap`: what it takes to replace a version of a plugin while its CRs change.
//!
//! *Work.* 1,000 CRs of AppService with their children. Up to 10,000 changes of their specs come in
//! a second, more than are passed, so that CRs always wait; twenty times another version takes the
//! place of the one that decides, as the host's controller does it: its queries are admitted, then
//! it is registered. The component itself was loaded before: the old version decides meanwhile.
//! What decides is the benchmark's, without a sandbox; nothing is written but statuses.
//!
//! *Figures.* `lost`: CRs whose last decision was not about their last change, or not by the last
//! version. `doubled`: decisions about what the same version had decided, by a version that was
//! replaced, or beside another one about the same CR. `pause_ms`: the longest time in the 100 ms
//! after a swap in which no decision began, the median of all swaps; on standard error beside it
//! that of as many windows without a swap, and the longest of both.
//!
//! *Cost model.* A new table of registrations and an entry in the queue for each CR.
//!
//! *Limit.* Every CR becomes due, so a swap costs a pass for each; they wait behind live changes.

use crate::args::Options;
use crate::child::Child;
use crate::pass::Swapped;
use crate::report::{Metric, Report, median};
use crate::systems::{System, runnable};
use anyhow::Result;

/// Its name.
pub(crate) const NAME: &str = "swap";

const CASE: &str = "under_load";
const LOST: Metric = Metric {
    name: "lost",
    unit: "1",
};
const DOUBLED: Metric = Metric {
    name: "doubled",
    unit: "1",
};
const PAUSE: Metric = Metric {
    name: "pause_ms",
    unit: "ms",
};

/// Measures and reports.
pub(crate) fn run(options: &Options, report: &mut Report) -> Result<()> {
    let (swaps, crs) = if options.quick { (2, 100) } else { (20, 1_000) };
    for runnable in runnable(&[System::Kybern], options)? {
        let (mut lost, mut doubled) = (Vec::new(), Vec::new());
        let (mut pauses, mut calms) = (Vec::new(), Vec::new());
        for _ in 0..options.rounds() {
            let words = ["be-swap", &swaps.to_string(), &crs.to_string()];
            let mut child = Child::start(&runnable, &words)?;
            let of: Swapped = serde_json::from_str(&child.line()?)?;
            child.end()?;
            lost.push(f64::from(u32::try_from(of.lost)?));
            doubled.push(f64::from(u32::try_from(of.doubled)?));
            pauses.extend(of.pauses);
            calms.extend(of.calms);
        }
        let told = |samples: &[f64]| {
            let longest = samples.iter().copied().fold(0.0, f64::max);
            let middle = median(samples).unwrap_or_default();
            format!("median {middle:.2} ms, longest {longest:.2} ms")
        };
        report.note(&format!("{NAME}: with a swap {}", told(&pauses)));
        report.note(&format!("{NAME}: without one {}", told(&calms)));
        for (metric, samples) in [(LOST, lost), (DOUBLED, doubled), (PAUSE, pauses)] {
            report.median((NAME, CASE), metric, runnable.system.name(), &samples);
        }
    }
    Ok(())
}

/// Is what is measured.
pub(crate) fn subject(swaps: usize, crs: u64) -> Result<()> {
    let figures = crate::pass::swaps(swaps, crs)?;
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}
