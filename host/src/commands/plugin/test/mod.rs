//! `kybern plugin test`: conformance of a component, then the author's cases.

mod check;
mod conformance;
mod run;

use super::bundle;
use super::cases::Case;
use super::subject::Subject;
use super::{cases, chain};
use crate::args::TestArgs;
use crate::terminal::say;
use check::{Check, Verdict};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where cases are if nothing is said.
const CASES: &str = "cases";
/// The first check; without it there are no others.
const LOADS: &str = "conformance: loads, with the hooks and imports that this host knows";

/// Prints one line for each check, what failed, and how many.
pub(super) async fn run(args: &TestArgs) -> anyhow::Result<ExitCode> {
    let component = match bundle::read(&args.wasm, &args.interpreter).await? {
        Ok(component) => component,
        Err(why) => return Ok(bundle::refused(&args.wasm, &why)),
    };
    let cases = match folder(args.cases.as_deref()) {
        Some(folder) => cases::read(&folder)?,
        None => Vec::new(),
    };
    let subject = match Subject::load(&component).await? {
        Ok(subject) => subject,
        Err(why) => {
            let loads = Check::of(LOADS, Err(chain(&why)));
            return Ok(summary(&[loads.told()]));
        }
    };
    let manifest = subject.plugin.manifest();
    say!(
        "{} {}, {}\n",
        manifest.name,
        manifest.version,
        component.digest
    );
    let mut checks = vec![Check::of(LOADS, Ok(())).told()];
    for check in conformance::checks(&subject, &component).await? {
        checks.push(check.told());
    }
    for case in &cases {
        checks.push(run::case(&subject, case, args.update)?.told());
    }
    Ok(summary(&checks))
}

/// These cases and nothing else.
pub(super) fn replay(subject: &Subject, cases: &[Case]) -> anyhow::Result<ExitCode> {
    let checks = cases
        .iter()
        .map(|case| Ok(run::case(subject, case, false)?.told()));
    let checks: Vec<Check> = checks.collect::<anyhow::Result<_>>()?;
    Ok(summary(&checks))
}

/// The folder that is named, or the one that is there.
fn folder(named: Option<&Path>) -> Option<PathBuf> {
    let usual = || Some(PathBuf::from(CASES)).filter(|usual| usual.is_dir());
    named.map(Path::to_owned).or_else(usual)
}

/// What failed, and the last line.
fn summary(checks: &[Check]) -> ExitCode {
    let failed: Vec<&Check> = checks.iter().filter(|check| check.failed()).collect();
    if !failed.is_empty() {
        say!("\nfailures:");
    }
    for check in &failed {
        if let Verdict::Failed(why) = &check.verdict {
            say!("\n---- {} ----\n{}", check.name, why.trim_end());
        }
    }
    let count =
        |wanted: fn(&Verdict) -> bool| checks.iter().filter(|check| wanted(&check.verdict)).count();
    let updated = match count(|verdict| *verdict == Verdict::Updated) {
        0 => String::new(),
        updated => format!("; {updated} updated"),
    };
    let result = if failed.is_empty() { "ok" } else { "FAILED" };
    say!(
        "\ntest result: {result}. {} passed; {} failed{updated}",
        count(|verdict| *verdict == Verdict::Passed),
        failed.len()
    );
    ExitCode::from(u8::from(!failed.is_empty()))
}
