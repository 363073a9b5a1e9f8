//! The manifest: what a plugin asks for. JSON in the component's custom section `kybern:manifest`.

use crate::registration::{GrantVerb, ResourceRole};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The world that this version of the interface defines.
pub const WORLD: &str = "kybern:operator@0.1.0";

/// What a plugin is and what it asks for. A registration grants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The plugin's name, a DNS label.
    pub name: String,
    /// The plugin's own version (semver).
    pub version: String,
    /// The interface it was built for, like `kybern:operator@0.1.0`.
    pub world: String,
    /// Kinds it can be in charge of.
    #[serde(default)]
    pub resources: Vec<ResourceAsk>,
    /// Queries answered before every `decide`.
    #[serde(default)]
    pub queries: Vec<ManifestQuery>,
    /// Kinds whose rows it wants to read.
    #[serde(default)]
    pub reads: Vec<ReadAsk>,
    /// Kinds whose objects it wants to write.
    #[serde(default)]
    pub writes: Vec<WriteAsk>,
    /// Host capabilities.
    #[serde(default)]
    pub capabilities: Vec<CapabilityAsk>,
    /// Secrets that its act hook refers to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretAsk>,
    /// Effects that its plans may name.
    #[serde(default)]
    pub effects: Vec<EffectAsk>,
    /// CustomResourceDefinition objects of its kinds.
    #[serde(default)]
    pub crds: Vec<Value>,
    /// JSON Schema of its settings; null = takes none.
    #[serde(default)]
    pub settings_schema: Value,
    /// What its kinds' status looks like.
    #[serde(default)]
    pub status: StatusShape,
    /// Rules inside Roles that it creates; the host must hold them to hand them on.
    #[serde(default)]
    pub delegates: Vec<Delegation>,
    /// Whether its plans keep state with `setState`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub state: bool,
}

/// A kind that a plugin can be in charge of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ResourceAsk {
    /// API group.
    #[serde(default)]
    pub group: String,
    /// API version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// In charge, or only adding to it.
    #[serde(default)]
    pub role: ResourceRole,
}

/// A query answered before every `decide`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ManifestQuery {
    /// The name under which `rows.open` finds the answer.
    pub name: String,
    /// One SELECT. Parameters are `$1`, `$2`, ...
    pub sql: String,
    /// Where each parameter comes from: a dotted path into the CR, like `metadata.namespace`.
    #[serde(default)]
    pub params: Vec<String>,
}

/// A kind whose rows a plugin wants to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ReadAsk {
    /// API group.
    #[serde(default)]
    pub group: String,
    /// API version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// An empty table, not an error, while the kind is not served.
    #[serde(default)]
    pub optional: bool,
}

/// A kind whose objects a plugin wants to write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct WriteAsk {
    /// API group.
    #[serde(default)]
    pub group: String,
    /// API version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// What it does to them.
    pub verbs: Vec<GrantVerb>,
    /// Subresources it writes, like `status`.
    #[serde(default)]
    pub subresources: Vec<String>,
}

/// A host capability.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CapabilityAsk {
    /// Which.
    pub name: Capability,
    /// Why, for the administrator who grants it.
    #[serde(default)]
    pub reason: String,
}

/// A secret that the act hook refers to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SecretAsk {
    /// The name by which it does.
    pub name: String,
    /// What for, for the administrator who grants it.
    #[serde(default)]
    pub reason: String,
}

/// Host capabilities that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Capability {
    /// Outgoing HTTP in the act hook.
    Http,
    /// Secrets by reference in the act hook.
    Secrets,
    /// Templates that the host renders, in the pure hooks. Needs no grant.
    Render,
}

/// An effect that plans may name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct EffectAsk {
    /// Which.
    pub name: String,
    /// What it does, for people.
    #[serde(default)]
    pub description: String,
}

/// What the status of a plugin's kinds looks like.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct StatusShape {
    /// Whether `status.conditions` is a list of standard conditions.
    #[serde(default)]
    pub conditions: ConditionsShape,
    /// Whether `status.observedGeneration` exists.
    #[serde(default)]
    pub observed_generation: bool,
}

/// Whether `status.conditions` is a list of standard conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum ConditionsShape {
    /// `type`, `status`, `reason`, `message`, `lastTransitionTime`, `observedGeneration`.
    Standard,
    /// No conditions: the host writes none.
    #[default]
    None,
}

/// A rule inside a Role that the plugin creates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Delegation {
    /// API groups, as in a PolicyRule.
    pub api_groups: Vec<String>,
    /// Resources (plurals), as in a PolicyRule.
    pub resources: Vec<String>,
    /// Verbs, as in a PolicyRule.
    pub verbs: Vec<String>,
}
