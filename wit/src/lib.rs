//! What the host and a plugin must agree on: documents, manifest, registration and names.
//!
//! The functions that carry the documents are in `operator.wit`; the JSON
//! Schemas in `schema/` are generated from the types here (feature `schema`).
//! The documents only ever grow: readers ignore fields they do not know, but
//! the host refuses a plan with an action it does not know, whole.

mod document;
mod gvk;
mod hook_error;
mod manifest;
pub mod names;
mod plan;
mod registration;
mod render;
#[cfg(feature = "schema")]
pub mod schema;

pub use document::{Effect, Outcome, OutcomeResult, Query, Sensing, Situation, Trigger};
pub use gvk::Gvk;
pub use hook_error::{Failure, HookError};
pub use manifest::{
    Capability, CapabilityAsk, ConditionsShape, Delegation, EffectAsk, Manifest, ManifestQuery,
    ReadAsk, ResourceAsk, SecretAsk, StatusShape, WORLD, WriteAsk,
};
pub use plan::{
    Action, Adoption, ApplyMode, ApplyObject, Children, DeleteObject, Deletion, EffectPhase,
    EventType, ImmutablePolicy, PatchKind, PatchObject, Plan, Propagation, PrunePolicy, RunEffect,
    SetState, SqlWrite, Subresource, SubresourceKind, Target,
};
pub use registration::{
    ActiveVersion, ConfigMapSource, CrdPolicy, GrantVerb, Grants, HttpGrant, HttpSource,
    ImageSource, KeyRef, Limits, ObjectName, PluginCondition, PluginResource, PluginSpec,
    PluginStatus, PreviousVersion, PublicKey, ReadGrant, Registration, RemovalPolicy,
    ResolvedImage, ResourceRole, ResourceStatus, Scope, SecretGrant, SecretKeyRef, Selector,
    SettingsSource, Source, Trial, TrialMode, TrialState, TrialStatus, VerbGrant, Verification,
    WriteGrant,
};
pub use render::{
    HelmAnswer, HelmError, HelmHook, HelmLookup, HelmManifest, HelmOptions, HelmRelease,
    HelmRequest,
};

/// The WIT package's name and version, as a component names it.
pub const PACKAGE: &str = "kybern:operator@0.1.0";
/// The WIT package's text.
pub const WIT: &str = include_str!("../operator.wit");
