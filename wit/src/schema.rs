//! JSON Schemas of the documents and the `Plugin` CustomResourceDefinition, generated from the types.

use crate::{
    Effect, Manifest, Outcome, Plan, PluginSpec, PluginStatus, Sensing, Situation, Trigger,
};
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

/// File name and schema of each document, in the order of a pass.
pub fn documents() -> Vec<(&'static str, Value)> {
    fn of<T: schemars::JsonSchema>() -> Value {
        schemars::schema_for!(T).to_value()
    }
    vec![
        ("manifest.json", of::<Manifest>()),
        ("trigger.json", of::<Trigger>()),
        ("sensing.json", of::<Sensing>()),
        ("situation.json", of::<Situation>()),
        ("plan.json", of::<Plan>()),
        ("effect.json", of::<Effect>()),
        ("outcome.json", of::<Outcome>()),
    ]
}

/// A schema that Kubernetes accepts as structural: everything inlined, and what
/// structural schemas do not know left out.
fn structural<T: schemars::JsonSchema>() -> Value {
    let mut settings = SchemaSettings::openapi3();
    settings.inline_subschemas = true;
    settings.meta_schema = None;
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value();
    tidy(&mut schema);
    schema
}

/// Turns what schemars writes into what a structural schema may contain.
fn tidy(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else {
        if schema == &Value::Bool(true) {
            *schema = json!({ "x-kubernetes-preserve-unknown-fields": true });
        }
        return;
    };
    for key in ["title", "$schema", "components", "definitions", "$defs"] {
        object.remove(key);
    }
    if let Some(format) = object.get("format").and_then(Value::as_str)
        && !matches!(format, "int32" | "int64" | "double" | "float")
    {
        object.remove("format");
    }
    // An enum with a doc comment per value comes as oneOf of constants.
    for key in ["oneOf", "anyOf"] {
        let constants: Option<Vec<Value>> = object.get(key).and_then(Value::as_array).map(|list| {
            list.iter()
                .filter_map(|one| {
                    one.get("const").cloned().or_else(|| {
                        let values = one.get("enum")?.as_array()?;
                        (values.len() == 1).then(|| values.first().cloned())?
                    })
                })
                .collect()
        });
        let Some(constants) = constants else { continue };
        let alternatives = object
            .get(key)
            .and_then(Value::as_array)
            .map_or(0, Vec::len);
        object.remove(key);
        if constants.len() == alternatives {
            object.insert("type".into(), json!("string"));
            object.insert("enum".into(), Value::Array(constants));
        } else {
            // A value with alternatives of different shape: the host checks it and says what is wrong.
            object.remove("type");
            object.insert("x-kubernetes-preserve-unknown-fields".into(), json!(true));
        }
    }
    if object.get("type") == Some(&json!("object"))
        && !object.contains_key("properties")
        && object
            .get("additionalProperties")
            .is_none_or(Value::is_boolean)
    {
        object.remove("additionalProperties");
        object.insert("x-kubernetes-preserve-unknown-fields".into(), json!(true));
    }
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(tidy);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(key) {
            tidy(inner);
        }
    }
}

/// The `Plugin` CustomResourceDefinition.
pub fn plugin_crd() -> Value {
    let mut conditions = structural::<PluginStatus>();
    if let Some(list) = conditions.pointer_mut("/properties/conditions")
        && let Some(list) = list.as_object_mut()
    {
        list.insert("x-kubernetes-list-type".into(), json!("map"));
        list.insert("x-kubernetes-list-map-keys".into(), json!(["type"]));
    }
    let mut spec = structural::<PluginSpec>();
    if let Some(object) = spec.as_object_mut() {
        object.insert(
            "x-kubernetes-validations".into(),
            json!([{
                "rule": "has(self.fieldManager) == has(oldSelf.fieldManager) && (!has(self.fieldManager) || self.fieldManager == oldSelf.fieldManager)",
                "message": "fieldManager is immutable: children would be left with two managers",
            }]),
        );
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": "plugins.kybern.dev" },
        "spec": {
            "group": crate::names::GROUP,
            "scope": "Cluster",
            "names": {
                "kind": "Plugin", "listKind": "PluginList", "plural": "plugins",
                "singular": "plugin", "shortNames": ["kplugin"], "categories": ["kybern"],
            },
            "versions": [{
                "name": crate::names::VERSION,
                "served": true,
                "storage": true,
                "subresources": { "status": {} },
                "additionalPrinterColumns": [
                    { "name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].status" },
                    { "name": "Reason", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].reason" },
                    { "name": "Version", "type": "string", "jsonPath": ".status.active.version" },
                    { "name": "Class", "type": "string", "jsonPath": ".spec.class", "priority": 1 },
                    { "name": "Digest", "type": "string", "jsonPath": ".status.active.digest", "priority": 1 },
                    { "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" },
                ],
                "schema": { "openAPIV3Schema": {
                    "type": "object",
                    "description": "The registration of one plugin: which kinds it is in charge of, which component decides, what it may do. Creating or changing one equals holding its grants.",
                    "required": ["spec"],
                    "properties": {
                        "apiVersion": { "type": "string" },
                        "kind": { "type": "string" },
                        "metadata": { "type": "object" },
                        "spec": spec,
                        "status": conditions,
                    },
                } },
            }],
        },
    })
}
