//! The table of benchmarks.

use crate::args::Options;
use crate::report::Report;
use crate::{
    call, converge, ingest, live, memory, operate, pass, render, ring, rolebindings, sql, startup,
    swap,
};
use anyhow::{Result, bail};

/// One benchmark.
pub(crate) struct Bench {
    /// Its name on the command line and in the results.
    pub(crate) name: &'static str,
    /// Measures and reports.
    pub(crate) run: fn(&Options, &mut Report) -> Result<()>,
}

/// All of them.
pub(crate) const BENCHES: &[Bench] = &[
    Bench {
        name: call::NAME,
        run: call::run,
    },
    Bench {
        name: ingest::NAME,
        run: ingest::run,
    },
    Bench {
        name: memory::NAME,
        run: memory::run,
    },
    Bench {
        name: sql::NAME,
        run: sql::run,
    },
    Bench {
        name: live::NAME,
        run: live::run,
    },
    Bench {
        name: pass::NAME,
        run: pass::run,
    },
    Bench {
        name: startup::NAME,
        run: startup::run,
    },
    Bench {
        name: converge::NAME,
        run: converge::run,
    },
    Bench {
        name: ring::NAME,
        run: ring::run,
    },
    Bench {
        name: rolebindings::NAME,
        run: rolebindings::run,
    },
    Bench {
        name: render::NAME,
        run: render::run,
    },
    Bench {
        name: swap::NAME,
        run: swap::run,
    },
    Bench {
        name: operate::NAME,
        run: operate::run,
    },
];

/// Runs the one that is asked for, or all.
pub(crate) fn run(options: &Options) -> Result<()> {
    let wanted = |bench: &&Bench| {
        options
            .name
            .as_deref()
            .is_none_or(|name| name == bench.name)
    };
    let chosen: Vec<&Bench> = BENCHES.iter().filter(wanted).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = BENCHES.iter().map(|bench| bench.name).collect();
        bail!(
            "there is no such benchmark; there are: {}",
            names.join(", ")
        );
    }
    let mut report = Report::new(options.json);
    for bench in chosen {
        (bench.run)(options, &mut report)?;
    }
    report.finish();
    Ok(())
}
