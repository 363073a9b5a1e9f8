//! An object that the host itself keeps, outside any pass: whether it is as wanted, without a write.
//!
//! The same question as after a restart with a child: the hash of what is wanted is on the object,
//! and our fields still cover all of it.

use crate::fields;
use crate::intent::{hash_of, named, set_metadata};
use kybern_interface::names;
use serde_json::Value;

/// What is wanted of an object, marked with its hash.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    object: Value,
    hash: String,
}

impl Kept {
    /// Marks the object.
    pub fn new(mut object: Value) -> Self {
        let hash = hash_of(&object, &[]);
        set_metadata(&mut object, "annotations", names::INTENT, &hash);
        Self { object, hash }
    }

    /// What is sent.
    pub fn object(&self) -> &Value {
        &self.object
    }

    /// Whether the live object, as the API server has it with its managedFields, is as wanted.
    pub fn holds(&self, live: &Value, manager: &str) -> bool {
        let marked = live
            .pointer("/metadata/annotations")
            .and_then(|annotations| annotations.get(names::INTENT))
            .and_then(Value::as_str);
        marked == Some(&self.hash)
            && fields::owned_by(live, manager, "").is_some_and(|ours| {
                let wanted = named(self.object.clone());
                ours.cover(&wanted, live).missing.is_empty()
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wanted(schema: &str) -> Kept {
        Kept::new(json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": { "name": "apps.example.com" },
            "spec": { "group": "example.com", "versions": [{ "name": "v1", "schema": schema }] },
        }))
    }

    /// As the API server answers: defaults filled in, fields under the manager's name.
    fn live(kept: &Kept, versions_of: &str) -> Value {
        let mut live = kept.object().clone();
        live["spec"]["conversion"] = json!({ "strategy": "None" });
        live["metadata"]["uid"] = json!("u");
        let entry = |manager: &str, fields: Value| json!({ "manager": manager, "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": fields });
        let ours = json!({
            "f:metadata": { "f:annotations": { "f:kybern.dev/intent": {} } },
            "f:spec": { "f:group": {} },
        });
        let versions = json!({ "f:spec": { "f:versions": {} } });
        live["metadata"]["managedFields"] =
            json!([entry("kybern/a", ours), entry(versions_of, versions)]);
        live
    }

    #[test]
    fn what_is_as_wanted_holds_whatever_was_defaulted() {
        let kept = wanted("one");
        assert!(kept.holds(&live(&kept, "kybern/a"), "kybern/a"));
    }

    #[test]
    fn another_wish_another_manager_or_a_field_taken_away_does_not_hold() {
        let kept = wanted("one");
        assert!(!wanted("two").holds(&live(&kept, "kybern/a"), "kybern/a"));
        assert!(!kept.holds(&live(&kept, "kubectl"), "kybern/a"));
        assert!(!kept.holds(&live(&kept, "kybern/a"), "kybern/b"));
        let mut bare = live(&kept, "kybern/a");
        bare["metadata"]["annotations"] = json!({});
        assert!(!kept.holds(&bare, "kybern/a"));
    }
}
