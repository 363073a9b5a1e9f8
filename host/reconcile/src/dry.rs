//! A dry pass: everything up to the writes.

use crate::act::Actor;
use crate::effects;
use crate::error::EngineError;
use crate::finding::Finding;
use crate::finish::wanted_status;
use crate::key::CrKey;
use crate::pass::{self, Located};
use crate::planning::{self, Unplanned};
use crate::report::{DryPass, Ending, Verdict};
use crate::sensing;
use crate::shared::Shared;
use crate::status::StatusWrite;

/// What a pass would do now.
pub(crate) async fn run(shared: &Shared, key: &CrKey) -> Result<DryPass, EngineError> {
    let cx = match pass::locate(shared, key) {
        Located::Found(cx) => cx,
        Located::Gone => return Err(EngineError::NoSuchObject(key.to_string())),
        Located::NotReady(message, _) => return Err(EngineError::NotReady(message)),
    };
    let memory = shared
        .memory(key)
        .filter(|memory| memory.uid == cx.owner.uid)
        .unwrap_or_default();
    let mut dry = DryPass {
        object: cx.object.clone(),
        answers: Vec::new(),
        plan: None,
        offences: Vec::new(),
        steps: Vec::new(),
        effects: Vec::new(),
        ending: Ending::Succeeded,
        status_changes: false,
        state_changes: false,
    };
    if !cx.row.deleting()
        && let Some(why) = sensing::pinned_elsewhere(&cx.row, cx.active())
    {
        dry.ending = Finding::unknown_revision(why).ending;
        return Ok(dry);
    }
    dry.answers = match pass::ask(shared, &cx).await {
        Ok(answers) => answers,
        Err(finding) => {
            dry.ending = finding.ending;
            return Ok(dry);
        }
    };
    let actor = Actor::new(&shared.deps, cx.active(), &cx.owner);
    let record = match memory.ledger.recall(&actor, &cx).await {
        Ok(recalled) => recalled.record,
        Err(finding) => {
            dry.ending = finding.ending;
            return Ok(dry);
        }
    };
    let plan = match pass::ask_plan(shared, &cx, &dry.answers, &record).await {
        Ok((plan, _)) => plan,
        Err(finding) => {
            dry.ending = finding.ending;
            return Ok(dry);
        }
    };
    let planned = planning::plan(
        &plan,
        &shared.deps,
        cx.active(),
        &cx.owner,
        &cx.row,
        &cx.snapshot,
        &memory,
        &record,
        false,
    );
    match planned {
        Ok(planned) => {
            dry.steps = planned.steps();
            dry.effects = effects::told(shared, &cx, &planned.checked.effects, &record.outcomes);
            let state = planned.checked.state.as_ref();
            dry.state_changes = state.is_some_and(|state| !record.says(state));
            let quiet = dry
                .steps
                .iter()
                .all(|step| matches!(step.verdict, Verdict::Converged | Verdict::Kept));
            if !planned.unwatched.is_empty() {
                dry.ending = Finding::not_ready("a child's kind is not watched yet").ending;
            } else if planned.held > 0 {
                dry.ending = Finding::held("too many children would be pruned").ending;
            } else if quiet {
                dry.ending = Ending::Unchanged;
            }
            // Whether unready children would be waited for shows only after acting: a CR that is not
            // Ready keeps its status here.
            let waits = cx
                .object
                .pointer("/status/conditions")
                .and_then(serde_json::Value::as_array)
                .into_iter()
                .flatten()
                .any(|c| {
                    c.get("type").is_some_and(|t| t == "Ready")
                        && c.get("status").is_some_and(|s| s != "True")
                });
            if !waits && let Some(health) = Finding::succeeded().health {
                let status = planned.checked.status.as_ref();
                dry.status_changes = matches!(
                    wanted_status(&cx, &memory, status, &health),
                    Some(StatusWrite::Needed(..))
                );
            }
        }
        Err(Unplanned::TooOld(expired)) => {
            dry.ending = Finding::not_ready(expired.to_string()).ending;
        }
        Err(Unplanned::Offences(offences)) => {
            dry.ending = Finding::of_offences(&offences).ending;
            dry.offences = offences.into_iter().map(|o| o.message).collect();
        }
    }
    dry.plan = Some(plan);
    Ok(dry)
}
