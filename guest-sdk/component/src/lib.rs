//! From a plugin's crate to a component with its manifest in front.
//!
//! # Contract
//! [`compile()`] runs cargo for wasm32-unknown-unknown (or wasm32-wasip2) with the settings that every plugin is built
//! with; [`componentize`] makes what comes of it a component. [`adopt()`] takes what the tools of other
//! languages build. The same sources give the same bytes
//! on every machine: local paths are mapped away.

mod adapter;
mod adopt;
mod compile;
mod encode;
mod package;

pub use adopt::adopt;
pub use compile::{Build, TARGET, WASI_TARGET, compile, ensure_target};
pub use encode::componentize;
pub use package::Package;
pub use package::triple;

use std::path::PathBuf;
use std::process::ExitStatus;

/// Why there is no component.
#[derive(Debug, thiserror::Error)]
pub enum ComponentError {
    /// A program could not be started.
    #[error("`{program}` cannot be started; is Rust installed (https://rustup.rs)?")]
    Start {
        /// Which.
        program: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A program said no; it has told why on standard error.
    #[error("`{command}` failed ({status})")]
    Failed {
        /// As one would type it.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// The folder holds no crate that can be a plugin.
    #[error("{}: {reason}", .folder.display())]
    Package {
        /// The folder.
        folder: PathBuf,
        /// What is wrong, and the cure.
        reason: String,
    },
    /// The module cannot be made a component.
    #[error("the compiled module cannot be made a component: {reason}")]
    Encode {
        /// What is wrong.
        reason: String,
    },
    /// A file cannot be read.
    #[error("{}: cannot be read", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}
