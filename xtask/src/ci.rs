//! `cargo xtask ci`: every check, one after the other; what failed is said at the end again.

use crate::tools::{DENY, HAKARI};
use crate::workspace::{Workspace, succeed};
use crate::{docs, helm_engine, languages, node, programs, test};
use anyhow::{Result, ensure};
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
    /// Guests become components, and Helm's engine a module.
    Guests,
    /// The control plane is there, or built.
    ControlPlane,
    /// clippy, on everything.
    Lints,
    /// rustdoc.
    Docs,
    /// All tests that need no node.
    Tests,
    /// Examples in other languages.
    Languages,
    /// Chart and host on a real node.
    Node,
}

/// How a step ended, short of failing.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// What it checks holds.
    Passed,
    /// This machine cannot check it, for this reason.
    Skipped(String),
}

/// Cheap ones first: most mistakes are found in the first minute.
const ALL: [Step; 10] = [
    Step::Format,
    Step::Guests,
    Step::ControlPlane,
    Step::Lints,
    Step::Docs,
    Step::Tests,
    Step::Languages,
    Step::Dependencies,
    Step::Features,
    Step::Node,
];

impl Step {
    fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn run(self, workspace: &Workspace) -> Result<Outcome> {
        let done: Result<()> = match self {
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
            Self::Guests => programs::guests(workspace)
                .and_then(|_| helm_engine::build(workspace))
                .map(|_| ()),
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
            Self::Languages => {
                let left_out = languages::run(workspace, &languages::LanguagesArgs::default())?;
                if !left_out.is_empty() {
                    return Ok(Outcome::Skipped(left_out.join(", ")));
                }
                Ok(())
            }
            Self::Node => {
                if let Some(reason) = node::obstacle(workspace)? {
                    return Ok(Outcome::Skipped(reason));
                }
                node::test(workspace, &node::TestArgs::default()).and_then(|code| {
                    ensure!(code == ExitCode::SUCCESS, "its tests failed");
                    Ok(())
                })
            }
        };
        done.map(|()| Outcome::Passed)
    }
}

/// Runs the steps; a failure does not hide the next.
pub(crate) fn run(workspace: &Workspace, args: &CiArgs) -> Result<ExitCode> {
    let steps = if args.steps.is_empty() {
        &ALL[..]
    } else {
        &args.steps
    };
    let mut done: Vec<(Step, Duration, Result<Outcome>)> = Vec::new();
    for &step in steps {
        println!("ci: {} ...", step.name());
        let watch = Stopwatch::start();
        let outcome = step.run(workspace);
        let elapsed = watch.elapsed();
        println!("ci: {}", line(step, elapsed, &outcome));
        done.push((step, elapsed, outcome));
    }
    println!("\nci: summary");
    for (step, elapsed, outcome) in &done {
        println!("ci: {}", line(*step, *elapsed, outcome));
    }
    let outcomes: Vec<_> = done.iter().map(|(.., outcome)| outcome).collect();
    println!("ci: {}", total(&outcomes));
    let failed = outcomes.iter().any(|outcome| outcome.is_err());
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn line(step: Step, elapsed: Duration, outcome: &Result<Outcome>) -> String {
    let seconds = elapsed.as_secs_f64();
    match outcome {
        Ok(Outcome::Passed) => format!("{:<14} ok      {seconds:8.1} s", step.name()),
        Ok(Outcome::Skipped(reason)) => format!("{:<14} skipped: {reason}", step.name()),
        Err(error) => format!("{:<14} FAILED  {seconds:8.1} s  {error:#}", step.name()),
    }
}

/// The last line: what was not checked is never counted as passed.
fn total(outcomes: &[&Result<Outcome>]) -> String {
    let count = |is: fn(&Result<Outcome>) -> bool| outcomes.iter().filter(|one| is(one)).count();
    let failed = count(|outcome| outcome.is_err());
    let skipped = count(|outcome| matches!(outcome, Ok(Outcome::Skipped(_))));
    let all = outcomes.len();
    match (failed, skipped) {
        (0, 0) => format!("all {all} steps passed"),
        (0, _) => format!("{} of {all} steps passed, {skipped} skipped", all - skipped),
        (_, 0) => format!("{failed} of {all} steps FAILED"),
        (..) => format!("{failed} of {all} steps FAILED, {skipped} skipped"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skipped_step_is_neither_passed_nor_failed() {
        let passed = Ok(Outcome::Passed);
        let skipped = Ok(Outcome::Skipped("no root".to_owned()));
        let failed = Err(anyhow::anyhow!("broken"));
        assert_eq!(total(&[&passed, &passed]), "all 2 steps passed");
        assert_eq!(
            total(&[&passed, &skipped]),
            "1 of 2 steps passed, 1 skipped"
        );
        assert_eq!(
            total(&[&failed, &skipped, &passed]),
            "1 of 3 steps FAILED, 1 skipped"
        );
        let second = Duration::from_secs(1);
        assert_eq!(
            line(Step::Node, second, &skipped),
            "node           skipped: no root"
        );
        assert_eq!(
            line(Step::Node, second, &failed),
            "node           FAILED       1.0 s  broken"
        );
    }
}
