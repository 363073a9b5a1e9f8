//! `cargo xtask ci`: every check, one after the other; what failed is said at the end again.

use crate::tools::{DENY, HAKARI};
use crate::workspace::{Workspace, succeed};
use crate::{docs, programs, test};
use anyhow::Result;
use clap::{Args, ValueEnum};
use kybern_testcluster::Stopwatch;
use std::process::ExitCode;
use std::time::Duration;

/// `cargo xtask ci`.
#[derive(Debug, Args)]
pub(crate) struct CiArgs {
    /// Only these steps, in the order given.
    #[arg(value_enum)]
    steps: Vec<Step>,
}

/// One check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    /// rustfmt.
    Format,
    /// Licences, bans and sources of dependencies.
    Dependencies,
    /// The workspace-hack crate names the features that are used.
    Features,
    /// Guests become components.
    Guests,
    /// The control plane is there, or built.
    ControlPlane,
    /// clippy, on everything.
    Lints,
    /// rustdoc.
    Docs,
    /// All tests.
    Tests,
}

/// Cheap ones first: most mistakes are found in the first minute.
const ALL: [Step; 8] = [
    Step::Format,
    Step::Guests,
    Step::ControlPlane,
    Step::Lints,
    Step::Docs,
    Step::Tests,
    Step::Dependencies,
    Step::Features,
];

impl Step {
    fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn run(self, workspace: &Workspace) -> Result<()> {
        match self {
            Self::Format => succeed(workspace.cargo().args(["fmt", "--all", "--check"])),
            // No advisories: their database is no package registry, and CI has no other network.
            Self::Dependencies => succeed(
                DENY.command(workspace)?
                    .args(["--workspace", "check", "--hide-inclusion-graph"])
                    .args(["licenses", "bans", "sources"]),
            ),
            Self::Features => {
                succeed(HAKARI.command(workspace)?.args(["generate", "--diff"]))?;
                succeed(
                    HAKARI
                        .command(workspace)?
                        .args(["manage-deps", "--dry-run"]),
                )
            }
            Self::Guests => programs::guests(workspace).map(|_| ()),
            Self::ControlPlane => test::control_plane(),
            Self::Lints => succeed(workspace.cargo().args([
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ])),
            Self::Docs => docs::run(workspace, &docs::DocsArgs::default()),
            Self::Tests => test::cargo_test(workspace, &test::TestArgs::default()),
        }
    }
}

/// Runs the steps; a failure does not hide the next.
pub(crate) fn run(workspace: &Workspace, args: &CiArgs) -> Result<ExitCode> {
    let steps = if args.steps.is_empty() {
        &ALL[..]
    } else {
        &args.steps
    };
    let mut done: Vec<(Step, Duration, Result<()>)> = Vec::new();
    for &step in steps {
        println!("ci: {} ...", step.name());
        let watch = Stopwatch::start();
        let outcome = step.run(workspace);
        let elapsed = watch.elapsed();
        println!("ci: {}", line(step, elapsed, &outcome));
        done.push((step, elapsed, outcome));
    }
    println!("\nci: summary");
    let mut failed = 0;
    for (step, elapsed, outcome) in &done {
        println!("ci: {}", line(*step, *elapsed, outcome));
        failed += usize::from(outcome.is_err());
    }
    if failed == 0 {
        println!("ci: all {} steps passed", done.len());
        Ok(ExitCode::SUCCESS)
    } else {
        println!("ci: {failed} of {} steps FAILED", done.len());
        Ok(ExitCode::FAILURE)
    }
}

fn line(step: Step, elapsed: Duration, outcome: &Result<()>) -> String {
    let seconds = elapsed.as_secs_f64();
    match outcome {
        Ok(()) => format!("{:<14} ok      {seconds:8.1} s", step.name()),
        Err(error) => format!("{:<14} FAILED  {seconds:8.1} s  {error:#}", step.name()),
    }
}
