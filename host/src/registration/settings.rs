//! Settings: defaults filled in, checked against the manifest's schema.

use super::problem::Problem;
use crate::source::SETTING;
use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use kybern_plugin::Plugin;
use serde_json::{Map, Value};
use std::fmt;

/// What a registration gives.
#[derive(Clone, PartialEq)]
pub(crate) struct Given {
    /// By name.
    pub(crate) values: Map<String, Value>,
    /// Whether some of them are nobody's business: then no message tells a name or a value of them.
    pub(crate) hidden: bool,
}

impl Given {
    /// What everybody may see.
    pub(crate) fn open(values: Map<String, Value>) -> Self {
        Self {
            values,
            hidden: false,
        }
    }
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Given, {} settings", self.values.len())
    }
}

/// The settings as this plugin sees them: one that interprets a bundle has it, and need not know where
/// it came from.
pub(crate) fn of(plugin: &Plugin, given: &Given) -> Result<Value, Problem> {
    let schema = &plugin.manifest().settings_schema;
    if !plugin.describes_itself() || !given.values.contains_key(SETTING) {
        return resolve(given, schema);
    }
    let mut given = given.clone();
    given.values.remove(SETTING);
    resolve(&given, schema)
}

/// The settings as the plugin sees them.
pub(crate) fn resolve(given: &Given, schema: &Value) -> Result<Value, Problem> {
    let mut settings = Value::Object(given.values.clone());
    if schema.is_null() {
        return match given.values.keys().next() {
            None => Ok(settings),
            Some(_) if given.hidden => Err(Problem::new(
                "InvalidSettings",
                "the plugin takes no settings; remove spec.settings and spec.settingsFrom",
            )),
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
        .map(|error| match given.hidden {
            true => discreet(&error),
            false => {
                let path = error.instance_path().to_string().replace('/', ".");
                format!("spec.settings{path}: {error}")
            }
        })
        .collect();
    if faults.is_empty() {
        return Ok(settings);
    }
    let place = match given.hidden {
        true => "spec.settings with what spec.settingsFrom names: ",
        false => "",
    };
    let faults = faults.join("; ");
    Err(Problem::new("InvalidSettings", format!("{place}{faults}")))
}

/// What is wrong, in words of the schema alone.
fn discreet(error: &ValidationError<'_>) -> String {
    let rule = error.schema_path();
    match error.kind() {
        ValidationErrorKind::Required { property } => format!("{property} is missing ({rule})"),
        _ => format!("the schema's {rule} does not hold"),
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

    fn map(value: Value) -> Given {
        Given::open(value.as_object().cloned().unwrap())
    }

    #[test]
    fn what_comes_from_objects_is_told_in_words_of_the_schema_alone() {
        let schema = json!({
            "type": "object",
            "properties": {
                "days": { "type": "integer" },
                "mode": { "enum": ["a", "b"] },
                "name": { "type": "string", "maxLength": 3, "pattern": "^x", "format": "email" },
                "all": { "type": "array", "items": { "const": 7 }, "uniqueItems": true },
                "tls": { "anyOf": [{ "type": "integer" }, { "required": ["cert"], "type": "object" }] },
            },
            "patternProperties": { "^zz": { "type": "boolean" } },
            "propertyNames": { "maxLength": 12 },
            "additionalProperties": false,
            "required": ["days", "mode", "port"],
        });
        let hidden = |value: Value| Given {
            hidden: true,
            ..map(value)
        };
        let bad = json!({
            "days": "hunter2", "mode": "hunter2", "name": "hunter2", "all": ["hunter2", "hunter2"],
            "tls": "hunter2", "zzhunter2": "hunter2", "hunter2hunter2": 1,
        });
        let fault = resolve(&hidden(bad.clone()), &schema).unwrap_err();
        assert_eq!(fault.reason, "InvalidSettings");
        assert!(!fault.message.contains("hunter2"), "{}", fault.message);
        for named in ["/properties/days/type", "\"port\" is missing (/required)"] {
            let message = &fault.message;
            assert!(message.contains(named), "{named} in {message}");
        }
        let strange = json!({ "days": 1, "mode": "a", "port": 1, "hunter2hunter2": 1 });
        let fault = resolve(&hidden(strange), &schema).unwrap_err();
        assert_eq!(
            fault.message,
            "spec.settings with what spec.settingsFrom names: the schema's /additionalProperties does not hold; the schema's /propertyNames/maxLength does not hold"
        );
        let fault = resolve(&hidden(bad.clone()), &Value::Null).unwrap_err();
        assert!(!fault.message.contains("hunter2"), "{}", fault.message);
        assert!(!format!("{:?}", hidden(bad)).contains("hunter2"));
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
        assert!(resolve(&map(json!({})), &Value::Null).is_ok());
        let fault = resolve(&map(json!({ "a": 1 })), &Value::Null).unwrap_err();
        assert_eq!(fault.reason, "InvalidSettings");
    }
}
