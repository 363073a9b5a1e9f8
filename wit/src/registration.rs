//! The registration: a `Plugin` object, kybern.dev/v1alpha1, cluster-scoped. A manifest asks, a registration grants.

use crate::manifest::Manifest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A `Plugin` object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Registration {
    /// `kybern.dev/v1alpha1`.
    pub api_version: String,
    /// `Plugin`.
    pub kind: String,
    /// Name, uid, generation and so on.
    pub metadata: Map<String, Value>,
    /// What is registered and granted.
    pub spec: PluginSpec,
    /// What the host made of it.
    #[serde(default)]
    pub status: PluginStatus,
}

impl Registration {
    /// `metadata.name`.
    pub fn name(&self) -> &str {
        self.metadata
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// `metadata.generation`.
    pub fn generation(&self) -> i64 {
        self.metadata
            .get("generation")
            .and_then(Value::as_i64)
            .unwrap_or_default()
    }

    /// The field manager of its children.
    pub fn field_manager(&self) -> String {
        self.spec
            .field_manager
            .clone()
            .unwrap_or_else(|| crate::names::field_manager(self.name()))
    }

    /// Whether its custom resources may have records: what is kept, and what is patched, is there.
    pub fn keeps_records(&self) -> bool {
        let patches = |grant: &WriteGrant| grant.verbs.contains(&GrantVerb::Patch);
        self.spec.grants.state || self.spec.grants.write.iter().any(patches)
    }
}

/// What is registered and granted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PluginSpec {
    /// Only a host of this class (`kybern run --class`) handles it.
    #[serde(default)]
    pub class: String,
    /// Kinds that the plugin is in charge of.
    #[serde(default)]
    pub resources: Vec<PluginResource>,
    /// Where the component comes from.
    pub source: Source,
    /// The component's digest: `sha256:` and 64 hex digits. Required for http sources, and for
    /// ConfigMap sources outside the host's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// What happens with the CRDs that the manifest embeds.
    #[serde(default)]
    pub crds: CrdPolicy,
    /// Settings, checked against the manifest's schema.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub settings: Map<String, Value>,
    /// Settings from Secrets and ConfigMaps, merged over `settings` in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings_from: Vec<SettingsSource>,
    /// Impersonated for this plugin's writes, so that the API server enforces and audits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
    /// What the plugin may read, write and reach.
    #[serde(default)]
    pub grants: Grants,
    /// What one call and one pass may use.
    #[serde(default)]
    pub limits: Limits,
    /// Field manager of the children; immutable. Default `kybern/<name>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field_manager: Option<String>,
    /// Field managers of an operator that ran before; their entries are taken over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former_field_managers: Vec<String>,
    /// Registrations that must be Ready before this one becomes active.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
    /// What happens to children when the registration goes.
    #[serde(default)]
    pub on_removal: RemovalPolicy,
    /// No passes (deletion goes on).
    #[serde(default)]
    pub paused: bool,
    /// Another revision that is tried beside the one that decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
}

/// A revision that is tried before it decides for all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Trial {
    /// Where the component comes from; without it `spec.source`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Its digest: `sha256:` and 64 hex digits.
    pub digest: String,
    /// What it does.
    #[serde(default)]
    pub mode: TrialMode,
    /// Canary: the share of the CRs that it decides for, like `10%`. Default 10%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<String>,
    /// Canary: the share of its CRs that may fail by its fault before it is rolled back. Default 5%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_failures: Option<String>,
    /// Canary: the share of its CRs whose plan may differ from that of the revision before, which is
    /// then asked too. Without it nothing is compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_differences: Option<String>,
}

/// What a revision on trial does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum TrialMode {
    /// It decides for a share of the CRs.
    #[default]
    Canary,
    /// It plans beside the revision that decides; its plans are compared, and never followed.
    Shadow,
}

/// A kind that the plugin is in charge of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PluginResource {
    /// API group.
    #[serde(default)]
    pub group: String,
    /// API version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Only the CRs that it selects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// In charge, or only adding to it.
    #[serde(default)]
    pub role: ResourceRole,
}

/// A label selector.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// Labels that must be equal.
    #[serde(default)]
    pub match_labels: BTreeMap<String, String>,
}

/// In charge of a kind, or only adding to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ResourceRole {
    /// In charge: one for each CR.
    #[default]
    Primary,
    /// Adds to objects that others are in charge of (reserved).
    Decorator,
}

/// Where the component comes from: exactly one.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// A path on the host's file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// A key of a ConfigMap's binaryData.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ConfigMapSource>,
    /// An OCI artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci: Option<ImageSource>,
    /// An HTTP(S) address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpSource>,
}

/// A key of a ConfigMap's binaryData.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapSource {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Key; one that ends in `.gz` is unpacked.
    pub key: String,
}

/// An OCI artifact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ImageSource {
    /// Reference, with a tag or a digest.
    pub image: String,
    /// A Secret of type kubernetes.io/dockerconfigjson.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_secret: Option<ObjectName>,
    /// How often a tag is resolved anew, like `10m`; without it once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll_interval: Option<String>,
    /// Who must have signed it; without it nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verification>,
}

/// Who must have signed an OCI artifact, as `cosign sign --key` does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// One signature by one of these keys is enough.
    pub public_keys: Vec<PublicKey>,
}

/// A public key, ECDSA on P-256 in PEM: exactly one of the fields.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PublicKey {
    /// The key itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pem: Option<String>,
    /// A key of a Secret that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<KeyRef>,
    /// A key of a ConfigMap that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<KeyRef>,
}

/// An HTTP(S) address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct HttpSource {
    /// The address.
    pub url: String,
}

/// Namespace and name of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ObjectName {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// What happens with the CRDs that the manifest embeds. None is ever deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum CrdPolicy {
    /// Created if absent.
    #[default]
    Create,
    /// Left to others.
    Skip,
    /// Created, and updated with each version.
    CreateReplace,
}

/// Settings from a Secret or a ConfigMap: exactly one.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SettingsSource {
    /// A key of a Secret, a JSON or YAML object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<KeyRef>,
    /// A key of a ConfigMap, a JSON or YAML object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<KeyRef>,
}

/// One key of an object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct KeyRef {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Key.
    pub key: String,
}

/// What a plugin may read, write and reach. Nothing by default.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Grants {
    /// Kinds whose rows it may read. Its own kinds need no grant.
    #[serde(default)]
    pub read: Vec<ReadGrant>,
    /// Kinds whose objects it may write.
    #[serde(default)]
    pub write: Vec<WriteGrant>,
    /// Hosts that its act hook may reach.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<HttpGrant>,
    /// Secrets that its act hook may use by reference.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretGrant>,
    /// Whether it may keep state: the host then has a Secret of its own beside each CR.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub state: bool,
}

/// Kinds whose rows may be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ReadGrant {
    /// API group; empty for the core group.
    #[serde(default)]
    pub group: String,
    /// Kinds of that group; no wildcard.
    pub kinds: Vec<String>,
    /// Which objects.
    #[serde(default)]
    pub scope: Scope,
}

/// Which objects a grant reaches.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Scope {
    /// The CR's namespace.
    #[default]
    Own,
    /// These namespaces.
    Namespaces(Vec<String>),
    /// Objects with these labels, in the CR's namespace.
    Selector(Selector),
    /// All.
    Cluster,
}

/// Kinds whose objects may be written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct WriteGrant {
    /// API group; empty for the core group.
    #[serde(default)]
    pub group: String,
    /// Kinds of that group; no wildcard.
    pub kinds: Vec<String>,
    /// What may be done to them; may be empty where subresources are named.
    pub verbs: VerbGrant,
    /// Subresources that may be written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subresources: Vec<String>,
    /// Which objects.
    #[serde(default)]
    pub scope: Scope,
    /// Whether an object without a controller may be taken over.
    #[serde(default)]
    pub adopt: bool,
}

/// What may be done to the objects of a grant.
pub type VerbGrant = Vec<GrantVerb>;

/// One thing that may be done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum GrantVerb {
    /// Create and keep as a child.
    Apply,
    /// Change an object that is not a child.
    Patch,
    /// Delete explicitly; pruning own children needs only `apply`.
    Delete,
}

/// A host that the act hook may reach.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct HttpGrant {
    /// Host name; a leading `*.` matches one or more labels.
    pub host: String,
    /// Ports; empty = 80 and 443.
    #[serde(default)]
    pub ports: Vec<u16>,
    /// Methods; empty = GET.
    #[serde(default)]
    pub methods: Vec<String>,
}

/// A secret that the act hook may use by reference: the host puts it into headers of requests, and
/// the plugin never sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SecretGrant {
    /// The name by which the plugin refers to it.
    pub name: String,
    /// Where it is.
    pub secret_ref: SecretKeyRef,
    /// Hosts that it may be sent to, as in `grants.http`, which must allow them too.
    pub hosts: Vec<String>,
    /// Whether it may also go over http, where everybody on the way can read it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_plain_http: bool,
}

/// One key of a Secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Namespace; without it that of the custom resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// Key.
    pub key: String,
}

/// What one call and one pass may use. Unset = the host's default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Guest memory of one call, a quantity. Default 64Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// Time of one pure call, like `500ms`. Default 500ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Time of one effect, like `30s`. Default 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect_time: Option<String>,
    /// Passes at once. Default 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Share of a CR's children that one pass may prune, like `50%`. Up to 3 always go. Default 50%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_prune: Option<String>,
}

/// What happens to children when the registration goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum RemovalPolicy {
    /// They stay, without ownerReference and finalizer.
    #[default]
    Orphan,
    /// They are deleted.
    DeleteChildren,
}

/// What the host made of a registration.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PluginStatus {
    /// Ready, Degraded, Authorized, ...
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<PluginCondition>,
    /// The version that every replica runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<ActiveVersion>,
    /// What an OCI reference was resolved to; each replica loads exactly that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<ResolvedImage>,
    /// Versions that ran before, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previous: Vec<PreviousVersion>,
    /// What came of `spec.trial`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialStatus>,
    /// The generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The kinds that the plugin is in charge of now, and those that it was in charge of and that
    /// are not let go of yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ResourceStatus>,
    /// The kinds that it may write now, and those that it might write before and that are not let
    /// go of yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub written: Vec<ResourceStatus>,
}

/// A standard condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PluginCondition {
    /// Like `Ready`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// CamelCase, for machines.
    pub reason: String,
    /// For people: what is wrong and what to do.
    pub message: String,
    /// When `status` last changed, RFC 3339.
    pub last_transition_time: String,
    /// The generation that it speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// The version that every replica runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ActiveVersion {
    /// `sha256:` and 64 hex digits.
    pub digest: String,
    /// The manifest's version.
    #[serde(default)]
    pub version: String,
    /// The manifest's world.
    #[serde(default)]
    pub world: String,
}

/// What an OCI reference was resolved to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ResolvedImage {
    /// The reference, as the spec had it.
    pub image: String,
    /// The artifact's manifest: `sha256:` and 64 hex digits.
    pub digest: String,
}

/// What came of a trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TrialStatus {
    /// Digest of the component on trial.
    pub digest: String,
    /// How far it is.
    pub state: TrialState,
}

/// How far a trial is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum TrialState {
    /// It has not begun; the condition Trial says why.
    Pending,
    /// It goes on.
    Running,
    /// It failed or differed too often: it decides for nobody. Another digest begins another trial.
    RolledBack,
}

/// A version that ran before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PreviousVersion {
    /// `sha256:` and 64 hex digits.
    pub digest: String,
    /// The manifest's version.
    #[serde(default)]
    pub version: String,
}

/// A kind that the host runs the plugin for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ResourceStatus {
    /// API group.
    #[serde(default)]
    pub group: String,
    /// API version.
    pub version: String,
    /// Kind.
    pub kind: String,
}

impl PluginSpec {
    /// Kinds that the manifest asks to be in charge of but the registration does not name.
    pub fn unregistered<'a>(
        &'a self,
        manifest: &'a Manifest,
    ) -> impl Iterator<Item = &'a crate::ResourceAsk> {
        manifest.resources.iter().filter(|ask| {
            !self
                .resources
                .iter()
                .any(|r| r.group == ask.group && r.version == ask.version && r.kind == ask.kind)
        })
    }
}
