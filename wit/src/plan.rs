//! The plan: the immutable result of `decide`, typed actions that leave the host no choices.

use crate::Gvk;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// What `decide` returns.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Whether `actions` names every child that should exist. Required: a document without it is no
    /// plan, least of all one that wants no children.
    pub children: Children,
    /// What to do, in any order: waves and the host decide the order.
    pub actions: Vec<Action>,
    /// How far the CR's deletion is.
    #[serde(default)]
    pub deletion: Deletion,
    /// Run again after at most this many milliseconds (floor 1,000; jittered).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requeue_after_ms: Option<u64>,
}

/// Whether the plan names every child that should exist.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Children {
    /// Yes: what it does not name is pruned.
    #[default]
    Complete,
    /// No, for this reason: nothing is pruned.
    Partial(String),
    /// The children stay as they are: nothing is applied or pruned.
    Unchanged,
}

/// How far the CR's deletion is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Deletion {
    /// The CR is not being deleted, or deletion needs nothing from the plugin.
    #[default]
    NotDeleting,
    /// Clean-up goes on, for this reason.
    InProgress(String),
    /// The plugin has nothing left to clean up.
    Done,
}

/// One action of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Action {
    /// A child that should exist.
    Apply(ApplyObject),
    /// A change of an object that is not a child.
    Patch(PatchObject),
    /// An object that should go.
    Delete(DeleteObject),
    /// The CR's whole status; the host adds its own conditions.
    Status {
        /// The status object.
        status: Value,
    },
    /// A Kubernetes Event on the CR.
    Event {
        /// Normal or Warning.
        #[serde(default)]
        severity: EventType,
        /// CamelCase, for machines.
        reason: String,
        /// For people.
        message: String,
    },
    /// Something that is not a Kubernetes write, run by the act hook.
    Effect(RunEffect),
    /// A SQL statement that writes.
    Sql(SqlWrite),
    /// What the plugin wants to remember for this CR.
    SetState(SetState),
    /// An eviction, a scale or a token.
    CreateSubresource(Subresource),
}

/// A child that should exist.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ApplyObject {
    /// The fields that the plugin cares about, with apiVersion, kind and metadata.name.
    /// A missing namespace is the CR's.
    pub object: Value,
    /// Kept as planned, or created once and left alone.
    #[serde(default)]
    pub mode: ApplyMode,
    /// Lower waves first.
    #[serde(default)]
    pub wave: i32,
    /// The next wave waits until this object is ready (kstatus).
    #[serde(default)]
    pub ready: bool,
    /// What to do when the API server says that a field cannot change.
    #[serde(default)]
    pub on_immutable: ImmutablePolicy,
    /// Whether an existing object without a controller may be taken over.
    #[serde(default)]
    pub adopt: Adoption,
    /// What happens when a later plan no longer names it.
    #[serde(default)]
    pub prune: PrunePolicy,
    /// Also apply it while the CR is being deleted.
    #[serde(default)]
    pub during_deletion: bool,
    /// Dotted paths handed over to other managers, like `spec.replicas`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore_paths: Vec<String>,
}

/// Kept as planned, or created once and left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum ApplyMode {
    /// Kept as planned; drift is reverted.
    #[default]
    Managed,
    /// Created if absent, then never changed: generated passwords, Jobs.
    CreateOnce,
}

/// What to do when the API server says that a field cannot change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum ImmutablePolicy {
    /// Explain it in a condition.
    #[default]
    Fail,
    /// Delete the child and create it again.
    Recreate,
}

/// Whether an existing object without a controller may be taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Adoption {
    /// It is somebody else's: a conflict.
    #[default]
    Never,
    /// Taken over if it has no other controller and the grant says `adopt`.
    IfUnowned,
}

/// What happens to a child that a later plan no longer names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum PrunePolicy {
    /// It is deleted.
    #[default]
    Delete,
    /// It loses its ownerReference and stays.
    Orphan,
    /// It stays a child.
    Keep,
}

/// A change of an object that is not a child, under a field manager of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PatchObject {
    /// Which object.
    pub target: Target,
    /// How `patch` reads.
    #[serde(default)]
    pub kind: PatchKind,
    /// The patch.
    pub patch: Value,
    /// A subresource such as `status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subresource: Option<String>,
    /// Lower waves first.
    #[serde(default)]
    pub wave: i32,
}

impl PatchObject {
    /// A server-side apply of the fields in `patch`.
    pub fn new(target: Target, patch: Value) -> Self {
        Self {
            target,
            kind: PatchKind::default(),
            patch,
            subresource: None,
            wave: 0,
        }
    }
}

/// How a patch reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum PatchKind {
    /// Server-side apply, without force.
    #[default]
    Apply,
    /// JSON merge patch (RFC 7386).
    Merge,
    /// JSON patch (RFC 6902).
    Json,
    /// Kubernetes' strategic merge patch.
    Strategic,
}

/// One object, by its full name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Reserved for objects of other clusters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// API group; empty for the core group.
    #[serde(default)]
    pub group: String,
    /// API version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Empty for a cluster-scoped object.
    #[serde(default)]
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Only the object with this uid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

impl Target {
    /// An object of this type; an empty namespace is a cluster-scoped object.
    pub fn new(resource: Gvk, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            cluster: None,
            group: resource.group,
            version: resource.version,
            kind: resource.kind,
            namespace: namespace.into(),
            name: name.into(),
            uid: None,
        }
    }

    /// Only the object with this uid.
    #[must_use]
    pub fn with_uid(mut self, uid: impl Into<String>) -> Self {
        self.uid = Some(uid.into());
        self
    }
}

/// An object that should go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct DeleteObject {
    /// Which object; the uid is required.
    pub target: Target,
    /// What happens to what it owns.
    #[serde(default)]
    pub propagation: Propagation,
    /// Lower waves first.
    #[serde(default)]
    pub wave: i32,
}

impl DeleteObject {
    /// Deletes in the background, in wave 0.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            propagation: Propagation::default(),
            wave: 0,
        }
    }
}

/// What happens to what a deleted object owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Propagation {
    /// Deleted afterwards by the garbage collector.
    #[default]
    Background,
    /// Deleted first.
    Foreground,
    /// Kept.
    Orphan,
}

/// Severity of an Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum EventType {
    /// Something that was expected.
    #[default]
    Normal,
    /// Something that a person should look at.
    Warning,
}

/// Something that is not a Kubernetes write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RunEffect {
    /// Which effect, as the manifest names it.
    pub name: String,
    /// Identity: an effect with a fresh outcome for (CR uid, key, hash of input) is not run.
    pub key: String,
    /// What the act hook gets.
    #[serde(default)]
    pub input: Value,
    /// A successful outcome older than this is no longer fresh; none = never old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_ms: Option<u64>,
    /// Time for one run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// While the CR lives, or while it is being deleted.
    #[serde(default)]
    pub phase: EffectPhase,
}

impl RunEffect {
    /// An effect without input whose outcome never gets old.
    pub fn new(name: impl Into<String>, key: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            key: key.into(),
            input: Value::Null,
            max_age_ms: None,
            timeout_ms: None,
            phase: EffectPhase::default(),
        }
    }

    /// What the act hook gets; another input is another effect.
    #[must_use]
    pub fn with_input(mut self, input: impl Into<Value>) -> Self {
        self.input = input.into();
        self
    }

    /// It runs again when its success is older than this.
    #[must_use]
    pub fn with_max_age(mut self, age: Duration) -> Self {
        self.max_age_ms = Some(millis(age));
        self
    }

    /// It runs at most this long.
    #[must_use]
    pub fn with_timeout(mut self, time: Duration) -> Self {
        self.timeout_ms = Some(millis(time));
        self
    }

    /// It runs while the CR is being deleted; the CR stays until it has succeeded.
    #[must_use]
    pub fn finalizing(mut self) -> Self {
        self.phase = EffectPhase::Finalize;
        self
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// When an effect may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum EffectPhase {
    /// While the CR lives.
    #[default]
    Normal,
    /// While it is being deleted; makes the host add its finalizer.
    Finalize,
}

/// A SQL statement that writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SqlWrite {
    /// INSERT, UPDATE or DELETE with `$1`, `$2`, ...
    pub statement: String,
    /// Parameter values, in order.
    #[serde(default)]
    pub params: Vec<Value>,
}

/// What the plugin wants to remember for this CR.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SetState {
    /// The next situation's `state`; null forgets it.
    pub state: Value,
}

/// An eviction, a scale or a token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Subresource {
    /// Which object.
    pub target: Target,
    /// Which subresource.
    pub subresource: SubresourceKind,
    /// The body that is posted.
    #[serde(default)]
    pub body: Value,
}

impl Subresource {
    /// Evicts a Pod, as disruption budgets allow; the target's uid is required.
    pub fn eviction(target: Target) -> Self {
        Self {
            target,
            subresource: SubresourceKind::Eviction,
            body: Value::Null,
        }
    }

    /// Gives an object that is not a child so many replicas.
    pub fn scale(target: Target, replicas: u32) -> Self {
        Self {
            target,
            subresource: SubresourceKind::Scale,
            body: serde_json::json!({ "spec": { "replicas": replicas } }),
        }
    }
}

/// A subresource that a plan may create.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum SubresourceKind {
    /// `pods/eviction`.
    Eviction,
    /// `*/scale`.
    Scale,
    /// `serviceaccounts/token`.
    Token,
}
