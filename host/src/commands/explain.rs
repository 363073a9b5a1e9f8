//! `kybern explain`: a pass over one custom resource that writes nothing, told step by step.

use super::dry::{self, Asked, Dry};
use crate::args::ExplainArgs;
use crate::asking::{Host, HostError};
use crate::terminal::say;
use kybern_interface::Plan;
use kybern_reconcile::{ApplyReason, DryPass, Ending, Verdict};
use serde_json::Value;
use std::process::ExitCode;
use std::sync::Arc;

/// Explains the CR's state from the cluster as it is now, or the last pass of a running host.
pub(crate) async fn run(args: ExplainArgs) -> anyhow::Result<ExitCode> {
    let (namespace, name) = args
        .object
        .split_once('/')
        .unwrap_or(("", args.object.as_str()));
    if let Some(socket) = &args.host {
        let host = Host::at(socket.as_deref());
        return match host.last(&args.plugin, namespace, name).await {
            Ok(text) => {
                crate::terminal::write(&text);
                Ok(ExitCode::SUCCESS)
            }
            // It is for people, with all that belongs to it.
            Err(HostError::Refused { text, .. }) => {
                eprint!("{text}");
                Ok(ExitCode::FAILURE)
            }
            Err(error) => Err(error.into()),
        };
    }
    let cluster = crate::cluster::connect(&args.cluster).await?;
    let registration = dry::registration(&cluster, &args.plugin).await?;
    say!("Registration {}", registration.name());
    for condition in &registration.status.conditions {
        say!(
            "  {}={} {}: {}",
            condition.kind,
            condition.status,
            condition.reason,
            condition.message
        );
    }
    let asked = Asked {
        cluster: &cluster,
        registry: &args.registry,
        registration,
        component: None,
        object: &args.object,
    };
    let dry = Dry::prepare(asked, |guests| Arc::new(guests)).await?;
    say!("  digest {}", dry.digest);
    let pass = dry.pass().await?;
    print(&pass)?;
    Ok(ExitCode::SUCCESS)
}

/// The pass, for people.
fn print(pass: &DryPass) -> anyhow::Result<()> {
    let conditions = pass
        .object
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    say!("Conditions");
    for condition in conditions.into_iter().flatten() {
        let text = |key: &str| {
            condition
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        say!(
            "  {}={} {}: {}",
            text("type"),
            text("status"),
            text("reason"),
            text("message")
        );
    }
    say!("Answers");
    for answer in &pass.answers {
        say!(
            "  {}: {} rows, fingerprint {:032x}",
            answer.name,
            answer.rows,
            answer.fingerprint
        );
        for scan in &answer.read_set.scans {
            say!("    reads {} by {:?}", scan.table, scan.keys);
        }
    }
    if let Some(plan) = &pass.plan {
        say!("Plan");
        for line in serde_saphyr::to_string(&redacted(plan)?)?.lines() {
            say!("  {line}");
        }
    }
    for offence in &pass.offences {
        say!("Refused: {offence}");
    }
    say!("Now");
    for step in &pass.steps {
        say!("  {}: {}", step.target, verdict(&step.verdict));
    }
    for effect in &pass.effects {
        say!("  {effect}");
    }
    if pass.status_changes {
        say!("  status: would be written");
    }
    if pass.state_changes {
        say!("  state: would be written");
    }
    match &pass.ending {
        Ending::Failed { reason, message } | Ending::Waiting { reason, message } => {
            say!("  {reason}: {message}");
        }
        _ => {}
    }
    Ok(())
}

/// The plan without the values of Secrets; what is remembered goes into one, and what effects get
/// may be as secret.
fn redacted(plan: &Plan) -> anyhow::Result<Value> {
    let mut plan = serde_json::to_value(plan)?;
    let actions = plan.get_mut("actions").and_then(Value::as_array_mut);
    for action in actions.into_iter().flatten() {
        for field in ["state", "input"] {
            if let Some(value) = action.get_mut(field) {
                *value = Value::from("<redacted>");
            }
        }
        let target = action.pointer("/target/kind").cloned();
        let (object, kind) = match action.get_mut("object") {
            Some(object) => {
                let kind = object.get("kind").cloned();
                (object, kind)
            }
            None => match action.get_mut("patch") {
                Some(patch) => (patch, target),
                None => continue,
            },
        };
        if kind != Some(Value::from("Secret")) {
            continue;
        }
        for field in ["data", "stringData"] {
            let values = object.get_mut(field).and_then(Value::as_object_mut);
            for value in values.into_iter().flat_map(|map| map.values_mut()) {
                *value = Value::from("<redacted>");
            }
        }
    }
    Ok(plan)
}

/// What would be done with an object.
fn verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Create => "would be created".into(),
        Verdict::Apply(ApplyReason::Intent) => "would be applied: the intent changed".into(),
        Verdict::Apply(ApplyReason::Drift(paths)) => {
            format!("would be applied: changed by others: {}", paths.join(", "))
        }
        Verdict::Apply(ApplyReason::NotCovered(paths)) => format!(
            "would be applied: not ours on the live object: {}",
            paths.join(", ")
        ),
        Verdict::Apply(ApplyReason::Former) => {
            "would be applied: a former operator's fields are taken over".into()
        }
        Verdict::Apply(ApplyReason::Forced) => "would be applied: asked for by annotation".into(),
        Verdict::Converged => "is as intended".into(),
        Verdict::Kept => "is left alone".into(),
        Verdict::Adopt => "would be taken over".into(),
        Verdict::NotOurs { whose } => format!("is not ours: {whose}"),
        Verdict::WaitingForDeletion => "is being deleted; created again afterwards".into(),
        Verdict::Prune => "would be deleted: the plan no longer names it".into(),
        Verdict::Orphan => "would lose its owner and stay".into(),
        Verdict::Held => "would be deleted, but too many at once: held".into(),
        Verdict::Delete => "would be deleted: the plan says so".into(),
        Verdict::Patch => "would be patched".into(),
        Verdict::Absent => "is not there: it is patched when it is".into(),
        Verdict::Undo => "its patch would be taken back: the plan no longer has it".into(),
        Verdict::Evict => "would be evicted".into(),
        Verdict::Scale(replicas) => format!("shall have {replicas} replicas"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_of_secrets_are_never_printed() {
        let plan: Plan = serde_json::from_value(json!({
            "children": "complete",
            "actions": [
                { "type": "apply", "object": { "kind": "Secret", "data": { "a": "aGlkZGVu" }, "stringData": { "b": "hidden" } } },
                { "type": "apply", "object": { "kind": "ConfigMap", "data": { "c": "shown" } } },
                { "type": "setState", "state": { "token": "hidden" } },
                { "type": "patch", "target": { "version": "v1", "kind": "Secret", "name": "s" }, "patch": { "data": { "a": "aGlkZGVu" } } },
                { "type": "effect", "name": "e", "key": "k", "input": { "token": "hidden" } },
            ],
        }))
        .unwrap();
        let text = redacted(&plan).unwrap().to_string();
        assert!(
            !text.contains("hidden") && !text.contains("aGlkZGVu"),
            "{text}"
        );
        assert!(text.contains("shown"), "{text}");
    }
}
