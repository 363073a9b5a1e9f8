//! The statements of a plan, made the actions that they stand for before anything else looks at it.
//!
//! # Contract
//! Checks, grants, diff, shadow and explanations see no statement: only what it asks for each
//! object. Patches of one object by several statements are one patch; where they differ about a
//! field, the plan is refused.

use crate::finding::Finding;
use crate::pass::Context;
use crate::shared::Shared;
use crate::traits::ExpandRequest;
use kybern_interface::{Action, PatchObject, Plan};
use kybern_table::ScanRead;
use serde_json::Value;

/// The plan without statements, and what they read; none where the plan has no statement.
pub(crate) async fn expand(
    shared: &Shared,
    cx: &Context,
    mut plan: Plan,
) -> Result<(Plan, Option<Vec<ScanRead>>), Finding> {
    let most = shared.deps.config.plan.actions;
    if !plan
        .actions
        .iter()
        .any(|action| matches!(action, Action::Sql(_)))
    {
        return Ok((plan, None));
    }
    let mut reads = Vec::new();
    let mut actions = Vec::new();
    let mut patches: Vec<PatchObject> = Vec::new();
    for (at, action) in plan.actions.into_iter().enumerate() {
        let Action::Sql(write) = action else {
            actions.push(action);
            continue;
        };
        let name = format!("of action {at} (sql)");
        let request = ExpandRequest {
            active: cx.active(),
            object: &cx.object,
            name: &name,
            write: &write,
            snapshot: &cx.snapshot,
        };
        let expanded = shared.deps.sense.expand(request).await;
        let expanded = expanded.map_err(|error| Finding::of_sense(&error))?;
        reads.extend(expanded.read_set.scans);
        if actions.len() + patches.len() + expanded.actions.len() > most {
            return Err(Finding::refused(format!(
                "with what the statement {name} asks for the plan has more than {most} actions: write a narrower WHERE"
            )));
        }
        for action in expanded.actions {
            match action {
                Action::Patch(patch) => {
                    join(&mut patches, patch, &name).map_err(Finding::refused)?
                }
                other => actions.push(other),
            }
        }
    }
    actions.extend(patches.into_iter().map(Action::Patch));
    plan.actions = actions;
    Ok((plan, Some(reads)))
}

/// Adds a patch to those of other statements. The error is a sentence for people.
fn join(patches: &mut Vec<PatchObject>, new: PatchObject, name: &str) -> Result<(), String> {
    let same =
        |old: &&mut PatchObject| old.target == new.target && old.subresource == new.subresource;
    let Some(old) = patches.iter_mut().find(same) else {
        patches.push(new);
        return Ok(());
    };
    merge(&mut old.patch, &new.patch, "").map_err(|path| {
        let target = &new.target;
        format!(
            "the statement {name} and one before it give {} {}/{} different values of {path}",
            target.kind, target.namespace, target.name
        )
    })
}

/// Puts the fields of one patch into another. The error is a field about which they differ.
fn merge(into: &mut Value, from: &Value, path: &str) -> Result<(), String> {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                let path = match path {
                    "" => key.clone(),
                    path => format!("{path}.{key}"),
                };
                match into.get_mut(key) {
                    Some(old) => merge(old, value, &path)?,
                    None => drop(into.insert(key.clone(), value.clone())),
                }
            }
            Ok(())
        }
        (into, from) if into == from => Ok(()),
        _ => Err(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn patches_of_one_object_are_one_unless_they_differ() {
        let mut into = json!({"spec": {"a": 1}, "metadata": {"labels": {"x": "y"}}});
        merge(
            &mut into,
            &json!({"spec": {"b": [1]}, "metadata": {"labels": {"x": "y"}}}),
            "",
        )
        .unwrap();
        assert_eq!(
            into,
            json!({"spec": {"a": 1, "b": [1]}, "metadata": {"labels": {"x": "y"}}})
        );
        assert_eq!(
            merge(&mut into, &json!({"spec": {"b": [2]}}), ""),
            Err("spec.b".to_owned())
        );
        assert_eq!(
            merge(&mut into, &json!({"spec": {"a": {"c": 1}}}), ""),
            Err("spec.a".to_owned())
        );
    }
}
