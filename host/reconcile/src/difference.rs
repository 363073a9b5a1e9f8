//! Where two plans for one situation differ: by object and path, never by value.
//!
//! # Contract
//! The order of actions does not count; everything else does.
//!
//! # Limits
//! At most three actions with three paths each are named, then how many more there are.

use kybern_interface::Plan;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What is named: actions, and paths of each.
const NAMED: usize = 3;
/// Characters of a path, and of what it is about.
const LONGEST: usize = 128;

/// Where two plans differ.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Differences {
    /// What it is about, and where it is another.
    places: BTreeMap<String, BTreeSet<String>>,
}

impl Differences {
    /// One has a plan, the other ended like this.
    pub(crate) fn without_plan(how: String) -> Self {
        let how: String = how.chars().take(LONGEST).collect();
        let places = BTreeMap::from([("no plan".to_owned(), BTreeSet::from([how]))]);
        Self { places }
    }

    /// For people; none if there are none.
    pub(crate) fn told(&self) -> Option<String> {
        let named = self.places.iter().take(NAMED).map(|(what, paths)| {
            let shown: Vec<&str> = paths.iter().take(NAMED).map(String::as_str).collect();
            let more = more(paths.len());
            format!("{what}: {}{more}", shown.join(", "))
        });
        let text: Vec<String> = named.collect();
        (!text.is_empty()).then(|| format!("{}{}", text.join("; "), more(self.places.len())))
    }
}

fn more(count: usize) -> String {
    match count.saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    }
}

/// Where the second plan differs from the first.
pub(crate) fn of(first: &Plan, second: &Plan) -> Differences {
    let (first, second) = (parts(first), parts(second));
    let mut all = Differences::default();
    let names: BTreeSet<&String> = first.keys().chain(second.keys()).collect();
    for name in names {
        let mut paths = BTreeSet::new();
        match (first.get(name), second.get(name)) {
            (Some(first), Some(second)) => walk(first, second, "", &mut paths),
            (Some(_), None) => drop(paths.insert("is no longer planned".to_owned())),
            (None, _) => drop(paths.insert("is planned anew".to_owned())),
        }
        if !paths.is_empty() {
            all.places.insert(name.clone(), paths);
        }
    }
    all
}

/// A plan by what its parts are about.
fn parts(plan: &Plan) -> BTreeMap<String, Value> {
    let mut document = serde_json::to_value(plan).unwrap_or_default();
    let actions = document.get_mut("actions").map(Value::take);
    let mut parts = BTreeMap::new();
    for action in actions
        .as_ref()
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let name = about(action);
        let mut at = name.clone();
        let mut number = 1;
        while parts.contains_key(&at) {
            number += 1;
            at = format!("{name} #{number}");
        }
        parts.insert(at, action.clone());
    }
    parts.insert("the plan".to_owned(), document);
    parts
}

/// What an action is about: `apply ConfigMap a`.
fn about(action: &Value) -> String {
    let text = |path: &str| action.pointer(path).and_then(Value::as_str);
    let first = |paths: &[&str]| {
        paths
            .iter()
            .find_map(|path| text(path))
            .unwrap_or_default()
            .to_owned()
    };
    let words = [
        first(&["/type"]),
        first(&["/object/kind", "/target/kind", "/name", "/reason"]),
        first(&["/object/metadata/name", "/target/name", "/key"]),
    ];
    let words: Vec<String> = words.into_iter().filter(|word| !word.is_empty()).collect();
    words.join(" ").chars().take(LONGEST).collect()
}

fn walk(first: &Value, second: &Value, path: &str, paths: &mut BTreeSet<String>) {
    let at = |key: &str| match path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    };
    match (first, second) {
        (Value::Object(one), Value::Object(other)) => {
            let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            for key in keys {
                let (one, other) = (one.get(key), other.get(key));
                walk(
                    one.unwrap_or(&Value::Null),
                    other.unwrap_or(&Value::Null),
                    &at(key),
                    paths,
                );
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (number, (one, other)) in one.iter().zip(other).enumerate() {
                walk(one, other, &format!("{path}[{number}]"), paths);
            }
        }
        _ if first != second => drop(paths.insert(path.chars().take(LONGEST).collect())),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn plan(actions: Value) -> Plan {
        serde_json::from_value(json!({ "children": "complete", "actions": actions })).unwrap()
    }

    fn map(name: &str, data: Value) -> Value {
        json!({ "type": "apply", "object": {
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": data,
        } })
    }

    fn told(first: Value, second: Value) -> Option<String> {
        of(&plan(first), &plan(second)).told()
    }

    #[test]
    fn order_does_not_count_and_values_are_not_shown() {
        let status = |n: u32| json!({ "type": "status", "status": { "n": [n, 2] } });
        let (a, b) = (map("a", json!({ "k": "1" })), map("b", json!({})));
        assert_eq!(
            told(json!([a, b, status(1)]), json!([status(1), b, a])),
            None
        );
        let other = map("a", json!({ "k": "geheim" }));
        insta::assert_snapshot!(
            told(json!([a, b, status(1)]), json!([other, map("c", json!({})), status(7)])).unwrap(),
            @"apply ConfigMap a: object.data.k; apply ConfigMap b: is no longer planned; apply ConfigMap c: is planned anew and 1 more"
        );
    }

    #[test]
    fn the_rest_of_a_plan_counts_too() {
        let one = plan(json!([]));
        let mut two = one.clone();
        two.requeue_after_ms = Some(1_000);
        assert_eq!(of(&one, &two).told().unwrap(), "the plan: requeueAfterMs");
    }
}
