//! Talks to the Kubernetes API: discovery, schemas, watches, writes, leader election, events.
//!
//! # Why
//! The host keeps whole kinds in memory and pays per byte, so nothing here decodes objects into
//! Rust types: a body is [`bytes::Bytes`] from the socket to the table, and only the few fields that
//! the protocol itself needs (`metadata.resourceVersion`, `continue`, `Status`) are read on the way.
//!
//! # Contract
//! * [`Cluster`] is the connection; it is cheap to clone and owns no task.
//! * [`discover()`] says what is served, [`openapi_types`] which scalar lives at which path.
//! * [`watch()`] feeds one kind into a table as [`kybern_table::Batch`]es, for ever.
//! * [`Writes`] is the only way to change the cluster, and every write passes a [`Fence`].
//! * [`Cluster::may`] and [`Cluster::rules`] say what a user may do.
//! * [`lease`] decides who may write; [`events`] tells people what happened.
//!
//! # Limits
//! Every body, queue, cache and wait in this crate has a bound; the bounds are in the `*Config`
//! structs, with their defaults.

mod api_error;
pub mod clock;
mod cluster;
pub mod discover;
mod encode;
pub mod events;
mod exchange;
mod fence;
mod impersonate;
pub mod lease;
pub mod openapi;
mod read;
mod resource;
mod review;
pub mod watch;
mod write_options;
mod writes;

pub use api_error::{ApiError, Cause, RequestError};
pub use cluster::{Cluster, ClusterConfig, ClusterError};
pub use discover::{ApiResource, Discovery, DiscoveryFailure, discover};
pub use fence::{AlwaysLeader, Fence, NotLeading};
pub use impersonate::Impersonate;
pub use lease::{LeaderState, Leadership};
pub use openapi::{OpenApiError, OpenApiTypes, PathStep, TypedPath, openapi_types};
pub use read::{ListOptions, ListPage};
pub use resource::{Resource, Target};
pub use review::{Right, Rules};
pub use watch::{
    Interruption, Observation, Phase, Scope, WatchConfig, WatchEnd, WatchObserver, WatchTarget,
    watch,
};
pub use write_options::{ApplyOptions, DeleteOptions, PatchOptions, Propagation, WriteOptions};
pub use writes::{Deletion, Writes, WritesConfig};
