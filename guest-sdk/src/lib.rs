//! Write a Kybern plugin in Rust: a type, one function from rows to a plan, and no unsafe.
//!
//! # A whole plugin
//! ```
//! use kybern_sdk::{Cr, HookError, Plan, Plugin, Situation, json};
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! struct Spec {
//!     text: String,
//! }
//!
//! struct Greeting;
//!
//! #[kybern_sdk::plugin(
//!     name = "greeting",
//!     resource = "example.com/v1/Greeting",
//!     writes = ["v1/ConfigMap"],
//! )]
//! impl Plugin for Greeting {
//!     type Spec = Spec;
//!
//!     fn decide(cr: &Cr<Spec>, _: &Situation<'_>) -> Result<Plan, HookError> {
//!         Ok(Plan::new().apply(json!({
//!             "apiVersion": "v1",
//!             "kind": "ConfigMap",
//!             "metadata": { "name": cr.metadata.name },
//!             "data": { "text": cr.spec.text },
//!         })))
//!     }
//! }
//!
//! // `cargo test` needs neither wasm nor a cluster.
//! let plan = kybern_sdk::testing::Situation::new(json!({
//!     "apiVersion": "example.com/v1",
//!     "kind": "Greeting",
//!     "metadata": { "name": "hello" },
//!     "spec": { "text": "Hello!" },
//! }))
//! .decide::<Greeting>()?;
//! let config = plan.child("ConfigMap", "hello").ok_or(HookError::wait("no ConfigMap"))?;
//! assert_eq!(config["data"]["text"], "Hello!");
//! # Ok::<(), HookError>(())
//! ```
//! The crate is a `cdylib`; built for wasm32-unknown-unknown it exports the
//! hooks that the `impl` block defines and carries its manifest.
//!
//! # Contract
//! - `decide` is pure: everything that it may depend on is in the CR and the
//!   [`Situation`]. The same situation gives the same plan.
//! - A CR that does not fit `Spec` ends the pass as [`HookError::Invalid`] with
//!   the path of the field; `decide` is not called.
//! - A panic is logged with its place and ends the pass as a trap.

// What the macros write names this crate by its name, here too.
extern crate self as kybern_sdk;

#[cfg(all(target_arch = "wasm32", feature = "allocator"))]
mod allocator;
#[cfg(feature = "arrow")]
mod batches;
mod child;
mod cr;
mod cursor;
mod decode;
mod deployment;
mod dispatch;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod guest;
pub mod http;
#[cfg(feature = "arrow")]
mod ipc;
pub mod log;
mod plan;
mod plugin;
pub mod raw;
mod row;
mod rows;
pub mod schema;
mod situation;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod trigger;

#[cfg(feature = "arrow")]
pub use arrow_array;
#[cfg(feature = "arrow")]
pub use arrow_schema;
#[cfg(feature = "arrow")]
pub use batches::Batches;
pub use child::Child;
pub use cr::{Cr, Metadata};
pub use cursor::Cursor;
pub use decode::decode;
pub use deployment::DeploymentStatus;
pub use kybern_interface::{
    Action, DeleteObject, Effect, EffectPhase, Failure, Gvk, HelmAnswer, HelmError, HelmHook,
    HelmLookup, HelmManifest, HelmOptions, HelmRelease, HelmRequest, HookError, Manifest, Outcome,
    OutcomeResult, PatchKind, PatchObject, Propagation, Query, RunEffect, Sensing, Subresource,
    SubresourceKind, Target,
};
pub use kybern_sdk_macros::{Schema, plugin};
pub use plan::Plan;
pub use plugin::{Embedded, Plugin};
pub use rows::Rows;
pub use schema::Schema;
pub use serde_json::{Value, json};
pub use situation::Situation;
pub use trigger::Trigger;
