//! Why there is no engine, and why there is no response.

use kybern_plugin::{LoadError, ModuleError};

/// Why the engine cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PrepareError {
    /// It could not be compiled. Helps to retry where the source is [`LoadError::NotCompiled`].
    #[error("Helm's engine cannot be compiled")]
    Compile(#[source] std::sync::Arc<LoadError>),
    /// The file is something else, or of another version of this host. A retry does not help.
    #[error(
        "{reason}: this is not the Helm engine of this host; take helm-engine.wasm of the same release, or build it \
         with `cargo xtask guests`"
    )]
    NotTheEngine {
        /// What is wrong with it.
        reason: String,
    },
}

/// Why a render gave no response.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The engine is not compiled yet. Retry when [`Engine::prepare`](crate::Engine::prepare) is through.
    #[error("Helm's engine is still being compiled")]
    NotReady,
    /// There is no engine to wait for.
    #[error(transparent)]
    Unusable(#[from] PrepareError),
    /// Too many renders wait. A retry can help.
    #[error("{renders} charts are being rendered, and none of them ended in time")]
    Busy {
        /// How many at once.
        renders: usize,
    },
    /// The request is too large. The same will be again.
    #[error(
        "the chart with its values takes {bytes} bytes, more than the limit of {limit}: leave files out with .helmignore"
    )]
    RequestTooLarge {
        /// Its size.
        bytes: usize,
        /// The largest size that is accepted.
        limit: usize,
    },
    /// The response is too large. The same request gives the same again.
    #[error("the rendered chart takes {bytes} bytes, more than the limit of {limit}")]
    ResponseTooLarge {
        /// Its size.
        bytes: usize,
        /// The largest size that is accepted.
        limit: usize,
    },
    /// It met a limit, or the engine broke. The same request will again, unless its time was time on
    /// the clock of a busy node.
    #[error("rendering the chart was stopped")]
    Stopped(#[source] ModuleError),
    /// The engine said something before it broke.
    #[error("rendering the chart broke Helm's engine: {said}")]
    Broken {
        /// Its last words.
        said: String,
        /// How it ended.
        #[source]
        source: ModuleError,
    },
}
