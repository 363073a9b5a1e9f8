//! Settings: defaults filled in, checked against the manifest's schema.

use super::problem::Problem;
use serde_json::{Map, Value};

/// The settings as the plugin sees them.
pub(crate) fn resolve(given: &Map<String, Value>, schema: &Value) -> Result<Value, Problem> {
    let mut settings = Value::Object(given.clone());
    if schema.is_null() {
        return match given.keys().next() {
            None => Ok(settings),
            Some(key) => Err(Problem::new(
                "InvalidSettings",
                format!("spec.settings.{key}: the plugin takes no settings; remove it"),
            )),
        };
    }
    fill(&mut settings, schema);
    let validator = jsonschema::validator_for(schema).map_err(|error| {
        Problem::new(
            "InvalidManifest",
            format!("the plugin's settings schema is not a JSON Schema: {error}; report it to the plugin's author"),
        )
    })?;
    let faults: Vec<String> = validator
        .iter_errors(&settings)
        .take(10)
        .map(|error| {
            let path = error.instance_path().to_string().replace('/', ".");
            format!("spec.settings{path}: {error}")
        })
        .collect();
    if faults.is_empty() {
        Ok(settings)
    } else {
        Err(Problem::new("InvalidSettings", faults.join("; ")))
    }
}

/// Fills in the defaults that the schema names for absent properties.
fn fill(value: &mut Value, schema: &Value) {
    let (Some(object), Some(properties)) = (
        value.as_object_mut(),
        schema.get("properties").and_then(Value::as_object),
    ) else {
        return;
    };
    for (name, schema) in properties {
        match object.get_mut(name) {
            Some(inner) => fill(inner, schema),
            None => {
                if let Some(default) = schema.get("default") {
                    object.insert(name.clone(), default.clone());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn defaults_are_filled_in_and_faults_name_the_place() {
        let schema = json!({
            "type": "object",
            "properties": {
                "replicas": { "type": "integer", "default": 2 },
                "tls": { "type": "object", "properties": { "days": { "type": "integer", "default": 90 } } },
            },
            "additionalProperties": false,
        });
        assert_eq!(
            resolve(&map(json!({ "tls": {} })), &schema).unwrap(),
            json!({ "replicas": 2, "tls": { "days": 90 } })
        );
        let fault = resolve(&map(json!({ "tls": { "days": "x" } })), &schema).unwrap_err();
        assert!(
            fault.message.starts_with("spec.settings.tls.days: "),
            "{}",
            fault.message
        );
    }

    #[test]
    fn a_plugin_without_settings_refuses_them() {
        assert!(resolve(&Map::new(), &Value::Null).is_ok());
        let fault = resolve(&map(json!({ "a": 1 })), &Value::Null).unwrap_err();
        assert_eq!(fault.reason, "InvalidSettings");
    }
}
