//! Plans for people: the form in which they are shown and kept, and whether the manifest asks for them.

use super::registration;
use kybern_interface::{Action, GrantVerb, Gvk, Manifest, Plan, SubresourceKind, Target};
use serde_json::{Map, Value, json};

/// The plan without what a reader of plans fills in by itself; fields in the order of their names.
///
/// Two plans have one form exactly if the host takes them for the same.
pub(super) fn form(plan: &Plan) -> anyhow::Result<Value> {
    let mut form = serde_json::to_value(plan)?;
    if let Some(plan) = form.as_object_mut() {
        drop_equal(plan, &json!({ "deletion": "notDeleting" }));
    }
    let actions = form.get_mut("actions").and_then(Value::as_array_mut);
    for action in actions
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        let kind = action
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        drop_equal(action, &defaults(kind));
        if let Some(target) = action.get_mut("target").and_then(Value::as_object_mut) {
            drop_equal(target, &json!({ "group": "", "namespace": "" }));
        }
    }
    Ok(form)
}

/// The plan that has this form.
pub(super) fn of_form(form: &Value) -> Result<Plan, String> {
    serde_json::from_value(form.clone()).map_err(|error| error.to_string())
}

fn drop_equal(fields: &mut Map<String, Value>, defaults: &Value) {
    fields.retain(|name, value| defaults.get(name) != Some(&*value));
}

/// What an action of this type is taken to say where it says nothing.
fn defaults(action: &str) -> Value {
    match action {
        "apply" => json!({
            "mode": "managed", "wave": 0, "ready": false, "onImmutable": "fail", "adopt": "never",
            "prune": "delete", "duringDeletion": false,
        }),
        "patch" => json!({ "kind": "apply", "wave": 0 }),
        "delete" => json!({ "propagation": "Background", "wave": 0 }),
        "event" => json!({ "severity": "Normal" }),
        "effect" => json!({ "input": null, "phase": "normal" }),
        "sql" => json!({ "params": [] }),
        "createSubresource" => json!({ "body": null }),
        _ => json!({}),
    }
}

/// What the plan would do and a host refuses, with the plan whole: what the manifest does not ask
/// for, and what hosts of this version do not do. One line each.
pub(super) fn outside(plan: &Plan, manifest: &Manifest) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for action in &plan.actions {
        if let Some(line) = unasked(action, manifest)
            && !lines.contains(&line)
        {
            lines.push(line);
        }
    }
    lines
}

fn unasked(action: &Action, manifest: &Manifest) -> Option<String> {
    match action {
        Action::Apply(apply) => verb(manifest, &of_object(&apply.object), GrantVerb::Apply),
        Action::Patch(patch) => verb(manifest, &of_target(&patch.target), GrantVerb::Patch),
        Action::Delete(delete) => verb(manifest, &of_target(&delete.target), GrantVerb::Delete),
        Action::Effect(effect) => {
            let known = manifest.effects.iter().any(|ask| ask.name == effect.name);
            (!known).then(|| {
                format!(
                    "runs the effect `{}`, which the manifest does not name",
                    effect.name
                )
            })
        }
        Action::SetState(_) => {
            (!manifest.state).then(|| "keeps state, which the manifest does not ask for".to_owned())
        }
        Action::CreateSubresource(action) if action.subresource == SubresourceKind::Token => {
            Some("asks for a token, which this version of the host does not do".to_owned())
        }
        Action::CreateSubresource(action) => {
            let name = match action.subresource {
                SubresourceKind::Eviction => "eviction",
                SubresourceKind::Scale => "scale",
                SubresourceKind::Token => "token",
            };
            subresource(manifest, &of_target(&action.target), name)
        }
        Action::Sql(_) => {
            Some("writes with SQL, which this version of the host does not do".to_owned())
        }
        Action::Status { .. } | Action::Event { .. } => None,
    }
}

fn verb(manifest: &Manifest, gvk: &Gvk, verb: GrantVerb) -> Option<String> {
    let mut asks = manifest.writes.iter();
    let asked = asks.any(|ask| of_ask(ask) == *gvk && ask.verbs.contains(&verb));
    let verb = format!("{verb:?}").to_lowercase();
    (!asked).then(|| {
        format!(
            "would {verb} {}, which the manifest does not ask for",
            shown(gvk)
        )
    })
}

fn subresource(manifest: &Manifest, gvk: &Gvk, name: &str) -> Option<String> {
    let mut asks = manifest.writes.iter();
    let asked = asks.any(|ask| of_ask(ask) == *gvk && ask.subresources.iter().any(|s| s == name));
    (!asked).then(|| {
        format!(
            "would write {name} of {}, which the manifest does not ask for",
            shown(gvk)
        )
    })
}

fn shown(gvk: &Gvk) -> String {
    registration::kind(&gvk.group, &gvk.version, &gvk.kind)
}

fn of_ask(ask: &kybern_interface::WriteAsk) -> Gvk {
    Gvk::new(&*ask.group, &*ask.version, &*ask.kind)
}

fn of_target(target: &Target) -> Gvk {
    Gvk::new(&*target.group, &*target.version, &*target.kind)
}

fn of_object(object: &Value) -> Gvk {
    let text = |field: &str| {
        object
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    Gvk::from_api_version(text("apiVersion"), text("kind"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_action() -> Plan {
        let target = json!({ "version": "v1", "kind": "Pod", "name": "a", "uid": "1" });
        serde_json::from_value(json!({
            "children": { "partial": "not yet" },
            "actions": [
                { "type": "apply", "object": { "apiVersion": "v1", "kind": "ConfigMap", "mode": "managed" } },
                { "type": "apply", "object": { "apiVersion": "v1", "kind": "Secret" }, "wave": 1, "mode": "createOnce" },
                { "type": "patch", "target": target, "patch": {} },
                { "type": "delete", "target": target },
                { "type": "status", "status": { "wave": 0 } },
                { "type": "event", "reason": "R", "message": "m" },
                { "type": "effect", "name": "mail", "key": "k" },
                { "type": "sql", "statement": "DELETE" },
                { "type": "setState", "state": null },
                { "type": "createSubresource", "target": target, "subresource": "eviction" },
            ],
        }))
        .unwrap()
    }

    #[test]
    fn the_form_says_what_the_plan_says_and_no_more() {
        let plan = every_action();
        let form = form(&plan).unwrap();
        assert_eq!(of_form(&form).unwrap(), plan);
        insta::assert_snapshot!(serde_saphyr::to_string(&form).unwrap());
    }

    #[test]
    fn what_the_manifest_does_not_ask_for_is_told() {
        let manifest = |writes: Value, more: Value| -> Manifest {
            let mut manifest = json!({ "name": "a", "version": "1.0.0", "world": kybern_interface::WORLD, "writes": writes });
            manifest
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().cloned().unwrap());
            serde_json::from_value(manifest).unwrap()
        };
        let told = outside(&every_action(), &manifest(json!([]), json!({})));
        insta::assert_snapshot!(told.join("\n"));
        let asked = manifest(
            json!([
                { "version": "v1", "kind": "ConfigMap", "verbs": ["apply"] },
                { "version": "v1", "kind": "Secret", "verbs": ["apply"] },
                { "version": "v1", "kind": "Pod", "verbs": ["patch", "delete"], "subresources": ["eviction"] },
            ]),
            json!({ "state": true, "effects": [{ "name": "mail" }] }),
        );
        assert_eq!(
            outside(&every_action(), &asked),
            ["writes with SQL, which this version of the host does not do"]
        );
    }
}
