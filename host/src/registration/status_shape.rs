//! Which of the conditions that a manifest speaks of the kinds' schemas keep.
//!
//! *Why.* The API server drops without a word what a schema does not name. A condition that nobody
//! will ever see is written in vain, and `helm --wait` waits for it for ever.
//!
//! *Contract.* A kind without a CustomResourceDefinition in the tables (one of an aggregated API, or
//! one that was installed just now) is taken to keep what the manifest says.

use kybern_interface::{ConditionsShape, StatusShape};
use kybern_reconcile::Primary;
use kybern_table::Snapshot;
use serde_json::Value;

/// What the host writes into each condition.
const CONDITION: [&str; 5] = ["type", "status", "reason", "message", "lastTransitionTime"];

/// What all kinds keep of what is asked for, and for each kind what it does not.
pub(super) fn kept(
    asked: &StatusShape,
    primaries: &[Primary],
    snapshot: &Snapshot,
) -> (StatusShape, Vec<String>) {
    let mut kept = asked.clone();
    let mut missing = Vec::new();
    for primary in primaries {
        let of = match primary.facts.has_status {
            true => schema(primary, snapshot).map(|schema| of_schema(&schema)),
            false => Some(StatusShape::default()),
        };
        let Some(of) = of else { continue };
        let mut lost = Vec::new();
        if asked.observed_generation && !of.observed_generation {
            kept.observed_generation = false;
            lost.push("status.observedGeneration".to_owned());
        }
        if asked.conditions == ConditionsShape::Standard && of.conditions != asked.conditions {
            kept.conditions = of.conditions;
            lost.push(format!("status.conditions with {}", CONDITION.join(", ")));
        }
        if !lost.is_empty() {
            let why = match primary.facts.has_status {
                true => "its schema does not keep",
                false => "it has no status subresource, thus not",
            };
            missing.push(format!("{}: {why} {}", primary.gvk, lost.join(" and ")));
        }
    }
    (kept, missing)
}

/// The schema of this version in its CustomResourceDefinition.
fn schema(primary: &Primary, snapshot: &Snapshot) -> Option<Value> {
    let name = format!("{}.{}", primary.facts.plural, primary.gvk.group);
    let crds = crate::kinds::crd_table().key;
    let row = crate::tables::row(snapshot, &crds, "", &name).ok()??;
    let crd = row.value();
    let versions = crd.pointer("/spec/versions")?.as_array()?;
    let version = versions.iter().find(|version| {
        version.get("name").and_then(Value::as_str) == Some(&primary.gvk.version)
    })?;
    version.pointer("/schema/openAPIV3Schema").cloned()
}

fn of_schema(schema: &Value) -> StatusShape {
    let Some(status) = property(schema, "status") else {
        return StatusShape::default();
    };
    let conditions = property(status, "conditions").is_some_and(|conditions| {
        let items = conditions.get("items").unwrap_or(conditions);
        let kept = |field: &&str| property(items, field).is_some();
        CONDITION.iter().all(kept)
    });
    StatusShape {
        conditions: match conditions {
            true => ConditionsShape::Standard,
            false => ConditionsShape::default(),
        },
        observed_generation: property(status, "observedGeneration").is_some(),
    }
}

/// The schema of a property, or of what keeps it whatever it is.
fn property<'s>(schema: &'s Value, name: &str) -> Option<&'s Value> {
    let named = schema.get("properties").and_then(|all| all.get(name));
    let keeps = |key: &str| {
        schema
            .get(key)
            .is_some_and(|keeps| *keeps == Value::Bool(true))
    };
    named.or_else(|| {
        let all = keeps("x-kubernetes-preserve-unknown-fields");
        all.then_some(schema)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shape(status: Value) -> (ConditionsShape, bool) {
        let of = of_schema(&json!({ "properties": { "status": status } }));
        (of.conditions, of.observed_generation)
    }

    fn conditions(fields: &[&str]) -> Value {
        let properties: serde_json::Map<String, Value> = fields
            .iter()
            .map(|field| ((*field).to_owned(), json!({ "type": "string" })))
            .collect();
        json!({ "properties": {
            "conditions": { "type": "array", "items": { "properties": properties } },
        } })
    }

    #[test]
    fn what_a_schema_names_or_preserves_is_kept() {
        let (none, standard) = (ConditionsShape::default(), ConditionsShape::Standard);
        assert_eq!(shape(conditions(&CONDITION)), (standard, false));
        assert_eq!(shape(conditions(&["type", "status"])), (none, false));
        assert_eq!(shape(json!({})), (none, false));
        let counted = json!({ "properties": { "observedGeneration": { "type": "integer" } } });
        assert_eq!(shape(counted), (none, true));
        let free = json!({ "x-kubernetes-preserve-unknown-fields": true });
        assert_eq!(shape(free.clone()), (standard, true));
        let inside = json!({ "properties": { "conditions": { "items": free.clone() } } });
        assert_eq!(shape(inside), (standard, false));
        let whole = of_schema(&free);
        assert_eq!(whole.conditions, standard);
        assert_eq!(
            of_schema(&json!({ "properties": {} })),
            StatusShape::default()
        );
    }
}
