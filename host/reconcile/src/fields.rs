//! Sets of field paths in the form of `managedFields[].fieldsV1`, and what they say about values.
//!
//! `f:<name>` is a field, `k:{...}` an item of a list by its keys, `v:...` an item of a set by its
//! value, `i:<n>` an item by position; `.` is the node itself. A node without children is a whole
//! value: a scalar, or a list or map that its schema calls atomic.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// One step down.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Step {
    /// `f:`
    Field(String),
    /// `k:`, each key's value as JSON text.
    Key(BTreeMap<String, String>),
    /// `v:`, the value as JSON text.
    Item(String),
    /// `i:`
    Index(usize),
}

impl Step {
    fn parse(text: &str) -> Option<Self> {
        let (tag, rest) = text.split_once(':')?;
        match tag {
            "f" => Some(Self::Field(rest.to_owned())),
            "k" => {
                let keys: Map<String, Value> = serde_json::from_str(rest).ok()?;
                Some(Self::Key(
                    keys.into_iter().map(|(k, v)| (k, v.to_string())).collect(),
                ))
            }
            "v" => {
                let value: Value = serde_json::from_str(rest).ok()?;
                Some(Self::Item(value.to_string()))
            }
            "i" => rest.parse().ok().map(Self::Index),
            _ => None,
        }
    }

    fn render(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(keys) => {
                let parts: Vec<String> = keys
                    .iter()
                    .map(|(k, v)| format!("{}:{v}", Value::from(k.as_str())))
                    .collect();
                format!("k:{{{}}}", parts.join(","))
            }
            Self::Item(text) => format!("v:{text}"),
            Self::Index(at) => format!("i:{at}"),
        }
    }

    /// The value that this step leads to.
    fn get<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        match self {
            Self::Field(name) => value.get(name),
            Self::Key(keys) => value.as_array()?.iter().find(|item| {
                keys.iter()
                    .all(|(k, v)| item.get(k).is_some_and(|have| spells(have, v)))
            }),
            Self::Item(text) => value.as_array()?.iter().find(|item| spells(item, text)),
            Self::Index(at) => value.as_array()?.get(*at),
        }
    }
}

/// Whether a value's JSON text is this.
pub(crate) fn spells(value: &Value, text: &str) -> bool {
    // Most are names; only a text with escapes is longer than itself and two quotes.
    if let Value::String(name) = value
        && let Some(inner) = text
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
        && !inner.contains('\\')
    {
        return inner == name;
    }
    let spelled = value.to_string();
    spelled == text
}

/// A set of field paths.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct FieldSet {
    /// Whether the node itself is in the set besides its children.
    this: bool,
    children: BTreeMap<Step, FieldSet>,
}

/// What a set says about an intent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Cover {
    /// The intent's paths, lists resolved the way the set resolves them.
    pub(crate) shape: FieldSet,
    /// Paths of the intent that are not in the set, dotted.
    pub(crate) missing: Vec<String>,
}

impl FieldSet {
    /// Reads `fieldsV1`; what it does not understand it leaves out.
    pub(crate) fn parse(value: &Value) -> Self {
        let mut set = Self::default();
        let Some(object) = value.as_object() else {
            return set;
        };
        for (key, inner) in object {
            if key == "." {
                set.this = true;
            } else if let Some(step) = Step::parse(key) {
                set.children.insert(step, Self::parse(inner));
            }
        }
        set
    }

    /// Writes `fieldsV1`.
    pub(crate) fn render(&self) -> Value {
        let mut object = Map::new();
        if self.this {
            object.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for (step, inner) in &self.children {
            object.insert(step.render(), inner.render());
        }
        Value::Object(object)
    }

    /// Whether nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.children.is_empty()
    }

    /// The steps down from here, with what is below.
    pub(crate) fn steps(&self) -> impl ExactSizeIterator<Item = (&Step, &FieldSet)> {
        self.children.iter()
    }

    /// Takes in what `other` has.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.this |= other.this;
        for (step, inner) in &other.children {
            self.children.entry(step.clone()).or_default().merge(inner);
        }
    }

    fn is_leaf(&self) -> bool {
        self.children.is_empty()
    }

    /// Whether a dotted path of field names, or something below it, is in the set.
    pub(crate) fn has_path(&self, path: &[String]) -> bool {
        let mut node = self;
        for name in path {
            // A whole value owns everything below it.
            match node.children.get(&Step::Field(name.clone())) {
                Some(inner) if inner.is_leaf() => return true,
                Some(inner) => node = inner,
                None => return false,
            }
        }
        true
    }

    /// Which paths of `intent` are in this set. `intent` is an object without
    /// what managedFields never name (apiVersion, kind, name, namespace). A zero
    /// value that the API server does not keep (`false`, `""`, `{}`) counts as in it.
    pub(crate) fn cover(&self, intent: &Value, live: &Value) -> Cover {
        let mut missing = Vec::new();
        let mut shape = FieldSet::default();
        if let Some(object) = intent.as_object() {
            for (name, value) in object {
                let step = Step::Field(name.clone());
                let node = self.children.get(&step);
                let inner = walk(value, node, live.get(name), name, &mut missing);
                shape.children.insert(step, inner);
            }
        }
        Cover { shape, missing }
    }

    /// The part of `live` that this set names: equal for equal owned values.
    pub(crate) fn select(&self, live: &Value) -> Value {
        let mut out = Vec::with_capacity(self.children.len());
        for (step, inner) in &self.children {
            let value = match step.get(live) {
                Some(value) if inner.is_leaf() => value.clone(),
                Some(value) => inner.select(value),
                None => continue,
            };
            out.push(Value::Array(vec![Value::from(step.render()), value]));
        }
        Value::Array(out)
    }

    /// The object that consists of this set's part of `live`: what its manager would apply.
    pub(crate) fn extract(&self, live: &Value) -> Value {
        if self.is_leaf() {
            return live.clone();
        }
        match live {
            Value::Object(object) => Value::Object(
                object
                    .iter()
                    .filter_map(|(name, value)| {
                        let inner = self.children.get(&Step::Field(name.clone()))?;
                        Some((name.clone(), inner.extract(value)))
                    })
                    .collect(),
            ),
            Value::Array(items) => Value::Array(
                items
                    .iter()
                    .enumerate()
                    .filter_map(|(at, item)| self.extract_item(at, item))
                    .collect(),
            ),
            other => other.clone(),
        }
    }

    fn extract_item(&self, at: usize, item: &Value) -> Option<Value> {
        let text = item.to_string();
        self.children.iter().find_map(|(step, inner)| match step {
            Step::Key(keys) => {
                if !keys
                    .iter()
                    .all(|(k, v)| item.get(k).is_some_and(|have| spells(have, v)))
                {
                    return None;
                }
                let mut out = inner.extract(item);
                // The keys belong to the item even where the set leaves them out.
                if let Some(object) = out.as_object_mut() {
                    for key in keys.keys() {
                        if let Some(value) = item.get(key) {
                            object.insert(key.clone(), value.clone());
                        }
                    }
                }
                Some(out)
            }
            Step::Item(wanted) => (*wanted == text).then(|| item.clone()),
            Step::Index(wanted) => (*wanted == at).then(|| inner.extract(item)),
            Step::Field(_) => None,
        })
    }

    /// Paths that are in this set but not in `other`, dotted.
    pub(crate) fn beyond(&self, other: &Self) -> Vec<String> {
        let mut out = Vec::new();
        self.beyond_into(other, "", &mut out);
        out
    }

    fn beyond_into(&self, other: &Self, at: &str, out: &mut Vec<String>) {
        for (step, inner) in &self.children {
            let path = match step {
                Step::Field(name) if at.is_empty() => name.clone(),
                Step::Field(name) => format!("{at}.{name}"),
                step => format!("{at}[{}]", step.render()),
            };
            match other.children.get(step) {
                None => out.push(path),
                Some(theirs) if theirs.is_leaf() => {}
                Some(theirs) => inner.beyond_into(theirs, &path, out),
            }
        }
    }
}

/// Whether Kubernetes types leave such a value out (`omitempty`).
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(yes) => !yes,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(object) => object.is_empty(),
    }
}

fn walk(
    intent: &Value,
    node: Option<&FieldSet>,
    live: Option<&Value>,
    at: &str,
    missing: &mut Vec<String>,
) -> FieldSet {
    match (intent, node) {
        // A node without children owns the whole value.
        (_, Some(node)) if node.is_leaf() => FieldSet::default(),
        (Value::Object(object), _) if !object.is_empty() => {
            let mut shape = FieldSet::default();
            for (name, value) in object {
                let step = Step::Field(name.clone());
                let path = format!("{at}.{name}");
                let below = node.and_then(|node| node.children.get(&step));
                let value_there = live.and_then(|live| live.get(name));
                let inner = walk(value, below, value_there, &path, missing);
                shape.children.insert(step, inner);
            }
            shape
        }
        (Value::Array(items), Some(node)) if !items.is_empty() => {
            walk_list(items, node, live, at, missing)
        }
        (_, Some(_)) => FieldSet::default(),
        (value, None) => {
            if !(is_zero(value) && live.is_none()) {
                missing.push(at.to_owned());
            }
            FieldSet::default()
        }
    }
}

/// Finds each item's place in the set: items that spell out every key first, so that an item that
/// leaves one to its default cannot take another's place.
fn walk_list(
    items: &[Value],
    node: &FieldSet,
    live: Option<&Value>,
    at: &str,
    missing: &mut Vec<String>,
) -> FieldSet {
    let exact = |index: usize, item: &Value| {
        node.children.keys().find(|step| match step {
            Step::Key(keys) => keys
                .iter()
                .all(|(k, v)| item.get(k).is_some_and(|have| spells(have, v))),
            Step::Item(text) => spells(item, text),
            Step::Index(wanted) => *wanted == index,
            Step::Field(_) => false,
        })
    };
    let mut places: Vec<Option<&Step>> = items
        .iter()
        .enumerate()
        .map(|(index, item)| exact(index, item))
        .collect();
    for index in 0..items.len() {
        let (Some(None), Some(item)) = (places.get(index), items.get(index)) else {
            continue;
        };
        let partial = node.children.keys().find(|step| {
            let Step::Key(keys) = step else { return false };
            !places.contains(&Some(step))
                && keys.keys().any(|k| item.get(k).is_some())
                && keys
                    .iter()
                    .all(|(k, v)| item.get(k).is_none_or(|have| spells(have, v)))
        });
        if let Some(place) = places.get_mut(index) {
            *place = partial;
        }
    }
    let mut shape = FieldSet::default();
    for (index, (item, place)) in items.iter().zip(places).enumerate() {
        let Some(step) = place else {
            missing.push(format!("{at}[{index}]"));
            continue;
        };
        let path = format!("{at}[{}]", step.render());
        let value_there = live.and_then(|live| step.get(live));
        let inner = walk(item, node.children.get(step), value_there, &path, missing);
        shape.children.insert(step.clone(), inner);
    }
    shape
}

/// One entry of `metadata.managedFields`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) manager: String,
    /// `Apply` or `Update`.
    pub(crate) operation: String,
    pub(crate) subresource: String,
    pub(crate) fields: FieldSet,
}

/// The entries of an object's `metadata.managedFields`; none if it has no such field.
pub(crate) fn entries(object: &Value) -> Option<Vec<Entry>> {
    let list = object.pointer("/metadata/managedFields")?.as_array()?;
    let text = |entry: &Value, key: &str| {
        entry
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    Some(
        list.iter()
            .map(|entry| Entry {
                manager: text(entry, "manager"),
                operation: text(entry, "operation"),
                subresource: text(entry, "subresource"),
                fields: entry
                    .get("fieldsV1")
                    .map(FieldSet::parse)
                    .unwrap_or_default(),
            })
            .collect(),
    )
}

/// Everything that `manager` has on the object, whatever the operation.
pub(crate) fn owned_by(object: &Value, manager: &str, subresource: &str) -> Option<FieldSet> {
    let list = object.pointer("/metadata/managedFields")?.as_array()?;
    let is = |entry: &Value, key: &str, value: &str| {
        entry.get(key).and_then(Value::as_str).unwrap_or_default() == value
    };
    let mut sets = list
        .iter()
        .filter(|entry| is(entry, "manager", manager) && is(entry, "subresource", subresource))
        .filter_map(|entry| entry.get("fieldsV1").map(FieldSet::parse));
    let mut set = sets.next().unwrap_or_default();
    sets.for_each(|other| set.merge(&other));
    Some(set)
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
