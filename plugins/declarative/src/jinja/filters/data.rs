//! YAML, JSON, and maps put together.

use super::{back, json, wrong};
use crate::yaml::{self, Duplicates, Limits};
use minijinja::value::Kwargs;
use minijinja::{Environment, Error, Value};
use serde_json::{Map, Value as Json, json as object};

pub(super) fn add(environment: &mut Environment<'static>) {
    environment.add_filter("to_yaml", |value: &Value| written(value, 2));
    environment.add_filter("to_nice_yaml", |value: &Value, options: Kwargs| {
        let step = options.get::<Option<usize>>("indent")?.unwrap_or(2);
        options.assert_all_used()?;
        written(value, step.clamp(1, 8))
    });
    environment.add_filter("to_json", |value: &Value| {
        json(value).map(|value| Value::from_safe_string(yaml::flow(&value)))
    });
    environment.add_filter("to_nice_json", |value: &Value| {
        let text = serde_json::to_string_pretty(&json(value)?);
        text.map(Value::from_safe_string)
            .map_err(|why| wrong(why.to_string()))
    });
    environment.add_filter("from_yaml", |text: String| {
        let mut all = parsed(&text)?;
        if all.len() > 1 {
            return Err(wrong(
                "from_yaml: there are several documents: from_yaml_all reads them",
            ));
        }
        Ok(all.pop().unwrap_or(Value::from(())))
    });
    environment.add_filter("from_yaml_all", |text: String| parsed(&text));
    environment.add_filter("from_json", |text: String| {
        let value: Result<Json, _> = serde_json::from_str(&text);
        value
            .map(|value| back(&value))
            .map_err(|why| wrong(format!("from_json: {why}")))
    });
    environment.add_filter("combine", combine);
    environment.add_filter("dict2items", |value: &Value| match json(value)? {
        Json::Object(map) => {
            let items = map
                .into_iter()
                .map(|(key, value)| object!({ "key": key, "value": value }));
            Ok(back(&items.collect()))
        }
        _ => Err(wrong("dict2items: this is no map")),
    });
    environment.add_filter("items2dict", |value: &Value| {
        let mut map = Map::new();
        for item in json(value)?.as_array().into_iter().flatten() {
            let key = item.get("key").and_then(Json::as_str);
            let key = key.ok_or_else(|| wrong("items2dict: an item has no `key` that is text"))?;
            map.insert(
                key.to_owned(),
                item.get("value").cloned().unwrap_or_default(),
            );
        }
        Ok::<Value, Error>(back(&Json::Object(map)))
    });
    environment.add_filter(
        "ternary",
        |value: &Value, yes: Value, no: Value| {
            if value.is_true() { yes } else { no }
        },
    );
    environment.add_filter("mandatory", |value: &Value, message: Option<String>| {
        let absent = value.is_undefined() || value.is_none();
        if absent || value.as_str().is_some_and(str::is_empty) {
            return Err(wrong(message.unwrap_or_else(|| {
                "a value that must be there is missing".to_owned()
            })));
        }
        Ok(value.clone())
    });
    environment.add_test(
        "subset",
        |part: &Value, whole: &Value| -> Result<bool, Error> {
            let whole = json(whole)?;
            let has = |one: &Json| whole.as_array().is_some_and(|all| all.contains(one));
            Ok(json(part)?.as_array().into_iter().flatten().all(has))
        },
    );
}

/// Text that is YAML already: it is put where it stands.
fn written(value: &Value, step: usize) -> Result<Value, Error> {
    Ok(Value::from_safe_string(yaml::block(&json(value)?, step)))
}

fn parsed(text: &str) -> Result<Vec<Value>, Error> {
    let nodes = yaml::documents("text", text, &Limits::WRITTEN, Duplicates::Refused);
    let nodes = nodes.map_err(|why| wrong(format!("from_yaml: {why}")))?;
    Ok(nodes.iter().map(|node| back(&node.value())).collect())
}

/// Maps over maps, later ones win; `recursive=true` goes into maps that both have.
fn combine(
    value: &Value,
    others: minijinja::value::Rest<Value>,
    options: Kwargs,
) -> Result<Value, Error> {
    let recursive = options.get::<Option<bool>>("recursive")?.unwrap_or(false);
    options.assert_all_used()?;
    let map = |value: &Value| match json(value)? {
        Json::Object(map) => Ok(map),
        _ => Err(wrong("combine: only maps can be put together")),
    };
    let mut whole = map(value)?;
    for other in others.iter() {
        // A list of maps, as well as maps.
        let other = match json(other)? {
            Json::Array(_) => other.try_iter()?.collect(),
            _ => vec![other.clone()],
        };
        for other in &other {
            merge(&mut whole, map(other)?, recursive);
        }
    }
    Ok(back(&Json::Object(whole)))
}

fn merge(into: &mut Map<String, Json>, from: Map<String, Json>, recursive: bool) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Json::Object(there)), Json::Object(value)) if recursive => {
                merge(there, value, true)
            }
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}
