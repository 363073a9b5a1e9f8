//! Helm's own engine, sandboxed: renders charts as `helm template` does, as a pure function.
//!
//! # Contract
//! - The engine is a WebAssembly module that is made of Helm's packages (plugins/helm-engine). It gets
//!   a request as JSON and gives a response as JSON; a chart that is wrong is a response too.
//! - [`Engine::prepare`] compiles it, once, and is called where time may pass: when a host starts or a
//!   registration is loaded. [`Engine::render`] never compiles: before that it says so.
//! - Each render gets a fresh instance, without files, network or environment. What templates take for
//!   the time follows from the time that is given with the request; random numbers follow from that, the
//!   names of the release and the chart, and the engine's secret. The same request gives the same
//!   response, and a password changes with the values only if those change how many random numbers
//!   the chart asks for before it.
//! - A render ends within [`Limits`], whatever the chart does.
//!
//! # Why the secret
//! Charts make passwords and keys. Without a secret whoever knows a chart and its values could make the
//! same ones.

mod cache;
mod engine;
mod error;
mod file;
mod gate;
mod limits;
mod random;
pub mod snapshot;
mod wasi;

pub use engine::{Config, Engine, Status};
pub use error::{PrepareError, RenderError};
pub use file::{ENGINE_FILE, EngineFile, EngineFileError};
pub use limits::Limits;
