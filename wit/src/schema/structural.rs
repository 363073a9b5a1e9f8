//! From what schemars writes to what the API server takes as a structural schema.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

/// A schema that Kubernetes accepts as structural: everything inlined, and what
/// structural schemas do not know left out.
pub(super) fn structural<T: schemars::JsonSchema>() -> Value {
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
    // An absent field is absent, not null.
    for key in [
        "title",
        "$schema",
        "components",
        "definitions",
        "$defs",
        "nullable",
    ] {
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
