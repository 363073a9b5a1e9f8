//! What a CR's record keeps.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Objects that a rule remembers.
const SEEN: usize = 256;

/// Events that are remembered.
const EVENTS: usize = 256;

/// What is kept between passes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    /// What `remember` says.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub(crate) memory: Map<String, Value>,
    /// Events that were made: of what, and which.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) events: BTreeMap<String, String>,
    /// Objects that rules saw, by rule and uid.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) seen: BTreeMap<String, BTreeMap<String, Seen>>,
    /// Releases, by command.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) releases: BTreeMap<String, Release>,
}

/// An object that a rule saw.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// Whether it has gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) gone: bool,
    /// What it was, where templates ask for `old`.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(crate) object: Value,
}

/// A release of a chart with hooks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Release {
    pub(crate) revision: i64,
    /// Of what the chart renders to.
    pub(crate) digest: String,
    /// Hooks of this revision that have succeeded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) done: Vec<String>,
}

impl State {
    pub(crate) fn read(value: &Value) -> Self {
        serde_json::from_value(value.clone()).unwrap_or_default()
    }

    pub(crate) fn value(&self) -> Value {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) if !map.is_empty() => Value::Object(map),
            _ => Value::Null,
        }
    }

    /// Keeps only so much.
    pub(crate) fn bounded(&mut self) {
        for seen in self.seen.values_mut() {
            while seen.len() > SEEN {
                let gone = seen
                    .iter()
                    .find(|(_, seen)| seen.gone)
                    .map(|(uid, _)| uid.clone());
                let Some(uid) = gone.or_else(|| seen.keys().next().cloned()) else {
                    break;
                };
                seen.remove(&uid);
            }
        }
        while self.events.len() > EVENTS {
            self.events.pop_first();
        }
    }
}

/// A short digest.
pub(crate) fn digest(text: &str) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(text.as_bytes())
        .iter()
        .take(12)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
