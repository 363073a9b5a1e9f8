//! Runs one case: decides twice, looks whether the manifest asks for the plan, compares.

use super::super::cases::{Case, Outcome};
use super::super::plan;
use super::super::subject::{Ended, Subject};
use super::check::{Check, Verdict};
use similar::TextDiff;

/// Unchanged lines around each difference.
const CONTEXT: usize = 3;

/// The case's verdict; with `update` what came of it is written where it is not what was expected.
pub(super) fn case(subject: &Subject, case: &Case, update: bool) -> anyhow::Result<Check> {
    let name = format!("case: {}", case.name);
    let outcome = match outcome(subject, case)? {
        Ok(outcome) => outcome,
        Err(why) => return Ok(Check::of(name, Err(why))),
    };
    if case.expected.as_ref() == Some(&outcome) {
        return Ok(Check::of(name, Ok(())));
    }
    if update {
        case.update(&outcome)?;
        return Ok(Check {
            name,
            verdict: Verdict::Updated,
        });
    }
    Ok(Check::of(name, Err(difference(case, &outcome)?)))
}

/// What comes of the case; an error is what may never come of one.
fn outcome(subject: &Subject, case: &Case) -> anyhow::Result<Result<Outcome, String>> {
    let decided = match subject.decide(&case.situation, true) {
        Err(why) => return Err(why.context(case.folder.display().to_string())),
        Ok(Err(Ended::Hook(error))) => return Ok(Ok(Outcome::Error((&error).into()))),
        Ok(Err(ended)) => return Ok(Err(ended.to_string())),
        Ok(Ok(decided)) => decided,
    };
    let outside = plan::outside(&decided.plan, subject.plugin.manifest());
    Ok(match outside.as_slice() {
        [] => Ok(Outcome::Plan(decided.plan)),
        _ => Err(format!(
            "the plan {}\ncure: ask for it in the attribute `plugin`, or leave it out; the host refuses such a plan whole",
            outside.join("\nthe plan ")
        )),
    })
}

/// A unified diff from what was expected to what came.
fn difference(case: &Case, outcome: &Outcome) -> anyhow::Result<String> {
    let now = outcome.text()?;
    let folder = case.folder.display();
    let Some(expected) = &case.expected else {
        return Ok(format!(
            "nothing says what is to come of it: {folder} has neither plan.yaml nor error.yaml\ncure: `--update` writes what came of it:\n{now}"
        ));
    };
    let expected_text = expected.text()?;
    let diff = TextDiff::from_lines(&expected_text, &now);
    let mut unified = diff.unified_diff();
    let unified = unified.context_radius(CONTEXT);
    let unified = unified.header(
        &format!("{folder}/{}", expected.file()),
        &format!("what came of it, as {}", outcome.file()),
    );
    Ok(format!(
        "{unified}cure: mend the plugin, or take this for right with `--update`"
    ))
}
