//! The JSON Schema of operator files, for editors.

use super::{COMMANDS, Key, PROFILE, Type};
use serde_json::{Map, Value, json};

/// The schema.
pub fn schema() -> Value {
    let mut profile = keys(PROFILE.iter());
    describe(
        &mut profile,
        "A profile: one operator. `settings.profile` of the registration chooses it.",
    );
    let commands: Vec<Value> = COMMANDS
        .iter()
        .map(|command| {
            let mut one = keys(command.keys());
            if let Some(word) = one.pointer_mut("/properties/cmd") {
                *word = json!({ "const": command.name, "description": command.doc });
            }
            describe(&mut one, command.doc);
            one
        })
        .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A declarative operator of Kybern",
        "description": "Profiles by name.",
        "type": "object",
        "minProperties": 1,
        "additionalProperties": profile,
        "$defs": { "command": { "oneOf": commands } },
    })
}

fn keys<'a>(keys: impl Iterator<Item = &'a Key>) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for key in keys {
        let mut one = takes(key.takes);
        describe(&mut one, key.doc);
        properties.insert(key.name.to_owned(), one);
        if key.required {
            required.push(key.name);
        }
    }
    let mut whole =
        json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if let Some(map) = whole.as_object_mut().filter(|_| !required.is_empty()) {
        map.insert("required".to_owned(), json!(required));
    }
    whole
}

fn describe(schema: &mut Value, doc: &str) {
    if let Some(map) = schema.as_object_mut() {
        map.insert("description".to_owned(), Value::from(doc));
    }
}

fn takes(takes_: Type) -> Value {
    match takes_ {
        Type::Text | Type::Path | Type::Sql => json!({ "type": "string", "minLength": 1 }),
        Type::Template => json!({ "type": "string" }),
        Type::Expression => json!({ "type": ["string", "boolean", "number"] }),
        Type::Bool => json!({ "type": "boolean" }),
        Type::Integer => json!({ "type": "integer" }),
        Type::Duration => json!({ "type": "string", "pattern": "^([0-9]+(ms|s|m|h|d))+$" }),
        Type::Templated | Type::Any => json!({}),
        Type::Word(words) => json!({ "enum": words }),
        Type::List(item) => json!({ "type": "array", "items": takes(*item) }),
        Type::Many(item) => {
            json!({ "anyOf": [takes(*item), { "type": "array", "items": takes(*item) }] })
        }
        Type::Map(value) => json!({ "type": "object", "additionalProperties": takes(*value) }),
        Type::Keys(all) => keys(all.iter()),
        Type::WordOr(words, all) => json!({ "anyOf": [{ "enum": words }, keys(all.iter())] }),
        Type::Command => json!({ "$ref": "#/$defs/command" }),
    }
}
