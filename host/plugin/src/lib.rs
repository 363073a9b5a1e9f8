//! The sandbox: loads plugins (WebAssembly components) and calls their hooks within limits.
//!
//! # Contract
//! - [`Runtime::load`] takes untrusted bytes and gives a [`Plugin`], or says
//!   what is wrong with them and what to do about it. Where a [`Child`] compiles, it does so within
//!   [`CompileLimits`], and no load waits for another that takes long.
//! - [`Plugin::decide`], [`Plugin::sense`] and [`Plugin::act`] block: call them on guest
//!   threads, never on an async worker. Each call gets a fresh instance, so
//!   nothing that one call does can be seen by another.
//! - Whatever a guest does ends in a [`CallError`] within [`CallLimits`]:
//!   never in a panic, never in an unbounded allocation, never in a value that
//!   was not checked.
//!
//! # The walk of one call
//! gate (bounded wait) -> store with limits -> instantiate -> hook, which reads
//! rows and logs through the host -> document checked -> store dropped.

mod answer;
mod bundle;
mod cache;
mod call;
mod compile;
mod compiled;
mod describe;
mod document;
mod engine;
mod gate;
mod hook;
mod http;
mod inside;
mod interfaces;
mod ipc;
mod limiter;
mod limits;
mod load;
mod log;
mod manifest;
mod meter;
mod module;
mod outline;
mod outside;
mod plugin;
mod render;
mod row_json;
mod rows;
mod runtime;
mod shape;
mod state;
mod strict;
mod ticker;
mod wasi;
mod world;

pub use answer::NamedAnswer;
pub use call::{Call, CallError, Usage};
pub use compile::{Child, CompileLimits, Compiler, Exceeded, Room, TooDear, serve};
pub use engine::Allocation;
pub use http::{Header, Outgoing, Request, Response, SecretHeader, SendError};
pub use interfaces::{Interfaces, read_interfaces};
pub use limits::CallLimits;
pub use load::LoadError;
pub use module::{Held, ModuleError, ModuleLimits, Modules, ModulesConfig};
pub use outline::{Import, Outline};
pub use outside::{Outside, Stop};
pub use plugin::{Code, Plugin};
pub use render::{Render, RenderFailure};
pub use runtime::{Compiled, MAX_COMPONENT_BYTES, Runtime, RuntimeConfig, RuntimeError};
pub use world::Offer;
