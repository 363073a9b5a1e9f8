//! The command line.

use crate::systems::System;
use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Measures Kybern and its peers.
#[derive(Debug, Parser)]
#[command(
    name = "kybern-bench",
    subcommand_negates_reqs = true,
    args_conflicts_with_subcommands = true
)]
pub(crate) struct Args {
    /// What is measured, when this process is it.
    #[command(subcommand)]
    pub(crate) subject: Option<Subject>,
    #[command(flatten)]
    pub(crate) options: Options,
}

/// What to measure, and how.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Only this benchmark; all unless told.
    pub(crate) name: Option<String>,
    /// One JSON object for each line, and nothing else, on standard output.
    #[arg(long)]
    pub(crate) json: bool,
    /// A thousand objects, one round, no waiting: whether it runs, not how fast.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Rounds; figures are medians over them. 5 unless told.
    #[arg(long)]
    pub(crate) rounds: Option<usize>,
    /// Objects; 100,000 unless told.
    #[arg(long)]
    pub(crate) objects: Option<u64>,
    /// Custom resources of `converge`, or hops of `ring`; 1,000 and 5,000, and 100, unless told.
    #[arg(long, value_delimiter = ',')]
    pub(crate) n: Vec<usize>,
    /// Only these systems; all that can run unless told.
    #[arg(long, value_delimiter = ',')]
    pub(crate) systems: Vec<System>,
    /// The peer program of kube-rs; without it its systems are left out.
    #[arg(long)]
    pub(crate) kube_rs: Option<PathBuf>,
    /// The peer program of Go informers; without it its systems are left out.
    #[arg(long)]
    pub(crate) go_informer: Option<PathBuf>,
    /// The peer program of controller-runtime; without it `converge` and `pass` leave it out.
    #[arg(long)]
    pub(crate) controller_runtime: Option<PathBuf>,
    /// A Python with the packages of tests/bench/python; without it the systems of `sql` that
    /// need it are left out.
    #[arg(long)]
    pub(crate) python: Option<PathBuf>,
    /// The product's program, for `live`, `converge` and `ring`; without it Kybern is left out there.
    #[arg(long)]
    pub(crate) kybern: Option<PathBuf>,
    /// The peer program k8sql, for `live`; without it that is left out.
    #[arg(long)]
    pub(crate) k8sql: Option<PathBuf>,
    /// Says on standard error how Kybern answers each query of `sql`.
    #[arg(long)]
    pub(crate) explain: bool,
}

/// What a child process is, in words that are no benchmark's name. Peers understand the same.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Subject {
    /// Reads a recorded watch into the store and says what it cost.
    #[command(name = "be-ingest", hide = true)]
    Ingest {
        /// The system, for peers that have several.
        system: String,
        /// The recording.
        recording: PathBuf,
        /// Objects in it.
        objects: usize,
    },
    /// Keeps pods in memory and answers to lines on standard input.
    #[command(name = "be-cache", hide = true)]
    Cache {
        /// The system, for peers that have several.
        system: String,
        /// URL of the API server.
        server: String,
    },
    /// Lists all pods of a real API server once and says what it cost.
    #[command(name = "be-startup", hide = true)]
    Startup {
        /// How.
        how: Listing,
        /// Where the API server is, and who asks.
        kubeconfig: PathBuf,
        /// Pods that are there.
        objects: usize,
    },
    /// Calls plugins in the sandbox, and one of them without it, and says how fast.
    #[command(name = "be-call", hide = true)]
    Call {
        /// The system, for peers that have several.
        system: String,
        /// Where the guests are.
        guests: PathBuf,
        /// Calls that are timed in each case.
        calls: usize,
        /// Plugins that are loaded at the same time, a case for each number.
        #[arg(value_delimiter = ',')]
        loaded: Vec<usize>,
    },
    /// Runs passes that find nothing to do and says what they cost.
    #[command(name = "be-pass", hide = true)]
    Pass {
        /// The system, for peers that have several.
        system: String,
        /// How queries are answered, or `unrelated`.
        work: String,
        /// CRs.
        crs: u64,
    },
    /// Answers and calls of `rolebindings`, then rests.
    #[command(name = "be-rolebindings", hide = true)]
    Rolebindings {
        /// The system, for peers that have several.
        system: String,
        /// The plugin.
        guest: PathBuf,
        /// Bindings.
        bindings: u64,
        /// Calls that are timed in each case.
        calls: usize,
    },
    /// Renders a chart again and again and says what it cost.
    #[command(name = "be-render", hide = true)]
    Render {
        /// The system, for peers that have several.
        system: String,
        /// What is rendered.
        request: PathBuf,
        /// Renders.
        renders: usize,
        /// Whether the engine is compiled as well.
        #[arg(action = clap::ArgAction::Set)]
        compile: bool,
    },
    /// Replaces versions of a plugin under load and says what came of it.
    #[command(name = "be-swap", hide = true)]
    Swap {
        /// The system, for peers that have several.
        system: String,
        /// Swaps.
        swaps: usize,
        /// CRs.
        crs: u64,
    },
    /// Answers the queries of `sql` and says how fast.
    #[command(name = "be-sql", hide = true)]
    Sql(Sql),
}

/// What a system of `sql` is told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Sql {
    /// The system.
    pub(crate) system: String,
    /// Where the columns are.
    pub(crate) folder: PathBuf,
    /// Pods that there are.
    pub(crate) pods: u64,
    /// Answers that are enough for a case.
    pub(crate) answers: usize,
    /// Milliseconds that are enough for a case.
    pub(crate) milliseconds: u64,
    /// Says how each query is answered.
    #[arg(long)]
    pub(crate) explain: bool,
    /// Only this case of Kybern's, for a profiler to look at.
    #[arg(long)]
    pub(crate) only: Option<String>,
}

/// Who lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Listing {
    /// The product's watch and store.
    Table,
    /// A streaming list whose bytes are thrown away.
    Stream,
    /// Pages whose bytes are thrown away.
    Pages,
}

impl Listing {
    /// All of them.
    pub(crate) const ALL: [Listing; 3] = [Listing::Table, Listing::Stream, Listing::Pages];

    /// The name in the results.
    pub(crate) fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

impl Options {
    /// Objects to measure with.
    pub(crate) fn objects(&self) -> u64 {
        self.objects
            .unwrap_or(if self.quick { 1_000 } else { 100_000 })
    }

    /// Rounds to take medians over.
    pub(crate) fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { 5 }).max(1)
    }

    /// `pods_100k`.
    pub(crate) fn pods(&self) -> String {
        match self.objects() {
            all if all.is_multiple_of(1_000) => format!("pods_{}k", all / 1_000),
            all => format!("pods_{all}"),
        }
    }
}
