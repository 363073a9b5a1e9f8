//! A real control plane for tests, demos and benches: etcd and kube-apiserver as child processes.
//!
//! ```no_run
//! use kybern_testcluster::{ControlPlane, Object, Options};
//! use serde_json::json;
//!
//! # fn main() -> anyhow::Result<()> {
//! let plane = ControlPlane::start(Options::new())?;
//! let namespace = plane.namespace("example")?;
//! let client = plane.client();
//! client.create(&json!({
//!     "apiVersion": "v1", "kind": "ConfigMap",
//!     "metadata": { "namespace": namespace, "name": "greeting" },
//!     "data": { "hello": "world" },
//! }))?;
//! let read = client.get(&Object::new("v1", "ConfigMap", &namespace, "greeting"))?;
//! assert_eq!(read["data"]["hello"], "world");
//! # Ok(())
//! # }
//! ```
//!
//! # Contract
//! Nothing listens on anything but 127.0.0.1. Children end with the process
//! that started them, however it ends; their files are removed on drop, or by
//! the next start when there was no drop. Programs come from
//! `KUBEBUILDER_ASSETS`, else from the cache, else they are built with Go.

mod apiserver;
mod artifacts;
mod audit;
mod cache;
mod client;
mod component;
mod controllers;
mod crd;
mod etcd;
mod golang;
mod host;
mod keys;
mod kinds;
mod kubeconfig;
mod kwok;
mod object;
mod options;
mod plane;
mod ports;
mod process;
mod registry;
mod scratch;
mod shared;
mod signer;
mod spawner;
mod store;
mod user;
mod wait;

pub use artifacts::{guest, guests, kybern};
pub use audit::{Audit, Mark, Request};
pub use cache::cache;
pub use client::{Client, ClientError};
pub use component::Component;
pub use golang::{go_program, helm_engine_module, helm_engine_native, is_there as go_is_there};
pub use host::{Host, HostOptions};
pub use object::Object;
pub use options::Options;
pub use plane::ControlPlane;
pub use process::Process;
pub use registry::{PASSWORD, Registry, USER, digest};
pub use scratch::sweep;
pub use shared::shared;
pub use signer::Signer;
pub use spawner::spawn;
pub use store::{Store, StoreCopy};
pub use ureq::http::Method;
pub use user::User;
pub use wait::{Progress, Stopwatch, until};
