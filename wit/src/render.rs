//! What the host renders for a plugin (interface `render`), and what comes back.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Input of `render.helm`: a chart of the bundle, and what it is rendered with.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct HelmRequest {
    /// A path in the bundle: a chart's folder, or a packed chart (`.tgz`).
    pub chart: String,
    /// Layers of values, each a YAML text; later ones win.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// What templates see as `.Release`.
    pub release: HelmRelease,
    /// What `lookup` answers; what is not here is missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lookup: Vec<HelmLookup>,
    /// How it is rendered.
    #[serde(default)]
    pub options: HelmOptions,
}

/// What templates see as `.Release`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct HelmRelease {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// 1 for the first.
    #[serde(default)]
    pub revision: i64,
    /// Whether there was one before.
    #[serde(default)]
    pub is_upgrade: bool,
}

/// One answer of `lookup`, or one that is missing.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct HelmLookup {
    /// Like `apps/v1`.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Namespace; empty = of all, or the kind has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Name; empty = a list.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The object; absent = there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<Value>,
    /// The objects of a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<Value>>,
}

/// How a chart is rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct HelmOptions {
    /// A value that is not there is an error.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
    /// Values are not checked against the charts' schemas.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip_schema: bool,
    /// Notes of subcharts too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sub_notes: bool,
}

/// Output of `render.helm`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct HelmAnswer {
    /// What the release holds, in the order in which Helm installs it.
    #[serde(default)]
    pub manifests: Vec<HelmManifest>,
    /// Hooks, tests among them.
    #[serde(default)]
    pub hooks: Vec<HelmHook>,
    /// What the charts' folders `crds` hold.
    #[serde(default)]
    pub crds: Vec<HelmManifest>,
    /// What `NOTES.txt` says.
    #[serde(default)]
    pub notes: String,
    /// What `lookup` asked for and the request did not answer.
    #[serde(default)]
    pub missing_lookups: Vec<HelmLookup>,
    /// Why it was not rendered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<HelmError>,
}

/// One document of a rendered chart.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct HelmManifest {
    /// The template's path.
    pub source: String,
    /// Kind.
    #[serde(default)]
    pub kind: String,
    /// YAML.
    pub content: String,
}

/// One hook of a rendered chart.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct HelmHook {
    /// The template's path.
    pub source: String,
    /// Kind.
    #[serde(default)]
    pub kind: String,
    /// Name.
    #[serde(default)]
    pub name: String,
    /// Like `pre-install`.
    #[serde(default)]
    pub events: Vec<String>,
    /// Lower ones first.
    #[serde(default)]
    pub weight: i64,
    /// Like `before-hook-creation`.
    #[serde(default)]
    pub delete_policies: Vec<String>,
    /// YAML.
    pub content: String,
}

/// Why a chart was not rendered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct HelmError {
    /// `request`, `load`, `values`, `capabilities`, `render` or `sort`.
    pub stage: String,
    /// For people.
    pub message: String,
}
