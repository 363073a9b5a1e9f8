//! What templates and expressions see.

use super::plan::Building;
use super::state::State;
use super::{Pass, Run};
use crate::diagnostic::Errors;
use crate::jinja::{Context, Source, single};
use crate::operator::Inline;
use crate::yaml::{Data, Node};
use kybern_sdk::OutcomeResult;
use serde_json::{Map, Value, json};

/// The names that are always there.
pub(crate) fn base(pass: &Pass<'_>, state: &State) -> Run<Context> {
    let mut rows = Map::new();
    for (name, _) in &pass.profile.query {
        let query = super::queries::name(name);
        if pass.answered.contains(&query) {
            rows.insert(
                name.clone(),
                Value::Array(super::queries::shown(pass, &query)?),
            );
        }
    }
    Ok(Context::new(json!({
        "cr": cleaned(&pass.cr),
        "object": Value::Null,
        "old": Value::Null,
        "settings": pass.settings,
        "profile": pass.profile.name,
        "memory": state.memory,
        "outcomes": outcomes(pass),
        "rows": rows,
        "values": {},
        "release": release(pass, pass.name(), pass.namespace(), 1),
    })))
}

pub(crate) fn release(_: &Pass<'_>, name: &str, namespace: &str, revision: i64) -> Value {
    json!({
        "name": name, "namespace": namespace, "revision": revision,
        "isUpgrade": revision > 1, "isInstall": revision <= 1, "service": "Kybern",
    })
}

fn outcomes(pass: &Pass<'_>) -> Value {
    let mut named = Map::new();
    for outcome in &pass.outcomes {
        let name = outcome.key.split('/').next().unwrap_or_default();
        let value = match &outcome.result {
            OutcomeResult::Ok(value) => {
                json!({ "ok": value, "error": null, "attempt": outcome.attempt })
            }
            OutcomeResult::Error(why) => {
                json!({ "ok": null, "error": why, "attempt": outcome.attempt })
            }
        };
        named.insert(name.to_owned(), value);
    }
    Value::Object(named)
}

/// An object without what changes with every write.
pub(crate) fn cleaned(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        metadata.remove("resourceVersion");
        for key in ["labels", "annotations"] {
            metadata.entry(key).or_insert_with(|| json!({}));
        }
    }
    if let Some(map) = object.as_object_mut() {
        map.entry("status").or_insert_with(|| json!({}));
    }
    object
}

/// Evaluates what is remembered, and names for all.
pub(crate) fn remembering(building: &mut Building<'_>, base: Context) -> Run<Context> {
    let mut base = base;
    for (name, source) in &building.pass.profile.remember {
        let value = building.pass.operator.jinja.value(source, &base)?;
        building.after.memory.insert(name.clone(), value);
        base = base.with("memory", Value::Object(building.after.memory.clone()));
    }
    let known = |name: &String| {
        building
            .pass
            .profile
            .remember
            .iter()
            .any(|(one, _)| one == name)
    };
    building.after.memory.retain(|name, _| known(name));
    for (name, source) in &building.pass.profile.set {
        let value = building.pass.operator.jinja.value(source, &base)?;
        base = base.with(name, value);
    }
    Ok(base)
}

impl Pass<'_> {
    /// The value of a map, list or text whose texts may be templates.
    pub(crate) fn inline(&self, inline: &Inline, context: &Context) -> Result<Value, Errors> {
        self.templated(&inline.file, &inline.node, context)
    }

    fn templated(&self, file: &str, node: &Node, context: &Context) -> Result<Value, Errors> {
        Ok(match &node.data {
            Data::Text(text) if text.contains("{{") || text.contains("{%") => {
                let mut source = Source {
                    file: file.to_owned(),
                    place: node.place,
                    text: text.clone(),
                    plain: node.plain,
                };
                if let Some(expression) = single(text) {
                    source.text = expression.to_owned();
                    source.plain = false;
                    self.operator.jinja.value(&source, context)?
                } else {
                    Value::String(self.operator.jinja.text(&source, context)?)
                }
            }
            Data::List(items) => {
                let items = items.iter().map(|item| self.templated(file, item, context));
                Value::Array(items.collect::<Result<_, _>>()?)
            }
            Data::Map(entries) => {
                let entries = entries.iter().map(|(key, value)| {
                    Ok((key.name.clone(), self.templated(file, value, context)?))
                });
                Value::Object(entries.collect::<Result<_, Errors>>()?)
            }
            _ => node.value(),
        })
    }
}
