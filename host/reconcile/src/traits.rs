//! What the engine asks of others: answers, decisions, writes, time, chance and facts about kinds.
//!
//! The host binary implements these over the SQL engine, the wasm runtime and
//! the API server; tests and the simulator over memory.

use crate::active::{Active, KindFacts};
use crate::error::{DecideError, SenseError, WriteError};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use kybern_interface::{
    Action, Effect, EventType, Gvk, Plan, Propagation, Query, Sensing, Situation, SqlWrite, Trigger,
};
use kybern_table::{ReadSet, Snapshot};
use serde_json::Value;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What a pass asks.
#[derive(Clone, Copy)]
pub struct SenseRequest<'a> {
    /// For whom: grants and access follow from it.
    pub active: &'a Active,
    /// The CR.
    pub object: &'a Value,
    /// The manifest's queries with their parameters filled in, then those of the sense hook.
    pub queries: &'a [Query],
    /// All are answered on this one.
    pub snapshot: &'a Snapshot,
}

/// A statement of a plan.
#[derive(Clone, Copy)]
pub struct ExpandRequest<'a> {
    /// Whose: grants and access follow from it.
    pub active: &'a Active,
    /// The CR.
    pub object: &'a Value,
    /// Which action it is, for messages: `of action 3 (sql)`.
    pub name: &'a str,
    /// The statement and its parameters.
    pub write: &'a SqlWrite,
    /// It is about the rows of this one.
    pub snapshot: &'a Snapshot,
}

/// What a statement of a plan stands for.
#[derive(Debug, Clone, Default)]
pub struct Expanded {
    /// No statements among them.
    pub actions: Vec<Action>,
    /// What they depend on.
    pub read_set: ReadSet,
}

/// The rows of one query.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The query's name.
    pub name: String,
    /// Columns.
    pub schema: SchemaRef,
    /// Rows, in canonical order.
    pub batches: Vec<RecordBatch>,
    /// Equal for equal rows.
    pub fingerprint: u128,
    /// How many rows.
    pub rows: usize,
    /// What the answer depends on.
    pub read_set: ReadSet,
}

/// All answers of a pass.
#[derive(Debug, Clone, Default)]
pub struct Sensed {
    /// In the order of the queries.
    pub answers: Vec<Answer>,
}

/// Answers queries on a snapshot.
#[async_trait]
pub trait Sense: Send + Sync {
    /// Answers all of them or none.
    async fn sense(&self, request: SenseRequest<'_>) -> Result<Sensed, SenseError>;

    /// What a statement of a plan asks for, object by object.
    async fn expand(&self, request: ExpandRequest<'_>) -> Result<Expanded, SenseError> {
        Err(SenseError::Query {
            query: request.name.to_owned(),
            message: "there is no SQL here".to_owned(),
        })
    }

    /// From how many CRs on it pays to ask for their answers together; none where it never does.
    fn company(&self, _: &Active) -> Option<usize> {
        None
    }

    /// Answers several CRs of one registration on one snapshot, each as [`Sense::sense`] would, in
    /// their order. They ask the same statements.
    async fn sense_together(
        &self,
        requests: &[SenseRequest<'_>],
    ) -> Vec<Result<Sensed, SenseError>> {
        let mut all = Vec::with_capacity(requests.len());
        for request in requests {
            all.push(self.sense(*request).await);
        }
        all
    }
}

/// Runs a plugin's pure hooks.
#[async_trait]
pub trait Decide: Send + Sync {
    /// Which queries matter for this CR. Called only when the component has a sense hook; once
    /// more, with the answers so far, for each [`Sensing::Again`].
    async fn sense(
        &self,
        active: &Active,
        trigger: Trigger,
        answers: &[Answer],
    ) -> Result<Sensing, DecideError>;

    /// The plan. Parse it with [`crate::parse_plan`], which refuses unknown actions.
    async fn decide(
        &self,
        active: &Active,
        situation: Situation,
        answers: &[Answer],
    ) -> Result<Plan, DecideError>;
}

/// Runs a plugin's effects.
#[async_trait]
pub trait Act: Send + Sync {
    /// Runs one effect; the outcome's document. It has this much time. Whoever drops the future
    /// ends the effect: nothing of it goes on, apart from what the world outside has begun.
    async fn act(
        &self,
        active: &Active,
        effect: Effect,
        time: Duration,
    ) -> Result<Value, DecideError>;
}

/// One object by its full name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectRef {
    /// Group, version, kind.
    pub gvk: Gvk,
    /// The plural, as in paths; empty if the writer has to look it up.
    pub plural: String,
    /// Empty for a cluster-scoped object.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.gvk.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.gvk.kind, self.namespace, self.name)
        }
    }
}

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// The registration in whose name it is made.
    pub plugin: Arc<str>,
    /// The service account to impersonate, if the registration names one: `name`, in the host's
    /// namespace, or `namespace/name`.
    pub service_account: Option<String>,
    /// What is written.
    pub target: ObjectRef,
    /// How.
    pub body: WriteBody,
}

/// How an object is written.
#[derive(Debug, Clone, PartialEq)]
pub enum WriteBody {
    /// POST with `fieldManager=manager`.
    Create {
        /// The whole object.
        object: Value,
        /// Field manager.
        manager: String,
    },
    /// Server-side apply with `force=true`. `metadata.uid` is in the object.
    Apply {
        /// The intent.
        object: Value,
        /// Field manager.
        manager: String,
    },
    /// Server-side apply without force on an object of somebody else's. `metadata.uid` is in the
    /// object, so that it never creates.
    Patch {
        /// The fields, or none to give all up.
        object: Value,
        /// Field manager.
        manager: String,
        /// `status`, or empty for the object itself.
        part: String,
    },
    /// JSON patch (RFC 6902).
    JsonPatch {
        /// The operations; a stale `metadata.resourceVersion` among them answers 409.
        patch: Value,
        /// Field manager.
        manager: String,
    },
    /// Server-side apply on `/status` with `force=true`. `metadata.uid` is in the object.
    ApplyStatus {
        /// apiVersion, kind, metadata and status.
        object: Value,
        /// Field manager.
        manager: String,
    },
    /// POST on `/eviction`, with the uid as a precondition.
    Evict {
        /// Only the Pod with this uid.
        uid: String,
        /// Seconds until it is killed; none = as the Pod says.
        grace_seconds: Option<u32>,
    },
    /// PATCH on `/scale`.
    Scale {
        /// How many there shall be.
        replicas: u32,
        /// The resourceVersion that was read; for another it answers 409.
        version: String,
        /// Field manager.
        manager: String,
    },
    /// DELETE with preconditions.
    Delete {
        /// Only the object with this uid.
        uid: String,
        /// What happens to what it owns.
        propagation: Propagation,
    },
}

impl WriteBody {
    /// `create`, `apply`, `patch`, `status`, `evict`, `scale` or `delete`.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Apply { .. } => "apply",
            Self::Patch { .. } | Self::JsonPatch { .. } => "patch",
            Self::ApplyStatus { .. } => "status",
            Self::Evict { .. } => "evict",
            Self::Scale { .. } => "scale",
            Self::Delete { .. } => "delete",
        }
    }
}

/// What came back from a write that was accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// The object as the API server holds it now, `managedFields` included; none for a delete and
    /// for a subresource.
    pub object: Option<Value>,
}

/// A Kubernetes Event to record.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRequest {
    /// The registration in whose name it is recorded.
    pub plugin: Arc<str>,
    /// The CR.
    pub regarding: ObjectRef,
    /// The CR's uid.
    pub uid: String,
    /// Normal or Warning.
    pub severity: EventType,
    /// CamelCase, for machines.
    pub reason: String,
    /// What was being done: `Reconcile`, `Prune`, ...
    pub action: &'static str,
    /// For people.
    pub note: String,
}

/// Writes to the API server.
#[async_trait]
pub trait Apply: Send + Sync {
    /// Makes one write. Returns only after the answer is committed to the table, so that the next
    /// snapshot holds it.
    async fn write(&self, write: Write) -> Result<Written, WriteError>;

    /// Reads one object from the API server, `managedFields` included; none if it does not exist,
    /// a refusal (404) if its kind is not served in that version. The answer is committed to the table as well if the table exists.
    async fn read(&self, target: &ObjectRef) -> Result<Option<Value>, WriteError>;

    /// Reads `/scale` of one object; none if there is no such object.
    async fn read_scale(&self, target: &ObjectRef) -> Result<Option<Value>, WriteError>;

    /// Records an Event; bounded and aggregated by the implementation, never fails a pass.
    async fn event(&self, event: EventRequest);
}

/// Wall-clock time. Timers use tokio's clock, which tests pause.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> jiff::Timestamp;
}

/// Chance, for jitter.
pub trait Entropy: Send + Sync {
    /// Uniform in `0.0..1.0`.
    fn unit(&self) -> f64;
}

/// Facts about the kinds that the API server serves.
pub trait Kinds: Send + Sync {
    /// None: not served.
    fn facts(&self, gvk: &Gvk) -> Option<KindFacts>;

    /// The versions in which a kind is served; none if that is not known now.
    fn versions(&self, group: &str, kind: &str) -> Option<Vec<String>>;
}
