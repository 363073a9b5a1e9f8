//! `memory`: bytes that a pod takes in a cache, and the peak while a list is read again.
//!
//! *Work.* Each system is a process of its own with its own allocator and its product's defaults,
//! and a client of the bench's API server: JSON over HTTP on 127.0.0.1. It lists 100,000 pods and
//! watches; 30 s after the last is there, its resident bytes less those of the same program with
//! no pods are divided by the pods. Then every pod is updated three times through the watch, and
//! the same is read again. Then the watch is told twice that it is too old, after 1 % and after all
//! of the pods have changed, and has to list: the peak over what was held before, both without the
//! bytes of the empty program. Nobody purges anything for the reading: Kybern's allocator is trimmed
//! every 5 s as it is in the host, the peers' collectors run as they will.
//!
//! *Figures.* Kybern has the paths that the queries of `sql` read shredded at each reading.
//!
//! *Cost model.* Per pod: the compressed body, an entry in each index, a bit and an offset in
//! its chunk; per chunk of 2,048 pods: column headers and Arrow buffers; per store: the change log,
//! which pins what only it holds, and the allocator's slack.
//!
//! *Limit.* What of a pod cannot be foretold from another one: two random UUIDs, a digest, an
//! address, names, times. A 6.7 KB pod of two containers was once seen to take 910 bytes with zstd
//! at level 3 and a dictionary.

use crate::args::Options;
use crate::child::Child;
use crate::clock::pass;
use crate::proc::Resident;
use crate::report::{Metric, Report};
use crate::server::Server;
use crate::systems::{Runnable, System, runnable};
use crate::world::{Share, World};
use anyhow::{Context, Result};
use std::time::Duration;

/// Its name.
pub(crate) const NAME: &str = "memory";

const SYSTEMS: [System; 5] = [
    System::Kybern,
    System::KubeRsTyped,
    System::KubeRsDynamic,
    System::GoInformerTyped,
    System::GoInformerUnstructured,
];

/// Updates of each pod.
const UPDATES: usize = 3;

const BYTES: Metric = Metric {
    name: "bytes_per_object",
    unit: "B",
};
const PEAK: Metric = Metric {
    name: "peak_ratio",
    unit: "x",
};

/// What one run of one system gives.
#[derive(Debug, Default)]
struct Samples {
    loaded: Vec<f64>,
    churned: Vec<f64>,
    one_percent: Vec<f64>,
    all: Vec<f64>,
}

/// Measures and reports.
pub(crate) fn run(options: &Options, report: &mut Report) -> Result<()> {
    let systems = runnable(&SYSTEMS, options)?;
    let mut samples: Vec<Samples> = systems.iter().map(|_| Samples::default()).collect();
    for round in 1..=options.rounds() {
        for (runnable, samples) in systems.iter().zip(&mut samples) {
            report.note(&format!(
                "{NAME}: round {round}: {}",
                runnable.system.name()
            ));
            measure(runnable, options, samples, report)?;
        }
    }
    let pods = options.pods();
    for (runnable, samples) in systems.iter().zip(&samples) {
        let cases = [
            (pods.clone(), BYTES, &samples.loaded),
            (format!("{pods}_churned"), BYTES, &samples.churned),
            ("relist_1pct".to_owned(), PEAK, &samples.one_percent),
            ("relist_100pct".to_owned(), PEAK, &samples.all),
        ];
        for (case, metric, values) in cases {
            report.median((NAME, &case), metric, runnable.system.name(), values);
        }
    }
    Ok(())
}

/// A child, what it had without pods, and how long it rests before it is read.
struct Subject {
    child: Child,
    empty: f64,
    rest: Duration,
}

impl Subject {
    /// Rests and reads.
    fn settled(&mut self) -> Result<Resident> {
        self.child.ask("settle")?;
        pass(self.rest);
        self.child.resident()
    }

    /// The peak of what `change` and `last` bring, over what is held before.
    fn peak(&mut self, server: &Server, share: Share) -> Result<f64> {
        let before = self.settled()?.now;
        self.child.reset_peak()?;
        let last = server.change(|world| world.update_unseen(share));
        self.child.ask(&format!("wait {last}"))?;
        // What is done after the last object is seen counts as well.
        pass(self.rest / 6);
        Ok((self.child.resident()?.peak - self.empty) / (before - self.empty))
    }
}

fn measure(
    runnable: &Runnable,
    options: &Options,
    samples: &mut Samples,
    report: &Report,
) -> Result<()> {
    let rest = Duration::from_millis(if options.quick { 300 } else { 30_000 });
    let objects = u32::try_from(options.objects()).context("too many objects")?;
    let server = Server::start(World::new(options.objects()))?;
    let child = Child::start(runnable, &["be-cache", &server.url()])?;
    let empty = empty(runnable, rest / 10)?;
    let mut subject = Subject { child, empty, rest };
    let per_object = |resident: Resident| (resident.now - empty) / f64::from(objects);
    let say = |what: &str, subject: &mut Subject, value: f64| -> Result<()> {
        let budget = subject.child.ask("budget")?;
        report.note(&format!("{NAME}: {what}: {value:.2}; {budget}"));
        Ok(())
    };

    let last = server.change(|_| {});
    subject.child.ask(&format!("wait {last}"))?;
    let loaded = per_object(subject.settled()?);
    say("bytes per object", &mut subject, loaded)?;
    samples.loaded.push(loaded);

    for _ in 0..UPDATES {
        let last = server.change(World::update);
        subject.child.ask(&format!("wait {last}"))?;
    }
    let churned = per_object(subject.settled()?);
    say("bytes per object, churned", &mut subject, churned)?;
    samples.churned.push(churned);

    let one_percent = subject.peak(&server, Share::OnePercent)?;
    say("peak of a list, 1 % changed", &mut subject, one_percent)?;
    samples.one_percent.push(one_percent);
    let all = subject.peak(&server, Share::All)?;
    say("peak of a list, all changed", &mut subject, all)?;
    samples.all.push(all);
    subject.child.end()
}

/// Resident bytes of the same program when there are no pods.
fn empty(runnable: &Runnable, rest: Duration) -> Result<f64> {
    let server = Server::start(World::new(0))?;
    let mut child = Child::start(runnable, &["be-cache", &server.url()])?;
    child.ask("settle")?;
    pass(rest);
    let resident = child.resident()?;
    child.end()?;
    Ok(resident.now)
}
