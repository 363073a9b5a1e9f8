//! `Plugin` objects as they are read: whole, or with what of them can be read.

use super::problem::Problem;
use kybern_interface::Registration;
use serde_json::{Map, Value, json};

/// An object that cannot be read whole.
pub(super) struct Unreadable {
    /// What can be: enough to report about it and to let go of what it held, never to run it.
    pub(super) rest: Registration,
    /// Which place is wrong, and how.
    pub(super) problem: Problem,
}

/// The registration; none of an object that not even metadata can be read of.
pub(super) fn registration(object: Value) -> Option<Result<Registration, Box<Unreadable>>> {
    let error = match serde_path_to_error::deserialize::<_, Registration>(&object) {
        Ok(registration) => return Some(Ok(registration)),
        Err(error) => error,
    };
    let (place, why) = (error.path().to_string(), error.inner().to_string());
    let problem = Problem::new("InvalidSpec", format!("{place}: {why}"));
    let rest = rest(object)?;
    Some(Err(Box::new(Unreadable { rest, problem })))
}

/// Every field of spec and status that can be read by itself.
fn rest(mut object: Value) -> Option<Registration> {
    let mut parts = ["spec", "status"].map(|part| {
        let fields = object.get_mut(part).map(Value::take);
        let fields = fields.and_then(|fields| match fields {
            Value::Object(fields) => Some(fields),
            _ => None,
        });
        (part, fields.unwrap_or_default())
    });
    let whole = object.as_object_mut()?;
    whole.insert("spec".to_owned(), json!({ "source": { "file": "" } }));
    whole.insert("status".to_owned(), json!({}));
    let mut read: Registration = serde_json::from_value(object.clone()).ok()?;
    for (part, fields) in &mut parts {
        for (name, value) in std::mem::take(fields) {
            let mut with = object.clone();
            if let Some(part) = with.get_mut(*part).and_then(Value::as_object_mut) {
                Map::insert(part, name, value);
            }
            if let Ok(better) = serde_json::from_value(with.clone()) {
                (read, object) = (better, with);
            }
        }
    }
    Some(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_place_is_named_and_the_rest_is_there() {
        let object = json!({
            "apiVersion": "kybern.dev/v1alpha1", "kind": "Plugin",
            "metadata": { "name": "a", "generation": 3 },
            "spec": {
                "class": "b", "source": { "file": "x" }, "onRemoval": "DeleteChildren",
                "resources": [{ "group": "g", "version": "v1", "kind": "K" }],
                "grants": { "write": [{ "kinds": ["ConfigMap"], "verbs": ["apply"], "scope": "Everywhere" }] },
            },
            "status": { "observedGeneration": 2, "active": 7 },
        });
        let Some(Err(unreadable)) = registration(object.clone()) else {
            panic!("it can be read");
        };
        insta::assert_snapshot!(
            unreadable.problem.message,
            @"spec.grants.write[0].scope: unknown variant `Everywhere`, expected one of `Own`, `Namespaces`, `Selector`, `Cluster`"
        );
        let rest = unreadable.rest;
        assert_eq!((rest.name(), rest.generation()), ("a", 3));
        assert_eq!(rest.spec.class, "b");
        assert_eq!(rest.spec.resources.len(), 1);
        assert!(rest.spec.grants.write.is_empty());
        assert_eq!(rest.status.observed_generation, Some(2));
        let mut whole = object;
        whole["spec"]["grants"] = json!({});
        whole["status"] = json!({});
        assert!(matches!(registration(whole), Some(Ok(_))));
        assert!(registration(json!({ "metadata": 1 })).is_none());
    }
}
