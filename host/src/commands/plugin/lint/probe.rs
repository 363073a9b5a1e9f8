//! What the plugin does in the smallest situations, and in those of the author's cases.

use super::super::cases::Case;
use super::super::situation::Situation;
use super::super::subject::{Ended, Subject};
use super::super::{minimal, plan};
use super::finding::Finding;
use kybern_interface::{Manifest, Plan};
use kybern_plugin::CallError;

/// Another time than that of any situation.
const LATER: &str = "2031-07-15T11:22:33Z";

/// The smallest situations, and those of the author's cases, each with what it is called.
pub(super) fn situations(manifest: &Manifest, cases: &[Case]) -> Vec<(String, Situation)> {
    let mut situations: Vec<(String, Situation)> = Vec::new();
    for object in minimal::objects(manifest) {
        let deleted = minimal::deleted(&object);
        situations.push(("the smallest object".to_owned(), Situation::new(object)));
        situations.push((
            "the smallest object, deleted".to_owned(),
            Situation::new(deleted),
        ));
    }
    for case in cases {
        situations.push((format!("case {}", case.name), case.situation.clone()));
    }
    situations
}

/// Decides twice in each situation, and once more at another time.
pub(super) fn findings(
    subject: &Subject,
    manifest: &Manifest,
    situations: &[(String, Situation)],
) -> anyhow::Result<Vec<Finding>> {
    if situations.is_empty() {
        return Ok(vec![Finding::warning(
            "not-probed",
            "decide",
            "no situation could be made up from the definition's schema, so that nothing was decided",
            "write cases, and name their folder with --cases",
        )]);
    }
    let mut found: Vec<Finding> = Vec::new();
    for (place, situation) in situations {
        for finding in probe(subject, manifest, place, situation)? {
            let known =
                |other: &Finding| other.code == finding.code && other.message == finding.message;
            if !found.iter().any(known) {
                found.push(finding);
            }
        }
    }
    Ok(found)
}

fn probe(
    subject: &Subject,
    manifest: &Manifest,
    place: &str,
    situation: &Situation,
) -> anyhow::Result<Vec<Finding>> {
    let decided = match subject.decide(situation, true)? {
        Ok(decided) => decided,
        Err(ended) => return Ok(of_end(place, &ended).into_iter().collect()),
    };
    let outside = plan::outside(&decided.plan, manifest)
        .into_iter()
        .map(|what| {
            Finding::error(
                "outside-manifest",
                place,
                format!("the plan {what}"),
                "ask for it in the attribute `plugin`, or leave it out; the host refuses such a plan whole",
            )
        });
    let mut found: Vec<Finding> = outside.collect();
    let later = Situation {
        now: LATER.to_owned(),
        ..situation.clone()
    };
    if let Ok(second) = subject.decide(&later, false)?
        && stands_still(&decided.plan, &second.plan)
    {
        found.push(Finding::error(
            "now-without-requeue",
            place,
            "the plan depends on `now`, but nothing makes the host decide again when time goes by",
            "set a requeue time: Plan::requeue_after",
        ));
    }
    Ok(found)
}

/// Whether time alone makes another plan, and nothing asks for another pass when it has gone by.
fn stands_still(plan: &Plan, later: &Plan) -> bool {
    plan != later && plan.requeue_after_ms.is_none()
}

/// A hook's error is an answer like any other.
fn of_end(place: &str, ended: &Ended) -> Option<Finding> {
    let (code, cure) = match ended {
        Ended::Skipped | Ended::Hook(_) => return None,
        Ended::Crashed(CallError::NotPure { .. }) => (
            "not-pure",
            "make the plan from the situation alone: no clock, no randomness, no order of a hash map",
        ),
        Ended::Crashed(CallError::Trap { .. }) => (
            "trap",
            "return a HookError instead of a panic: `?`, get, checked arithmetic",
        ),
        Ended::Crashed(_) => (
            "over-limits",
            "use less, or raise spec.limits in the registration",
        ),
        Ended::NoPlan(_) => (
            "no-plan",
            "return what wit/schema/plan.json describes; the SDK does",
        ),
    };
    Some(Finding::error(code, place, ended.to_string(), cure))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_plan_that_changes_with_time_asks_for_another_pass() {
        let plan = |at: &str, requeue: Option<u64>| -> Plan {
            let actions = json!([{ "type": "status", "status": { "at": at } }]);
            let plan =
                json!({ "children": "complete", "actions": actions, "requeueAfterMs": requeue });
            serde_json::from_value(plan).unwrap()
        };
        assert!(stands_still(&plan("1", None), &plan("2", None)));
        assert!(!stands_still(&plan("1", None), &plan("1", None)));
        assert!(!stands_still(
            &plan("1", Some(1_000)),
            &plan("2", Some(1_000))
        ));
    }

    #[test]
    fn a_hooks_error_is_no_finding_and_a_crash_is() {
        let error = kybern_interface::HookError::invalid("spec", "no");
        assert_eq!(of_end("here", &Ended::Hook(error)), None);
        let crash = |error| of_end("here", &Ended::Crashed(error)).unwrap().code;
        let text = || "x".to_owned();
        assert_eq!(crash(CallError::NotPure { difference: text() }), "not-pure");
        assert_eq!(crash(CallError::Trap { message: text() }), "trap");
        assert_eq!(crash(CallError::OutOfMemory { limit: 1 }), "over-limits");
        assert_eq!(
            of_end("here", &Ended::NoPlan(text())).unwrap().code,
            "no-plan"
        );
    }
}
