//! The documents that hooks take, and what they return apart from the plan.

use crate::Gvk;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A query that a pass answers before `decide`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Query {
    /// The name under which `rows.open` finds the answer.
    pub name: String,
    /// One SELECT. Parameters are `$1`, `$2`, ...
    pub sql: String,
    /// Parameter values, in order: null, boolean, number or string.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<Value>,
}

impl Query {
    /// A query without parameters.
    pub fn new(name: impl Into<String>, sql: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            sql: sql.into(),
            params: Vec::new(),
        }
    }

    /// The value of the next parameter.
    #[must_use]
    pub fn param(mut self, value: impl Into<Value>) -> Self {
        self.params.push(value.into());
        self
    }
}

/// Input of `sense`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Trigger {
    /// The CR's type, in the version that the registration names.
    pub resource: Gvk,
    /// The CR.
    pub object: Value,
    /// The registration's settings, defaults filled in.
    #[serde(default)]
    pub settings: Value,
    /// The pass's time, RFC 3339 UTC.
    pub now: String,
    /// Names of the answers that `rows.open` knows: none in the first call of a pass, then those of
    /// the manifest's queries and of what `again` asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queries: Vec<String>,
}

/// Output of `sense`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Sensing {
    /// Nothing to do for this CR now.
    Skip,
    /// The manifest's queries and these.
    Queries(Vec<Query>),
    /// These are answered now, with the manifest's, and `sense` is called once more; at most
    /// [`ROUNDS`](Sensing::ROUNDS) times in one pass. What is answered stays known, also to `decide`.
    Again(Vec<Query>),
}

impl Sensing {
    /// How often `sense` may ask to be called again in one pass.
    pub const ROUNDS: usize = 4;
}

/// Input of `decide`: everything that the plan may depend on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Situation {
    /// The CR's type, in the version that the registration names.
    pub resource: Gvk,
    /// The CR, `managedFields` left out.
    pub object: Value,
    /// Names of the answers that `rows.open` knows.
    #[serde(default)]
    pub queries: Vec<String>,
    /// Results of effects that the last plan named.
    #[serde(default)]
    pub outcomes: Vec<Outcome>,
    /// What the plugin kept with `setState`; null if nothing.
    #[serde(default)]
    pub state: Value,
    /// The registration's settings, defaults filled in.
    #[serde(default)]
    pub settings: Value,
    /// The pass's time, RFC 3339 UTC. A plan that depends on it must set `requeueAfterMs`.
    pub now: String,
}

impl Situation {
    /// Whether the CR is being deleted.
    pub fn deleting(&self) -> bool {
        self.object
            .pointer("/metadata/deletionTimestamp")
            .is_some_and(|at| !at.is_null())
    }
}

/// Input of `act`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Effect {
    /// Which effect, as the manifest names it.
    pub name: String,
    /// Identity of this run: the same key may be run more than once.
    pub key: String,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// What the plan gave.
    pub input: Value,
    /// The CR's type.
    pub resource: Gvk,
    /// `metadata` of the CR: name, namespace, uid.
    pub metadata: Map<String, Value>,
    /// The registration's settings.
    #[serde(default)]
    pub settings: Value,
}

/// The result of one effect, as the next pass sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Which effect.
    pub name: String,
    /// The key that the plan gave.
    pub key: String,
    /// Attempts so far.
    pub attempt: u32,
    /// What came of it.
    #[serde(flatten)]
    pub result: OutcomeResult,
    /// When it ended, RFC 3339 UTC.
    pub at: String,
}

/// What came of an effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum OutcomeResult {
    /// The document that the act hook returned.
    Ok(Value),
    /// Why it failed.
    Error(String),
}
