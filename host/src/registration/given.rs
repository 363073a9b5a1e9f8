//! The settings that a registration gives: `spec.settings`, and over it what `spec.settingsFrom` names.
//!
//! # Contract
//! Objects are merged key by key, at every depth; anything else, lists and null included, is replaced
//! by what comes later. What comes from objects of the cluster is hidden: no message tells it.

use super::problem::Problem;
use super::settings::Given;
use crate::values::{self, Got, Kind, ObjectAt, Seen, Values, ValuesConfig, once};
use kybern_interface::{KeyRef, PluginSpec, SettingsSource};
use kybern_kube::Cluster;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Most entries of `spec.settingsFrom`.
const MOST: usize = 16;
/// Most bytes of the settings once they are merged.
const BYTES: usize = 256 << 10;
/// Deepest value.
const DEPTH: usize = 32;
/// How long the first look at an object is waited for.
const FIRST: Duration = Duration::from_secs(1);

/// Where one entry is.
fn place(source: &SettingsSource, number: usize) -> Result<(ObjectAt, &KeyRef), Problem> {
    let (kind, at) = match (&source.secret_ref, &source.config_map_ref) {
        (Some(at), None) => (Kind::Secret, at),
        (None, Some(at)) => (Kind::ConfigMap, at),
        _ => {
            let what = "must have exactly one of secretRef, configMapRef";
            return Err(invalid(number, what));
        }
    };
    let named = |text: &str| !text.is_empty() && text.len() <= 253 && text.bytes().all(is_plain);
    if !named(&at.namespace) || !named(&at.name) || at.key.is_empty() {
        return Err(invalid(number, "needs a namespace, a name and a key"));
    }
    let object = ObjectAt {
        kind,
        namespace: at.namespace.clone(),
        name: at.name.clone(),
    };
    Ok((object, at))
}

/// Whether it can be part of an object's name.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.')
}

fn invalid(number: usize, what: &str) -> Problem {
    Problem::new(
        "InvalidSettings",
        format!("spec.settingsFrom[{number}] {what}"),
    )
}

/// What is wrong with `spec.settingsFrom` by itself.
pub(crate) fn check(spec: &PluginSpec) -> Result<(), Problem> {
    if spec.settings_from.len() > MOST {
        let what = format!("spec.settingsFrom has more than {MOST} entries; merge some objects");
        return Err(Problem::new("InvalidSettings", what));
    }
    let places = spec.settings_from.iter().enumerate();
    places
        .map(|(n, of)| place(of, n))
        .try_for_each(|of| of.map(|_| ()))
}

/// The keys of the objects that it names.
pub(crate) fn named(spec: &PluginSpec) -> BTreeMap<ObjectAt, BTreeSet<String>> {
    let mut all: BTreeMap<ObjectAt, BTreeSet<String>> = BTreeMap::new();
    // Whoever is refused takes nobody's place.
    if check(spec).is_err() {
        return all;
    }
    let places = spec.settings_from.iter().enumerate();
    for (at, key) in places.filter_map(|(number, of)| place(of, number).ok()) {
        all.entry(at).or_default().insert(key.key.clone());
    }
    all
}

/// The settings, of objects that are followed.
pub(crate) async fn followed(spec: &PluginSpec, values: &Values) -> Result<Given, Problem> {
    let wanted: Vec<ObjectAt> = named(spec).into_keys().collect();
    values.known(&wanted, FIRST).await;
    merged(spec, |at, _| values.seen(at))
}

/// The settings, of objects that are read once.
pub(crate) async fn read(spec: &PluginSpec, cluster: &Cluster) -> Result<Given, Problem> {
    let most = ValuesConfig::default().value_bytes;
    let mut all = BTreeMap::new();
    for (at, keys) in named(spec) {
        for key in keys {
            let seen = once(cluster, &at, &key, most).await;
            all.insert((at.clone(), key), seen);
        }
    }
    merged(spec, |at, key| {
        all.get(&(at.clone(), key.to_owned())).cloned()
    })
}

/// The settings, of objects of manifest files.
pub(crate) fn among<'a>(
    spec: &PluginSpec,
    objects: impl Iterator<Item = &'a Value> + Clone,
) -> Result<Given, Problem> {
    let most = ValuesConfig::default().value_bytes;
    merged(spec, |at, key| {
        let keys = BTreeSet::from([key.to_owned()]);
        Some(values::among(objects.clone(), at, &keys, most))
    })
}

/// The settings, from whoever knows what is in an object.
fn merged(
    spec: &PluginSpec,
    seen: impl Fn(&ObjectAt, &str) -> Option<Seen>,
) -> Result<Given, Problem> {
    let mut all = spec.settings.clone();
    for (number, source) in spec.settings_from.iter().enumerate() {
        let (at, key) = place(source, number)?;
        let from = format!("spec.settingsFrom[{number}]: {at} key {}", key.key);
        let over = one(&from, &key.key, seen(&at, &key.key))?;
        merge(&mut all, over);
    }
    let large = serde_json::to_vec(&all).map_or(true, |text| text.len() > BYTES);
    if large && !spec.settings_from.is_empty() {
        let what =
            format!("spec.settings and spec.settingsFrom together have more than {BYTES} bytes");
        return Err(Problem::new("InvalidSettings", what));
    }
    Ok(Given {
        values: all,
        hidden: !spec.settings_from.is_empty(),
    })
}

/// What one entry gives.
fn one(from: &str, key: &str, seen: Option<Seen>) -> Result<Map<String, Value>, Problem> {
    let missing = |why: &str| Problem::passing("SettingsUnavailable", format!("{from} {why}"));
    let object = from.rsplit_once(" key ").map_or(from, |(object, _)| object);
    let values = match seen {
        None => return Err(missing("is not followed: there are too many such objects")),
        Some(Seen::Pending) => {
            // Whoever reads it says when it is here.
            return Err(Problem::new("Loading", format!("{object} is being read")));
        }
        Some(Seen::Absent) => {
            let what = format!("{object} does not exist; create it");
            return Err(Problem::new("SettingsUnavailable", what));
        }
        Some(Seen::Failed(why)) => {
            let what = format!("{object} cannot be read: {why}");
            return Err(Problem::new("SettingsUnavailable", what));
        }
        Some(Seen::There(values)) => values,
    };
    let settings = |why: String| Problem::new("InvalidSettings", format!("{from} {why}"));
    match values.get(key) {
        None => Err(Problem::new(
            "SettingsUnavailable",
            format!("{from} is not there; add it"),
        )),
        Some(Got::TooLarge(bytes)) => {
            Err(settings(format!("has {bytes} bytes, which is too much")))
        }
        Some(Got::Value(value)) => object_of(value.bytes())
            .ok_or_else(|| settings("holds no YAML or JSON object".to_owned())),
    }
}

/// The object that a text is; what is wrong with it would tell of it.
fn object_of(bytes: &[u8]) -> Option<Map<String, Value>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(_) => serde_saphyr::from_str(text).ok()?,
    };
    match value {
        Value::Object(object) if object.values().all(|value| is_flat(value, DEPTH)) => Some(object),
        Value::Null => Some(Map::new()),
        _ => None,
    }
}

fn is_flat(value: &Value, left: usize) -> bool {
    let Some(left) = left.checked_sub(1) else {
        return false;
    };
    match value {
        Value::Array(all) => all.iter().all(|value| is_flat(value, left)),
        Value::Object(all) => all.values().all(|value| is_flat(value, left)),
        _ => true,
    }
}

/// Puts one object over another.
fn merge(base: &mut Map<String, Value>, over: Map<String, Value>) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Object(inner)), Value::Object(value)) => merge(inner, value),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
#[path = "given_tests.rs"]
mod tests;
